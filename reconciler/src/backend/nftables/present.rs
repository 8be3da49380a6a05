//! What is in our table now, as `nft` lists it: names, rules, elements. Nothing is understood here beyond the form of the list.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use policy::net::Direction;
use serde_json::Value;

use super::names::{INTERFACES, TABLE, TRIAL, about, dispatch, epoch_of, failsafe, hook, priority};
use super::run::{Nft, NftError};

/// A rule: its statements and its comment.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Line {
    pub(super) statements: Vec<Value>,
    pub(super) comment: String,
}

/// A chain: its rules and, for a base chain, where it is hooked.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Chain {
    pub(super) hook: Option<String>,
    pub(super) priority: Option<i64>,
    pub(super) policy: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) rules: Vec<Line>,
}

impl Chain {
    /// Whether it is the base chain of a direction, as we make it.
    pub(super) fn is_hooked(&self, direction: Direction) -> bool {
        self.hook.as_deref() == Some(hook(direction))
            && self.priority == Some(priority(direction))
            && self.policy.as_deref() == Some("accept")
            && self.kind.as_deref() == Some("filter")
    }
}

/// Our table.
#[derive(Debug, Clone, Default)]
pub(super) struct Present {
    /// Whether it is there at all.
    pub(super) exists: bool,
    /// Its hooks are switched off.
    pub(super) dormant: bool,
    pub(super) chains: BTreeMap<String, Chain>,
    pub(super) maps: BTreeMap<String, Vec<Value>>,
    pub(super) sets: BTreeMap<String, Vec<Value>>,
    /// Packets and bytes.
    pub(super) counters: BTreeMap<String, (u64, u64)>,
}

impl Present {
    /// Asks the kernel. Without elements a large policy is listed at once.
    pub(super) fn read(nft: &Nft, with_elements: bool) -> Result<Self, NftError> {
        let tables = nft.list(&["tables", "inet"], true)?;
        match parse(&tables).as_ref().map(ours) {
            Ok(None) => return Ok(Self::default()),
            Ok(Some(table)) if table.get("flags").is_none() => {}
            // Ours has no flags: it sleeps, or belongs to a process. Some versions of nft list flags as broken JSON.
            Ok(Some(_)) => return Ok(Self::to_be_replaced()),
            Err(_) => {
                let exists = tables.contains(&format!("\"{TABLE}\""));
                return Ok(Self { exists, dormant: exists, ..Self::default() });
            }
        }
        let listing = parse(&nft.list(&["table", "inet", TABLE], with_elements)?)?;
        let mut present = Self { exists: true, ..Self::default() };
        present.take_all(&listing);
        // Two sets are small, and needed whatever else is.
        let small: Vec<&str> = [TRIAL, INTERFACES].into_iter().filter(|name| present.sets.contains_key(*name)).collect();
        for name in small.into_iter().filter(|_| !with_elements) {
            present.take_all(&parse(&nft.list(&["set", "inet", TABLE, name], true)?)?);
        }
        Ok(present)
    }

    /// A table that is taken away whole before anything else is done.
    pub(super) fn to_be_replaced() -> Self {
        Self { exists: true, dormant: true, ..Self::default() }
    }

    fn take_all(&mut self, listing: &Value) {
        listing.get("nftables").and_then(Value::as_array).into_iter().flatten().for_each(|item| self.take(item));
    }

    fn take(&mut self, item: &Value) {
        let text = |value: &Value, field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let list = |value: &Value, field: &str| value.get(field).and_then(Value::as_array).cloned().unwrap_or_default();
        if let Some(chain) = item.get("chain") {
            let own = self.chains.entry(text(chain, "name")).or_default();
            own.hook = chain.get("hook").and_then(Value::as_str).map(ToOwned::to_owned);
            own.priority = chain.get("prio").and_then(Value::as_i64);
            own.policy = chain.get("policy").and_then(Value::as_str).map(ToOwned::to_owned);
            own.kind = chain.get("type").and_then(Value::as_str).map(ToOwned::to_owned);
        } else if let Some(rule) = item.get("rule") {
            let line = Line { statements: list(rule, "expr"), comment: text(rule, "comment") };
            self.chains.entry(text(rule, "chain")).or_default().rules.push(line);
        } else if let Some(map) = item.get("map") {
            self.maps.insert(text(map, "name"), list(map, "elem"));
        } else if let Some(set) = item.get("set") {
            self.sets.insert(text(set, "name"), list(set, "elem"));
        } else if let Some(counter) = item.get("counter") {
            let number = |field: &str| counter.get(field).and_then(Value::as_u64).unwrap_or_default();
            self.counters.insert(text(counter, "name"), (number("packets"), number("bytes")));
        }
    }

    /// The rules of a chain; none if it is not there.
    pub(super) fn rules(&self, chain: &str) -> &[Line] {
        self.chains.get(chain).map_or(&[], |chain| chain.rules.as_slice())
    }

    /// The newest generation there is any trace of.
    pub(super) fn newest(&self) -> u64 {
        self.chains.keys().chain(self.maps.keys()).filter_map(|name| epoch_of(name)).max().unwrap_or_default()
    }

    /// The generation to go by where nobody can say which one judges: of those that are whole the oldest, because a newer one beside
    /// it is on trial and nobody has vouched for it.
    pub(super) fn safe(&self) -> u64 {
        let whole = |epoch: &u64| !self.rules(&about(*epoch)).is_empty();
        self.chains.keys().filter_map(|name| epoch_of(name)).filter(whole).min().unwrap_or_else(|| self.newest())
    }

    /// The interfaces whose packets are judged.
    pub(super) fn interfaces(&self) -> Vec<&str> {
        self.sets.get(INTERFACES).map_or(&[][..], Vec::as_slice).iter().filter_map(Value::as_str).collect()
    }

    /// Takes away what stands where something of ours must be: a table that sleeps, base chains hooked elsewhere.
    pub(super) fn clear_the_way(&self, out: &mut String) {
        if self.dormant {
            let _ = writeln!(out, "delete table inet {TABLE}\nadd table inet {TABLE}");
            return;
        }
        for direction in Direction::BOTH {
            let name = hook(direction);
            if self.chains.get(name).is_some_and(|chain| !chain.is_hooked(direction)) {
                let _ = writeln!(out, "flush chain inet {TABLE} {name}\ndelete chain inet {TABLE} {name}");
            }
        }
    }

    /// Takes away every chain and map of other generations, and whatever else somebody has put into our table. Rules first: what is
    /// referred to cannot go.
    pub(super) fn remove_all_but(&self, out: &mut String, kept: &[Option<u64>]) {
        if self.dormant {
            return;
        }
        let stays = |name: &str| match epoch_of(name) {
            Some(epoch) => kept.contains(&Some(epoch)),
            None => is_shared(name),
        };
        let chains: BTreeSet<&String> = self.chains.keys().filter(|name| !stays(name)).collect();
        for chain in &chains {
            let _ = writeln!(out, "flush chain inet {TABLE} {chain}");
        }
        for map in self.maps.keys().filter(|name| !stays(name)) {
            let _ = writeln!(out, "delete map inet {TABLE} {map}");
        }
        for set in self.sets.keys().filter(|name| !stays(name)) {
            let _ = writeln!(out, "delete set inet {TABLE} {set}");
        }
        for chain in &chains {
            let _ = writeln!(out, "delete chain inet {TABLE} {chain}");
        }
    }
}

/// Whether a name is one of those that belong to no generation.
fn is_shared(name: &str) -> bool {
    let of_a_direction = |direction| [dispatch(direction), failsafe(direction), hook(direction).to_owned()];
    name == INTERFACES
        || name == TRIAL
        || name.strip_prefix("rule_").is_some_and(|id| id.parse::<u32>().is_ok())
        || Direction::BOTH.into_iter().flat_map(of_a_direction).any(|own| own == name)
}

fn parse(text: &str) -> Result<Value, NftError> {
    serde_json::from_str(text).map_err(|error| NftError::Unreadable(error.to_string()))
}

fn ours(tables: &Value) -> Option<&Value> {
    let items = tables.get("nftables").and_then(Value::as_array).into_iter().flatten();
    items.filter_map(|item| item.get("table")).find(|table| table.get("name").and_then(Value::as_str) == Some(TABLE))
}
