//! One script for everything: a whole generation beside the one in force, the turn to it, and the removal of what is no longer used.
//!
//! `nft` hands it to the kernel as one transaction, and packets see the state before or the state after. Generations are kept apart
//! by name, so that one on trial has the older one beside it; counters and the failsafe belong to none and survive every change.
//!
//! Nothing in a script comes from people: names of interfaces are checked to be no more than names, the rest are numbers.

mod generation;
mod sample;
mod services;
mod tables;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use enforcer::{Direction as Opens, FailsafeEntry};
use policy::digest::Digest;
use policy::lower::bpf::Table;
use policy::model::Mode;
use policy::net::{Direction, Family};

pub(super) use self::sample::sample;
pub(super) use self::services::has_ports;
use self::tables::Side;
use super::names::{
    INTERFACES, TABLE, TRIAL, about, digit, dispatch, failsafe, generation as generation_name, header, hook, interface_key,
    peer_key, priority, rule, side,
};
use super::present::Present;

/// What is to be put in force.
#[derive(Debug, Clone, Copy)]
pub(super) struct Order<'a> {
    pub(super) table: &'a Table,
    pub(super) digest: Digest,
    pub(super) epoch: u64,
    pub(super) interfaces: &'a [String],
    pub(super) failsafe: &'a [FailsafeEntry],
    /// Whether the DHCP client passes.
    pub(super) dhcp: bool,
    pub(super) judges: Judges,
}

/// Who judges once a script is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judges {
    /// What is loaded, on trial if there is a way back.
    At(Option<WayBack>),
    /// Nobody: everything is in place all the same.
    Nobody,
    /// Nobody for so long, then what is loaded.
    Later(Duration),
}

impl Judges {
    /// Which older generation is still needed.
    pub(super) fn keeps(self) -> Option<u64> {
        match self {
            Self::At(back) => back.and_then(|back| back.to),
            Self::Nobody | Self::Later(_) => None,
        }
    }
}

/// What is in force again when the trial ends without a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WayBack {
    pub(super) within: Duration,
    /// The older generation; none where nothing was enforced.
    pub(super) to: Option<u64>,
}

/// Chains and their rules, in order.
#[derive(Debug, Default)]
pub(super) struct Chains(Vec<(String, Vec<String>)>);

impl Chains {
    fn chain(&mut self, name: &str, rules: impl IntoIterator<Item = String>) {
        self.0.push((name.to_owned(), rules.into_iter().collect()));
    }

    fn write(&self, out: &mut String) {
        for (name, rules) in &self.0 {
            let _ = writeln!(out, " chain {name} {{");
            rules.iter().for_each(|rule| out.extend(["  ", rule, "\n"]));
            out.push_str(" }\n");
        }
    }
}

/// Counts a flow once, with its first packet: the entry of connection tracking is confirmed when that packet has left the hooks.
fn count_flow(id: u32) -> String {
    format!("ct status & confirmed != confirmed counter name \"{}\"", rule(id))
}

/// Everything: the script that puts `order` in force over what is `present`.
pub(super) fn install(order: &Order<'_>, present: &Present) -> String {
    let sides = Direction::BOTH.map(|direction| Side::of(order.table, direction, order.epoch));
    let rules: BTreeSet<u32> = sides.iter().flat_map(Side::intervals).map(|interval| interval.rule).collect();
    let mut out = String::new();
    shared(&mut out, present, &rules);
    let _ = writeln!(out, "table inet {TABLE} {{");
    maps(&mut out, &sides);
    let mut chains = Chains::default();
    for side in &sides {
        generation::write(&mut chains, side, order.dhcp);
    }
    for id in &rules {
        chains.chain(&rule(*id), [count_flow(*id), "accept".to_owned()]);
    }
    let [inbound, outbound] = &sides;
    let says = format!(
        "epoch={} in={} out={} digest={}",
        order.epoch,
        isolation(inbound.isolation),
        isolation(outbound.isolation),
        order.digest
    );
    chains.chain(&about(order.epoch), [format!("continue comment \"{says}\"")]);
    failsafe_chains(&mut chains, order.failsafe);
    let (first, then, clock) = match order.judges {
        Judges::At(back) => (Some(order.epoch), back.map(|back| back.to), back.map(|back| back.within)),
        Judges::Nobody => (None, None, None),
        Judges::Later(within) => (None, Some(Some(order.epoch)), Some(within)),
    };
    hooks(&mut chains, first, then);
    chains.write(&mut out);
    out.push_str("}\n");
    interfaces(&mut out, order.interfaces);
    if let Some(within) = clock {
        on_the_clock(&mut out, within);
    }
    let kept = [Some(order.epoch), order.judges.keeps()];
    present.remove_all_but(&mut out, &kept);
    out
}

/// Ends a trial: `judge` alone is in force, or nobody; every generation but `kept` is removed.
pub(super) fn settle(judge: Option<u64>, kept: u64, present: &Present) -> String {
    let mut out = String::new();
    for direction in Direction::BOTH {
        let _ = writeln!(out, "flush chain inet {TABLE} {}", dispatch(direction));
    }
    let mut chains = Chains::default();
    dispatches(&mut chains, judge, None);
    block(&mut out, &chains);
    let _ = writeln!(out, "flush set inet {TABLE} {TRIAL}");
    present.remove_all_but(&mut out, &[Some(kept)]);
    out
}

/// Nobody judges for `within`, then `epoch` does; every other generation is removed.
pub(super) fn off(epoch: u64, within: Duration, present: &Present) -> String {
    let mut out = String::new();
    for direction in Direction::BOTH {
        let _ = writeln!(out, "flush chain inet {TABLE} {}", dispatch(direction));
    }
    let mut chains = Chains::default();
    dispatches(&mut chains, None, Some(Some(epoch)));
    block(&mut out, &chains);
    let _ = writeln!(out, "flush set inet {TABLE} {TRIAL}");
    on_the_clock(&mut out, within);
    present.remove_all_but(&mut out, &[Some(epoch)]);
    out
}

/// Starts the kernel's own timer.
fn on_the_clock(out: &mut String, within: Duration) {
    let left = within.as_secs().max(1);
    let _ = writeln!(out, "add element inet {TABLE} {TRIAL} {{ ipv4 timeout {left}s, ipv6 timeout {left}s }}");
}

/// Another failsafe list, and nothing else.
pub(super) fn failsafe_list(entries: &[FailsafeEntry]) -> String {
    let mut out = String::new();
    for direction in Direction::BOTH {
        let _ = writeln!(out, "flush chain inet {TABLE} {}", failsafe(direction));
    }
    let mut chains = Chains::default();
    failsafe_chains(&mut chains, entries);
    block(&mut out, &chains);
    out
}

/// What a generation's chains were when it was loaded, so that a change by hand is seen.
pub(super) fn seal(epoch: u64, sum: &Digest) -> String {
    format!("add rule inet {TABLE} {} continue comment \"seal={sum}\"\n", about(epoch))
}

/// Takes everything of ours away.
pub(super) fn remove() -> String {
    format!("add table inet {TABLE}\ndelete table inet {TABLE}\n")
}

fn block(out: &mut String, chains: &Chains) {
    let _ = writeln!(out, "table inet {TABLE} {{");
    chains.write(out);
    out.push_str("}\n");
}

fn isolation(mode: Option<Mode>) -> &'static str {
    match mode {
        Some(Mode::Enforce) => "enforce",
        Some(Mode::Audit) => "audit",
        None => "none",
    }
}

/// What outlives generations: declared if it is not there, then emptied, to be filled again in the same transaction.
fn shared(out: &mut String, present: &Present, rules: &BTreeSet<u32>) {
    let _ = writeln!(out, "add table inet {TABLE}");
    present.clear_the_way(out);
    let _ = writeln!(out, "table inet {TABLE} {{");
    for counter in generation::counters().chain(rules.iter().map(|id| rule(*id))) {
        let _ = writeln!(out, " counter {counter} {{ }}");
    }
    let _ = writeln!(out, " set {INTERFACES} {{ type ifname; }}\n set {TRIAL} {{ type nf_proto; flags timeout; }}");
    let mut chains: Vec<String> = rules.iter().map(|id| rule(*id)).collect();
    for direction in Direction::BOTH {
        let hook = hook(direction);
        let _ = writeln!(out, " chain {hook} {{ type filter hook {hook} priority {}; policy accept; }}", priority(direction));
        chains.extend([dispatch(direction), failsafe(direction)]);
    }
    for chain in &chains {
        let _ = writeln!(out, " chain {chain} {{ }}");
    }
    out.push_str("}\n");
    for chain in chains.iter().map(String::as_str).chain(Direction::BOTH.map(hook)) {
        let _ = writeln!(out, "flush chain inet {TABLE} {chain}");
    }
    let _ = writeln!(out, "flush set inet {TABLE} {INTERFACES}\nflush set inet {TABLE} {TRIAL}");
}

fn maps(out: &mut String, sides: &[Side<'_>]) {
    for side in sides.iter().filter(|side| side.isolation.is_some()) {
        for map in &side.maps {
            let flags = if map.kind == "nets" { " flags interval;" } else { "" };
            let name = format!("{}_{}{}", side.name, map.kind, digit(map.family));
            let of = if map.family == Family::V4 { "ipv4_addr" } else { "ipv6_addr" };
            let elements = match map.elements.as_str() {
                "" => String::new(),
                all => format!(" elements = {{ {all} }}"),
            };
            let _ = writeln!(out, " map {name} {{ type {of} : verdict;{flags}{elements}\n }}");
        }
    }
}

fn interfaces(out: &mut String, names: &[String]) {
    if !names.is_empty() {
        let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
        let _ = writeln!(out, "add element inet {TABLE} {INTERFACES} {{ {} }}", quoted.join(", "));
    }
}

fn hooks(chains: &mut Chains, new: Option<u64>, back: Option<Option<u64>>) {
    dispatches(chains, new, back);
    for direction in Direction::BOTH {
        let jump = format!("{} @{INTERFACES} goto {}", interface_key(direction), dispatch(direction));
        chains.chain(hook(direction), [jump]);
    }
}

/// The one rule that says which generation judges; two as long as one is on trial.
fn dispatches(chains: &mut Chains, new: Option<u64>, back: Option<Option<u64>>) {
    for direction in Direction::BOTH {
        let goto = |epoch: Option<u64>| match epoch {
            Some(epoch) => format!("goto {}", generation_name(epoch, direction)),
            None => "accept".to_owned(),
        };
        let rules = match back {
            None => vec![goto(new)],
            Some(old) => vec![format!("meta nfproto @{TRIAL} {}", goto(new)), goto(old)],
        };
        chains.chain(&dispatch(direction), rules);
    }
}

/// Matched without state, as part of a flow of either end. A segment that opens a connection is never taken for the reply side.
fn failsafe_chains(chains: &mut Chains, entries: &[FailsafeEntry]) {
    for direction in Direction::BOTH {
        let opens = if direction == Direction::Ingress { Opens::In } else { Opens::Out };
        let line = |entry: &FailsafeEntry| {
            let family = Family::of(entry.peer.addr());
            let (port, guard) = match (entry.direction == opens, entry.proto) {
                (true, _) => ("dport", ""),
                (false, 6) => ("sport", " tcp flags & (syn|ack) != syn"),
                (false, _) => ("sport", ""),
            };
            format!(
                "{} {} {} meta l4proto {} th {port} {}{guard} counter name \"{}_pass_failsafe\" accept",
                header(family),
                peer_key(direction),
                entry.peer,
                entry.proto,
                entry.port,
                side(direction)
            )
        };
        chains.chain(&failsafe(direction), entries.iter().map(line));
    }
}

/// A name that the kernel takes for an interface and that nft takes for nothing but a name.
pub(super) fn is_plain_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_graphic() && !"\"\\*/:".contains(c);
    (1..=15).contains(&name.len()) && name.chars().all(plain) && name != "." && name != ".."
}

#[cfg(test)]
mod tests;
