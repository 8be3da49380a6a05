//! A trial ends by itself, in the kernel; confirming keeps it, rolling back ends it at once.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use pci_segment::sandbox::{APP4, OFFICE4};
use policy::digest::Digest;
use policy::lower::bpf::Table;
use policy::net::Direction;

use crate::lab::{Lab, root_or_left_out};
use crate::tables::one;

const PORT: u16 = 5432;

fn answers(stream: &mut TcpStream) -> bool {
    stream.write_all(b"ping").is_ok() && stream.read_exact(&mut [0; 4]).is_ok()
}

fn table(peer: &str) -> Table {
    one(Direction::Ingress, peer, 0x06_1538, 0x06_1538)
}

#[test]
fn h08_rules_that_nobody_confirms_give_way_to_those_before() {
    if !root_or_left_out("h08_rules_that_nobody_confirms_give_way_to_those_before") {
        return;
    }
    let lab = Lab::build();
    let firewall = lab.firewall();
    lab.sandbox.serve(PORT).unwrap();
    let put = |table: &Table, within| lab.on_host(|| firewall.apply(table, Digest::of_table(table), &[], within)).unwrap();
    let (app, office) = (table("10.0.1.10/32"), table("10.20.0.7/32"));
    let opens = |app: bool, office: bool, when: &str| {
        assert_eq!(lab.sandbox.connect_in(APP4, PORT).is_ok(), app, "the application {when}");
        assert_eq!(lab.sandbox.connect_in(OFFICE4, PORT).is_ok(), office, "the office {when}");
    };
    let trial = || lab.on_host(|| firewall.trial()).unwrap();
    let seen = || lab.on_host(|| firewall.observe(&[])).unwrap();

    put(&app, Some(Duration::from_secs(60)));
    opens(true, false, "while the first rules are on trial");
    assert_eq!(lab.on_host(|| firewall.roll_back(&[])).unwrap(), Some(1));
    assert!(seen().audited);
    opens(true, true, "after the first rules were taken back");

    put(&app, Some(Duration::from_secs(60)));
    lab.on_host(|| firewall.confirm()).unwrap();
    assert_eq!(trial(), None);
    opens(true, false, "after they were confirmed");

    put(&office, Some(Duration::from_secs(60)));
    put(&office, Some(Duration::from_secs(3)));
    assert_eq!(seen().table, Some(office.clone()));
    opens(false, true, "while others are on trial");
    while trial() != Some(Duration::ZERO) {
        std::thread::sleep(Duration::from_millis(100));
    }
    opens(true, false, "when the time is over and no process did anything");
    assert_eq!(seen().table, Some(app.clone()));
    let late = lab.on_host(|| firewall.confirm()).unwrap_err();
    assert!(late.to_string().contains("was not confirmed in time"), "{late}");
    assert!(lab.on_host(|| firewall.roll_back(&[])).unwrap().is_some());
    assert_eq!((trial(), seen().damage), (None, vec![]));
    opens(true, false, "after the way back was settled");

    lab.on_host(|| firewall.remove()).unwrap();
    assert_eq!(seen().table, None);
    opens(true, true, "after everything was removed");
}

#[test]
fn a_connection_that_is_denied_now_is_cut_and_another_is_not() {
    if !root_or_left_out("a_connection_that_is_denied_now_is_cut_and_another_is_not") {
        return;
    }
    let lab = Lab::build();
    let firewall = lab.firewall();
    lab.sandbox.serve(PORT).unwrap();
    let both = table("10.0.0.0/8");
    let rehearsed = lab.on_host(|| firewall.rehearse(&both, Digest::of_table(&both), &[])).unwrap();
    assert_eq!(rehearsed.len(), 1, "{rehearsed:?}");
    let mut app = lab.sandbox.connect_in(APP4, PORT).unwrap();
    let mut office = lab.sandbox.connect_in(OFFICE4, PORT).unwrap();
    assert!(answers(&mut app) && answers(&mut office));
    let one = table("10.0.1.10/32");
    let rehearsed = lab.on_host(|| firewall.rehearse(&one, Digest::of_table(&one), &[])).unwrap();
    assert_eq!(rehearsed, ["TCP 5432 from 10.20.0.7"]);
    assert!(answers(&mut office), "a rehearsal drops nothing");
    lab.on_host(|| firewall.apply(&one, Digest::of_table(&one), &[], None)).unwrap();
    assert!(answers(&mut app), "what is allowed lives on");
    assert!(!answers(&mut office), "what is denied does not");
    let left = lab.on_host(|| firewall.rehearse(&one, Digest::of_table(&one), &[])).unwrap();
    assert_eq!(left, Vec::<String>::new(), "its entry is gone");
}

#[test]
fn rules_on_trial_are_not_kept_because_somebody_changed_which_generation_judges() {
    if !root_or_left_out("rules_on_trial_are_not_kept_because_somebody_changed_which_generation_judges") {
        return;
    }
    let lab = Lab::build();
    let firewall = lab.firewall();
    let (app, office) = (table("10.0.1.10/32"), table("10.20.0.7/32"));
    let put = |table: &Table, within| lab.on_host(|| firewall.apply(table, Digest::of_table(table), &[], within)).unwrap();
    put(&app, None);
    put(&office, Some(Duration::from_secs(60)));
    lab.nft("add rule inet pci_segment dispatch_in accept");
    let seen = lab.on_host(|| firewall.observe(&[])).unwrap();
    assert_eq!(seen.table.as_ref(), Some(&app), "nobody has vouched for the others");
    assert!(seen.damage.iter().any(|found| found.key == "dispatch"), "{:?}", seen.damage);
    lab.on_host(|| firewall.mend(&app, Digest::of_table(&app), &[], false)).unwrap();
    let seen = lab.on_host(|| firewall.observe(&[])).unwrap();
    assert_eq!((seen.table.as_ref(), seen.damage.as_slice()), (Some(&app), &[][..]));
}
