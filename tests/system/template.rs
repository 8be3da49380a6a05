//! What people start from is compliant, and stays so.

use std::path::Path;

use tests::run;

/// Two policies of the public format that are admitted with no other document in the set.
const ADMITTED: &str = r#"apiVersion: pci-segment/v1
kind: NetworkPolicy
metadata: {name: cde-isolation, annotations: {pci-dss: "Req 1.2, Req 1.3"}}
spec:
  podSelector: {matchLabels: {pci-env: cde}}
  egress:
    - to: [{ipBlock: {cidr: 10.0.10.0/24}}]
      ports: [{protocol: TCP, port: 443}]
  ingress:
    - from: [{ipBlock: {cidr: 10.0.20.0/24}}]
      ports: [{protocol: TCP, port: 9090}]
---
apiVersion: pci-segment/v1
kind: NetworkPolicy
metadata: {name: cde-database}
spec:
  podSelector: {matchLabels: {pci-env: cde, tier: database}}
  ingress: [{name: from-app-tier, from: [{ipBlock: {cidr: 10.0.1.0/24}}], ports: [{protocol: TCP, port: 5432}]}]
  egress: []
"#;

/// One that is not.
const REFUSED: &str = r#"apiVersion: pci-segment/v1
kind: NetworkPolicy
metadata: {name: cde-open}
spec:
  podSelector: {matchLabels: {pci-env: cde}}
  ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}], ports: [{protocol: TCP, port: 443}]}]
"#;

/// Validates; the exit code and the JSON document.
fn validate(file: &str) -> (i32, serde_json::Value) {
    let output = run(Path::new("/"), &["validate", "-f", file, "--format", "json"]);
    let json = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    (output.status.code().unwrap(), json)
}

#[test]
fn what_init_writes_today_is_compliant_today_without_a_single_finding() {
    let folder = tempfile::tempdir().unwrap();
    let written = run(folder.path(), &["init", "mine", "--forge", "both"]);
    assert_eq!(written.status.code(), Some(0), "{written:?}");
    let arguments = ["validate", "-f", "mine/policies", "--profile", "pci-dss-4.0.1", "--strict", "--format", "json"];
    let output = run(folder.path(), &arguments);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    assert_eq!(
        (output.status.code(), &json["compliant"], &json["findings"]),
        (Some(0), &true.into(), &serde_json::json!([])),
        "{json:#}"
    );
    assert_eq!(json["profile"], "pci-dss-4.0.1");
}

#[test]
fn init_overwrites_nothing_unless_told_to() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("README.md"), "mine").unwrap();
    let refused = run(folder.path(), &["init"]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("README.md"), "{refused:?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "all files are written, or none");
    assert_eq!(run(folder.path(), &["init", "--force"]).status.code(), Some(0));
    assert_ne!(std::fs::read_to_string(folder.path().join("README.md")).unwrap(), "mine");
}

#[test]
fn the_format_s_first_examples_are_admitted_unchanged_and_the_open_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (code, json) = validate(&file("admitted.yaml", ADMITTED));
    assert_eq!((code, &json["compliant"], &json["policies"]), (0, &true.into(), &2.into()), "{json:#}");

    let (code, json) = validate(&file("refused.yaml", REFUSED));
    assert_eq!((code, &json["compliant"]), (1, &false.into()), "{json:#}");
    let open = json["findings"].as_array().unwrap().iter().find(|finding| finding["rule_id"] == "PCI-1.3.1-004").unwrap();
    assert_eq!((&open["severity"], &open["line"], &open["policy"]), (&"error".into(), &6.into(), &"cde-open".into()), "{open:#}");
    assert_eq!(open["requirements"], serde_json::json!(["1.3.1"]));
    assert!(open["witness"].is_object(), "a flow that shows it: {open:#}");
}
