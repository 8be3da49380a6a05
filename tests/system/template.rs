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
fn the_template_is_compliant_without_an_error_or_a_warning() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies-template/policies");
    let arguments = ["validate", "-f", folder.to_str().unwrap(), "--profile", "pci-dss-4.0.1", "--strict", "--as-of", "2026-02-01"];
    let output = run(Path::new("/"), &[&arguments[..], &["--format", "json"]].concat());
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    assert_eq!((output.status.code(), &json["compliant"]), (Some(0), &true.into()), "{json:#}");
    let loud: Vec<_> = json["findings"].as_array().unwrap().iter().filter(|finding| finding["severity"] != "info").collect();
    assert!(loud.is_empty(), "{loud:#?}");
    assert_eq!(json["profile"], "pci-dss-4.0.1");
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
