//! `pci-segment rescue`: somebody with root takes the firewall in hand, and it is on record that they did.

use pci_segment::sandbox::{APP4, OFFICE4};
use serde_json::Value;
use tests::{Controller, DATABASE_PORT, OTHER_PORT, Options, Scene, root_or_left_out};

fn rescue(scene: &Scene, arguments: &[&str]) -> (i32, String, String) {
    let mut all = vec!["rescue"];
    all.extend(arguments);
    all.extend(["-c", "pci-segment.yaml"]);
    scene.on_host(&all)
}

/// The kernel lets go of a hook a moment after its last pin.
fn assert_free(scene: &Scene) {
    assert!((0..20).any(|_| scene.answers(OFFICE4, OTHER_PORT)), "nothing is filtered any more");
    scene.assert_inbound(&[(APP4, OTHER_PORT, true), (OFFICE4, DATABASE_PORT, true)]);
}

/// How often the audit log says that somebody took the firewall in hand. The file is read as it is: a row of an append-only log does
/// not go away.
fn on_record(scene: &Scene) -> usize {
    let state = scene.sandbox.folder().join("state");
    let files = ["state.db", "state.db-wal"].map(|name| std::fs::read(state.join(name)).unwrap_or_default());
    files.iter().map(|bytes| bytes.windows(11).filter(|some| some == b"rescue.done").count()).sum()
}

fn in_force<'a>(scene: &'a Scene, options: &Options) -> Controller<'a> {
    let mut controller = scene.controller(options);
    let commit = scene.push_template();
    controller.start();
    controller.wait_for(&commit, "in_force");
    scene.assert_template_holds();
    controller
}

fn detaches_with(backend: &str, tag: &str) {
    let scene = Scene::build(tag);
    let options = Options { host: Some(format!("learning: 1s, backend: {backend},")), ..Options::default() };
    let mut controller = in_force(&scene, &options);
    controller.stop();
    let (code, said, errors) = rescue(&scene, &["status"]);
    assert!(code == 0 && said.contains("in force") && said.contains("eth0"), "{said}{errors}");
    let (_, json, _) = rescue(&scene, &["status", "--format", "json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["enforcing"], &json["audit"], &json["backend"]), (&true.into(), &false.into(), &backend.into()), "{json}");

    let (code, _, errors) = rescue(&scene, &["detach"]);
    assert!(code != 0 && errors.contains("--yes"), "nobody is there to be asked: {errors}");
    scene.assert_template_holds();
    assert_eq!(on_record(&scene), 0, "and nothing was done");

    let (code, said, errors) = rescue(&scene, &["detach", "--yes"]);
    assert!(code == 0 && said.contains("this host is not filtered"), "{said}{errors}");
    assert!(errors.contains("on record in the audit log") && !errors.contains("NOT"), "{errors}");
    assert_free(&scene);
    assert_ne!(on_record(&scene), 0);
    assert!(!scene.sandbox.pins().exists() && !scene.nft("list table inet pci_segment").0, "nothing is left of it");
    controller.assert_log_verifies();
    let (code, said, _) = rescue(&scene, &["status"]);
    assert!(code == 0 && said.contains("this host is not filtered"), "{said}");

    controller.start();
    controller.wait("the last good rules to be back", |_| (!scene.answers(OFFICE4, DATABASE_PORT)).then_some(()));
    scene.assert_template_holds();
}

#[test]
fn rescue_detach_frees_a_host_that_ebpf_guards_and_is_on_record() {
    if root_or_left_out("rescue_detach_frees_a_host_that_ebpf_guards_and_is_on_record") {
        detaches_with("ebpf", "res1");
    }
}

#[test]
fn rescue_detach_frees_a_host_that_nftables_guards_and_is_on_record() {
    if root_or_left_out("rescue_detach_frees_a_host_that_nftables_guards_and_is_on_record") {
        detaches_with("nftables", "res2");
    }
}

fn audits_with(backend: &str, tag: &str) {
    let scene = Scene::build(tag);
    let host = Some(format!("learning: 1s, backend: {backend},"));
    let drift = Some("{ schedule: \"* * * * * *\", mode: heal }".to_owned());
    let mut controller = in_force(&scene, &Options { host, drift, ..Options::default() });
    let (code, said, errors) = rescue(&scene, &["audit", "--yes"]);
    assert!(code == 0 && said.contains("nothing is dropped"), "{said}{errors}");
    assert!(errors.contains("on record in the audit log") && !errors.contains("NOT"), "through the controller: {errors}");
    assert_free(&scene);
    controller.wait("the controller to tell of it", |me| me.rows("drift").into_iter().find(|row| row["key"] == "audit"));
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert_free(&scene);

    let (code, said, errors) = rescue(&scene, &["enforce"]);
    assert!(code == 0 && said.contains("dropped again"), "{said}{errors}");
    scene.assert_template_holds();
    controller.wait("the row to be closed", |me| {
        me.rows("drift").into_iter().find(|row| row["key"] == "audit" && row["resolved_at"].is_string())
    });
    controller.stop();
    assert!(on_record(&scene) >= 2);
    controller.assert_log_verifies();
}

#[test]
fn rescue_audit_drops_nothing_beside_a_healing_controller_until_rescue_enforce() {
    if root_or_left_out("rescue_audit_drops_nothing_beside_a_healing_controller_until_rescue_enforce") {
        audits_with("ebpf", "res3");
    }
}

#[test]
fn rescue_audit_does_the_same_where_nftables_enforces() {
    if root_or_left_out("rescue_audit_does_the_same_where_nftables_enforces") {
        audits_with("nftables", "res4");
    }
}

#[test]
fn rescue_without_a_configuration_works_and_says_that_it_is_not_on_record() {
    if !root_or_left_out("rescue_without_a_configuration_works_and_says_that_it_is_not_on_record") {
        return;
    }
    let scene = Scene::build("res5");
    in_force(&scene, &Options::default()).stop();
    let pins = scene.sandbox.pins().to_str().unwrap().to_owned();
    let (code, said, errors) = scene.on_host(&["rescue", "detach", "--yes", "--pins", &pins, "-c", "none.yaml"]);
    assert!(code == 0 && said.contains("this host is not filtered"), "{said}{errors}");
    assert!(errors.contains("NOT on record: none.yaml cannot be read"), "{errors}");
    assert_free(&scene);
}

#[test]
fn a_controller_puts_the_rules_back_that_somebody_removed_beside_it() {
    if !root_or_left_out("a_controller_puts_the_rules_back_that_somebody_removed_beside_it") {
        return;
    }
    let scene = Scene::build("res6");
    let mut controller = in_force(&scene, &Options { host: Some("learning: 1s, backend: ebpf,".to_owned()), ..Options::default() });
    let (code, said, errors) = rescue(&scene, &["detach", "--yes"]);
    assert!(code == 0 && said.contains("this host is not filtered"), "{said}{errors}");
    assert!(errors.contains("a controller runs on this host and will put the rules back"), "{errors}");
    controller.wait("the rules to be back", |_| (!scene.answers(OFFICE4, DATABASE_PORT)).then_some(()));
    scene.assert_template_holds();
}

#[test]
fn audit_by_hand_outlasts_a_time_for_which_enforcement_was_off() {
    if !root_or_left_out("audit_by_hand_outlasts_a_time_for_which_enforcement_was_off") {
        return;
    }
    let scene = Scene::build("res9");
    let mut controller = in_force(&scene, &Options { host: Some("learning: 1s,".to_owned()), ..Options::default() });
    let disable = |controller: &Controller<'_>| controller.ask(&["disable", "--reason", "a test", "--until", "4s", "--yes"]).0;
    assert_eq!(disable(&controller), 0);
    let began = std::time::Instant::now();
    let (code, _, errors) = rescue(&scene, &["audit", "--yes"]);
    assert!(code == 0 && !errors.contains("still on record"), "{errors}");
    while began.elapsed() < std::time::Duration::from_secs(7) {
        assert_free(&scene);
    }
    assert_eq!(rescue(&scene, &["enforce"]).0, 0);
    scene.assert_template_holds();

    // The same where no controller runs, and where one comes back when that time is over.
    assert_eq!(disable(&controller), 0);
    controller.stop();
    let (code, _, errors) = rescue(&scene, &["audit", "--yes"]);
    assert!(code == 0 && !errors.contains("still on record"), "{errors}");
    std::thread::sleep(std::time::Duration::from_secs(4));
    controller.start();
    controller.wait("a second start", |me| (me.log().matches("listening").count() > 1).then_some(()));
    let began = std::time::Instant::now();
    while began.elapsed() < std::time::Duration::from_secs(3) {
        assert_free(&scene);
    }
    controller.stop();
    controller.assert_log_verifies();
}
