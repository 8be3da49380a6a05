//! Behaviour of the store on real files.

mod crash;
mod cut;
mod drift;
mod faults;
mod judging;
mod log;
mod opening;
mod passes;
mod requests;
mod reviews;
mod usage;
mod writing;

use std::path::PathBuf;

use jiff::Timestamp;
use policy::snapshot::CommitId;
use serde_json::{Value, json};
use sqlx::{ConnectOptions, SqliteConnection, sqlite::SqliteConnectOptions};

use super::*;
use crate::audit::{AuditEvent, Draft, kind};
use crate::converge::{CommitInfo, CommitStatus, StatusState};

/// A folder of its own, mode 0700, gone with the value.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("state.db")
    }

    async fn open(&self) -> Store {
        Store::open(&self.file(), "host:test", at(0)).await.unwrap()
    }

    /// A connection behind the store's back, with the guards of the log taken down.
    async fn intruder(&self) -> SqliteConnection {
        let mut connection = SqliteConnectOptions::new().filename(self.file()).connect().await.unwrap();
        for trigger in ["DROP TRIGGER audit_log_is_never_updated", "DROP TRIGGER audit_log_is_never_deleted"] {
            sqlx::query(trigger).execute(&mut connection).await.unwrap();
        }
        connection
    }
}

/// Seconds after a fixed beginning.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + seconds).unwrap()
}

fn oid(n: u8) -> CommitId {
    CommitId::from_bytes(&[n; 20]).unwrap()
}

fn status(n: u8, state: StatusState, description: &str) -> CommitStatus {
    CommitStatus {
        commit: oid(n),
        state,
        description: description.to_owned(),
        link: None,
        context: "pci-segment/policy".to_owned(),
        git_ref: Some("refs/heads/main".to_owned()),
    }
}

fn new_commit(n: u8) -> NewCommit {
    let info = CommitInfo {
        id: oid(n),
        parents: vec![oid(n.wrapping_sub(1))],
        author: "Ada <ada@example.com>".to_owned(),
        committer: "Ada <ada@example.com>".to_owned(),
        subject: format!("change {n}"),
        committed_at: 1_767_225_600,
    };
    NewCommit { info, git_ref: "refs/heads/main".to_owned(), came: Came::Poll }
}

fn judged(n: u8, verdict: Verdict, findings: Value, status: Option<CommitStatus>) -> Judged {
    let rule_ids = findings.as_array().unwrap().iter().map(|f| f["rule_id"].as_str().unwrap().to_owned()).collect();
    Judged {
        commit: oid(n),
        verdict,
        findings,
        rule_ids,
        signature: None,
        judged_by: "test 1".to_owned(),
        status,
        comment: None,
        at: at(2),
    }
}

fn event(text: &str) -> AuditEvent {
    let draft = Draft { kind: kind::HEARTBEAT, origin: "host:test", payload: json!({ "text": text }), ..Draft::at(at(5)) };
    AuditEvent::new(draft).unwrap()
}

/// Somebody who reads, and goes on reading, until this is dropped.
pub(crate) async fn hold(file: &std::path::Path) -> SqliteConnection {
    let mut reader = SqliteConnectOptions::new().filename(file).read_only(true).connect().await.unwrap();
    sqlx::raw_sql("BEGIN; SELECT count(*) FROM audit_log").execute(&mut reader).await.unwrap();
    reader
}

async fn kinds(place: &Place) -> Vec<String> {
    let mut look = SqliteConnectOptions::new().filename(place.file()).read_only(true).connect().await.unwrap();
    sqlx::query_scalar("SELECT kind FROM audit_log ORDER BY seq").fetch_all(&mut look).await.unwrap()
}
