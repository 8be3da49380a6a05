use policy::finding::Severity;
use policy::model::inventory::Enforcer;
use policy::net::service::{TCP, UDP};
use policy::net::{Cidr, ServiceRange};
use proptest::prelude::*;

use super::*;
use crate::backend::cloud::{FoundRule, FoundSide};

fn group(cloud: Enforcer, rules: Vec<FoundRule>) -> FoundGroup {
    FoundGroup {
        cloud,
        id: "sg-1".to_owned(),
        name: "database".to_owned(),
        network: "vpc-1".to_owned(),
        ours: true,
        default: false,
        attached: Some(vec!["eni-1".to_owned()]),
        tags: BTreeMap::new(),
        rules,
    }
}

fn prefix(text: &str) -> FoundSide {
    FoundSide::Prefix(Cidr::parse(text).unwrap())
}

fn tag(text: &str) -> FoundSide {
    FoundSide::ServiceTag(text.to_owned())
}

fn https() -> ServiceRange {
    ServiceRange::ports(TCP, 443, 443)
}

fn rule(direction: Direction, services: ServiceRange, sides: Vec<FoundSide>) -> FoundRule {
    let text = format!("{services:?} {sides:?}");
    FoundRule {
        id: None,
        direction,
        allows: true,
        priority: None,
        services: vec![services],
        sides,
        text,
        description: String::new(),
    }
}

fn inbound(side: FoundSide) -> FoundRule {
    rule(Direction::Ingress, https(), vec![side])
}

/// As Azure has it.
fn at(priority: u16, allows: bool, rule: FoundRule) -> FoundRule {
    FoundRule { id: Some(format!("rule-{priority}")), priority: Some(priority), allows, ..rule }
}

fn posture(groups: &[FoundGroup], scope: Scope) -> Posture {
    judge(groups, &Standard::default(), scope, Date::new(2026, 2, 1).unwrap())
}

fn found(group: FoundGroup) -> Vec<Finding> {
    posture(&[group], Scope::Marked).findings
}

/// Rule ids with their codes and lines.
fn ids(findings: &[Finding]) -> Vec<(&'static str, u32)> {
    findings.iter().map(|finding| (finding.rule_id, finding.place.spot.line)).collect()
}

fn aws(sides: &[&str]) -> Vec<(&'static str, u32)> {
    ids(&found(group(Enforcer::Aws, sides.iter().map(|side| inbound(prefix(side))).collect())))
}

#[test]
fn every_spelling_of_open_is_found() {
    for spelling in [
        &["0.0.0.0/0"][..],
        &["::/0"],
        &["2000::/3"],
        &["0.0.0.0/1", "128.0.0.0/1"],
        &["::/1", "8000::/1"],
        &["0.0.0.0/2", "64.0.0.0/2", "128.0.0.0/2", "192.0.0.0/2"],
    ] {
        let ids = aws(spelling);
        assert!(ids.iter().any(|(id, _)| *id == "PCI-1.3.1-004"), "{spelling:?}: {ids:?}");
        let one = rule(Direction::Ingress, https(), spelling.iter().map(|side| prefix(side)).collect());
        let ids = super::tests::ids(&found(group(Enforcer::Aws, vec![one])));
        assert!(ids.contains(&("PCI-1.3.1-004", 2)), "{spelling:?} in one rule: {ids:?}");
    }
    assert_eq!(aws(&["10.0.1.0/24"]), []);
}

#[test]
fn a_finding_names_the_group_the_rule_and_a_packet() {
    let mut ssh = rule(Direction::Ingress, ServiceRange::ports(TCP, 22, 22), vec![prefix("0.0.0.0/0")]);
    ssh.id = Some("sgr-22".to_owned());
    let posture = posture(&[group(Enforcer::Aws, vec![inbound(prefix("10.0.1.0/24")), ssh])], Scope::Marked);
    let finding = &posture.findings[0];
    assert_eq!((finding.rule_id, finding.rule.as_deref(), finding.severity), ("PCI-1.4.2-001", Some("sgr-22"), Severity::Error));
    assert_eq!((&*finding.place.file, finding.place.spot.line, finding.path.as_deref()), ("vpc-1/sg-1", 3, Some("/ingress/1")));
    let subject = &posture.groups[&finding.place.file];
    assert_eq!((subject.id.as_str(), subject.rule(finding.place.spot)), ("sg-1", Some("sgr-22")));
    let witness = finding.witness.as_ref().unwrap();
    assert_eq!((witness.destination.text().as_str(), witness.service.port()), ("database", 22));
    let Entry::File(shown) = &posture.shown.entries["vpc-1/sg-1"] else { panic!("a text") };
    assert_eq!(String::from_utf8_lossy(shown).lines().count(), 3);
}

#[test]
fn what_a_new_group_of_aws_lets_out_is_found_in_both_families() {
    for all in ["0.0.0.0/0", "::/0"] {
        let found = found(group(Enforcer::Aws, vec![rule(Direction::Egress, ServiceRange::ALL, vec![prefix(all)])]));
        let codes: Vec<_> = found.iter().filter_map(|finding| finding.code).collect();
        assert!(codes.contains(&"default-egress"), "{found:?}");
        assert!(found.iter().any(|finding| finding.rule_id == "PCI-1.3.1-007"), "{found:?}");
    }
}

#[test]
fn members_that_reach_each_other_are_found_with_their_ports() {
    let own = FoundSide::Group { id: "sg-1".to_owned() };
    let findings = found(group(Enforcer::Aws, vec![rule(Direction::Ingress, ServiceRange::ALL, vec![own.clone()])]));
    assert!(findings.iter().any(|finding| finding.code == Some("self")), "{findings:?}");
    assert!(findings.iter().any(|finding| finding.rule_id == "PCI-1.3.1-005"), "every port: {findings:?}");
    let other = FoundSide::Group { id: "sg-2".to_owned() };
    assert_eq!(ids(&found(group(Enforcer::Aws, vec![inbound(other)]))), []);
    let telnet = rule(Direction::Ingress, ServiceRange::ports(TCP, 23, 23), vec![FoundSide::Group { id: "sg-2".to_owned() }]);
    let findings = found(group(Enforcer::Aws, vec![telnet]));
    assert!(!findings.is_empty() && findings.iter().all(|finding| !finding.message.contains("10.254.")), "{findings:?}");
}

#[test]
fn a_prefix_list_is_judged_by_what_is_in_it() {
    let list = |entries: Option<&[&str]>| {
        let entries = entries.map(|texts| texts.iter().map(|text| Cidr::parse(text).unwrap()).collect());
        found(group(Enforcer::Aws, vec![inbound(FoundSide::PrefixList { id: "pl-1".to_owned(), entries })]))
    };
    assert!(ids(&list(Some(&["0.0.0.0/1", "128.0.0.0/1"]))).contains(&("PCI-1.3.1-004", 2)));
    assert_eq!(list(Some(&["10.0.1.0/24"])), []);
    let unreadable = list(None);
    assert_eq!((ids(&unreadable), unreadable[0].severity), (vec![("PCI-1.3.1-004", 2)], Severity::Warning));
}

#[test]
fn a_default_group_with_rules_and_a_group_nobody_uses_are_found_whoever_they_belong_to() {
    let default = FoundGroup { default: true, ours: false, ..group(Enforcer::Aws, vec![inbound(prefix("10.0.1.0/24"))]) };
    assert_eq!(found(default.clone())[0].code, Some("default-group"));
    assert_eq!(found(FoundGroup { rules: Vec::new(), ..default }), []);
    let unused = FoundGroup { attached: Some(Vec::new()), ..group(Enforcer::Aws, Vec::new()) };
    assert_eq!((found(unused.clone())[0].code, found(unused.clone())[0].severity), (Some("unused-group"), Severity::Warning));
    assert_eq!(found(FoundGroup { ours: false, ..unused.clone() })[0].severity, Severity::Info);
    assert_eq!(found(FoundGroup { attached: None, ..unused }), [], "nobody may ask where it is attached");
}

#[test]
fn groups_of_others_are_judged_where_their_tags_mark_the_cde_or_all_are_asked_for() {
    let other = FoundGroup { ours: false, ..group(Enforcer::Aws, vec![inbound(prefix("0.0.0.0/0"))]) };
    let marked = FoundGroup { tags: [("pci-env".to_owned(), "cde".to_owned())].into(), ..other.clone() };
    let another = FoundGroup { tags: [(MARK.to_owned(), "elsewhere".to_owned())].into(), ..other.clone() };
    let judged = |group: &FoundGroup, scope| posture(std::slice::from_ref(group), scope).judged;
    assert_eq!((judged(&other, Scope::Marked), judged(&other, Scope::All)), (0, 1));
    assert_eq!((judged(&marked, Scope::Marked), judged(&another, Scope::Marked)), (1, 1));
}

#[test]
fn in_azure_an_allow_behind_a_deny_of_a_lower_number_opens_nothing() {
    let open = |priority| at(priority, true, inbound(tag("Internet")));
    let deny = |priority, side| at(priority, false, rule(Direction::Ingress, ServiceRange::ALL, vec![side]));
    // A tag stands for both families, and each of them is found.
    let azure = |rules| {
        let mut ids = ids(&found(group(Enforcer::Azure, rules)));
        ids.dedup();
        ids
    };
    assert_eq!(azure(vec![open(200)]), [("PCI-1.3.1-004", 2)]);
    assert_eq!(azure(vec![open(200), deny(100, tag("*"))]), []);
    assert_eq!(azure(vec![open(100), deny(200, tag("*"))]), [("PCI-1.3.1-004", 2)]);
    let udp = at(100, false, rule(Direction::Ingress, ServiceRange::protocol(UDP), vec![tag("*")]));
    assert_eq!(azure(vec![open(200), udp]), [("PCI-1.3.1-004", 2)], "another protocol is denied");
    let half = deny(100, prefix("0.0.0.0/1"));
    assert!(azure(vec![at(200, true, inbound(prefix("0.0.0.0/0"))), half]).contains(&("PCI-1.3.1-004", 2)), "half is still open");
    let rest = [deny(100, prefix("0.0.0.0/1")), deny(101, prefix("128.0.0.0/1"))];
    assert_eq!(azure([vec![at(200, true, inbound(prefix("0.0.0.0/0")))], rest.into()].concat()), []);
}

#[test]
fn azures_own_rules_are_found_unless_they_are_denied() {
    let own = || {
        let all = |direction, side: &str| rule(direction, ServiceRange::ALL, vec![tag(side)]);
        vec![
            at(65_000, true, all(Direction::Ingress, "VirtualNetwork")),
            at(65_001, true, all(Direction::Ingress, "AzureLoadBalancer")),
            at(65_500, false, all(Direction::Ingress, "*")),
            at(65_000, true, all(Direction::Egress, "VirtualNetwork")),
            at(65_001, true, all(Direction::Egress, "Internet")),
        ]
    };
    let codes = |rules| {
        let findings = found(group(Enforcer::Azure, rules));
        findings.iter().map(|finding| (finding.code.unwrap_or(""), finding.place.spot.line)).collect::<Vec<_>>()
    };
    assert_eq!(codes(own()), [("default-rule", 2), ("default-rule", 5), ("default-rule", 6)]);
    let denies = Direction::BOTH.map(|direction| at(4096, false, rule(direction, ServiceRange::ALL, vec![tag("*")])));
    assert_eq!(codes([own(), denies.into()].concat()), []);
}

#[test]
fn a_tag_that_the_provider_keeps_is_a_warning() {
    let findings = found(group(Enforcer::Azure, vec![at(100, true, inbound(tag("Storage")))]));
    assert_eq!(
        findings.iter().map(|finding| (finding.code, finding.severity)).collect::<Vec<_>>(),
        [(Some("service-tag"), Severity::Warning)]
    );
}

#[test]
fn a_protocol_without_a_word_in_policies_is_an_error() {
    let gre = rule(Direction::Ingress, ServiceRange::protocol(47), vec![prefix("10.0.1.0/24")]);
    assert_eq!(ids(&found(group(Enforcer::Aws, vec![gre]))), [("PCI-1.3.1-005", 2)]);
}

proptest! {
    /// What a piece lets through is what the numbers of the rules say, packet by packet.
    #[test]
    fn pieces_let_through_what_the_first_rule_that_matches_says(
        rules in prop::collection::vec((any::<bool>(), 100_u16..140, 0_u32..6, 0_u32..6, 0_u32..8, 0_u32..4), 1..7),
    ) {
        let mut seen = std::collections::BTreeSet::new();
        let rules: Vec<FoundRule> = rules.into_iter().filter(|rule| seen.insert(rule.1)).map(|(allows, priority, a, b, net, bits)| {
            let services = ServiceRange::from_numbers((6 << 16) + a.min(b), (6 << 16) + a.max(b)).unwrap();
            let length = 32 - u8::try_from(bits).unwrap();
            let address = std::net::Ipv4Addr::from((10_u32 << 24) + (net >> bits << bits));
            let side = FoundSide::Prefix(Cidr::new(address.into(), length).unwrap());
            at(priority, allows, rule(Direction::Ingress, services, vec![side]))
        }).collect();
        let azure = group(Enforcer::Azure, rules);
        let pieces = effective::pieces(&azure, Direction::Ingress);
        for port in 0..6 {
            for host in 0..8 {
                let service = policy::net::Service::new(TCP, port);
                let address = std::net::IpAddr::V4(std::net::Ipv4Addr::from((10_u32 << 24) + host));
                let matches = |rule: &&FoundRule| rule.services[0].contains(service)
                    && matches!(rule.sides[0], FoundSide::Prefix(cidr) if cidr.contains(address));
                let first = azure.rules.iter().filter(matches).min_by_key(|rule| rule.priority);
                let said = first.is_some_and(|rule| rule.allows);
                let let_through = pieces.iter().any(|piece| piece.services.iter().any(|range| range.contains(service))
                    && piece.addresses.iter().any(|cidr| cidr.contains(address)));
                prop_assert_eq!(said, let_through, "port {} host {}", port, host);
            }
        }
    }

    /// Whatever a group holds, the reader of policies reads what is made of it.
    #[test]
    fn every_group_becomes_a_policy_that_can_be_read(
        rules in prop::collection::vec((0_u32..=0x00FF_FFFF, 0_u32..=0x00FF_FFFF, any::<u32>(), 0_u8..=32), 0..6),
        all in any::<bool>(),
    ) {
        let rules = rules.into_iter().map(|(a, b, address, length)| {
            let address = if length == 0 { 0 } else { address >> (32 - length) << (32 - length) };
            let side = FoundSide::Prefix(Cidr::new(std::net::Ipv4Addr::from(address).into(), length).unwrap());
            let range = if all { ServiceRange::ALL } else { ServiceRange::from_numbers(a.min(b), a.max(b)).unwrap() };
            rule(Direction::Egress, range, vec![side, FoundSide::Group { id: "sg-9".to_owned() }])
        }).collect();
        let findings = found(group(Enforcer::Aws, rules));
        prop_assert!(findings.iter().all(|finding| !finding.rule_id.starts_with("PCI-1.2.8")), "{:?}", findings);
    }
}
