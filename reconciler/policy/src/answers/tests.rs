//! What the property tests beside `verdict` do not reach: the slow way, shared addresses, an endpoint and itself.

use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::Answers;
use crate::compile::tests::generate::{addresses, services, world};
use crate::compile::tests::property::{endpoint, service, set, stranger};
use crate::compile::{Endpoint, Ruleset};
use crate::net::Direction;
use crate::net::Service;
use crate::net::service::TCP;
use crate::read::read;
use crate::rules::tests::{day, snapshot};

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_tangled_endpoint_gets_the_same_answers(world in world()) {
        let ruleset = Ruleset::of(&set(&world), day());
        let (mut fast, mut slow) = (Answers::of(ruleset.clone()), Answers { budget: 0, ..Answers::of(ruleset.clone()) });
        let own = endpoint(&stranger());
        let (quick, tangled) = (fast.subject(own.clone()), slow.subject(own));
        for (peer, asked) in addresses(&world, 16).into_iter().flat_map(|p| services(&world, 8).into_iter().map(move |s| (p, s))) {
            for direction in Direction::BOTH {
                let ask = |answers: &Answers, subject| answers.ask(subject, direction, peer, service(asked)).verdict();
                prop_assert_eq!(ask(&slow, &tangled), ask(&fast, &quick));
            }
        }
    }

    #[test]
    fn whose_an_address_is_and_who_selects_is_what_looking_at_everybody_says(world in world()) {
        let ruleset = Ruleset::of(&set(&world), day());
        let mut answers = Answers::of(ruleset.clone());
        for address in addresses(&world, 64) {
            prop_assert_eq!(answers.member_at(address), ruleset.member_at(address));
        }
        for member in ruleset.members() {
            let own = Endpoint::from(member);
            let names: Vec<_> = ruleset.selecting(&own).map(|policy| policy.name.clone()).collect();
            let subject = answers.named(&member.name).unwrap();
            let found: Vec<_> = subject.selecting().iter().map(|number| ruleset.policies()[*number].name.clone()).collect();
            prop_assert_eq!(found, names);
        }
    }
}

fn answers(documents: &str) -> Answers {
    Answers::new(&read(&snapshot(documents)).set, day())
}

fn member(name: &str, addresses: &str) -> alloc::string::String {
    format!("{{name: {name}, labels: {{tier: db}}, addresses: [{addresses}]}}")
}

fn inventory(members: &[alloc::string::String]) -> alloc::string::String {
    format!(
        "{{apiVersion: pci-segment/v1, kind: Inventory, metadata: {{name: i}}, spec: {{workloads: [{}]}}}}\n---\n{{apiVersion: pci-segment/v1, kind: NetworkPolicy, metadata: {{name: p}}, spec: {{podSelector: {{}}}}}}\n",
        members.join(", ")
    )
}

#[test]
fn of_two_endpoints_with_one_address_the_first_counts_wherever_the_address_is() {
    let text = inventory(&[member("b", "10.0.0.0/24"), member("a", "10.0.0.7"), member("c", "10.0.1.0")]);
    let answers = answers(&text);
    let name = |address: &str| answers.member_at(address.parse().unwrap()).map(|member| member.name.to_string());
    assert_eq!((name("10.0.0.7").as_deref(), name("10.0.1.0").as_deref(), name("10.0.2.0")), (Some("b"), Some("c"), None));
}

#[test]
fn s37_an_endpoint_of_the_inventory_is_not_filtered_towards_itself() {
    let mut answers = answers(&inventory(&[member("a", "10.0.0.0/31"), member("b", "10.0.0.9")]));
    let own = answers.named("a").unwrap();
    let ask = |peer: &str| {
        let answer = answers.ask(&own, Direction::Ingress, peer.parse().unwrap(), Service::new(TCP, 1));
        (answer.allow, answer.loopback, answer.isolated())
    };
    assert_eq!(ask("10.0.0.1"), (true, true, false));
    assert_eq!(ask("10.0.0.9"), (false, false, true));
    // Nobody vouches for one that is made up.
    let subject = answers.subject(own.endpoint().clone());
    assert!(!answers.ask(&subject, Direction::Ingress, "10.0.0.1".parse().unwrap(), Service::new(TCP, 1)).allow);
}

#[test]
fn addresses_that_meet_in_every_way_belong_to_the_first_of_their_endpoints() {
    let all = ["10.0.0.8/29", "10.0.0.0/24", "10.0.0.8/30", "10.0.1.0/24", "255.255.255.255", "255.255.255.0/24"];
    for turn in 0..all.len() {
        let members: Vec<_> = (0..all.len()).map(|n| member(&format!("m{n}"), all[(n + turn) % all.len()])).collect();
        let answers = answers(&inventory(&members));
        for address in [
            "10.0.0.0",
            "10.0.0.7",
            "10.0.0.8",
            "10.0.0.12",
            "10.0.0.16",
            "10.0.1.0",
            "10.0.2.0",
            "255.255.255.254",
            "255.255.255.255",
        ] {
            let address = address.parse().unwrap();
            assert_eq!(answers.member_at(address), answers.ruleset.member_at(address), "{turn} {address}");
        }
    }
}
