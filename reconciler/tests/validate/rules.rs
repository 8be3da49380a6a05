//! `rules`: the catalogue, and one rule explained.

use std::path::Path;

use policy::rules::{Item, catalogue};

use super::{code, json, run, stderr, stdout};

fn rules(arguments: &[&str]) -> std::process::Output {
    run(Path::new("/"), &[&["rules"], arguments].concat(), "")
}

#[test]
fn every_rule_is_listed_once() {
    let output = rules(&[]);
    let ids: Vec<&str> = stdout(&output).lines().skip(1).filter_map(|line| line.split(' ').next()).collect();
    for item in catalogue() {
        assert_eq!(ids.iter().filter(|id| **id == item.id).count(), 1, "{}", item.id);
    }
}

#[test]
fn the_list_can_be_cut_to_a_requirement() {
    let listed = json(&rules(&["--requirement", "1.3.2", "--format", "json"]));
    let ids: Vec<&str> = listed["rules"].as_array().unwrap().iter().map(|rule| rule["rule_id"].as_str().unwrap()).collect();
    let expected: Vec<&str> = catalogue().filter(|item| item.requirements.contains(&"1.3.2")).map(|item| item.id).collect();
    assert_eq!(ids, expected);
    assert!(ids.len() > 4 && ids.len() < catalogue().count(), "{ids:?}");
    let unknown = rules(&["--requirement", "9.9"]);
    assert_eq!(code(&unknown), 2);
    assert!(stderr(&unknown).contains("no rule is for requirement 9.9; there are rules for 1.2"), "{unknown:?}");
}

#[test]
fn one_rule_is_explained_with_what_the_gate_finds_in_its_example() {
    let output = rules(&["PCI-1.3.1-004"]);
    let text = stdout(&output);
    for part in [
        "PCI DSS v4.0.1 1.3.1",
        "a Waiver may cover it",
        "the requirement says it",
        "cidr: 0.0.0.0/0",
        "= witness: ",
        "List the sources",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let item = catalogue().find(|item| item.id == "PCI-1.3.1-004").unwrap();
    assert!(item.repaired.lines().all(|line| text.contains(line)), "{text}");
    assert_eq!(json(&rules(&["PCI-1.3.1-004", "--format", "json"]))["findings"][0]["rule_id"], "PCI-1.3.1-004");
}

#[test]
fn every_example_that_is_shown_is_found_to_break_its_rule() {
    // Kinds of documents have a capital; what else a rule needs does not stand in files.
    let documents_do = |item: &&Item| item.needs.iter().all(|need| need.starts_with(char::is_uppercase));
    for item in catalogue().filter(|item| !item.violating.is_empty()).filter(documents_do) {
        let rule = json(&rules(&[item.id, "--format", "json"]));
        let found = rule["findings"].as_array().unwrap();
        let named = |finding: &serde_json::Value| {
            finding["rule_id"] == item.id || finding["also"].as_array().unwrap().iter().any(|id| id == item.id)
        };
        assert!(!found.is_empty() && found.iter().all(named), "{}: {rule:#}", item.id);
    }
}

#[test]
fn a_wrong_id_ends_with_two_and_names_the_nearest() {
    let output = rules(&["PCI-1.3.1-04"]);
    assert_eq!((code(&output), stdout(&output)), (2, ""));
    assert!(stderr(&output).contains("did you mean PCI-1.3.1-004?"), "{output:?}");
    assert_eq!(code(&rules(&["pci-1.3.1-004"])), 0);
}

#[test]
fn shells_complete_the_ids() {
    let script = run(Path::new("/"), &["completion", "bash"], "");
    assert!(stdout(&script).contains("PCI-1.3.1-004"));
}
