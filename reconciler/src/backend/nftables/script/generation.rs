//! The chains of one generation and direction: what happens to each kind of packet, in the order of the eBPF programs.
//!
//! A packet that cannot be read is refused whoever sent it; every other refusal asks the failsafe first. Replies pass because their
//! flow was allowed; what is not a reply is judged by policy, packet by packet, so that a tighter policy bites at once, established
//! or not.

use policy::lower::bpf::Interval;
use policy::model::Mode;
use policy::net::{Direction, Family};

use super::tables::Side;
use super::{Chains, services};
use crate::backend::nftables::names::{digit, failsafe, header, peer_key, rule, side};

/// TCP flags that a connection can have, PSH, ECE and CWR ignored: the combinations connection tracking accepts.
const TCP_FLAGS: &str = "syn, syn|urg, syn|ack, ack, ack|urg, fin|ack, fin|ack|urg, rst, rst|ack";
/// Lengths of a TCP header in words, the usual ones first.
const TCP_WORDS: [u32; 11] = [8, 5, 10, 11, 6, 7, 9, 12, 13, 14, 15];
/// Reasons for which a packet is refused because it cannot be read: no failsafe for those.
const UNREAD: [&str; 4] = ["ip_options", "extension_header", "malformed", "truncated"];
/// Reasons for which a packet is refused that was read.
const READ: [&str; 6] = ["spoofed", "tcp_flags", "midflow", "no_flow", "no_rule", "fragment"];
/// Reasons for which one passes, beside its rule.
const PASS: [&str; 7] = ["flow", "related", "neighbour", "dhcp", "failsafe", "unselected", "audit_rule"];

/// The counters of both directions: `in_drop_no_rule`.
pub(super) fn counters() -> impl Iterator<Item = String> {
    Direction::BOTH.into_iter().flat_map(|direction| {
        let refused = UNREAD.iter().chain(&READ).flat_map(|reason| [format!("drop_{reason}"), format!("would_drop_{reason}")]);
        let passed = PASS.iter().map(|reason| format!("pass_{reason}"));
        let names = refused.chain(passed).chain(["would_pass_audit_rule".to_owned()]);
        names.map(move |name| format!("{}_{name}", side(direction)))
    })
}

/// Writes every chain of one direction.
pub(super) fn write(out: &mut Chains, own: &Side<'_>, dhcp: bool) {
    let name = &own.name;
    let Some(mode) = own.isolation else {
        out.chain(name, [format!("{} accept", count(own, "pass_unselected"))]);
        return;
    };
    for reason in UNREAD.iter().chain(&READ) {
        out.chain(&format!("{name}_no_{reason}"), refusal(own, mode, reason));
    }
    out.chain(name, main(own, dhcp));
    out.chain(&format!("{name}_read"), readable(name));
    out.chain(&format!("{name}_tcp"), tcp(name));
    out.chain(&format!("{name}_refuse"), refuse(name));
    out.chain(&format!("{name}_peers"), peers(own));
    lists(out, own, mode);
}

fn count(own: &Side<'_>, what: &str) -> String {
    format!("counter name \"{}_{what}\"", side(own.direction))
}

fn refusal(own: &Side<'_>, mode: Mode, reason: &str) -> Vec<String> {
    let asks = (!UNREAD.contains(&reason)).then(|| format!("jump {}", failsafe(own.direction)));
    let ends = match mode {
        Mode::Enforce => format!("{} drop", count(own, &format!("drop_{reason}"))),
        Mode::Audit => format!("{} accept", count(own, &format!("would_drop_{reason}"))),
    };
    asks.into_iter().chain([ends]).collect()
}

fn main(own: &Side<'_>, dhcp: bool) -> Vec<String> {
    let name = &own.name;
    let no = |what: &str, reason: &str| format!("{what} goto {name}_no_{reason}");
    let mut rules = vec![
        no("ip hdrlength > 5", "ip_options"),
        no("exthdr rt exists", "extension_header"),
        no("ip6 nexthdr != 0 exthdr hbh exists", "extension_header"),
        // What is inside an authentication header is not looked for there.
        no("ip6 nexthdr 51", "extension_header"),
        no("hbh nexthdr 51", "extension_header"),
        no("dst nexthdr 51", "extension_header"),
        format!("meta l4proto {{ 1, 6, 17, 58, 132 }} jump {name}_read"),
        no("ip saddr { 0.0.0.1-0.255.255.255, 127.0.0.0/8, 224.0.0.0/4, 255.255.255.255 }", "spoofed"),
        no("ip daddr 127.0.0.0/8", "spoofed"),
        no("ip6 saddr { ::1, ::ffff:0:0/96, ff00::/8 }", "spoofed"),
        no("ip6 daddr ::1", "spoofed"),
    ];
    rules.extend(built_in(own, dhcp));
    let related = count(own, "pass_related");
    let flow = count(own, "pass_flow");
    let reply = "ct direction reply ct state established";
    rules.extend([
        no("ip saddr 0.0.0.0", "spoofed"),
        no("ip6 saddr ::", "spoofed"),
        format!("meta nfproto ipv4 icmp type {{ 3, 11, 12 }} ct state related {related} accept"),
        no("meta nfproto ipv4 icmp type { 3, 11, 12 }", "no_flow"),
        format!("meta nfproto ipv6 icmpv6 type 1-4 ct state related {related} accept"),
        no("meta nfproto ipv6 icmpv6 type 1-4", "no_flow"),
        format!("meta l4proto 6 jump {name}_tcp"),
        format!("meta l4proto != {{ 1, 58 }} {reply} {flow} accept"),
        // Other ICMP that connection tracking pairs needs a rule for each message.
        format!("meta nfproto ipv4 icmp type {{ 0, 14 }} {reply} {flow} accept"),
        format!("meta nfproto ipv6 icmpv6 type 129 {reply} {flow} accept"),
        format!("jump {name}_peers"),
        format!("jump {name}_any"),
        format!("jump {name}_late"),
        format!("goto {name}_refuse"),
    ]);
    rules
}

/// Neighbour discovery, listener discovery, the DHCP client: without them the link itself dies.
fn built_in(own: &Side<'_>, dhcp: bool) -> Vec<String> {
    let neighbour = count(own, "pass_neighbour");
    let lease = count(own, "pass_dhcp");
    let near = "ip6 saddr { ::, fe80::/10 }";
    let mut rules = vec![format!("meta nfproto ipv6 icmpv6 type {{ 135, 136 }} ip6 hoplimit 255 {neighbour} accept")];
    match own.direction {
        Direction::Ingress => {
            rules.push(format!("ip6 saddr fe80::/10 icmpv6 type 134 ip6 hoplimit 255 {neighbour} accept"));
            rules.push(format!("{near} icmpv6 type 130 ip6 hoplimit 1 {neighbour} accept"));
        }
        Direction::Egress => {
            rules.push(format!("meta nfproto ipv6 icmpv6 type 133 ip6 hoplimit 255 {neighbour} accept"));
            rules.push(format!("{near} icmpv6 type {{ 131, 132, 143 }} ip6 hoplimit 1 {neighbour} accept"));
        }
    }
    if dhcp {
        rules.extend(match own.direction {
            Direction::Ingress => [
                format!("meta nfproto ipv4 udp sport 67 udp dport 68 {lease} accept"),
                format!("ip6 saddr fe80::/10 udp sport 547 udp dport 546 {lease} accept"),
            ],
            Direction::Egress => [
                format!("meta nfproto ipv4 udp sport 68 udp dport 67 {lease} accept"),
                format!("meta nfproto ipv6 udp sport 546 udp dport 547 {lease} accept"),
            ],
        });
    }
    rules
}

/// Returns if the transport header is whole. A match on bytes that are not there fails, whatever it compares them with.
fn readable(name: &str) -> Vec<String> {
    let there = |what: &str, byte: u32| format!("{what} @th,{},16 0-65535 return", (byte - 2) * 8);
    let mut rules: Vec<String> =
        TCP_WORDS.iter().map(|words| there(&format!("meta l4proto 6 tcp doff {words}"), words * 4)).collect();
    rules.extend([
        format!("meta l4proto 6 tcp doff < 5 goto {name}_no_malformed"),
        // Its length contradicts the packet: connection tracking has no other reason to call a datagram invalid.
        format!("meta l4proto 17 ct state invalid goto {name}_no_malformed"),
        there("meta l4proto 17", 8),
        there("meta l4proto 132", 12),
        there("meta nfproto ipv4 meta l4proto 1", 8),
        there("meta nfproto ipv6 meta l4proto 58", 8),
        "meta nfproto ipv6 meta l4proto 1 return".to_owned(),
        "meta nfproto ipv4 meta l4proto 58 return".to_owned(),
        format!("goto {name}_no_truncated"),
    ]);
    rules
}

/// Flags, and segments that need a connection which is not there. Connection tracking calls them invalid, but other segments too,
/// which a rule may let pass.
fn tcp(name: &str) -> Vec<String> {
    vec![
        format!("tcp flags & (fin|syn|rst|ack|urg) != {{ {TCP_FLAGS} }} goto {name}_no_tcp_flags"),
        format!("ct direction reply tcp flags & (syn|ack) == syn goto {name}_no_midflow"),
        format!("ct state invalid tcp flags & (syn|ack) == syn|ack goto {name}_no_midflow"),
        format!("ct state invalid tcp flags & rst == rst goto {name}_no_midflow"),
    ]
}

fn refuse(name: &str) -> Vec<String> {
    vec![
        format!("tcp flags & (syn|ack) != syn goto {name}_no_midflow"),
        format!("meta nfproto ipv4 icmp type {{ 0, 14 }} goto {name}_no_no_flow"),
        format!("meta nfproto ipv6 icmpv6 type 129 goto {name}_no_no_flow"),
        format!("goto {name}_no_no_rule"),
    ]
}

/// Hosts first: what is said of an address is all that is said of it.
fn peers(own: &Side<'_>) -> Vec<String> {
    let lookup = |family: Family, kind: &str| {
        format!("{} {} vmap @{}_{kind}{}", header(family), peer_key(own.direction), own.name, digit(family))
    };
    own.maps.iter().filter(|map| !map.elements.is_empty()).map(|map| lookup(map.family, map.kind)).collect()
}

/// Every list of services. An audited rule opens nothing that enforced policies deny, so what everybody may use is asked before it is
/// believed that only an audited rule allows the packet.
fn lists(out: &mut Chains, own: &Side<'_>, mode: Mode) {
    let name = &own.name;
    let after = |interval: &Interval, audited: &str| match interval.audit {
        false => rule(interval.rule),
        true => format!("{name}_{audited}{}", interval.rule),
    };
    for (number, list) in own.lists.iter().enumerate() {
        services::chains(out, &format!("{name}_s{number}"), list, |interval| Some(after(interval, "a")));
    }
    for (chain, audited) in [("any", false), ("late", true)] {
        let family = |family: Family| format!("meta nfproto ipv{0} goto {name}_{chain}{0}", digit(family));
        out.chain(&format!("{name}_{chain}"), Family::BOTH.map(family));
        for family in Family::BOTH {
            let part = format!("{name}_{chain}{}", digit(family));
            services::chains(out, &part, own.any(family), |interval| (interval.audit == audited).then(|| after(interval, "w")));
        }
    }
    for id in own.audited() {
        out.chain(&format!("{name}_a{id}"), [format!("jump {name}_any"), format!("goto {name}_w{id}")]);
        let ends = match mode {
            Mode::Enforce => vec![count(own, "would_pass_audit_rule"), format!("goto {name}_refuse")],
            Mode::Audit => vec![super::count_flow(id), format!("{} accept", count(own, "pass_audit_rule"))],
        };
        out.chain(&format!("{name}_w{id}"), ends);
    }
    out.chain(
        &format!("{name}_covered"),
        own.covered.iter().map(|(prefix, number)| format!("goto {name}_s{number} comment \"{prefix}\"")),
    );
}
