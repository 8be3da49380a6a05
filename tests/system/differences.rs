//! What people decide about differences, what is healed no longer, and what is reported: with the real kernel and the real command.

use std::time::{Duration, Instant};

use serde_json::Value;
use tests::{Controller, Options, Scene, page, root_or_left_out};

const PORT: u16 = 8091;

fn options(mode: &str) -> Options {
    let drift = Some(format!("{{ schedule: \"* * * * * *\", mode: {mode} }}"));
    Options { drift, port: PORT, ..Options::default() }
}

fn begin<'a>(scene: &'a Scene, options: &Options) -> (Controller<'a>, String) {
    let mut controller = scene.controller(options);
    let commit = scene.push_template();
    controller.start();
    controller.wait_for(&commit, "in_force");
    (controller, commit)
}

fn json(controller: &Controller<'_>, arguments: &[&str]) -> Value {
    let (_, text, error) = controller.ask(&[arguments, &["--format", "json"]].concat());
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("{arguments:?}: {text}{error}"))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn open_row(controller: &mut Controller<'_>) -> Value {
    controller.wait("an open difference", |me| me.rows("drift").into_iter().find(|row| row["resolution"].is_null()))
}

#[test]
fn a09_a_difference_is_accepted_for_a_time_left_alone_meanwhile_and_healed_when_that_is_over() {
    if !root_or_left_out("a09_a_difference_is_accepted_for_a_time_left_alone_meanwhile_and_healed_when_that_is_over") {
        return;
    }
    let scene = Scene::build("acc");
    let (mut controller, commit) = begin(&scene, &options("report"));
    let before = scene.observe();
    enforcer::drill::forget_one_prefix(scene.sandbox.pins()).unwrap();
    let row = open_row(&mut controller);
    assert_eq!((text(&row["class"]), &row["ours"], text(&row["commit"])), ("flow".to_owned(), &true.into(), commit.clone()));
    assert!(row["actor"].is_null() && row["evidence"].is_null(), "the host knows nobody: {row}");
    let id = text(&row["id"]);
    let last = &id[id.len() - 8..];

    let refused = |arguments: &[&str], why: &str| {
        let (code, _, error) = controller.ask(arguments);
        assert!(code == 2 && error.contains(why), "{arguments:?}: {error}");
    };
    refused(&["drift", "accept", last, "--reason", "x"], "--until");
    refused(&["drift", "accept", last, "--reason", "x", "--until", "9000h"], "at most 1 year");
    refused(&["drift", "accept", last, "--reason", " ", "--until", "1h"], "a reason is needed");
    refused(&["drift", "accept", "feedbeef", "--reason", "x", "--until", "1h"], "feedbeef names no difference");
    refused(&["drift", "release", last, "--reason", "x"], "neither accepted nor quarantined");
    let (code, said, error) = controller.ask(&["drift", "accept", last, "--reason", "the vendor's window", "--until", "1h"]);
    assert!(code == 0 && said.contains("is accepted until"), "{said}{error}");

    assert_eq!(controller.ask(&["drift"]).0, 0, "it counts as open no longer");
    let row = &controller.rows("drift")[0];
    assert!(row["resolution"].is_null() && row["decision"]["decision"] == "accepted", "it stays in the list: {row}");
    assert!(text(&row["decision"]["who"]).starts_with("uid:0"), "{row}");
    let (code, shown, _) = controller.ask(&["drift", last]);
    assert!(code == 0 && shown.contains("the vendor's window") && shown.contains(&id), "{shown}");
    let (code, status, _) = controller.ask(&["status"]);
    assert!(code == 0 && status.contains("none, 1 accepted for a time"), "{status}");
    controller.wait("the metrics", |_| {
        let text = page(&scene.sandbox, PORT, "/metrics")?;
        let sum: f64 = text
            .lines()
            .filter(|line| line.starts_with("pci_segment_drift_open{"))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum();
        (text.contains("pci_segment_drift_accepted 1") && sum == 0.0).then_some(())
    });
    controller.stop();

    // In heal mode too it is left, while something else is put back.
    let mut controller = scene.controller(&options("heal"));
    controller.start();
    controller.wait("a start", |me| (me.log().matches("listening").count() > 1).then_some(()));
    enforcer::drill::forget_one_prefix(scene.sandbox.pins()).unwrap();
    controller.wait("the other one to be healed", |me| me.rows("drift").into_iter().find(|row| row["resolution"] == "healed"));
    let healed = controller.rows("drift").into_iter().find(|row| row["resolution"] == "healed").unwrap();
    assert!(healed["pass"].is_string(), "the pass that ended it: {healed}");
    assert_eq!(controller.rows("drift").iter().filter(|row| row["resolution"].is_null()).count(), 1);
    assert_ne!(scene.observe().table, before.table, "what is accepted is left as it is");
    controller.kill();
    // Without a controller the same is decided in the records themselves.
    let (code, said, error) = controller.ask(&["drift", "accept", last, "--reason", "a little longer", "--until", "2s"]);
    assert!(code == 0 && said.contains("is accepted until"), "{said}{error}");
    controller.start();
    controller.wait("its time to be over", |me| me.rows("drift").iter().all(|row| row["resolution"] == "healed").then_some(()));
    assert_eq!(scene.observe().table, before.table, "every rule is back");
    controller.stop();
    controller.assert_log_verifies();
    let orders = json(&controller, &["history", "orders"]);
    let orders: Vec<(String, String, String)> = orders
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (text(&row["order"]), text(&row["outcome"]), text(&row["origin"])))
        .filter(|(order, ..)| order == "accept_drift")
        .collect();
    assert_eq!(orders.iter().filter(|(_, outcome, _)| outcome == "refused").count(), 3, "{orders:?}");
    assert_eq!(orders.first().map(|(_, _, origin)| origin.as_str()), Some("host:db-01/command"), "{orders:?}");
}

#[test]
fn a14_what_somebody_changes_back_each_time_is_healed_with_growing_pauses_then_quarantined_and_hooks_are_put_back_all_the_same() {
    let name = "a14_what_somebody_changes_back_each_time_is_healed_with_growing_pauses_then_quarantined_and_hooks_are_put_back_all_the_same";
    if !root_or_left_out(name) {
        return;
    }
    let scene = Scene::build("flap");
    let (mut controller, _) = begin(&scene, &options("heal"));
    let before = scene.observe();
    let mut keys = Vec::new();
    for round in 0..6 {
        // The same prefix each time: it is the first one of a table that is made anew.
        keys.push(enforcer::drill::forget_one_prefix(scene.sandbox.pins()).unwrap());
        let began = Instant::now();
        loop {
            let rows = controller.rows("drift");
            let healed = rows.iter().filter(|row| row["resolution"] == "healed").count();
            let quarantined = rows.iter().any(|row| row["decision"]["decision"] == "quarantined");
            if (round < 5 && healed == round + 1) || (round == 5 && quarantined) {
                break;
            }
            assert!(began.elapsed() < Duration::from_secs(120), "round {round}: {rows:?}\n{}", controller.log());
            std::thread::sleep(Duration::from_millis(200));
        }
        if round == 2 {
            // What was counted is on record.
            controller.kill();
            controller.start();
            controller.wait("a second start", |me| (me.log().matches("listening").count() > 1).then_some(()));
        }
    }
    assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    assert_ne!(scene.observe().table, before.table, "it is left as it is");
    assert!(controller.log().contains("quarantined, healed no longer"), "{}", controller.log());
    let (_, status, _) = controller.ask(&["status"]);
    assert!(status.contains("1 QUARANTINED"), "{status}");
    controller
        .wait("the alarm", |_| page(&scene.sandbox, PORT, "/metrics")?.contains("pci_segment_drift_quarantined 1").then_some(()));

    let version = std::fs::read_dir(scene.sandbox.pins()).unwrap().next().unwrap().unwrap().path();
    let links = || std::fs::read_dir(version.join("links")).unwrap().map(|entry| entry.unwrap().path());
    for round in 0..7 {
        let inbound = links().find(|path| path.to_string_lossy().ends_with("-in")).unwrap();
        std::fs::remove_file(&inbound).unwrap();
        controller.wait(&format!("hook {round}"), |_| links().any(|path| path.to_string_lossy().ends_with("-in")).then_some(()));
    }
    controller.kill();
    controller.start();
    controller.wait("a third start", |me| (me.log().matches("listening").count() > 2).then_some(()));
    std::thread::sleep(Duration::from_secs(3));
    assert_ne!(scene.observe().table, before.table, "a restart does not end a quarantine");

    let row = controller.rows("drift").into_iter().find(|row| row["decision"]["decision"] == "quarantined").unwrap();
    let (code, said, error) = controller.ask(&["drift", "release", &text(&row["id"]), "--reason", "found him"]);
    assert!(code == 0 && said.contains("is let go"), "{said}{error}");
    controller.wait("what is let go to be healed", |me| (me.ask(&["drift"]).0 == 0).then_some(()));
    assert_eq!(scene.observe().table, before.table);
    scene.assert_template_holds();
    controller.stop();
    controller.assert_log_verifies();
}

/// A report at that second of the hour which comes after so many seconds.
fn reported_in(seconds: i64) -> String {
    let at = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
    format!("{{ schedule: \"0 0 0 1 1 *\", report_schedule: \"{} * * * *\", timezone: Europe/Berlin }}", at.strftime("%-S %-M"))
}

#[test]
fn o06_reports_are_written_by_the_schedule_made_up_once_after_a_stop_and_say_what_was_not_observed() {
    if !root_or_left_out("o06_reports_are_written_by_the_schedule_made_up_once_after_a_stop_and_say_what_was_not_observed") {
        return;
    }
    let scene = Scene::build("rep");
    let options = |seconds| Options { drift: Some(reported_in(seconds)), port: PORT, ..self::options("report") };
    let mut controller = scene.controller(&options(20));
    controller.start();
    controller.wait("a start", |me| me.log().contains("listening").then_some(()));
    // Nothing was ever in force, so nothing can be compared.
    let first = controller.wait("a first report", |me| {
        let id = text(&json(me, &["drift", "report"]).as_array()?.last()?["id"]);
        Some(json(me, &["drift", "report", &id]))
    });
    assert_eq!((&first["summary"]["verdict"], &first["targets"][0]["observed"]), (&"incomplete".into(), &false.into()), "{first}");
    let (_, page, _) = controller.ask(&["drift", "report", &text(&first["id"])]);
    assert!(page.contains("not observed") && !page.contains("verdict good"), "{page}");
    let commit = scene.push_template();
    controller.wake();
    controller.wait_for(&commit, "in_force");
    controller.stop();
    let mut controller = scene.controller(&options(20));
    controller.start();
    controller.wait("a report of the schedule", |me| {
        let rows = json(me, &["drift", "report"]);
        rows.as_array()?.iter().find(|row| row["summary"]["verdict"] == "clean").cloned()
    });
    controller.stop();
    // What comes due meanwhile is made up, once.
    let mut controller = scene.controller(&options(3));
    let count = json(&controller, &["drift", "report"]).as_array().unwrap().len();
    std::thread::sleep(Duration::from_secs(6));
    controller.start();
    let missed = controller.wait("the missed report", |me| {
        let rows = json(me, &["drift", "report"]);
        let rows = rows.as_array()?;
        let id = text(&rows.get(rows.len().checked_sub(count + 1)?)?["id"]);
        Some(json(me, &["drift", "report", &id]))
    });
    assert_eq!((text(&missed["trigger"]), &missed["asked_by"]), ("missed".to_owned(), &"system".into()), "{missed}");
    assert_eq!((text(&missed["in_force"]["commit"]), text(&missed["schema"])), (commit, "pci-segment/drift-report/1".to_owned()));
    controller.stop();

    let mut controller = scene.controller(&self::options("report"));
    controller.start();
    controller.wait("a start", |me| (me.log().matches("listening").count() > 3).then_some(()));
    enforcer::drill::forget_one_prefix(scene.sandbox.pins()).unwrap();
    let (code, said, error) = controller.ask(&["drift", "report", "--now"]);
    assert!(code == 0 && said.contains("differs from what should be"), "{said}{error}");
    let asked = text(&json(&controller, &["drift", "report"])[0]["id"]);
    let report = json(&controller, &["drift", "report", &asked]);
    assert_eq!((&report["summary"]["open"], text(&report["trigger"])), (&1.into(), "asked".to_owned()), "{report}");
    assert!(text(&report["asked_by"]).starts_with("uid:0"), "{report}");
    assert!(report["audit"]["size"].as_u64().unwrap() > 5 && report["requirements"][1]["id"] == "11.5.2");
    let file = scene.sandbox.folder().join("report.html");
    assert_eq!(controller.ask(&["drift", "report", &asked, "-o", file.to_str().unwrap()]).0, 0);
    let page = std::fs::read_to_string(file).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("1.2.8") && !page.contains("<script"), "{page}");
    let (code, _, error) = controller.ask(&["drift", "report", &asked, "-o", "report.pdf"]);
    assert!(code == 2 && error.contains("neither in .html nor in .json"), "{error}");

    controller.stop();
    let (code, said, error) = controller.ask(&["drift", "report", "--now"]);
    assert!(code == 0, "without a controller it is written from the records: {said}{error}");
    controller.assert_log_verifies();
}

#[test]
fn everything_about_a_commit_is_told_with_the_plan_and_what_each_target_answered() {
    if !root_or_left_out("everything_about_a_commit_is_told_with_the_plan_and_what_each_target_answered") {
        return;
    }
    let scene = Scene::build("story");
    let (forge, extra) = scene.forge();
    let (mut controller, first) = begin(&scene, &Options { extra, ..Options::default() });
    controller.wait("the forge to be told", |_| (forge.states(&first).last()? == "success").then_some(()));
    let story = json(&controller, &["history", "show", &first[..7]]);
    assert_eq!(
        (text(&story["commit"]), text(&story["verdict"]), text(&story["came"])),
        (first.clone(), "compliant".into(), "poll".into())
    );
    let pass = &story["passes"][0];
    assert_eq!((text(&pass["outcome"]), text(&pass["confirmed_by"])), ("in_force".to_owned(), "system".to_owned()), "{pass}");
    let created = pass["plan"]["targets"][0]["create"].as_array().unwrap();
    assert!(created.iter().all(|step| !text(&step["key"]).is_empty() && !text(&step["to"]).is_empty()), "{created:?}");
    let steps = pass["targets"][0]["steps"].as_array().unwrap();
    assert!(
        steps.len() >= created.len() && steps.iter().all(|step| step["state"] == "done" && step["finished"].is_string()),
        "{steps:?}"
    );
    assert_eq!(story["statuses"].as_array().unwrap().last().unwrap()["state"], "sent");
    let rows: Vec<String> = story["audit_rows"].as_array().unwrap().iter().map(|row| text(&row["kind"])).collect();
    for kind in ["commit.judged", "pass.opened", "pass.closed", "status.sent"] {
        assert!(rows.iter().any(|row| row == kind), "{kind}: {rows:?}");
    }
    let (code, told, _) = controller.ask(&["history", "show", &first]);
    assert!(code == 0 && told.contains("answered:") && told.contains(" -> ") && told.contains("audit rows"), "{told}");
    let line = &controller.rows("history")[0];
    assert_eq!((&line["targets"][0]["state"], &line["confirmed_by"]), (&"done".into(), &"system".into()), "{line}");
    assert_eq!(line["plan"], pass["plan_hash"]);

    let bad = scene.push_policy("open", "  ingress:\n    - from:\n        - ipBlock:\n            cidr: 0.0.0.0/0\n");
    controller.wake();
    controller.wait_for(&bad, "rejected");
    let (_, told, _) = controller.ask(&["history", "show", &bad[..10]]);
    assert!(told.contains("finding") && told.contains("rejected"), "{told}");
    let mut near = first.clone();
    near.replace_range(6..7, if &first[6..7] == "0" { "1" } else { "0" });
    let (code, _, error) = controller.ask(&["history", "show", &near[..9]]);
    assert!(code == 2 && error.contains("nearest: ") && error.contains(&first[..12]), "{error}");
    assert_eq!(controller.ask(&["history", "show", "abc"]).0, 2);
    controller.stop();
}

#[test]
fn every_order_leaves_a_row_with_who_gave_it_from_where_and_what_came_of_it() {
    if !root_or_left_out("every_order_leaves_a_row_with_who_gave_it_from_where_and_what_came_of_it") {
        return;
    }
    let scene = Scene::build("who");
    let (mut controller, commit) = begin(&scene, &options("report"));
    let missing = "0".repeat(40);
    let orders: [(&[&str], &str, i32); 17] = [
        (&["reconcile"], "reconcile", 0),
        (&["reconcile", "--accept-head", &missing, "--reason", "r"], "accept_head", 0),
        (&["reconcile", "--accept-head", "abc", "--reason", "r"], "accept_head", 2),
        (&["confirm"], "confirm", 2),
        (&["confirm", "0123456789ab", "--reason", "r"], "confirm", 0),
        (&["suspend", "--reason", "r", "--until", "1h"], "suspend", 0),
        (&["suspend", "--reason", " "], "suspend", 2),
        (&["resume", "--reason", "r"], "resume", 0),
        (&["resume"], "resume", 2),
        (&["rollback", &missing, "--reason", "r"], "rollback", 2),
        (&["rollback", &commit, "--reason", "r"], "rollback", 0),
        (&["resume", "--only", "rollback"], "resume", 0),
        (&["disable", "--reason", "r", "--until", "25h", "--yes"], "disable", 2),
        (&["disable", "--reason", "r", "--until", "1h", "--yes"], "disable", 0),
        (&["resume", "--only", "disable"], "resume", 0),
        (&["drift", "release", "0123456789", "--reason", "r"], "release_drift", 2),
        (&["drift", "report", "--now"], "report", 0),
    ];
    for (n, (arguments, order, code)) in orders.iter().enumerate() {
        let (found, said, error) = controller.ask(arguments);
        assert_eq!(found, *code, "{arguments:?}: {said}{error}");
        let rows = json(&controller, &["history", "orders", "--limit", "100"]);
        let rows = rows.as_array().unwrap();
        assert_eq!(rows.len(), n + 1, "{arguments:?}: {rows:?}");
        let (row, outcome) = (&rows[0], if *code == 0 { "done" } else { "refused" });
        assert_eq!((text(&row["order"]), text(&row["outcome"])), ((*order).to_owned(), outcome.to_owned()), "{row}");
        assert_eq!((text(&row["actor"]), text(&row["origin"])), ("uid:0:root".to_owned(), "host:db-01/socket".to_owned()), "{row}");
        assert!(!text(&row["answer"]).is_empty() && row["asked"]["do"] == *order, "{row}");
    }
    let mut socket = std::os::unix::net::UnixStream::connect(scene.sandbox.folder().join("state/control.sock")).unwrap();
    std::io::Write::write_all(&mut socket, b"{\"do\":\"whatever\"}\n").unwrap();
    let row = controller.wait("what is no order", |me| {
        json(me, &["history", "orders"]).as_array()?.first().cloned().filter(|row| row["order"] == "unknown")
    });
    assert_eq!((text(&row["outcome"]), text(&row["actor"])), ("refused".to_owned(), "uid:0:root".to_owned()), "{row}");
    controller.stop();
    controller.assert_log_verifies();
}
