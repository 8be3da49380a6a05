//! Names, and rules as they come back.

use std::sync::Arc;

use policy::lower::network_security_group::{self as nsg, Traffic};
use policy::net::{Cidr, Direction, Family};
use proptest::prelude::*;

use super::words::{DENY, Key, Rule};

fn traffic() -> impl Strategy<Value = Traffic> {
    let ports = (prop_oneof![Just(6_u8), Just(17)], any::<u16>(), any::<u16>()).prop_map(|(protocol, a, b)| Traffic::Ports {
        protocol,
        first: a.min(b),
        last: a.max(b),
    });
    let whole = prop_oneof![Just(1_u8), Just(6), Just(17), Just(50), Just(51)].prop_map(Traffic::Protocol);
    prop_oneof![Just(Traffic::All), whole, ports]
}

fn key() -> impl Strategy<Value = Key> {
    let group: Arc<str> = "pci-segment-db-1a2b3c4d".into();
    let way = prop_oneof![Just(Direction::Ingress), Just(Direction::Egress)];
    let family = prop_oneof![Just(Family::V4), Just(Family::V6)];
    (way, traffic(), family, 0..8).prop_map(move |(direction, traffic, family, kind)| match kind {
        0 => Key::Probes { group: group.clone() },
        1 => Key::Lowered(nsg::Key::Deny { group: group.clone(), direction }),
        _ => Key::Lowered(nsg::Key::Allow { group: group.clone(), direction, traffic, family }),
    })
}

fn rule_of(key: &Key) -> Rule {
    let prefixes = match key {
        Key::Lowered(nsg::Key::Allow { family: Family::V4, .. }) => vec![Cidr::parse("10.0.0.0/8").unwrap()],
        Key::Lowered(nsg::Key::Allow { .. }) => vec![Cidr::parse("2001:db8::/32").unwrap()],
        Key::Lowered(_) | Key::Probes { .. } | Key::Stray { .. } => Vec::new(),
    };
    Rule { prefixes, other: None }
}

proptest! {
    #[test]
    fn a_name_of_at_most_80_characters_says_its_key_and_a_rule_comes_back_as_it_went(key in key()) {
        let name = key.rule_name().unwrap();
        prop_assert!(name.len() <= 80 && name.starts_with("pci-segment-"));
        prop_assert_eq!(Key::of_name(key.group(), &name), Some(key.clone()));
        let rule = rule_of(&key);
        let number = if matches!(key, Key::Lowered(nsg::Key::Deny { .. })) { DENY } else { 1_500 };
        let body = key.body(&rule, number).unwrap();
        prop_assert_eq!(Key::seen(key.group(), &body), (key, rule));
    }

    #[test]
    fn a_rule_that_somebody_changed_is_not_what_its_name_says(key in key(), which in 0..5) {
        let number = if matches!(key, Key::Lowered(nsg::Key::Deny { .. })) { DENY } else { 1_500 };
        let mut body = key.body(&rule_of(&key), number).unwrap();
        let properties = &mut body.properties;
        match which {
            0 => properties.access = if properties.allows() { "Deny" } else { "Allow" }.to_owned(),
            1 => properties.source_port_range = Some("53".to_owned()),
            2 => properties.destination_port_ranges = vec!["1-2".to_owned()],
            3 => properties.source_application_security_groups = vec![serde_json::json!({"id": "asg"})],
            _ => {
                properties.source_address_prefix = Some("VirtualNetwork".to_owned());
                properties.source_address_prefixes.clear();
            }
        }
        let (found, rule) = Key::seen(key.group(), &body);
        prop_assert_eq!(found, key);
        prop_assert!(rule.other.is_some(), "{:?}", body);
    }
}

#[test]
fn a_name_of_ours_that_says_no_key_is_a_stray() {
    let group: Arc<str> = "g".into();
    for name in ["pci-segment-", "pci-segment-in-tcp-0443-v4", "pci-segment-in-gre-v4", "pci-segment-deny-up", "pci-segment-in-all"]
    {
        assert_eq!(Key::of_name(&group, name), None, "{name}");
    }
}

#[test]
fn what_is_kept_over_a_restart_comes_back() {
    let group: Arc<str> = "g".into();
    let member = Key::Lowered(nsg::Key::Member { group: group.clone(), id: "/subscriptions/x".into() });
    let allow = Key::of_name(&group, "pci-segment-in-tcp-443-v4").unwrap();
    let rule = rule_of(&allow);
    let table = [(Key::Lowered(nsg::Key::Group { group }), Rule::default()), (member, Rule::default()), (allow, rule)].into();
    assert_eq!(super::kept::recall(&super::kept::keep(&table)), Some(table));
}
