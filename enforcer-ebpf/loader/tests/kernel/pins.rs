//! Pins that somebody removed: what runs goes on, and nothing that is forbidden passes while they are put back.

use std::{
    net::UdpSocket,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use enforcer::{Attached, AttachmentState, Direction, Enforcer, Error, Table};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use crate::lab::{HOST4, Lab, TCP, open, service, table, tcp};

const ALLOWED: u16 = 8080;

fn wanted() -> Table {
    table(&[(Direction::In, "10.7.0.0/24", &[service(TCP, ALLOWED, 1)])])
}

fn filtered(what: &str) -> Option<Lab> {
    let lab = Lab::new(what)?;
    lab.serve(true, ALLOWED);
    let mut enforcer = lab.open();
    lab.attach(&mut enforcer);
    enforcer.install(&wanted(), [1; 32], 0).unwrap();
    enforcer.install(&wanted(), [2; 32], 0).unwrap();
    Some(lab)
}

/// Sends forbidden packets all the time while `work` runs; answers how many arrived.
pub(crate) fn under_fire(lab: &Lab, work: impl FnOnce()) -> usize {
    // No port of choice: a process that another test is just starting may hold this socket beyond its end.
    let target = lab.on_host(|| UdpSocket::bind((HOST4, 0))).unwrap();
    let to = target.local_addr().unwrap();
    target.set_nonblocking(true).unwrap();
    let gun = lab.on_peer(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let _ = gun.send_to(b"forbidden", to);
                thread::sleep(Duration::from_millis(1));
            }
        });
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        done.store(true, Ordering::Relaxed);
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    std::iter::from_fn(|| target.recv(&mut [0; 16]).ok()).count()
}

/// What the service's unit leaves it: it may not open maps and programs by number.
fn as_the_service() {
    let mut sets = capabilities(None).unwrap();
    sets.effective.remove(CapabilitySet::SYS_ADMIN);
    set_capabilities(None, sets).unwrap();
}

/// May use what is pinned, and may have no program verified.
fn without_loading() {
    let mut sets = capabilities(None).unwrap();
    sets.effective.remove(CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN);
    set_capabilities(None, sets).unwrap();
}

fn pins(lab: &Lab, below: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(lab.pins().join(below)).unwrap();
    let mut found: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

/// Opens, installs and attaches, as a start of the service does; nothing may be amiss then.
fn restart(lab: &Lab, privileged: bool, name: &str) {
    lab.on_host(|| {
        if !privileged {
            as_the_service();
        }
        let mut enforcer = open(&lab.root).unwrap();
        assert!(enforcer.install(&wanted(), [3; 32], 0).unwrap().epoch > 0);
        enforcer.attach("h0").unwrap();
        let observed = enforcer.observe().unwrap();
        assert_eq!(observed.tampering, [], "{name}");
        assert_eq!(observed.table, Some(wanted()), "{name}");
        assert!(observed.attachments.iter().all(|own| own.state == AttachmentState::Attached), "{name}");
    });
    assert!(lab.on_peer(|| tcp(HOST4, ALLOWED)), "{name}");
}

fn every_pin_is_put_back(below: &str, privileged: bool) {
    let Some(lab) = filtered("lost pins") else { return };
    for pin in pins(&lab, below) {
        let name = pin.display().to_string();
        let passed = under_fire(&lab, || {
            std::fs::remove_file(&pin).unwrap();
            restart(&lab, privileged, &name);
        });
        assert_eq!(passed, 0, "{name}");
        assert!(pin.exists(), "{name}");
    }
}

#[test]
fn what_is_counted_as_forbidden_does_arrive_where_nothing_forbids_it() {
    let Some(lab) = Lab::new("lost pins") else { return };
    assert!(under_fire(&lab, || thread::sleep(Duration::from_millis(50))) > 0);
}

#[test]
fn each_lost_map_pin_is_put_back_without_a_gap() {
    every_pin_is_put_back("maps", true);
}

#[test]
fn each_lost_map_is_made_anew_without_a_gap_by_a_service_that_may_not_open_it() {
    every_pin_is_put_back("maps", false);
}

#[test]
fn each_lost_program_pin_is_put_back_without_a_gap() {
    every_pin_is_put_back("progs", true);
}

#[test]
fn each_lost_program_is_replaced_without_a_gap_by_a_service_that_may_not_open_it() {
    every_pin_is_put_back("progs", false);
}

#[test]
fn each_lost_inner_map_pin_is_put_back_without_a_gap() {
    let Some(lab) = filtered("lost pins") else { return };
    for privileged in [true, false] {
        for name in ["hosts4", "hosts6", "nets4", "nets6", "intervals"] {
            // Which slots hold maps changes: those nothing needs give them back.
            let held = |slot: &i32| lab.pins().join(format!("inner/{slot}/{name}")).exists();
            let slots: Vec<_> = (0..4).filter(held).collect();
            let passed = under_fire(&lab, || {
                for slot in &slots {
                    std::fs::remove_file(lab.pins().join(format!("inner/{slot}/{name}"))).unwrap();
                }
                if privileged {
                    let observed = lab.on_host(|| open(&lab.root).unwrap().observe()).unwrap();
                    assert_eq!((observed.tampering, observed.table), (vec![], Some(wanted())), "{name}");
                }
                restart(&lab, privileged, name);
            });
            assert_eq!(passed, 0, "{name}");
        }
        // What is not pinned and may not be opened stays so until its slot is used again.
        let mut enforcer = lab.open();
        for _ in 0..4 {
            enforcer.install(&wanted(), [4; 32], 0).unwrap();
        }
    }
}

#[test]
fn all_maps_and_programs_lost_at_once_open_nothing() {
    let Some(lab) = filtered("lost pins") else { return };
    for privileged in [true, false] {
        let passed = under_fire(&lab, || {
            for below in ["maps", "progs", "inner/0", "inner/1", "inner/2", "inner/3"] {
                pins(&lab, below).into_iter().for_each(|pin| std::fs::remove_file(pin).unwrap());
            }
            restart(&lab, privileged, "everything");
        });
        assert_eq!(passed, 0);
    }
}

#[test]
fn attaching_before_anything_is_in_force_leaves_a_live_hook_its_program() {
    let Some(lab) = filtered("lost pins") else { return };
    let passed = under_fire(&lab, || {
        std::fs::remove_file(lab.pins().join("maps/generations")).unwrap();
        lab.on_host(|| {
            as_the_service();
            let mut enforcer = open(&lab.root).unwrap();
            assert_eq!(enforcer.attach("h0").unwrap(), Attached::Already);
            let observed = enforcer.observe().unwrap();
            assert_eq!(observed.table, None);
            assert!(observed.attachments.iter().all(|own| own.state == AttachmentState::Replaced));
        });
        restart(&lab, false, "generations");
    });
    assert_eq!(passed, 0);
}

#[test]
fn what_is_pinned_is_loaded_again_only_where_something_about_it_differs() {
    let Some(lab) = filtered("opening again") else { return };
    let unchanged = || {
        lab.on_host(|| {
            without_loading();
            open(&lab.root).map(drop)
        })
    };
    unchanged().unwrap();
    for below in ["maps/tcp4", "progs/check_in"] {
        std::fs::remove_file(lab.pins().join(below)).unwrap();
        assert!(matches!(unchanged(), Err(Error::NotPermitted { .. })), "{below} is gone");
        lab.open();
        assert!(unchanged().is_ok(), "{below} is back");
    }
    // The same name, another program.
    let path = lab.pins().join("progs/check_in");
    std::fs::remove_file(&path).unwrap();
    aya::programs::SchedClassifier::from_pin(lab.pins().join("progs/empty")).unwrap().pin(&path).unwrap();
    assert!(matches!(unchanged(), Err(Error::NotPermitted { .. })), "another program");
    lab.open();
    unchanged().unwrap();
    assert_eq!(lab.on_host(|| lab.open().observe()).unwrap().tampering, []);
}

#[test]
fn a_process_that_holds_its_maps_pins_them_again() {
    let Some(lab) = filtered("lost pins") else { return };
    let mut enforcer = lab.open();
    let passed = under_fire(&lab, || {
        for name in ["control", "generations", "nets4", "seals"] {
            let pin = lab.pins().join("maps").join(name);
            std::fs::remove_file(&pin).unwrap();
            enforcer.install(&wanted(), [5; 32], 0).unwrap();
            assert!(pin.exists(), "{name}");
            assert_eq!(lab.on_host(|| enforcer.observe()).unwrap().tampering, [], "{name}");
        }
    });
    assert_eq!(passed, 0);
}

#[test]
fn a_process_whose_maps_are_no_longer_the_pinned_ones_switches_nothing() {
    let Some(lab) = filtered("lost pins") else { return };
    let mut old = lab.open();
    let passed = under_fire(&lab, || {
        std::fs::remove_file(lab.pins().join("maps/generations")).unwrap();
        restart(&lab, false, "generations");
        let refused = old.install(&table(&[]), [6; 32], 0).unwrap_err();
        assert!(matches!(&refused, Error::Rewired(_)) && refused.to_string().contains("restart"), "{refused}");
        assert!(matches!(lab.on_host(|| old.attach("h0")), Err(Error::Rewired(_))));
    });
    assert_eq!(passed, 0);
    assert!(lab.on_peer(|| tcp(HOST4, ALLOWED)));
}

#[test]
fn a_pinned_program_with_other_maps_is_given_to_no_hook() {
    let Some(lab) = filtered("lost pins") else { return };
    let mut old = lab.open();
    let program = lab.pins().join("progs/tc_in_ether");
    std::fs::remove_file(&program).unwrap();
    assert!(matches!(lab.on_host(|| old.attach("h0")), Err(Error::PinGone(gone)) if gone == program));
    let mut empty = aya::programs::SchedClassifier::from_pin(lab.pins().join("progs/empty")).unwrap();
    empty.pin(&program).unwrap();
    assert!(matches!(lab.on_host(|| old.attach("h0")), Err(Error::Rewired(_))));
    assert_eq!(under_fire(&lab, || restart(&lab, false, "another program")), 0);
}

#[test]
fn a_direction_whose_link_is_lost_is_attached_again_and_the_other_is_left_alone() {
    let Some(lab) = filtered("lost pins") else { return };
    for direction in ["in", "out"] {
        let mut enforcer = lab.open();
        let pin = pins(&lab, "links").into_iter().find(|pin| pin.to_string_lossy().ends_with(direction)).unwrap();
        std::fs::remove_file(&pin).unwrap();
        let states = |enforcer: &Enforcer| -> Vec<_> {
            let observed = lab.on_host(|| enforcer.observe()).unwrap();
            observed.attachments.into_iter().map(|own| (own.ifname, own.direction.label(), own.state)).collect()
        };
        assert!(states(&enforcer).contains(&("h0".to_owned(), direction, AttachmentState::Detached)));
        assert_eq!(lab.on_host(|| enforcer.attach("h0")).unwrap(), Attached::Now);
        assert!(states(&enforcer).iter().all(|(_, _, state)| *state == AttachmentState::Attached));
        assert_eq!(under_fire(&lab, || thread::sleep(Duration::from_millis(50))), 0);
    }
}

#[test]
fn an_interface_that_is_gone_keeps_its_name_even_without_its_pins() {
    let Some(lab) = filtered("lost pins") else { return };
    let enforcer = lab.open();
    let named = |enforcer: &Enforcer| -> Vec<_> {
        let observed = lab.on_host(|| enforcer.observe()).unwrap();
        observed.attachments.into_iter().map(|own| (own.ifname, own.state)).collect()
    };
    let gone = vec![("h0".to_owned(), AttachmentState::Detached); 2];
    // Names are those of the namespace the process runs in, as a service does.
    let enforcer = {
        drop(enforcer);
        lab.on_host(|| open(&lab.root)).unwrap()
    };
    crate::lab::ip(&format!("-n {} link del h0", lab.host));
    assert_eq!(named(&enforcer), gone);
    pins(&lab, "links").into_iter().for_each(|pin| std::fs::remove_file(pin).unwrap());
    assert_eq!(named(&enforcer), gone);
}
