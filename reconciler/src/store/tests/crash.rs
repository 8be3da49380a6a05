//! Nothing that was acknowledged is lost, however the process ends.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::*;
use crate::audit::verify::Options;

const CHILD: &str = "PCI_SEGMENT_TEST_DATABASE";
const ROUNDS: usize = 5;

#[tokio::test]
async fn a_store_dropped_without_closing_has_everything_it_acknowledged() {
    let place = Place::new();
    let store = place.open().await;
    store.begin_judging(vec![new_commit(1)], vec![status(1, StatusState::Pending, "queued")], at(1)).await.unwrap();
    let plan = Plan { json: "{}".to_owned(), desired_hash: [0; 32], observed_hash: [0; 32] };
    let head = oid(1);
    let step =
        NewStep { backend: "ebpf".into(), target: "host/eth0".into(), key: "a".into(), ensure: Ensure::Present, why: Why::Commit };
    let open = OpenPass {
        head,
        git_ref: "refs/heads/main".into(),
        enforced_before: None,
        plan,
        steps: vec![step],
        notes: Vec::new(),
        at: at(2),
    };
    let pass = store.open_pass(open).await.unwrap();
    drop(store);
    // The task ends when the last handle is gone and lets go of the lock; the connection goes with it, unclosed.
    let store = loop {
        match Store::open(&place.file(), "host:test", at(3)).await {
            Err(Error::Locked { .. }) => tokio::task::yield_now().await,
            opened => break opened.unwrap(),
        }
    };
    assert_eq!(store.commits_pending().await.unwrap().len(), 1);
    assert_eq!(store.outbox_depth().await.unwrap().queued, 1);
    assert_eq!(store.close_interrupted_passes(at(4)).await.unwrap(), [pass]);
    assert!(store.close_interrupted_passes(at(5)).await.unwrap().is_empty());
    let last = store.status_summary().await.unwrap().last_pass.unwrap();
    assert_eq!((last.outcome, last.reason.as_str()), (Some(Outcome::Failed), "interrupted"));
    assert_eq!(store.verify_log(Options::default()).await.exit, 0);
}

/// Not a test of its own: the process that the next test kills. It prints each row number after it was acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn child_that_writes_until_it_is_killed() {
    let Some(file) = std::env::var_os(CHILD) else { return };
    let store = Store::open(file.as_ref(), "host:child", at(0)).await.unwrap();
    for _ in 0..8 {
        let store = store.clone();
        tokio::spawn(async move {
            loop {
                println!("row {}", store.append(event("from the child")).await.unwrap());
            }
        });
    }
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_killed_process_loses_no_acknowledged_row_and_leaves_a_log_that_verifies() {
    let place = Place::new();
    for round in 1..=ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::tests::crash::child_that_writes_until_it_is_killed", "--nocapture"])
            .env(CHILD, place.file())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut acknowledged = 0;
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for line in lines.map_while(Result::ok) {
            let Some((_, row)) = line.rsplit_once("row ") else { continue };
            // The last line may be cut short by the kill; a number cut short is only smaller.
            acknowledged = acknowledged.max(row.parse::<u64>().unwrap_or(0));
            if acknowledged >= (round * 100) as u64 {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(acknowledged >= (round * 100) as u64, "the child wrote");
        let beside = Store::open_read_only(&place.file()).await.unwrap();
        let report = beside.verify_log(Options::default()).await;
        assert_eq!(report.exit, 0, "{}", report.message);
        assert!(report.rows > acknowledged, "round {round}: row {acknowledged} was acknowledged, {} rows are there", report.rows);
        beside.close().await;
    }
    place.open().await.close().await;
}
