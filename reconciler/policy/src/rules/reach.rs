//! Whom a rule names, prefix by prefix, and what they may use: for rules that judge a policy's own words, whoever it selects.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::found::Here;
use crate::model::{Grant, Part, Peer, Whom};
use crate::net::{AddressSet, Cidr, Direction, Family};

/// Some addresses that a rule names.
#[derive(Clone, Copy)]
pub(super) struct Named<'a> {
    /// The peer's number; `None` for everybody, and for those found through a named port.
    pub(super) peer: Option<usize>,
    /// The addresses, and where the value that names them stands.
    pub(super) part: Part<'a>,
}

/// What a rule allows. Named ports of ingress stand for all that any selected endpoint declares under the name.
pub(super) fn grants<'a>(here: &Here<'a>) -> Vec<Grant<'a>> {
    match here.direction {
        Direction::Egress => here.rule.grants(Direction::Egress, &[]),
        Direction::Ingress => {
            let whom = if here.rule.peers.is_empty() { Whom::Everybody } else { Whom::Peers(&here.rule.peers) };
            vec![Grant { whom, services: here.rule.services() }]
        }
    }
}

/// Who may use a grant of a rule.
pub(super) fn named<'a>(here: &Here<'a>, whom: Whom<'a>) -> Vec<Named<'a>> {
    let at = here.rule.at;
    let whole = |cidr| Named { peer: None, part: Part { at, cidr, except: &[] } };
    match whom {
        Whom::Everybody => Family::BOTH.map(|family| whole(Cidr::all(family))).into(),
        Whom::Members(members) => members.iter().copied().map(whole).collect(),
        Whom::Peers(peers) => {
            let parts = |(number, peer): (usize, &'a Peer)| peer.parts().map(move |part| Named { peer: Some(number), part });
            peers.iter().enumerate().flat_map(parts).collect()
        }
    }
}

/// The pointer below the rule to the value that names a peer.
pub(super) fn below(here: &Here<'_>, peer: Option<usize>) -> String {
    let known = peer.and_then(|number| Some((number, here.rule.peers.get(number)?)));
    known.map_or_else(String::new, |(number, peer)| format!("/{}/{number}{}", here.direction.peers(), peer.pointer()))
}

/// The stretches of addresses a part has, first and last.
pub(super) fn spans(part: Part<'_>) -> Vec<(u128, u128)> {
    if part.except.is_empty() {
        return vec![part.cidr.bounds()];
    }
    part.addresses(part.cidr.family()).spans().to_vec()
}

/// The lowest address that a part shares with a set of its family.
pub(super) fn first_shared(part: Part<'_>, set: &AddressSet) -> Option<u128> {
    if part.except.is_empty() {
        let (first, last) = part.cidr.bounds();
        return set.first_between(first, last);
    }
    spans(part).into_iter().find_map(|(first, last)| set.first_between(first, last))
}
