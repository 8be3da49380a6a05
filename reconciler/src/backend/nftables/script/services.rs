//! One distinct list of services as chains: protocols first, then the ports of one protocol.
//!
//! Both steps are verdict maps, so that a list of thousands of intervals is searched, not walked. Protocols without ports are in the
//! first map alone. ICMP is looked up by type and code in the family it belongs to; in the other it is a protocol without ports.

use policy::lower::bpf::Interval;
use policy::net::service::{ICMP, ICMPV6, SCTP, TCP, UDP};

use super::Chains;

/// A part of an interval that lies within one protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part<'a> {
    first: u16,
    last: u16,
    target: &'a str,
}

/// Writes the chain `name` and those of its protocols. Where an interval leads is `target`'s to say; none leaves it out.
pub(super) fn chains(out: &mut Chains, name: &str, intervals: &[Interval], target: impl Fn(&Interval) -> Option<String>) {
    let aimed: Vec<(&Interval, String)> = intervals.iter().filter_map(|interval| Some((interval, target(interval)?))).collect();
    let mut whole: Vec<(u8, u8, &str)> = Vec::new();
    let mut own = Vec::new();
    let mut extra = Vec::new();
    for protocol in 0..=u8::MAX {
        let parts = parts(protocol, &aimed);
        let part_chain = format!("{name}_p{protocol}");
        match parts.as_slice() {
            [] => {}
            [Part { first: 0, last: u16::MAX, target }] => match whole.last_mut() {
                Some((_, last, same)) if same == target && last.checked_add(1) == Some(protocol) => *last = protocol,
                _ => whole.push((protocol, protocol, target)),
            },
            [Part { first: 0, target, .. }, ..] if !has_ports(protocol) => whole.push((protocol, protocol, target)),
            _ if !has_ports(protocol) => {}
            _ => {
                own.push(format!("{protocol} : goto {part_chain}"));
                extra.push((part_chain, ports(protocol, &parts)));
            }
        }
    }
    own.extend(whole.iter().map(|(first, last, target)| match first == last {
        true => format!("{first} : goto {target}"),
        false => format!("{first}-{last} : goto {target}"),
    }));
    let rule = (!own.is_empty()).then(|| format!("meta l4proto vmap {{ {} }}", own.join(", ")));
    out.chain(name, rule);
    for (name, rules) in extra {
        out.chain(&name, rules);
    }
}

/// Whether packets of a protocol are told apart any further.
pub(in super::super) fn has_ports(protocol: u8) -> bool {
    matches!(protocol, TCP | UDP | SCTP | ICMP | ICMPV6)
}

fn parts<'a>(protocol: u8, aimed: &'a [(&Interval, String)]) -> Vec<Part<'a>> {
    let (lo, hi) = (u32::from(protocol) << 16, u32::from(protocol) << 16 | 0xFFFF);
    // Sorted and disjoint: those of one protocol stand together.
    let from = aimed.partition_point(|(interval, _)| interval.hi < lo);
    let here = aimed.iter().skip(from).take_while(|(interval, _)| interval.lo <= hi);
    let port = |number: u32| u16::try_from(number & 0xFFFF).unwrap_or(u16::MAX);
    here.map(|(interval, target)| Part { first: port(interval.lo.max(lo)), last: port(interval.hi.min(hi)), target }).collect()
}

fn ports(protocol: u8, parts: &[Part<'_>]) -> Vec<String> {
    let elements: Vec<String> = parts
        .iter()
        .map(|part| match part.first == part.last {
            true => format!("{} : goto {}", part.first, part.target),
            false => format!("{}-{} : goto {}", part.first, part.last, part.target),
        })
        .collect();
    let elements = elements.join(", ");
    let family = match protocol {
        ICMP => "ipv4",
        ICMPV6 => "ipv6",
        _ => return vec![format!("th dport vmap {{ {elements} }}")],
    };
    let elsewhere = match parts.first() {
        Some(Part { first: 0, target, .. }) => format!("goto {target}"),
        _ => "return".to_owned(),
    };
    vec![format!("meta nfproto != {family} {elsewhere}"), format!("@th,0,16 vmap {{ {elements} }}")]
}
