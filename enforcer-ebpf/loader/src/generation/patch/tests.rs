use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr},
};

use enforcer_abi::Slice;
use proptest::{prelude::*, sample::select};

use super::{Changes, FEW, Patch};
use crate::{
    generation::{
        encode::{Encoded, Wanted},
        entries::Key,
    },
    table::{Cidr, Direction, Interval, Mode, Table},
};

const PLENTY: [usize; 5] = [10_000; 5];

fn list() -> impl Strategy<Value = Vec<Interval>> {
    let one = |n: u32| Interval { lo: n * 10, hi: n * 10 + 5, rule: n + 1, audit: n.is_multiple_of(3) };
    prop::collection::btree_set(0_u32..5, 0..4).prop_map(move |numbers| numbers.into_iter().map(one).collect())
}

/// Few places, so that two tables share many.
fn table() -> impl Strategy<Value = Table> {
    let v4 = (0_u32..6, select(vec![24_u8, 31, 32]));
    let v4 = v4.prop_map(|(n, len)| Cidr::new(Ipv4Addr::from(n << 8).into(), len).unwrap());
    let v6 = (0_u128..6, select(vec![64_u8, 128]));
    let v6 = v6.prop_map(|(n, len)| Cidr::new(Ipv6Addr::from(n << 64).into(), len).unwrap());
    let key = (select(Direction::ALL.to_vec()), prop_oneof![v4, v6]);
    let mode = || select(vec![None, Some(Mode::Enforce), Some(Mode::Audit)]);
    let prefixes = prop::collection::btree_map(key, list(), 0..40);
    (mode(), mode(), [list(), list(), list(), list()], prefixes).prop_map(|(isolate_in, isolate_out, any, prefixes)| {
        let prefixes: BTreeMap<_, _> = prefixes;
        let prefixes = prefixes.into_iter().map(|((direction, cidr), list)| (direction, cidr, list)).collect();
        Table { isolate_in, isolate_out, any, prefixes, no_dhcp: false }
    })
}

/// What a map holds after the writes, done one by one.
fn written<K: Key>(before: &[(K, Slice)], changes: &Changes<K>) -> Vec<(K, Slice)> {
    let mut map: BTreeMap<K::Rank, (K, Slice)> = before.iter().map(|own| (own.0.rank(), *own)).collect();
    for key in &changes.removed {
        assert!(map.remove(&key.rank()).is_some(), "removing what is not there fails");
    }
    for own in &changes.put {
        map.insert(own.0.rank(), *own);
    }
    map.into_values().collect()
}

proptest! {
    #[test]
    fn writing_only_the_difference_ends_in_the_wanted_table_time_after_time(tables in prop::collection::vec(table(), 2..6)) {
        let mut base = Encoded::of(&tables[0], 1, [1; 32]);
        for (table, epoch) in tables.iter().zip(2_u8..) {
            let wanted = Wanted::of(table);
            let patch = Patch::plan((&base, base.checksum()), &wanted, PLENTY, epoch.into(), [epoch; 32]).unwrap();
            let (old, new) = (&base.entries, &patch.after.entries);
            prop_assert_eq!(&written(&old.hosts4, &patch.hosts4), &new.hosts4);
            prop_assert_eq!(&written(&old.hosts6, &patch.hosts6), &new.hosts6);
            prop_assert_eq!(&written(&old.nets4, &patch.nets4), &new.nets4);
            prop_assert_eq!(&written(&old.nets6, &patch.nets6), &new.nets6);
            prop_assert_eq!(patch.after.intervals[..base.intervals.len()].to_vec(), base.intervals, "what is there is not written");
            prop_assert_eq!(patch.after.table().unwrap(), table.clone());
            prop_assert_eq!(patch.checksum, patch.after.checksum(), "the sum follows the change");
            let again = Patch::plan((&patch.after, patch.checksum), &wanted, PLENTY, epoch.into(), [epoch; 32]).unwrap();
            prop_assert!(again.changes() == 0 && again.appended.is_empty(), "what is the same is not written");
            base = patch.after;
        }
    }
}

fn many(count: u32, rule: u32) -> Table {
    let list = vec![Interval { lo: 1, hi: 2, rule, audit: false }];
    let prefixes = (0..count).map(|n| (Direction::In, Cidr::host(Ipv4Addr::from(n).into()), list.clone()));
    Table { prefixes: prefixes.collect(), ..Table::default() }
}

fn changes(before: &Table, after: &Table, room: [usize; 5]) -> Option<usize> {
    let base = Encoded::of(before, 1, [1; 32]);
    Patch::plan((&base, base.checksum()), &Wanted::of(after), room, 2, [2; 32]).map(|patch| patch.changes())
}

#[test]
fn an_eighth_of_a_table_is_changed_in_place_and_more_is_not() {
    let before = many(1_000, 1);
    let mut after = before.clone();
    let (some, one_more) = after.prefixes.split_at_mut(125);
    some.iter_mut().for_each(|(_, _, list)| list[0].rule = 2);
    let list = &mut one_more[0].2;
    let kept = list.clone();
    list[0].rule = 2;
    assert_eq!(changes(&before, &after, PLENTY), None);
    after.prefixes[125].2 = kept;
    assert_eq!(changes(&before, &after, PLENTY), Some(125));
}

#[test]
fn a_few_changes_are_made_in_place_however_small_the_table() {
    let few = u32::try_from(FEW).unwrap();
    assert_eq!(changes(&many(0, 1), &many(few, 1), PLENTY), Some(FEW));
    assert_eq!(changes(&many(0, 1), &many(few + 1, 1), PLENTY), None);
    assert_eq!(changes(&many(few, 1), &many(0, 1), PLENTY), Some(FEW));
}

#[test]
fn h02_without_room_in_any_map_nothing_is_changed_in_place() {
    let (before, after) = (many(10, 1), many(20, 1));
    assert_eq!(changes(&before, &after, [21, 1, 1, 1, 3]), Some(10));
    assert_eq!(changes(&before, &after, [20, 1, 1, 1, 3]), None, "addresses");
    assert_eq!(changes(&before, &after, [21, 1, 1, 1, 2]), None, "intervals");
}
