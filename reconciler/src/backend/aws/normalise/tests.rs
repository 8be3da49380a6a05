//! Each line of the table of spellings, and the way there and back.

use policy::net::service::SCTP;

use super::*;

fn group() -> Arc<str> {
    "pci-segment-a".into()
}

fn names() -> Names {
    let ours = [("sg-a", "pci-segment-a"), ("sg-b", "pci-segment-b")].map(|(id, name)| (id.to_owned(), Arc::from(name)));
    Names { ours: ours.into(), account: Some("111122223333".to_owned()) }
}

fn key(traffic: Traffic, side: Side) -> Key {
    Key::Rule { group: group(), direction: Direction::Ingress, traffic, side }
}

fn prefix(text: &str) -> Side {
    Side::Prefix(Cidr::parse(text).unwrap())
}

fn ports(first: u16, last: u16) -> Traffic {
    Traffic::Ports { protocol: TCP, first, last }
}

fn range(cidr: &str) -> IpRange {
    IpRange::builder().cidr_ip(cidr).build()
}

fn keys(permission: &IpPermission) -> Vec<Key> {
    let grants = grants(&group(), Direction::Ingress, permission, &names()).unwrap();
    grants.into_iter().map(|grant| grant.key).collect()
}

#[test]
fn protocols_are_the_same_by_name_and_by_number() {
    for (name, number, expected) in [
        ("tcp", "6", ports(5432, 5432)),
        ("TCP", "6", ports(5432, 5432)),
        ("udp", "17", Traffic::Ports { protocol: UDP, first: 5432, last: 5432 }),
    ] {
        assert_eq!(traffic(name, Some(5432), Some(5432)), Some(expected), "{name}");
        assert_eq!(traffic(number, Some(5432), Some(5432)), Some(expected), "{number}");
    }
    assert_eq!(traffic("icmpv6", Some(-1), Some(-1)), traffic("58", None, None));
    assert_eq!(traffic("gre", None, None), None, "AWS has no such name");
}

#[test]
fn all_protocols_have_no_ports_whatever_is_written() {
    for (from, to) in [(None, None), (Some(-1), Some(-1)), (Some(0), Some(65535)), (Some(22), Some(22))] {
        assert_eq!(traffic("-1", from, to), Some(Traffic::All), "{from:?} {to:?}");
    }
    assert_eq!(traffic("132", Some(9), Some(9)), Some(Traffic::Protocol(SCTP)), "nor have protocols without ports");
}

#[test]
fn every_port_is_the_whole_protocol() {
    for (from, to) in [(None, None), (Some(-1), Some(-1)), (Some(0), Some(65535))] {
        assert_eq!(traffic("tcp", from, to), Some(Traffic::Protocol(TCP)), "{from:?} {to:?}");
    }
    assert_eq!(traffic("tcp", Some(0), Some(65534)), Some(ports(0, 65534)));
    assert_eq!(traffic("tcp", Some(1), None), None, "half of a range says nothing");
}

#[test]
fn minus_one_of_icmp_is_all_of_it() {
    let kind = |kind, code| Some(Traffic::Icmp { protocol: ICMP, kind, code });
    assert_eq!(traffic("icmp", Some(-1), Some(-1)), Some(Traffic::Protocol(ICMP)));
    assert_eq!(traffic("icmp", None, None), Some(Traffic::Protocol(ICMP)));
    assert_eq!(traffic("icmp", Some(8), Some(-1)), kind(8, None));
    assert_eq!(traffic("icmp", Some(8), None), kind(8, None));
    assert_eq!(traffic("icmp", Some(3), Some(4)), kind(3, Some(4)));
}

#[test]
fn prefixes_have_one_spelling() {
    let all = IpPermission::builder().ip_protocol("-1");
    assert_eq!(keys(&all.clone().ip_ranges(range("10.1.2.3/8")).build()), [key(Traffic::All, prefix("10.0.0.0/8"))], "host bits");
    for text in ["2001:DB8:0:0:0:0:0:0/32", "2001:db8::/32", "2001:0db8::1/32"] {
        let found = keys(&all.clone().ipv6_ranges(Ipv6Range::builder().cidr_ipv6(text).build()).build());
        assert_eq!(found, [key(Traffic::All, prefix("2001:db8::/32"))], "{text}");
    }
}

#[test]
fn a13_a_group_that_names_itself_and_the_own_account_are_no_difference() {
    let pair =
        |id: &str, account: Option<&str>| UserIdGroupPair::builder().group_id(id).set_user_id(account.map(str::to_owned)).build();
    let of = |pair| keys(&IpPermission::builder().ip_protocol("-1").user_id_group_pairs(pair).build());
    let side = |side| [key(Traffic::All, side)];
    assert_eq!(of(pair("sg-a", Some("111122223333"))), side(Side::Group("pci-segment-a".into())), "itself");
    assert_eq!(of(pair("sg-a", None)), of(pair("sg-a", Some("111122223333"))));
    assert_eq!(of(pair("sg-b", Some("111122223333"))), side(Side::Group("pci-segment-b".into())), "another one of ours");
    assert_eq!(of(pair("sg-9", Some("111122223333"))), side(Side::Other("sg-9".into())), "of nobody we know");
    assert_eq!(of(pair("sg-9", Some("444455556666"))), side(Side::Other("444455556666/sg-9".into())), "another account's");
}

#[test]
fn a13_merged_grants_are_taken_apart_and_their_order_means_nothing() {
    let merged = |ranges: [&str; 3]| {
        let ranges = ranges.map(range);
        let lists = PrefixListId::builder().prefix_list_id("pl-1").build();
        let all = IpPermission::builder().ip_protocol("tcp").from_port(443).to_port(443);
        all.set_ip_ranges(Some(ranges.into())).prefix_list_ids(lists).build()
    };
    let sorted = |permission: &IpPermission| {
        let mut keys = keys(permission);
        keys.sort();
        keys
    };
    let found = sorted(&merged(["10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24"]));
    assert_eq!(found.len(), 4);
    assert_eq!(found, sorted(&merged(["10.0.2.0/24", "10.0.0.0/24", "10.0.1.0/24"])));
    assert!(found.contains(&key(ports(443, 443), Side::Other("pl-1".into()))));
}

#[test]
fn what_is_asked_for_is_read_back_as_the_same_rule() {
    let traffics = [
        Traffic::All,
        Traffic::Protocol(TCP),
        Traffic::Protocol(ICMP),
        Traffic::Protocol(50),
        ports(0, 0),
        ports(1, 65535),
        Traffic::Icmp { protocol: ICMP, kind: 3, code: Some(4) },
        Traffic::Icmp { protocol: ICMPV6, kind: 128, code: None },
    ];
    let sides = [prefix("10.0.0.0/8"), prefix("::/0"), Side::Group("pci-segment-b".into()), Side::Other("pl-1".into())];
    let id = |name: &str| names().ours.into_iter().find(|(_, own)| **own == *name).map(|(id, _)| id);
    for traffic in traffics {
        for side in &sides {
            let permission = permission(traffic, side, "pci-segment x", id).unwrap();
            assert_eq!(keys(&permission), [key(traffic, side.clone())], "{permission:?}");
        }
    }
    assert_eq!(permission(Traffic::All, &Side::Other("1/sg-1".into()), "", id), None, "nobody asks for that");
}

#[test]
fn descriptions_hold_what_aws_takes_and_a_commit_behind_them_says_nothing() {
    let text = description("cde-database/from-app-tier");
    assert_eq!(text, "pci-segment cde-database/from-app-tier");
    assert_eq!(reason_in(&text), "cde-database/from-app-tier");
    assert_eq!(reason_in(&format!("{text} 0123456789ab")), "cde-database/from-app-tier", "a commit");
    assert_eq!(reason_in("opened for a test"), "\"opened for a test\"", "by hand");
    assert_eq!(description("a\u{e9}\u{2192}b<c>"), "pci-segment a--b-c-");
    assert_eq!(description(&"x".repeat(400)).len(), 255);
}

#[test]
fn a_rule_is_described_by_its_name_and_never_by_its_number() {
    let document = "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: cde-database}\nspec: {podSelector: {matchLabels: \
                    {tier: db}}, policyTypes: [Ingress], ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}}], ports: [{port: 1}]}, {name: \
                    from-app-tier, from: [{ipBlock: {cidr: 10.0.0.0/8}}], ports: [{port: 2}]}]}\n";
    let entries = [("a.yaml".to_owned(), policy::snapshot::Entry::File(document.as_bytes().to_vec()))];
    let reading = policy::read::read(&policy::snapshot::Snapshot { entries: entries.into() });
    let admitted = policy::admit::Admitted::in_force(reading, policy::date::Date::parse("2026-01-01").unwrap()).unwrap();
    let ruleset = policy::compile::compile(&admitted);
    let of = |pointer: &str| {
        let policy = PolicyName::from("cde-database");
        reason(&Why::Rule { policy, pointer: pointer.to_owned() }, &ruleset)
    };
    assert_eq!(of("/spec/ingress/0"), "cde-database/ingress");
    assert_eq!(of("/spec/ingress/1"), "cde-database/from-app-tier");
    assert_eq!(reason(&Why::NotIsolated, &ruleset), "not-isolated");
}
