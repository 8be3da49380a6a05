//! The start: the last good rules are in force again, whatever the head, the mirror and the network are like.

use pci_segment::sandbox::{APP4, OFFICE4};
use tests::{Controller, DATABASE_PORT, OTHER_PORT, Options, Scene, root_or_left_out};

const OPEN: &str = "  ingress:\n    - from:\n        - ipBlock:\n            cidr: 0.0.0.0/0\n      ports:\n        - protocol: TCP\n          port: 443\n";

/// The template in force, the controller killed, and nothing left in the kernel: a host after a reboot.
fn rebooted<'a>(scene: &'a Scene, options: &Options) -> Controller<'a> {
    let mut controller = scene.controller(options);
    let commit = scene.push_template();
    controller.start();
    controller.wait_for(&commit, "in_force");
    controller.kill();
    unplug(scene);
    controller
}

/// What a reboot does to pins and hooks.
fn unplug(scene: &Scene) {
    let pins = scene.sandbox.pins().to_owned();
    scene.sandbox.host.run(move || enforcer::Enforcer::open(&pins).unwrap().remove_all().map_err(std::io::Error::other)).unwrap();
    assert_open(scene);
}

/// The kernel lets go of a hook a moment after its last pin.
fn assert_open(scene: &Scene) {
    assert!((0..20).any(|_| scene.answers(OFFICE4, DATABASE_PORT)), "nothing filters any more");
}

fn wait_until_guarded(scene: &Scene, controller: &mut Controller<'_>) {
    controller.wait("the last good rules to be back", |_| (!scene.answers(OFFICE4, DATABASE_PORT)).then_some(()));
    scene.assert_template_holds();
}

#[test]
fn h07_after_a_reboot_the_last_good_commit_is_enforced_although_the_head_is_rejected() {
    if !root_or_left_out("h07_after_a_reboot_the_last_good_commit_is_enforced_although_the_head_is_rejected") {
        return;
    }
    let scene = Scene::build("reb1");
    let mut controller = rebooted(&scene, &Options::default());
    let bad = scene.push_policy("open", OPEN);
    controller.start();
    wait_until_guarded(&scene, &mut controller);
    controller.wait_for(&bad, "rejected");
    scene.assert_template_holds();
    controller.assert_log_verifies();
}

#[test]
fn h07_after_a_reboot_without_mirror_and_remote_the_last_good_commit_is_enforced() {
    if !root_or_left_out("h07_after_a_reboot_without_mirror_and_remote_the_last_good_commit_is_enforced") {
        return;
    }
    let scene = Scene::build("reb2");
    let mut controller = rebooted(&scene, &Options::default());
    std::fs::remove_dir_all(scene.sandbox.folder().join("state/mirror.git")).unwrap();
    std::fs::rename(scene.repository.remote(), scene.sandbox.folder().join("gone.git")).unwrap();
    controller.start();
    wait_until_guarded(&scene, &mut controller);
    controller.wait_for("-", "failed");
}

#[test]
fn h07_after_a_reboot_another_pinned_profile_does_not_leave_the_host_open() {
    if !root_or_left_out("h07_after_a_reboot_another_pinned_profile_does_not_leave_the_host_open") {
        return;
    }
    let scene = Scene::build("reb3");
    drop(rebooted(&scene, &Options::default()));
    let mut controller =
        scene.controller(&Options { extra: "policy: { profile: pci-dss-4.0.1 }".to_owned(), ..Options::default() });
    controller.start();
    wait_until_guarded(&scene, &mut controller);
}

#[test]
fn h04_a_hook_that_was_lost_while_nobody_looked_is_put_back_at_the_start() {
    if !root_or_left_out("h04_a_hook_that_was_lost_while_nobody_looked_is_put_back_at_the_start") {
        return;
    }
    let scene = Scene::build("hook");
    let mut controller = scene.controller(&Options::default());
    let commit = scene.push_template();
    controller.start();
    controller.wait_for(&commit, "in_force");
    controller.kill();
    let links =
        || walk(scene.sandbox.pins()).into_iter().filter(|path| path.to_string_lossy().ends_with("-in")).collect::<Vec<_>>();
    assert_eq!(links().len(), 1);
    std::fs::remove_file(&links()[0]).unwrap();
    assert!(links().is_empty());
    let ended = controller.once();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    assert_eq!(links().len(), 1, "the hook is back");
    scene.assert_template_holds();
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(walk(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

#[test]
fn an_address_smuggled_onto_the_failsafe_list_is_found_and_taken_off() {
    if !root_or_left_out("an_address_smuggled_onto_the_failsafe_list_is_found_and_taken_off") {
        return;
    }
    let scene = Scene::build("smug");
    let every_second = Options { drift: Some("{ schedule: \"* * * * * *\" }".to_owned()), ..Options::default() };
    let mut controller = scene.controller(&every_second);
    let commit = scene.push_template();
    controller.start();
    controller.wait_for(&commit, "in_force");
    let mut kernel = enforcer::Enforcer::open(scene.sandbox.pins()).unwrap();
    let mut list = kernel.failsafe().unwrap();
    list.push(enforcer::FailsafeEntry {
        id: 60,
        direction: enforcer::Direction::In,
        proto: 6,
        port: OTHER_PORT,
        peer: enforcer::Cidr::host(APP4),
    });
    kernel.set_failsafe(&list).unwrap();
    controller.wait("the smuggled entry to be found", |me| {
        me.rows("drift")
            .into_iter()
            .find(|row| row["key"].as_str().is_some_and(|key| key.contains("8080")) && row["kind"] == "extra")
    });
    controller.wait("the smuggled entry to be gone", |_| (!scene.answers(APP4, OTHER_PORT)).then_some(()));
    scene.assert_template_holds();
}

#[test]
fn the_records_recover_with_the_remote() {
    let folder = tempfile::tempdir().unwrap();
    let repository = pci_segment::sandbox::Repository::create(folder.path()).unwrap();
    tests::write_template(&repository);
    let commit = repository.push("Segment").unwrap();
    let mut controller = Controller::configure(folder.path(), None, &repository, &Options::default());
    controller.start();
    controller.wait_for(&commit, "in_force");
    let away = folder.path().join("away.git");
    std::fs::rename(repository.remote(), &away).unwrap();
    controller.wake();
    controller.wait_for("-", "failed");
    std::fs::rename(&away, repository.remote()).unwrap();
    controller.wake();
    controller.wait("the newest row to say in force again", |me| {
        me.rows("history").first().filter(|row| row["outcome"] == "in_force" && row["commit"] == commit.as_str()).cloned()
    });
}
