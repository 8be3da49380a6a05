//! Hooks of kernels without TCX: filters on the clsact qdisc.

use aya::programs::TcAttachType;
use enforcer::{Attached, AttachmentState, Direction, Enforcer, TamperingKind};

use crate::{
    hooks::put_before_us,
    lab::{HOST4, Lab, PEER4, TCP, answers, connect, ip, newer_object, service, table, tcp},
    pins::under_fire,
};

fn tc(lab: &Lab, arguments: &str) -> String {
    let run = std::process::Command::new("tc").args(["-n", &lab.host]).args(arguments.split_whitespace()).output().unwrap();
    assert!(run.status.success(), "tc {arguments}: {}", String::from_utf8_lossy(&run.stderr));
    String::from_utf8(run.stdout).unwrap()
}

fn filtered() -> Option<(Lab, Enforcer)> {
    let lab = Lab::new("filters")?;
    lab.serve(true, 8080);
    let mut enforcer = lab.open();
    enforcer.without_tcx();
    enforcer.install(&table(&[(Direction::In, "10.7.0.0/24", &[service(TCP, 8080, 1)])]), [1; 32], 0).unwrap();
    assert_eq!(lab.on_host(|| enforcer.attach("h0")).unwrap(), Attached::Now);
    Some((lab, enforcer))
}

fn kinds(lab: &Lab, enforcer: &Enforcer) -> Vec<TamperingKind> {
    lab.on_host(|| enforcer.observe()).unwrap().tampering.into_iter().map(|own| own.kind).collect()
}

fn enforced(lab: &Lab) -> bool {
    lab.on_peer(|| tcp(HOST4, 8080) && !tcp(HOST4, 9090)) && !lab.on_host(|| tcp(PEER4, 8080))
}

#[test]
fn filters_enforce_outlive_their_process_and_what_is_done_to_them_is_found_and_mended() {
    let Some((lab, mut enforcer)) = filtered() else { return };
    assert!(enforced(&lab));
    assert_eq!(kinds(&lab, &enforcer), []);
    assert_eq!(lab.on_host(|| enforcer.attach("h0")).unwrap(), Attached::Already);
    let again = lab.open();
    assert!(lab.on_host(|| again.observe()).unwrap().attachments.iter().all(|own| own.state == AttachmentState::Attached));
    drop(again);

    tc(&lab, "filter del dev h0 ingress");
    assert_eq!(kinds(&lab, &enforcer), [TamperingKind::Detached]);
    assert_eq!(lab.on_host(|| enforcer.attach("h0")).unwrap(), Attached::Now);
    assert_eq!(kinds(&lab, &enforcer), []);

    let other = lab.pins().join("progs/empty");
    tc(&lab, &format!("filter replace dev h0 ingress pref 1 handle 0x5047 bpf da object-pinned {}", other.display()));
    assert_eq!(kinds(&lab, &enforcer), [TamperingKind::Replaced]);
    assert_eq!(lab.on_host(|| enforcer.attach("h0")).unwrap(), Attached::Updated);
    assert_eq!(kinds(&lab, &enforcer), []);
    assert_eq!(tc(&lab, "filter show dev h0 ingress").matches("handle").count(), 1);

    let first = put_before_us(&lab, "h0", TcAttachType::Ingress);
    assert_eq!(kinds(&lab, &enforcer), [TamperingKind::Preceded]);
    drop(first);
    tc(&lab, &format!("filter add dev h0 egress pref 1 handle 0x7 bpf da object-pinned {}", other.display()));
    let seen = lab.on_host(|| enforcer.observe()).unwrap();
    let before: Vec<_> = seen.attachments.iter().flat_map(|own| &own.before).collect();
    assert!(matches!(before.as_slice(), [text] if text.contains("priority 1 and handle 0x7")), "{before:?}");
    tc(&lab, "filter del dev h0 egress pref 1 handle 0x7 bpf");
    assert!(enforced(&lab));

    lab.on_host(|| enforcer.detach("h0")).unwrap();
    assert_eq!(tc(&lab, "filter show dev h0 ingress") + &tc(&lab, "filter show dev h0 egress"), "");
    assert_eq!(lab.on_host(|| enforcer.observe()).unwrap().attachments, []);
    assert!(lab.on_peer(|| connect(HOST4, 8080)).is_some() && lab.on_host(|| crate::lab::ping(PEER4)));
}

#[test]
fn h06_filters_follow_interfaces_that_are_renamed_or_made_anew_and_programs_that_are_upgraded() {
    let Some((lab, mut enforcer)) = filtered() else { return };
    ip(&format!("-n {} link add h1 type veth peer name h2", lab.host));
    assert_eq!(lab.on_host(|| enforcer.attach("h1")).unwrap(), Attached::Now);
    let mut stream = lab.on_peer(|| connect(HOST4, 8080)).unwrap();

    ip(&format!("-n {} link set h1 name renamed", lab.host));
    let seen = lab.on_host(|| enforcer.observe()).unwrap();
    assert_eq!(seen.tampering, []);
    let mut names: Vec<_> = seen.attachments.iter().map(|own| own.ifname.as_str()).collect();
    names.dedup();
    assert_eq!(names, ["h0", "renamed"]);
    assert_eq!(lab.on_host(|| enforcer.attach("renamed")).unwrap(), Attached::Already);

    let passed = under_fire(&lab, || {
        let upgraded = lab.on_host(|| Enforcer::open_with_object(&lab.root, &newer_object())).unwrap();
        assert_eq!(kinds(&lab, &upgraded), []);
        enforcer = upgraded;
        enforcer.without_tcx();
    });
    assert_eq!(passed, 0);
    assert!(answers(&mut stream), "the upgrade disturbs no flow");

    ip(&format!("-n {} link del h0", lab.host));
    assert_eq!(kinds(&lab, &enforcer), [TamperingKind::Detached; 2]);
    lab.cable();
    assert_eq!(kinds(&lab, &enforcer), [TamperingKind::Detached; 2], "another interface of the same name");
    assert_eq!(lab.on_host(|| enforcer.attach("h0")).unwrap(), Attached::Now);
    assert_eq!(kinds(&lab, &enforcer), []);
    // The servers went with the addresses of the old interface.
    lab.serve(true, 8081);
    assert!(lab.on_peer(|| !tcp(HOST4, 8081)));
}
