//! The house lists of ports: what is insecure, administration, a store of data, or tells others our addresses. PCI DSS names services,
//! not ports; these numbers are the house's, and the Standard adds to them and removes from them.

use crate::model::standard::{PortChange, Standard};
use crate::net::service::{TCP, UDP};
use crate::net::{ServiceRange, ServiceSet};

type Ports = (u8, u16, u16);

const INSECURE: [Ports; 30] = [
    (TCP, 20, 21),
    (TCP, 23, 23),
    (TCP, 25, 25),
    (TCP, 79, 79),
    (TCP, 80, 80),
    (TCP, 110, 110),
    (TCP, 111, 111),
    (TCP, 135, 135),
    (TCP, 137, 139),
    (TCP, 143, 143),
    (TCP, 389, 389),
    (TCP, 445, 445),
    (TCP, 512, 514),
    (TCP, 873, 873),
    (TCP, 1080, 1080),
    (TCP, 1723, 1723),
    (TCP, 1883, 1883),
    (TCP, 2049, 2049),
    (TCP, 2375, 2375),
    (TCP, 5900, 5909),
    (TCP, 5985, 5985),
    (TCP, 6000, 6063),
    (UDP, 69, 69),
    (UDP, 111, 111),
    (UDP, 137, 138),
    (UDP, 161, 162),
    (UDP, 177, 177),
    (UDP, 514, 514),
    (UDP, 1900, 1900),
    (UDP, 2049, 2049),
];
const ADMIN: [Ports; 10] = [
    (TCP, 22, 22),
    (TCP, 23, 23),
    (TCP, 512, 514),
    (TCP, 2375, 2376),
    (TCP, 2379, 2380),
    (TCP, 3389, 3389),
    (TCP, 5900, 5909),
    (TCP, 5985, 5986),
    (TCP, 6443, 6443),
    (TCP, 10250, 10250),
];
const DATASTORE: [Ports; 20] = [
    (TCP, 1433, 1434),
    (TCP, 1521, 1521),
    (TCP, 2181, 2181),
    (TCP, 2483, 2484),
    (TCP, 3306, 3306),
    (TCP, 4333, 4333),
    (TCP, 5432, 5432),
    (TCP, 5984, 5984),
    (TCP, 6379, 6379),
    (TCP, 7199, 7199),
    (TCP, 9042, 9042),
    (TCP, 9092, 9092),
    (TCP, 9160, 9160),
    (TCP, 9200, 9200),
    (TCP, 9300, 9300),
    (TCP, 11211, 11211),
    (TCP, 27017, 27018),
    (TCP, 50000, 50000),
    (UDP, 1434, 1434),
    (UDP, 11211, 11211),
];
const DISCOVERY: [Ports; 7] =
    [(TCP, 179, 179), (UDP, 137, 138), (UDP, 161, 161), (UDP, 520, 521), (UDP, 1900, 1900), (UDP, 5353, 5353), (UDP, 5355, 5355)];

/// Services that no house can do without: file transfer and administration in clear, and administration from outside. PCI DSS
/// itself names them, so taking one off a list switches rules off that rest on the requirement.
const CORE: [Ports; 7] =
    [(TCP, 20, 21), (TCP, 22, 22), (TCP, 23, 23), (TCP, 512, 514), (TCP, 3389, 3389), (TCP, 5900, 5909), (TCP, 5985, 5985)];

/// The lists as the Standard leaves them.
pub(super) struct Lists {
    pub(super) insecure: ServiceSet,
    pub(super) admin: ServiceSet,
    pub(super) datastore: ServiceSet,
    pub(super) discovery: ServiceSet,
    /// All four.
    pub(super) sensitive: ServiceSet,
}

impl Lists {
    pub(super) fn new(standard: &Standard) -> Self {
        let insecure = list(&INSECURE, &standard.ports.insecure);
        let admin = list(&ADMIN, &standard.ports.admin);
        let datastore = list(&DATASTORE, &standard.ports.datastore);
        let discovery = list(&DISCOVERY, &standard.ports.discovery);
        let all = [&insecure, &admin, &datastore, &discovery];
        let sensitive = ServiceSet::of(all.into_iter().flat_map(|set| set.ranges().iter().copied()));
        Self { insecure, admin, datastore, discovery, sensitive }
    }

    /// What the Standard takes off the lists of insecure services and of administration although it belongs there.
    pub(super) fn dropped(&self) -> [(&'static str, ServiceSet); 2] {
        let core = list(&CORE, &PortChange::default());
        let lacking = |house: &[Ports], now: &ServiceSet| list(house, &PortChange::default()).intersection(&core).minus(now);
        [("insecure", lacking(&INSECURE, &self.insecure)), ("admin", lacking(&ADMIN, &self.admin))]
    }
}

fn list(ports: &[Ports], change: &PortChange) -> ServiceSet {
    let house = ports.iter().map(|(protocol, first, last)| ServiceRange::ports(*protocol, *first, *last));
    ServiceSet::of(house.chain(change.add.iter().copied())).minus(&ServiceSet::of(change.remove.iter().copied()))
}
