//! Interfaces that are not there yet, go, come back, or change their name: guarded as soon as they can be, and never said to be before.

use pci_segment::sandbox::{APP4, INTERFACE, OFFICE4};
use serde_json::Value;
use tests::{BASTION, Controller, DATABASE_PORT, MONITOR, NEIGHBOUR, Options, Scene, get, root_or_left_out};

const PORT: u16 = 8081;

/// Looks for drift by the watch over the interfaces alone: the schedule is a year long.
fn begin<'a>(scene: &'a Scene, interfaces: &str) -> (Controller<'a>, String) {
    let options = Options { interfaces: Some(interfaces.to_owned()), port: PORT, ..Options::default() };
    let mut controller = scene.controller(&options);
    let commit = scene.push_template();
    controller.start();
    controller.wait_for(&commit, "in_force");
    (controller, commit)
}

fn ready(scene: &Scene) -> bool {
    get(&scene.sandbox, PORT, "/readyz") == Some(200)
}

/// Open rows of an interface's hooks.
fn open(controller: &Controller<'_>, interface: &str) -> Vec<Value> {
    let own = |row: &Value| row["key"].as_str().unwrap().starts_with(&format!("hook {interface} ")) && row["resolved_at"].is_null();
    controller.rows("drift").into_iter().filter(own).collect()
}

#[test]
fn h06_an_interface_that_is_removed_and_created_again_is_guarded_again() {
    if !root_or_left_out("h06_an_interface_that_is_removed_and_created_again_is_guarded_again") {
        return;
    }
    let scene = Scene::build("again");
    let (mut controller, _) = begin(&scene, "[eth0]");
    scene.assert_template_holds();
    controller.wait("readiness", |_| ready(&scene).then_some(()));

    scene.sandbox.host.ip(&["link", "delete", INTERFACE]).unwrap();
    let rows = controller.wait("the loss to be told", |me| Some(open(me, INTERFACE)).filter(|rows| rows.len() == 2));
    assert!(rows.iter().all(|row| row["kind"] == "detached" && row["observed"] == "the interface does not exist"), "{rows:?}");
    assert!(!ready(&scene));
    let (_, text, _) = controller.ask(&["status"]);
    assert!(text.contains("NOT ENFORCED"), "{text}");

    scene.sandbox.connect().unwrap();
    for address in [BASTION, MONITOR, NEIGHBOUR] {
        scene.sandbox.peers.ip(&["address", "add", &format!("{address}/32"), "dev", INTERFACE]).unwrap();
    }
    scene.sandbox.host.ip(&["route", "add", "10.0.9.0/24", "dev", INTERFACE]).unwrap();
    controller.wait("the interface to be guarded", |_| {
        (scene.answers(APP4, DATABASE_PORT) && !scene.answers(OFFICE4, DATABASE_PORT)).then_some(())
    });
    scene.assert_template_holds();
    controller.wait("it to be on record", |me| open(me, INTERFACE).is_empty().then_some(()));
    let rows = controller.rows("drift");
    assert!(rows.iter().all(|row| row["resolution"] == "healed"), "{rows:?}");
    controller.wait("readiness", |_| ready(&scene).then_some(()));
    controller.stop();
    controller.assert_log_verifies();
}

#[test]
fn an_interface_that_comes_later_keeps_nothing_from_the_others_and_is_guarded_under_its_name() {
    if !root_or_left_out("an_interface_that_comes_later_keeps_nothing_from_the_others_and_is_guarded_under_its_name") {
        return;
    }
    let scene = Scene::build("late");
    let (mut controller, commit) = begin(&scene, "[eth0, eth1]");
    scene.assert_template_holds();
    let row = controller.wait_for(&commit, "in_force");
    assert!(row["reason"].as_str().unwrap().contains("not guarded before it appears: hook eth1 in"), "{row}");
    controller.wait("the missing one to be told", |me| Some(open(me, "eth1")).filter(|rows| rows.len() == 2));
    assert!(!ready(&scene), "not everything is guarded");

    scene.sandbox.host.ip(&["link", "add", "late0", "type", "veth", "peer", "name", "far0"]).unwrap();
    scene.sandbox.host.ip(&["link", "set", "late0", "name", "eth1"]).unwrap();
    scene.sandbox.host.ip(&["link", "set", "eth1", "up"]).unwrap();
    let guarded = |scene: &Scene, name: &str| {
        let state = |hook: &&enforcer::Attachment| hook.ifname == name && hook.state == enforcer::AttachmentState::Attached;
        let pins = scene.sandbox.pins();
        let look = || {
            let enforcer = enforcer::Enforcer::open_existing(pins).map_err(std::io::Error::other)?.unwrap();
            enforcer.glance().map_err(std::io::Error::other)
        };
        scene.sandbox.host.run(look).unwrap().attachments.iter().filter(state).count() == 2
    };
    controller.wait("eth1 to be guarded", |_| guarded(&scene, "eth1").then_some(()));
    controller.wait("readiness", |me| (ready(&scene) && open(me, "eth1").is_empty()).then_some(()));

    // Under another name it stays guarded, but the name is free for another.
    scene.sandbox.host.ip(&["link", "set", "eth1", "down"]).unwrap();
    scene.sandbox.host.ip(&["link", "set", "eth1", "name", "other0"]).unwrap();
    controller.wait("the lost name to be told", |me| Some(open(me, "eth1")).filter(|rows| rows.len() == 2));
    assert!(guarded(&scene, "other0"));
    scene.sandbox.host.ip(&["link", "add", "eth1", "type", "veth", "peer", "name", "far1"]).unwrap();
    controller.wait("the new eth1 to be guarded", |_| guarded(&scene, "eth1").then_some(()));
    controller.wait("it to be on record", |me| open(me, "eth1").is_empty().then_some(()));
    assert!(guarded(&scene, "other0"));
    scene.assert_template_holds();
    controller.assert_log_verifies();
}
