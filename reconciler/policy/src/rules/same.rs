//! Whether a policy of one set means what one of another set does, wherever it stands and however it is written.

use super::facts::Facts;
use super::found::Here;
use crate::model::{NetworkPolicy, Peer, Port, Rule};
use crate::net::Direction;

/// Whether both are enforced alike and their rules, one by one, allow the same. Reordered rules count as different.
pub(super) fn same_policy(new: &Facts<'_>, policy: &NetworkPolicy, old: &Facts<'_>, was: &NetworkPolicy) -> bool {
    let rules = |policy| Direction::BOTH.map(|direction| Here::of(policy, direction));
    policy.mode == was.mode
        && (policy.types.ingress, policy.types.egress) == (was.types.ingress, was.types.egress)
        && rules(policy).into_iter().zip(rules(was)).all(|(now, then)| {
            let now = now.map(|here| (new.is_expired(&here), Meant(here.rule)));
            now.eq(then.map(|here| (old.is_expired(&here), Meant(here.rule))))
        })
}

/// A rule without its places and its name.
struct Meant<'a>(&'a Rule);

impl PartialEq for Meant<'_> {
    fn eq(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.0, other.0);
        ours.peers.len() == theirs.peers.len()
            && ours.ports.len() == theirs.ports.len()
            && ours.peers.iter().zip(&theirs.peers).all(|(a, b)| same_peer(a, b))
            && ours.ports.iter().zip(&theirs.ports).all(|(a, b)| same_port(&a.port, &b.port))
    }
}

fn same_peer(a: &Peer, b: &Peer) -> bool {
    a.parts().map(|part| (part.cidr, part.except)).eq(b.parts().map(|part| (part.cidr, part.except)))
}

fn same_port(a: &Port, b: &Port) -> bool {
    match (a, b) {
        (Port::Numbers(a), Port::Numbers(b)) => a == b,
        (Port::Named(a), Port::Named(b)) => a == b,
        (Port::Unreadable, Port::Unreadable) => true,
        (Port::Numbers(_) | Port::Named(_) | Port::Unreadable, _) => false,
    }
}
