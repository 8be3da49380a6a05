//! Random tables whose prefixes nest, touch and cover each other, and whose services end at every kind of border.

use std::collections::BTreeMap;
use std::sync::Arc;

use policy::lower::bpf::{Interval, Key, Rule, Table};
use policy::model::Mode;
use policy::net::{Cidr, Direction, Family};
use proptest::prelude::*;

/// Service numbers at which something may begin. Protocols without ports are never taken apart.
const BORDERS: [u32; 27] = [
    0, 0x01_0000, 0x01_0800, 0x01_0801, 0x01_0900, 0x01_0D00, 0x02_0000, 0x06_0000, 0x06_0016, 0x06_0017, 0x06_1F40, 0x06_1FA5,
    0x07_0000, 0x11_0000, 0x11_0035, 0x11_0036, 0x11_FFFF, 0x12_0000, 0x2F_0000, 0x30_0000, 0x3A_0000, 0x3A_8000, 0x3A_8100,
    0x3B_0000, 0x84_0000, 0x84_0050, 0x85_0000,
];

/// Sorted, disjoint, touching intervals of one rule joined: as lowering makes them.
pub(crate) fn services() -> impl Strategy<Value = Arc<[Interval]>> {
    let cell = prop_oneof![4 => Just(None), 2 => (1_u32..5).prop_map(|rule| Some((rule, false))), 1 => (5_u32..7).prop_map(|rule| Some((rule, true)))];
    (prop::collection::vec(cell, BORDERS.len()), any::<bool>()).prop_map(|(cells, dense)| {
        let mut list: Vec<Interval> = Vec::new();
        for (i, cell) in cells.into_iter().enumerate() {
            let hi = BORDERS.get(i + 1).map_or(0x00FF_FFFF, |next| next - 1);
            // Half of the lists have few intervals.
            let Some((rule, audit)) = cell.filter(|_| dense || i % 4 == 0) else { continue };
            match list.last_mut() {
                Some(top) if top.hi + 1 == BORDERS[i] && (top.rule, top.audit) == (rule, audit) => top.hi = hi,
                _ => list.push(Interval { lo: BORDERS[i], hi, rule, audit }),
            }
        }
        list.into()
    })
}

pub(crate) fn masked(family: Family, address: u128, length: u8) -> Cidr {
    let room = u32::from(family.bits() - length);
    let keep = u128::MAX.checked_shl(room).unwrap_or(0);
    Cidr::new(family.address(address & keep & family.last()), length).unwrap()
}

fn prefix() -> impl Strategy<Value = Cidr> {
    let v4 = (0_u128..3, 0_u128..4, 0_u8..=32).prop_map(|(b, d, length)| masked(Family::V4, 10 << 24 | b << 16 | (d * 85), length));
    let v6 = (0_u128..3, 0_u128..4, 0_u8..=128).prop_map(|(b, d, length)| masked(Family::V6, 0xFD00 << 112 | b << 96 | d, length));
    let halves = (0_u128..2, any::<bool>()).prop_map(|(half, v6)| {
        let family = if v6 { Family::V6 } else { Family::V4 };
        masked(family, half << (family.bits() - 1), 1)
    });
    prop_oneof![4 => v4, 3 => v6, 1 => halves]
}

pub(crate) fn tables() -> impl Strategy<Value = Table> {
    let lists = prop::collection::vec(services(), 4);
    let sides = prop::collection::vec((any::<bool>(), prefix(), 0_usize..4), 0..14);
    let anys = prop::collection::vec(prop::option::of(0_usize..4), 4);
    let modes = prop::sample::select(vec![
        (Some(Mode::Enforce), Some(Mode::Enforce)),
        (Some(Mode::Enforce), Some(Mode::Enforce)),
        (Some(Mode::Enforce), None),
        (None, Some(Mode::Enforce)),
        (Some(Mode::Audit), Some(Mode::Enforce)),
    ]);
    (lists, sides, anys, modes).prop_map(|(lists, sides, anys, modes)| {
        let mut table = BTreeMap::new();
        for (direction, mode) in Direction::BOTH.into_iter().zip([modes.0, modes.1]) {
            let Some(mode) = mode else { continue };
            table.insert(Key::Isolation { direction }, Rule::Isolation(mode));
            for (i, family) in Family::BOTH.into_iter().enumerate() {
                let any = anys[i + 2 * usize::from(direction == Direction::Egress)].map(|n| Arc::clone(&lists[n]));
                if let Some(any) = any.filter(|any| !any.is_empty()) {
                    table.insert(Key::Any { direction, family }, Rule::Services(any));
                }
            }
            for (out, prefix, list) in &sides {
                if *out == (direction == Direction::Egress) {
                    table.insert(Key::Prefix { direction, prefix: *prefix }, Rule::Services(Arc::clone(&lists[*list])));
                }
            }
        }
        table
    })
}

/// The same service for one peer, in one direction that is enforced.
pub(crate) fn one(direction: Direction, peer: &str, lo: u32, hi: u32) -> Table {
    let list = Arc::from([Interval { lo, hi, rule: 7, audit: false }]);
    let key = Key::Prefix { direction, prefix: Cidr::parse(peer).unwrap() };
    [(Key::Isolation { direction }, Rule::Isolation(Mode::Enforce)), (key, Rule::Services(list))].into_iter().collect()
}

/// Nothing allowed in one direction.
pub(crate) fn closed(direction: Direction) -> Table {
    [(Key::Isolation { direction }, Rule::Isolation(Mode::Enforce))].into_iter().collect()
}
