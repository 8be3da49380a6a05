//! A comment says what was found, shows what others wrote as it is, and stays within what a forge takes.

use policy::digest::Digest;
use serde_json::json;

use super::super::markdown::tests::{rendered, taken_apart};
use super::*;
use crate::converge::Step;

const TAGS: &[&str] = &[
    "!--", "h3", "h4", "p", "code", "table", "tr", "th", "td", "strong", "ul", "li", "pre", "tbody", "thead", "a", "details",
    "summary",
];

fn finding(rule: &str, severity: &str, file: &str, message: &str) -> Value {
    json!({ "rule_id": rule, "severity": severity, "file": file, "line": 20, "message": message, "waiver": null })
}

fn plan_of(keys: &[&str]) -> TargetPlan {
    let step = |key: &&str| Step { key: (*key).to_owned(), from: String::new(), to: "TCP 443".to_owned() };
    let hash = Digest([1; 32]);
    TargetPlan {
        target: "host/eth0".to_owned(),
        backend: "ebpf",
        create: keys.iter().map(step).collect(),
        delete: vec![Step { key: "old".to_owned(), from: "TCP 80".to_owned(), to: String::new() }],
        unchanged: 12,
        damage: Vec::new(),
        desired_hash: hash,
        observed_hash: hash,
        hash,
        blank: false,
        audited: false,
        dry_run: false,
        in_steps: false,
        absent: Vec::new(),
        foreign: Vec::new(),
        changes: keys.len() + 1,
        differences: Vec::new(),
    }
}

fn planned(boundary: Boundary, plan: Result<TargetPlan, String>) -> Planned {
    let target = PlannedTarget { name: "host/eth0".to_owned(), plan, held: Some("31 % of the rules".to_owned()) };
    Planned { targets: vec![target], boundary, not_compared: Vec::new() }
}

fn text(verdict: Verdict, findings: &Value, plan: Option<&Planned>, link: Option<&str>) -> String {
    let commit = CommitId::from_bytes(&[0xab; 20]).unwrap();
    let unseen = ["rule PCI-1.2.5-001 was not asked: it needs an Inventory".to_owned()];
    let (sentence, more_findings) = ("1 violation: PCI-1.3.1-004 db.yaml:20", 0);
    Said { commit, verdict, sentence, findings, more_findings, plan, unseen: &unseen, link }.text()
}

#[test]
fn it_names_the_verdict_the_findings_with_their_place_and_the_plan() {
    let findings =
        json!([finding("PCI-1.2.5-002", "warning", "a.yaml", "old"), finding("PCI-1.3.1-004", "error", "db.yaml", "open")]);
    let red = text(Verdict::Rejected, &findings, None, None);
    assert!(red.starts_with("<!-- pci-segment:plan -->\n### pci-segment: rejected\n"), "{red}");
    let row = "<td><code>PCI-1.3.1-004</code></td><td>error</td><td><code>db.yaml:20</code></td><td><code>open</code></td>";
    assert!(red.contains(row), "{red}");
    assert!(red.find(row) < red.find("PCI-1.2.5-002"), "errors come first");
    assert!(red.contains("only a compliant commit is planned"));
    let plan = planned(Boundary::Touched, Ok(plan_of(&["in web"])));
    let green = text(Verdict::Compliant, &json!([]), Some(&plan), None);
    for part in [
        "pci-segment: compliant",
        "The boundary of the CDE is touched",
        "1 to put in force, 1 to remove, 12 unchanged",
        "held for a person: <code>31 % of the rules</code>",
        "```diff\n+ in web: TCP 443\n- old: TCP 80\n```",
        "<li><code>rule PCI-1.2.5-001 was not asked: it needs an Inventory</code></li>",
    ] {
        assert!(green.contains(part), "{part} in {green}");
    }
    let silent = text(Verdict::Compliant, &json!([]), Some(&planned(Boundary::First, Err("no answer".to_owned()))), None);
    assert!(silent.contains("not planned, see below") && silent.contains("<li><code>host/eth0: no answer</code></li>"), "{silent}");
}

#[test]
fn f09_markdown_html_and_mentions_of_the_repository_are_shown_and_do_nothing() {
    let evil =
        "</code></table> <img src=x> ![a](http://b) [c](http://d) @acme/team `x` | <!-- pci-segment:plan --> https://e.example";
    let findings = json!([finding("PCI-1.3.1-004", "error", evil, evil)]);
    let plan = planned(Boundary::Untouched, Ok(plan_of(&[evil, "``` ````\n@team"])));
    let page = text(Verdict::Compliant, &findings, Some(&plan), Some("https://pci.example/commits/abab"));
    assert_eq!(page.matches(MARK).count(), 1 + page.matches(&format!("+ {evil}")).count(), "only ours, and inside of code");
    let (tags, texts) = taken_apart(&rendered(&page));
    for tag in &tags {
        assert!(TAGS.contains(&tag.trim_start_matches('/')) && tag != "a", "{tag} in {page}");
    }
    assert!(texts.iter().any(|text| text == &format!("{evil}:20")), "{texts:?}");
    assert!(texts.iter().any(|text| text.contains(&format!("+ {evil}: TCP 443\n"))), "{texts:?}");
    // Forges look for names in no text that is inside of `code`.
    for (tag, text) in tags.iter().zip(&texts) {
        assert!(tag == "code" || !text.contains('@'), "{tag}: {text}");
    }
}

#[test]
fn a_comment_that_is_too_long_is_cut_at_a_line_and_says_where_the_rest_is() {
    let long = "`|<é".repeat(300);
    let findings: Value = (0..500).map(|n| finding("PCI-1.3.1-004", "error", &format!("{n}.yaml"), &long)).collect();
    let keys: Vec<String> = (0..5_000).map(|n| format!("{n} {}", "`".repeat(40))).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let plan = planned(Boundary::Touched, Ok(plan_of(&keys)));
    let link = "https://pci.example/commits/abab";
    for (findings, plan) in [(&findings, Some(&plan)), (&json!([]), Some(&plan)), (&findings, None)] {
        let page = text(Verdict::Rejected, findings, plan, Some(link));
        assert!(page.len() <= BYTES_MAX && page.len() > BYTES_MAX / 2, "{}", page.len());
        assert!(page.ends_with(&format!("<p>Shortened; <a href=\"{link}\">the rest is here</a>.</p>\n")), "{page}");
        let (tags, _) = taken_apart(&rendered(&page));
        for tag in ["table", "pre", "code", "td", "tr"] {
            let count = |tag: &str| tags.iter().filter(|other| *other == tag).count();
            assert_eq!(count(tag), count(&format!("/{tag}")), "{tag} is ended");
        }
        assert_eq!(&tags[tags.len() - 4..], ["p", "a", "/a", "/p"], "nothing open swallows the end");
    }
    assert!(text(Verdict::Rejected, &findings, None, None).ends_with("show the rest.</p>\n"));
}
