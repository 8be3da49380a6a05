//! What fits beside what is there.

use policy::lower::security_group::Traffic;
use policy::net::Cidr;
use policy::net::service::TCP;

use super::super::seen::Rule;
use super::*;

const QUOTA: Quota = Quota { rules_per_group: 60, groups_per_interface: 5 };

fn group() -> Arc<str> {
    "pci-segment-a".into()
}

fn rules(prefix: &str, ports: std::ops::Range<u16>) -> Table {
    let side = Side::Prefix(Cidr::parse(prefix).unwrap());
    let key = |port| {
        let traffic = Traffic::Ports { protocol: TCP, first: port, last: port };
        Key::Rule { group: group(), direction: Direction::Ingress, traffic, side: side.clone() }
    };
    ports.map(|port| (key(port), Rule::default())).collect()
}

fn seen() -> Seen {
    let mut seen = Seen::default();
    seen.made(&group(), "sg-0123");
    seen
}

fn judged(observed: &Table, desired: &Table) -> Tight {
    tight(QUOTA, &seen(), &BTreeMap::from([("pl-1".into(), 20)]), observed, desired)
}

#[test]
fn a05_too_little_room_for_old_and_new_is_said_with_numbers_before_the_first_call() {
    let tight = judged(&rules("10.0.0.0/8", 0..40), &rules("10.0.0.0/8", 9..80));
    let words: Vec<_> = tight.problems.iter().map(|problem| problem.message.as_str()).collect();
    assert_eq!(words.len(), 1, "{words:?}");
    assert!(
        words[0].starts_with("sg-0123 allows 60, the change needs 80 at its widest (pci-segment-a, ingress rules for IPv4)"),
        "{words:?}"
    );
    assert!(tight.gaps.is_empty(), "71 do not fit either, so removing first is no way out");
    let tight = judged(&rules("10.0.0.0/8", 0..40), &rules("10.0.0.0/8", 20..71));
    assert!(tight.problems[0].message.starts_with("sg-0123 allows 60, the change needs 71 at its widest"));
    assert_eq!(tight.gaps, BTreeSet::from([group()]), "51 fit once the old ones are gone");
}

#[test]
fn a05_families_and_directions_are_counted_apart() {
    let mut both = rules("10.0.0.0/8", 0..60);
    both.extend(rules("2001:db8::/32", 0..60));
    assert!(judged(&Table::new(), &both).problems.is_empty());
    both.extend(rules("10.0.0.0/8", 60..61));
    assert_eq!(judged(&Table::new(), &both).problems.len(), 1);
}

#[test]
fn a05_a_prefix_list_counts_as_what_it_may_hold_and_for_both_families() {
    let list = Key::Rule { group: group(), direction: Direction::Ingress, traffic: Traffic::All, side: Side::Other("pl-1".into()) };
    let mut found = rules("10.0.0.0/8", 0..40);
    found.insert(list, Rule::default());
    assert!(judged(&found, &rules("10.0.0.0/8", 0..40)).problems.is_empty(), "40 and 20 are 60");
    assert!(!judged(&found, &rules("10.0.0.0/8", 0..41)).problems.is_empty(), "41 and 20 are not");
}

#[test]
fn a05_a_group_that_is_too_full_already_may_be_made_smaller() {
    let found = rules("10.0.0.0/8", 0..80);
    assert!(judged(&found, &rules("10.0.0.0/8", 0..50)).problems.is_empty());
}

#[test]
fn a05_an_interface_is_in_no_more_groups_than_aws_allows() {
    let mut seen = seen();
    seen.others.insert("eni-1".into(), 4);
    let member = |group: &str| (Key::Member { group: group.into(), id: "eni-1".into() }, Rule::default());
    let one = Table::from([member("pci-segment-a")]);
    assert!(tight(QUOTA, &seen, &BTreeMap::new(), &Table::new(), &one).problems.is_empty());
    let moved = tight(QUOTA, &seen, &BTreeMap::new(), &one, &Table::from([member("pci-segment-b")]));
    assert_eq!(moved.problems.len(), 1);
    assert!(moved.problems[0].message.starts_with("eni-1 can be in 5 security groups, the change needs 6 at its widest"));
}
