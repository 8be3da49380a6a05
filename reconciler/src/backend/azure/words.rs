//! Keys and rules in Azure's words, and back.
//!
//! The name of a rule says its key and nothing else, so a rule is found again without remembering anything: it differs from its name
//! where somebody changed it, and what has a name of ours that says no key is nobody's wish.

use std::fmt;
use std::sync::Arc;

use policy::digest::{Canonical, text};
use policy::lower::cloud::NAME_PREFIX;
use policy::lower::network_security_group::{self as nsg, Traffic};
use policy::net::{AddressSet, Cidr, Direction, Family};

use super::models;

/// The priority of our denies: the last one there is.
pub(super) const DENY: u16 = 4096;
/// The priority of what lets health probes pass: below all rules that allow.
pub(super) const PROBES: u16 = 4000;
/// Rules of others may stand below this in groups of ours.
pub(super) const OTHERS_BELOW: u16 = nsg::FIRST;
const ANY: &str = "*";
const BALANCER: &str = "AzureLoadBalancer";

/// What there can be in a resource group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Key {
    /// What lowering knows.
    Lowered(nsg::Key),
    /// What lets health probes of load balancers pass.
    Probes {
        /// The group.
        group: Arc<str>,
    },
    /// A rule in a group of ours that nobody can have asked for. The last of all: what denies goes after what allows.
    Stray {
        /// The group.
        group: Arc<str>,
        /// Its name there.
        name: Arc<str>,
    },
}

/// What there is under a key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Rule {
    /// The addresses on the other side, as the fewest prefixes.
    pub(super) prefixes: Vec<Cidr>,
    /// What it says instead, where that is not what its key says.
    pub(super) other: Option<String>,
}

impl From<nsg::Rule> for Rule {
    fn from(rule: nsg::Rule) -> Self {
        Self { prefixes: fewest(&rule.prefixes), other: None }
    }
}

/// The same addresses as the fewest prefixes: Azure refuses prefixes of one rule that overlap.
pub(super) fn fewest(prefixes: &[Cidr]) -> Vec<Cidr> {
    let of = |family: Family| AddressSet::of(family, prefixes.iter().copied().filter(|cidr| cidr.family() == family)).prefixes();
    let mut all: Vec<Cidr> =
        Family::BOTH.into_iter().filter(|family| prefixes.iter().any(|c| c.family() == *family)).flat_map(of).collect();
    all.sort_unstable();
    all
}

impl Key {
    pub(super) fn group(&self) -> &Arc<str> {
        match self {
            Self::Lowered(key) => key.group(),
            Self::Probes { group } | Self::Stray { group, .. } => group,
        }
    }

    /// What the rule is called in its group; `None` for what is no rule.
    pub(super) fn rule_name(&self) -> Option<String> {
        match self {
            Self::Lowered(nsg::Key::Allow { direction, traffic, family, .. }) => {
                let family = if *family == Family::V4 { "v4" } else { "v6" };
                Some(format!("{NAME_PREFIX}{}-{}-{family}", way(*direction), traffic_name(*traffic)))
            }
            Self::Lowered(nsg::Key::Deny { direction, .. }) => Some(format!("{NAME_PREFIX}deny-{}", way(*direction))),
            Self::Lowered(nsg::Key::Group { .. } | nsg::Key::Member { .. }) => None,
            Self::Probes { .. } => Some(format!("{NAME_PREFIX}probes")),
            Self::Stray { name, .. } => Some(name.to_string()),
        }
    }

    /// The key that the name of a rule says.
    pub(super) fn of_name(group: &Arc<str>, name: &str) -> Option<Self> {
        let group = || group.clone();
        let rest = name.strip_prefix(NAME_PREFIX)?;
        if rest == "probes" {
            return Some(Self::Probes { group: group() });
        }
        if let Some(way) = rest.strip_prefix("deny-") {
            return Some(Self::Lowered(nsg::Key::Deny { group: group(), direction: direction(way)? }));
        }
        let (way, rest) = rest.split_once('-')?;
        let (traffic, family) = rest.rsplit_once('-')?;
        let family = match family {
            "v4" => Family::V4,
            "v6" => Family::V6,
            _ => return None,
        };
        let key =
            Self::Lowered(nsg::Key::Allow { group: group(), direction: direction(way)?, traffic: traffic_of(traffic)?, family });
        // One key has one name.
        (key.rule_name().as_deref() == Some(name)).then_some(key)
    }

    /// The rule as Azure takes it. `None` for what is no rule.
    pub(super) fn body(&self, rule: &Rule, priority: u16) -> Option<models::Rule> {
        let (direction, protocol, port, access) = match self {
            Self::Lowered(nsg::Key::Allow { direction, traffic, .. }) => {
                (*direction, traffic.protocol_word(), traffic.port_word(), "Allow")
            }
            Self::Lowered(nsg::Key::Deny { direction, .. }) => (*direction, ANY, ANY.to_owned(), "Deny"),
            Self::Probes { .. } => (Direction::Ingress, ANY, ANY.to_owned(), "Allow"),
            Self::Lowered(nsg::Key::Group { .. } | nsg::Key::Member { .. }) | Self::Stray { .. } => return None,
        };
        let mut properties = models::RuleProperties {
            protocol: protocol.to_owned(),
            source_port_range: Some(ANY.to_owned()),
            destination_port_range: Some(port),
            access: access.to_owned(),
            priority,
            ..models::RuleProperties::default()
        };
        let named = match self {
            Self::Probes { .. } => Some(BALANCER.to_owned()),
            Self::Lowered(nsg::Key::Deny { .. }) => Some(ANY.to_owned()),
            Self::Lowered(_) | Self::Stray { .. } => None,
        };
        let prefixes: Vec<String> = rule.prefixes.iter().map(ToString::to_string).collect();
        let here = Some(ANY.to_owned());
        if direction == Direction::Ingress {
            "Inbound".clone_into(&mut properties.direction);
            (properties.source_address_prefix, properties.source_address_prefixes) = (named, prefixes);
            properties.destination_address_prefix = here;
        } else {
            "Outbound".clone_into(&mut properties.direction);
            (properties.destination_address_prefix, properties.destination_address_prefixes) = (named, prefixes);
            properties.source_address_prefix = here;
        }
        Some(models::Rule { name: self.rule_name()?, etag: String::new(), properties })
    }

    /// What a rule of a group of ours is about, and what it says.
    pub(super) fn seen(group: &Arc<str>, seen: &models::Rule) -> (Self, Rule) {
        let other = |prefixes| Rule { prefixes, other: Some(seen.properties.text()) };
        let Some(key) = Self::of_name(group, &seen.name) else {
            return (Self::Stray { group: group.clone(), name: seen.name.as_str().into() }, other(Vec::new()));
        };
        let properties = &seen.properties;
        let sides = if properties.inbound() { properties.sources() } else { properties.destinations() };
        let prefixes: Option<Vec<Cidr>> = sides.iter().map(|side| Cidr::parse(side).ok()).collect();
        let rule = match &key {
            Self::Lowered(nsg::Key::Allow { family, .. }) => {
                let fitting = prefixes.filter(|all| !all.is_empty() && all.iter().all(|cidr| cidr.family() == *family));
                fitting.map(|all| Rule { prefixes: fewest(&all), other: None })
            }
            Self::Lowered(_) | Self::Probes { .. } | Self::Stray { .. } => Some(Rule::default()),
        };
        // What Azure did not finish is not in force, whatever it says.
        let finished = properties.provisioning_state.as_deref() != Some("Failed");
        let says = rule.filter(|rule| finished && key.says(rule, properties));
        let rule = says.unwrap_or_else(|| other(Vec::new()));
        (key, rule)
    }

    /// Whether a rule is what its key says; the number of a rule that allows means nothing as long as it is before the deny.
    fn says(&self, rule: &Rule, seen: &models::RuleProperties) -> bool {
        let number = match self {
            Self::Lowered(nsg::Key::Deny { .. }) => DENY,
            Self::Lowered(_) | Self::Probes { .. } | Self::Stray { .. } => seen.priority,
        };
        let Some(wanted) = self.body(rule, number).map(|rule| rule.properties) else { return false };
        let sides = |p: &models::RuleProperties| {
            let other = if p.inbound() { p.sources() } else { p.destinations() };
            let here = if p.inbound() { p.destinations() } else { p.sources() };
            let parsed: Option<Vec<Cidr>> = other.iter().map(|side| Cidr::parse(side).ok()).collect();
            (parsed.map(|all| fewest(&all)).filter(|all| !all.is_empty()).ok_or(other), here)
        };
        seen.priority == number
            && seen.protocol.eq_ignore_ascii_case(&wanted.protocol)
            && seen.allows() == wanted.allows()
            && seen.inbound() == wanted.inbound()
            && seen.source_ports() == wanted.source_ports()
            && seen.destination_ports() == wanted.destination_ports()
            && !seen.has_application_groups()
            && sides(seen) == sides(&wanted)
    }
}

const fn way(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "in",
        Direction::Egress => "out",
    }
}

fn direction(way: &str) -> Option<Direction> {
    Direction::BOTH.into_iter().find(|direction| self::way(*direction) == way)
}

fn traffic_name(traffic: Traffic) -> String {
    let protocol = match traffic {
        Traffic::All => return "all".to_owned(),
        Traffic::Protocol(_) | Traffic::Ports { .. } => traffic.protocol_word().to_ascii_lowercase(),
    };
    match traffic {
        Traffic::Ports { .. } => format!("{protocol}-{}", traffic.port_word()),
        Traffic::All | Traffic::Protocol(_) => protocol,
    }
}

fn traffic_of(name: &str) -> Option<Traffic> {
    if name == "all" {
        return Some(Traffic::All);
    }
    let (word, ports) = name.split_once('-').map_or((name, None), |(word, ports)| (word, Some(ports)));
    let protocol = protocol(word)?;
    let Some(ports) = ports else { return Some(Traffic::Protocol(protocol)) };
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    Some(Traffic::Ports { protocol, first: first.parse().ok()?, last: last.parse().ok()? })
}

/// The number of a protocol that Azure has a word for.
pub(super) fn protocol(word: &str) -> Option<u8> {
    (0..=u8::MAX).find(|number| Traffic::Protocol(*number).protocol_word().eq_ignore_ascii_case(word)).filter(|_| word != ANY)
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, self.rule_name()) {
            (_, Some(name)) => write!(f, "{} rule {name}", self.group()),
            (Self::Lowered(key), None) => write!(f, "{key}"),
            (Self::Probes { group } | Self::Stray { group, .. }, None) => write!(f, "{group}"),
        }
    }
}

impl Canonical for Key {
    fn canonical(&self, out: &mut Vec<u8>) {
        text(out, &self.to_string());
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefixes: Vec<String> = self.prefixes.iter().map(ToString::to_string).collect();
        match &self.other {
            Some(other) => f.write_str(other),
            None if prefixes.is_empty() => f.write_str("present"),
            None => f.write_str(&prefixes.join(", ")),
        }
    }
}

impl Canonical for Rule {
    fn canonical(&self, out: &mut Vec<u8>) {
        text(out, &self.to_string());
    }
}
