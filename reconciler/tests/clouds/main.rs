//! Clouds, with the real SDKs and real HTTP, against stand-ins for what is at the other end.
//!
//! Names are sentences; where one begins with a letter and a number, it is a case of the project's list of faults.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]
#![expect(clippy::print_stderr, reason = "a test says what it left out")]

mod arm;
mod aws;
mod aws_binary;
mod aws_broken;
mod aws_faults;
mod aws_kit;
mod aws_permissions;
mod azure;
mod azure_binary;
mod azure_faults;
mod azure_kit;
mod azure_role;
mod moto;
mod proxy;
mod sync;
mod validate;
