//! What a report says, as data and as a page.

use policy::snapshot::CommitId;

use super::*;
use crate::store::{AuditHead, DriftClass, DriftKind, EnforcedRow, Resolution};

pub(crate) fn at(minutes: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + minutes * 60).unwrap()
}

fn occasion() -> Occasion {
    Occasion {
        id: "019b7a00-0000-7000-8000-0123456789ab".to_owned(),
        host: "db-01".to_owned(),
        targets: vec!["host/eth0".to_owned()],
        trigger: Trigger::Schedule,
        grounds: Grounds::Compared,
        asked_by: "system".to_owned(),
        begins: at(0),
        ends: at(60),
    }
}

fn facts(observation: Observation) -> ReportFacts {
    let commit = CommitId::from_bytes(&[0x1c; 20]).unwrap();
    ReportFacts {
        rows: Vec::new(),
        rows_cut: 0,
        decisions: Vec::new(),
        enforced: vec![EnforcedRow {
            backend: "ebpf".to_owned(),
            target: "host/eth0".to_owned(),
            commit: commit.to_string(),
            desired_hash: "00".repeat(32),
            generation: 3,
            verified_at: at(0),
            last_good: None,
        }],
        observations: vec![("host/eth0".to_owned(), observation)],
        in_force: Some(crate::store::InForce { commit, since: at(-600) }),
        audit: AuditHead { size: 42, head: "ab".repeat(32), root: "cd".repeat(32) },
        checkpoint: None,
    }
}

fn fresh() -> Observation {
    Observation { last: Some(at(59)), ..Observation::default() }
}

pub(crate) fn entry(key: &str, resolution: Option<Resolution>) -> DriftEntry {
    DriftEntry {
        target: "host/eth0".to_owned(),
        kind: DriftKind::Missing,
        key: key.to_owned(),
        expected: Some("TCP 5432".to_owned()),
        observed: None,
        first_seen: at(10),
        last_seen: at(12),
        resolved_at: resolution.map(|_| at(12)),
        resolution,
        id: "019b7a00-0000-7000-8000-00000000cafe".to_owned(),
        class: DriftClass::Flow,
        ours: Some(true),
        times_seen: 3,
        commit: Some("1c".repeat(20)),
        pass: None,
        actor: None,
        evidence: None,
        decision: None,
    }
}

fn held(key: &str, decision: DriftVerdict) -> DriftDecision {
    DriftDecision {
        target: "host/eth0".to_owned(),
        key: key.to_owned(),
        kind: DriftKind::Missing,
        decision,
        who: "uid:0:root".to_owned(),
        why: "the vendor's window".to_owned(),
        set_at: at(11),
        until: (decision == DriftVerdict::Accepted).then(|| at(600)),
    }
}

fn verdict(facts: ReportFacts) -> Verdict {
    Report::new(occasion(), facts).summary.verdict
}

#[test]
fn a_report_is_clean_only_where_everything_was_observed_all_the_time_and_nothing_differed() {
    assert_eq!(verdict(facts(fresh())), Verdict::Clean);
    let settled = ReportFacts { rows: vec![entry("in 10.0.0.0/8", Some(Resolution::Healed))], ..facts(fresh()) };
    assert_eq!(verdict(settled), Verdict::Settled);
    let open = ReportFacts { rows: vec![entry("in 10.0.0.0/8", None)], ..facts(fresh()) };
    assert_eq!(verdict(open), Verdict::Drift);
    let accepted = DriftEntry { decision: Some(held("a", DriftVerdict::Accepted)), ..entry("a", None) };
    let accepted = ReportFacts { rows: vec![accepted], decisions: vec![held("a", DriftVerdict::Accepted)], ..facts(fresh()) };
    let report = Report::new(occasion(), accepted);
    assert_eq!((report.summary.verdict, report.summary.open, report.summary.accepted), (Verdict::Settled, 0, 1));
    let flapping = ReportFacts { decisions: vec![held("a", DriftVerdict::Quarantined)], ..facts(fresh()) };
    assert_eq!(verdict(flapping), Verdict::Drift, "also while somebody has put it back");
}

#[test]
fn o06_a_target_that_was_not_observed_is_said_so_and_the_report_is_never_green() {
    let gap = Gap { from: at(20), until: at(40), reason: "the kernel did not answer".to_owned() };
    let cases = [
        (Observation::default(), "nothing was ever in force"),
        (
            Observation { last: Some(at(59)), failing: Some("the kernel does not answer".to_owned()), ..Observation::default() },
            "does not answer",
        ),
        (Observation { last: Some(at(40)), ..Observation::default() }, "no controller has looked since"),
        (Observation { gaps: vec![gap], ..fresh() }, "did not answer"),
        (Observation { since: Some(at(30)), ..fresh() }, "nobody had looked at it yet"),
    ];
    for (observation, said) in cases {
        let report = Report::new(occasion(), facts(observation));
        assert_eq!(report.summary.verdict, Verdict::Incomplete, "{said}");
        assert_eq!(report.summary.targets_not_observed, 1, "{said}");
        let page = html::page(&report);
        assert!(page.contains(said) && page.contains("not everything was observed"), "{said}");
        assert!(!page.contains("verdict good") && !page.contains(">observed<"), "{said}");
    }
    let old = Gap { from: at(-50), until: at(-40), reason: "before".to_owned() };
    assert_eq!(verdict(facts(Observation { gaps: vec![old], ..fresh() })), Verdict::Clean, "a gap before the period is of another");
    let nothing = Report::new(
        Occasion { targets: vec![], ..occasion() },
        ReportFacts { enforced: vec![], observations: vec![], ..facts(fresh()) },
    );
    assert_eq!(nothing.summary.verdict, Verdict::Incomplete, "no target at all is nothing to be glad of");
}

#[test]
fn a_report_from_records_alone_is_never_green_because_nobody_looked_now() {
    let report = Report::new(Occasion { grounds: Grounds::Records, ..occasion() }, facts(fresh()));
    assert_eq!((report.summary.verdict, report.summary.targets_not_observed), (Verdict::Incomplete, 1));
    assert!(html::page(&report).contains("nobody looked now"));
    let ahead = Observation { last: Some(at(6_000)), ..Observation::default() };
    assert_eq!(verdict(facts(ahead)), Verdict::Incomplete, "a look in the future is none");
}

#[test]
fn what_is_not_listed_is_counted_and_told() {
    let cut = ReportFacts { rows: vec![entry("a", Some(Resolution::Healed))], rows_cut: 7, ..facts(fresh()) };
    let report = Report::new(occasion(), cut);
    assert_eq!((report.summary.closed, report.rows_not_listed), (8, 7));
    assert!(html::page(&report).contains("7 more, older and closed, are not listed"));
}

#[test]
fn a_page_shows_hostile_words_and_runs_nothing() {
    let row = DriftEntry {
        observed: Some("\"><script>alert(1)</script>\u{202e}\u{1b}[31m".to_owned()),
        actor: Some("<b>mallory</b>".to_owned()),
        ..entry("<img src=x onerror=alert(1)>", None)
    };
    let decisions = vec![DriftDecision { why: "<style>*{display:none}</style>".to_owned(), ..held("a", DriftVerdict::Accepted) }];
    let checkpoint = Some("example.com/pci-segment/1\n42\nqrs=\n\n\u{2014} key <sig>\n".to_owned());
    let report = Report::new(
        Occasion { host: "db<01>".to_owned(), ..occasion() },
        ReportFacts { rows: vec![row], decisions, checkpoint, ..facts(fresh()) },
    );
    let page = html::page(&report);
    for forbidden in
        ["<script", "<img", "<b>mallory", "<style>*", "<sig>", "db<01>", "\u{202e}", "\u{1b}", "http://", "https://", "src="]
    {
        assert!(!page.replace("&lt;img src=x", "").contains(forbidden), "{forbidden}");
    }
    for shown in ["&lt;script&gt;", "\\u{202e}\\u{1b}[31m", "&lt;b&gt;mallory", "1.2.8", "11.5.2", "\n42\nqrs="] {
        assert!(page.contains(shown), "{shown}");
    }
    assert_eq!(page.matches("<style>").count(), 1);
}

#[test]
fn the_json_of_a_report_has_the_names_that_are_documented() {
    let facts = ReportFacts { rows: vec![entry("a", None)], decisions: vec![held("b", DriftVerdict::Accepted)], ..facts(fresh()) };
    let json = serde_json::to_value(Report::new(occasion(), facts)).unwrap();
    let names = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(json["schema"], "pci-segment/drift-report/1");
    let mut top: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
    top.sort();
    let known = "asked_by audit begins decisions ends host id in_force requirements rows rows_not_listed schema summary targets trigger version";
    assert_eq!(top.join(" "), known);
    assert_eq!(json["summary"]["verdict"], "drift");
    assert_eq!((&json["rows"][0]["state"], &json["rows"][0]["duration_seconds"]), (&"open".into(), &3_000.into()));
    assert!(names(&json["rows"][0]).contains("expected") && names(&json["decisions"][0]).contains("until"));
    assert_eq!(json["decisions"][0]["who"], "uid:0:root");
    assert_eq!(json["requirements"][0]["id"], "1.2.8");
}
