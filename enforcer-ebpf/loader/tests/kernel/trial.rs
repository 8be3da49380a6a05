//! Generations on trial: the way back is taken by the programs themselves, with no process alive.

use std::{thread, time::Duration};

use enforcer::{Direction, Enforcer, Table};

use crate::lab::{HOST4, Lab, TCP, service, table, tcp};

const SHORT: Duration = Duration::from_millis(1500);
const LONG: Duration = Duration::from_secs(600);

fn only(port: u16) -> Table {
    table(&[(Direction::In, "10.7.0.0/24", &[service(TCP, port, 1)])])
}

fn lab() -> Option<Lab> {
    let lab = Lab::new("trials")?;
    lab.serve(true, 8080);
    lab.serve(true, 9090);
    Some(lab)
}

fn reachable(lab: &Lab) -> (bool, bool) {
    lab.on_peer(|| (tcp(HOST4, 8080), tcp(HOST4, 9090)))
}

#[test]
fn h08_without_a_confirmation_the_programs_fall_back_with_nobody_there() {
    let Some(lab) = lab() else { return };
    {
        let mut enforcer = lab.open();
        lab.attach(&mut enforcer);
        enforcer.install(&only(8080), [1; 32], 0).unwrap();
        enforcer.install_on_trial(&only(9090), [2; 32], 0, SHORT).unwrap();
    }
    assert!(reachable(&lab).1);
    thread::sleep(SHORT);
    assert_eq!(reachable(&lab), (true, false), "nobody confirmed");

    let mut enforcer = lab.open();
    let seen = lab.on_host(|| enforcer.observe()).unwrap();
    assert!(seen.trial.unwrap().is_over());
    assert_eq!((seen.digest, seen.epoch, seen.tampering.len()), ([1; 32], 1, 0), "{:?}", seen.tampering);
    let late = enforcer.confirm().unwrap_err().to_string();
    assert!(late.contains("generation 2 was not confirmed in time"), "{late}");
    assert_eq!(enforcer.roll_back().unwrap(), Some(1));
    let seen = lab.on_host(|| enforcer.observe()).unwrap();
    assert_eq!((seen.trial, seen.epoch, seen.tampering), (None, 1, vec![]));
    assert_eq!(enforcer.install(&only(9090), [3; 32], 0).unwrap().epoch, 3, "an epoch never comes again");
    assert_eq!(lab.on_host(|| enforcer.observe()).unwrap().tampering, []);
}

#[test]
fn what_was_confirmed_stays_after_the_deadline() {
    let Some(lab) = lab() else { return };
    let mut enforcer = lab.open();
    lab.attach(&mut enforcer);
    enforcer.install(&only(8080), [1; 32], 0).unwrap();
    enforcer.install_on_trial(&only(9090), [2; 32], 0, SHORT).unwrap();
    assert_eq!(enforcer.confirm().unwrap(), Some(2));
    assert_eq!(enforcer.confirm().unwrap(), None);
    thread::sleep(SHORT);
    assert_eq!(reachable(&lab), (false, true));
    assert_eq!(lab.on_host(|| enforcer.observe()).unwrap().tampering, []);
}

#[test]
fn the_way_back_of_a_trial_is_what_was_confirmed_last_however_many_trials_follow() {
    let Some(lab) = lab() else { return };
    let mut enforcer = lab.open();
    lab.attach(&mut enforcer);
    enforcer.install(&only(8080), [1; 32], 0).unwrap();
    for digest in 2..6 {
        enforcer.install_on_trial(&only(9090), [digest; 32], 0, LONG).unwrap();
    }
    assert_eq!(enforcer.roll_back().unwrap(), Some(1));
    assert_eq!(reachable(&lab), (true, false));
}

#[test]
fn the_first_generation_ever_falls_back_to_dropping_nothing() {
    let Some(lab) = lab() else { return };
    let mut enforcer = lab.open();
    lab.attach(&mut enforcer);
    assert_eq!(enforcer.roll_back().unwrap(), None, "there is no way back yet");
    enforcer.install_on_trial(&only(8080), [1; 32], 0, SHORT).unwrap();
    assert_eq!(reachable(&lab), (true, false));
    thread::sleep(SHORT);
    assert_eq!(reachable(&lab), (true, true), "audited");
    assert_eq!(enforcer.roll_back().unwrap(), Some(1));
    let seen = lab.on_host(|| enforcer.observe()).unwrap();
    assert!(seen.audit && seen.tampering.is_empty(), "{seen:?}");
}

#[test]
fn a_rehearsal_drops_nothing_and_ends_on_trial_with_one_step() {
    let Some(lab) = lab() else { return };
    let mut enforcer = lab.open();
    enforcer.set_audit(true).unwrap();
    enforcer.set_learning(true).unwrap();
    lab.attach(&mut enforcer);
    enforcer.install(&only(8080), [1; 32], 0).unwrap();
    assert!(enforcer.audits());
    assert_eq!(reachable(&lab), (true, true), "rehearsed");
    assert_eq!(lab.on_host(|| enforcer.observe()).unwrap().tampering, []);
    assert_eq!(enforcer.end_rehearsal(Some(SHORT)).unwrap(), 1);
    assert_eq!(reachable(&lab), (true, false));
    thread::sleep(SHORT);
    assert_eq!(reachable(&lab), (true, true), "the way back is to drop nothing");
    assert_eq!(enforcer.end_rehearsal(None).unwrap(), 1);
    assert_eq!(reachable(&lab), (true, false));
    assert_eq!(lab.on_host(|| enforcer.observe()).unwrap().tampering, []);
}

/// A deadline is a little later than asked for.
fn wait_until_over(enforcer: &Enforcer) {
    while !enforcer.trial().unwrap().unwrap().is_over() {
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn h08_audit_that_is_turned_on_during_a_trial_outlives_the_deadline_and_can_be_ended_after_it() {
    let Some(lab) = lab() else { return };
    let mut enforcer = lab.open();
    lab.attach(&mut enforcer);
    enforcer.install(&only(8080), [1; 32], 0).unwrap();
    enforcer.install_on_trial(&only(9090), [2; 32], 0, SHORT).unwrap();
    enforcer.set_audit(true).unwrap();
    wait_until_over(&enforcer);
    assert_eq!((reachable(&lab), enforcer.audits()), ((true, true), true), "the way back drops nothing either");
    enforcer.set_audit(false).unwrap();
    assert_eq!((reachable(&lab), enforcer.audits()), ((true, false), false), "the way back drops again");
    assert_eq!(lab.on_host(|| enforcer.observe()).unwrap().tampering, []);
}

#[test]
fn h08_what_is_installed_after_a_first_trial_was_over_drops_nothing_without_a_trial_of_its_own() {
    let Some(lab) = lab() else { return };
    let mut enforcer = lab.open();
    enforcer.install_on_trial(&only(8080), [1; 32], 0, Duration::ZERO).unwrap();
    wait_until_over(&enforcer);
    assert!(enforcer.audits());
    enforcer.install(&only(9090), [2; 32], 0).unwrap();
    assert!(enforcer.audits(), "until somebody ends the rehearsal");
    enforcer.end_rehearsal(Some(LONG)).unwrap();
    assert!(!enforcer.audits() && !enforcer.trial().unwrap().unwrap().is_over());
    enforcer.set_audit(true).unwrap();
    enforcer.set_audit(false).unwrap();
    assert_eq!(enforcer.roll_back().unwrap(), Some(2));
    assert!(enforcer.audits(), "the way back of a first trial is to drop nothing, whatever was turned on and off meanwhile");
}
