//! What others change by hand is found, each kind by its name.

use aya::maps::{Array, MapData};
use enforcer::{AttachmentState, Direction, Enforcer, TamperingKind};

use crate::lab::{Lab, TCP, service, table};

/// A filtered host, and the slot its rules are in.
fn filtered_in_slot(what: &str) -> Option<(Lab, Enforcer, u32)> {
    let lab = Lab::new(what)?;
    let mut enforcer = lab.open();
    lab.attach(&mut enforcer);
    let wanted = table(&[(Direction::In, "10.7.0.0/24", &[service(TCP, 8080, 1)])]);
    let slot = enforcer.install(&wanted, [7; 32], 0).unwrap().slot;
    assert_eq!(lab.on_host(|| enforcer.observe()).unwrap().tampering, []);
    Some((lab, enforcer, slot))
}

fn filtered(what: &str) -> Option<(Lab, Enforcer)> {
    filtered_in_slot(what).map(|(lab, enforcer, _)| (lab, enforcer))
}

fn kinds(lab: &Lab, enforcer: &Enforcer) -> Vec<TamperingKind> {
    lab.on_host(|| enforcer.observe()).unwrap().tampering.into_iter().map(|own| own.kind).collect()
}

fn links(lab: &Lab) -> Vec<std::path::PathBuf> {
    std::fs::read_dir(lab.pins().join("links")).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_pin_that_was_removed_is_found_and_attaching_repairs_it() {
    let Some((lab, mut enforcer)) = filtered("tampering") else { return };
    let path = links(&lab).into_iter().find(|path| path.to_string_lossy().ends_with("-in")).unwrap();
    std::fs::remove_file(path).unwrap();
    assert_eq!(kinds(&lab, &enforcer), [TamperingKind::Detached]);
    // The kernel lets go of a link a moment after its last pin is gone, and takes no second one until then.
    let began = std::time::Instant::now();
    while let Err(error) = lab.on_host(|| enforcer.attach("h0")) {
        assert!(began.elapsed() < std::time::Duration::from_secs(60), "{error}");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(kinds(&lab, &enforcer), []);
}

#[test]
fn an_interface_that_is_gone_is_found_by_the_next_process_too() {
    let Some((lab, enforcer)) = filtered("tampering") else { return };
    drop(enforcer);
    crate::lab::ip(&format!("-n {} link del h0", lab.host));
    let enforcer = lab.open();
    let observed = lab.on_host(|| enforcer.observe()).unwrap();
    assert!(observed.attachments.iter().all(|own| own.state == AttachmentState::Detached));
    assert_eq!(kinds(&lab, &enforcer), [TamperingKind::Detached; 2]);
}

#[test]
fn another_program_in_our_link_is_found() {
    use aya::programs::{
        SchedClassifier,
        links::{FdLink, PinnedLink},
        tc::SchedClassifierLink,
    };
    let Some((lab, enforcer)) = filtered("tampering") else { return };
    let mut empty = SchedClassifier::from_pin(lab.pins().join("progs/empty")).unwrap();
    let link = PinnedLink::from_pin(&links(&lab)[0]).unwrap();
    let id = empty.attach_to_link(SchedClassifierLink::try_from(FdLink::from(link)).unwrap()).unwrap();
    std::mem::forget(empty.take_link(id).unwrap());
    assert_eq!(kinds(&lab, &enforcer), [TamperingKind::Replaced]);
}

#[test]
fn an_interval_that_was_edited_is_found_by_the_next_process_too() {
    let Some((lab, enforcer, slot)) = filtered_in_slot("tampering") else { return };
    let path = lab.pins().join(format!("inner/{slot}/intervals"));
    let mut intervals = Array::<_, [u32; 4]>::try_from(aya::maps::Map::Array(MapData::from_pin(path).unwrap())).unwrap();
    intervals.set(0, [0, 0xFF_FFFF, 1, 0], 0).unwrap();
    assert_eq!(kinds(&lab, &enforcer), [TamperingKind::Edited]);
    assert_eq!(kinds(&lab, &lab.open()), [TamperingKind::Edited]);
}

#[test]
fn a_control_word_that_was_changed_is_found() {
    let Some((lab, enforcer)) = filtered("tampering") else { return };
    let path = lab.pins().join("maps/control");
    let mut control = Array::<_, u64>::try_from(aya::maps::Map::Array(MapData::from_pin(path).unwrap())).unwrap();
    let own = control.get(&0, 0).unwrap();
    for word in [own | 1 << 4, 0, own ^ 3] {
        control.set(0, word, 0).unwrap();
        assert!(kinds(&lab, &enforcer).contains(&TamperingKind::Control), "{word:#x}");
    }
    control.set(0, own, 0).unwrap();
    assert_eq!(kinds(&lab, &enforcer), []);
}

#[test]
fn another_map_in_an_outer_one_is_found() {
    let Some((lab, mut enforcer)) = filtered("tampering") else { return };
    let slot = enforcer.install(&table(&[]), [8; 32], 0).unwrap().slot;
    let path = lab.pins().join(format!("inner/{slot}/hosts4"));
    std::fs::remove_file(&path).unwrap();
    aya::maps::HashMap::<_, [u8; 8], [u8; 8]>::create(4, 0).unwrap().pin(&path).unwrap();
    assert!(kinds(&lab, &enforcer).contains(&TamperingKind::Rewired));
}
