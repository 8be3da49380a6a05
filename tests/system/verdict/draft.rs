//! Random sets of policies, as text that people could have written, and the edges in them.

use std::fmt::Write as _;
use std::net::IpAddr;

use policy::net::{Cidr, Family, Service};
use proptest::prelude::*;

/// A policy in the making.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    audited: bool,
    selects_us: bool,
    /// Both, or only one.
    directions: (bool, bool),
    ingress: Vec<Rule>,
    egress: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Rule {
    blocks: Vec<Block>,
    ports: Vec<Port>,
}

#[derive(Debug, Clone)]
struct Block {
    cidr: Cidr,
    except: Vec<Cidr>,
}

#[derive(Debug, Clone, Copy)]
enum Port {
    Range(&'static str, u16, u16),
    Protocol(&'static str, u8),
    Icmp(Option<(u8, Option<u8>)>),
    Icmpv6(Option<(u8, Option<u8>)>),
}

/// One to four policies.
pub(super) fn sets() -> impl Strategy<Value = Vec<Draft>> {
    prop::collection::vec(policy(), 1..=4)
}

fn policy() -> impl Strategy<Value = Draft> {
    let directions = prop::sample::select(vec![(true, true), (true, true), (true, false), (false, true)]);
    let rules = || prop::collection::vec(rule(), 0..=3);
    (prop::bool::weighted(0.2), prop::bool::weighted(0.85), directions, rules(), rules()).prop_map(
        |(audited, selects_us, directions, ingress, egress)| Draft {
            audited,
            selects_us,
            directions,
            ingress: if directions.0 { ingress } else { Vec::new() },
            egress: if directions.1 { egress } else { Vec::new() },
        },
    )
}

fn rule() -> impl Strategy<Value = Rule> {
    (prop::collection::vec(block(), 0..=4), prop::collection::vec(port(), 0..=3)).prop_map(|(blocks, mut ports)| {
        // An ICMP port beside blocks of the other family only is refused: no packet can match.
        let has = |family| blocks.is_empty() || blocks.iter().any(|block: &Block| block.cidr.family() == family);
        let (v4, v6) = (has(Family::V4), has(Family::V6));
        ports.retain(|port| match port {
            Port::Icmp(_) => v4,
            Port::Icmpv6(_) => v6,
            Port::Range(..) | Port::Protocol(..) => true,
        });
        Rule { blocks, ports }
    })
}

/// Few addresses, so that blocks meet, nest and hide each other.
fn block() -> impl Strategy<Value = Block> {
    let base = prop_oneof![
        3 => (0_u8..3, 0_u8..3, 0_u8..4).prop_map(|(b, c, d)| IpAddr::from([10, b, c, d * 85])),
        2 => (0_u16..3, 0_u16..3).prop_map(|(b, h)| IpAddr::from([0xfd00, b, 0, 0, 0, 0, 0, h])),
    ];
    let except = prop::collection::vec((any::<u8>(), any::<u128>()), 0..=3);
    (base, 0_u8..=100, except).prop_map(|(base, percent, except)| {
        let (shortest, longest) = if base.is_ipv4() { (8, 32) } else { (16, 128) };
        let length = if percent < 8 { 0 } else { shortest + steps(longest - shortest, percent - 8) };
        let cidr = masked(base, length);
        let except = except.into_iter().filter_map(|(extra, bits)| inside(cidr, extra, bits)).collect();
        Block { cidr, except }
    })
}

/// A part of `room` as `percent` of 92.
fn steps(room: u8, percent: u8) -> u8 {
    u8::try_from(u16::from(room) * u16::from(percent) / 92).unwrap()
}

fn masked(address: IpAddr, length: u8) -> Cidr {
    let family = Family::of(address);
    let keep = if length == 0 { 0 } else { u128::MAX << (family.bits() - length) };
    Cidr::new(family.address(policy::net::cidr::number(address) & keep & family.last()), length).unwrap()
}

/// A block strictly inside another; none inside a single address.
fn inside(cidr: Cidr, extra: u8, bits: u128) -> Option<Cidr> {
    let room = cidr.family().bits() - cidr.length();
    let length = cidr.length() + 1 + extra.checked_rem(room)?;
    let (first, last) = cidr.bounds();
    // Mostly at an edge, where mistakes live.
    let address = match bits % 3 {
        0 => first,
        1 => last,
        _ => first | (bits & (last - first)),
    };
    Some(masked(cidr.family().address(address), length))
}

fn port() -> impl Strategy<Value = Port> {
    let bound = || prop::sample::select(vec![1_u16, 22, 443, 5432, 5433, 8000, 8100, 65535]);
    let protocol = || prop::sample::select(vec![("TCP", 6_u8), ("UDP", 17)]);
    let kind = |kinds: &'static [u8]| prop::option::of((prop::sample::select(kinds), prop::option::of(0_u8..3)));
    prop_oneof![
        5 => (protocol(), bound(), bound()).prop_map(|((name, _), a, b)| Port::Range(name, a.min(b), a.max(b))),
        1 => protocol().prop_map(|(name, number)| Port::Protocol(name, number)),
        1 => kind(&[8, 13, 17]).prop_map(Port::Icmp),
        1 => kind(&[128, 139]).prop_map(Port::Icmpv6),
    ]
}

/// The set as one file.
pub(super) fn yaml(drafts: &[Draft]) -> String {
    drafts.iter().enumerate().map(|(i, draft)| document(i, draft)).collect::<Vec<_>>().join("---\n")
}

fn document(index: usize, draft: &Draft) -> String {
    let mode = if draft.audited { ", pci-segment/mode: audit" } else { "" };
    let tier = if draft.selects_us { "database" } else { "app" };
    let types = match draft.directions {
        (true, true) => "Ingress, Egress",
        (true, false) => "Ingress",
        (false, _) => "Egress",
    };
    let mut text = format!(
        "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {{name: p{index}, annotations: {{pci-dss: \"Req 1.3.1\"{mode}}}}}\n\
         spec:\n  podSelector: {{matchLabels: {{pci-env: lab, tier: {tier}}}}}\n  policyTypes: [{types}]\n"
    );
    for (name, peers, rules) in [("ingress", "from", &draft.ingress), ("egress", "to", &draft.egress)] {
        if rules.is_empty() {
            continue;
        }
        writeln!(text, "  {name}:").unwrap();
        for rule in rules {
            let blocks: Vec<String> = rule.blocks.iter().map(block_text).collect();
            let ports: Vec<String> = rule.ports.iter().map(port_text).collect();
            let list =
                |key: &str, items: &[String]| if items.is_empty() { None } else { Some(format!("{key}: [{}]", items.join(", "))) };
            let fields: Vec<String> = [list(peers, &blocks), list("ports", &ports)].into_iter().flatten().collect();
            writeln!(text, "    - {{{}}}", fields.join(", ")).unwrap();
        }
    }
    text
}

fn block_text(block: &Block) -> String {
    let except: Vec<String> = block.except.iter().map(|cidr| format!("\"{cidr}\"")).collect();
    let except = if except.is_empty() { String::new() } else { format!(", except: [{}]", except.join(", ")) };
    format!("{{ipBlock: {{cidr: \"{}\"{except}}}}}", block.cidr)
}

fn port_text(port: &Port) -> String {
    let icmp = |name: &str, kind: Option<(u8, Option<u8>)>| match kind {
        None => format!("{{protocol: {name}}}"),
        Some((kind, None)) => format!("{{protocol: {name}, icmpType: {kind}}}"),
        Some((kind, Some(code))) => format!("{{protocol: {name}, icmpType: {kind}, icmpCode: {code}}}"),
    };
    match *port {
        Port::Range(name, first, last) if first == last => format!("{{protocol: {name}, port: {first}}}"),
        Port::Range(name, first, last) => format!("{{protocol: {name}, port: {first}, endPort: {last}}}"),
        Port::Protocol(name, _) => format!("{{protocol: {name}}}"),
        Port::Icmp(kind) => icmp("ICMP", kind),
        Port::Icmpv6(kind) => icmp("ICMPv6", kind),
    }
}

/// First and last address of every block and exception, and their neighbours.
pub(super) fn peers(drafts: &[Draft]) -> Vec<IpAddr> {
    let rules = drafts.iter().flat_map(|draft| draft.ingress.iter().chain(&draft.egress));
    let blocks = rules.flat_map(|rule| &rule.blocks).flat_map(|block| block.except.iter().chain([&block.cidr]));
    let mut out: Vec<IpAddr> = ["10.0.0.1", "203.0.113.9", "fd00::1", "2001:db8:ffff::9"].map(|text| text.parse().unwrap()).into();
    for cidr in blocks {
        let (first, last) = cidr.bounds();
        let near = [first.saturating_sub(1), first, last, last.saturating_add(1)];
        out.extend(near.into_iter().filter(|n| *n <= cidr.family().last()).map(|n| cidr.family().address(n)));
    }
    out
}

/// Bounds of every port range and their neighbours, the same ports of the other protocol, and services nobody named.
pub(super) fn services(drafts: &[Draft]) -> Vec<Service> {
    let rules = drafts.iter().flat_map(|draft| draft.ingress.iter().chain(&draft.egress));
    let mut out: Vec<Service> = [47, 50, 89, 132].map(|protocol| Service::new(protocol, 0)).into();
    out.extend([
        Service::new(6, 0),
        Service::new(6, 65535),
        Service::new(17, 9),
        Service::icmp(1, 15, 0),
        Service::icmp(58, 128, 9),
    ]);
    for port in rules.flat_map(|rule| &rule.ports) {
        match *port {
            Port::Range(_, first, last) => {
                let near = [first.saturating_sub(1), first, last, last.saturating_add(1)];
                out.extend(near.into_iter().flat_map(|port| [6, 17].map(|protocol| Service::new(protocol, port))));
            }
            Port::Protocol(_, number) => out.extend([0, 1, 65535].map(|port| Service::new(number, port))),
            Port::Icmp(kind) => out.extend(kinds(1, kind)),
            Port::Icmpv6(kind) => out.extend(kinds(58, kind)),
        }
    }
    out
}

fn kinds(protocol: u8, kind: Option<(u8, Option<u8>)>) -> Vec<Service> {
    let (kind, code) = kind.unwrap_or((if protocol == 1 { 8 } else { 128 }, None));
    let code = code.unwrap_or(0);
    let near =
        [(kind, code), (kind, code.saturating_add(1)), (kind, code.saturating_sub(1)), (kind, 255), (kind.saturating_sub(1), 255)];
    near.map(|(kind, code)| Service::icmp(protocol, kind, code)).into()
}
