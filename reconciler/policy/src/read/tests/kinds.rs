//! The fields of each kind: one row a mistake, with the code and the place that it is told at.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::whole::{changed, good, rows, with};
use super::{codes, reading};

#[test]
fn zones_have_their_fields() {
    let cidrs = "cidrs: [10.20.0.0/16]";
    rows(&[
        ("{name: corporate, ", "{", "missing-field", "/spec/zones/2"),
        ("name: corporate", "name: Corporate", "bad-name", "/spec/zones/2/name"),
        ("name: corporate", "name: internet", "bad-name", "/spec/zones/2/name"),
        ("name: corporate", "name: cde-app", "duplicate-name", "/spec/zones/2/name"),
        (cidrs, "cidrs: []", "bad-value", "/spec/zones/2/cidrs"),
        (cidrs, "cidrs: 10.20.0.0/16", "wrong-type", "/spec/zones/2/cidrs"),
        (cidrs, "cidrs: [10.20.0.1/16]", "bad-cidr", "/spec/zones/2/cidrs/0"),
        (cidrs, "cidrs: [10.20.0.0/16, 10.1.0.0/16, 10.20.0.0/16]", "duplicate-name", "/spec/zones/2/cidrs/2"),
        (cidrs, "cidrs: [10.0.1.0/24]", "duplicate-name", "/spec/zones/2/cidrs/0"),
        ("classes: [corporate]", "classes: []", "bad-value", "/spec/zones/2/classes"),
        ("classes: [corporate]", "classes: [office]", "bad-value", "/spec/zones/2/classes/0"),
        ("classes: [corporate]", "classes: [corporate, corporate]", "bad-value", "/spec/zones/2/classes/1"),
        ("classes: [corporate]", "classes: [corporate, preprod, dmz, connected, wireless]", "limit", "/spec/zones/2/classes"),
        (
            "classes: [corporate], pciScope: out",
            "classes: [corporate], trust: yes, pciScope: out",
            "bad-value",
            "/spec/zones/2/trust",
        ),
        ("pciScope: out", "pciScope: outside", "bad-value", "/spec/zones/2/pciScope"),
        ("pciScope: out", "pciScope: out, owner: me", "unknown-field", "/spec/zones/2/owner"),
        (", outOfScopeReason: \"Offices; no account data.\"", "", "missing-field", "/spec/zones/2"),
        (
            "outOfScopeReason: \"Offices; no account data.\"",
            "outOfScopeReason: \"\"",
            "bad-value",
            "/spec/zones/2/outOfScopeReason",
        ),
        ("spec: {zones: [", "spec: {zone: [], zones: [", "unknown-field", "/spec/zone"),
        ("metadata: {name: zones}", "metadata: {name: zones, namespace: a}", "unknown-field", "/metadata/namespace"),
    ]);
    good(&[
        (
            "classes: [cde], trust: trusted, pciScope: in, cidrs: [10.0.30.0/24",
            "classes: [dmz, cde], trust: untrusted, pciScope: in, cidrs: [10.0.30.0/24",
        ),
        (cidrs, "cidrs: [10.20.0.0/16, 10.20.1.0/24]"),
    ]);
}

#[test]
fn no_zone_abolishes_the_internet() {
    let app = "cidrs: [10.0.1.0/24]";
    let cidrs = |list: &str| format!("cidrs: [10.0.1.0/24, {list}]");
    let office = "cidrs: [10.20.0.0/16]";
    for list in ["0.0.0.0/0", "\"::/0\"", "0.0.0.0/1, 128.0.0.0/1"] {
        assert_eq!(changed(app, &cidrs(list))[0], ("contradiction", "/spec/zones/1/cidrs".into()), "{list}");
        let untrusted = changed(office, &cidrs(list).replace("10.0.1.0/24", "10.20.0.0/16"));
        assert_eq!(untrusted[0], ("contradiction", "/spec/zones/2/cidrs".into()), "{list}");
    }
    for list in ["20.0.0.0/8", "8.0.0.0/6", "20.0.0.0/9, 30.0.0.0/9", "\"2600::/32\"", "\"2000::/3\""] {
        assert_eq!(changed(app, &cidrs(list)), [("contradiction", "/spec/zones/1/trust".into())], "{list}");
    }
    good(&[
        (app, &cidrs("10.0.0.0/8, 20.0.0.0/9, 100.64.0.0/10, 224.0.0.0/3")),
        (app, &cidrs("\"2600::/33\", \"fc00::/7\", \"ff00::/8\"")),
        (office, "cidrs: [10.20.0.0/16, 20.0.0.0/6, \"2000::/3\"]"),
    ]);
}

#[test]
fn zones_do_not_contradict_themselves() {
    rows(&[
        ("classes: [corporate]", "classes: [cde]", "contradiction", "/spec/zones/2/pciScope"),
        ("classes: [corporate]", "classes: [corporate], trust: trusted", "contradiction", "/spec/zones/2/trust"),
        (
            "classes: [cde], trust: trusted, pciScope: in, cidrs: [10.0.1",
            "classes: [cde, wireless], trust: trusted, pciScope: in, cidrs: [10.0.1",
            "contradiction",
            "/spec/zones/1/trust",
        ),
        (
            "classes: [cde], trust: trusted, pciScope: in, cidrs: [10.0.1",
            "classes: [cde, third-party], trust: trusted, pciScope: in, cidrs: [10.0.1",
            "contradiction",
            "/spec/zones/1/trust",
        ),
    ]);
    let found = reading(&with("classes: [corporate]", "classes: [cde]")).problems;
    assert_eq!((found[0].place.spot.column, found[0].related[0].spot.column), (47, 30), "{found:?}");
}

#[test]
fn data_flows_have_their_fields() {
    rows(&[
        ("{id: DF-12, from: cde-app", "{id: DF-12, from: cde-ap", "unknown-reference", "/spec/flows/0/from"),
        ("services: [postgres], accountData", "services: [], accountData", "bad-value", "/spec/flows/0/services"),
        ("services: [postgres], accountData", "services: [postgre], accountData", "unknown-reference", "/spec/flows/0/services/0"),
        ("accountData: true, ", "", "missing-field", "/spec/flows/0"),
        ("accountData: true", "accountData: True", "bad-value", "/spec/flows/0/accountData"),
        ("purpose: \"Authorisation writes\"", "purpose: [a]", "wrong-type", "/spec/flows/0/purpose"),
        ("updatedAt: 2026-01-12", "updatedAt: 2026-02-30", "bad-value", "/spec/flows/0/updatedAt"),
        (
            "updatedAt: 2026-01-12, approvedBy: network-security",
            "updatedAt: 2026-01-12, approvedBy: network security",
            "bad-value",
            "/spec/flows/0/approvedBy",
        ),
        ("updatedAt: 2026-01-12, approvedBy: network-security, ", "updatedAt: 2026-01-12, ", "missing-field", "/spec/flows/0"),
    ]);
    good(&[
        ("purpose: \"Authorisation writes\"", "purpose: Zahlungen für Österreich, diagram: \"wiki/12\""),
        ("{id: DF-12, from: cde-app", "{id: DF-12, from: internet"),
    ]);
    let nameless = changed("{id: DF-12, ", "{");
    // The record may mean the one without an id.
    assert_eq!(nameless, [("missing-field", "/spec/flows/0".into())]);
    let lower = reading(&with("{id: DF-12,", "{id: df-12,")).problems;
    assert_eq!((lower[0].code.name(), lower[0].did_you_mean.as_deref()), ("bad-name", Some("DF-12")));
}

#[test]
fn services_have_their_fields() {
    let ports = "datastore], ports: [{protocol: TCP, port: 5432}]";
    let zones = "zones: [{from: cde-app, to: cde-db}]";
    let now = |text: &str| format!("datastore], ports: [{text}]");
    rows(&[
        ("[secure, datastore]", "[]", "bad-value", "/spec/services/0/classes"),
        ("[secure, datastore]", "[secure, database]", "bad-value", "/spec/services/0/classes/1"),
        ("[secure, datastore]", "[insecure]", "missing-field", "/spec/services/0"),
        ("[secure, datastore]", "[dns]", "missing-field", "/spec/services/0"),
        ("[secure, datastore]", "[time], servers: []", "bad-value", "/spec/services/0"),
        (ports, &now(""), "bad-value", "/spec/services/0/ports"),
        (ports, &now("{port: 5432}"), "missing-field", "/spec/services/0/ports/0"),
        (ports, &now("{protocol: TCP}"), "missing-field", "/spec/services/0/ports/0"),
        (ports, &now("{protocol: TCP, port: postgres}"), "bad-port", "/spec/services/0/ports/0"),
        (ports, &now("{protocol: TCP, port: 5, endPort: 4}"), "bad-port", "/spec/services/0/ports/0/endPort"),
        (ports, &now("{protocol: TCP, port: 65536}"), "bad-port", "/spec/services/0/ports/0/port"),
        (ports, &now("{protocol: ICMP, port: 8}"), "bad-port", "/spec/services/0/ports/0"),
        (zones, "zones: [{from: cde-app}]", "missing-field", "/spec/services/0/zones/0"),
        (zones, "zones: [{from: cde-app, to: cde-dbs}]", "unknown-reference", "/spec/services/0/zones/0/to"),
        ("[secure, datastore]", "[secure], servers: [10.0.0.1]", "bad-cidr", "/spec/services/0/servers/0"),
    ]);
    good(&[
        ("[secure, datastore]", "[insecure], mitigation: \"Inside a tunnel.\""),
        ("[secure, datastore]", "[dns, time], servers: [10.0.9.53/32]"),
        (ports, &now("{protocol: ICMP}, {protocol: ICMPv6, icmpType: 128}, {protocol: UDP, port: 1, endPort: 9}")),
        (zones, "zones: []"),
    ]);
    let renamed = changed("{name: postgres, classes", "{name: Postgres, classes");
    // The flow means the one whose name cannot be read.
    assert_eq!(renamed, [("bad-name", "/spec/services/0/name".into())]);
}

#[test]
fn records_have_their_fields() {
    let review = "reviewResult: keep";
    let and = |text: &str| format!("{review}, {text}");
    rows(&[
        ("rule: from-app-tier, owner", "rule: from-app-teir, owner", "unknown-reference", "/spec/records/0/rule"),
        ("{policy: cde-database, rule", "{policy: cde-databse, rule", "unknown-reference", "/spec/records/0/policy"),
        ("owner: payments-platform, ", "", "missing-field", "/spec/records/0"),
        ("owner: payments-platform", "owner: \"payments platform\"", "bad-value", "/spec/records/0/owner"),
        ("owner: payments-platform", "owner: zahlungen-ü", "not-ascii", "/spec/records/0/owner"),
        ("owner: payments-platform", "owner: no", "needs-quotes", "/spec/records/0/owner"),
        ("dataFlows: [DF-12]", "dataFlows: [DF-13]", "unknown-reference", "/spec/records/0/dataFlows/0"),
        ("dataFlows: [DF-12]", "dataFlows: DF-12", "wrong-type", "/spec/records/0/dataFlows"),
        ("reviewedAt: 2026-01-12", "reviewedAt: 12.01.2026", "bad-value", "/spec/records/0/reviewedAt"),
        (review, "reviewResult: kept", "bad-value", "/spec/records/0/reviewResult"),
        (review, &and("reviewedDigest: sha256:12"), "bad-value", "/spec/records/0/reviewedDigest"),
        (
            review,
            &and("missedReview: {dueAt: 2026-01-01, doneAt: 2026-01-12, reason: Illness}"),
            "missing-field",
            "/spec/records/0/missedReview",
        ),
        (review, &and("temporary: true"), "missing-field", "/spec/records/0"),
        (review, &and("temporary: 1"), "bad-value", "/spec/records/0/temporary"),
        (review, &and("accessReason: ~"), "null-value", "/spec/records/0/accessReason"),
        (review, &and("reviewer: me"), "unknown-field", "/spec/records/0/reviewer"),
    ]);
    let digest = "0123456789abcdef".repeat(4);
    good(&[
        (review, &and("temporary: true, expiresAt: 2026-03-01, insecureMitigation: a, wirelessPurpose: b, accessReason: c")),
        (review, &and("temporary: false, missedReview: {dueAt: 2026-01-01, doneAt: 2026-01-12, reason: Illness, recordedBy: me}")),
        (review, &and(&format!("reviewedDigest: sha256:{digest}"))),
    ]);
}

#[test]
fn a_rule_has_one_record() {
    let record = "{policy: cde-database, rule: from-app-tier, owner: me, justification: Again}, ";
    let found = reading(&with(
        "{policy: cde-database, rule: from-app-tier, owner",
        &format!("{record}{{policy: cde-database, rule: from-app-tier, owner"),
    ));
    let [problem] = &found.problems[..] else { panic!("{:?}", found.problems) };
    assert_eq!((problem.code.name(), problem.path.as_deref()), ("duplicate-name", Some("/spec/records/1/rule")));
    assert!(problem.message.contains("cde-database/from-app-tier") && problem.related[0].spot < problem.place.spot);
}

#[test]
fn waivers_have_their_fields() {
    let about = "policy: cde-database, ruleName: from-app-tier";
    rows(&[
        ("rule: PCI-1.3.1-008, ", "", "missing-field", "/spec"),
        ("rule: PCI-1.3.1-008", "rule: PCI-1.3.1-080", "unknown-reference", "/spec/rule"),
        ("rule: PCI-1.3.1-008", "rule: PCI-1.2.8-001", "bad-value", "/spec/rule"),
        (about, "policy: cde-databases", "unknown-reference", "/spec/policy"),
        (about, "policy: cde-database, ruleName: from-app", "unknown-reference", "/spec/ruleName"),
        (about, "ruleName: from-app-tier", "missing-field", "/spec"),
        (about, "policy: cde-database, endpoint: db-01", "contradiction", "/spec/endpoint"),
        (about, "endpoint: db-02", "unknown-reference", "/spec/endpoint"),
        ("riskAcceptance: \"One port.\", ", "", "missing-field", "/spec"),
        ("requestedBy: payments, approvedBy", "requestedBy: network-security, approvedBy", "contradiction", "/spec/approvedBy"),
        ("expiresAt: 2026-03-31", "expiresAt: tomorrow", "bad-value", "/spec/expiresAt"),
        (", expiresAt: 2026-03-31", "", "missing-field", "/spec"),
        ("reason: \"Narrowed in March.\"", "reason: \"Narrowed in March.\", until: 2026-03-31", "unknown-field", "/spec/until"),
    ]);
    good(&[(about, "endpoint: db-01"), (&format!("{about},"), ""), (about, "policy: cde-database")]);
}

#[test]
fn a_waiver_of_which_anything_is_wrong_waives_nothing() {
    for (from, to) in [
        ("expiresAt: 2026-03-31", "expiresAt: tomorrow"),
        ("requestedBy: payments, approvedBy", "requestedBy: network-security, approvedBy"),
        ("policy: cde-database, ruleName: from-app-tier", "ruleName: from-app-tier"),
        ("policy: cde-database, ruleName: from-app-tier", "polcy: cde-database"),
    ] {
        assert!(reading(&with(from, to)).set.waivers.is_empty(), "{to}");
    }
}

#[test]
fn flow_tests_have_their_fields() {
    let first = "{from: {address: 10.0.1.10}, to: {labels: {pci-env: cde, tier: database}, address: 10.0.30.9}, protocol: TCP, port: 5432, expect: allow}";
    let flow = |text: &str| format!("{{from: {{address: 10.0.1.10}}, to: {{address: 10.0.30.9}}, {text}}}");
    let between = |from: &str, to: &str| format!("{{from: {{{from}}}, to: {{{to}}}, protocol: TCP, port: 5432, expect: allow}}");
    let a = "address: 10.0.1.10";
    let rows = [
        (flow("protocol: TCP, port: 5432"), "missing-field", ""),
        (flow("protocol: TCP, port: 5432, expect: maybe"), "bad-value", "/expect"),
        (flow("port: 5432, expect: allow"), "missing-field", ""),
        (flow("protocol: TCP, expect: allow"), "missing-field", ""),
        (flow("protocol: TCP, port: postgres, expect: allow"), "bad-port", "/port"),
        (flow("protocol: TCP, port: 1, icmpType: 8, expect: allow"), "bad-port", ""),
        (flow("protocol: ICMP, expect: allow"), "missing-field", ""),
        (flow("protocol: ICMP, icmpType: 256, expect: allow"), "bad-port", "/icmpType"),
        (flow("protocol: ICMPv6, icmpType: 128, expect: allow"), "bad-port", ""),
        (between(a, ""), "missing-field", "/to"),
        (between(a, "labels: {a: b}"), "missing-field", "/to"),
        (between(a, "address: 10.0.30.0/24"), "bad-cidr", "/to/address"),
        (between(a, "address: \"fd00::1\""), "contradiction", "/to"),
        (between(a, "endpoint: db-02"), "unknown-reference", "/to/endpoint"),
        (between(a, "endpoint: db-01, address: 10.0.30.9"), "contradiction", "/to/address"),
        (between(a, "namespace: default, address: 10.0.30.9"), "missing-field", "/to"),
        (between(a, "labels: {}, namespace: other, address: 10.0.30.9"), "unknown-reference", "/to/namespace"),
        (between(a, "adress: 10.0.30.9"), "unknown-field", "/to/adress"),
    ];
    for (to, code, pointer) in rows {
        assert_eq!(changed(first, &to), [(code, format!("/spec/flows/0{pointer}"))], "{to}");
    }
    for to in [
        flow("protocol: ICMP, icmpType: 8, expect: deny"),
        flow("name: ping, protocol: ICMP, icmpType: 3, icmpCode: 4, expect: deny"),
        between(a, "endpoint: db-01"),
    ] {
        assert!(changed(first, &to).is_empty(), "{to}: {:?}", changed(first, &to));
    }
}

#[test]
fn a_broken_item_is_left_out_and_its_name_stays_known() {
    let found = reading(&with("name: cde-app, classes: [cde]", "name: cde-app, classes: [card]"));
    assert_eq!(found.problems.len(), 1, "{:?}", found.problems);
    let names: Vec<String> = found.set.zones.iter().map(|zone| zone.name.to_string()).collect();
    assert_eq!(names, ["cde-db", "corporate"]);
}

#[test]
fn the_kind_of_a_broken_document_is_known() {
    for spec in ["{zones: 1}", "7", "{}", "{zones: [{}]}"] {
        let found = reading(&format!("{{apiVersion: pci-segment/v1, kind: Zones, metadata: 3, spec: {spec}}}\n"));
        assert!(found.set.kinds.contains(&crate::model::Kind::Zones) && found.problems.len() >= 2, "{spec}");
    }
    assert_eq!(codes("{apiVersion: pci-segment/v1, kind: Zones}\n"), ["missing-field", "missing-field"]);
}
