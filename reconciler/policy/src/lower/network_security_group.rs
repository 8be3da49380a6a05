//! Network security groups of Azure: rules by priority, and an explicit deny below ours in both directions, because the built-in
//! rules let the virtual network and the way to the Internet pass.
//!
//! Allow rules never contradict one another, so their order means nothing and a priority is an address, not part of what a rule is: a
//! rule that survives keeps its number ([`Priorities`]), a new one takes a free one, and nothing is ever moved. Service tags are never
//! guessed. What a group cannot say (types of ICMP, all of ICMPv6, SCTP) is refused.

mod priorities;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

pub use priorities::{FIRST, LAST, Priorities};

use super::Unsupported;
use super::cloud::{Pass, Subject, Why, passes, prefixes};
use crate::compile::Ruleset;
use crate::digest::{Canonical, count, text};
use crate::net::service::{ICMP, TCP, UDP};
use crate::net::{Cidr, Direction, Family, Service, ServiceRange};

/// The backend's name.
pub const BACKEND: &str = "azure";
/// Rules of a group, and prefixes in all its rules together
/// <https://learn.microsoft.com/azure/azure-resource-manager/management/azure-subscription-service-limits>.
pub const RULES_PER_GROUP: usize = 1_000;
/// Prefixes of one direction in all rules of a group together.
pub const PREFIXES_PER_GROUP: usize = 4_000;
/// Encapsulating security payload.
const ESP: u8 = 50;
/// Authentication header.
const AH: u8 = 51;

/// What Azure calls protocol and ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Traffic {
    /// `*`
    All,
    /// `Tcp`, `Udp`, `Icmp`, `Esp` or `Ah` as a whole.
    Protocol(u8),
    /// TCP or UDP from one port to another.
    Ports {
        /// The protocol.
        protocol: u8,
        /// The first port.
        first: u16,
        /// The last.
        last: u16,
    },
}

/// What there can be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A group.
    Group {
        /// Its name.
        group: Arc<str>,
    },
    /// A rule that allows.
    Allow {
        /// The group.
        group: Arc<str>,
        /// Into or out of it.
        direction: Direction,
        /// What passes.
        traffic: Traffic,
        /// Of which family the addresses are.
        family: Family,
    },
    /// The deny below all of them.
    Deny {
        /// The group.
        group: Arc<str>,
        /// Into or out of it.
        direction: Direction,
    },
    /// A subnet or interface with the group.
    Member {
        /// The group.
        group: Arc<str>,
        /// The interface.
        id: Arc<str>,
    },
}

/// What there is under a key: the addresses on the other side; none where the key says it all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Rule {
    /// Sorted, each once.
    pub prefixes: Vec<Cidr>,
}

/// All groups of one place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// What should be there.
    pub rules: BTreeMap<Key, Rule>,
    /// The rules that asked for it.
    pub why: BTreeMap<Key, BTreeSet<Why>>,
}

/// The groups of one place.
///
/// # Errors
/// What a group cannot say, and groups beyond their limits with the rule that costs most.
pub fn lower(ruleset: &Ruleset, subjects: &[Subject]) -> Result<Table, Vec<Unsupported>> {
    let mut table = Table::default();
    let mut refused = Vec::new();
    for subject in subjects {
        let group = || subject.name.clone();
        table.rules.insert(Key::Group { group: group() }, Rule::default());
        let members = subject.ids.iter().map(|id| (Key::Member { group: group(), id: id.clone() }, Rule::default()));
        table.rules.extend(members);
        let mut count = 0;
        for direction in Direction::BOTH {
            table.rules.insert(Key::Deny { group: group(), direction }, Rule::default());
            let passes = passes(ruleset, &subject.endpoint, direction);
            let mut way = Way { subject, direction, sets: BTreeMap::new(), why: BTreeMap::new() };
            passes.iter().for_each(|pass| refused.extend(way.allow(pass)));
            count += way.sets.len() + 1;
            refused.extend(way.beyond(&passes));
            table.why.append(&mut way.why);
            let rules = way.sets.into_iter().map(|(key, set)| (key, Rule { prefixes: set.into_iter().collect() }));
            table.rules.extend(rules);
        }
        if count > RULES_PER_GROUP {
            let message = format!("network security group {} needs {count} rules, {RULES_PER_GROUP} are allowed", subject.name);
            refused.push(Unsupported { backend: BACKEND, policy: None, rule: None, place: None, message });
        }
    }
    if refused.is_empty() { Ok(table) } else { Err(refused) }
}

/// One direction of a group while it is put together.
struct Way<'a> {
    subject: &'a Subject,
    direction: Direction,
    sets: BTreeMap<Key, BTreeSet<Cidr>>,
    why: BTreeMap<Key, BTreeSet<Why>>,
}

impl Way<'_> {
    fn allow(&mut self, pass: &Pass<'_>) -> Option<Unsupported> {
        let traffic = match traffic(&pass.services) {
            Ok(traffic) => traffic,
            Err(why) => return Some(pass.unsupported(BACKEND, why)),
        };
        for family in Family::BOTH {
            let prefixes = prefixes(pass.whom, family);
            for traffic in traffic.iter().filter(|traffic| !prefixes.is_empty() && traffic.is_of(family)) {
                let key = Key::Allow { group: self.subject.name.clone(), direction: self.direction, traffic: *traffic, family };
                self.sets.entry(key.clone()).or_default().extend(prefixes.iter().copied());
                self.why.entry(key).or_default().insert(pass.why.clone());
            }
        }
        None
    }

    fn beyond(&self, passes: &[Pass<'_>]) -> Option<Unsupported> {
        let needed: usize = self.sets.values().map(BTreeSet::len).sum();
        if needed <= PREFIXES_PER_GROUP {
            return None;
        }
        let cost = |pass: &&Pass<'_>| Family::BOTH.map(|family| prefixes(pass.whom, family).len()).iter().sum::<usize>();
        let dearest = passes.iter().max_by_key(cost)?;
        let message = format!(
            "network security group {} needs {needed} {} address prefixes, {PREFIXES_PER_GROUP} are allowed; this rule alone needs {}",
            self.subject.name,
            self.direction.name(),
            cost(&dearest),
        );
        Some(dearest.unsupported(BACKEND, message))
    }
}

impl Traffic {
    /// Whether packets of a family can be it.
    #[must_use]
    pub fn is_of(self, family: Family) -> bool {
        self != Self::Protocol(ICMP) || family == Family::V4
    }

    /// The services that pass.
    #[must_use]
    pub fn services(self) -> ServiceRange {
        match self {
            Self::All => ServiceRange::ALL,
            Self::Protocol(protocol) => ServiceRange::protocol(protocol),
            Self::Ports { protocol, first, last } => ServiceRange::ports(protocol, first, last),
        }
    }

    /// `Tcp`, `Udp`, `Icmp`, `Esp`, `Ah` or `*`.
    #[must_use]
    pub fn protocol_word(self) -> &'static str {
        match self {
            Self::Protocol(TCP) | Self::Ports { protocol: TCP, .. } => "Tcp",
            Self::Protocol(UDP) | Self::Ports { protocol: UDP, .. } => "Udp",
            Self::Protocol(ICMP) => "Icmp",
            Self::Protocol(ESP) => "Esp",
            Self::Protocol(AH) => "Ah",
            Self::All | Self::Protocol(_) | Self::Ports { .. } => "*",
        }
    }

    /// `443`, `8000-8100` or `*`.
    #[must_use]
    pub fn port_word(self) -> String {
        match self {
            Self::Ports { first, last, .. } if first == last => first.to_string(),
            Self::Ports { first, last, .. } => format!("{first}-{last}"),
            Self::All | Self::Protocol(_) => "*".to_string(),
        }
    }
}

/// Services in the words of Azure, exactly or not at all.
pub(crate) fn traffic(services: &[ServiceRange]) -> Result<Vec<Traffic>, String> {
    let mut found = Vec::new();
    for range in services {
        if *range == ServiceRange::ALL {
            found.push(Traffic::All);
            continue;
        }
        let protocol_of = |number: u32| u8::try_from(number >> 16).unwrap_or(u8::MAX);
        for protocol in protocol_of(range.lo())..=protocol_of(range.hi()) {
            found.push(of_protocol(protocol, *range)?);
        }
    }
    Ok(found)
}

fn of_protocol(protocol: u8, range: ServiceRange) -> Result<Traffic, String> {
    let whole = ServiceRange::protocol(protocol);
    let name = Service::new(protocol, 0).protocol_name();
    match protocol {
        TCP | UDP | ICMP | ESP | AH if range.covers(whole) => Ok(Traffic::Protocol(protocol)),
        TCP | UDP => {
            let port = |number: u32| u16::try_from(number & 0xFFFF).unwrap_or(u16::MAX);
            Ok(Traffic::Ports { protocol, first: port(range.lo().max(whole.lo())), last: port(range.hi().min(whole.hi())) })
        }
        ICMP => Err("a network security group knows ICMP only as a whole, without types".to_string()),
        _ => Err(format!("a network security group does not know protocol {name}; choose another backend")),
    }
}

impl Key {
    /// The group it is about.
    #[must_use]
    pub fn group(&self) -> &Arc<str> {
        match self {
            Self::Group { group } | Self::Allow { group, .. } | Self::Deny { group, .. } | Self::Member { group, .. } => group,
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group { group } => write!(f, "group {group}"),
            Self::Allow { group, direction, traffic, family } => {
                let (protocol, ports) = (traffic.protocol_word(), traffic.port_word());
                write!(f, "{group} {} {protocol} {ports} {}", direction.name(), family.name())
            }
            Self::Deny { group, direction } => write!(f, "{group} {} deny", direction.name()),
            Self::Member { group, id } => write!(f, "{group} on {id}"),
        }
    }
}

impl Canonical for Key {
    fn canonical(&self, out: &mut Vec<u8>) {
        text(out, &self.to_string());
    }
}

impl Canonical for Rule {
    fn canonical(&self, out: &mut Vec<u8>) {
        count(out, self.prefixes.len());
        self.prefixes.iter().for_each(|prefix| text(out, &prefix.to_string()));
    }
}

#[cfg(test)]
mod tests;
