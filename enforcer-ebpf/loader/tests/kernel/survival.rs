//! Enforcement outlives the process that set it up.

use enforcer::{Attached, AttachmentState, Direction};

use crate::lab::{HOST4, Lab, TCP, answers, connect, service, table, tcp};

#[test]
fn traffic_stays_filtered_when_the_enforcer_is_gone_and_the_next_one_finds_everything() {
    let Some(lab) = Lab::new("real traffic") else { return };
    lab.serve(true, 8080);
    lab.serve(true, 9090);
    let wanted = table(&[(Direction::In, "10.7.0.0/24", &[service(TCP, 8080, 1)])]);
    let before = {
        let mut enforcer = lab.open();
        lab.attach(&mut enforcer);
        enforcer.install(&wanted, [7; 32], 40).unwrap();
        lab.on_host(|| enforcer.observe()).unwrap()
    };
    assert_eq!((before.epoch, before.digest, &before.table), (40, [7; 32], &Some(wanted)));
    assert!(lab.on_peer(|| tcp(HOST4, 8080) && !tcp(HOST4, 9090)), "without any process");
    let mut stream = lab.on_peer(|| connect(HOST4, 8080)).unwrap();

    let mut enforcer = lab.open();
    assert!(answers(&mut stream), "opening again disturbs nothing");
    assert_eq!(lab.on_host(|| enforcer.observe()).unwrap(), before);
    assert_eq!(lab.on_host(|| enforcer.attach("h0")).unwrap(), Attached::Already);
    assert!(answers(&mut stream), "attaching again disturbs nothing");
    assert_eq!(before.tampering, []);
    assert_eq!(before.attachments.len(), 2);
    assert!(before.attachments.iter().all(|own| own.state == AttachmentState::Attached && own.ifname == "h0"));
}

#[test]
fn epochs_only_grow() {
    let Some(lab) = Lab::new("installing") else { return };
    let mut enforcer = lab.open();
    assert_eq!(enforcer.install(&table(&[]), [1; 32], 10).unwrap().epoch, 10);
    assert_eq!(enforcer.install(&table(&[]), [2; 32], 3).unwrap().epoch, 11);
    drop(enforcer);
    assert_eq!(lab.open().install(&table(&[]), [3; 32], 0).unwrap().epoch, 12);
}
