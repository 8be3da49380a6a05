//! SARIF: the output against the published schema, and what it says.

use std::collections::BTreeSet;
use std::path::Path;

use jsonschema::{Draft, Validator};
use policy::rules::catalogue;
use serde_json::Value;

use super::{DAY, Folder, GOOD, WIDE, case, json, policy, run};

fn schema() -> Validator {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/sarif-schema-2.1.0.json");
    let schema: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    jsonschema::options().with_draft(Draft::Draft4).should_validate_formats(true).build(&schema).unwrap()
}

fn of(name: &str) -> Value {
    json(&run(&case(name), &["validate", "-f", ".", "--as-of", DAY, "--format", "sarif"], ""))
}

fn results(log: &Value) -> &Vec<Value> {
    log["runs"][0]["results"].as_array().unwrap()
}

fn result<'a>(log: &'a Value, rule: &str) -> &'a Value {
    results(log).iter().find(|result| result["ruleId"] == rule).unwrap_or_else(|| panic!("{rule}: {log:#}"))
}

#[test]
fn the_output_is_what_the_published_schema_asks_for() {
    let schema = schema();
    let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies-template/policies");
    let template = json(&run(&template, &["validate", "-f", ".", "--format", "sarif"], ""));
    let unreadable = Folder::new(&[("a.yaml", &policy("cde-a", GOOD))]);
    let unreadable = json(&run(unreadable.path(), &["validate", "-f", "a.yaml", "missing", "--format", "sarif"], ""));
    let cases = ["open", "text", "waived"].map(|name| (name, of(name)));
    for (name, log) in cases.into_iter().chain([("template", template), ("unreadable", unreadable)]) {
        let errors: Vec<String> = schema.iter_errors(&log).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert!(errors.is_empty(), "{name}: {errors:#?}");
    }
}

#[test]
fn the_schema_finds_what_is_wrong() {
    let schema = schema();
    let wrong = |change: fn(&mut Value)| {
        let mut log = of("open");
        change(&mut log);
        !schema.is_valid(&log)
    };
    assert!(wrong(|log| log["runs"][0]["results"][0]["level"] = "fatal".into()));
    assert!(wrong(|log| log["runs"][0]["results"][0]["message"] = "text".into()));
    assert!(wrong(|log| log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["region"]["startLine"] = 0.into()));
    assert!(wrong(|log| log["runs"][0]["columnKind"] = "bytes".into()));
    assert!(wrong(|log| log["runs"][0]["invented"] = true.into()));
}

#[test]
fn every_rule_of_the_catalogue_is_described() {
    let log = of("open");
    let described = log["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap();
    let ids: Vec<&str> = described.iter().map(|rule| rule["id"].as_str().unwrap()).collect();
    assert_eq!(ids, catalogue().map(|item| item.id).collect::<Vec<_>>());
    for (rule, item) in described.iter().zip(catalogue()) {
        let tags: BTreeSet<&str> = rule["properties"]["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap()).collect();
        assert!(item.requirements.iter().all(|number| tags.contains(number)), "{rule:#}");
        assert!(rule["help"]["markdown"].as_str().unwrap().contains(item.remediation), "{rule:#}");
    }
    let score = |id: &str| described.iter().find(|rule| rule["id"] == id).unwrap()["properties"]["security-severity"].clone();
    let levels = ["PCI-1.3.1-001", "PCI-1.3.1-004", "PCI-1.3.2-002"].map(score);
    assert_eq!(levels, ["9.0", "7.0", "2.0"]);
}

#[test]
fn a_result_says_what_where_and_why() {
    let log = of("open");
    let result = result(&log, "PCI-1.3.1-004");
    let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
    assert_eq!(log["runs"][0]["tool"]["driver"]["rules"][index]["id"], "PCI-1.3.1-004");
    assert_eq!((&result["level"], &log["runs"][0]["columnKind"]), (&"error".into(), &"unicodeCodePoints".into()));
    let place = &result["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "halves.yaml");
    assert_eq!(place["region"], serde_json::json!({"startLine": 9, "startColumn": 31, "endColumn": 40}));
    assert_eq!(result["relatedLocations"].as_array().unwrap().len(), 2, "{result:#}");
    assert_eq!(result["properties"]["also"], serde_json::json!(["PCI-1.3.1-008"]));
    assert_eq!(result["properties"]["witness"]["port"], 443);
    assert!(result["partialFingerprints"]["pciSegment/v1"].as_str().unwrap().starts_with("sha256:"));
    assert_eq!(result["suppressions"], serde_json::json!([]));
}

#[test]
fn rules_that_did_not_run_are_notifications() {
    let log = of("open");
    let invocation = &log["runs"][0]["invocations"][0];
    assert_eq!((&invocation["executionSuccessful"], &invocation["exitCode"]), (&true.into(), &1.into()));
    let notifications = invocation["toolExecutionNotifications"].as_array().unwrap();
    let backends = notifications.iter().find(|n| n["associatedRule"]["id"] == "PCI-1.2.8-008").unwrap();
    assert_eq!((&backends["level"], &backends["descriptor"]["id"]), (&"note".into(), &"rule-not-run".into()));
    assert_eq!(backends["message"]["text"], "PCI-1.2.8-008 did not run: it needs backends.");
}

#[test]
fn a_warning_is_a_warning_and_information_a_note() {
    let folder = Folder::new(&[("a.yaml", &policy("cde-a", WIDE).replace("  policyTypes: [Ingress, Egress]\n", ""))]);
    let log = json(&folder.validate(&["--format", "sarif"]));
    assert_eq!(result(&log, "PCI-1.3.1-008")["level"], "warning");
    assert_eq!(result(&log, "PCI-1.3.2-002")["level"], "note");
}
