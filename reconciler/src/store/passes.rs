//! Passes and their steps: intent before the first outside call, results after.

use jiff::Timestamp;
use policy::snapshot::CommitId;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::pass_end::{Outcome, PassEnd, end_pass};
use super::switches::{Note, write_notes};
use super::tx::Tx;
use super::{Error, Store, from_ns, to_ns, words};
use crate::audit::event::{fresh_id, tidy};
use crate::audit::{Draft, Ended, Hash, hex, kind};

words! {
    /// What a step makes sure of.
    Ensure {
        /// The rule is there.
        Present = "present",
        /// It is not.
        Absent = "absent",
    }
}

words! {
    /// Why a step is taken.
    Why {
        /// The commit says so.
        Commit = "commit",
        /// Somebody else changed it.
        Drift = "drift",
        /// The way back.
        Rollback = "rollback",
    }
}

words! {
    /// Where a step is.
    StepState {
        /// Written down, not known to be done.
        Intent = "intent",
        /// Done.
        Done = "done",
        /// It was so already.
        Already = "already",
        /// Refused.
        Failed = "failed",
        /// No answer; only observing tells.
        Unknown = "unknown",
    }
}

/// A pass's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PassId(pub [u8; 16]);

/// A plan as evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The plan, as JSON. Kept once by its SHA-256, which is the plan's hash everywhere.
    pub json: String,
    /// What should be.
    pub desired_hash: Hash,
    /// What was there when the plan was made.
    pub observed_hash: Hash,
}

impl Plan {
    /// The SHA-256 of the JSON.
    #[must_use]
    pub fn hash(&self) -> Hash {
        Sha256::digest(self.json.as_bytes()).into()
    }
}

/// One step about to be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewStep {
    /// `ebpf`, `aws`, `azure`.
    pub backend: String,
    /// Which interface, group, …
    pub target: String,
    /// Which rule, in the backend's words.
    pub key: String,
    /// Towards what.
    pub ensure: Ensure,
    /// Why.
    pub why: Why,
}

/// A pass about to change something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenPass {
    /// The commit it works towards.
    pub head: CommitId,
    /// Full name of the ref it is the head of.
    pub git_ref: String,
    /// What was in force before.
    pub enforced_before: Option<CommitId>,
    /// What will be done.
    pub plan: Plan,
    /// Each change on its own, in order.
    pub steps: Vec<NewStep>,
    /// Facts that hold from now on, in the same transaction.
    pub notes: Vec<Note>,
    /// When.
    pub at: Timestamp,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepEnd {
    /// Its number: the index in [`OpenPass::steps`].
    pub n: u32,
    /// Not `intent`.
    pub state: StepState,
    /// The provider's code, where there is one.
    pub code: Option<String>,
}

/// What is in force on one target.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct EnforcedRow {
    /// `ebpf`, `aws`, `azure`.
    pub backend: String,
    /// Which interface, group, …
    pub target: String,
    /// The commit, in hexadecimal.
    pub commit: String,
    /// Hash of the desired state, in hexadecimal.
    pub desired_hash: String,
    /// The backend's generation.
    pub generation: u64,
    /// When it was last seen to be so.
    pub verified_at: Timestamp,
    /// The commit in force there before.
    pub last_good: Option<String>,
}

impl Store {
    /// Writes a plan and all its steps down as intent, with `pass.opened`, before the first outside call.
    ///
    /// # Errors
    /// The database cannot be written: nothing may be changed.
    pub async fn open_pass(&self, pass: OpenPass) -> Result<PassId, Error> {
        self.write(move |tx| {
            Box::pin(async move {
                let id = PassId(fresh_id(pass.at));
                let row =
                    PassRow { head: Some(pass.head), git_ref: &pass.git_ref, before: pass.enforced_before, plan: Some(&pass.plan) };
                insert_pass(tx, id, &row, pass.at).await?;
                for (n, step) in (0_i64..).zip(&pass.steps) {
                    insert_step(tx, id, n, step, pass.at).await?;
                }
                write_notes(tx, &pass.notes, pass.at).await?;
                log_opened(tx, &pass).await?;
                Ok(id)
            })
        })
        .await
    }

    /// More steps of an open pass, from number `first` on, before they are taken: what it works on was changed, and planned again.
    ///
    /// # Errors
    /// The database cannot be written: nothing may be changed.
    pub async fn add_steps(&self, pass: PassId, first: u32, steps: Vec<NewStep>, now: Timestamp) -> Result<(), Error> {
        self.write(move |tx| {
            Box::pin(async move {
                for (n, step) in (i64::from(first)..).zip(&steps) {
                    insert_step(tx, pass, n, step, now).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// How steps ended. A step that failed or whose end is unknown gets an audit row of its own; the others are in the plan.
    ///
    /// # Errors
    /// No such step; the database cannot be written.
    pub async fn close_steps(&self, pass: PassId, ends: Vec<StepEnd>, now: Timestamp) -> Result<(), Error> {
        self.write(move |tx| {
            Box::pin(async move {
                for end in &ends {
                    close_step(tx, pass, end, now).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// Ends a pass: its row, what is now in force, the audit row and the status, in one transaction.
    ///
    /// # Errors
    /// The pass is not open; the database cannot be written.
    pub async fn close_pass(&self, pass: PassId, end: PassEnd) -> Result<(), Error> {
        self.write(move |tx| Box::pin(async move { end_pass(tx, pass, &end).await })).await
    }

    /// At start: passes a crash left open are closed as failed, `interrupted`, their open steps as unknown. Nothing is replayed;
    /// observe and plan again.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn close_interrupted_passes(&self, now: Timestamp) -> Result<Vec<PassId>, Error> {
        self.write(move |tx| {
            Box::pin(async move {
                let closing = |source| Error::sqlite("cannot close interrupted passes", source);
                let open: Vec<Vec<u8>> = sqlx::query_scalar("SELECT id FROM passes WHERE closed IS NULL ORDER BY opened, rowid")
                    .fetch_all(tx.connection())
                    .await
                    .map_err(closing)?;
                let mut closed = Vec::with_capacity(open.len());
                for id in open {
                    sqlx::query("UPDATE steps SET state = 'unknown', finished = ? WHERE pass = ? AND state = 'intent'")
                        .bind(to_ns(now))
                        .bind(&id)
                        .execute(tx.connection())
                        .await
                        .map_err(closing)?;
                    let id = PassId(id.try_into().unwrap_or_default());
                    end_pass(tx, id, &PassEnd::of(Outcome::Failed, "interrupted", now)).await?;
                    closed.push(id);
                }
                Ok(closed)
            })
        })
        .await
    }

    /// What is in force on a target.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn enforced(&self, backend: &str, target: &str) -> Result<Option<EnforcedRow>, Error> {
        Ok(self.enforced_all().await?.into_iter().find(|row| row.backend == backend && row.target == target))
    }

    /// What is in force everywhere.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn enforced_all(&self) -> Result<Vec<EnforcedRow>, Error> {
        type Row = (String, String, Vec<u8>, Vec<u8>, i64, i64, Option<Vec<u8>>);
        let query = sqlx::query_as(
            "SELECT backend, target, oid, desired_hash, generation, verified_at, last_good FROM enforced ORDER BY backend, target",
        );
        let rows: Vec<Row> = self.read("cannot read what is in force", query.fetch_all(&self.readers)).await?;
        let row = |(backend, target, oid, desired, generation, verified, last): Row| EnforcedRow {
            backend,
            target,
            commit: hex(&oid),
            desired_hash: hex(&desired),
            generation: u64::try_from(generation).unwrap_or(0),
            verified_at: from_ns(verified),
            last_good: last.map(|oid| hex(&oid)),
        };
        Ok(rows.into_iter().map(row).collect())
    }

    /// Bytes kept as evidence, by their SHA-256.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn evidence(&self, sha256: &Hash) -> Result<Option<Vec<u8>>, Error> {
        let query = sqlx::query_scalar("SELECT bytes FROM evidence WHERE sha256 = ?").bind(sha256.to_vec());
        self.read("cannot read evidence", query.fetch_optional(&self.readers)).await
    }
}

/// What a pass's row says when it is made.
pub(super) struct PassRow<'a> {
    pub head: Option<CommitId>,
    pub git_ref: &'a str,
    pub before: Option<CommitId>,
    pub plan: Option<&'a Plan>,
}

pub(super) async fn insert_pass(tx: &mut Tx, id: PassId, row: &PassRow<'_>, now: Timestamp) -> Result<(), Error> {
    let writing = |source| Error::sqlite("cannot write a pass down", source);
    let mut plan_hash = None;
    if let Some(plan) = row.plan {
        let hash = plan.hash();
        sqlx::query("INSERT INTO evidence (sha256, bytes, kept_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING")
            .bind(hash.to_vec())
            .bind(plan.json.as_bytes())
            .bind(to_ns(now))
            .execute(tx.connection())
            .await
            .map_err(writing)?;
        plan_hash = Some(hash.to_vec());
    }
    let oid = |commit: Option<CommitId>| commit.map(|c| c.as_bytes().to_vec());
    sqlx::query(
        "INSERT INTO passes (id, opened, seen, head, ref, enforced_before, plan_hash, desired_hash, observed_hash) \
         VALUES (?1, ?2, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )
    .bind(id.0.to_vec())
    .bind(to_ns(now))
    .bind(oid(row.head))
    .bind(row.git_ref)
    .bind(oid(row.before))
    .bind(plan_hash)
    .bind(row.plan.map(|p| p.desired_hash.to_vec()))
    .bind(row.plan.map(|p| p.observed_hash.to_vec()))
    .execute(tx.connection())
    .await
    .map(drop)
    .map_err(writing)
}

async fn insert_step(tx: &mut Tx, pass: PassId, n: i64, step: &NewStep, now: Timestamp) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO steps (pass, n, backend, target, key, ensure, why, state, started) VALUES (?, ?, ?, ?, ?, ?, ?, 'intent', ?)",
    )
    .bind(pass.0.to_vec())
    .bind(n)
    .bind(&step.backend)
    .bind(&step.target)
    .bind(&step.key)
    .bind(step.ensure.word())
    .bind(step.why.word())
    .bind(to_ns(now))
    .execute(tx.connection())
    .await
    .map(drop)
    .map_err(|e| Error::sqlite("cannot write a step down", e))
}

async fn log_opened(tx: &mut Tx, pass: &OpenPass) -> Result<(), Error> {
    let origin = tx.origin();
    let payload = json!({
        "steps": pass.steps.len(),
        "enforced_before": pass.enforced_before.map(|c| c.to_string()),
        "desired_hash": hex(&pass.plan.desired_hash),
        "observed_hash": hex(&pass.plan.observed_hash),
    });
    let draft = Draft { kind: kind::PASS_OPENED, origin: &origin, object: "policy", outcome: Ended::None, ..Draft::at(pass.at) };
    tx.log(Draft { commit: Some(pass.head), plan: Some(pass.plan.hash()), payload, ..draft }).await.map(drop)
}

async fn close_step(tx: &mut Tx, pass: PassId, end: &StepEnd, now: Timestamp) -> Result<(), Error> {
    let sql = "UPDATE steps SET state = ?, code = ?, finished = ? WHERE pass = ? AND n = ? RETURNING backend, target, key, ensure";
    let row: Option<(String, String, String, String)> = sqlx::query_as(sql)
        .bind(end.state.word())
        .bind(&end.code)
        .bind(to_ns(now))
        .bind(pass.0.to_vec())
        .bind(i64::from(end.n))
        .fetch_optional(tx.connection())
        .await
        .map_err(|e| Error::sqlite("cannot close a step", e))?;
    let (backend, target, key, ensure) = row.ok_or_else(|| Error::NoSuch(format!("step {} of that pass", end.n)))?;
    let outcome = match end.state {
        StepState::Failed => Ended::Failed,
        StepState::Unknown => Ended::Unknown,
        StepState::Done | StepState::Already | StepState::Intent => return Ok(()),
    };
    let origin = tx.origin();
    let object = tidy(&target, 255);
    let code = end.code.as_ref().map(|code| tidy(code, 1_000));
    let payload = json!({ "n": end.n, "backend": backend, "key": tidy(&key, 1_000), "ensure": ensure, "code": code });
    tx.log(Draft { kind: kind::STEP_CLOSED, origin: &origin, object: &object, outcome, payload, ..Draft::at(now) }).await.map(drop)
}
