//! Flows between zones: what may enter and leave the CDE beyond what is open (PCI DSS v4.0.1 1.3.1 to 1.3.3, 1.4.5, 6.5.3).
//!
//! All of these are decided on addresses: a block that lies in an approved zone and partly in another is found for the other part.
//! Traffic within one zone crosses nothing and needs no approved flow; the Internet is nobody's own zone.

mod approved;
mod discovery;
mod platform;
mod preprod;
mod servers;
mod wireless;

use super::Item;

pub(super) static ITEMS: [Item; 7] = [
    approved::INTO,
    approved::OUT_OF,
    platform::PLATFORM,
    servers::SERVERS,
    wireless::WIRELESS,
    discovery::DISCOVERY,
    preprod::PREPROD,
];
