//! Heads of pull and merge requests: judged by today's rules, planned against what is there now, never applied.
//!
//! Anybody who can open a request chooses what is judged here, so nothing in it decides anything: signers, rules and limits are those
//! of the commit in force, no pass is opened, and every target is left without a candidate, aiming at what it aimed at before. A commit
//! that the branch has, too, belongs to the branch: its verdict and its status are left alone and only the comment is written.
//! What happens to a verdict is the same as on the branch: pending and counted before judging, stored with its status in one
//! transaction, `error` where judging itself goes wrong.

mod comment;
mod markdown;
mod planned;

use policy::admit::Judgement;
use policy::snapshot::{CommitId, Snapshot};
use serde_json::{Value, json};

pub use self::comment::MARK as COMMENT_MARK;
use self::planned::{Boundary, Planned, PlannedTarget};
use super::judge::{ATTEMPTS_MAX, STOPPED, Said};
use super::signed::NotSigned;
use super::words::{SIGNATURE, broken_rules, first_finding};
use super::{CommitInfo, CommitStatus, Source, StatusState, Trouble, World};
use crate::chain::chain;
use crate::fault;
use crate::store::{self, Came, CommitRecord, NewCommit, Verdict};

/// Judges the head of a request and says so below it.
///
/// # Errors
/// The source or the store did not answer; try again later.
pub async fn judge_request<S: Source>(world: &mut World<'_, S>, request: u64, head: CommitId) -> Result<(), Trouble> {
    world.request(Some(request), head).await
}

/// Judges a commit that a crash left pending and that nobody asks for any more: its last status must not stay `pending`.
///
/// # Errors
/// The store or the source did not answer; try again later.
pub async fn judge_left_over<S: Source>(world: &mut World<'_, S>, left: &CommitRecord) -> Result<(), Trouble> {
    let judged =
        if left.came == Came::Request { world.request(None, left.commit).await } else { world.left_on_the_branch(left).await };
    match judged {
        // No later look brings it back. Everything else that keeps it from being read passes.
        Err(Trouble::Source(error)) if error.is_gone() => {
            let seen = Seen::error(format!("not judged: {}", chain(&error)));
            world.keep(None, left.commit, seen).await
        }
        other => other,
    }
}

/// Says that a request's head cannot be fetched within our limits. There is no commit to judge, so there is no verdict.
///
/// # Errors
/// The store did not answer; try again later.
pub async fn request_out_of_reach<S: Source>(world: &World<'_, S>, request: u64, head: CommitId) -> Result<(), Trouble> {
    tracing::warn!(request, %head, "the head of a request cannot be fetched within the limits; it is not judged until it moves");
    let seen = Seen::error("its commits cannot be fetched within the limits of this controller".to_owned());
    world.say(Some(request), head, &seen).await
}

/// What came of a request's head.
struct Seen {
    verdict: Verdict,
    /// Verdict, first finding, how many more.
    sentence: String,
    said: Said,
    more_findings: usize,
    plan: Option<Planned>,
    unseen: Vec<String>,
}

impl Seen {
    fn new(verdict: Verdict, sentence: String, said: Said) -> Self {
        Self { verdict, sentence, said, more_findings: 0, plan: None, unseen: Vec::new() }
    }

    fn error(reason: String) -> Self {
        Self::new(Verdict::Error, reason, Said::default())
    }

    fn refused(refused: NotSigned) -> Self {
        let findings = json!([refused.finding()]);
        let said = Said { findings, rule_ids: vec![SIGNATURE.to_owned()], signature: Some(refused.evidence) };
        Self::new(Verdict::Rejected, refused.reason, said)
    }

    fn state(&self) -> StatusState {
        match self.verdict {
            Verdict::Compliant => StatusState::Success,
            Verdict::Rejected | Verdict::Inexpressible => StatusState::Failure,
            Verdict::Error | Verdict::Pending => StatusState::Error,
        }
    }
}

impl<S: Source> World<'_, S> {
    async fn request(&mut self, number: Option<u64>, head: CommitId) -> Result<(), Trouble> {
        let base = self.store.last_in_force().await?.map(|last| last.commit);
        self.know_enforced(base).await;
        let known = self.store.commit(&head).await?.filter(|record| self.stands(record));
        if let Some(record) = known.as_ref().filter(|record| record.verdict == Verdict::Error) {
            // What stopped the validator once may do so again; the record says enough.
            let seen = Seen::error("not judged again by this version".to_owned());
            return self.say(number, record.commit, &seen).await;
        }
        let info = self.source.describe(&head).await?;
        // The files before the attempt is counted: a repository that does not answer is no attempt at judging.
        let examined = match self.signed(&info, true, base).await? {
            Ok(signer) => Ok((signer, self.source.snapshot(&head).await?)),
            Err(refused) => Err(refused),
        };
        if known.is_none() && self.begin_request(number, info.clone()).await? >= ATTEMPTS_MAX {
            return self.keep(number, head, Seen::error(STOPPED.to_owned())).await;
        }
        let seen = match examined {
            Err(refused) => Seen::refused(refused),
            Ok((signer, snapshot)) => self.see(head, snapshot, signer, base).await,
        };
        match known {
            None => self.keep(number, head, seen).await,
            Some(record) if record.came != Came::Request || says_the_same(&record, &seen) => self.say(number, head, &seen).await,
            // Another day, or another commit in force: the verdict does not hold any more.
            Some(_) => {
                self.begin_request(number, info).await?;
                self.keep(number, head, seen).await
            }
        }
    }

    /// Whether a verdict is left alone: one of the branch, or of this program version.
    fn stands(&self, record: &CommitRecord) -> bool {
        record.verdict != Verdict::Pending
            && (record.came != Came::Request || record.judged_by.as_deref() == Some(&self.settings.judged_by))
    }

    async fn begin_request(&self, number: Option<u64>, info: CommitInfo) -> Result<u32, Trouble> {
        let pending = self.request_status(info.id, StatusState::Pending, "being validated");
        let git_ref = number.map_or_else(|| "a closed request".to_owned(), |number| format!("request {number}"));
        let new = NewCommit { info, git_ref, came: Came::Request };
        let commit = new.info.id.to_string();
        fault::point("read", &commit);
        let attempts = self.store.begin_judging(vec![new], vec![pending], (self.clock)()).await?;
        fault::point("begun", &commit);
        Ok(attempts.first().copied().unwrap_or(1))
    }

    /// Judges and plans.
    async fn see(&mut self, head: CommitId, snapshot: Snapshot, signer: Option<Value>, base: Option<CommitId>) -> Seen {
        let judgement = match self.examine(head, snapshot).await {
            Ok(judgement) => judgement,
            Err(reason) => return Seen::error(reason),
        };
        let findings = serde_json::to_value(&judgement.findings).unwrap_or_default();
        let said = Said { rule_ids: broken_rules(&judgement), signature: signer, findings };
        let (unseen, more) = (not_asked(&judgement), judgement.more_problems + judgement.more_findings);
        let Some(admitted) = judgement.admitted else {
            let sentence = first_finding(&said.findings);
            return Seen { unseen, more_findings: more, ..Seen::new(Verdict::Rejected, sentence, said) };
        };
        let (plan, unsupported) = self.plan_request(admitted, base).await;
        if let Some(first) = unsupported.first() {
            let sentence = format!("{}: {}", first.backend, first.message);
            let findings: Vec<_> = unsupported.iter().map(policy::rules::from_unsupported).collect();
            let rule_ids = findings.first().map(|finding| finding.rule_id.to_owned()).into_iter().collect();
            let said = Said { rule_ids, findings: serde_json::to_value(findings).unwrap_or_default(), ..said };
            return Seen { unseen, ..Seen::new(Verdict::Inexpressible, sentence, said) };
        }
        let sentence = plan.sentence();
        Seen { plan: Some(plan), unseen, more_findings: more, ..Seen::new(Verdict::Compliant, sentence, said) }
    }

    /// Verdict, status and comment, in one transaction.
    async fn keep(&mut self, number: Option<u64>, head: CommitId, seen: Seen) -> Result<(), Trouble> {
        let status = Some(self.request_status(head, seen.state(), &seen.sentence));
        let comment = self.comment(number, head, &seen);
        let Seen { verdict, said, .. } = seen;
        self.record(head, verdict, said, status, comment).await
    }

    /// The comment alone, of a commit whose verdict is known.
    async fn say(&self, number: Option<u64>, head: CommitId, seen: &Seen) -> Result<(), Trouble> {
        let Some(store::Comment { request, body }) = self.comment(number, head, seen) else { return Ok(()) };
        Ok(self.store.queue_comment(request, head, body, (self.clock)()).await?)
    }

    fn comment(&self, number: Option<u64>, head: CommitId, seen: &Seen) -> Option<store::Comment> {
        let request = number.filter(|_| self.settings.comment)?;
        let link = self.request_status(head, StatusState::Pending, "").link;
        let body = comment::Said {
            commit: head,
            verdict: seen.verdict,
            sentence: &seen.sentence,
            findings: &seen.said.findings,
            more_findings: seen.more_findings,
            plan: seen.plan.as_ref(),
            unseen: &seen.unseen,
            link: link.as_deref(),
        }
        .text();
        Some(store::Comment { request, body })
    }

    /// Of no branch: a request's head may be on none that the forge knows.
    fn request_status(&self, head: CommitId, state: StatusState, description: &str) -> CommitStatus {
        CommitStatus { git_ref: None, ..self.settings.status(head, state, description) }
    }

    async fn left_on_the_branch(&mut self, left: &CommitRecord) -> Result<(), Trouble> {
        let base = self.store.last_in_force().await?.map(|last| last.commit);
        self.know_enforced(base).await;
        let info = self.source.describe(&left.commit).await?;
        self.judge_new(info, false, base, left.came).await.map(drop)
    }
}

/// Whether a verdict on record holds, with what was found.
fn says_the_same(record: &CommitRecord, seen: &Seen) -> bool {
    record.verdict == seen.verdict && record.findings == seen.said.findings
}

/// Rules that lacked their facts: silence is no success.
fn not_asked(judgement: &Judgement) -> Vec<String> {
    let line = |rule: &policy::admit::NotRun| format!("rule {} was not asked: it needs {}", rule.rule_id, rule.needs.join(", "));
    judgement.not_run.iter().map(line).collect()
}

#[cfg(test)]
mod tests;
