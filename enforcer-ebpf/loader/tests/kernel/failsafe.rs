//! Traffic no generation can cut, as the map holds it.

use enforcer::{Direction, Error, FailsafeEntry};

use crate::lab::{Lab, cidr};

fn entry(id: u32, direction: Direction, port: u16, peer: &str) -> FailsafeEntry {
    FailsafeEntry { id, direction, proto: 6, port, peer: cidr(peer) }
}

#[test]
fn failsafe_entries_read_back_as_they_were_set_whatever_their_order() {
    let Some(lab) = Lab::new("failsafe entries") else { return };
    let mut enforcer = lab.open();
    let wanted = [
        entry(1, Direction::In, 22, "10.7.0.0/24"),
        entry(2, Direction::Out, 443, "fd07::/64"),
        entry(3, Direction::In, 22, "10.7.0.2/32"),
    ];
    let mut shuffled = wanted.to_vec();
    shuffled.reverse();
    enforcer.set_failsafe(&shuffled).unwrap();
    assert_eq!(enforcer.failsafe().unwrap(), wanted);
    enforcer.set_failsafe(&wanted[..1]).unwrap();
    assert_eq!(lab.open().failsafe().unwrap(), wanted[..1]);
}

#[test]
fn too_many_failsafe_entries_are_refused_and_the_ones_in_force_stay() {
    let Some(lab) = Lab::new("failsafe entries") else { return };
    let mut enforcer = lab.open();
    let administrator = [entry(1, Direction::In, 22, "10.7.0.0/24")];
    enforcer.set_failsafe(&administrator).unwrap();
    let others = |count: u16| (0..count).map(|n| entry(2 + u32::from(n), Direction::Out, n, "10.8.0.0/24")).collect::<Vec<_>>();
    let refused = enforcer.set_failsafe(&others(65));
    assert!(matches!(refused, Err(Error::FailsafeFull { count: 65, max: 64 })), "{refused:?}");
    assert_eq!(enforcer.failsafe().unwrap(), administrator);
    for _ in 0..2 {
        enforcer.set_failsafe(&others(64)).unwrap();
        assert_eq!(enforcer.failsafe().unwrap(), others(64));
    }
}
