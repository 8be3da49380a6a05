//! `explain`: one flow, or many.

use crate::{code, folder, json, run, set, stderr, stdout};

const FLOW: [&str; 8] = ["--direction", "ingress", "--protocol", "tcp", "--peer", "10.0.1.10", "--port", "5432"];

fn explain(port: u16, more: &[&str], input: &str) -> std::process::Output {
    let folder = folder(&[("all.yaml", &set(port))]);
    run(folder.path(), &[&["explain", "-f", "all.yaml"], more].concat(), input)
}

#[test]
fn a_workload_is_known_by_its_name_or_by_its_labels() {
    for whom in [&["--workload", "db-01"][..], &["--label", "tier=db"]] {
        let found = explain(5432, &[whom, &FLOW, &["--format", "json"]].concat(), "");
        let answer = json(&found);
        assert_eq!(
            (&answer["verdict"], &answer["policy"], &answer["rule"]),
            (&"allow".into(), &"database".into(), &"/spec/ingress/0".into())
        );
        assert_eq!((&answer["file"], &answer["line"], &answer["rule_name"]), (&"all.yaml".into(), &15.into(), &"from-app".into()));
        assert_eq!(code(&found), 0);
    }
}

#[test]
fn a_denied_flow_says_who_isolates_and_which_rule_came_nearest() {
    let found = explain(5433, &[&["--workload", "db-01"], &FLOW[..]].concat(), "");
    let expected = "deny: policy database isolates this workload for ingress, and no rule allows the flow
  policy database at all.yaml:11
  nearest: rule from-app of database allows TCP 5433 from 10.0.1.0/24, but not TCP 5432
    at all.yaml:15
";
    assert_eq!((stdout(&found), code(&found)), (expected, 0));
}

#[test]
fn a_set_that_is_not_compliant_is_explained_with_a_note() {
    let found = explain(5432, &[&["--workload", "db-01"], &FLOW[..]].concat(), "");
    assert_eq!(stderr(&found), "");
    let folder = folder(&[("all.yaml", &set(5432).replace("10.0.1.0/24", "0.0.0.0/0"))]);
    let open = run(folder.path(), &[&["explain", "--repo", ".", "--workload", "db-01"], &FLOW[..]].concat(), "");
    assert!(stderr(&open).starts_with("note: this set is not compliant (") && stdout(&open).starts_with("allow: "), "{open:?}");
}

#[test]
fn a_workload_that_nobody_knows_is_an_error() {
    let found = explain(5432, &[&["--workload", "db-02"], &FLOW[..]].concat(), "");
    assert_eq!((code(&found), stderr(&found)), (2, "error: no endpoint of the Inventory is called db-02\n"));
}

#[test]
fn lines_of_standard_input_are_answered_in_order() {
    let line = |port: u16| {
        format!(r#"{{"workload": "db-01", "direction": "ingress", "peer": "10.0.1.9", "protocol": "tcp", "port": {port}}}"#)
    };
    let found = explain(5432, &["--flows", "-"], &format!("{}\n{}", line(5432), line(22)));
    let verdicts: Vec<serde_json::Value> = stdout(&found).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(verdicts.len(), 2, "{found:?}");
    assert_eq!((&verdicts[0]["verdict"], &verdicts[1]["verdict"]), (&"allow".into(), &"deny".into()));
    assert_eq!(
        (&verdicts[0]["port"], &verdicts[1]["port"], &verdicts[1]["rule"]),
        (&5432.into(), &22.into(), &serde_json::Value::Null)
    );
    let broken = explain(5432, &["--flows", "-"], &format!("{}\nnot a flow\n", line(5432)));
    assert_eq!((code(&broken), stdout(&broken).lines().count()), (2, 1));
    assert!(stderr(&broken).contains("<stdin>:2 is not a flow like"), "{broken:?}");
}
