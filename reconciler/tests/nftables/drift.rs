//! Somebody changes our table by hand: it is seen, named, and put right.

use enforcer::{Cidr, Direction as Opens, FailsafeEntry};
use pci_segment::backend::nftables::firewall::Firewall;
use pci_segment::converge::Deviation;
use policy::digest::Digest;
use policy::lower::bpf::{Key, Rule, Table};
use policy::net::Direction;

use crate::lab::{Lab, root_or_left_out};
use crate::tables::one;

const TABLE: &str = "inet pci_segment";

fn ssh() -> Vec<FailsafeEntry> {
    let peer = Cidr::new("10.0.9.0".parse().unwrap(), 24).unwrap();
    vec![FailsafeEntry { id: 1, direction: Opens::In, proto: 6, port: 22, peer }]
}

fn hand_made(lab: &Lab, firewall: &Firewall, script: &str) -> (Option<Table>, Vec<(String, Deviation)>) {
    lab.nft(script);
    let seen = lab.on_host(|| firewall.observe(&ssh())).unwrap();
    (seen.table, seen.damage.into_iter().map(|found| (found.key, found.kind)).collect())
}

#[test]
fn h04_every_change_by_hand_is_seen_and_mended() {
    if !root_or_left_out("h04_every_change_by_hand_is_seen_and_mended") {
        return;
    }
    let lab = Lab::build();
    let firewall = lab.firewall();
    let rules = one(Direction::Ingress, "10.0.0.0/8", 0x06_0016, 0x06_0017);
    let put = |rules: &Table| lab.on_host(|| firewall.apply(rules, Digest::of_table(rules), &ssh(), None)).unwrap();
    let mend = || lab.on_host(|| firewall.mend(&rules, Digest::of_table(&rules), &ssh(), false)).unwrap();
    let whole = || {
        let seen = lab.on_host(|| firewall.observe(&ssh())).unwrap();
        assert_eq!((seen.table.as_ref(), seen.damage.as_slice()), (Some(&rules), &[][..]));
    };
    let base = "type filter hook prerouting priority -150; policy accept;";
    let cases = [
        (format!("flush chain {TABLE} prerouting"), "hook prerouting", Deviation::Detached),
        (format!("flush chain {TABLE} prerouting; delete chain {TABLE} prerouting"), "hook prerouting", Deviation::Detached),
        (
            format!(
                "flush chain {TABLE} postrouting; delete chain {TABLE} postrouting; add chain {TABLE} postrouting {{ type filter hook postrouting priority 300; }}"
            ),
            "hook postrouting",
            Deviation::Changed,
        ),
        (format!("insert rule {TABLE} prerouting accept"), "hook prerouting", Deviation::Changed),
        (format!("add chain {TABLE} prerouting {{ {} }}", base.replace("accept", "drop")), "hook prerouting", Deviation::Changed),
        (format!("delete element {TABLE} interfaces {{ \"eth0\" }}"), "interface eth0", Deviation::Detached),
        (format!("add element {TABLE} interfaces {{ \"eth9\" }}"), "interface eth9", Deviation::Extra),
        (format!("flush chain {TABLE} failsafe_in"), "failsafe in protocol 6 port 22 10.0.9.0/24", Deviation::Missing),
        (
            format!("add rule {TABLE} failsafe_in ip saddr 10.1.2.3 tcp dport 80 counter name \"in_pass_failsafe\" accept"),
            "failsafe in protocol 6 port 80 10.1.2.3/32",
            Deviation::Extra,
        ),
    ];
    for (script, key, kind) in cases {
        put(&rules);
        let (table, damage) = hand_made(&lab, &firewall, &script);
        assert_eq!(table.as_ref(), Some(&rules), "{script}");
        assert!(damage.contains(&(key.to_owned(), kind)), "{script}: {damage:?}");
        mend();
        whole();
    }
    let epoch = put(&rules);
    let opened = format!("insert rule {TABLE} g{epoch}_in accept");
    let (_, damage) = hand_made(&lab, &firewall, &opened);
    assert_eq!(damage, [("chains".to_owned(), Deviation::Changed)]);
    mend();
    whole();
    let epoch = put(&rules);
    let (_, damage) = hand_made(
        &lab,
        &firewall,
        &format!("flush chain {TABLE} dispatch_in; add rule {TABLE} dispatch_in goto g{epoch}_in_no_no_rule"),
    );
    assert!(damage.contains(&("dispatch".to_owned(), Deviation::Changed)), "{damage:?}");
    mend();
    whole();
}

#[test]
fn h04_one_element_changed_by_hand_is_one_difference() {
    if !root_or_left_out("h04_one_element_changed_by_hand_is_one_difference") {
        return;
    }
    let lab = Lab::build();
    let firewall = lab.firewall();
    let rules = one(Direction::Ingress, "10.0.0.0/8", 0x06_0016, 0x06_0017);
    let key = |text: &str| Key::Prefix { direction: Direction::Ingress, prefix: policy::net::Cidr::parse(text).unwrap() };
    let put = || lab.on_host(|| firewall.apply(&rules, Digest::of_table(&rules), &ssh(), None)).unwrap();
    let map = |epoch| format!("{TABLE} g{epoch}_in_nets4");

    let epoch = put();
    let (table, _) = hand_made(&lab, &firewall, &format!("delete element {} {{ 10.0.0.0/8 }}", map(epoch)));
    let mut expected = rules.clone();
    expected.remove(&key("10.0.0.0/8"));
    assert_eq!(table, Some(expected), "missing");

    let epoch = put();
    let (table, _) = hand_made(&lab, &firewall, &format!("add element {} {{ 192.0.2.0/24 : goto g{epoch}_in_s0 }}", map(epoch)));
    let mut expected = rules.clone();
    let services = expected[&key("10.0.0.0/8")].clone();
    expected.insert(key("192.0.2.0/24"), services);
    assert_eq!(table, Some(expected), "extra");

    let epoch = put();
    let script = format!("delete element {0} {{ 10.0.0.0/8 }}; add element {0} {{ 10.0.0.0/8 : accept }}", map(epoch));
    let (table, _) = hand_made(&lab, &firewall, &script);
    let table = table.unwrap();
    assert_eq!(table.len(), rules.len());
    assert_ne!(table[&key("10.0.0.0/8")], rules[&key("10.0.0.0/8")], "changed");

    let epoch = put();
    let (table, _) = hand_made(&lab, &firewall, &format!("insert rule {TABLE} g{epoch}_in_s0 accept"));
    assert!(matches!(&table.unwrap()[&key("10.0.0.0/8")], Rule::Services(list) if list[0].rule == 0), "services");
}

#[test]
fn h04_a_table_that_is_gone_or_sleeps_is_no_firewall() {
    if !root_or_left_out("h04_a_table_that_is_gone_or_sleeps_is_no_firewall") {
        return;
    }
    let lab = Lab::build();
    let firewall = lab.firewall();
    let rules = one(Direction::Ingress, "10.0.0.0/8", 0x06_0016, 0x06_0017);
    let digest = Digest::of_table(&rules);
    let put = || lab.on_host(|| firewall.apply(&rules, digest, &ssh(), None)).unwrap();
    for script in [format!("delete table {TABLE}"), "flush ruleset".to_owned(), format!("add table {TABLE} {{ flags dormant; }}")] {
        put();
        let (table, damage) = hand_made(&lab, &firewall, &script);
        assert_eq!((table, damage.len()), (None, usize::from(script.contains("dormant"))), "{script}");
        assert!(lab.on_host(|| firewall.mend(&rules, digest, &ssh(), true)).unwrap().is_some());
        let seen = lab.on_host(|| firewall.observe(&ssh())).unwrap();
        assert_eq!((seen.table.as_ref(), seen.damage.as_slice()), (Some(&rules), &[][..]), "{script}");
    }
    put();
    lab.nft(&format!("flush chain {TABLE} prerouting; flush chain {TABLE} postrouting; delete set {TABLE} interfaces; add set {TABLE} interfaces {{ type mark; }}"));
    put();
    let seen = lab.on_host(|| firewall.observe(&ssh())).unwrap();
    assert_eq!((seen.table.as_ref(), seen.damage.as_slice()), (Some(&rules), &[][..]), "a set of another kind is replaced");
    lab.sandbox.host.ip(&["link", "delete", "eth0"]).unwrap();
    put();
    assert_eq!(lab.on_host(|| firewall.absent()), ["eth0"], "what is not there yet keeps nothing from being put in force");
}

#[test]
fn the_kernel_is_tried_out_beside_rules_that_are_in_force() {
    if !root_or_left_out("the_kernel_is_tried_out_beside_rules_that_are_in_force") {
        return;
    }
    let lab = Lab::build();
    let firewall = lab.firewall();
    let probe = || lab.on_host(|| firewall.probe().map_err(|error| error.to_string()));
    assert_eq!(probe(), Ok(()), "with nothing there");
    for block in ["10.0.0.0/9", "10.0.0.0/8", "0.0.0.0/0"] {
        let rules = one(Direction::Ingress, block, 0x06_0016, 0x06_0017);
        lab.on_host(|| firewall.apply(&rules, Digest::of_table(&rules), &ssh(), None)).unwrap();
        assert_eq!(probe(), Ok(()), "beside {block}");
    }
    lab.nft(&format!("delete table {TABLE}; add table {TABLE}; add set {TABLE} prerouting {{ type ipv4_addr; }}"));
    assert_eq!(probe(), Ok(()), "beside something else of the same name");
}
