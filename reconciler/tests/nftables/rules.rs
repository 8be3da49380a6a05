//! What is put in force reads back as it was, whatever it is.

use std::sync::Arc;
use std::time::Instant;

use policy::digest::Digest;
use policy::lower::bpf::{Interval, Key, Rule, Table};
use policy::model::Mode;
use policy::net::{Direction, Family};
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;

use crate::lab::{Lab, root_or_left_out};
use crate::tables::{masked, tables};

#[test]
fn every_table_reads_back_as_it_was_put_in_force() {
    if !root_or_left_out("every_table_reads_back_as_it_was_put_in_force") {
        return;
    }
    let lab = Lab::build();
    let firewall = lab.firewall();
    let mut runner = TestRunner::default();
    for round in 1..=40 {
        let table = tables().new_tree(&mut runner).unwrap().current();
        let digest = Digest::of_table(&table);
        lab.on_host(|| firewall.apply(&table, digest, &[], None)).unwrap();
        let seen = lab.on_host(|| firewall.observe(&[])).unwrap();
        assert_eq!(seen.table.as_ref(), Some(&table));
        assert_eq!((seen.damage, seen.audited, seen.epoch), (vec![], false, round));
        assert_eq!(seen.digest, digest.to_string());
    }
}

/// As many prefixes as a large estate has; the time is printed, not judged.
#[test]
fn a_hundred_thousand_prefixes_are_one_transaction() {
    if !root_or_left_out("a_hundred_thousand_prefixes_are_one_transaction") {
        return;
    }
    let lab = Lab::build();
    let firewall = lab.firewall();
    let count: u128 = std::env::var("PCI_SEGMENT_PREFIXES").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000);
    for (length, step) in [(32, 2), (31, 4)] {
        let list: Arc<[Interval]> = Arc::from([Interval { lo: 0x06_0016, hi: 0x06_0016, rule: 1, audit: false }]);
        let direction = Direction::Ingress;
        let mut table: Table = (0..count)
            .map(|n| masked(Family::V4, (10 << 24) + n * step, length))
            .map(|prefix| (Key::Prefix { direction, prefix }, Rule::Services(Arc::clone(&list))))
            .collect();
        table.insert(Key::Isolation { direction }, Rule::Isolation(Mode::Enforce));
        let begun = Instant::now();
        lab.on_host(|| firewall.apply(&table, Digest::of_table(&table), &[], None)).unwrap();
        eprintln!("{count} prefixes of length {length}: {:?} with reading back", begun.elapsed());
    }
}
