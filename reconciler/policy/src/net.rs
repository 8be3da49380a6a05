//! Addresses, services and sets of them.
//!
//! A prefix has one text and one meaning ([`Cidr`]). A service is a 24-bit number, so that "TCP 443", "any UDP port" and "every
//! protocol" are all intervals on one axis ([`Service`], [`ServiceRange`]). What is open is decided on merged intervals
//! ([`AddressSet`]), never on text. Nothing here knows what a policy is.

pub mod cidr;
pub mod service;
pub mod services;
pub mod set;

pub use cidr::{Cidr, Family, NotACidr};
pub use service::{Direction, Service, ServiceRange};
pub use services::ServiceSet;
pub use set::AddressSet;
