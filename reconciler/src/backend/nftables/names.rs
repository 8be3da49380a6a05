//! The names of everything in our table, in one place: the script writes them, and what is observed is found by them.

use policy::net::{Direction, Family};

/// Our table; nothing outside it is ever touched.
pub(super) const TABLE: &str = "pci_segment";
/// The configured interfaces, by name, so that one that comes back is filtered at once.
pub(super) const INTERFACES: &str = "interfaces";
/// Holds both families as long as a trial runs; the kernel empties it.
pub(super) const TRIAL: &str = "trial";

/// Prerouting between connection tracking (−200) and destination NAT (−100): addresses are those on the wire.
pub(super) const PREROUTING_PRIORITY: i64 = -150;
/// Postrouting after source NAT (100): addresses are those on the wire.
pub(super) const POSTROUTING_PRIORITY: i64 = 150;

/// `in` or `out`.
pub(super) const fn side(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "in",
        Direction::Egress => "out",
    }
}

/// The base chain of a direction, which is also the name of its hook.
pub(super) const fn hook(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "prerouting",
        Direction::Egress => "postrouting",
    }
}

/// The priority of a direction's base chain.
pub(super) const fn priority(direction: Direction) -> i64 {
    match direction {
        Direction::Ingress => PREROUTING_PRIORITY,
        Direction::Egress => POSTROUTING_PRIORITY,
    }
}

/// Which interface a direction is about.
pub(super) const fn interface_key(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "iifname",
        Direction::Egress => "oifname",
    }
}

/// Where the peer's address is.
pub(super) const fn peer_key(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "saddr",
        Direction::Egress => "daddr",
    }
}

/// The digit of a family.
pub(super) const fn digit(family: Family) -> u8 {
    match family {
        Family::V4 => 4,
        Family::V6 => 6,
    }
}

/// `ip` or `ip6`.
pub(super) const fn header(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

/// Which generation judges: one rule, or two while one is on trial.
pub(super) fn dispatch(direction: Direction) -> String {
    format!("dispatch_{}", side(direction))
}

/// What always passes.
pub(super) fn failsafe(direction: Direction) -> String {
    format!("failsafe_{}", side(direction))
}

/// Where what an enforced rule allows ends; also the name of its counter.
pub(super) fn rule(id: u32) -> String {
    format!("rule_{id}")
}

/// Everything of one generation and direction begins with this: `g17_in`.
pub(super) fn generation(epoch: u64, direction: Direction) -> String {
    format!("g{epoch}_{}", side(direction))
}

/// What a generation says about itself.
pub(super) fn about(epoch: u64) -> String {
    format!("g{epoch}_about")
}

/// The generation that a chain or map belongs to.
pub(super) fn epoch_of(name: &str) -> Option<u64> {
    name.strip_prefix('g')?.split_once('_')?.0.parse().ok()
}
