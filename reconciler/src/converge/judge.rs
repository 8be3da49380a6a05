//! Every new commit gets a verdict and a status; only the head can be applied.
//!
//! Before judging, the commits are durable as pending. Judging runs on a thread of its own, so that a panic or a runaway becomes a
//! verdict `error` instead of a silence. A verdict and its status are one transaction.

use std::time::Duration;

use policy::admit::{Admitted, Circumstances, Judgement, admit};
use policy::date::Date;
use policy::model::Profile;
use policy::read::read;
use policy::snapshot::{CommitId, Snapshot};
use serde_json::json;

use super::words::{broken_rules, first_finding};
use super::{CommitInfo, Source, StatusState, Trouble, World};
use crate::store::{self, Came, CommitRecord, NewCommit, Verdict};

/// Judging one commit may take this long.
const JUDGING_TIME_MAX: Duration = Duration::from_secs(10);
/// A commit that stops the whole process this often is not judged again by the same version.
const ATTEMPTS_MAX: u32 = 3;

/// What became of the head.
pub(super) enum Judged {
    /// It may be compiled.
    Compliant(Box<Admitted>),
    /// It may not.
    Rejected(Rejection),
}

/// Why a head is not applied.
pub(super) struct Rejection {
    /// Verdict, first finding, how many more.
    pub reason: String,
    /// How many findings.
    pub findings: u64,
    /// The rules that are broken.
    pub rule_ids: Vec<String>,
}

/// Reads and judges one snapshot: pure, for whoever has a thread.
#[must_use]
pub fn judge_snapshot(snapshot: &Snapshot, commit: Option<CommitId>, today: Date, pinned_profile: Option<Profile>) -> Judgement {
    admit(read(snapshot), &Circumstances { today, pinned_profile, commit })
}

impl<S: Source> World<'_, S> {
    /// Judges what is new, oldest first; the head is the last.
    pub(super) async fn judge(&self, commits: Vec<CommitInfo>, head: CommitId, came: Came) -> Result<Judged, Trouble> {
        let mut fresh = Vec::new();
        let mut known = None;
        for info in commits {
            match self.verdict_of(&info).await? {
                Some(record) if info.id == head => known = Some(record),
                Some(_) => {}
                None => fresh.push(info),
            }
        }
        let pending = fresh
            .iter()
            .filter(|info| info.id == head)
            .map(|info| self.settings.status(info.id, StatusState::Pending, "being validated"));
        let new = fresh.iter().map(|info| NewCommit { info: info.clone(), git_ref: self.settings.git_ref.clone(), came });
        let attempts = if fresh.is_empty() {
            Vec::new()
        } else {
            self.store.begin_judging(new.collect(), pending.collect(), (self.clock)()).await?
        };
        let mut verdict = None;
        for (info, attempt) in fresh.iter().zip(attempts) {
            verdict = Some(self.judge_one(info.id, info.id == head, attempt).await?);
        }
        match (known, verdict) {
            (Some(record), _) => self.again(head, record).await,
            (None, Some(judged)) => Ok(judged),
            (None, None) => {
                Ok(Judged::Rejected(Rejection { reason: "nothing was judged".to_owned(), findings: 0, rule_ids: Vec::new() }))
            }
        }
    }

    /// The verdict that this version has already given.
    async fn verdict_of(&self, info: &CommitInfo) -> Result<Option<CommitRecord>, Trouble> {
        let record = self.store.commit(&info.id).await?;
        Ok(record.filter(|r| r.verdict != Verdict::Pending && r.judged_by.as_deref() == Some(&self.settings.judged_by)))
    }

    /// A head that has its verdict: a compliant one is read again for its content, nothing is recorded twice.
    async fn again(&self, head: CommitId, record: CommitRecord) -> Result<Judged, Trouble> {
        let findings = record.findings.as_array().map_or(0, Vec::len) as u64;
        if matches!(record.verdict, Verdict::Compliant | Verdict::Inexpressible)
            && let Ok(Some(admitted)) = self.examine(head).await.map(|judged| judged.ok().and_then(|j| j.admitted))
        {
            return Ok(Judged::Compliant(Box::new(admitted)));
        }
        let reason = match record.rule_ids.first() {
            Some(rule) => format!("{findings} findings, the first is {rule}"),
            None => format!("judged {}", record.verdict.word()),
        };
        Ok(Judged::Rejected(Rejection { reason, findings, rule_ids: record.rule_ids }))
    }

    async fn judge_one(&self, commit: CommitId, is_head: bool, attempt: u32) -> Result<Judged, Trouble> {
        if attempt > ATTEMPTS_MAX {
            return self.failed(commit, &format!("validator stopped {ATTEMPTS_MAX} times on this commit")).await;
        }
        match self.examine(commit).await? {
            Ok(judgement) => self.keep_verdict(commit, judgement, is_head).await,
            Err(reason) => self.failed(commit, &reason).await,
        }
    }

    /// Reads and judges a commit; `Err` inside means that judging itself went wrong.
    pub(super) async fn examine(&self, commit: CommitId) -> Result<Result<Judgement, String>, Trouble> {
        let snapshot = self.source.snapshot(&commit).await?;
        let pinned = self.settings.pinned_profile;
        let day = (self.clock)().to_zoned(jiff::tz::TimeZone::UTC).date().to_string();
        let Some(today) = Date::parse(&day) else { return Ok(Err(format!("the clock says {day}"))) };
        let task = tokio::task::spawn_blocking(move || judge_snapshot(&snapshot, Some(commit), today, pinned));
        Ok(match tokio::time::timeout(JUDGING_TIME_MAX, task).await {
            Ok(Ok(judgement)) => Ok(judgement),
            Ok(Err(_)) => Err("the validator stopped on this commit".to_owned()),
            Err(_) => Err(format!("the validator needs more than {} s for this commit", JUDGING_TIME_MAX.as_secs())),
        })
    }

    /// The one place that stores what the rules said. A compliant head gets its status when its pass ends.
    async fn keep_verdict(&self, commit: CommitId, judgement: Judgement, is_head: bool) -> Result<Judged, Trouble> {
        let reason = first_finding(&judgement);
        let rule_ids = broken_rules(&judgement);
        let (verdict, status) = match (judgement.compliant(), is_head) {
            (true, true) => (Verdict::Compliant, None),
            (true, false) => (Verdict::Compliant, Some(self.settings.status(commit, StatusState::Success, "compliant"))),
            (false, _) => (Verdict::Rejected, Some(self.settings.status(commit, StatusState::Failure, &reason))),
        };
        let findings = serde_json::to_value(&judgement.findings).unwrap_or_default();
        let count = judgement.findings.len() as u64;
        self.record(commit, verdict, findings, rule_ids.clone(), status).await?;
        Ok(match judgement.admitted {
            Some(admitted) => Judged::Compliant(Box::new(admitted)),
            None => Judged::Rejected(Rejection { reason, findings: count, rule_ids }),
        })
    }

    async fn failed(&self, commit: CommitId, reason: &str) -> Result<Judged, Trouble> {
        let status = self.settings.status(commit, StatusState::Error, reason);
        self.record(commit, Verdict::Error, json!([]), Vec::new(), Some(status)).await?;
        Ok(Judged::Rejected(Rejection { reason: format!("error: {reason}"), findings: 0, rule_ids: Vec::new() }))
    }

    pub(super) async fn record(
        &self,
        commit: CommitId,
        verdict: Verdict,
        findings: serde_json::Value,
        rule_ids: Vec<String>,
        status: Option<super::CommitStatus>,
    ) -> Result<(), Trouble> {
        let judged_by = self.settings.judged_by.clone();
        let judged = store::Judged { commit, verdict, findings, rule_ids, judged_by, status, at: (self.clock)() };
        Ok(self.store.record_verdict(judged).await?)
    }
}
