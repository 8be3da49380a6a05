//! Operators stop the controller, go back, and switch enforcement off: who did it is on record, and nothing seems enforced that is not.

use std::time::{Duration, Instant};

use pci_segment::sandbox::{APP4, OFFICE4};
use serde_json::Value;
use tests::{Controller, DATABASE_PORT, OTHER_PORT, Options, Scene, get, page, root_or_left_out};

const PORT: u16 = 8089;
/// One more port for the application tier.
const OPEN_OTHER: &str = "  policyTypes: [Ingress]\n  ingress:\n    - from:\n        - ipBlock:\n            cidr: 10.0.1.0/24\n      ports:\n        - protocol: TCP\n          port: 8080\n";
/// What no rule set allows.
const OPEN_TO_ALL: &str = "  ingress:\n    - from:\n        - ipBlock:\n            cidr: 0.0.0.0/0\n";

fn wait_for_reason(controller: &mut Controller<'_>, commit: &str, said: &str) {
    controller.wait(&format!("{commit}: {said}"), |me| {
        let rows = me.rows("history");
        let is = |row: &Value| row["commit"] == commit && row["reason"].as_str().unwrap_or_default().contains(said);
        rows.iter().any(is).then_some(())
    });
}

fn status(controller: &Controller<'_>) -> (i32, String) {
    let (code, text, _) = controller.ask(&["status"]);
    (code, text)
}

#[test]
fn a_suspension_holds_changes_back_while_judging_drift_and_hooks_go_on_over_a_restart_and_ends_by_itself() {
    if !root_or_left_out("a_suspension_holds_changes_back_while_judging_drift_and_hooks_go_on_over_a_restart_and_ends_by_itself") {
        return;
    }
    let scene = Scene::build("ope1");
    let (forge, extra) = scene.forge();
    let drift = Some("{ schedule: \"* * * * * *\", mode: heal }".to_owned());
    let mut controller = scene.controller(&Options { extra, drift, ..Options::default() });
    let good = scene.push_template();
    controller.start();
    controller.wait_for(&good, "in_force");
    let (code, said, error) = controller.ask(&["suspend", "--reason", "quarter end", "--until", "1h"]);
    assert!(code == 0 && said.contains("changes are suspended until"), "{said}{error}");

    let more = scene.push_policy("other", OPEN_OTHER);
    controller.wake();
    wait_for_reason(&mut controller, &more, "compliant, not applied: suspended until");
    controller.wait("the forge to be told", |_| (forge.posted(&more).last()?.description.contains("suspended")).then_some(()));
    assert_eq!(forge.states(&more).last().unwrap(), "pending");
    enforcer::drill::forget_one_prefix(scene.sandbox.pins()).unwrap();
    controller.wait("drift to be found", |me| me.rows("drift").into_iter().find(|row| row["kind"] == "missing"));

    controller.kill();
    let bad = scene.push_policy("open", OPEN_TO_ALL);
    controller.start();
    controller.wait_for(&bad, "rejected");
    controller.wait("the red status", |_| (forge.states(&bad).last()? == "failure").then_some(()));
    assert!(!scene.answers(APP4, OTHER_PORT), "nothing was applied");
    let open = controller.rows("drift").into_iter().filter(|row| row["resolution"].is_null()).count();
    assert!(open > 0, "what differs is told and not healed");
    let (code, text) = status(&controller);
    assert!(code == 0 && text.contains("changes are suspended until") && text.contains("quarter end"), "{text}");
    let (_, _, refusal) = controller.ask(&["rollback", &good, "--reason", "try"]);
    assert!(refusal.contains("nothing may change: suspended"), "{refusal}");

    std::fs::remove_file(scene.repository.clone_folder().join("policies/open.yaml")).unwrap();
    let mended = scene.repository.push("Take it back").unwrap();
    assert_eq!(controller.ask(&["suspend", "--reason", "a little longer", "--until", "2s"]).0, 0);
    controller.wait_for(&mended, "in_force");
    assert!(scene.answers(APP4, OTHER_PORT));
    controller.wait("healing", |me| me.rows("drift").iter().all(|row| !row["resolution"].is_null()).then_some(()));
    controller.stop();
    controller.assert_log_verifies();
}

#[test]
fn o05_a_rollback_is_judged_by_todays_rules_holds_against_newer_heads_and_over_a_restart_until_it_is_resumed() {
    if !root_or_left_out(
        "o05_a_rollback_is_judged_by_todays_rules_holds_against_newer_heads_and_over_a_restart_until_it_is_resumed",
    ) {
        return;
    }
    let scene = Scene::build("ope2");
    let (forge, extra) = scene.forge();
    let mut controller = scene.controller(&Options { extra: extra.clone(), ..Options::default() });
    let first = scene.push_template();
    controller.start();
    controller.wait_for(&first, "in_force");
    let second = scene.push_policy("other", OPEN_OTHER);
    controller.wake();
    controller.wait_for(&second, "in_force");
    let bad = scene.push_policy("open", OPEN_TO_ALL);
    controller.wake();
    controller.wait_for(&bad, "rejected");

    let refused = |controller: &Controller<'_>, commit: &str, why: &str| {
        let (code, _, error) = controller.ask(&["rollback", commit, "--reason", "try"]);
        assert!(code == 2 && error.contains(why), "{error}");
        assert!(!status(controller).1.contains("rolled back"), "nothing was switched");
    };
    refused(&controller, &bad, "was never in force here");
    refused(&controller, &"0".repeat(40), "was ever judged here");
    refused(&controller, "HEAD~1x", "hexadecimal digits");

    // The way to the remote may be what is broken.
    let away = scene.sandbox.folder().join("away.git");
    std::fs::rename(scene.repository.remote(), &away).unwrap();
    let (code, said, error) = controller.ask(&["rollback", &first[..12], "--reason", "the second was a mistake"]);
    assert!(code == 0 && said.contains("is in force; newer heads wait"), "{said}{error}");
    assert!(!scene.answers(APP4, OTHER_PORT) && scene.answers(APP4, DATABASE_PORT));
    std::fs::rename(&away, scene.repository.remote()).unwrap();

    std::fs::remove_file(scene.repository.clone_folder().join("policies/open.yaml")).unwrap();
    let third = scene.repository.push("Take it back").unwrap();
    controller.wake();
    wait_for_reason(&mut controller, &third, &format!("compliant, not applied: rolled back to {}", &first[..12]));
    controller.wait("the forge to be told", |_| (forge.states(&third).last()? == "pending").then_some(()));
    controller.kill();
    let newer = scene.push_policy("another", &OPEN_OTHER.replace("8080", "9090"));
    controller.start();
    wait_for_reason(&mut controller, &newer, "compliant, not applied: rolled back to");
    assert!(!scene.answers(APP4, OTHER_PORT), "it holds");
    let (_, text) = status(&controller);
    assert!(text.contains(&format!("rolled back to {}", &first[..12])) && text.contains("by uid:0"), "{text}");

    let (code, said, _) = controller.ask(&["resume", "--reason", "mended"]);
    assert!(code == 0 && said.contains("newer heads are applied again"), "{said}");
    controller.wait_for(&newer, "in_force");
    assert!(scene.answers(APP4, OTHER_PORT));
    assert_eq!(controller.ask(&["resume"]).0, 2, "nothing is left to be resumed");
    controller.stop();
    controller.assert_log_verifies();

    // Rules of today that were none when it was admitted.
    let pinned = format!("{extra}policy: {{ profile: pci-dss-4.0.1 }}\n");
    let mut controller = scene.controller(&Options { extra: pinned, ..Options::default() });
    controller.start();
    controller.wait("the start", |me| (me.log().matches("listening").count() > 2).then_some(()));
    refused(&controller, &first, "today's rules reject");
    assert!(scene.answers(APP4, OTHER_PORT), "what is in force stays");
    controller.stop();
}

/// Nothing is dropped, and everything that is asked says so.
fn assert_off(scene: &Scene, controller: &mut Controller<'_>) {
    scene.assert_inbound(&[(APP4, DATABASE_PORT, true), (OFFICE4, DATABASE_PORT, true), (APP4, OTHER_PORT, true)]);
    let (code, text) = status(controller);
    assert_eq!(code, 1, "{text}");
    assert!(text.starts_with("ENFORCEMENT IS OFF, nothing is dropped on host/eth0 until"), "{text}");
    assert!(text.contains("NOT ENFORCED (switched off)") && text.contains("the pager went off"), "{text}");
    assert!(!text.contains("in force "), "{text}");
    assert_eq!(get(&scene.sandbox, PORT, "/readyz"), Some(503));
    controller.wait("the metric", |_| {
        let text = page(&scene.sandbox, PORT, "/metrics")?;
        let off = text.contains("pci_segment_enforcement{target=\"host/eth0\",state=\"disabled\"} 1");
        (off && text.contains("state=\"enforced\"} 0")).then_some(())
    });
    controller.wait("a row of drift", |me| {
        let rows = me.rows("drift");
        rows.iter().any(|row| row["key"] == "audit" && row["resolution"].is_null()).then_some(())
    });
    assert!(controller.log().contains("ENFORCEMENT IS OFF"));
}

/// It is on again, and everything says that.
fn assert_on(scene: &Scene, controller: &mut Controller<'_>) {
    controller.wait("enforcement", |_| (!scene.answers(OFFICE4, DATABASE_PORT)).then_some(()));
    scene.assert_template_holds();
    controller.wait("the records to say so", |me| (status(me).0 == 0).then_some(()));
    controller.wait("the row of drift to be closed", |me| {
        me.rows("drift").iter().all(|row| row["key"] != "audit" || row["resolution"].is_string()).then_some(())
    });
    controller.wait("ready", |_| (get(&scene.sandbox, PORT, "/readyz")? == 200).then_some(()));
    controller.wait("the metric", |_| page(&scene.sandbox, PORT, "/metrics")?.contains("state=\"enforced\"} 1").then_some(()));
}

const DISABLE: [&str; 4] = ["disable", "--reason", "the pager went off", "--until"];

fn disable(controller: &Controller<'_>, until: &str) -> (i32, String, String) {
    let mut all = DISABLE.to_vec();
    all.extend([until, "--yes"]);
    controller.ask(&all)
}

/// As after the host went down: nothing is left in the kernel.
fn host_goes_down(scene: &Scene) {
    let pins = scene.sandbox.pins().to_owned();
    if let Some(kernel) = enforcer::Enforcer::open_existing(&pins).unwrap() {
        scene.sandbox.host.run(|| kernel.remove_all().map_err(std::io::Error::other)).unwrap();
    }
    let _ = scene.nft("delete table inet pci_segment");
}

fn breaks_the_glass(backend: &str, tag: &str) {
    let scene = Scene::build(tag);
    let host = Some(format!("learning: 1s, backend: {backend},"));
    let mut controller = scene.controller(&Options { host, port: PORT, ..Options::default() });
    let good = scene.push_template();
    controller.start();
    controller.wait("a start", |me| me.log().contains("listening").then_some(()));
    controller.wait_for(&good, "in_force");
    let (code, _, error) = controller.ask(&["disable", "--reason", "x", "--until", "1h"]);
    assert!(code == 2 && error.contains("say --yes"), "{error}");
    let (code, _, error) = disable(&controller, "25h");
    assert!(code == 2 && error.contains("at most 24 h"), "{error}");

    // Off, over a kill, a new head, a start of the host.
    let (code, said, error) = disable(&controller, "1h");
    assert!(code == 0 && said.contains("ENFORCEMENT IS OFF on host/eth0"), "{said}{error}");
    assert_off(&scene, &mut controller);
    let more = scene.push_policy("other", OPEN_OTHER);
    controller.wake();
    wait_for_reason(&mut controller, &more, "compliant, not applied: enforcement is off until");
    controller.kill();
    controller.start();
    controller.wait("a second start", |me| (me.log().matches("listening").count() > 1).then_some(()));
    assert_off(&scene, &mut controller);
    controller.stop();
    assert!(scene.answers(OFFICE4, DATABASE_PORT), "a controller that stops does not end it");
    host_goes_down(&scene);
    let (code, said, error) = scene.on_host(&["boot", "-c", "pci-segment.yaml"]);
    assert!(code == 1 && said.contains("ENFORCEMENT IS OFF, nothing is dropped until"), "{said}{error}");
    controller.start();
    controller.wait("a third start", |me| (me.log().matches("listening").count() > 2).then_some(()));
    assert_off(&scene, &mut controller);
    let (code, said, _) = controller.ask(&["resume", "--only", "disable", "--reason", "mended"]);
    assert!(code == 0 && said.contains("enforcement is on again"), "{said}");
    controller.wait_for(&more, "in_force");
    assert!(!scene.answers(OFFICE4, DATABASE_PORT), "on again");

    // Its time ends while no controller lives: the kernel drops again by itself, and the next start puts it on record.
    std::fs::remove_file(scene.repository.clone_folder().join("policies/other.yaml")).unwrap();
    let plain = scene.repository.push("Close it").unwrap();
    controller.wake();
    controller.wait_for(&plain, "in_force");
    assert_eq!(disable(&controller, "4s").0, 0);
    let began = Instant::now();
    assert!(scene.answers(OFFICE4, DATABASE_PORT));
    controller.kill();
    while scene.answers(OFFICE4, DATABASE_PORT) {
        assert!(began.elapsed() < Duration::from_secs(120), "it never came back");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(began.elapsed() > Duration::from_secs(2), "{:?}", began.elapsed());
    controller.start();
    assert_on(&scene, &mut controller);
    controller.stop();
    controller.assert_log_verifies();
}

#[test]
fn enforcement_that_is_switched_off_says_so_everywhere_and_comes_back_by_itself_with_ebpf() {
    if root_or_left_out("enforcement_that_is_switched_off_says_so_everywhere_and_comes_back_by_itself_with_ebpf") {
        breaks_the_glass("ebpf", "ope3");
    }
}

#[test]
fn enforcement_that_is_switched_off_says_so_everywhere_and_comes_back_by_itself_with_nftables() {
    if root_or_left_out("enforcement_that_is_switched_off_says_so_everywhere_and_comes_back_by_itself_with_nftables") {
        breaks_the_glass("nftables", "ope4");
    }
}
