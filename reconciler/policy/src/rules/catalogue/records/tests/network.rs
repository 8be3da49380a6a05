//! Rules beside zones, services and data flows.

use alloc::format;
use alloc::string::String;

use crate::rules::catalogue::example::{data_flows, floor, inventory, services, zones};
use crate::rules::recorded::tests::{GOOD, POLICY, breaks, of, record, today};

const NETWORK: &str = concat!(zones!(), inventory!(), services!(), data_flows!(), floor!());

fn citing(policy: &str, flows: &str) -> String {
    format!("{NETWORK}{policy}{}", record(&format!("{GOOD}, dataFlows: [{flows}]")))
}

#[test]
fn a_cited_flow_holds_the_rule() {
    let id = "PCI-1.2.4-001";
    let judged = today(&citing(POLICY, "DF-12"));
    assert!(judged.compliant(), "{:?}", judged.findings);
    assert!(!breaks(&today(&citing(POLICY, "DF-13, DF-12")), id));
    let none = today(&format!("{NETWORK}{POLICY}{}", record(GOOD)));
    assert!(of(&none, id)[0].message.contains("cites no data flow"), "{:?}", none.findings);
    for (policy, flows) in [
        (String::from(POLICY), "DF-13"),
        (POLICY.replace("5432", "22"), "DF-12"),
        (POLICY.replace("port: 5432", "port: 5432, endPort: 5433"), "DF-12"),
        (POLICY.replace("10.0.1.0/24", "10.0.9.0/24"), "DF-12"),
        (POLICY.replace("10.0.1.0/24", "10.0.0.0/23"), "DF-12"),
        (POLICY.replace("protocol: TCP", "protocol: UDP"), "DF-12"),
    ] {
        let judged = today(&citing(&policy, flows));
        let found = of(&judged, id);
        assert!(
            found.len() == 1 && found[0].path.as_deref() == Some("/spec/records/0/dataFlows"),
            "{policy} {:?}",
            judged.findings
        );
        assert_eq!((found[0].policy.as_deref(), found[0].rule.as_deref()), (Some("cde-database"), Some("from-app-tier")));
    }
}

#[test]
fn a_flow_has_a_direction() {
    // The database calls the application, where only the reverse is drawn.
    let outward = POLICY.replace("ingress: [", "egress: [").replace("from: [", "to: [");
    assert!(breaks(&today(&citing(&outward, "DF-12")), "PCI-1.2.4-001"));
    // The application calls itself, where only its calls to the database are drawn.
    let inward = POLICY.replace("tier: database", "tier: app");
    assert!(breaks(&today(&citing(&inward, "DF-12")), "PCI-1.2.4-001"));
}

#[test]
fn a_rule_outside_the_cde_cites_nothing() {
    let web = POLICY.replace("pci-env: cde, tier: database", "pci-env: dmz, tier: web");
    let text = format!("{NETWORK}{web}{}", record(GOOD));
    assert!(!breaks(&today(&text), "PCI-1.2.4-001"));
}

#[test]
fn a_service_is_approved_between_two_zones_and_in_one_direction() {
    let id = "PCI-1.2.5-004";
    let text = |policy: &str| format!("{NETWORK}{policy}");
    assert!(!breaks(&today(&text(POLICY)), id));
    let also_udp = "{protocol: TCP, port: 5432}, {protocol: UDP, port: 5432}";
    for (policy, path) in [
        (POLICY.replace("port: 5432", "port: 8443"), "/spec/ingress/0/ports/0"),
        (POLICY.replace("{protocol: TCP, port: 5432}", also_udp), "/spec/ingress/0/ports/1"),
        (POLICY.replace("port: 5432", "port: 5431, endPort: 5432"), "/spec/ingress/0/ports/0"),
        (POLICY.replace("10.0.1.0/24", "10.0.50.0/24"), "/spec/ingress/0/ports/0"),
        (POLICY.replace("10.0.1.0/24", "10.0.0.0/23"), "/spec/ingress/0/ports/0"),
        (POLICY.replace(", ports: [{protocol: TCP, port: 5432}]", ""), "/spec/ingress/0"),
        (POLICY.replace("ingress: [", "egress: [").replace("from: [", "to: ["), "/spec/egress/0/ports/0"),
    ] {
        let judged = today(&text(&policy));
        // At its place another rule may win.
        let here = judged.findings.iter().find(|f| f.rule_id == id || f.also.contains(&id));
        let here = here.unwrap_or_else(|| panic!("{policy} {:?}", judged.findings));
        assert_eq!(here.path.as_deref(), Some(path), "{:?}", judged.findings);
    }
}

#[test]
fn traffic_within_a_zone_needs_no_approval_between_zones() {
    let policy = POLICY.replace("10.0.1.0/24", "10.0.30.0/24").replace("5432", "7000");
    let judged = today(&format!("{NETWORK}{policy}"));
    assert!(!breaks(&judged, "PCI-1.2.5-004"), "{:?}", judged.findings);
}

#[test]
fn icmp_of_the_other_family_needs_no_approval() {
    let both = POLICY
        .replace("{protocol: TCP, port: 5432}", "{protocol: ICMPv6}")
        .replace("[{ipBlock: {cidr: 10.0.1.0/24}}]", "[{ipBlock: {cidr: \"fd00:30::/64\"}}, {ipBlock: {cidr: 10.0.1.0/24}}]");
    let judged = today(&format!("{NETWORK}{both}"));
    assert!(!breaks(&judged, "PCI-1.2.5-004"), "{:?}", judged.findings);
}
