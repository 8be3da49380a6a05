use std::io::{BufRead, BufReader, Cursor, pipe};

use policy::compile::Verdict;
use policy::explain::Explainer;
use policy::net::{Direction, Service};
use policy::snapshot::{Entry, Snapshot};
use serde_json::Value;

use super::*;

const SET: &str = "{apiVersion: pci-segment/v1, kind: Inventory, metadata: {name: i}, spec: {workloads: [
  {name: db-01, labels: {tier: db}, addresses: [10.0.30.11]}]}}
---
{apiVersion: pci-segment/v1, kind: NetworkPolicy, metadata: {name: database}, spec: {podSelector: {matchLabels: {tier: db}},
  ingress: [{name: from-app, from: [{ipBlock: {cidr: 10.0.1.0/24}}], ports: [{port: 5432}]}]}}
";

fn set() -> PolicySet {
    let entries = [("p.yaml".to_owned(), Entry::File(SET.as_bytes().to_vec()))].into();
    policy::read::read(&Snapshot { entries }).set
}

fn day() -> Date {
    Date::new(2026, 2, 1).unwrap()
}

fn answered(lines: String, labels: &Labels) -> (Vec<Value>, anyhow::Result<()>) {
    let set = set();
    let common = Common { set: &set, today: day(), labels, namespace: "default" };
    let mut out = Vec::new();
    let ended = run(Box::new(Cursor::new(lines.into_bytes())), "flows.jsonl", &common, &mut out);
    let lines = out.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    (lines.map(|line| serde_json::from_slice(line).unwrap()).collect(), ended)
}

fn line(rest: &str) -> String {
    format!(r#"{{{rest}, "direction": "ingress", "peer": "10.0.1.9", "protocol": "tcp", "port": 5432}}"#)
}

#[test]
fn each_line_keeps_its_fields_and_gains_the_answer() {
    let (found, ended) = answered(line(r#""workload": "db-01""#), &Labels::new());
    ended.unwrap();
    let expected = serde_json::json!({
        "workload": "db-01", "direction": "ingress", "peer": "10.0.1.9", "protocol": "tcp", "port": 5432,
        "verdict": "allow", "isolated": true, "policy": "database", "rule": "/spec/ingress/0", "rule_name": "from-app",
        "file": "p.yaml", "line": 5,
    });
    assert_eq!(found, [expected]);
    let (found, _) = answered(line(r#""labels": {"tier": "web"}"#), &Labels::new());
    assert_eq!((&found[0]["verdict"], &found[0]["isolated"], found[0].get("policy")), (&"allow".into(), &false.into(), None));
}

#[test]
fn the_order_of_labels_means_nothing_the_last_of_two_holds_and_the_command_line_wins() {
    let lines = [
        line(r#""labels": {"a": "b", "tier": "db"}"#),
        line(r#""labels": {"tier": "db", "a": "b"}"#),
        line(r#""labels": {"tier": "web", "tier": "db"}"#),
        line(r#""labels": {"tier": "db", "tier": "web"}"#),
        line(r#""labels": {"t\u0069er": "\u0064b"}"#),
    ];
    let isolated = |labels: &[(&str, &str)]| {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let (found, ended) = answered(lines.join("\n"), &labels);
        ended.unwrap();
        found.iter().map(|answer| answer["isolated"].as_bool().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(isolated(&[]), [true, true, true, false, true]);
    assert_eq!(isolated(&[("tier", "web")]), [false; 5]);
}

#[test]
fn many_lines_are_answered_in_their_order_and_as_one_by_one() {
    let lines: Vec<String> = (0..40_000_u32)
        .map(|i| {
            let port = 5431 + i % 3;
            format!(r#"{{"labels": {{"tier": "db", "n": "{}"}}, "direction": "ingress", "peer": "10.0.{}.{}", "protocol": "tcp", "port": {port}}}"#, i % 9, i % 3, i % 256)
        })
        .collect();
    let (found, ended) = answered(lines.join("\n"), &Labels::new());
    ended.unwrap();
    assert_eq!(found.len(), lines.len());
    let set = set();
    let mut explainer = Explainer::new(&set, day());
    for (line, answer) in lines.iter().zip(&found).step_by(97) {
        let asked: Value = serde_json::from_str(line).unwrap();
        assert!(asked.as_object().unwrap().iter().all(|(key, value)| answer[key] == *value), "{line} {answer}");
        let endpoint = Endpoint::host(serde_json::from_value(asked["labels"].clone()).unwrap());
        let own = explainer.answers().subject(endpoint);
        let peer = asked["peer"].as_str().unwrap().parse().unwrap();
        let service = Service::new(6, u16::try_from(asked["port"].as_u64().unwrap()).unwrap());
        let verdict: Verdict = explainer.explain(&own, Direction::Ingress, peer, service).answer.verdict();
        let verdict = serde_json::to_value(&verdict).unwrap();
        assert!(verdict.as_object().unwrap().iter().all(|(key, value)| answer[key] == *value), "{verdict} {answer}");
    }
}

#[test]
fn a_line_that_is_no_flow_is_named_and_what_came_before_is_answered() {
    for bad in [
        "{",
        "[]",
        r#"{"direction": "ingress"}"#,
        r#"{"workload": "db-02", "direction": "ingress", "peer": "10.0.1.9", "protocol": "tcp", "port": 1}"#,
        r#"{"workload": "db-01", "labels": {"a": "b"}, "direction": "ingress", "peer": "10.0.1.9", "protocol": "tcp", "port": 1}"#,
        r#"{"labels": {}, "verdict": "allow", "direction": "ingress", "peer": "10.0.1.9", "protocol": "tcp", "port": 1}"#,
    ] {
        let good = line(r#""labels": {}"#);
        let (found, ended) = answered(format!("{good}\n\n{good}\n{bad}\n{good}\n"), &Labels::new());
        assert_eq!(found.len(), 2, "{bad}");
        assert!(ended.unwrap_err().to_string().starts_with("flows.jsonl:4 is not a flow"), "{bad}");
    }
}

#[test]
fn a_line_without_end_is_refused_and_not_kept() {
    let (found, ended) = answered("x".repeat(10 * LINE_BYTES_MAX), &Labels::new());
    assert!(found.is_empty());
    assert!(format!("{:#}", ended.unwrap_err()).contains("65536 bytes"));
}

#[test]
fn whoever_writes_one_line_and_waits_gets_its_answer() {
    let (source, mut asks) = pipe().unwrap();
    let (answers, sink) = pipe().unwrap();
    let running = thread::spawn(move || {
        let (set, labels) = (set(), Labels::new());
        let common = Common { set: &set, today: day(), labels: &labels, namespace: "default" };
        run(Box::new(source), "-", &common, sink)
    });
    let mut answers = BufReader::new(answers);
    for _ in 0..3 {
        writeln!(asks, "{}", line(r#""workload": "db-01""#)).unwrap();
        let mut answer = String::new();
        answers.read_line(&mut answer).unwrap();
        assert!(answer.contains(r#""verdict":"allow""#), "{answer}");
    }
    drop(asks);
    running.join().unwrap().unwrap();
}

#[test]
fn a_line_that_is_no_flow_ends_it_although_more_could_come() {
    let (source, mut asks) = pipe().unwrap();
    let (set, labels) = (set(), Labels::new());
    let common = Common { set: &set, today: day(), labels: &labels, namespace: "default" };
    writeln!(asks, "no flow").unwrap();
    let ended = run(Box::new(source), "-", &common, std::io::sink());
    assert!(ended.unwrap_err().to_string().starts_with("-:1 is not a flow"));
    drop(asks);
}
