//! Loading, attaching, and refusing to.

use enforcer::{Attached, Enforcer, Error};

use crate::lab::{Lab, ip, open, privileged, table};

#[test]
fn the_verifier_accepts_every_program_and_rare_ones_are_loaded_when_they_are_needed() {
    let Some(lab) = Lab::new("loading the programs") else { return };
    let mut enforcer = lab.open();
    let programs = lab.pins().join("progs");
    let pinned = || {
        let mut names: Vec<_> = std::fs::read_dir(&programs).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(pinned(), ["check_in", "check_out", "empty", "tc_in_ether", "tc_out_ether"]);
    ip(&format!("-n {} tuntap add t0 mode tun", lab.host));
    assert_eq!(lab.on_host(|| enforcer.attach("t0")).unwrap(), Attached::Now);
    assert_eq!(lab.on_host(|| enforcer.observe()).unwrap().tampering, []);
    assert_eq!(pinned(), ["check_in", "check_out", "empty", "tc_in_ether", "tc_in_plain", "tc_out_ether", "tc_out_plain"]);
}

#[test]
fn only_root_can_see_the_pins() {
    use std::os::unix::fs::PermissionsExt as _;
    let Some(lab) = Lab::new("pinning") else { return };
    lab.open();
    let below = ["", "maps", "progs", "links", "inner/0"].map(|path| lab.pins().join(path));
    for path in below.iter().chain([&lab.root]) {
        let mode = std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{}", path.display());
    }
}

#[test]
fn loopback_and_unknown_interfaces_are_refused_by_name() {
    let Some(lab) = Lab::new("attaching") else { return };
    let mut enforcer = lab.open();
    lab.on_host(|| {
        assert!(matches!(enforcer.attach("lo"), Err(Error::Loopback(name)) if name == "lo"));
        assert!(
            matches!(enforcer.attach("eth9"), Err(Error::NoInterface { ifname, present }) if ifname == "eth9" && present == ["h0"])
        );
        assert!(matches!(enforcer.attach("a-name-that-is-too-long"), Err(Error::NoInterface { .. })));
    });
}

#[test]
fn whether_an_interface_can_be_attached_is_told_without_attaching_it() {
    let Some(lab) = Lab::new("attaching") else { return };
    let enforcer = lab.open();
    lab.on_host(|| {
        Enforcer::check_interface("h0").unwrap();
        assert!(matches!(Enforcer::check_interface("lo"), Err(Error::Loopback(_))));
        let missing = Enforcer::check_interface("eth9").unwrap_err().to_string();
        assert_eq!(missing, "there is no network interface eth9; this host has h0");
        assert_eq!(enforcer.observe().unwrap().attachments, []);
    });
}

#[test]
fn looking_at_what_is_pinned_makes_nothing() {
    let Some(lab) = Lab::new("opening what is there") else { return };
    assert!(Enforcer::open_existing(&lab.root).unwrap().is_none());
    assert!(!lab.root.exists());
    let wanted = table(&[]);
    lab.open().install(&wanted, [1; 32], 0).unwrap();
    let seen = Enforcer::open_existing(&lab.root).unwrap().unwrap().observe().unwrap();
    assert_eq!((seen.table, seen.tampering), (Some(wanted), vec![]));
    for name in ["failsafe", "generations", "seals"] {
        let path = lab.pins().join("maps").join(name);
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(Enforcer::open_existing(&lab.root), Err(Error::PinGone(gone)) if gone == path));
        assert!(!path.exists(), "{name} was not made again");
    }
}

#[test]
fn attaching_twice_changes_nothing() {
    let Some(lab) = Lab::new("attaching") else { return };
    let mut enforcer = lab.open();
    assert_eq!(lab.on_host(|| enforcer.attach("h0")).unwrap(), Attached::Now);
    assert_eq!(lab.on_host(|| enforcer.attach("h0")).unwrap(), Attached::Already);
    let mut second = lab.open();
    assert_eq!(lab.on_host(|| second.attach("h0")).unwrap(), Attached::Already);
}

#[test]
fn an_interface_made_anew_is_attached_anew() {
    let Some(lab) = Lab::new("attaching") else { return };
    let mut enforcer = lab.open();
    lab.attach(&mut enforcer);
    let before = lab.on_host(|| enforcer.observe()).unwrap().attachments;
    ip(&format!("-n {} link del h0", lab.host));
    lab.cable();
    assert_eq!(lab.on_host(|| enforcer.attach("h0")).unwrap(), Attached::Now);
    let after = lab.on_host(|| enforcer.observe()).unwrap();
    assert_eq!(after.attachments.len(), 2);
    assert_ne!(before[0].ifindex, after.attachments[0].ifindex);
    assert_eq!(after.tampering, []);
}

#[test]
fn an_object_that_is_none_is_refused() {
    let Some(lab) = Lab::new("loading") else { return };
    assert!(matches!(Enforcer::open_with_object(&lab.root, b"not an object"), Err(Error::Object(_))));
}

#[test]
fn maps_of_another_version_are_refused() {
    let Some(lab) = Lab::new("loading") else { return };
    lab.open();
    let path = lab.pins().join("maps/failsafe");
    std::fs::remove_file(&path).unwrap();
    aya::maps::HashMap::<_, u32, u32>::create(4, 0).unwrap().pin(&path).unwrap();
    assert!(matches!(open(&lab.root), Err(Error::PinnedMap { path: found, .. }) if found == path));
}

#[test]
fn a_directory_with_other_files_is_never_mounted_over() {
    if !privileged("mounting") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("file"), "content").unwrap();
    assert!(matches!(open(directory.path()), Err(Error::NotBpffs(_))));
}

#[test]
fn removing_all_leaves_nothing_behind() {
    let Some(lab) = Lab::new("removing") else { return };
    let mut enforcer = lab.open();
    lab.attach(&mut enforcer);
    enforcer.install(&table(&[]), [1; 32], 0).unwrap();
    lab.on_host(|| enforcer.remove_all()).unwrap();
    assert!(!lab.pins().exists());
    let shown = std::process::Command::new("ip").args(["-n", &lab.host, "link", "show", "h0"]).output().unwrap();
    assert!(shown.status.success());
    assert!(lab.on_host(|| crate::lab::ping(crate::lab::PEER4)));
}

#[test]
fn h03_this_kernel_has_what_is_needed() {
    if !privileged("probing") {
        return;
    }
    let found = Enforcer::probe();
    for optional in ["TCX links (kernel 6.6)", "XDP links (kernel 5.9)", "coarse clock (kernel 5.11)"] {
        assert!(found.iter().any(|own| own.name == optional && own.optional), "{optional}");
    }
    assert!(found.iter().any(|own| own.name.starts_with("ring buffer") && !own.optional));
    for capability in found {
        assert!(capability.ok || capability.optional, "{capability:?}");
        assert_eq!(capability.ok, capability.remedy.is_empty(), "{capability:?}");
    }
}

#[test]
fn h03_what_is_missing_is_named_with_what_to_do() {
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
    if !privileged("probing") {
        return;
    }
    let found = std::thread::spawn(|| {
        let mut sets = capabilities(None).unwrap();
        sets.effective = CapabilitySet::empty();
        set_capabilities(None, sets).unwrap();
        Enforcer::probe()
    });
    let missing: Vec<_> = found.join().unwrap().into_iter().filter(|own| !own.ok).collect();
    assert!(missing.iter().any(|own| !own.optional), "{missing:?}");
    assert!(missing.iter().all(|own| own.remedy.contains("CAP_BPF")), "{missing:?}");
}
