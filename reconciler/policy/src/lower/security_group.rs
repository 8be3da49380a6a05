//! Security groups of AWS: only allow rules exist, and all groups of an interface together are what passes.
//!
//! A rule is about one direction, one protocol with its ports, and one prefix or group on the other side; that is its identity, as it
//! is for AWS. An `except` becomes the prefixes that are left. AWS counts rules by group, direction and family, so that is how they
//! are counted here.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use super::Unsupported;
use super::cloud::{Pass, Subject, Why, passes, prefixes};
use crate::compile::Ruleset;
use crate::digest::{Canonical, text};
use crate::model::{Peer, Whom};
use crate::net::service::{ICMP, ICMPV6, SCTP, TCP, UDP};
use crate::net::{AddressSet, Cidr, Direction, Family, Service, ServiceRange};

/// The backend's name.
pub const BACKEND: &str = "aws";
/// Rules of one direction and family in a group, where nothing else is known
/// <https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html>.
pub const RULES_PER_GROUP: usize = 60;
/// The last port, and the last ICMP code when all are meant by numbers.
const PORT_MAX: u16 = u16::MAX;

/// What AWS calls protocol and ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Traffic {
    /// Protocol `-1`.
    All,
    /// Every port, or every type, of one protocol.
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
    /// One type of ICMP, and one code of it or all.
    Icmp {
        /// [`ICMP`] or [`ICMPV6`].
        protocol: u8,
        /// The type.
        kind: u8,
        /// The code; all if absent.
        code: Option<u8>,
    },
}

/// Who is on the other side of a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Addresses.
    Prefix(Cidr),
    /// Whoever belongs to a group of ours.
    Group(Arc<str>),
    /// What we never ask for and may find: a list of prefixes kept elsewhere, a group of somebody else.
    Other(Arc<str>),
}

/// What there can be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A group.
    Group {
        /// Its name.
        group: Arc<str>,
    },
    /// A rule of a group.
    Rule {
        /// The group.
        group: Arc<str>,
        /// Into or out of it.
        direction: Direction,
        /// What passes.
        traffic: Traffic,
        /// Who is on the other side.
        side: Side,
    },
    /// An interface in a group.
    Member {
        /// The group.
        group: Arc<str>,
        /// The interface.
        id: Arc<str>,
    },
}

/// What is asked for, with the rule that first asked for it.
pub type Table = BTreeMap<Key, Why>;

/// What bounds a group, and how peers are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Rules of one direction and family in a group.
    pub rules_per_group: usize,
    /// Whether peers that are all members of our groups are named by them. Only where we attach the groups ourselves.
    pub name_groups: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self { rules_per_group: RULES_PER_GROUP, name_groups: false }
    }
}

/// The groups of one network.
///
/// # Errors
/// What a group cannot say, and groups that pass the quota with the rule that costs most.
pub fn lower(ruleset: &Ruleset, subjects: &[Subject], limits: Limits) -> Result<Table, Vec<Unsupported>> {
    let mut table = Table::new();
    let mut refused = Vec::new();
    for subject in subjects {
        table.insert(Key::Group { group: subject.name.clone() }, Why::NotIsolated);
        for id in &subject.ids {
            table.insert(Key::Member { group: subject.name.clone(), id: id.clone() }, Why::NotIsolated);
        }
        for direction in Direction::BOTH {
            let passes = passes(ruleset, &subject.endpoint, direction);
            let mut group = Group { subject, direction, rules: BTreeMap::new(), costs: Vec::new() };
            for pass in &passes {
                let before = group.rules.len();
                match traffic(&pass.services) {
                    Ok(traffic) => group.allow(pass, &traffic, if limits.name_groups { subjects } else { &[] }),
                    Err(why) => refused.push(pass.unsupported(BACKEND, why)),
                }
                group.costs.push(group.rules.len() - before);
            }
            refused.extend(group.beyond(&passes, limits.rules_per_group));
            table.extend(group.rules);
        }
    }
    if refused.is_empty() { Ok(table) } else { Err(refused) }
}

/// One direction of a group while it is put together.
struct Group<'a> {
    subject: &'a Subject,
    direction: Direction,
    rules: Table,
    /// Per pass, how many rules it has added.
    costs: Vec<usize>,
}

impl Group<'_> {
    fn allow(&mut self, pass: &Pass<'_>, traffic: &[Traffic], named: &[Subject]) {
        for family in Family::BOTH {
            let (groups, prefixes) = sides(pass.whom, family, named);
            let sides = groups.into_iter().map(Side::Group).chain(prefixes.into_iter().map(Side::Prefix));
            for side in sides {
                for traffic in traffic.iter().filter(|traffic| traffic.is_of(family)) {
                    let (group, direction) = (self.subject.name.clone(), self.direction);
                    let key = Key::Rule { group, direction, traffic: *traffic, side: side.clone() };
                    self.rules.entry(key).or_insert_with(|| pass.why.clone());
                }
            }
        }
    }

    /// Whether it passes the quota: by how much, and which rule costs most.
    fn beyond(&self, passes: &[Pass<'_>], most: usize) -> Option<Unsupported> {
        let count = Family::BOTH.map(|family| (self.rules.keys().filter(|key| key.counts_for(family)).count(), family));
        let (needed, family) = count.into_iter().max_by_key(|(needed, _)| *needed).filter(|(needed, _)| *needed > most)?;
        let (dearest, cost) = passes.iter().zip(&self.costs).max_by_key(|(_, cost)| **cost)?;
        let message = format!(
            "security group {} needs {needed} {} rules for {}, {most} are allowed; this rule alone needs {cost}",
            self.subject.name,
            self.direction.name(),
            family.name(),
        );
        Some(dearest.unsupported(BACKEND, message))
    }
}

impl Key {
    /// Whether the quota of a family counts it. A rule that names a group, or something else, counts for both.
    #[must_use]
    pub fn counts_for(&self, family: Family) -> bool {
        match self {
            Self::Rule { side: Side::Prefix(cidr), .. } => cidr.family() == family,
            Self::Rule { side: Side::Group(_) | Side::Other(_), .. } => true,
            Self::Group { .. } | Self::Member { .. } => false,
        }
    }

    /// The group it is about.
    #[must_use]
    pub fn group(&self) -> &Arc<str> {
        match self {
            Self::Group { group } | Self::Rule { group, .. } | Self::Member { group, .. } => group,
        }
    }
}

/// Groups that hold nobody but such peers, and the prefixes of the peers that are in none of them.
fn sides(whom: Whom<'_>, family: Family, named: &[Subject]) -> (Vec<Arc<str>>, Vec<Cidr>) {
    let Whom::Peers(peers) = whom else { return (Vec::new(), prefixes(whom, family)) };
    let (mut groups, mut left) = (Vec::new(), Vec::new());
    for peer in peers {
        let Peer::Selected(selected) = peer else {
            left.extend(prefixes(Whom::Peers(core::slice::from_ref(peer)), family));
            continue;
        };
        let set = |cidrs: &[Cidr], family| AddressSet::of(family, cidrs.iter().copied());
        let within = |subject: &&Subject| {
            !subject.addresses.is_empty()
                && Family::BOTH.iter().all(|family| set(&selected.members, *family).covers(&set(&subject.addresses, *family)))
        };
        let whole: Vec<&Subject> = named.iter().filter(within).collect();
        let held = AddressSet::union(family, &whole.iter().map(|subject| set(&subject.addresses, family)).collect::<Vec<_>>());
        let apart = |cidr: &&Cidr| cidr.family() == family && !held.covers(&AddressSet::of(family, [**cidr]));
        left.extend(selected.members.iter().filter(apart));
        groups.extend(whole.iter().map(|subject| subject.name.clone()));
    }
    (groups, left)
}

impl Traffic {
    /// Whether packets of a family can be it: each has an ICMP of its own.
    #[must_use]
    pub fn is_of(self, family: Family) -> bool {
        match self.protocol() {
            Some(ICMP) => family == Family::V4,
            Some(ICMPV6) => family == Family::V6,
            Some(_) | None => true,
        }
    }

    /// The protocol; none for all.
    #[must_use]
    pub fn protocol(self) -> Option<u8> {
        match self {
            Self::All => None,
            Self::Protocol(protocol) | Self::Ports { protocol, .. } | Self::Icmp { protocol, .. } => Some(protocol),
        }
    }

    /// The services that pass.
    #[must_use]
    pub fn services(self) -> ServiceRange {
        match self {
            Self::All => ServiceRange::ALL,
            Self::Protocol(protocol) => ServiceRange::protocol(protocol),
            Self::Ports { protocol, first, last } => ServiceRange::ports(protocol, first, last),
            Self::Icmp { protocol, kind, code } => {
                let port = |code: u8| u16::from_be_bytes([kind, code]);
                ServiceRange::ports(protocol, port(code.unwrap_or(0)), port(code.unwrap_or(u8::MAX)))
            }
        }
    }
}

/// Services in the words of AWS, exactly or not at all.
pub(crate) fn traffic(services: &[ServiceRange]) -> Result<Vec<Traffic>, String> {
    let mut found = Vec::new();
    for range in services {
        if *range == ServiceRange::ALL {
            found.push(Traffic::All);
            continue;
        }
        let protocols = |number: u32| u8::try_from(number >> 16).unwrap_or(u8::MAX);
        for protocol in protocols(range.lo())..=protocols(range.hi()) {
            let whole = ServiceRange::protocol(protocol);
            let (lo, hi) = (range.lo().max(whole.lo()), range.hi().min(whole.hi()));
            let port = |number: u32| u16::try_from(number & 0xFFFF).unwrap_or(PORT_MAX);
            found.extend(of_protocol(protocol, port(lo), port(hi))?);
        }
    }
    Ok(found)
}

fn of_protocol(protocol: u8, first: u16, last: u16) -> Result<Vec<Traffic>, String> {
    match (protocol, first, last) {
        (_, 0, PORT_MAX) => Ok([Traffic::Protocol(protocol)].into()),
        (TCP | UDP, ..) => Ok([Traffic::Ports { protocol, first, last }].into()),
        (ICMP | ICMPV6, ..) => Ok(messages(protocol, first, last)),
        // No packet of SCTP carries port 0.
        (SCTP, 1, PORT_MAX) => Ok([Traffic::Protocol(protocol)].into()),
        _ => {
            let name = Service::new(protocol, 0).protocol_name();
            Err(format!("a security group knows no ports of {name}; allow the whole protocol, or choose another backend"))
        }
    }
}

/// Types and codes from one to another.
fn messages(protocol: u8, first: u16, last: u16) -> Vec<Traffic> {
    let ([first_kind, first_code], [last_kind, last_code]) = (first.to_be_bytes(), last.to_be_bytes());
    let mut found = Vec::new();
    for kind in first_kind..=last_kind {
        let from = if kind == first_kind { first_code } else { 0 };
        let to = if kind == last_kind { last_code } else { u8::MAX };
        if (from, to) == (0, u8::MAX) {
            found.push(Traffic::Icmp { protocol, kind, code: None });
        } else {
            found.extend((from..=to).map(|code| Traffic::Icmp { protocol, kind, code: Some(code) }));
        }
    }
    found
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |protocol: u8| Service::new(protocol, 0).protocol_name();
        match *self {
            Self::All => f.write_str("all traffic"),
            Self::Protocol(protocol) => write!(f, "all {}", name(protocol)),
            Self::Ports { protocol, first, last } if first == last => write!(f, "{} {first}", name(protocol)),
            Self::Ports { protocol, first, last } => write!(f, "{} {first}-{last}", name(protocol)),
            Self::Icmp { protocol, kind, code: None } => write!(f, "{} type {kind}", name(protocol)),
            Self::Icmp { protocol, kind, code: Some(code) } => write!(f, "{} type {kind} code {code}", name(protocol)),
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix(cidr) => write!(f, "{cidr}"),
            Self::Group(name) | Self::Other(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group { group } => write!(f, "group {group}"),
            Self::Rule { group, direction, traffic, side } => {
                let way = if *direction == Direction::Ingress { "from" } else { "to" };
                write!(f, "{group} {} {traffic} {way} {side}", direction.name())
            }
            Self::Member { group, id } => write!(f, "{group} on {id}"),
        }
    }
}

impl Canonical for Key {
    fn canonical(&self, out: &mut Vec<u8>) {
        // Words of a key are unique and end where the length says.
        text(out, &alloc::string::ToString::to_string(self));
    }
}

#[cfg(test)]
mod tests;
