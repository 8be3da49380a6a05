//! Group E: trusted and untrusted networks (PCI DSS v4.0.1 1.4.1, 1.4.2).

mod admin;
mod enforced;
mod ipv6;
mod public;
mod stateless;

use super::Item;

pub(super) static ITEMS: [Item; 5] = [enforced::ENFORCED, ipv6::IPV6, admin::ADMIN, public::PUBLIC, stateless::STATELESS];
