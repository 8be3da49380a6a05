//! The table that the kernel enforces, read back from `nft -j list table`.
//!
//! What the policy says comes back as rules, exactly: prefixes from the verdict maps, services from the chains they lead to. The rest
//! of a generation is compared with its seal, a hash over its chains as they were when it was loaded; what belongs to no generation is
//! compared with what it must be. A rule that somebody adds to our chains therefore shows, as damage or as another service.
//!
//! A foreign table cannot take back what ours drops: `accept` in an earlier base chain ends that chain only, the packet goes on to the
//! next one, and a drop anywhere is final. What can keep packets from our hooks altogether is flow offload and a netdev hook that
//! redirects; packets that skip connection tracking are judged as if they opened a flow.

mod elements;
mod failsafe;
mod services;

use std::collections::BTreeMap;
use std::sync::Arc;

use policy::digest::Digest;
use policy::lower::bpf::{Interval, Key, Rule, Table};
use policy::model::Mode;
use policy::net::{Cidr, Direction, Family};
use serde_json::{Value, json};

use self::elements::piece;
use super::firewall::Counted;
use super::names::{INTERFACES, about, digit, dispatch, generation, hook, interface_key, side};
use super::present::{Line, Present};
use super::ranges::{Piece, prefixes};
use super::state::{About, State};
use crate::converge::{Deviation, Difference};

pub(super) use self::failsafe::damage as failsafe_damage;

/// What is there.
#[derive(Debug)]
pub(super) struct Seen {
    /// None where nothing is.
    pub(super) table: Option<Table>,
    /// Nothing is dropped, whatever the table says.
    pub(super) audited: bool,
    /// The generation the table is of.
    pub(super) epoch: u64,
    /// The digest it was loaded with.
    pub(super) digest: String,
    pub(super) state: State,
    pub(super) damage: Vec<Difference>,
}

/// Reads the generation that judges now.
pub(super) fn observe(present: &Present, interfaces: &[String]) -> Seen {
    let state = State::of(present);
    let mut damage = Vec::new();
    let Some((epoch, audited)) = state.judging(present.safe()) else {
        damage.extend(present.dormant.then(|| detached("table", "in use", "dormant")));
        return Seen { table: None, audited: false, epoch: 0, digest: String::new(), state, damage };
    };
    let said = About::read(present.rules(&about(epoch)));
    let table = table(present, epoch, &said);
    damage.extend(hooks(present, interfaces));
    if state == State::Broken {
        damage.push(changed("dispatch", "one generation", "none that can be told"));
    }
    if said.seal.as_deref() != Some(seal(present, epoch).to_string().as_str()) {
        let observed = if said.seal.is_none() { "loaded, and never checked" } else { "other rules" };
        damage.push(changed("chains", "as they were loaded", observed));
    }
    Seen { table: Some(table), audited, epoch, digest: said.digest, state, damage }
}

/// The hash over those chains of a generation that do not say which services are open.
pub(super) fn seal(present: &Present, epoch: u64) -> Digest {
    let mut text = String::new();
    for direction in Direction::BOTH {
        let name = generation(epoch, direction);
        let own = present.chains.iter().filter(|(chain, _)| {
            let rest = chain.strip_prefix(&name);
            rest.is_some_and(|rest| (rest.is_empty() || rest.starts_with('_')) && !services::speaks(rest))
        });
        for (chain, content) in own {
            text.extend([chain.as_str(), "\n"]);
            content.rules.iter().for_each(|line| text.extend([Value::Array(line.statements.clone()).to_string(), "\n".into()]));
        }
    }
    Digest::of(text.as_bytes())
}

fn changed(key: &str, expected: &str, observed: &str) -> Difference {
    Difference {
        key: key.to_owned(),
        kind: Deviation::Changed,
        expected: expected.to_owned(),
        observed: observed.to_owned(),
        ..Difference::default()
    }
}

fn detached(key: &str, expected: &str, observed: &str) -> Difference {
    Difference { kind: Deviation::Detached, ..changed(key, expected, observed) }
}

/// Base chains and the set of interfaces they look at.
pub(super) fn hooks(present: &Present, interfaces: &[String]) -> Vec<Difference> {
    let mut found = Vec::new();
    for direction in Direction::BOTH {
        let name = hook(direction);
        let key = format!("hook {name}");
        let jump = [
            json!({"match": {"op": "==", "left": {"meta": {"key": interface_key(direction)}}, "right": format!("@{INTERFACES}")}}),
            json!({"goto": {"target": dispatch(direction)}}),
        ];
        match present.chains.get(name) {
            None => found.push(detached(&key, "our chain", "none")),
            Some(chain) if chain.hook.is_none() => found.push(detached(&key, "hooked", "a chain without a hook")),
            Some(chain) if !chain.is_hooked(direction) => {
                let place = format!("{:?} {:?} {:?}", chain.hook, chain.priority, chain.policy);
                found.push(changed(&key, "our place, policy accept", &place));
            }
            Some(chain) => match chain.rules.as_slice() {
                [only] if only.statements == jump => {}
                [] => found.push(detached(&key, "the interfaces", "no rule")),
                _ => found.push(changed(&key, "one rule", "other rules")),
            },
        }
    }
    let known = present.interfaces();
    let missing = interfaces.iter().filter(|name| !known.contains(&name.as_str()));
    found.extend(missing.map(|name| detached(&format!("interface {name}"), "filtered", "not in the set")));
    let extra = known.iter().filter(|name| !interfaces.iter().any(|own| own == *name));
    found.extend(extra.map(|name| Difference { kind: Deviation::Extra, ..changed(&format!("interface {name}"), "", "filtered") }));
    found
}

/// The rules of one generation.
fn table(present: &Present, epoch: u64, said: &About) -> Table {
    let mut table = BTreeMap::new();
    for (direction, isolation) in Direction::BOTH.into_iter().zip(&said.isolation) {
        let mode = match isolation.as_deref() {
            Some("audit") => Mode::Audit,
            Some(_) => Mode::Enforce,
            None => continue,
        };
        table.insert(Key::Isolation { direction }, Rule::Isolation(mode));
        let name = generation(epoch, direction);
        for family in Family::BOTH {
            let mut any = Vec::new();
            for chain in ["any", "late"] {
                any.extend(services::read(present, &format!("{name}_{chain}{}", digit(family)), &name));
            }
            let any = services::merge(any);
            if !any.is_empty() {
                table.insert(Key::Any { direction, family }, Rule::Services(any.into()));
            }
        }
        prefixes_of(present, direction, &name, &mut table);
    }
    table
}

fn prefixes_of(present: &Present, direction: Direction, name: &str, table: &mut Table) {
    let nothing: Arc<[Interval]> = Arc::from([]);
    let mut lists: BTreeMap<String, Arc<[Interval]>> = BTreeMap::new();
    let mut list = |target: &str| {
        let read = || Arc::from(services::merge(services::read(present, target, name)));
        Arc::clone(lists.entry(target.to_owned()).or_insert_with(read))
    };
    let covered = covered(present.rules(&format!("{name}_covered")));
    for family in Family::BOTH {
        let mut values = |kind: &str| -> Vec<Piece<Arc<[Interval]>>> {
            let map = format!("{name}_{kind}{}", digit(family));
            let mut found: Vec<_> = present
                .maps
                .get(&map)
                .map_or(&[][..], Vec::as_slice)
                .iter()
                .filter_map(|element| piece(element, family))
                .map(|(range, owner, target)| Piece { range, owner, value: list(&target) })
                .collect();
            found.sort_by_key(|piece| piece.range);
            found
        };
        let (nets, hosts) = (values("nets"), values("hosts"));
        let own: Vec<(Cidr, Arc<[Interval]>)> = covered
            .iter()
            .filter(|(prefix, _)| prefix.family() == family)
            .map(|(prefix, target)| (*prefix, list(target)))
            .collect();
        let nets = prefixes(family, &nets, &own, &nothing);
        let hosts = hosts.into_iter().filter_map(|host| Some((host.owner?, host.value)));
        table.extend(nets.into_iter().chain(hosts).map(|(prefix, list)| (Key::Prefix { direction, prefix }, Rule::Services(list))));
    }
}

fn covered(rules: &[Line]) -> Vec<(Cidr, String)> {
    let entry = |line: &Line| {
        let target = line.statements.first()?.get("goto")?.get("target")?.as_str()?;
        Some((Cidr::parse(&line.comment).ok()?, target.to_owned()))
    };
    rules.iter().filter_map(entry).collect()
}

/// The rules of a generation that is there, in force or not.
pub(super) fn table_of(present: &Present, epoch: u64) -> Table {
    table(present, epoch, &About::read(present.rules(&about(epoch))))
}

/// Every counter of packets.
pub(super) fn counts(present: &Present) -> Vec<Counted> {
    let mut found = Vec::new();
    for direction in Direction::BOTH.map(side) {
        for verdict in ["would_drop", "would_pass", "drop", "pass"] {
            let before = format!("{direction}_{verdict}_");
            let own = present.counters.iter().filter_map(|(name, counted)| Some((name.strip_prefix(&before)?, *counted)));
            found.extend(own.map(|(reason, (packets, bytes))| Counted {
                direction,
                verdict,
                reason: reason.to_owned(),
                packets,
                bytes,
            }));
        }
    }
    found
}

/// Flows that each rule has let in or out, by the rule's number.
pub(super) fn rule_flows(present: &Present) -> Vec<(u32, u64)> {
    let rule = |(name, (packets, _)): (&String, &(u64, u64))| Some((name.strip_prefix("rule_")?.parse().ok()?, *packets));
    present.counters.iter().filter_map(rule).filter(|(_, flows)| *flows > 0).collect()
}
