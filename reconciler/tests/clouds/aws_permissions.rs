//! What the policy in `deploy/` allows against what the code calls: neither more nor less.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use pci_segment::backend::aws::ACTIONS;
use serde_json::Value;

fn deploy(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(name)).unwrap()
}

fn statements() -> Vec<Value> {
    let policy: Value = serde_json::from_str(&deploy("aws-iam-policy.json")).unwrap();
    policy["Statement"].as_array().unwrap().clone()
}

/// One or several texts.
fn texts(value: &Value) -> Vec<String> {
    match value.as_array() {
        Some(all) => all.iter().map(|one| one.as_str().unwrap().to_owned()).collect(),
        None => vec![value.as_str().unwrap().to_owned()],
    }
}

fn listed() -> BTreeSet<String> {
    ACTIONS.iter().map(|action| format!("{}:{}", action.service, action.name)).collect()
}

#[test]
fn the_policy_allows_what_is_called_and_nothing_else() {
    let allowed: BTreeSet<String> = statements().iter().flat_map(|one| texts(&one["Action"])).collect();
    assert_eq!(allowed, listed());
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { sources(&path, found) } else { found.push(path) }
    }
}

/// `describe_security_groups` as `DescribeSecurityGroups`.
fn camel(name: &str) -> String {
    name.split('_').map(|word| word[..1].to_uppercase() + &word[1..]).collect()
}

#[test]
fn every_operation_in_the_code_is_listed_and_every_listed_one_is_in_the_code() {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/backend/aws"), &mut files);
    let mut called = BTreeSet::new();
    for file in files {
        // Calls over several lines are one line again.
        let text = std::fs::read_to_string(file).unwrap().split_whitespace().collect::<String>();
        for (client, service) in [(".reads.", "ec2"), (".writes.", "ec2"), (".quotas.", "servicequotas"), (".trail.", "cloudtrail")]
        {
            for (at, _) in text.match_indices(client) {
                let name = text[at + client.len()..].split('(').next().unwrap();
                called.insert(format!("{service}:{}", camel(name)));
            }
        }
    }
    assert_eq!(called, listed());
}

#[test]
fn what_changes_a_group_asks_for_our_mark_on_it() {
    for statement in statements() {
        let sid = statement["Sid"].as_str().unwrap();
        let on_groups = texts(&statement["Resource"]).iter().any(|resource| resource.ends_with(":security-group/*"));
        let joins = texts(&statement["Action"]) == ["ec2:ModifyNetworkInterfaceAttribute"];
        if on_groups && !joins {
            let condition = statement["Condition"].to_string();
            assert!(condition.contains("pci-segment") || condition.contains("ec2:CreateAction"), "{sid}: {condition}");
        }
        assert!(sid.bytes().all(|byte| byte.is_ascii_alphanumeric()), "IAM takes no other names: {sid}");
    }
}

#[test]
fn each_action_is_justified() {
    let text = deploy("aws-iam-policy.md");
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| `")).collect();
    for action in listed() {
        assert!(rows.iter().any(|row| row.contains(&format!("`{action}`"))), "no row says what {action} is for");
    }
}
