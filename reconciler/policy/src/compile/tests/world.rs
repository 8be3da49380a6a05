//! A made-up network as plain values, and as the documents that describe it. Nothing here comes from the code under test but the
//! types of prefixes and directions.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::string::{String, ToString};
use std::vec::Vec;
use std::{format, write, writeln};

use crate::net::{Cidr, Direction, Family};

pub(crate) type Tags = BTreeMap<String, String>;

/// Everything there is.
#[derive(Debug, Clone, Default)]
pub(crate) struct World {
    /// Namespaces besides `default`, with their labels. Empty as well if there is no Inventory.
    pub(crate) namespaces: Vec<(String, Tags)>,
    /// The Inventory; `None` where the set has none.
    pub(crate) members: Option<Vec<Someone>>,
    pub(crate) policies: Vec<Policy>,
}

/// An endpoint.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Someone {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) tags: Tags,
    pub(crate) addresses: Vec<Cidr>,
    /// Name, protocol, port.
    pub(crate) ports: Vec<(String, u8, u16)>,
}

#[derive(Debug, Clone)]
pub(crate) struct Policy {
    pub(crate) namespace: String,
    pub(crate) selector: Vec<Condition>,
    pub(crate) types: Option<Direction>,
    pub(crate) audit: bool,
    pub(crate) ingress: Vec<Allow>,
    pub(crate) egress: Vec<Allow>,
}

#[derive(Debug, Clone)]
pub(crate) enum Condition {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

/// A rule.
#[derive(Debug, Clone)]
pub(crate) struct Allow {
    pub(crate) peers: Vec<Whom>,
    pub(crate) ports: Vec<What>,
    /// Its record's last day: gone by, or still to come.
    pub(crate) expired: Option<bool>,
}

#[derive(Debug, Clone)]
pub(crate) enum Whom {
    Block(Cidr, Vec<Cidr>),
    Chosen { pods: Option<Vec<Condition>>, namespaces: Option<Vec<Condition>> },
}

#[derive(Debug, Clone)]
pub(crate) enum What {
    Numbers(u8, Option<(u16, u16)>),
    Icmp(u8, Option<(u8, Option<u8>)>),
    Named(u8, String),
}

impl Policy {
    pub(crate) fn rules(&self, direction: Direction) -> &[Allow] {
        if direction == Direction::Ingress { &self.ingress } else { &self.egress }
    }
}

impl World {
    /// The documents.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        if let Some(members) = &self.members {
            out.push_str(&inventory(&self.namespaces, members));
        }
        let mut records = Vec::new();
        for (number, policy) in self.policies.iter().enumerate() {
            out.push_str(&document(number, policy));
            for direction in Direction::BOTH {
                for (place, rule) in policy.rules(direction).iter().enumerate() {
                    records.extend(rule.expired.map(|gone| {
                        let last = if gone { "2026-01-31" } else { "2026-02-01" };
                        let rule = rule_name(direction, place);
                        format!("{{policy: p{number}, rule: {rule}, owner: somebody, justification: \"For the test\", expiresAt: {last}}}")
                    }));
                }
            }
        }
        if !records.is_empty() {
            let list = records.join(", ");
            let _ = writeln!(
                out,
                "{{apiVersion: pci-segment/v1, kind: RuleRecords, metadata: {{name: r}}, spec: {{records: [{list}]}}}}\n---"
            );
        }
        out.trim_end_matches("---\n").to_string()
    }
}

pub(crate) fn rule_name(direction: Direction, place: usize) -> String {
    format!("{}-{place}", direction.name())
}

fn inventory(namespaces: &[(String, Tags)], members: &[Someone]) -> String {
    let spaces = namespaces.iter().map(|(name, tags)| format!("{{name: {name}, labels: {}}}", tags_text(tags)));
    let spaces: Vec<String> = spaces.collect();
    let each = members.iter().map(|someone| {
        let addresses: Vec<String> = someone.addresses.iter().map(address_text).collect();
        let ports = someone
            .ports
            .iter()
            .map(|(name, protocol, port)| format!("{{name: {name}, protocol: {}, port: {port}}}", protocol_text(*protocol)));
        format!(
            "{{name: {}, namespace: {}, labels: {}, addresses: [{}], ports: [{}]}}",
            someone.name,
            someone.namespace,
            tags_text(&someone.tags),
            addresses.join(", "),
            ports.collect::<Vec<_>>().join(", ")
        )
    });
    format!(
        "{{apiVersion: pci-segment/v1, kind: Inventory, metadata: {{name: i}}, spec: {{namespaces: [{}], workloads: [\n{}]}}}}\n---\n",
        spaces.join(", "),
        each.collect::<Vec<_>>().join(",\n")
    )
}

fn document(number: usize, policy: &Policy) -> String {
    let mode = if policy.audit { ", annotations: {pci-segment/mode: audit}" } else { "" };
    let types = match policy.types {
        None => String::new(),
        Some(Direction::Ingress) => ", policyTypes: [Ingress]".to_string(),
        Some(Direction::Egress) => ", policyTypes: [Egress]".to_string(),
    };
    let mut out = format!(
        "{{apiVersion: pci-segment/v1, kind: NetworkPolicy, metadata: {{name: p{number}, namespace: {}{mode}}}, spec: {{podSelector: {}{types}",
        policy.namespace,
        selector_text(&policy.selector)
    );
    for direction in Direction::BOTH {
        let rules = policy.rules(direction).iter().enumerate().map(|(place, rule)| rule_text(direction, place, rule));
        let _ = write!(out, ",\n {}: [{}]", direction.name(), rules.collect::<Vec<_>>().join(",\n  "));
    }
    out.push_str("}}\n---\n");
    out
}

fn rule_text(direction: Direction, place: usize, rule: &Allow) -> String {
    let peers: Vec<String> = rule.peers.iter().map(peer_text).collect();
    let ports: Vec<String> = rule.ports.iter().map(port_text).collect();
    format!(
        "{{name: {}, {}: [{}], ports: [{}]}}",
        rule_name(direction, place),
        direction.peers(),
        peers.join(", "),
        ports.join(", ")
    )
}

fn peer_text(peer: &Whom) -> String {
    match peer {
        Whom::Block(cidr, except) => {
            let except: Vec<String> = except.iter().map(|cidr| format!("\"{cidr}\"")).collect();
            format!("{{ipBlock: {{cidr: \"{cidr}\", except: [{}]}}}}", except.join(", "))
        }
        Whom::Chosen { pods, namespaces } => {
            let field = |name: &str, selector: &Option<Vec<Condition>>| {
                selector.as_ref().map(|selector| format!("{name}: {}", selector_text(selector)))
            };
            let fields: Vec<String> =
                [field("podSelector", pods), field("namespaceSelector", namespaces)].into_iter().flatten().collect();
            format!("{{{}}}", fields.join(", "))
        }
    }
}

fn port_text(port: &What) -> String {
    match port {
        What::Numbers(protocol, None) => format!("{{protocol: {}}}", protocol_text(*protocol)),
        What::Numbers(protocol, Some((first, last))) => {
            format!("{{protocol: {}, port: {first}, endPort: {last}}}", protocol_text(*protocol))
        }
        What::Icmp(protocol, None) => format!("{{protocol: {}}}", protocol_text(*protocol)),
        What::Icmp(protocol, Some((kind, None))) => format!("{{protocol: {}, icmpType: {kind}}}", protocol_text(*protocol)),
        What::Icmp(protocol, Some((kind, Some(code)))) => {
            format!("{{protocol: {}, icmpType: {kind}, icmpCode: {code}}}", protocol_text(*protocol))
        }
        What::Named(protocol, name) => format!("{{protocol: {}, port: {name}}}", protocol_text(*protocol)),
    }
}

fn protocol_text(protocol: u8) -> &'static str {
    match protocol {
        1 => "ICMP",
        6 => "TCP",
        17 => "UDP",
        58 => "ICMPv6",
        132 => "SCTP",
        other => panic!("{other} has no name"),
    }
}

fn address_text(cidr: &Cidr) -> String {
    if cidr.length() == Family::bits(cidr.family()) { format!("\"{}\"", cidr.first()) } else { format!("\"{cidr}\"") }
}

fn tags_text(tags: &Tags) -> String {
    let pairs: Vec<String> = tags.iter().map(|(key, value)| format!("{key}: \"{value}\"")).collect();
    format!("{{{}}}", pairs.join(", "))
}

fn selector_text(selector: &[Condition]) -> String {
    let list = |values: &[String]| values.iter().map(|value| format!("\"{value}\"")).collect::<Vec<_>>().join(", ");
    let terms = selector.iter().map(|condition| match condition {
        Condition::In(key, values) => format!("{{key: {key}, operator: In, values: [{}]}}", list(values)),
        Condition::NotIn(key, values) => format!("{{key: {key}, operator: NotIn, values: [{}]}}", list(values)),
        Condition::Exists(key) => format!("{{key: {key}, operator: Exists}}"),
        Condition::Absent(key) => format!("{{key: {key}, operator: DoesNotExist}}"),
    });
    format!("{{matchExpressions: [{}]}}", terms.collect::<Vec<_>>().join(", "))
}
