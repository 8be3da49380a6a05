//! One table in two languages: the core's and the enforcer's. Both are plain data and say the same.

use std::collections::BTreeMap;

use enforcer::{Cidr as KernelCidr, Direction as KernelDirection, Mode as KernelMode};
use policy::lower::bpf::{Interval, Key, Rule, Table};
use policy::model::Mode;
use policy::net::{Cidr, Direction, Family};

/// `dhcp`: whether a lease is renewed whatever the rules say, which is the host's configuration and not policy.
pub(super) fn to_kernel(table: &Table, dhcp: bool) -> enforcer::Table {
    let mut out = enforcer::Table { no_dhcp: !dhcp, ..enforcer::Table::default() };
    for (key, rule) in table {
        match (key, rule) {
            (Key::Isolation { direction }, Rule::Isolation(mode)) => {
                let mode = Some(if *mode == Mode::Audit { KernelMode::Audit } else { KernelMode::Enforce });
                match direction {
                    Direction::Ingress => out.isolate_in = mode,
                    Direction::Egress => out.isolate_out = mode,
                }
            }
            (Key::Any { direction, family }, Rule::Services(list)) => {
                if let Some(any) = out.any.get_mut(any_index(*direction, *family)) {
                    *any = list.iter().map(interval_to_kernel).collect();
                }
            }
            (Key::Prefix { direction, prefix }, Rule::Services(list)) => {
                if let Some(cidr) = KernelCidr::new(prefix.first(), prefix.length()) {
                    out.prefixes.push((direction_to_kernel(*direction), cidr, list.iter().map(interval_to_kernel).collect()));
                }
            }
            (Key::Isolation { .. }, Rule::Services(_)) | (Key::Any { .. } | Key::Prefix { .. }, Rule::Isolation(_)) => {}
        }
    }
    out
}

pub(super) fn from_kernel(table: &enforcer::Table) -> Table {
    let mut out = BTreeMap::new();
    for (direction, mode) in [(Direction::Ingress, table.isolate_in), (Direction::Egress, table.isolate_out)] {
        if let Some(mode) = mode {
            let mode = if mode == KernelMode::Audit { Mode::Audit } else { Mode::Enforce };
            out.insert(Key::Isolation { direction }, Rule::Isolation(mode));
        }
        for family in Family::BOTH {
            let list = table.any.get(any_index(direction, family)).filter(|list| !list.is_empty());
            if let Some(list) = list {
                out.insert(Key::Any { direction, family }, Rule::Services(list.iter().map(interval_from_kernel).collect()));
            }
        }
    }
    for (direction, cidr, list) in &table.prefixes {
        let direction = if *direction == KernelDirection::In { Direction::Ingress } else { Direction::Egress };
        if let Some(prefix) = Cidr::new(cidr.addr(), cidr.prefix_len()) {
            out.insert(Key::Prefix { direction, prefix }, Rule::Services(list.iter().map(interval_from_kernel).collect()));
        }
    }
    out
}

fn any_index(direction: Direction, family: Family) -> usize {
    usize::from(family == Family::V6) * 2 + usize::from(direction == Direction::Egress)
}

fn direction_to_kernel(direction: Direction) -> KernelDirection {
    match direction {
        Direction::Ingress => KernelDirection::In,
        Direction::Egress => KernelDirection::Out,
    }
}

fn interval_to_kernel(i: &Interval) -> enforcer::Interval {
    enforcer::Interval { lo: i.lo, hi: i.hi, rule: i.rule, audit: i.audit }
}

fn interval_from_kernel(i: &enforcer::Interval) -> Interval {
    Interval { lo: i.lo, hi: i.hi, rule: i.rule, audit: i.audit }
}

#[cfg(test)]
mod tests {
    use policy::lower::bpf::{Key, Rule, Table};
    use policy::model::Mode;
    use policy::net::Direction;

    use super::{from_kernel, to_kernel};

    #[test]
    fn whether_dhcp_passes_is_told_to_the_kernel_beside_the_rules() {
        let rules: Table = [(Key::Isolation { direction: Direction::Ingress }, Rule::Isolation(Mode::Enforce))].into();
        for dhcp in [true, false] {
            let table = to_kernel(&rules, dhcp);
            assert_eq!((table.no_dhcp, from_kernel(&table)), (!dhcp, rules.clone()));
        }
    }
}
