//! `pci-segment boot`: what was confirmed last is enforced before the network comes up, from the disk alone.

use std::path::Path;

use pci_segment::sandbox::{APP4, INTERFACE, OFFICE4};
use tests::{BASTION, Controller, DATABASE_PORT, OTHER_PORT, Options, Scene, root_or_left_out};

const BOOT: [&str; 3] = ["boot", "-c", "pci-segment.yaml"];

fn with(backend: &str) -> Options {
    Options { host: Some(format!("learning: 1s, backend: {backend},")), ..Options::default() }
}

/// The template was in force until the host went down: nothing is left in the kernel, no remote answers, the link is down.
fn down<'a>(scene: &'a Scene, options: &Options) -> (Controller<'a>, String) {
    let mut controller = scene.controller(options);
    let commit = scene.push_template();
    controller.start();
    controller.wait_for(&commit, "in_force");
    controller.stop();
    let pins = scene.sandbox.pins().to_owned();
    if let Some(kernel) = enforcer::Enforcer::open_existing(&pins).unwrap() {
        scene.sandbox.host.run(|| kernel.remove_all().map_err(std::io::Error::other)).unwrap();
    }
    let _ = scene.nft("delete table inet pci_segment");
    std::fs::rename(scene.repository.remote(), scene.sandbox.folder().join("gone.git")).unwrap();
    let _ = std::fs::remove_dir_all(scene.sandbox.folder().join("state/mirror.git"));
    (controller, commit)
}

fn link(scene: &Scene, state: &str) {
    scene.sandbox.host.ip(&["link", "set", INTERFACE, state]).unwrap();
    // Routes go with the link.
    for route in ["10.0.1.0/24", "10.20.0.0/16", "10.0.9.0/24"].into_iter().filter(|_| state == "up") {
        scene.sandbox.host.ip(&["route", "replace", route, "dev", INTERFACE]).unwrap();
    }
}

/// IPv4 only: IPv6 addresses go with the link.
fn assert_guarded(scene: &Scene) {
    scene.assert_inbound(&[
        (APP4, DATABASE_PORT, true),
        (OFFICE4, DATABASE_PORT, false),
        (APP4, OTHER_PORT, false),
        (BASTION, 22, true),
    ]);
}

fn restores_with(backend: &str, tag: &str) {
    let scene = Scene::build(tag);
    let (_controller, commit) = down(&scene, &with(backend));
    link(&scene, "down");
    let before = bytes(scene.sandbox.folder());
    let (code, said, errors) = scene.on_host(&BOOT);
    assert_eq!(code, 0, "{said}{errors}");
    assert!(said.contains("in force again") && said.contains(&commit) && said.contains("on eth0"), "{said}");
    assert_eq!(bytes(scene.sandbox.folder()), before, "nothing is written");
    let (table, _) = scene.nft("list table inet pci_segment");
    assert_eq!((table, scene.sandbox.pins().exists()), (backend == "nftables", backend == "ebpf"), "what is configured enforces");
    link(&scene, "up");
    assert_guarded(&scene);

    let (code, said, _) = scene.on_host(&BOOT);
    assert!(code == 0 && said.contains("in force already"), "{said}");
    assert_guarded(&scene);
}

fn bytes(folder: &Path) -> Vec<u8> {
    std::fs::read(folder.join("state/state.db")).unwrap()
}

#[test]
fn h07_boot_restores_the_last_good_rules_with_ebpf_before_there_is_a_network() {
    if root_or_left_out("h07_boot_restores_the_last_good_rules_with_ebpf_before_there_is_a_network") {
        restores_with("ebpf", "bot1");
    }
}

#[test]
fn h07_boot_restores_the_last_good_rules_with_nftables_where_that_enforces() {
    if root_or_left_out("h07_boot_restores_the_last_good_rules_with_nftables_where_that_enforces") {
        restores_with("nftables", "bot2");
    }
}

#[test]
fn h07_boot_leaves_a_host_alone_that_was_never_enforced_and_says_so() {
    if !root_or_left_out("h07_boot_leaves_a_host_alone_that_was_never_enforced_and_says_so") {
        return;
    }
    let scene = Scene::build("bot3");
    let controller = scene.controller(&Options::default());
    let (code, said, _) = scene.on_host(&BOOT);
    assert!(code == 0 && said.contains("nothing is enforced: there is no database at"), "{said}");
    assert!(!scene.sandbox.pins().exists() && scene.answers(OFFICE4, OTHER_PORT));

    // A database in which nothing was ever in force: the repository is empty.
    let _ = controller.once();
    let pins = scene.sandbox.pins().to_owned();
    scene.sandbox.host.run(|| enforcer::Enforcer::open(&pins).unwrap().remove_all().map_err(std::io::Error::other)).unwrap();
    let (code, said, _) = scene.on_host(&BOOT);
    assert!(code == 0 && said.contains("nothing was ever in force on this host"), "{said}");
    assert!(scene.answers(OFFICE4, OTHER_PORT));
}

/// Everything is denied but the failsafe list.
fn assert_closed(scene: &Scene, why: &str) {
    let (code, said, errors) = scene.on_host(&BOOT);
    assert_eq!(code, 1, "{said}{errors}");
    assert!(said.contains("CLOSED: everything is denied but the failsafe list"), "{said}");
    assert!(errors.contains(why) && errors.contains("pci-segment rescue detach opens the host"), "{errors}");
    scene.assert_inbound(&[
        (APP4, DATABASE_PORT, false),
        (OFFICE4, DATABASE_PORT, false),
        (APP4, OTHER_PORT, false),
        (BASTION, DATABASE_PORT, false),
        (BASTION, 22, true),
    ]);
}

#[test]
fn h07_boot_puts_rules_that_were_changed_on_the_disk_out_of_force_and_keeps_the_failsafe() {
    if !root_or_left_out("h07_boot_puts_rules_that_were_changed_on_the_disk_out_of_force_and_keeps_the_failsafe") {
        return;
    }
    let scene = Scene::build("bot4");
    let (mut controller, commit) = down(&scene, &Options::default());
    // Somebody lets the offices in: the same length, so that the database stays one.
    let mut state = bytes(scene.sandbox.folder());
    let (from, to) = (b"10.0.1.0/24", b"10.20.0.0/1");
    let places: Vec<usize> = (0..state.len() - from.len()).filter(|at| state[*at..].starts_with(from)).collect();
    assert!(!places.is_empty(), "the rules are kept as text");
    places.into_iter().for_each(|at| state[at..at + to.len()].copy_from_slice(to));
    std::fs::write(scene.sandbox.folder().join("state/state.db"), state).unwrap();
    assert_closed(&scene, &format!("the rules of commit {commit} in the database do not hash to what is on record"));

    // The way out: the controller puts the head in force.
    std::fs::rename(scene.sandbox.folder().join("gone.git"), scene.repository.remote()).unwrap();
    controller.start();
    controller.wait("the head to be in force", |_| scene.answers(APP4, DATABASE_PORT).then_some(()));
    scene.assert_template_holds();
}

#[test]
fn h07_boot_on_a_database_that_is_none_any_more_keeps_the_failsafe() {
    if !root_or_left_out("h07_boot_on_a_database_that_is_none_any_more_keeps_the_failsafe") {
        return;
    }
    let scene = Scene::build("bot5");
    drop(down(&scene, &Options::default()));
    let file = scene.sandbox.folder().join("state/state.db");
    std::fs::write(&file, vec![0x5A; 8192]).unwrap();
    assert_closed(&scene, "state.db");
    let (code, said, errors) = scene.on_host(&["rescue", "detach", "--yes", "-c", "pci-segment.yaml"]);
    assert!(code == 0 && said.contains("this host is not filtered"), "{said}{errors}");
    assert!(errors.contains("NOT on record"), "{errors}");
    assert!((0..20).any(|_| scene.answers(OFFICE4, OTHER_PORT)), "the way out that was named");
}

#[test]
fn a_boot_that_cannot_read_the_rules_drops_nothing_on_a_host_in_mode_audit() {
    if !root_or_left_out("a_boot_that_cannot_read_the_rules_drops_nothing_on_a_host_in_mode_audit") {
        return;
    }
    let scene = Scene::build("bot6");
    drop(down(&scene, &Options { host: Some("learning: 1s, mode: audit,".to_owned()), ..Options::default() }));
    std::fs::write(scene.sandbox.folder().join("state/state.db"), vec![0x5A; 8192]).unwrap();
    let (code, said, errors) = scene.on_host(&BOOT);
    assert!(code == 1 && said.contains("nothing is dropped, because host.mode is audit"), "{said}{errors}");
    scene.assert_inbound(&[(APP4, DATABASE_PORT, true), (OFFICE4, DATABASE_PORT, true), (APP4, OTHER_PORT, true)]);
}
