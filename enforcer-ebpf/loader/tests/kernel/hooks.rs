//! Who runs before us.

use aya::programs::{
    LinkOrder, SchedClassifier, TcAttachType,
    tc::{SchedClassifierLink, TcAttachOptions},
};
use enforcer::{AttachmentState, Direction, TamperingKind};

use crate::{
    lab::{HOST4, Lab, PEER4, TCP, answers, connect, service, table, tcp},
    pins::under_fire,
};

/// Another one's program: it passes every packet on. It runs first until what is answered is dropped.
pub(crate) fn put_before_us(lab: &Lab, ifname: &str, at: TcAttachType) -> SchedClassifierLink {
    let mut other = SchedClassifier::from_pin(lab.pins().join("progs/empty")).unwrap();
    let first = TcAttachOptions::TcxOrder(LinkOrder::first());
    let id = lab.on_host(|| other.attach_with_options(ifname, at, first)).unwrap();
    other.take_link(id).unwrap()
}

#[test]
fn h04_a_program_put_before_ours_is_named_and_attaching_puts_ours_first_again_without_a_gap() {
    let Some(lab) = Lab::new("who runs first") else { return };
    lab.serve(true, 8080);
    let mut enforcer = lab.open();
    lab.attach(&mut enforcer);
    enforcer.install(&table(&[(Direction::In, "10.7.0.0/24", &[service(TCP, 8080, 1)])]), [1; 32], 0).unwrap();
    let mut stream = lab.on_peer(|| connect(HOST4, 8080)).unwrap();
    assert!(answers(&mut stream));
    let _others = [TcAttachType::Ingress, TcAttachType::Egress].map(|at| put_before_us(&lab, "h0", at));

    let seen = lab.on_host(|| enforcer.observe()).unwrap();
    assert_eq!(seen.tampering.iter().map(|own| own.kind).collect::<Vec<_>>(), [TamperingKind::Preceded; 2]);
    for own in &seen.attachments {
        assert_eq!(own.state, AttachmentState::Attached);
        assert!(matches!(own.before.as_slice(), [other] if other.starts_with("program empty (")), "{:?}", own.before);
    }
    assert!(seen.tampering[0].detail.contains("h0") && seen.tampering[0].detail.contains("program empty"), "{:?}", seen.tampering);

    let passed = under_fire(&lab, || lab.attach(&mut enforcer));
    assert_eq!(passed, 0);
    let after = lab.on_host(|| enforcer.observe()).unwrap();
    assert_eq!(after.tampering, []);
    assert!(after.attachments.iter().all(|own| own.before.is_empty()));
    assert!(answers(&mut stream), "the flow goes on");
    assert!(lab.on_peer(|| tcp(HOST4, 8080)) && !lab.on_host(|| tcp(PEER4, 8080)));
    // Nothing is left behind that another process would stumble over.
    assert_eq!(lab.on_host(|| lab.open().observe()).unwrap(), after);
}

#[test]
fn tables_tell_how_full_they_are_and_what_they_cost() {
    let Some(lab) = Lab::new("sizes") else { return };
    lab.serve(true, 8080);
    let mut enforcer = lab.open();
    lab.attach(&mut enforcer);
    let open = [service(TCP, 8080, 1)];
    let allowed =
        [(Direction::In, "10.7.0.0/24", &open[..]), (Direction::In, "10.8.0.1/32", &open), (Direction::Out, "fd07::/64", &open)];
    let bytes = |enforcer: &enforcer::Enforcer| enforcer.kernel_memory().unwrap();
    let empty = bytes(&enforcer);
    enforcer.install(&table(&allowed), [1; 32], 0).unwrap();
    let _stream = lab.on_peer(|| connect(HOST4, 8080)).unwrap();
    let sizes = enforcer.table_sizes().unwrap();
    let of = |name: &str| sizes.iter().find(|own| own.name == name).map(|own| (own.entries, own.max)).unwrap();
    assert_eq!(of("nets4"), (1, 131_072));
    assert_eq!(of("hosts4"), (1, 262_144));
    assert_eq!(of("hosts6"), (0, 262_144));
    assert_eq!(of("nets6"), (1, 131_072));
    assert_eq!(of("intervals"), (1, 1_048_576));
    assert_eq!(of("failsafe"), (0, 64));
    assert_eq!(of("tcp4"), (1, 131_072), "the connection");
    let full = bytes(&enforcer);
    let of = |all: &[(String, u64)], name: &str| all.iter().find(|(own, _)| own == name).map_or(0, |(_, bytes)| *bytes);
    assert!(of(&full, "nets4") == of(&empty, "nets4") + 64 && of(&full, "hosts4") > of(&empty, "hosts4"), "{full:?}");
    assert!(of(&full, "tcp4") > 131_072 * (16 + 28), "{full:?}");
}
