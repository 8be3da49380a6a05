//! What the loaded programs make of packets in sequence agrees with [`conntrack`](crate::conntrack): verdicts, reasons, and every
//! fact that is remembered. Time passes by making entries older.
//!
//! `PCI_SEGMENT_FLOWS` says how many sequences; 40 if it is not set.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap as Memory,
    time::{Duration, Instant},
};

use aya::{
    TestRun as _,
    maps::{HashMap, Map, MapData, PerCpuArray},
    programs::{SchedClassifier, TestRunOptions},
};
use enforcer::{Direction, Enforcer};
use enforcer_abi::{Hook, IN, Reason, V4, V6, Verdict, count_index, ticks};
use proptest::{prelude::*, test_runner::TestRunner};

use crate::{
    conntrack::{Conntrack, End, Ends, Flow, Place},
    conversation::{Step, frame, steps, table},
    lab::{HOST4, HOST6, Lab},
};

const PLACES: [(Place, &str); 3] = [(Place::Tcp, "tcp"), (Place::Half, "half"), (Place::Other, "other")];
/// Where [`enforcer_abi::Flow`] has the tick of its last packet.
const LAST: std::ops::Range<usize> = 4..8;

/// How packets end here, at the least.
const REASONS: [&str; 10] =
    ["new", "flow", "related", "unselected", "audit_rule", "no_rule", "midflow", "revoked", "no_flow", "tcp_flags"];

type Flows<const KEY: usize> = HashMap<MapData, [u8; KEY], [u8; 28]>;

/// The loaded programs, their tables of flows and their counts.
pub(crate) struct Kernel {
    programs: [SchedClassifier; 2],
    v4: Vec<(Place, Flows<16>)>,
    v6: Vec<(Place, Flows<40>)>,
    counts: PerCpuArray<MapData, [u64; 2]>,
    seen: RefCell<Memory<u32, u64>>,
}

impl Kernel {
    pub(crate) fn of(lab: &Lab) -> Self {
        let map = |name: String| MapData::from_pin(lab.pins().join("maps").join(name)).unwrap();
        let flows = |name: String| Map::LruHashMap(map(name));
        let program = |name| SchedClassifier::from_pin(lab.pins().join("progs").join(name)).unwrap();
        Self {
            programs: ["tc_in_ether", "tc_out_ether"].map(program),
            v4: PLACES.map(|(place, name)| (place, flows(format!("{name}4")).try_into().unwrap())).into_iter().collect(),
            v6: PLACES.map(|(place, name)| (place, flows(format!("{name}6")).try_into().unwrap())).into_iter().collect(),
            counts: Map::PerCpuArray(map("counts".to_owned())).try_into().unwrap(),
            seen: RefCell::default(),
        }
    }

    /// Whether one packet went on, and how it ended.
    pub(crate) fn judge(&self, dir: Direction, frame: &[u8]) -> (bool, End) {
        let options = TestRunOptions { data_in: Some(frame), ..TestRunOptions::new() };
        let answer = self.programs[usize::from(dir == Direction::Out)].test_run(options).unwrap().return_value;
        let counted = self.counted(dir);
        let would_pass = counted.contains(&("would_pass", "audit_rule"));
        let [(verdict, reason)] = counted.iter().copied().filter(|own| own.0 != "would_pass").collect::<Vec<_>>()[..] else {
            panic!("a packet ends once: {counted:?}, {frame:x?}")
        };
        (answer != 2, End { verdict, reason, would_pass })
    }

    /// What has been counted since it was last asked for, of either family: what is not read counts as IPv4.
    fn counted(&self, dir: Direction) -> Vec<(&'static str, &'static str)> {
        let hook = if dir == Direction::In { Hook::TcIn } else { Hook::TcOut };
        let mut seen = self.seen.borrow_mut();
        let mut counted = Vec::new();
        for family in [V4, V6] {
            for verdict in [Verdict::Pass, Verdict::Drop, Verdict::WouldDrop, Verdict::WouldPass] {
                for reason in Reason::ALL {
                    let index = count_index(hook, family, verdict, *reason);
                    let now = self.counts.get(&index, 0).unwrap().iter().map(|[packets, _]| packets).sum();
                    if now > seen.insert(index, now).unwrap_or(0) {
                        counted.push((verdict.label(), reason.label()));
                    }
                }
            }
        }
        counted
    }

    /// Makes every entry older, or takes it out if no age is given.
    fn wait(&mut self, seconds: Option<u64>) {
        self.v4.iter_mut().for_each(|(_, map)| older(map, seconds));
        self.v6.iter_mut().for_each(|(_, map)| older(map, seconds));
    }

    /// What is remembered between `ends`.
    fn remembered(&self, ends: Ends) -> Vec<(Place, [u8; 28])> {
        let ports = [ends.local_port.to_be_bytes(), ends.remote_port.to_be_bytes()].concat();
        let tail = [&ports[..], &[ends.proto, 0, 0, 0]].concat();
        let octets = |text: &str| match text.parse().unwrap() {
            std::net::IpAddr::V4(own) => own.octets().to_vec(),
            std::net::IpAddr::V6(own) => own.octets().to_vec(),
        };
        let v6 = ends.peer.is_ipv6();
        let key = [octets(if v6 { HOST6 } else { HOST4 }), octets(&ends.peer.to_string()), tail].concat();
        let v4 = self.v4.iter().filter(|_| !v6).map(|(place, map)| (*place, map.get(&key[..16].try_into().unwrap(), 0)));
        let v6 = self.v6.iter().filter(|_| v6).map(|(place, map)| (*place, map.get(&key[..40].try_into().unwrap(), 0)));
        v4.chain(v6).filter_map(|(place, found)| Some((place, found.ok()?))).collect()
    }
}

fn older<const KEY: usize>(map: &mut Flows<KEY>, seconds: Option<u64>) {
    let keys: Vec<[u8; KEY]> = map.keys().map(Result::unwrap).collect();
    for key in keys {
        let Some(seconds) = seconds else {
            map.remove(&key).unwrap();
            continue;
        };
        let mut entry = map.get(&key, 0).unwrap();
        let last = u32::from_ne_bytes(entry[LAST].try_into().unwrap());
        entry[LAST].copy_from_slice(&last.wrapping_sub(ticks(u32::try_from(seconds).unwrap())).to_ne_bytes());
        map.insert(key, entry, 0).unwrap();
    }
}

/// A flow as the kernel's bytes tell it, with the age of the model's.
fn decode(entry: &[u8; 28], last: Duration) -> Flow {
    let word = |at: usize| u32::from_ne_bytes(entry[at..at + 4].try_into().unwrap());
    let [judged, rule, proof] = [word(0), word(12), word(16)];
    let [origin, replied, fin_in, fin_out, reset, imported, rest @ ..] = entry[20..].try_into().map(|own: [u8; 8]| own).unwrap();
    assert_eq!((imported, rest), (0, [0, 0]));
    let origin = if origin == IN { Direction::In } else { Direction::Out };
    let [replied, fin_in, fin_out, reset] = [replied, fin_in, fin_out, reset].map(|own| own == 1);
    Flow { epoch: judged >> 1, denied: judged & 1 == 1, rule, origin, replied, proof, fin_in, fin_out, reset, last }
}

fn run(
    enforcer: &mut Enforcer,
    kernel: &mut Kernel,
    reasons: &RefCell<Memory<End, u32>>,
    steps: &[Step],
) -> Result<(), TestCaseError> {
    kernel.wait(None);
    enforcer.set_audit(false).unwrap();
    enforcer.set_learning(false).unwrap();
    let mut model = Conntrack { now: Duration::from_secs(1 << 20), ..Conntrack::default() };
    let mut real = Instant::now();
    for (at, step) in steps.iter().enumerate() {
        model.now += real.elapsed();
        real = Instant::now();
        match step {
            Step::Wait(seconds) => {
                kernel.wait(Some(*seconds));
                model.now += Duration::from_secs(*seconds);
            }
            Step::Install(table) => {
                model.epoch = enforcer.install(table, [1; 32], 0).unwrap().epoch;
                model.table = table.clone();
            }
            Step::Audit(on) => {
                enforcer.set_audit(*on).unwrap();
                model.audit = *on;
            }
            Step::Learn(on) => {
                enforcer.set_learning(*on).unwrap();
                model.learning = *on;
            }
            Step::Packet(packet) if model.unsure(packet.ends) => prop_assert!(!model.flows.is_empty()),
            Step::Packet(packet) => {
                let expected = model.judge(packet);
                let found = kernel.judge(packet.dir, &frame(packet));
                prop_assert_eq!(found, (expected.verdict != "drop", expected), "step {}: {:?}", at, packet);
                let mut wanted: Vec<_> = model.flows.iter().filter(|((_, ends), _)| *ends == packet.ends).collect();
                wanted.sort_by_key(|((place, _), _)| PLACES.iter().position(|own| own.0 == *place));
                let wanted: Vec<_> = wanted.into_iter().map(|((place, _), flow)| (*place, *flow)).collect();
                let found = kernel.remembered(packet.ends);
                prop_assert_eq!(found.len(), wanted.len(), "after step {}: {:?}", at, packet);
                let found: Vec<_> = found.iter().zip(&wanted).map(|(own, (_, flow))| (own.0, decode(&own.1, flow.last))).collect();
                prop_assert_eq!(found, wanted, "after step {}: {:?}", at, packet);
                *reasons.borrow_mut().entry(expected).or_default() += 1;
            }
        }
    }
    Ok(())
}

#[test]
fn the_loaded_programs_follow_flows_as_the_model_does() {
    let Some(lab) = Lab::new("comparing flows with the model") else { return };
    let cases = std::env::var("PCI_SEGMENT_FLOWS").map_or(40, |cases| cases.parse().unwrap());
    let enforcer = RefCell::new(lab.open());
    let kernel = RefCell::new(Kernel::of(&lab));
    let (reasons, packets) = (RefCell::default(), Cell::new(0));
    let config = ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 400, ..ProptestConfig::default() };
    let outcome = TestRunner::new(config).run(&(table(), steps()), |(first, steps)| {
        let steps: Vec<Step> = [Step::Install(first)].into_iter().chain(steps).collect();
        packets.set(packets.get() + steps.iter().filter(|own| matches!(own, Step::Packet(_))).count());
        run(&mut enforcer.borrow_mut(), &mut kernel.borrow_mut(), &reasons, &steps)
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    let reasons = reasons.borrow();
    let missing: Vec<_> = REASONS.into_iter().filter(|reason| !reasons.keys().any(|own| own.reason == *reason)).collect();
    assert!(missing.is_empty(), "no packet ended as {missing:?}");
    println!("{} packets, {} ends", packets.get(), reasons.len());
}
