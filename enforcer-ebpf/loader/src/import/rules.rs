//! What a table says about flows, for many flows: the slow sense of the program's search.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
};

use crate::{
    api::FailsafeEntry,
    table::{Cidr, Direction, Interval, Mode, Table},
};

/// A table to look flows up in, and what no table can cut.
#[derive(Debug)]
pub(crate) struct Rules<'a> {
    table: &'a Table,
    prefixes: HashMap<(Direction, Cidr), &'a [Interval]>,
    failsafe: &'a [FailsafeEntry],
}

/// What is known about one flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Judged {
    /// The rules do not allow it.
    pub(crate) denied: bool,
    /// The rule that does, or that would; 0 for none.
    pub(crate) rule: u32,
    /// It goes on where nothing is audited on the host as a whole.
    pub(crate) goes_on: bool,
}

impl<'a> Rules<'a> {
    pub(crate) fn new(table: &'a Table, failsafe: &'a [FailsafeEntry]) -> Self {
        let prefixes = table.prefixes.iter().map(|(direction, cidr, list)| ((*direction, *cidr), list.as_slice())).collect();
        Self { table, prefixes, failsafe }
    }

    /// Judges a flow of `proto` that was opened in direction `origin`.
    pub(crate) fn judge(&self, origin: Direction, proto: u8, local: SocketAddr, remote: SocketAddr) -> Judged {
        let Some(mode) = self.table.isolation(origin) else { return Judged { denied: false, rule: 0, goes_on: true } };
        let service = u32::from(proto) << 16 | u32::from(service_port(origin, local, remote));
        let own = self.longest(origin, remote.ip()).and_then(|list| covering(list, service));
        let family = if remote.is_ipv6() { 2 } else { 0 };
        let any = self.table.any.get(family + usize::from(origin.number())).and_then(|list| covering(list, service));
        let found = [own, any].into_iter().flatten().min_by_key(|interval| interval.audit);
        let denied = match (found, mode) {
            (Some(interval), Mode::Enforce) => interval.audit,
            (Some(_), Mode::Audit) => false,
            (None, _) => true,
        };
        let goes_on = !denied || mode == Mode::Audit || self.failsafe(proto, local, remote);
        Judged { denied, rule: found.map_or(0, |interval| interval.rule), goes_on }
    }

    fn longest(&self, origin: Direction, peer: IpAddr) -> Option<&[Interval]> {
        let bits = Cidr::host(peer).prefix_len();
        (0..=bits).rev().find_map(|len| self.prefixes.get(&(origin, around(peer, len)?)).copied())
    }

    /// Packets of a flow that is open already are matched as sent by either end.
    fn failsafe(&self, proto: u8, local: SocketAddr, remote: SocketAddr) -> bool {
        self.failsafe.iter().any(|entry| {
            let port = service_port(entry.direction, local, remote);
            (entry.proto, entry.port) == (proto, port) && entry.peer.contains(remote.ip())
        })
    }
}

/// The port of the end that was asked.
fn service_port(origin: Direction, local: SocketAddr, remote: SocketAddr) -> u16 {
    match origin {
        Direction::In => local.port(),
        Direction::Out => remote.port(),
    }
}

fn covering(list: &[Interval], service: u32) -> Option<Interval> {
    let after = list.partition_point(|interval| interval.hi < service);
    list.get(after).copied().filter(|interval| interval.lo <= service)
}

/// The prefix of `len` bits that holds `addr`.
fn around(addr: IpAddr, len: u8) -> Option<Cidr> {
    let addr = match addr {
        IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() & u32::MAX.checked_shl(32_u32.checked_sub(len.into())?).unwrap_or(0)).into()),
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & u128::MAX.checked_shl(128_u32.checked_sub(len.into())?).unwrap_or(0)).into()),
    };
    Cidr::new(addr, len)
}

#[cfg(test)]
mod tests {
    use super::Rules;
    use crate::{
        api::FailsafeEntry,
        table::{Cidr, Direction, Interval, Mode, Table},
    };

    const HOST: &str = "192.0.2.1:443";

    fn service(port: u32, rule: u32, audit: bool) -> Interval {
        Interval { lo: 0x06_0000 | port, hi: 0x06_0000 | port, rule, audit }
    }

    fn cidr(addr: &str, len: u8) -> Cidr {
        Cidr::new(addr.parse().unwrap(), len).unwrap()
    }

    fn table(isolate_in: Mode) -> Table {
        Table {
            isolate_in: Some(isolate_in),
            any: [vec![service(443, 9, true)], vec![], vec![], vec![]],
            prefixes: vec![
                (Direction::In, cidr("10.0.0.0", 8), vec![service(443, 1, false)]),
                (Direction::In, cidr("10.1.0.0", 16), vec![service(22, 2, false)]),
                (Direction::In, cidr("fd00::1", 128), vec![service(443, 3, false)]),
            ],
            ..Table::default()
        }
    }

    fn judge(rules: &Rules<'_>, origin: Direction, local: &str, remote: &str) -> (bool, u32, bool) {
        let judged = rules.judge(origin, 6, local.parse().unwrap(), remote.parse().unwrap());
        (judged.denied, judged.rule, judged.goes_on)
    }

    #[test]
    fn the_longest_prefix_decides_and_then_the_services_of_everybody() {
        let enforced = table(Mode::Enforce);
        let rules = Rules::new(&enforced, &[]);
        assert_eq!(judge(&rules, Direction::In, HOST, "10.9.9.9:5000"), (false, 1, true));
        assert_eq!(judge(&rules, Direction::In, HOST, "10.1.9.9:5000"), (true, 9, false), "an audited rule opens nothing");
        assert_eq!(judge(&rules, Direction::In, "192.0.2.1:22", "10.1.9.9:5000"), (false, 2, true));
        assert_eq!(judge(&rules, Direction::In, "192.0.2.1:23", "10.1.9.9:5000"), (true, 0, false));
        assert_eq!(judge(&rules, Direction::In, "[fd00::9]:443", "[fd00::1]:5000"), (false, 3, true));
        assert_eq!(judge(&rules, Direction::Out, "192.0.2.1:5000", "10.1.9.9:443"), (false, 0, true), "not isolated");
    }

    #[test]
    fn where_a_direction_is_audited_every_flow_goes_on() {
        let audited = table(Mode::Audit);
        let rules = Rules::new(&audited, &[]);
        assert_eq!(judge(&rules, Direction::In, HOST, "10.1.9.9:5000"), (false, 9, true));
        assert_eq!(judge(&rules, Direction::In, "192.0.2.1:23", "10.1.9.9:5000"), (true, 0, true));
    }

    #[test]
    fn what_the_failsafe_names_goes_on_although_no_rule_allows_it() {
        let enforced = table(Mode::Enforce);
        let failsafe = [FailsafeEntry { id: 1, direction: Direction::In, proto: 6, port: 22, peer: cidr("192.0.2.0", 24) }];
        let rules = Rules::new(&enforced, &failsafe);
        assert_eq!(judge(&rules, Direction::In, "192.0.2.1:22", "192.0.2.9:5000"), (true, 0, true));
        assert_eq!(judge(&rules, Direction::In, "192.0.2.1:22", "192.0.3.9:5000"), (true, 0, false));
        assert_eq!(judge(&rules, Direction::In, "192.0.2.1:23", "192.0.2.9:5000"), (true, 0, false));
    }
}
