//! The outbox sender: red must not be lost.
//!
//! A status leaves the outbox only when the forge has taken it, or has said that it never will. Everything else is tried again, with
//! back-off that survives restarts because it stands in the row. A row that failed therefore delays only itself; but a forge that is
//! silent costs a time-out for each row, so a list is given up after a few failures in a row: the next one begins, after
//! [`LOOK_INTERVAL`], with rows that are due, red ones first. No list is asked for while another is worked on.

use std::time::Duration;

use jiff::Timestamp;
use rand::RngExt as _;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::converge::{CommitStatus, Forge, ReportError};
use crate::forge::gitea::Gitea;
use crate::forge::github::GitHub;
use crate::forge::gitlab::GitLab;
use crate::forge::silent::Silent;
use crate::store::{OutboxItem, Store};

/// How often the outbox is looked at when nothing wakes it.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// How long a forge that refuses us is left alone.
const PAUSE: Duration = Duration::from_secs(300);
/// First wait after a failure; doubles.
const WAIT_MIN: Duration = Duration::from_secs(2);
/// Longest wait after a failure.
const WAIT_MAX: Duration = Duration::from_secs(900);
/// First wait where the forge limits us without saying for how long; doubles.
const UNNAMED_LIMIT_MIN: Duration = Duration::from_secs(60);
/// Longest of these.
const UNNAMED_LIMIT_MAX: Duration = Duration::from_secs(3600);
/// Statuses taken from the outbox at once.
const BATCH: u32 = 20;
/// After so many failures in a row the rest of a list waits for the next, so that a new red verdict goes before old green ones.
const FAILURES_IN_A_ROW: u32 = 4;

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
    let mut paused_until: Option<tokio::time::Instant> = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
        }
        if paused_until.is_some_and(|until| tokio::time::Instant::now() < until) {
            continue;
        }
        // Cut off while the forge is silent, a status stays in the outbox and is sent after the next start.
        let drained = tokio::select! {
            () = stop.cancelled() => return,
            drained = drain(&forge, &store) => drained,
        };
        match drained {
            Ok(Sent::All) => paused_until = None,
            Ok(Sent::Paused) => paused_until = Some(tokio::time::Instant::now() + PAUSE),
            Err(error) => tracing::error!("cannot work on the outbox: {}", crate::chain::chain(&error)),
        }
    }
}

/// One round, for `run --once`.
pub(super) async fn drain_once(config: &Config, store: &Store) -> anyhow::Result<()> {
    drain(&super::wiring::forge(config)?, store).await?;
    Ok(())
}

enum Sent {
    All,
    Paused,
}

async fn drain(forge: &impl Forge, store: &Store) -> Result<Sent, crate::store::Error> {
    let mut failures = 0;
    for item in store.outbox_due(Timestamp::now(), BATCH).await? {
        match forge.report(&item.status).await {
            Ok(remote) => {
                failures = 0;
                store.outbox_sent(item.id, remote, Timestamp::now()).await?;
            }
            Err(ReportError::Never { reason }) => {
                tracing::error!(commit = %item.status.commit, "the forge will never take this status: {reason}");
                store.outbox_dead(item.id, reason, Timestamp::now()).await?;
            }
            Err(ReportError::Limited { reason, after }) => {
                tracing::warn!(commit = %item.status.commit, "the status is sent again later: {reason}");
                let after = after.unwrap_or_else(|| unnamed_wait(item.attempts));
                store.outbox_retry(item.id, Timestamp::now() + after, reason).await?;
                return Ok(Sent::All);
            }
            Err(ReportError::Again { reason, after }) => {
                tracing::warn!(commit = %item.status.commit, "the status is sent again later: {reason}");
                store.outbox_retry(item.id, Timestamp::now() + wait(&item, after), reason).await?;
                failures += 1;
                if failures >= FAILURES_IN_A_ROW {
                    break;
                }
            }
            Err(ReportError::Paused { reason }) => {
                tracing::error!("the forge refuses us, statuses wait: {reason}");
                store.outbox_retry(item.id, Timestamp::now() + PAUSE, reason).await?;
                return Ok(Sent::Paused);
            }
        }
    }
    Ok(Sent::All)
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
