//! A small table that uses everything a script may need: what a kernel is tried out with.

use std::sync::Arc;

use policy::lower::bpf::{Interval, Key, Rule, Table};
use policy::model::Mode;
use policy::net::{Cidr, Direction, Family};

/// One of everything.
pub(in super::super) fn sample() -> Table {
    let mut table = Table::new();
    let list = |intervals: &[(u32, u32, bool)]| {
        let own = intervals.iter().map(|(lo, hi, audit)| Interval { lo: *lo, hi: *hi, rule: 1, audit: *audit });
        Rule::Services(own.collect::<Arc<[_]>>())
    };
    for direction in Direction::BOTH {
        table.insert(Key::Isolation { direction }, Rule::Isolation(Mode::Enforce));
        for family in Family::BOTH {
            table.insert(Key::Any { direction, family }, list(&[(0x06_0050, 0x06_0050, false), (0x11_0000, 0x11_FFFF, true)]));
            let whole = family.bits();
            for (length, services) in [(whole, list(&[(0x06_0016, 0x06_0017, false)])), (8, list(&[(0x01_0800, 0x01_08FF, false)]))]
            {
                let first = family.address(if family == Family::V4 { 10 << 24 } else { 0xFD << 120 });
                table.extend(Cidr::new(first, length).map(|prefix| (Key::Prefix { direction, prefix }, services)));
            }
        }
    }
    table
}
