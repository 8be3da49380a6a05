//! Enforcement that is off for a time, and what is done to the firewall meanwhile.

use std::time::Duration;

use enforcer::Enforcer;
use pci_segment::backend::ebpf::{Ebpf, Setup};
use pci_segment::converge::Backend as _;
use policy::digest::Digest;
use policy::lower::bpf::Table;
use policy::net::Direction;

use crate::lab::{Lab, root_or_left_out};
use crate::tables::one;

const HOUR: Duration = Duration::from_secs(3600);

fn table(peer: &str) -> Table {
    one(Direction::Ingress, peer, 0x06_1538, 0x06_1538)
}

#[test]
fn what_is_mended_while_nftables_is_off_keeps_the_end_of_that_and_other_rules_wait() {
    if !root_or_left_out("what_is_mended_while_nftables_is_off_keeps_the_end_of_that_and_other_rules_wait") {
        return;
    }
    let lab = Lab::build();
    let firewall = lab.firewall();
    let (app, office) = (table("10.0.1.10/32"), table("10.20.0.7/32"));
    let put = |table: &Table, within| lab.on_host(|| firewall.apply(table, Digest::of_table(table), &[], within));
    put(&app, None).unwrap();
    assert!(lab.on_host(|| firewall.disable(HOUR)).unwrap());
    let left = || lab.on_host(|| firewall.disabled()).unwrap();

    lab.nft("flush chain inet pci_segment prerouting");
    let mended = lab.on_host(|| firewall.mend(&app, Digest::of_table(&app), &[], false)).unwrap();
    assert!(mended.is_some());
    let seen = lab.on_host(|| firewall.observe(&[])).unwrap();
    assert_eq!((seen.damage, seen.audited, seen.table), (vec![], true, Some(app.clone())));
    assert!(left().is_some_and(|left| !left.is_zero() && left <= HOUR), "{:?}", left());

    for within in [None, Some(HOUR)] {
        let refused = put(&office, within).unwrap_err();
        assert!(refused.to_string().contains("enforcement is off"), "{refused}");
    }
    assert!(left().is_some());
    assert_eq!(lab.on_host(|| firewall.observe(&[])).unwrap().table, Some(app));
    lab.on_host(|| firewall.enable()).unwrap();
    assert_eq!(left(), None);
    assert!(!lab.on_host(|| firewall.observe(&[])).unwrap().audited, "it drops again");

    // Whoever turned audit on by hand was told that it has no end.
    lab.on_host(|| firewall.set_audit(true)).unwrap();
    lab.on_host(|| firewall.enable()).unwrap();
    assert!(lab.on_host(|| firewall.observe(&[])).unwrap().audited);
}

#[test]
fn other_rules_wait_where_ebpf_is_switched_off_in_the_middle_of_a_pass_and_audit_by_hand_has_no_end() {
    if !root_or_left_out("other_rules_wait_where_ebpf_is_switched_off_in_the_middle_of_a_pass_and_audit_by_hand_has_no_end") {
        return;
    }
    let lab = Lab::build();
    let pins = lab.sandbox.pins().to_owned();
    let (app, office) = (table("10.0.1.10/32"), table("10.20.0.7/32"));
    lab.on_host(|| {
        let identity = policy::host::HostIdentity::default();
        let (interfaces, failsafe) = (vec!["eth0".to_owned()], Vec::new());
        let setup = Setup { pins: &pins, identity, interfaces, failsafe, audit: false, dhcp: true, xdp: false };
        let mut firewall = Ebpf::open(setup).unwrap();
        let view = firewall.view();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut put = |table: &Table, within| runtime.block_on(firewall.apply(table, Digest::of_table(table), within));
        put(&app, None).unwrap();
        let before = view.glance().unwrap().unwrap().epoch;
        assert!(view.disable(HOUR).unwrap());
        for within in [None, Some(HOUR)] {
            let refused = put(&office, within).unwrap_err();
            assert!(refused.to_string().contains("enforcement is off"), "{refused}");
        }
        let seen = view.glance().unwrap().unwrap();
        assert_eq!((seen.epoch, seen.audit, seen.trial.is_some(), seen.disabled.is_some()), (before, true, false, true));
        view.enable().unwrap();
        assert!(!view.glance().unwrap().unwrap().audit);
        put(&office, None).unwrap();

        let mut by_hand = Enforcer::open_existing(&pins).unwrap().unwrap();
        by_hand.set_audit(true).unwrap();
        view.enable().unwrap();
        assert!(view.glance().unwrap().unwrap().audit, "nothing drops until somebody ends it by hand");
        by_hand.remove_all().unwrap();
    });
}
