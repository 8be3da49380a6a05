//! The outbox sender: red must not be lost.
//!
//! A status leaves the outbox only when the forge has taken it, or has said that it never will, or when it is no red one and has
//! become worthless. Everything else is tried again, with back-off that survives restarts because it stands in the row. A row that
//! failed therefore delays only itself.
//!
//! Four calls run at a time, but of one commit only one, and of one request only one, so that a verdict is never overtaken by the
//! pending status before it. A call that nobody answered may still be under way inside the forge: what follows it in the same place
//! waits a little. A row is chosen when there is room for it, red ones first, so that a new red verdict waits for no list.
//! A forge that is silent costs a time-out for each row; so there is one call at a time until one went through, and after a few
//! failures in a row there is a pause. What concerns the forge rather than a row lets all of them wait: our own [`budget`], a rate
//! limit, which a restart does not shorten, and refused credentials, which a restart may have mended.

mod budget;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rand::RngExt as _;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::budget::Budget;
use super::forge::AnyForge;
use crate::config::Config;
use crate::converge::{Forge, ReportError};
use crate::fault;
use crate::metrics::Calls;
use crate::store::{Error, FORGE_RESTS_MAX, News, OutboxItem, Store};

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
/// How long a forge may still work on a call after we stopped waiting for its answer.
const LATE: SignedDuration = SignedDuration::from_secs(10);
/// Calls at a time.
const CALLS_AT_ONCE: usize = 4;
/// Rows looked at for one that may be sent; only those whose commit is spoken of right now are passed over.
const BATCH: u32 = 20;
/// After so many failures in a row there is a pause of [`LOOK_INTERVAL`].
const FAILURES_IN_A_ROW: u32 = 4;
/// When nobody needs to hear of a success, or that something is pending, any more.
const WORTHLESS_AFTER: SignedDuration = SignedDuration::from_hours(7 * 24);
/// GitHub takes 1,000 statuses for a commit and context. The last ones are for failures and errors.
const STATUSES_BEFORE_ONLY_RED: u64 = 990;

/// Sends until told to stop.
pub(super) async fn send(forge: Arc<AnyForge>, store: Store, calls: Arc<Calls>, stop: CancellationToken) {
    let known = tokio::select! {
        () = stop.cancelled() => return,
        known = patiently(&forge, &store) => known,
    };
    let mut sender = Sender::new(forge, store.clone(), calls, Timestamp::now, known);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = store.news() => {}
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
        }
        // What cannot be noted as said would be said again and again.
        if store.vitals().full {
            continue;
        }
        // Cut off while the forge is silent, a status stays in the outbox and is sent after the next start.
        let sent = tokio::select! {
            () = stop.cancelled() => return,
            sent = sender.round() => sent,
        };
        if let Err(error) = sent {
            tracing::error!("cannot work on the outbox: {}", crate::chain::chain(&error));
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
            }
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

/// One round, for `run --once`, and one question for approvals.
pub(super) async fn drain_once(config: &Config, store: &Store) -> anyhow::Result<()> {
    let calls = Arc::new(super::wiring::calls(config));
    let forge = Arc::new(super::wiring::forge(config, Arc::clone(&calls))?);
    let known = Known::of(&forge, store).await?;
    Sender::new(Arc::clone(&forge), store.clone(), calls, Timestamp::now, known).round().await?;
    super::approvals::ask_once(forge, store.clone()).await?;
    Ok(())
}

/// What an earlier process did that binds this one.
struct Known {
    /// None where nobody is told, who cannot be told too often.
    spent: Option<Vec<Timestamp>>,
}

impl Known {
    async fn of(forge: &AnyForge, store: &Store) -> Result<Self, Error> {
        match forge {
            AnyForge::Silent(_) => Ok(Self { spent: None }),
            AnyForge::GitHub(_) | AnyForge::GitLab(_) | AnyForge::Gitea(_) => Self::read(store, Timestamp::now()).await,
        }
    }

    async fn read(store: &Store, now: Timestamp) -> Result<Self, Error> {
        Ok(Self { spent: Some(store.outbox_sent_since(now - budget::HOUR).await?) })
    }
}

/// The forge, and what is known of its patience.
struct Sender<F, C> {
    forge: Arc<F>,
    store: Store,
    calls: Arc<Calls>,
    clock: C,
    budget: Option<Budget>,
    /// What this process found out itself; a rate limit stands in the store as well, as approvals are asked of the same forge.
    rests_until: Option<Timestamp>,
    /// Calls that may run at a time now.
    at_once: usize,
    /// Rows whose call nobody answered, and until when it may still be under way.
    late: Vec<(OutboxItem, Timestamp)>,
}

/// How it went.
#[derive(PartialEq, Eq)]
enum Next {
    Row,
    RowAfterFailure,
    Stop,
}

/// A row and what came of it.
type Said = (OutboxItem, Result<Option<String>, ReportError>);

/// Whether both are about one commit, or about one request: the forge shows the one that came last.
fn same_place(one: &News, two: &News) -> bool {
    match (one, two) {
        (News::Comment(one, _), News::Comment(two, _)) => one.request == two.request,
        (News::Status(one), News::Status(two)) => one.commit == two.commit,
        (News::Status(_), News::Comment(..)) | (News::Comment(..), News::Status(_)) => false,
    }
}

/// The calls that run.
#[derive(Default)]
struct Running {
    calls: JoinSet<Said>,
    items: Vec<News>,
}

impl Running {
    /// Whether this row must wait for one that is on its way.
    fn holds_back(&self, news: &News) -> bool {
        self.items.iter().any(|other| same_place(other, news))
    }

    fn begin<F: Forge + 'static>(&mut self, forge: Arc<F>, item: OutboxItem) {
        self.items.push(item.news.clone());
        self.calls.spawn(async move {
            fault::point("sending", &item.news.commit().to_string());
            let said = match &item.news {
                News::Status(status) => forge.report_findings(status, &item.findings).await,
                News::Comment(comment, _) => forge.comment(comment).await,
            };
            (item, said)
        });
    }

    /// The next that ends; none if nothing runs. A call that panicked stays in the outbox.
    async fn next(&mut self) -> Option<Option<Said>> {
        let ended = self.calls.join_next().await?;
        let said = ended.inspect_err(|error| tracing::error!("a call to the forge ended badly: {error}")).ok();
        match &said {
            Some((item, _)) => self.items.retain(|news| *news != item.news),
            None if self.calls.is_empty() => self.items.clear(),
            None => {}
        }
        Some(said)
    }
}

impl<F: Forge + 'static, C: Fn() -> Timestamp> Sender<F, C> {
    fn new(forge: Arc<F>, store: Store, calls: Arc<Calls>, clock: C, known: Known) -> Self {
        let budget = known.spent.map(Budget::new);
        Self { forge, store, calls, clock, budget, rests_until: None, at_once: 1, late: Vec::new() }
    }

    /// Works until nothing is due, nothing may be said any more, or too much failed.
    async fn round(&mut self) -> Result<(), Error> {
        let now = (self.clock)();
        if self.rests_until.is_some_and(|until| now < until && until.duration_since(now) <= FORGE_RESTS_MAX)
            || self.budget.is_some() && self.store.forge_rests(now).await?.is_some()
        {
            return Ok(());
        }
        self.rests_until = None;
        let (mut running, mut failures, mut stopped) = (Running::default(), 0, false);
        loop {
            while !stopped && running.items.len() < self.at_once {
                let Some(item) = self.choose(&running).await? else { break };
                let writes = self.forge.writes(&item.findings);
                if self.budget.as_mut().is_some_and(|budget| !budget.spend((self.clock)(), writes)) {
                    stopped = true;
                    break;
                }
                running.begin(Arc::clone(&self.forge), item);
            }
            let next = match running.next().await {
                None => return Ok(()),
                Some(None) => Next::RowAfterFailure,
                Some(Some((item, said))) => self.settle(item, said).await?,
            };
            failures = if next == Next::Row { 0 } else { failures + 1 };
            self.at_once = if next == Next::Row { CALLS_AT_ONCE } else { 1 };
            stopped |= next == Next::Stop || failures >= FAILURES_IN_A_ROW;
        }
    }

    /// The next row that may be sent.
    async fn choose(&mut self, running: &Running) -> Result<Option<OutboxItem>, Error> {
        let now = (self.clock)();
        self.late.retain(|(_, until)| now < *until && until.duration_since(now) <= LATE);
        for item in self.store.outbox_due((self.clock)(), BATCH).await? {
            let now = (self.clock)();
            // The late row itself may go again: it says the same.
            let overtakes = |late: &OutboxItem| late.id != item.id && same_place(&late.news, &item.news);
            if running.holds_back(&item.news) || self.late.iter().any(|(late, _)| overtakes(late)) {
                continue;
            }
            let Some(reason) = self.worthless(&item, now).await? else { return Ok(Some(item)) };
            tracing::warn!(commit = %item.news.commit(), "what waits for the forge is given up: {reason}");
            self.store.outbox_dead(item.id, reason, now).await?;
        }
        Ok(None)
    }

    /// Puts down what came of a call.
    async fn settle(&mut self, item: OutboxItem, said: Result<Option<String>, ReportError>) -> Result<Next, Error> {
        let (commit, now) = (item.news.commit(), (self.clock)());
        match &said {
            // What began before the forge refused us says nothing about now.
            Ok(_) | Err(ReportError::Never { .. }) if self.rests_until.is_none() => self.calls.fault(None),
            Err(ReportError::Paused { reason }) => self.calls.fault(Some(reason.clone())),
            Ok(_) | Err(ReportError::Never { .. } | ReportError::Again { .. } | ReportError::Limited { .. }) => {}
        }
        match said {
            Ok(remote) => {
                fault::point("taken", &commit.to_string());
                self.store.outbox_sent(item.id, remote, now).await?;
                fault::point("noted", &commit.to_string());
                Ok(Next::Row)
            }
            Err(ReportError::Never { reason }) => {
                tracing::error!(%commit, "the forge will never take this: {reason}");
                self.store.outbox_dead(item.id, reason, (self.clock)()).await?;
                Ok(Next::Row)
            }
            Err(ReportError::Again { reason, after }) => {
                tracing::warn!(%commit, "it is sent again later: {reason}");
                self.store.outbox_retry(item.id, now + wait(&item, after), reason).await?;
                self.late.push((item, now + LATE));
                Ok(Next::RowAfterFailure)
            }
            Err(ReportError::Limited { reason, after }) => {
                tracing::warn!(%commit, "the forge limits us, statuses wait: {reason}");
                let until = now + after.unwrap_or_else(|| unnamed_wait(item.attempts));
                self.store.outbox_retry(item.id, until, reason).await?;
                let until = self.store.rest_forge(until, now).await?;
                self.rests_until = self.rests_until.max(Some(until));
                Ok(Next::Stop)
            }
            Err(ReportError::Paused { reason }) => {
                tracing::error!("the forge refuses us, statuses wait: {reason}");
                let until = now + PAUSE;
                self.rests_until = self.rests_until.max(Some(until));
                self.store.outbox_retry(item.id, until + BEHIND_OTHERS, reason).await?;
                Ok(Next::Stop)
            }
        }
    }

    /// Why a status need not be sent any more. A red one always is.
    async fn worthless(&self, item: &OutboxItem, now: Timestamp) -> Result<Option<String>, Error> {
        if item.news.is_red() {
            return Ok(None);
        }
        if now.duration_since(item.queued_at) > WORTHLESS_AFTER {
            return Ok(Some("not taken within 7 days".to_owned()));
        }
        let News::Status(status) = &item.news else { return Ok(None) };
        let sent = self.store.statuses_sent(status).await?;
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
