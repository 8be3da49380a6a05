//! `cloud-validate`: the real program judges a network of AWS.

use serde_json::Value;

use crate::aws_kit::{Cloud, policy, text_of};
use crate::sync::{folder, run};

/// A group of somebody.
fn group(cloud: &Cloud, vpc: &str, name: &str) -> String {
    let asked = [("GroupName", name), ("GroupDescription", "by hand"), ("VpcId", vpc)];
    let id = text_of(&cloud.ask("CreateSecurityGroup", &asked), "groupId");
    // What AWS gives every group, of both families, is found in the default group.
    for everybody in [("IpRanges.1.CidrIp", "0.0.0.0/0"), ("Ipv6Ranges.1.CidrIpv6", "::/0")] {
        let side = format!("IpPermissions.1.{}", everybody.0);
        let asked = [("GroupId", id.as_str()), ("IpPermissions.1.IpProtocol", "-1"), (side.as_str(), everybody.1)];
        cloud.ask("RevokeSecurityGroupEgress", &asked);
    }
    id
}

/// Lets somebody in on a port; `side` is how the query interface names who.
fn let_in(cloud: &Cloud, group: &str, port: &str, side: (&str, &str)) {
    let side = (format!("IpPermissions.1.{}", side.0), side.1);
    cloud.ask(
        "AuthorizeSecurityGroupIngress",
        &[
            ("GroupId", group),
            ("IpPermissions.1.IpProtocol", "tcp"),
            ("IpPermissions.1.FromPort", port),
            ("IpPermissions.1.ToPort", port),
            (&side.0, side.1),
        ],
    );
}

fn judged(folder: &std::path::Path) -> (Option<i32>, Value) {
    let (output, text) = run(folder, &["cloud-validate", "--all", "--format", "json"]);
    let document = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {text}"));
    (output.status.code(), document)
}

/// Rules broken by a group, with what part of them.
fn of<'a>(document: &'a Value, group: &str) -> Vec<(&'a str, &'a str)> {
    let findings = document["findings"].as_array().unwrap().iter().filter(|finding| finding["group"] == group);
    findings.map(|finding| (finding["rule_id"].as_str().unwrap(), finding["code"].as_str().unwrap_or(""))).collect()
}

#[test]
fn what_opens_a_group_is_found_however_it_is_written() {
    let Some(cloud) = Cloud::start() else { return };
    let vpc = cloud.network();
    let folder = folder(&cloud, &vpc, &policy("database", &[("10.0.1.0/24", 5432)]));
    let v4 = "IpRanges.1.CidrIp";
    let open = group(&cloud, &vpc, "open");
    let_in(&cloud, &open, "443", (v4, "0.0.0.0/0"));
    let halves = group(&cloud, &vpc, "halves");
    let_in(&cloud, &halves, "443", (v4, "0.0.0.0/1"));
    let_in(&cloud, &halves, "443", (v4, "128.0.0.0/1"));
    let six = group(&cloud, &vpc, "six");
    let_in(&cloud, &six, "443", ("Ipv6Ranges.1.CidrIpv6", "::/0"));
    let list = text_of(
        &cloud.ask(
            "CreateManagedPrefixList",
            &[
                ("PrefixListName", "everybody"),
                ("MaxEntries", "5"),
                ("AddressFamily", "IPv4"),
                ("Entry.1.Cidr", "0.0.0.0/1"),
                ("Entry.2.Cidr", "128.0.0.0/1"),
            ],
        ),
        "prefixListId",
    );
    let listed = group(&cloud, &vpc, "listed");
    let_in(&cloud, &listed, "443", ("PrefixListIds.1.PrefixListId", &list));
    let good = group(&cloud, &vpc, "good");
    let_in(&cloud, &good, "443", (v4, "10.0.1.0/24"));
    let own = group(&cloud, &vpc, "own");
    let_in(&cloud, &own, "443", ("Groups.1.GroupId", &own));
    let admin = group(&cloud, &vpc, "admin");
    let_in(&cloud, &admin, "22", (v4, "0.0.0.0/0"));

    let (code, document) = judged(folder.path());
    assert_eq!(code, Some(1), "{document}");
    for open in [&open, &halves, &six, &listed] {
        assert!(of(&document, open).iter().any(|(id, _)| *id == "PCI-1.3.1-004"), "{open}: {document}");
    }
    assert!(of(&document, &admin).iter().any(|(id, _)| *id == "PCI-1.4.2-001"), "{document}");
    assert!(of(&document, &own).contains(&("PCI-1.3.1-009", "self")), "{document}");
    assert_eq!(of(&document, &good), [("PCI-1.2.7-008", "unused-group")], "{document}");
    let default = cloud.group(&vpc, "default").unwrap();
    assert!(of(&document, &default).contains(&("RT-1.3.1-001", "default-group")), "{document}");
    assert!(of(&document, &default).contains(&("RT-1.3.1-001", "default-egress")), "{document}");
    assert!(document["findings"].as_array().unwrap().iter().all(|finding| finding.get("file").is_none()), "{document}");
}

#[test]
fn groups_of_others_are_judged_where_their_tags_say_so() {
    let Some(cloud) = Cloud::start() else { return };
    let vpc = cloud.network();
    let folder = folder(&cloud, &vpc, &policy("database", &[("10.0.1.0/24", 5432)]));
    let (output, text) = run(folder.path(), &["cloud-sync", "--yes"]);
    assert!(output.status.success(), "{text}");
    let (output, text) = run(folder.path(), &["cloud-validate"]);
    assert_eq!(output.status.code(), Some(0), "{text}");

    let open = group(&cloud, &vpc, "office");
    let_in(&cloud, &open, "443", ("IpRanges.1.CidrIp", "0.0.0.0/0"));
    let (output, text) = run(folder.path(), &["cloud-validate"]);
    assert_eq!(output.status.code(), Some(0), "it is not the CDE's: {text}");
    cloud.tag(&open, "pci-env", "cde");
    let (output, text) = run(folder.path(), &["cloud-validate"]);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("PCI-1.3.1-004") && text.contains(&open) && text.contains("0.0.0.0/0"), "{text}");
}

#[test]
fn a_rule_somebody_added_to_ours_is_drift_in_every_format() {
    let Some(cloud) = Cloud::start() else { return };
    let vpc = cloud.network();
    let folder = folder(&cloud, &vpc, &policy("database", &[("10.0.1.0/24", 5432)]));
    let (output, text) = run(folder.path(), &["cloud-sync", "--yes"]);
    assert!(output.status.success(), "{text}");
    cloud.let_in(&cloud.group(&vpc, "database").unwrap(), "22", "10.9.9.9/32");
    for format in ["human", "json", "sarif", "junit", "github", "text"] {
        let (output, text) = run(folder.path(), &["cloud-validate", "--format", format]);
        assert_eq!(output.status.code(), Some(1), "{format}: {text}");
        assert!(text.contains("RT-1.2.8-001") && text.contains("10.9.9.9/32"), "{format}: {text}");
    }
    let (output, _) = run(folder.path(), &["cloud-validate", "--format", "sarif"]);
    let log: Value = serde_json::from_slice(&output.stdout).unwrap();
    let location = &log["runs"][0]["results"][0]["locations"][0];
    assert!(location["logicalLocations"][0]["fullyQualifiedName"].is_string(), "{location}");
    assert!(location.get("physicalLocation").is_none(), "a group is in no file: {location}");
    let (output, text) = run(folder.path(), &["cloud-validate", "--format", "junit"]);
    roxmltree::Document::parse(std::str::from_utf8(&output.stdout).unwrap()).unwrap_or_else(|error| panic!("{error}: {text}"));
}
