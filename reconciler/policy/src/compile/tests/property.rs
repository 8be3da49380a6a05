//! `verdict`, `passes`, the host's table and the arranged answers against the naive evaluation, from the text of random worlds.

use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;
use core::net::IpAddr;

use proptest::prelude::*;

use super::generate::{addresses, services, world};
use super::naive::{self, Asked};
use super::world::{Someone, World};
use crate::answers::Answers;
use crate::compile::{Endpoint, Flow, Party, Ruleset};
use crate::lower::bpf::{Key, Rule as TableRule, RuleIds, Table, lower};
use crate::model::inventory::NamedPort;
use crate::model::{Mode, PolicySet};
use crate::net::{Cidr, Direction, Family, Service, ServiceRange};
use crate::read::read;
use crate::rules::tests::{day, snapshot};

pub(crate) fn set(world: &World) -> PolicySet {
    let reading = read(&snapshot(&world.text()));
    assert!(reading.problems.is_empty() || world.policies.is_empty(), "{:?}\n{}", reading.problems, world.text());
    reading.set
}

pub(crate) fn service(asked: Asked) -> Service {
    match asked {
        Asked::Port(protocol, port) => Service::new(protocol, port),
        Asked::Icmp(protocol, kind, code) => Service::icmp(protocol, kind, code),
    }
}

pub(crate) fn endpoint(someone: &Someone) -> Endpoint {
    let ports = someone.ports.iter().map(|(name, protocol, port)| NamedPort {
        name: name.as_str().into(),
        service: ServiceRange::ports(*protocol, *port, *port),
    });
    Endpoint { labels: someone.tags.clone(), namespace: someone.namespace.clone(), ports: ports.collect() }
}

/// Somebody of the CDE whom no Inventory knows.
pub(crate) fn stranger() -> Someone {
    let tags = [("env", "cde"), ("tier", "db")].map(|(key, value)| (key.to_string(), value.to_string()));
    Someone { name: "stranger".to_string(), namespace: "default".to_string(), tags: tags.into(), addresses: vec![], ports: vec![] }
}

/// What the program does with the table: longest match, then any.
fn look_up(table: &Table, direction: Direction, peer: IpAddr, service: Service) -> (bool, bool) {
    let Some(TableRule::Isolation(mode)) = table.get(&Key::Isolation { direction }) else {
        return (false, true);
    };
    if *mode == Mode::Audit {
        return (false, true);
    }
    let family = Family::of(peer);
    let longest = (0..=family.bits())
        .rev()
        .find_map(|length| table.get(&Key::Prefix { direction, prefix: Cidr::new(peer, length).unwrap() }));
    let any = table.get(&Key::Any { direction, family });
    let permits = |rule: Option<&TableRule>| match rule {
        Some(TableRule::Services(list)) => {
            assert!(list.windows(2).all(|w| w[0].hi < w[1].lo), "sorted and disjoint");
            list.iter().any(|i| i.lo <= service.number() && service.number() <= i.hi && !i.audit)
        }
        _ => false,
    };
    (true, permits(longest) || permits(any))
}

fn everybody(world: &World) -> Vec<Someone> {
    world.members.iter().flatten().cloned().chain([stranger()]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn one_side_of_a_flow_means_what_the_policy_language_says(world in world()) {
        let ruleset = Ruleset::of(&set(&world), day());
        let mut answers = Answers::of(ruleset.clone());
        let ids = RuleIds::assign(&RuleIds::default(), &ruleset);
        let (peers, services) = (addresses(&world, 24), services(&world, 12));
        for someone in everybody(&world) {
            let own = endpoint(&someone);
            let subject = answers.subject(own.clone());
            let table = lower(&ruleset, &own, &ids).unwrap();
            for (peer, asked) in peers.iter().flat_map(|peer| services.iter().map(move |asked| (*peer, *asked))) {
                for direction in Direction::BOTH {
                    let expected = naive::side(&world, &someone, direction, peer, asked);
                    let flow = Flow { endpoint: own.clone(), direction, peer, service: service(asked) };
                    let verdict = ruleset.verdict(&flow);
                    let words = || alloc::format!("{} {} {peer} {asked:?}\n{}", someone.name, direction.name(), world.text());
                    prop_assert_eq!((verdict.isolated, verdict.allow), expected, "verdict: {}", words());
                    prop_assert_eq!(look_up(&table, direction, peer, flow.service), expected, "table: {}", words());
                    prop_assert_eq!(answers.ask(&subject, direction, peer, flow.service).verdict(), verdict, "answers: {}", words());
                }
            }
        }
    }

    #[test]
    fn a_flow_between_two_passes_if_both_sides_agree(world in world()) {
        let ruleset = Ruleset::of(&set(&world), day());
        let mut answers = Answers::of(ruleset.clone());
        let (peers, services) = (addresses(&world, 16), services(&world, 6));
        let stranger = stranger();
        let made_up = endpoint(&stranger);
        for (from, to) in peers.iter().flat_map(|from| peers.iter().map(move |to| (*from, *to))) {
            for (from_made_up, to_made_up) in [(false, false), (true, false), (false, true)] {
                let party = |address, made: bool| Party { address, endpoint: made.then(|| made_up.clone()) };
                let (source, destination) = (party(from, from_made_up), party(to, to_made_up));
                for &asked in &services {
                    let whom = |made: bool| made.then_some(&stranger);
                    let expected = naive::passes(&world, (from, whom(from_made_up)), (to, whom(to_made_up)), asked);
                    let service = service(asked);
                    let words = || alloc::format!("{from} {from_made_up} {to} {to_made_up} {asked:?}\n{}", world.text());
                    prop_assert_eq!(ruleset.passes(&source, &destination, service), expected, "passes: {}", words());
                    prop_assert_eq!(answers.passage(&source, &destination, service).allow(), expected, "passage: {}", words());
                }
            }
        }
    }
}
