//! A newer version takes over what an older one left, under traffic.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use enforcer::{ABI_VERSION, Attached, AttachmentState, Direction, Enforcer, Error, FailsafeEntry};

use crate::{
    lab::{HOST4, Lab, TCP, UDP, answers, cidr, connect, newer_object, object, service, table, tcp},
    pins::under_fire,
};

/// How often the program is exchanged; more in long runs.
fn rounds() -> usize {
    std::env::var("PCI_SEGMENT_UPGRADES").ok().and_then(|text| text.parse().ok()).unwrap_or(4)
}

/// Sends allowed packets one after the other while `work` runs; answers how many were sent and how many arrived.
pub(crate) fn allowed_packets(lab: &Lab, port: u16, work: impl FnOnce()) -> (usize, usize) {
    let to = SocketAddr::new(HOST4.parse().unwrap(), port);
    let target = lab.on_host(|| UdpSocket::bind(to)).unwrap();
    target.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let source = lab.on_peer(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let counted = scope.spawn(|| {
            let (mut sent, mut arrived) = (0, 0);
            while !done.load(Ordering::Relaxed) {
                sent += source.send_to(b"allowed", to).map_or(0, |_| 1);
                arrived += target.recv(&mut [0; 16]).map_or(0, |_| 1);
            }
            (sent, arrived)
        });
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        done.store(true, Ordering::Relaxed);
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        counted.join().unwrap()
    })
}

#[test]
fn programs_are_exchanged_in_place_and_no_packet_is_lost_or_wrongly_passed() {
    let Some(lab) = Lab::new("upgrading") else { return };
    lab.serve(true, 8080);
    {
        let mut enforcer = lab.open();
        lab.attach(&mut enforcer);
        let open = [service(TCP, 8080, 1), service(UDP, 7070, 2)];
        enforcer.install(&table(&[(Direction::In, "10.7.0.0/24", &open)]), [1; 32], 0).unwrap();
    }
    let mut stream = lab.on_peer(|| connect(HOST4, 8080)).unwrap();
    let mut packets = (0, 0);
    let passed = under_fire(&lab, || {
        packets = allowed_packets(&lab, 7070, || {
            for round in 0..rounds() {
                let version = if round % 2 == 0 { newer_object() } else { object() };
                let before = lab.on_host(|| Enforcer::open_existing(&lab.root)).unwrap().unwrap();
                let before = lab.on_host(|| before.observe()).unwrap();
                let mut upgraded = lab.on_host(|| Enforcer::open_with_object(&lab.root, &version)).unwrap();
                let after = lab.on_host(|| upgraded.observe()).unwrap();
                assert_eq!(after, before, "hooks run the new program already, and nothing else changed");
                assert_eq!(lab.on_host(|| upgraded.attach("h0")).unwrap(), Attached::Already);
                assert!(answers(&mut stream), "round {round}");
            }
        });
    });
    assert_eq!(passed, 0, "forbidden packets");
    assert_eq!(packets.0, packets.1, "allowed packets sent and arrived");
    assert!(packets.0 > 100, "{packets:?}");
}

/// The object of version 1, where the history is at hand; else today's, whose maps have the same layouts as far as both have them.
fn first_version() -> Vec<u8> {
    let arguments = ["show", "208f0ab:enforcer-ebpf/loader/pci_segment.bpf.o"];
    let shown = std::process::Command::new("git").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    shown.ok().filter(|shown| shown.status.success()).map_or_else(object, |shown| shown.stdout)
}

/// A host that version 1 filters.
fn filtered_by_the_first_version(lab: &Lab) {
    lab.serve(true, 8080);
    lab.serve(true, 22);
    let mut enforcer = Enforcer::open_with_object(&lab.root, &first_version()).unwrap();
    lab.attach(&mut enforcer);
    enforcer
        .set_failsafe(&[FailsafeEntry { id: 1, direction: Direction::In, proto: 6, port: 22, peer: cidr("10.7.0.2/32") }])
        .unwrap();
    let open = [service(TCP, 8080, 1), service(UDP, 7070, 2)];
    enforcer.install(&table(&[(Direction::In, "10.7.0.0/24", &open)]), [7; 32], 41).unwrap();
    drop(enforcer);
    std::fs::rename(lab.pins(), lab.root.join("abi1")).unwrap();
}

#[test]
fn an_older_version_with_other_layouts_is_taken_over_with_its_rules_flows_and_failsafe() {
    let Some(lab) = Lab::new("upgrading") else { return };
    filtered_by_the_first_version(&lab);
    let mut stream = lab.on_peer(|| connect(HOST4, 8080)).unwrap();
    assert!(answers(&mut stream));
    assert!(matches!(Enforcer::open_existing(&lab.root), Err(Error::NotTakenOver(path)) if path == lab.root.join("abi1")));

    let mut enforcer = None;
    let passed = under_fire(&lab, || enforcer = Some(lab.on_host(|| lab.open())));
    assert_eq!(passed, 0, "forbidden packets");
    let mut enforcer = enforcer.unwrap();
    // Nothing was sent on the connection meanwhile, so its entry can only be the one that was copied.
    let flows = enforcer.table_sizes().unwrap().into_iter().find(|own| own.name == "tcp4").unwrap();
    assert_eq!(flows.entries, 1);
    assert!(answers(&mut stream), "the flow goes on");
    assert!(!lab.root.join("abi1").exists());
    let seen = lab.on_host(|| enforcer.observe()).unwrap();
    assert_eq!((seen.tampering, seen.epoch, seen.digest), (vec![], 41, [7; 32]));
    assert!(seen.attachments.len() == 2 && seen.attachments.iter().all(|own| own.state == AttachmentState::Attached));
    assert_eq!(enforcer.failsafe().unwrap().len(), 1);
    assert!(lab.on_peer(|| tcp(HOST4, 8080) && tcp(HOST4, 22) && !tcp(HOST4, 9090)));

    assert_eq!(lab.on_host(|| enforcer.attach("h0")).unwrap(), Attached::Already);
}

#[test]
fn a_take_over_that_was_cut_off_is_finished_by_the_next_start() {
    let Some(lab) = Lab::new("upgrading") else { return };
    filtered_by_the_first_version(&lab);
    let mut stream = lab.on_peer(|| connect(HOST4, 8080)).unwrap();
    // As after the first of two links was turned: both trees are there, and the old one has one link.
    lab.open();
    let old = lab.root.join("abi1");
    for below in ["", "maps", "progs", "links", "inner"] {
        std::fs::create_dir_all(old.join(below)).unwrap();
    }
    (0..4).for_each(|slot| std::fs::create_dir_all(old.join(format!("inner/{slot}"))).unwrap());
    let passed = under_fire(&lab, || {
        let out = std::fs::read_dir(lab.pins().join("links")).unwrap().map(|entry| entry.unwrap().path());
        let out = out.into_iter().find(|path| path.to_string_lossy().ends_with("-out")).unwrap();
        std::fs::rename(&out, old.join("links").join(out.file_name().unwrap())).unwrap();
        for below in ["maps", "inner/0", "inner/1", "inner/2", "inner/3"] {
            for entry in std::fs::read_dir(lab.pins().join(below)).unwrap() {
                let path = entry.unwrap().path();
                aya::maps::MapData::from_pin(&path).unwrap().pin(old.join(below).join(path.file_name().unwrap())).unwrap();
            }
        }
        lab.on_host(|| lab.open());
    });
    assert_eq!(passed, 0);
    assert!(!old.exists());
    let seen = lab.on_host(|| lab.open().observe()).unwrap();
    assert_eq!((seen.tampering, seen.epoch, seen.attachments.len()), (vec![], 41, 2));
    assert!(answers(&mut stream));
}

#[test]
fn pins_of_a_version_that_is_not_known_are_refused_and_go_on_enforcing() {
    let Some(lab) = Lab::new("upgrading") else { return };
    filtered_by_the_first_version(&lab);
    let refused = |what: &str| {
        let error = lab.on_host(|| crate::lab::open(&lab.root)).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Error::OtherVersion { .. }), "{what}: {text}");
        assert!(text.contains("goes on enforcing") && text.contains("start the version that made it"), "{what}: {text}");
        assert!(!lab.pins().exists(), "{what}: nothing is made");
        assert!(lab.on_peer(|| tcp(HOST4, 8080) && !tcp(HOST4, 9090)), "{what}");
    };
    let newer = lab.root.join(format!("abi{}", ABI_VERSION + 1));
    std::fs::rename(lab.root.join("abi1"), &newer).unwrap();
    refused("a newer version");
    std::fs::rename(&newer, lab.root.join("abi1")).unwrap();
    let path = lab.root.join("abi1/maps/tcp4");
    std::fs::remove_file(&path).unwrap();
    aya::maps::HashMap::<_, u32, u32>::create(4, 0).unwrap().pin(&path).unwrap();
    refused("another layout");
}
