//! The fields of endpoints, and what two of them cannot share.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::reading;
use super::whole::{WHOLE, changed, good, rows, with};

#[test]
fn endpoints_have_their_fields() {
    let host = "{name: app-01, labels: {pci-env: cde, tier: app}, addresses: [10.0.1.10], zone: cde-app";
    let put = |rest: &str| format!("{host}, {rest}");
    rows(&[
        ("name: app-01", "name: db-01", "duplicate-name", "/spec/hosts/0/name"),
        ("name: app-01, ", "", "missing-field", "/spec/hosts/0"),
        ("labels: {pci-env: cde, tier: app}, ", "", "missing-field", "/spec/hosts/0"),
        ("labels: {pci-env: cde, tier: app}", "labels: {pci-env: cde, tier: -app}", "bad-value", "/spec/hosts/0/labels/tier"),
        ("labels: {pci-env: cde, tier: app}", "labels: {pci-env: cde, \"a b\": app}", "bad-name", "/spec/hosts/0/labels"),
        ("addresses: [10.0.1.10], ", "", "missing-field", "/spec/hosts/0"),
        ("addresses: [10.0.1.10]", "addresses: []", "bad-value", "/spec/hosts/0/addresses"),
        ("addresses: [10.0.1.10]", "addresses: [10.0.1.010]", "bad-cidr", "/spec/hosts/0/addresses/0"),
        ("addresses: [10.0.1.10]", "addresses: [\"::ffff:10.0.1.10\"]", "bad-cidr", "/spec/hosts/0/addresses/0"),
        ("zone: cde-app, function", "zone: cde-apps, function", "unknown-reference", "/spec/hosts/0/zone"),
        ("storesChd: true", "storesChd: yes", "bad-value", "/spec/workloads/0/storesChd"),
        ("storesChd: true", "storesChd: \"true\"", "bad-value", "/spec/workloads/0/storesChd"),
        (host, &put("publicServices: [https]"), "unknown-reference", "/spec/hosts/0/publicServices/0"),
        (host, &put("namespace: Web"), "bad-name", "/spec/hosts/0/namespace"),
        (host, &put("enforcedBy: [iptables]"), "bad-value", "/spec/hosts/0/enforcedBy/0"),
        ("enforcedBy: [aws]", "enforcedBy: [aws, nftables]", "bad-value", "/spec/workloads/0/enforcedBy/1"),
        (
            "networkInterfaceId: eni-0123456789abcdef0",
            "networkInterfaceId: i-0123",
            "bad-value",
            "/spec/workloads/0/identity/aws/networkInterfaceId",
        ),
        ("aws: {networkInterfaceId: eni-0123456789abcdef0}", "aws: {}", "missing-field", "/spec/workloads/0/identity/aws"),
        (
            "aws: {networkInterfaceId: eni-0123456789abcdef0}",
            "azure: {resourceId: vm-1}",
            "bad-value",
            "/spec/workloads/0/identity/azure/resourceId",
        ),
        (
            "aws: {networkInterfaceId: eni-0123456789abcdef0}",
            "hostname: db",
            "unknown-field",
            "/spec/workloads/0/identity/hostname",
        ),
        (host, &put("identity: {machineIdSha256: abc}"), "bad-value", "/spec/hosts/0/identity/machineIdSha256"),
        (host, &put("owner: me"), "unknown-field", "/spec/hosts/0/owner"),
        (
            "spec: {\n  workloads:",
            "spec: {\n  namespaces: [{name: web}, {name: web}], workloads:",
            "duplicate-name",
            "/spec/namespaces/1/name",
        ),
        ("spec: {\n  workloads:", "spec: {\n  namespaces: [{labels: {a: b}}], workloads:", "missing-field", "/spec/namespaces/0"),
    ]);
    good(&[
        (host, &put("namespace: web, identity: {hostname: APP_01.local}, enforcedBy: [ebpf, nftables]")),
        ("enforcedBy: [aws]", "enforcedBy: []"),
        ("aws: {networkInterfaceId: eni-0123456789abcdef0}", "azure: {resourceId: /subscriptions/0/vm}"),
        ("addresses: [10.0.1.10]", "addresses: [10.0.1.10, 10.0.1.64/28]"),
    ]);
}

#[test]
fn endpoints_are_enforced_by_their_hosts_unless_they_say_otherwise() {
    use crate::model::inventory::Enforcer;
    let by = |text: &str| reading(text).set.members.iter().map(|m| m.enforced_by.clone()).collect::<Vec<_>>();
    assert_eq!(by(WHOLE), [[Enforcer::Aws].to_vec(), [Enforcer::Ebpf].to_vec()]);
    assert_eq!(by(&with(" enforcedBy: [aws],", "")), [Vec::new(), [Enforcer::Ebpf].to_vec()]);
}

#[test]
fn declared_ports_are_numbers_and_their_names_are_unique_per_protocol() {
    let ports = "ports: [{name: postgres, protocol: TCP, port: 5432}]";
    let at = |rest: &str| format!("/spec/workloads/0/ports{rest}");
    for (to, code, pointer) in [
        ("ports: [{name: postgres, port: 5432}]", "missing-field", at("/0")),
        ("ports: [{name: postgres, protocol: tcp, port: 5432}]", "bad-port", at("/0/protocol")),
        ("ports: [{name: postgres, protocol: TCP, port: 0}]", "bad-port", at("/0/port")),
        ("ports: [{name: postgres, protocol: TCP, port: db}]", "bad-port", at("/0/port")),
        ("ports: [{name: postgres, protocol: ICMP, port: 8}]", "bad-port", at("/0")),
        ("ports: [{name: Postgres, protocol: TCP, port: 5432}]", "bad-name", at("/0/name")),
        ("ports: [{name: \"5432\", protocol: TCP, port: 5432}]", "bad-name", at("/0/name")),
        ("ports: [{name: a-name-of-sixteen, protocol: TCP, port: 5432}]", "bad-name", at("/0/name")),
        ("ports: [{name: a, protocol: TCP, port: 1}, {name: a, protocol: TCP, port: 2}]", "duplicate-name", at("/1")),
    ] {
        assert_eq!(changed(ports, to), [(code, pointer)], "{to}");
    }
    good(&[(ports, "ports: [{name: a, protocol: TCP, port: 1}, {name: a, protocol: UDP, port: 2}]")]);
}

#[test]
fn no_address_is_on_two_endpoints() {
    for (to, pointer) in [
        ("addresses: [10.0.30.11]", 0),
        ("addresses: [10.0.1.10, 10.0.30.0/28]", 1),
        ("addresses: [10.0.1.10, \"fd00:30::/64\"]", 1),
    ] {
        let found = changed("addresses: [10.0.1.10]", to);
        assert!(found.contains(&("duplicate-name", format!("/spec/hosts/0/addresses/{pointer}"))), "{to}: {found:?}");
    }
    let inside = with("addresses: [10.0.30.11, \"fd00:30::11\"]", "addresses: [10.0.30.11, 10.0.30.0/28, \"fd00:30::11\"]");
    assert!(reading(&inside).problems.is_empty());
    let found = reading(&with("addresses: [10.0.1.10], zone: cde-app", "addresses: [10.0.30.11]")).problems;
    assert_eq!((found[0].related.len(), found[0].related[0].spot < found[0].place.spot), (1, true));
}

#[test]
fn an_endpoint_is_in_the_zone_it_names() {
    let host = "addresses: [10.0.1.10], zone: cde-app";
    rows(&[
        (host, "addresses: [10.0.1.10, 10.20.0.1], zone: cde-app", "contradiction", "/spec/hosts/0/addresses/1"),
        (host, "addresses: [10.0.1.10, 10.9.0.1]", "contradiction", "/spec/hosts/0/addresses/1"),
        (host, "addresses: [10.0.0.0/23]", "contradiction", "/spec/hosts/0/addresses/0"),
        (host, "addresses: [192.0.2.1], zone: cde-app", "contradiction", "/spec/hosts/0/addresses/0"),
    ]);
    let both = changed("zone: cde-db, storesChd", "zone: cde-app, storesChd");
    assert_eq!(
        both,
        [
            ("contradiction", "/spec/workloads/0/addresses/0".to_string()),
            ("contradiction", "/spec/workloads/0/addresses/1".to_string())
        ]
    );
    good(&[
        (host, "addresses: [10.0.1.10]"),
        (host, "addresses: [192.0.2.1], zone: internet"),
        (host, "addresses: [10.0.1.0/25, 10.0.1.128/25], zone: cde-app"),
    ]);
}

#[test]
fn no_two_endpoints_are_recognised_by_the_same_thing() {
    let machine = "machineIdSha256: \"0000000000000000000000000000000000000000000000000000000000000001\"";
    let hosts = |a: &str, b: &str| {
        let host =
            |name: &str, address: &str, more: &str| format!("{{name: {name}, labels: {{a: b}}, addresses: [{address}]{more}}}");
        let list = [host("a", "10.0.0.1", a), host("b", "10.0.0.2", b)].join(", ");
        let text = format!("apiVersion: pci-segment/v1\nkind: Inventory\nmetadata: {{name: i}}\nspec: {{hosts: [{list}]}}\n");
        let problems = reading(&text).problems;
        assert!(problems.iter().all(|p| p.code.name() == "duplicate-name" && p.related.len() == 1), "{problems:?}");
        problems.into_iter().map(|p| p.path.unwrap_or_default()).collect::<Vec<_>>()
    };
    let with = |rest: &str| format!(", identity: {{{rest}}}");
    let interface = with("aws: {networkInterfaceId: eni-1}");
    for (a, b, path) in [
        (with(machine), with(machine), "identity/machineIdSha256"),
        (interface.clone(), interface.clone(), "identity/aws/networkInterfaceId"),
        (with("azure: {resourceId: /subscriptions/A}"), with("azure: {resourceId: /subscriptions/a}"), "identity/azure/resourceId"),
        (with("hostname: x"), with("hostname: x"), "identity/hostname"),
        // A host without a host name answers to its name.
        (String::new(), with("hostname: a"), "identity/hostname"),
        (with("hostname: b"), String::new(), "name"),
    ] {
        assert_eq!(hosts(&a, &b), [format!("/spec/hosts/1/{path}")], "{a} {b}");
    }
    assert!(hosts(&with("hostname: b"), &with("hostname: a")).is_empty());
    assert!(hosts("", &interface).is_empty());
}

#[test]
fn a_namespace_is_labelled_with_its_own_name() {
    let labelled = |value: &str| {
        changed(
            "spec: {\n  workloads:",
            &format!("spec: {{\n  namespaces: [{{name: web, labels: {{kubernetes.io/metadata.name: {value}}}}}], workloads:"),
        )
    };
    assert_eq!(labelled("shop"), [("contradiction", "/spec/namespaces/0/labels".into())]);
    assert!(labelled("web").is_empty());
}

#[test]
fn addresses_are_told_as_they_are_written() {
    let message = |from: &str, to: &str| reading(&with(from, to)).problems.into_iter().map(|p| p.message).collect::<Vec<_>>();
    let twice = message("addresses: [10.0.1.10]", "addresses: [10.0.1.10, 10.0.30.11]");
    assert!(twice.iter().any(|m| m.starts_with("10.0.30.11 of app-01 overlaps 10.0.30.11 of db-01 at ")), "{twice:?}");
    let block = message("addresses: [10.0.1.10], zone: cde-app", "addresses: [10.0.0.0/23]");
    assert_eq!(block, ["10.0.0.0/23 of app-01 is in zone cde-app, and in zone internet"]);
}
