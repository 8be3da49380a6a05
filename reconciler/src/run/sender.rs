//! The outbox sender: red must not be lost.
//!
//! A status leaves the outbox only when the forge has taken it, or has said that it never will, or when it is no red one and has
//! become worthless. Everything else is tried again, with back-off that survives restarts because it stands in the row. A row that
//! failed therefore delays only itself; but a forge that is silent costs a time-out for each row, so a list is given up after a few
//! failures in a row: the next one begins, after [`LOOK_INTERVAL`], with rows that are due, red ones first. No list is asked for
//! while another is worked on. What concerns the forge rather than a row lets all of them wait: our own [`budget`], a rate limit,
//! which a restart does not shorten, and refused credentials, which a restart may have mended.

mod budget;
#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rand::RngExt as _;
use tokio_util::sync::CancellationToken;

use self::budget::Budget;
use crate::config::Config;
use crate::converge::{CommitStatus, Forge, ReportError, StatusState};
use crate::forge::gitea::Gitea;
use crate::forge::github::GitHub;
use crate::forge::gitlab::GitLab;
use crate::forge::silent::Silent;
use crate::store::{Error, OutboxItem, Store};

/// How often the outbox is looked at when nothing wakes it.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// How long a forge that refuses us is left alone.
const PAUSE: Duration = Duration::from_secs(300);
/// The row it refused goes after those it has not seen: it may be the only one that is refused.
const BEHIND_OTHERS: Duration = Duration::from_secs(1);
/// First wait after a failure; doubles.
const WAIT_MIN: Duration = Duration::from_secs(2);
/// Longest wait after a failure.
const WAIT_MAX: Duration = Duration::from_secs(900);
/// First wait where the forge limits us without saying for how long; doubles.
const UNNAMED_LIMIT_MIN: Duration = Duration::from_secs(60);
/// Longest of these.
const UNNAMED_LIMIT_MAX: Duration = Duration::from_secs(3600);
/// Longest time for which a forge is left alone; what is longer comes from a clock that was put back.
const REST_MAX: SignedDuration = SignedDuration::from_hours(2);
/// Statuses taken from the outbox at once.
const BATCH: u32 = 20;
/// After so many failures in a row the rest of a list waits for the next, so that a new red verdict goes before old green ones.
const FAILURES_IN_A_ROW: u32 = 4;
/// When nobody needs to hear of a success, or that something is pending, any more.
const WORTHLESS_AFTER: SignedDuration = SignedDuration::from_hours(7 * 24);
/// GitHub takes 1,000 statuses for a commit and context. The last ones are for failures and errors.
const STATUSES_BEFORE_ONLY_RED: u64 = 990;
/// The fact in the store that a restart must know.
const RESTS_UNTIL: &str = "forge_rests_until";

/// The configured forge.
pub(super) enum AnyForge {
    /// GitHub.
    GitHub(Box<GitHub>),
    /// GitLab.
    GitLab(Box<GitLab>),
    /// Gitea or Forgejo.
    Gitea(Box<Gitea>),
    /// Nobody is told.
    Silent(Silent),
}

impl Forge for AnyForge {
    async fn report(&self, status: &CommitStatus) -> Result<Option<String>, ReportError> {
        match self {
            Self::GitHub(forge) => forge.report(status).await,
            Self::GitLab(forge) => forge.report(status).await,
            Self::Gitea(forge) => forge.report(status).await,
            Self::Silent(forge) => forge.report(status).await,
        }
    }
}

/// Sends until told to stop.
pub(super) async fn send(forge: AnyForge, store: Store, stop: CancellationToken) {
    let known = tokio::select! {
        () = stop.cancelled() => return,
        known = patiently(&forge, &store) => known,
    };
    let mut sender = Sender::new(forge, store, Timestamp::now, known);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
        }
        // Cut off while the forge is silent, a status stays in the outbox and is sent after the next start.
        let sent = tokio::select! {
            () = stop.cancelled() => return,
            sent = sender.round() => sent,
        };
        if let Err(error) = sent {
            tracing::error!("cannot work on the outbox: {}", crate::chain::chain(&error));
        }
    }
}

/// A database that cannot be read now may be in a moment.
async fn patiently(forge: &AnyForge, store: &Store) -> Known {
    loop {
        match Known::of(forge, store).await {
            Ok(known) => return known,
            Err(error) => tracing::error!("cannot work on the outbox: {}", crate::chain::chain(&error)),
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// One round, for `run --once`.
pub(super) async fn drain_once(config: &Config, store: &Store) -> anyhow::Result<()> {
    let forge = super::wiring::forge(config)?;
    let known = Known::of(&forge, store).await?;
    Sender::new(forge, store.clone(), Timestamp::now, known).round().await?;
    Ok(())
}

/// What an earlier process did that binds this one.
struct Known {
    /// None where nobody is told, who cannot be told too often.
    spent: Option<Vec<Timestamp>>,
    rests_until: Option<Timestamp>,
}

impl Known {
    async fn of(forge: &AnyForge, store: &Store) -> Result<Self, Error> {
        match forge {
            AnyForge::Silent(_) => Ok(Self { spent: None, rests_until: None }),
            AnyForge::GitHub(_) | AnyForge::GitLab(_) | AnyForge::Gitea(_) => Self::read(store, Timestamp::now()).await,
        }
    }

    async fn read(store: &Store, now: Timestamp) -> Result<Self, Error> {
        let rests_until = store.meta_get(RESTS_UNTIL).await?.and_then(|text| text.parse().ok());
        Ok(Self { spent: Some(store.outbox_sent_since(now - budget::HOUR).await?), rests_until })
    }
}

/// The forge, and what is known of its patience.
struct Sender<F, C> {
    forge: F,
    store: Store,
    clock: C,
    budget: Option<Budget>,
    rests_until: Option<Timestamp>,
}

/// How a list goes on.
#[derive(PartialEq, Eq)]
enum Next {
    Row,
    RowAfterFailure,
    Stop,
}

impl<F: Forge, C: Fn() -> Timestamp> Sender<F, C> {
    fn new(forge: F, store: Store, clock: C, known: Known) -> Self {
        Self { forge, store, clock, budget: known.spent.map(Budget::new), rests_until: known.rests_until }
    }

    /// Works on one list.
    async fn round(&mut self) -> Result<(), Error> {
        let now = (self.clock)();
        if self.rests_until.is_some_and(|until| now < until && until.duration_since(now) <= REST_MAX) {
            return Ok(());
        }
        self.rests_until = None;
        let mut failures = 0;
        for item in self.store.outbox_due(now, BATCH).await? {
            let now = (self.clock)();
            if let Some(reason) = self.worthless(&item, now).await? {
                tracing::warn!(commit = %item.status.commit, "the status is given up: {reason}");
                self.store.outbox_dead(item.id, reason, now).await?;
                continue;
            }
            if self.budget.as_mut().is_some_and(|budget| !budget.spend(now)) {
                break;
            }
            match self.send(item).await? {
                Next::Row => failures = 0,
                Next::RowAfterFailure => failures += 1,
                Next::Stop => break,
            }
            if failures >= FAILURES_IN_A_ROW {
                break;
            }
        }
        Ok(())
    }

    async fn send(&mut self, item: OutboxItem) -> Result<Next, Error> {
        let commit = item.status.commit;
        match self.forge.report(&item.status).await {
            Ok(remote) => {
                self.store.outbox_sent(item.id, remote, (self.clock)()).await?;
                Ok(Next::Row)
            }
            Err(ReportError::Never { reason }) => {
                tracing::error!(%commit, "the forge will never take this status: {reason}");
                self.store.outbox_dead(item.id, reason, (self.clock)()).await?;
                Ok(Next::Row)
            }
            Err(ReportError::Again { reason, after }) => {
                tracing::warn!(%commit, "the status is sent again later: {reason}");
                self.store.outbox_retry(item.id, (self.clock)() + wait(&item, after), reason).await?;
                Ok(Next::RowAfterFailure)
            }
            Err(ReportError::Limited { reason, after }) => {
                tracing::warn!(%commit, "the forge limits us, statuses wait: {reason}");
                let (now, after) = ((self.clock)(), after.unwrap_or_else(|| unnamed_wait(item.attempts)));
                self.rests_until = Some(now + after);
                self.store.outbox_retry(item.id, now + after, reason).await?;
                self.store.meta_set(RESTS_UNTIL.to_owned(), (now + after).to_string(), now).await?;
                Ok(Next::Stop)
            }
            Err(ReportError::Paused { reason }) => {
                tracing::error!("the forge refuses us, statuses wait: {reason}");
                let until = (self.clock)() + PAUSE;
                self.rests_until = Some(until);
                self.store.outbox_retry(item.id, until + BEHIND_OTHERS, reason).await?;
                Ok(Next::Stop)
            }
        }
    }

    /// Why a status need not be sent any more. A red one always is.
    async fn worthless(&self, item: &OutboxItem, now: Timestamp) -> Result<Option<String>, Error> {
        if matches!(item.status.state, StatusState::Failure | StatusState::Error) {
            return Ok(None);
        }
        if now.duration_since(item.queued_at) > WORTHLESS_AFTER {
            return Ok(Some("not taken within 7 days".to_owned()));
        }
        let sent = self.store.statuses_sent(&item.status).await?;
        Ok((sent >= STATUSES_BEFORE_ONLY_RED)
            .then(|| format!("this commit has {sent} statuses of the 1,000 a forge takes; the last are for failures and errors")))
    }
}

/// Where the forge limits us without saying for how long: a minute, doubling to an hour.
fn unnamed_wait(attempts: u32) -> Duration {
    UNNAMED_LIMIT_MIN.saturating_mul(2_u32.saturating_pow(attempts.min(16))).min(UNNAMED_LIMIT_MAX)
}

/// As told by the forge; else doubling from two seconds to a quarter of an hour, with full jitter.
fn wait(item: &OutboxItem, told: Option<Duration>) -> Duration {
    if let Some(told) = told {
        return told.min(Duration::from_secs(86_400));
    }
    let longest = WAIT_MIN.saturating_mul(2_u32.saturating_pow(item.attempts.min(16))).min(WAIT_MAX);
    rand::rng().random_range(WAIT_MIN..=longest.max(WAIT_MIN))
}
