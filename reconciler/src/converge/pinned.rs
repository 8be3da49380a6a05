//! Going back: a person pins a commit that was in force before, and it holds against newer heads until that person, or another, ends it.
//!
//! The pinned commit is judged again by today's rules before it is pinned, and each time it is put in force. It needs no remote: what
//! broke may be the way to it. Heads go on being judged, and their statuses say why they are not applied.

use jiff::Timestamp;
use policy::compile::compile;
use policy::snapshot::CommitId;

use super::aiming::NotAimed;
use super::judge::Judged;
use super::lineage::Lineage;
use super::suspended::until;
use super::words::first_finding;
use super::{Head, Outcome, Source, StatusState, Trouble, World};
use crate::chain::chain;
use crate::store::{Came, Switch};

/// The switch that names the commit.
pub const PINNED: &str = "pinned";
/// Findings named in a refusal.
const FINDINGS_NAMED_MAX: usize = 10;

/// What is held to.
pub(super) struct Pin {
    commit: CommitId,
    switch: Switch,
}

impl Pin {
    /// Why a newer head is not applied.
    fn reason(&self) -> String {
        let Switch { who, why, .. } = &self.switch;
        format!("rolled back to {} {} by {who}: {why}", self.commit.short(), until(&self.switch))
    }
}

impl<S: Source> World<'_, S> {
    /// The commit that a person went back to.
    pub(super) async fn pin(&mut self) -> Result<Option<Pin>, Trouble> {
        let switch = self.store.switch_get(PINNED, (self.clock)()).await?;
        let pin = switch.and_then(|switch| switch.value.parse().ok().map(|commit| Pin { commit, switch }));
        self.memory.pinned = pin.as_ref().map(|pin| pin.commit);
        Ok(pin)
    }

    /// Puts the pinned commit in force and judges the head beside it.
    pub(super) async fn hold_to(&mut self, pin: &Pin, came: Came, started: Timestamp) -> Result<Outcome, Trouble> {
        self.memory.settled = None;
        let waits = match self.go_back(pin, started).await {
            Ok(None) => None,
            Ok(Some(outcome)) => Some(Ok(outcome)),
            Err(Trouble::Store(error)) => return Err(error.into()),
            Err(trouble) => Some(Err(trouble)),
        };
        if let Some(waits) = waits {
            self.memory.settled = None;
            match self.answer_head(pin, came).await {
                Ok(()) => {}
                Err(Trouble::Store(error)) => return Err(error.into()),
                // Going back needs no remote, and neither does saying why it waits.
                Err(trouble) => tracing::warn!("the head is not judged beside the pinned commit: {}", chain(&trouble)),
            }
            return waits;
        }
        let seen = self.source.head().await?;
        self.memory.head = Some(seen.clone());
        let Head::At(head) = seen else {
            return Ok(Outcome::InForce { commit: pin.commit, changes: 0 });
        };
        if head == pin.commit {
            return self.still_in_force(head, started).await;
        }
        let new = match self.lineage(Some(pin.commit), head).await? {
            Lineage::New(commits) => commits,
            Lineage::Held(reason) => return self.hold(Some(head), &reason, started).await,
        };
        self.know_enforced(Some(pin.commit)).await;
        match self.judge(new, head, Some(pin.commit), came).await? {
            Judged::Rejected(rejection) => self.rejected(head, rejection, started).await,
            Judged::Compliant(_) => self.hold_back(head, &pin.reason(), started).await,
        }
    }

    /// Judges the head while the pinned commit waits: whoever pushed is answered all the same. The trip is about the pinned commit, so
    /// nothing of the head becomes a pass.
    async fn answer_head(&mut self, pin: &Pin, came: Came) -> Result<(), Trouble> {
        let seen = self.source.head().await?;
        self.memory.head = Some(seen.clone());
        let Head::At(head) = seen else { return Ok(()) };
        let base = self.store.last_in_force().await?.map(|last| last.commit);
        // What is in force or on trial has its answer.
        if head == pin.commit || base == Some(head) || self.head_on_trial(head).is_some() {
            return Ok(());
        }
        let status = match self.lineage(base, head).await? {
            Lineage::Held(reason) => self.settings.status(head, StatusState::Failure, &reason),
            Lineage::New(commits) => {
                self.know_enforced(base).await;
                match self.judge(commits, head, base, came).await? {
                    // The verdict and its status are one.
                    Judged::Rejected(_) => return Ok(()),
                    Judged::Compliant(_) => {
                        self.settings.status(head, StatusState::Pending, &format!("compliant, not applied: {}", pin.reason()))
                    }
                }
            }
        };
        Ok(self.store.queue_status(status, (self.clock)()).await?)
    }

    /// Puts the pinned commit in force, if it is not; what keeps it from being.
    async fn go_back(&mut self, pin: &Pin, started: Timestamp) -> Result<Option<Outcome>, Trouble> {
        if let Some(outcome) = self.head_on_trial(pin.commit) {
            return Ok(Some(outcome));
        }
        let base = self.store.last_in_force().await?.map(|last| last.commit);
        if base == Some(pin.commit) {
            self.drop_trial().await?;
            if self.memory.restored && self.is_known().await? {
                return Ok(None);
            }
        }
        self.know_enforced(base).await;
        let snapshot = self.source.snapshot(&pin.commit).await?;
        let reason = match self.examine(pin.commit, snapshot).await {
            Ok(judgement) => match judgement.admitted {
                Some(admitted) => {
                    let outcome = self.put_in_force(admitted, pin.commit, base, started).await?;
                    return Ok((!matches!(outcome, Outcome::InForce { .. })).then_some(outcome));
                }
                None => first_finding(&serde_json::to_value(&judgement.findings).unwrap_or_default()),
            },
            Err(reason) => reason,
        };
        let reason = format!("cannot go back to {}, today's rules reject it: {reason}; pci-segment resume", pin.commit.short());
        self.hold(Some(pin.commit), &reason, started).await.map(Some)
    }

    /// The commit an order means, if it may be gone back to now; else why not. Nothing is changed.
    ///
    /// # Errors
    /// The records or the mirror did not answer.
    pub(crate) async fn may_go_back(&mut self, digits: &str) -> Result<Result<CommitId, String>, Trouble> {
        let commit = match self.store.commits_like(digits).await?.as_slice() {
            [] => return Ok(Err(format!("no commit that begins with {digits} was ever judged here"))),
            [only] => *only,
            _ => return Ok(Err(format!("more than one commit begins with {digits}; give more digits"))),
        };
        let short = commit.short();
        if !self.store.was_in_force(&commit).await? {
            return Ok(Err(format!("{short} was never in force here; pci-segment history lists what was")));
        }
        if let Some(reason) = self.store.commit(&commit).await?.and_then(|record| record.quarantine) {
            return Ok(Err(format!("{short} is quarantined: {reason}")));
        }
        if let Some(reason) = self.suspension().await? {
            return Ok(Err(format!("nothing may change: {reason}; end that first with pci-segment resume")));
        }
        let base = self.store.last_in_force().await?.map(|last| last.commit);
        let info = self.source.describe(&commit).await?;
        if let Err(refused) = self.signed(&info, true, base).await? {
            return Ok(Err(format!("{short} is not taken today: {}", refused.reason)));
        }
        self.know_enforced(base).await;
        let snapshot = self.source.snapshot(&commit).await?;
        let admitted = match self.examine(commit, snapshot).await {
            Ok(judgement) => match judgement.admitted {
                Some(admitted) => admitted,
                None => {
                    let findings = serde_json::to_value(&judgement.findings).unwrap_or_default();
                    return Ok(Err(format!("today's rules reject {short}: {}", named(&findings))));
                }
            },
            Err(reason) => return Ok(Err(format!("{short} cannot be judged: {reason}"))),
        };
        let aimed = self.aim(&compile(&admitted)).await;
        self.discard();
        Ok(match aimed {
            Ok(_) => Ok(commit),
            Err(NotAimed::Unsupported(problems)) => {
                let first =
                    problems.first().map_or_else(String::new, |problem| format!("{}: {}", problem.backend, problem.message));
                Err(format!("{short} cannot be enforced exactly: {first}"))
            }
            Err(NotAimed::Failed(trouble)) => Err(format!("{short} cannot be enforced: {}", chain(&trouble))),
        })
    }
}

/// The findings that stand in the way, one after the other.
fn named(findings: &serde_json::Value) -> String {
    let errors: Vec<_> = findings
        .as_array()
        .into_iter()
        .flatten()
        .filter(|finding| finding.get("severity").and_then(serde_json::Value::as_str) == Some("error"))
        .collect();
    let text =
        |finding: &serde_json::Value, key: &str| finding.get(key).and_then(serde_json::Value::as_str).unwrap_or("?").to_owned();
    let line = |finding: &serde_json::Value| finding.get("line").and_then(serde_json::Value::as_u64).unwrap_or(1);
    let shown = errors
        .iter()
        .take(FINDINGS_NAMED_MAX)
        .map(|one| format!("{} {}:{} {}", text(one, "rule_id"), text(one, "file"), line(one), text(one, "message")));
    let more = errors.len().saturating_sub(FINDINGS_NAMED_MAX);
    let more = if more == 0 { String::new() } else { format!("; and {more} more") };
    format!("{}{more}", shown.collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests;
