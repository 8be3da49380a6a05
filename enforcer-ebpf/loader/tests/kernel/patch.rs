//! Small changes are made in the quiet slot; whatever makes that slot doubtful means building the whole generation.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use aya::maps::{Array, HashMap, Map, MapData, MapInfo};
use enforcer::{Built, Direction, Enforcer, Error, Installed, Interval, Mode, Table, TamperingKind};

use crate::lab::{Lab, TCP, cidr, service, table};

const LONG: Duration = Duration::from_secs(600);

/// Two hundred peers, and one port that tells tables apart.
fn numbered(port: u16) -> Table {
    let mut wanted = table(&[(Direction::In, "10.7.0.0/24", &[service(TCP, port, 1)]), (Direction::Out, "fd07::/64", &[])]);
    for n in 0..200 {
        wanted.prefixes.push((Direction::In, cidr(&format!("10.8.0.{n}/32")), vec![service(TCP, 443, 2)]));
    }
    wanted.sorted()
}

fn install(enforcer: &mut Enforcer, port: u16) -> Installed {
    let installed = enforcer.install(&numbered(port), [7; 32], 0).unwrap();
    let seen = enforcer.observe().unwrap();
    assert_eq!((seen.epoch, seen.table, seen.tampering), (installed.epoch, Some(numbered(port)), vec![]));
    installed
}

/// After two generations there is one to change in place.
fn settled(enforcer: &mut Enforcer) -> [Installed; 2] {
    [install(enforcer, 1), install(enforcer, 2)]
}

fn inner_of(lab: &Lab, slot: u32) -> PathBuf {
    lab.pins().join(format!("inner/{slot}"))
}

fn numbers(directory: &Path) -> BTreeMap<PathBuf, u32> {
    let pins = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    pins.map(|path| (path.clone(), MapInfo::from_pin(path).unwrap().id())).collect()
}

fn seals(lab: &Lab) -> Array<MapData, [u64; 4]> {
    Array::try_from(Map::Array(MapData::from_pin(lab.pins().join("maps/seals")).unwrap())).unwrap()
}

#[test]
fn a_small_change_is_written_into_the_maps_of_the_generation_before() {
    let Some(lab) = Lab::new("changing in place") else { return };
    let mut enforcer = lab.open();
    let [first, second] = settled(&mut enforcer);
    assert_eq!((first.how, second.how), (Built::Whole, Built::Whole));
    let before = [first, second].map(|own| numbers(&inner_of(&lab, own.slot)));
    for (port, base) in (3..9).zip([first, second].into_iter().cycle()) {
        let next = install(&mut enforcer, port);
        assert_eq!((next.how, next.slot), (Built::Patched { changes: 1 }, base.slot));
    }
    assert_eq!([first, second].map(|own| numbers(&inner_of(&lab, own.slot))), before, "the same maps");

    // The next process goes on from there.
    let mut enforcer = Enforcer::open_existing(&lab.root).unwrap().unwrap();
    assert_eq!(install(&mut enforcer, 9).how, Built::Patched { changes: 1 });
    let mut half = numbered(9);
    half.prefixes.truncate(120);
    assert_eq!(enforcer.install(&half, [8; 32], 0).unwrap().how, Built::Whole, "82 of 202 are more than an eighth");
    for port in 10..16 {
        enforcer.install(&half, [8; 32], 0).unwrap();
        install(&mut enforcer, port);
    }
    let held = (0..4).map(|slot| numbers(&inner_of(&lab, slot)).len());
    assert_eq!(held.sum::<usize>(), 10, "two generations are kept");
}

#[test]
fn h01_a_slot_somebody_died_over_is_neither_built_upon_nor_rolled_back_to() {
    let Some(lab) = Lab::new("changing in place") else { return };
    let mut enforcer = lab.open();
    let [first, second] = settled(&mut enforcer);
    let mut seals = seals(&lab);
    let seal = seals.get(&first.slot, 0).unwrap();
    seals.set(first.slot, [seal[0], seal[1], seal[2], 2], 0).unwrap();
    assert_eq!(enforcer.roll_back().unwrap(), None);
    let third = install(&mut enforcer, 3);
    assert_eq!(third.how, Built::Whole);
    assert!(third.slot != first.slot && third.slot != second.slot);
    assert_eq!(install(&mut enforcer, 4).how, Built::Patched { changes: 1 });
    assert_eq!(enforcer.roll_back().unwrap(), Some(third.epoch), "and what was completed is a way back");
    assert_eq!(enforcer.observe().unwrap().table, Some(numbered(3)));
}

#[test]
fn h01_a_generation_whose_process_died_just_after_turning_to_it_is_a_way_back() {
    let Some(lab) = Lab::new("changing in place") else { return };
    let mut enforcer = lab.open();
    let [_, second] = settled(&mut enforcer);
    let mut seals = seals(&lab);
    let [epoch, content, word, _] = seals.get(&second.slot, 0).unwrap();
    // What the kernel holds between the store and the seal that tells of it.
    seals.set(second.slot, [epoch, content, word, 0], 0).unwrap();
    enforcer.install_on_trial(&numbered(3), [7; 32], 0, LONG).unwrap();
    assert_eq!(enforcer.roll_back().unwrap(), Some(second.epoch));
    assert_eq!(enforcer.observe().unwrap().table, Some(numbered(2)));
}

/// Opens a port of the peers in a slot's addresses that no rule opens.
fn slip_in(slot: &Path, host: u8) {
    let map = Map::HashMap(MapData::from_pin(slot.join("hosts4")).unwrap());
    let mut hosts = HashMap::<_, [u8; 8], [u32; 2]>::try_from(map).unwrap();
    hosts.insert([0, 0, 0, 0, 10, 7, 0, host], [0, 1], 0).unwrap();
}

fn take_out(slot: &Path) {
    let map = Map::HashMap(MapData::from_pin(slot.join("hosts4")).unwrap());
    HashMap::<_, [u8; 8], [u32; 2]>::try_from(map).unwrap().remove(&[0, 0, 0, 0, 10, 8, 0, 9]).unwrap();
}

fn open_everything(slot: &Path) {
    let map = Map::Array(MapData::from_pin(slot.join("intervals")).unwrap());
    Array::<_, [u32; 4]>::try_from(map).unwrap().set(0, [0, 0xFF_FFFF, 1, 0], 0).unwrap();
}

fn kinds(enforcer: &Enforcer) -> Vec<TamperingKind> {
    enforcer.observe().unwrap().tampering.into_iter().map(|own| own.kind).collect()
}

type Edit<'a> = &'a dyn Fn(&Path);

#[test]
fn a_slot_that_was_edited_or_rewired_is_not_built_upon() {
    let Some(lab) = Lab::new("changing in place") else { return };
    let mut enforcer = lab.open();
    let [mut base, mut latest] = settled(&mut enforcer);
    let edits: [(Edit<'_>, &[TamperingKind]); 4] = [
        (&open_everything, &[TamperingKind::Edited]),
        (&|slot| slip_in(slot, 9), &[TamperingKind::Edited]),
        (&take_out, &[TamperingKind::Edited]),
        (&|slot| fs::remove_file(slot.join("nets6")).unwrap(), &[]),
    ];
    for (port, (edit, told)) in (3..).zip(edits) {
        edit(&inner_of(&lab, base.slot));
        assert_eq!(kinds(&enforcer), told, "{port}");
        let next = install(&mut enforcer, port);
        assert_eq!(next.how, Built::Whole, "{port}");
        (base, latest) = (latest, next);
    }
    assert_eq!(install(&mut enforcer, 9).how, Built::Patched { changes: 1 });
    assert_eq!(enforcer.roll_back().unwrap(), Some(latest.epoch));
}

#[test]
fn an_edit_of_the_slot_before_that_nobody_looked_for_is_found_at_once_or_once_it_is_in_force() {
    let Some(lab) = Lab::new("changing in place") else { return };
    let mut enforcer = lab.open();
    let [base, latest] = settled(&mut enforcer);
    open_everything(&inner_of(&lab, base.slot));
    let whole = install(&mut enforcer, 3);
    assert_eq!(whole.how, Built::Whole, "intervals are compared each time");

    slip_in(&inner_of(&lab, latest.slot), 9);
    let mut other = Enforcer::open_existing(&lab.root).unwrap().unwrap();
    let read = install(&mut other, 4);
    assert_eq!(read.how, Built::Whole, "a process that did not leave it there reads all of it");

    slip_in(&inner_of(&lab, whole.slot), 9);
    assert_eq!(enforcer.install(&numbered(5), [7; 32], 0).unwrap().how, Built::Patched { changes: 1 });
    let seen = enforcer.observe().unwrap();
    let found: Vec<_> = seen.tampering.iter().map(|own| own.kind).collect();
    assert_eq!((found, seen.table == Some(numbered(5))), (vec![TamperingKind::Edited], false));
    let repaired = enforcer.install(&numbered(5), [7; 32], 0).unwrap();
    assert_eq!(repaired.how, Built::Patched { changes: 1 }, "of what another process left, all of which was read");
    assert_eq!(enforcer.observe().unwrap().table, Some(numbered(5)));
    assert_eq!(install(&mut enforcer, 6).how, Built::Whole, "the edited one is no longer known, and is read");
}

#[test]
fn while_something_is_on_trial_its_way_back_is_not_touched() {
    let Some(lab) = Lab::new("changing in place") else { return };
    let mut enforcer = lab.open();
    let [_, confirmed] = settled(&mut enforcer);
    let trial = enforcer.install_on_trial(&numbered(3), [7; 32], 0, LONG).unwrap();
    assert_eq!(trial.how, Built::Patched { changes: 1 });
    for port in 4..7 {
        assert_eq!(enforcer.install_on_trial(&numbered(port), [7; 32], 0, LONG).unwrap().how, Built::Whole);
    }
    assert_eq!(enforcer.roll_back().unwrap(), Some(confirmed.epoch));
    let seen = enforcer.observe().unwrap();
    assert_eq!((seen.table, seen.tampering), (Some(numbered(2)), vec![]));

    enforcer.install_on_trial(&numbered(7), [7; 32], 0, LONG).unwrap();
    enforcer.confirm().unwrap();
    assert_eq!(install(&mut enforcer, 8).how, Built::Patched { changes: 1 }, "of what was in force before");
}

#[test]
fn a_generation_the_programs_misjudge_is_not_turned_to() {
    let Some(lab) = Lab::new("golden packets") else { return };
    let [_, second] = settled(&mut lab.open());
    let progs = lab.pins().join("progs");
    fs::remove_file(progs.join("check_in")).unwrap();
    aya::programs::SchedClassifier::from_pin(progs.join("empty")).unwrap().pin(progs.join("check_in")).unwrap();
    let mut enforcer = Enforcer::open_existing(&lab.root).unwrap().unwrap();
    let half = Table { prefixes: numbered(1).prefixes[..90].to_vec(), ..numbered(1) };
    for table in [numbered(3), half] {
        let refused = enforcer.install(&table, [8; 32], 0).unwrap_err();
        assert!(matches!(refused, Error::Misjudged { direction: "in", .. }), "{refused}");
        let seen = enforcer.observe().unwrap();
        assert_eq!((seen.epoch, seen.table, seen.tampering), (second.epoch, Some(numbered(2)), vec![]));
    }
    assert_eq!(enforcer.roll_back().unwrap(), None, "what was half changed is no way back");
    assert!(install(&mut lab.open(), 4).epoch > second.epoch, "opening puts the program back");
}

#[test]
fn golden_packets_of_every_protocol_and_every_kind_of_icmp_are_judged_as_the_table_says() {
    let Some(lab) = Lab::new("golden packets") else { return };
    let mut enforcer = lab.open();
    let protocols = (0..=255_u32).map(|proto| (proto << 16, proto << 16 | 0xFFFF)).collect::<Vec<_>>();
    let icmp = |proto: u32| (0..=255_u32).map(move |kind| (proto << 16 | kind << 8, proto << 16 | kind << 8 | 0xFF)).collect();
    for classes in [protocols, icmp(1), icmp(58)] {
        // Few enough for every edge to be tried; every other one is left out, and then the others.
        for (chunk, skip) in classes.chunks(100).flat_map(|chunk| [(chunk, 0), (chunk, 1)]) {
            let intervals = chunk.iter().skip(skip).step_by(2).map(|(lo, hi)| Interval { lo: *lo, hi: *hi, rule: 7, audit: false });
            let list: Vec<_> = intervals.collect();
            let (isolate_in, isolate_out) = (Some(Mode::Enforce), Some(Mode::Enforce));
            let wanted = Table { isolate_in, isolate_out, any: std::array::from_fn(|_| list.clone()), ..Table::default() };
            enforcer.install(&wanted, [7; 32], 0).unwrap();
        }
    }
}
