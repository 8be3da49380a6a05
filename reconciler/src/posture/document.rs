//! A group as a policy's text, a line a rule, with the way back from lines to rules.
//!
//! Who has no addresses of their own (members of a group, a tag that the provider keeps) gets an address that stands for them, so that
//! their ports are judged; texts then name them again.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use policy::model::standard::{CDE_LABEL, Standard};
use policy::net::service::{ICMP, ICMPV6, SCTP, TCP, UDP};
use policy::net::{Cidr, Direction, Family, ServiceRange};
use policy::read::limits::{PEERS_PER_RULE_MAX, PORTS_PER_RULE_MAX};

use super::effective::{OWN_FROM, Piece, pieces};
use crate::backend::cloud::{FoundGroup, FoundSide};

/// The first address that stands for somebody; a private host that no house number is about.
const FIRST_STAND_IN: u32 = u32::from_be_bytes([10, 254, 0, 1]);
/// So many may stand for somebody; further ones are not judged by their ports.
const STAND_INS_MAX: usize = 60_000;
/// Numbers of a protocol's ports.
const PORTS_EACH: u32 = 1 << 16;

/// A policy's text.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) text: String,
    /// The rule that a line stands for, by line.
    rules: Vec<Option<usize>>,
    stand_ins: Vec<String>,
}

impl Document {
    /// What a group lets through.
    pub(super) fn of(group: &FoundGroup, standard: &Standard) -> Self {
        let mut document = Self { text: String::new(), rules: vec![None], stand_ins: Vec::new() };
        let label = standard.cde_labels.iter().find_map(|(key, values)| Some((key.as_str(), values.first()?.as_str())));
        let (key, value) = label.unwrap_or(CDE_LABEL);
        document.line("apiVersion: pci-segment/v1", None);
        document.line("kind: NetworkPolicy", None);
        document.line("metadata: {name: group}", None);
        document.line("spec:", None);
        document.line(&format!("  podSelector: {{matchLabels: {{{key:?}: {value:?}}}}}"), None);
        document.line("  policyTypes: [Ingress, Egress]", None);
        for direction in Direction::BOTH {
            document.direction(group, direction);
        }
        document
    }

    fn direction(&mut self, group: &FoundGroup, direction: Direction) {
        let own = |piece: &Piece| group.rules.get(piece.rule).is_some_and(|rule| rule.priority >= Some(OWN_FROM));
        let pieces: Vec<Piece> = pieces(group, direction).into_iter().filter(|piece| !own(piece)).collect();
        let lines: Vec<(String, usize)> = pieces.iter().flat_map(|piece| self.piece(piece, direction)).collect();
        if !lines.is_empty() {
            self.line(&format!("  {}:", direction.name()), None);
        }
        lines.iter().for_each(|(line, rule)| self.line(line, Some(*rule)));
    }

    fn piece(&mut self, piece: &Piece, direction: Direction) -> Vec<(String, usize)> {
        let mut lines = Vec::new();
        let of =
            |family: Family| piece.addresses.iter().filter(move |cidr| cidr.family() == family).map(|cidr| peer(&cidr.to_string()));
        let (mut v4, v6): (Vec<String>, Vec<String>) = (of(Family::V4).collect(), of(Family::V6).collect());
        for side in &piece.named {
            v4.extend(self.stand_in_for(side).map(|address| peer(&format!("{address}/32"))));
        }
        // Everything, or nothing that a policy can say.
        if piece.services.contains(&ServiceRange::ALL) {
            v4.extend(v6);
            for peers in v4.chunks(PEERS_PER_RULE_MAX) {
                lines.push((format!("    - {{{}: [{}]}}", direction.peers(), peers.join(", ")), piece.rule));
            }
            return lines;
        }
        for (peers, foreign) in [(v4, ICMPV6), (v6, ICMP)] {
            // Each family has an ICMP of its own; no packet carries the other one.
            let ports: Vec<String> = piece.services.iter().flat_map(|range| ports(*range, foreign)).collect();
            for peers in peers.chunks(PEERS_PER_RULE_MAX) {
                let peers = peers.join(", ");
                for ports in ports.chunks(PORTS_PER_RULE_MAX) {
                    let text = format!("    - {{{}: [{peers}], ports: [{}]}}", direction.peers(), ports.join(", "));
                    lines.push((text, piece.rule));
                }
            }
        }
        lines
    }

    fn line(&mut self, text: &str, rule: Option<usize>) {
        let _ = writeln!(self.text, "{text}");
        self.rules.push(rule);
    }

    fn stand_in_for(&mut self, side: &FoundSide) -> Option<IpAddr> {
        let name = match side {
            FoundSide::Group { id } | FoundSide::PrefixList { id, .. } => id,
            FoundSide::ServiceTag(tag) => tag,
            FoundSide::Prefix(_) => return None,
        };
        let known = self.stand_ins.iter().position(|known| known == name);
        let index = known.unwrap_or(self.stand_ins.len());
        if index >= STAND_INS_MAX {
            return None;
        }
        if known.is_none() {
            self.stand_ins.push(name.clone());
        }
        address(index)
    }

    /// The rule that a line stands for.
    pub(super) fn rule_at(&self, line: usize) -> Option<usize> {
        self.rules.get(line).copied().flatten()
    }

    /// For whom an address stands.
    pub(super) fn stand_in(&self, asked: IpAddr) -> Option<&str> {
        let known = |(index, name): (usize, &'_ String)| (address(index) == Some(asked)).then_some(name.len());
        let index = self.stand_ins.iter().enumerate().position(|one| known(one).is_some())?;
        self.stand_ins.get(index).map(String::as_str)
    }

    /// A text with names where addresses stand for them.
    pub(super) fn in_names(&self, text: &str) -> String {
        let mut text = text.to_owned();
        // From the last: 10.254.0.12 begins as 10.254.0.1 does.
        for (index, name) in self.stand_ins.iter().enumerate().rev() {
            let Some(address) = address(index) else { continue };
            text = text.replace(&format!("{address}/32"), name).replace(&address.to_string(), name);
        }
        text
    }
}

fn address(index: usize) -> Option<IpAddr> {
    let number = FIRST_STAND_IN.checked_add(u32::try_from(index).ok()?)?;
    Some(IpAddr::V4(Ipv4Addr::from(number)))
}

fn peer(cidr: &str) -> String {
    format!("{{ipBlock: {{cidr: \"{cidr}\"}}}}")
}

/// A range in a policy's words, without one protocol; those that it has no word for are left out, [`super::clouds`] asks about them.
fn ports(range: ServiceRange, without: u8) -> Vec<String> {
    let mut items = Vec::new();
    let words = [(TCP, "TCP"), (UDP, "UDP"), (SCTP, "SCTP"), (ICMP, "ICMP"), (ICMPV6, "ICMPv6")];
    for (protocol, word) in words.into_iter().filter(|(protocol, _)| *protocol != without) {
        let base = u32::from(protocol) * PORTS_EACH;
        let (lo, hi) = (range.lo().max(base), range.hi().min(base + PORTS_EACH - 1));
        if lo > hi {
            continue;
        }
        let (lo, hi) = (lo - base, hi - base);
        match (protocol, lo, hi) {
            (_, 0, 0xFFFF) => items.push(format!("{{protocol: {word}}}")),
            (ICMP | ICMPV6, ..) => items.extend(icmp(word, lo, hi)),
            (_, _, 0) => {}
            _ => items.push(format!("{{protocol: {word}, port: {}, endPort: {hi}}}", lo.max(1))),
        }
    }
    items
}

/// Types and codes: whole types where all of their codes are meant.
fn icmp(word: &str, lo: u32, hi: u32) -> Vec<String> {
    let of_type = |kind: u32| {
        let (first, last) = (lo.max(kind << 8) & 0xFF, hi.min(kind << 8 | 0xFF) & 0xFF);
        match (first, last) {
            (0, 0xFF) => vec![format!("{{protocol: {word}, icmpType: {kind}}}")],
            _ => (first..=last).map(|code| format!("{{protocol: {word}, icmpType: {kind}, icmpCode: {code}}}")).collect(),
        }
    };
    (lo >> 8..=hi >> 8).flat_map(of_type).collect()
}

/// Whether a policy has a word for any of these services.
pub(super) fn can_be_said(range: ServiceRange) -> bool {
    range == ServiceRange::ALL || [TCP, UDP, SCTP, ICMP, ICMPV6].into_iter().any(|one| ServiceRange::protocol(one).meets(range))
}

/// Whether an address is everybody of a family.
pub(super) fn is_all(cidr: Cidr) -> bool {
    cidr.length() == 0
}
