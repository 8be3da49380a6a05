//! A packet through a real interface: frames are drawn from prepared headers and enter the stack as if received.
//!
//! Each rival has a namespace of its own, so that none pays for another's hooks. Frames are for an address nobody has: they pass every
//! hook that filters and end at routing. In nftables such a packet never reaches the point where conntrack keeps its entry, which
//! favours it in column "new".

use std::{collections::BTreeMap, net::IpAddr, time::Instant};

use aya::{
    Ebpf, TestRun as _,
    maps::{Array, HashMap as KernelMap, MapData},
    programs::{TestRunAttrs, TestRunOptions, Xdp, xdp::XdpMode},
};
use enforcer::Enforcer;
use enforcer_abi::{Flow, FlowKey4, IN, TICK_SHIFT};

use crate::{
    frames::{ACK, SYN, segment},
    lab::Lab,
    policy::{OTHER_PORT, PORTS, Peers, peer, table as policy},
    rival::{self, Style},
    statistics::{Rounds, ratio, words},
};

/// Flows of the large working set.
const MANY: usize = 65_536;
/// Frames of one round, fewer where each is slow.
const FRAMES: u32 = 262_144;
const FRAMES_LINEAR: u32 = 4_096;
/// Chains longer than this are not walked: a round would take minutes.
const LINEAR_MAX: usize = 10_000;
/// Frames that are prepared at once.
const BATCH: u32 = 64;
const PLAIN: &[u8] = aya::include_bytes_aligned!("draw.bpf.o");

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Case {
    Established,
    New,
    Refused,
}

impl Case {
    const ALL: [Self; 3] = [Self::Established, Self::New, Self::Refused];

    const fn label(self) -> &'static str {
        match self {
            Self::Established => "established",
            Self::New => "new",
            Self::Refused => "refused",
        }
    }

    fn frame(self, (remote, port): (IpAddr, u16)) -> Vec<u8> {
        match self {
            Self::Established => segment(remote, port, PORTS[0], ACK, true),
            Self::New => segment(remote, port, PORTS[1], SYN, true),
            Self::Refused => segment(remote, port, OTHER_PORT, SYN, true),
        }
    }
}

/// One namespace, its interface, and what makes frames for it.
struct Stand {
    name: &'static str,
    lab: Lab,
    draw: Ebpf,
    hardware: [u8; 12],
    ifindex: u32,
}

impl Stand {
    fn build(name: &'static str) -> Self {
        let lab = Lab::build();
        let mut draw = Ebpf::load(PLAIN).unwrap();
        for name in ["draw", "pass"] {
            let program: &mut Xdp = draw.program_mut(name).unwrap().try_into().unwrap();
            program.load().unwrap();
        }
        lab.in_host(|| {
            let pass: &mut Xdp = draw.program_mut("pass").unwrap().try_into().unwrap();
            // An interface takes live frames only with an XDP program; live frames do not pass it.
            pass.attach("h0", XdpMode::Driver).unwrap();
        });
        let (hardware, ifindex) = (lab.hardware(), lab.index());
        Self { name, lab, draw, hardware, ifindex }
    }

    /// From now on frames are `case` of these flows.
    fn prepare(&mut self, case: Case, flows: &[(IpAddr, u16)]) {
        let mut headers: Array<_, [u8; 64]> = self.draw.map_mut("headers").unwrap().try_into().unwrap();
        for (index, flow) in flows.iter().enumerate() {
            let frame = case.frame(*flow);
            headers.set(index as u32, <[u8; 64]>::try_from(&frame[12..76]).unwrap(), 0).unwrap();
        }
        let mut drawing: Array<_, u64> = self.draw.map_mut("drawing").unwrap().try_into().unwrap();
        drawing.set(0, flows.len() as u64 - 1, 0).unwrap();
    }

    /// Nanoseconds per frame.
    fn run(&self, frames: u32) -> f64 {
        let mut frame = self.hardware.to_vec();
        frame.resize(86, 0);
        let mut context = [0; 24];
        context[4..8].copy_from_slice(&(frame.len() as u32).to_ne_bytes());
        context[12..16].copy_from_slice(&self.ifindex.to_ne_bytes());
        let draw: &Xdp = self.draw.program("draw").unwrap().try_into().unwrap();
        self.lab.in_host(|| {
            let options = TestRunOptions {
                data_in: Some(&frame),
                ctx_in: Some(&context),
                repeat: frames,
                attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
                ..TestRunOptions::new()
            };
            let started = Instant::now();
            draw.test_run(options).unwrap();
            started.elapsed().as_nanos() as f64 / f64::from(frames)
        })
    }
}

/// `count` flows of allowed peers.
fn flows(count: usize, rules: usize) -> Vec<(IpAddr, u16)> {
    (0..count).map(|number| (peer((number + rules / 2) % rules, Peers::Hosts, false), 1_024 + (number / rules) as u16)).collect()
}

pub(crate) fn table(sizes: &[usize], rounds: usize) {
    println!("A packet through the interface, ns over the bare one (minimum of {rounds} rounds), and packets a second with it\n");
    println!(
        "{:>9} {:>7} {:>12} {:>12} {:>12} {:>12} {:>12} {:>20} {:>20} {:>11}",
        "rules", "flows", "", "bare", "ours", "nft map", "nft linear", "ours ÷ nft map", "nft linear ÷ ours", "ours, Mpps"
    );
    let mut bare = Stand::build("bare");
    let mut ours = Stand::build("ours");
    let mut rivals = [(Style::Map, Stand::build("map")), (Style::Linear, Stand::build("linear"))];
    let mut firewall = ours.lab.firewall();
    ours.lab.in_host(|| firewall.attach("h0")).unwrap();
    for rules in sizes {
        for working_set in [1, MANY] {
            let flows = flows(working_set, *rules);
            establish(&ours.lab, &mut firewall, *rules, &flows);
            for (style, stand) in &rivals {
                if *style == Style::Map || *rules <= LINEAR_MAX {
                    rival::install(&stand.lab, *style, *rules, &flows);
                }
            }
            for case in Case::ALL {
                let mut stands: Vec<(&mut Stand, u32)> = vec![(&mut bare, FRAMES), (&mut ours, FRAMES)];
                for (style, stand) in &mut rivals {
                    match style {
                        Style::Map => stands.push((stand, FRAMES)),
                        Style::Linear if *rules <= LINEAR_MAX => stands.push((stand, FRAMES_LINEAR)),
                        Style::Linear => {}
                    }
                }
                let found = interleaved(&mut stands, case, &flows, rounds);
                show(*rules, working_set, case, &found);
            }
        }
    }
}

fn interleaved(
    stands: &mut [(&mut Stand, u32)],
    case: Case,
    flows: &[(IpAddr, u16)],
    rounds: usize,
) -> BTreeMap<&'static str, Rounds> {
    let mut found: BTreeMap<&str, Rounds> = BTreeMap::new();
    for (stand, frames) in stands.iter_mut() {
        stand.prepare(case, flows);
        stand.run(*frames);
    }
    for _ in 0..rounds {
        for (stand, frames) in stands.iter() {
            found.entry(stand.name).or_default().0.push(stand.run(*frames));
        }
    }
    found
}

fn show(rules: usize, flows: usize, case: Case, found: &BTreeMap<&'static str, Rounds>) {
    let bare = &found["bare"];
    let over = |name: &str| found.get(name).map(|rounds| rounds.less(bare));
    let number = |name: &str| over(name).map_or_else(|| "–".to_owned(), |rounds| format!("{:.0}", rounds.min()));
    let ours = over("ours").unwrap();
    let to_map = over("map").map_or_else(String::new, |map| words(ratio(&ours, &map)));
    let to_linear = over("linear").map_or_else(|| "–".to_owned(), |linear| words(ratio(&linear, &ours)));
    println!(
        "{rules:>9} {flows:>7} {:>12} {:>12.0} {:>12} {:>12} {:>12} {to_map:>20} {to_linear:>20} {:>11.2}",
        case.label(),
        bare.min(),
        number("ours"),
        number("map"),
        number("linear"),
        1_000.0 / found["ours"].min()
    );
}

/// Rules in force, and every flow in the table of established ones, as if its handshake had been seen.
fn establish(lab: &Lab, firewall: &mut Enforcer, rules: usize, flows: &[(IpAddr, u16)]) {
    let installed = firewall.install(&policy(rules, Peers::Hosts, false), [1; 32], 0).unwrap();
    let map = aya::maps::Map::LruHashMap(MapData::from_pin(lab.map("tcp4")).unwrap());
    let mut tcp: KernelMap<_, [u8; size_of::<FlowKey4>()], [u8; size_of::<Flow>()]> = map.try_into().unwrap();
    let clock = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    let now = ((clock.tv_sec.cast_unsigned() * 1_000_000_000 + clock.tv_nsec.cast_unsigned()) >> TICK_SHIFT) as u32;
    let flow = Flow { judged: installed.epoch << 1, last: now, created: now, origin: IN, replied: 1, ..Flow::default() };
    for (remote, port) in flows {
        let (IpAddr::V4(remote), IpAddr::V4(local)) = (remote, crate::lab::NOBODY4) else { panic!("IPv4 only") };
        let (local_port, remote_port) = (PORTS[0].to_be(), port.to_be());
        let ends = FlowKey4 { local: local.octets(), remote: remote.octets(), local_port, remote_port, proto: 6, zero: [0; 3] };
        tcp.insert(key_bytes(ends), flow_bytes(flow), 0).unwrap();
    }
}

/// The key as it lies in memory; a field that comes or goes does not compile here.
fn key_bytes(key: FlowKey4) -> [u8; size_of::<FlowKey4>()] {
    let FlowKey4 { local, remote, local_port, remote_port, proto, zero } = key;
    let ports = [local_port.to_ne_bytes(), remote_port.to_ne_bytes()].concat();
    [&local[..], &remote, &ports, &[proto], &zero].concat().try_into().unwrap()
}

fn flow_bytes(flow: Flow) -> [u8; size_of::<Flow>()] {
    let Flow { judged, last, created, rule, proof, origin, replied, fin_in, fin_out, reset, imported, zero } = flow;
    let words = [judged, last, created, rule, proof].map(u32::to_ne_bytes).concat();
    [&words[..], &[origin, replied, fin_in, fin_out, reset, imported], &zero].concat().try_into().unwrap()
}
