//! Orders that hold until somebody ends them or their time is over: suspend, go back, switch enforcement off; and the one that ends them.

use std::time::Duration;

use jiff::Timestamp;
use policy::snapshot::CommitId;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::oneshot;

use super::orders::{Orders, refused, switch};
use super::{JUDGING_TIME_MAX, Reply};
use crate::backend::{Dropping, View};
use crate::chain::chain;
use crate::converge::{DISABLED, FAILED, Failed, PINNED, SUSPENDED, ends_with_a_look, until};
use crate::run::disabled::DISABLED_MAX;
use crate::run::rollback::Asked;
use crate::store::{self, Note, Store, Switch, restoring};

/// Rows of the history that are looked at for the newest head; some have none.
const HEADS_ASKED: u32 = 20;

/// What is said where the hold stays.
const STILL_HELD: &str = "changes are held after errors of the disk; look at it, then: pci-segment resume --only hold --reason …";

/// What `resume` ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Ends {
    /// The suspension
    Suspend,
    /// The rollback
    Rollback,
    /// The time for which enforcement is off
    Disable,
    /// The hold after the disk of the database failed
    Hold,
}

impl Ends {
    const ALL: [Self; 4] = [Self::Suspend, Self::Rollback, Self::Disable, Self::Hold];

    const fn switch(self) -> &'static str {
        match self {
            Self::Suspend => SUSPENDED,
            Self::Rollback => PINNED,
            Self::Disable => DISABLED,
            Self::Hold => store::DATABASE,
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Suspend => "changes go on",
            Self::Rollback => "newer heads are applied again",
            Self::Disable => "enforcement is on again",
            Self::Hold => "the hold after errors of the disk is over",
        }
    }
}

impl Orders {
    /// Holds changes back.
    pub(super) async fn suspend(&self, reason: String, until: Option<Timestamp>, who: String) -> Reply {
        if let Some(refusal) = no_reason(&reason).or_else(|| over(until)) {
            return refusal;
        }
        let switch = Switch { until, ..switch(SUSPENDED, "on".to_owned(), reason, who) };
        match self.store.switch_set(switch.clone()).await {
            Ok(()) => {
                self.wake.notify_one();
                done(format!("changes are suspended {}; enforcement, judging and statuses go on", self::until(&switch)))
            }
            Err(error) => refused(chain(&error)),
        }
    }

    /// Pins an earlier commit; the loop decides whether that can be.
    pub(super) async fn roll_back(&self, commit: String, reason: String, who: String) -> Reply {
        if let Some(refusal) = no_reason(&reason) {
            return refusal;
        }
        if !(7..=64).contains(&commit.len()) || !commit.chars().all(|c| c.is_ascii_hexdigit()) {
            return refused("a commit is named by 7 to 64 hexadecimal digits".to_owned());
        }
        let (answer, answered) = oneshot::channel();
        self.rollbacks.ask(Asked { commit, reason, who, answer });
        // Before the loop wakes for it: what it asks the remote about this order must not be cut off by it.
        self.urgent.give();
        self.wake.notify_one();
        match tokio::time::timeout(JUDGING_TIME_MAX, answered).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(_)) => refused("the controller is stopping".to_owned()),
            Err(_) => refused("the controller is at work and has not decided yet; pci-segment status tells".to_owned()),
        }
    }

    /// Switches enforcement off. First on record, then in the kernel.
    pub(super) async fn disable(&self, reason: String, until: Timestamp, who: String) -> Reply {
        if let Some(refusal) = no_reason(&reason).or_else(|| over(Some(until))) {
            return refusal;
        }
        let left = Duration::try_from(until.duration_since(Timestamp::now())).unwrap_or_default();
        if left > DISABLED_MAX {
            return refused(format!("at most {} h at once", DISABLED_MAX.as_secs() / 3600));
        }
        let Some(view) = self.view.get().cloned() else { return refused("this controller enforces nothing".to_owned()) };
        match self.may_be_disabled(&view).await {
            Ok(None) => {}
            Ok(Some(why)) => return refused(why),
            Err(error) => return refused(format!("{error}; from a bare shell: pci-segment rescue audit")),
        }
        let target = view.target().to_owned();
        let switch = Switch { until: Some(until), ..switch(DISABLED, target.clone(), reason.clone(), who.clone()) };
        if let Err(error) = self.store.switch_set(switch.clone()).await {
            return refused(format!("{}; from a bare shell: pci-segment rescue audit", chain(&error)));
        }
        let off = tokio::task::spawn_blocking(move || view.disable(left)).await;
        let failed = match off {
            Ok(Ok(true)) => None,
            Ok(Ok(false)) => Some("no rules were in force".to_owned()),
            Ok(Err(error)) => Some(chain(&error)),
            Err(error) => Some(error.to_string()),
        };
        if let Some(failed) = failed {
            let by = ("system".to_owned(), failed.clone());
            let cleared = self.store.switch_end(&switch, by, Vec::new(), Timestamp::now()).await;
            self.disabled.notify_one();
            return refused(cleared.err().map_or(failed.clone(), |error| format!("{failed}; {}", chain(&error))));
        }
        let payload = json!({ "until": until.to_string(), "why": reason });
        if let Err(error) = self.store.note_enforcement(false, &target, &who, payload).await {
            tracing::error!("cannot record: {}", chain(&error));
        }
        self.disabled.notify_one();
        self.drift.notify_one();
        self.wake.notify_one();
        done(format!(
            "ENFORCEMENT IS OFF on {target}: nothing is dropped {}; it comes back by itself, or with pci-segment resume",
            self::until(&switch)
        ))
    }

    /// Why there is nothing to switch off, or not by this.
    async fn may_be_disabled(&self, view: &View) -> Result<Option<String>, String> {
        let looking = view.clone();
        let dropping = tokio::task::spawn_blocking(move || looking.dropping()).await.map_err(|error| error.to_string())?;
        let enforced = self.store.enforced_all().await.map_err(|error| chain(&error))?;
        let vouched = enforced.iter().any(|row| row.target == view.target());
        Ok(refusal(dropping.map_err(|error| chain(&error))?, vouched).map(ToOwned::to_owned))
    }

    /// Ends what holds.
    pub(super) async fn resume(&self, only: Option<Ends>, reason: Option<String>, who: String) -> Reply {
        if only == Some(Ends::Hold) && !given(reason.as_deref()) {
            return refused("a reason is needed: what was found at the disk".to_owned());
        }
        let why = reason.clone().unwrap_or_else(|| "resumed".to_owned());
        let mut ended = Vec::new();
        for ends in Ends::ALL.into_iter().filter(|ends| only.map_or(*ends != Ends::Hold, |only| only == *ends)) {
            match self.end(ends, &why, &who).await {
                Ok(true) => ended.push(ends.words().to_owned()),
                Ok(false) => {}
                Err(reason) => return refused(reason),
            }
        }
        if only.is_none() {
            match with_the_rest(&self.store, ended.is_empty(), reason.as_deref(), &who).await {
                Ok(said) => ended.extend(said.map(ToOwned::to_owned)),
                Err(reason) => return refused(reason),
            }
            match self.try_again(&who, &why).await {
                Ok(commit) => ended.extend(commit.map(|commit| format!("{} is tried again", commit.short()))),
                Err(error) => return refused(chain(&error)),
            }
        }
        self.disabled.notify_one();
        self.drift.notify_one();
        self.wake.notify_one();
        if ended.is_empty() { refused("nothing was to be resumed".to_owned()) } else { done(ended.join("; ")) }
    }

    async fn end(&self, ends: Ends, why: &str, who: &str) -> Result<bool, String> {
        let failed = |error: store::Error| chain(&error);
        if ends == Ends::Hold {
            return self.store.release_hold(why, who, Timestamp::now()).await.map_err(failed);
        }
        let Some(switch) = self.store.switch_row(ends.switch()).await.map_err(failed)? else { return Ok(false) };
        let view = self.view.get().cloned().filter(|_| ends == Ends::Disable);
        let notes = view.iter().map(|_| restoring(who, why)).collect();
        let by = (who.to_owned(), why.to_owned());
        if !self.store.switch_end(&switch, by, notes, Timestamp::now()).await.map_err(failed)? {
            return Ok(false);
        }
        let Some(view) = view else { return Ok(true) };
        let target = view.target().to_owned();
        match tokio::task::spawn_blocking(move || view.enable()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                self.disabled.notify_one();
                return Err(format!("enforcement is not on again yet, the controller goes on trying: {}", chain(&error)));
            }
            Err(error) => return Err(error.to_string()),
        }
        self.store.note_restored(&target, Timestamp::now()).await.map_err(failed)?;
        Ok(true)
    }

    /// Lets a commit be tried again that failed too often; which.
    pub(super) async fn try_again(&self, who: &str, why: &str) -> Result<Option<CommitId>, store::Error> {
        try_again(&self.store, who, why).await
    }
}

/// The hold after errors of the disk is no side effect of another order: it ends with an order that names it, or that can mean nothing
/// else, and says why. What is said of it; nothing where nothing is held.
async fn with_the_rest(store: &Store, alone: bool, reason: Option<&str>, who: &str) -> Result<Option<&'static str>, String> {
    if store.held().is_none() {
        return Ok(None);
    }
    if !alone {
        return Ok(Some(STILL_HELD));
    }
    let Some(why) = reason.filter(|reason| given(Some(reason))) else { return Err(STILL_HELD.to_owned()) };
    store.release_hold(why, who, Timestamp::now()).await.map_err(|error| chain(&error))?;
    Ok(Some(Ends::Hold.words()))
}

fn given(reason: Option<&str>) -> bool {
    reason.is_some_and(|reason| !reason.trim().is_empty())
}

/// The pinned commit, what failed last, or the newest head, whichever is quarantined first: each may have been told to wait for this.
async fn try_again(store: &Store, who: &str, why: &str) -> Result<Option<CommitId>, store::Error> {
    let pinned = store.switch_get(PINNED, Timestamp::now()).await?.map(|switch| switch.value);
    let failed = store.meta_get(FAILED).await?.and_then(|text| serde_json::from_str::<Failed>(&text).ok());
    let seen = store.history(HEADS_ASKED).await?.into_iter().find_map(|row| row.commit);
    let known = [pinned, failed.map(|failed| failed.commit), seen];
    for commit in known.into_iter().flatten().filter_map(|text| text.parse().ok()) {
        let Some(reason) = store.commit(&commit).await?.and_then(|record| record.quarantine) else { continue };
        if ends_with_a_look(&reason) {
            let forgotten = Note { name: FAILED.to_owned(), value: None };
            store.release_quarantine(commit, forgotten, (who.to_owned(), why.to_owned()), Timestamp::now()).await?;
            return Ok(Some(commit));
        }
    }
    Ok(None)
}

/// What the kernel does is asked before the records: rules on trial for the first time drop, and are in no record yet.
const fn refusal(dropping: Dropping, vouched: bool) -> Option<&'static str> {
    match (dropping, vouched) {
        (Dropping::All | Dropping::Off(_), true) => None,
        (Dropping::All | Dropping::Off(_), false) => Some(
            "rules drop here that nobody has confirmed yet, so there is nothing to come back to; pci-segment rescue rollback takes back \
             what is on trial, and with pci-segment rescue audit nothing is dropped",
        ),
        (Dropping::Audited, _) => {
            Some("nothing is dropped already: no rules were confirmed yet, or audit was turned on by hand (pci-segment rescue)")
        }
        (Dropping::Nothing, _) => Some("no rules are in place on this host, so nothing is dropped"),
    }
}

fn done(message: String) -> Reply {
    Reply { ok: true, message }
}

fn no_reason(reason: &str) -> Option<Reply> {
    reason.trim().is_empty().then(|| refused("a reason is needed".to_owned()))
}

fn over(until: Option<Timestamp>) -> Option<Reply> {
    until.filter(|until| *until <= Timestamp::now()).map(|until| refused(format!("{until} is over already")))
}

#[cfg(test)]
mod tests;
