//! The system tests: the product as a whole, on a real kernel, a real repository and a real database.
//!
//! Names are sentences; where one begins with a letter and a number, it is a case of the project's list of faults.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod anchors;
mod backends;
mod backup;
mod bad_input;
mod boot;
mod canary;
mod clock;
mod crash;
mod differences;
mod drift;
mod enforce;
mod events;
mod faults;
mod faulty_disk;
mod forge;
mod imports;
mod interfaces;
mod inventory;
mod kill_loop;
mod ledger;
mod lineage;
mod metrics;
mod operate;
mod push;
mod red;
mod requests;
mod rescue;
mod restore;
mod signed;
mod template;
mod trial;
mod verdict;
mod webhooks;
