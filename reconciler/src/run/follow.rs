//! The loop: wake, trip, wait. One trip at a time, in one task; drift is looked for between trips, by the same task.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use policy::snapshot::CommitId;
use rand::RngExt as _;
use tokio::sync::Notify;

use super::Controller;
use super::cadence::Cadence;
use super::reports::Calendar;
use super::requests::Queue;
use super::rollback;
use super::storm::Storm;
use crate::chain::chain;
use crate::converge::{
    Compared, Outcome, Scope, Settings, Trouble, announce as take_note, check_drift, check_drift_of, converge, watch_announced,
};
use crate::store::{self, Came, EndedPass, Outcome as Recorded, PassEnd, Store, Waiting};

/// First wait after a failed trip; doubles.
const BACK_OFF_MIN: Duration = Duration::from_secs(1);
/// Longest wait after a failed trip.
const BACK_OFF_MAX: Duration = Duration::from_secs(900);
/// The controller says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(300);
/// What we were told of a commit is remembered for so long.
const TOLD_KEPT: SignedDuration = SignedDuration::from_hours(1);
/// What was announced before a restart counts for so long: later it may have been rewritten away without our being told.
const ANNOUNCED_LATELY: SignedDuration = SignedDuration::from_mins(10);
/// Never, for a schedule that has no next time.
const NEVER: Duration = Duration::from_secs(86_400);

enum Woken {
    Stop,
    /// Something has come in.
    Delivery,
    /// There is time for a request.
    Request,
    Look(Came),
    /// Something may differ on this host.
    Drift,
    /// The schedule says that everything is to be compared.
    Schedule,
    Report,
    Heartbeat,
}

/// Follows until told to stop.
pub(super) async fn follow(controller: &mut Controller) -> anyhow::Result<()> {
    let wake = Arc::clone(&controller.wake);
    let (mut failures, mut last_outcome) = (0, None);
    let mut heartbeat = tokio::time::interval_at(tokio::time::Instant::now() + HEARTBEAT, HEARTBEAT);
    let mut next = Woken::Look(Came::Poll);
    let mut look_at = tokio::time::Instant::now();
    let mut drift_at = controller.config.drift.schedule.next_after(Timestamp::now());
    let (mut cadence, mut clouds_at) = (Cadence::default(), None::<tokio::time::Instant>);
    let mut compare_at = tokio::time::Instant::now() + cadence.after(Duration::ZERO, true);
    let (mut requests, mut storm) = (Queue::default(), Storm::default());
    let (reports, mut calendar) = (controller.reports.clone(), Calendar::begin(controller).await?);
    controller.store.save_room();
    loop {
        match next {
            Woken::Stop => return Ok(()),
            Woken::Delivery => {
                if storm_is_over(controller, &mut storm).await? {
                    next = Woken::Look(Came::Push);
                    continue;
                }
            }
            Woken::Request => match requests.step(&mut controller.world(), &wake).await {
                Err(error) if fatal(&error) => return Err(error.into()),
                Err(error) => tracing::error!("cannot judge requests: {}", chain(&error)),
                Ok(()) => {}
            },
            Woken::Look(came) => {
                failures = match look(controller, &mut requests, came).await {
                    Ok(outcome) => {
                        announce(&mut last_outcome, outcome);
                        0
                    }
                    Err(Trouble::Source(_)) if controller.stop.is_cancelled() => return Ok(()),
                    Err(error) if fatal(&error) => return Err(error.into()),
                    Err(_) => failures + 1,
                };
                controller.desk.sign();
                look_at = tokio::time::Instant::now() + pause(controller, failures).min(controller.memory.look_in.unwrap_or(NEVER));
            }
            Woken::Drift | Woken::Schedule => {
                let scheduled = matches!(next, Woken::Schedule);
                compare_at = compare(controller, &mut cadence, &mut clouds_at, scheduled).await;
                if scheduled {
                    drift_at = controller.config.drift.schedule.next_after(Timestamp::now());
                }
            }
            Woken::Report => report(controller, &mut calendar).await,
            Woken::Heartbeat => beat(controller).await,
        }
        let report_at = calendar.due(&controller.config.drift, Timestamp::now());
        next = tokio::select! {
            biased;
            () = controller.stop.cancelled() => Woken::Stop,
            // Before the wake, so that a stream of pushes does not keep drift from being seen.
            () = tokio::time::sleep(until(drift_at)) => Woken::Schedule,
            () = controller.drift_wake.notified() => Woken::Drift,
            () = tokio::time::sleep_until(compare_at) => Woken::Drift,
            () = wake.notified(), if storm.look_at().is_none() => Woken::Delivery,
            () = tokio::time::sleep_until(storm.look_at().unwrap_or(look_at)), if storm.look_at().is_some() => Woken::Delivery,
            () = tokio::time::sleep_until(look_at) => Woken::Look(Came::Poll),
            () = tokio::time::sleep(until(report_at)) => Woken::Report,
            () = reports.asked() => Woken::Report,
            _ = heartbeat.tick() => Woken::Heartbeat,
            // Last: a request has the time that is left over, one judging at a time.
            () = tokio::time::sleep_until(requests.step_at(&storm).unwrap_or(look_at)), if requests.step_at(&storm).is_some() => Woken::Request,
        };
    }
}

/// Whether what has come in is to be looked at now, or more of it is still coming.
async fn storm_is_over(controller: &Controller, storm: &mut Storm) -> Result<bool, store::Error> {
    let waiting = match controller.store.deliveries_depth().await {
        Err(error) if error.wants_restart() => return Err(error),
        // A slow database is no reason not to look.
        counted => counted.unwrap_or(0),
    };
    Ok(storm.is_over(waiting, tokio::time::Instant::now()))
}

/// One trip and one look for drift; a failure is on record before this returns.
///
/// The time of learning belongs to the trip: nobody is there to look again.
pub(super) async fn trip(controller: &mut Controller) -> Result<(Outcome, usize), Trouble> {
    let mut requests = Queue::default();
    let mut outcome = look(controller, &mut requests, Came::Poll).await?;
    while let Some(learning) = controller.memory.learning {
        tracing::info!(seconds = learning.as_secs_f32(), "learning open connections before the first enforcement");
        tokio::time::sleep(learning).await;
        outcome = look(controller, &mut requests, Came::Poll).await?;
    }
    while !requests.is_idle() {
        requests.step(&mut controller.world(), &Notify::new()).await?;
    }
    let drift = check_drift(&mut controller.world()).await?;
    Ok((outcome, drift.left))
}

async fn look(controller: &mut Controller, requests: &mut Queue, came: Came) -> Result<Outcome, Trouble> {
    let waiting = controller.store.deliveries_waiting().await?;
    let (asks, pushes): (Vec<Waiting>, Vec<Waiting>) = waiting.into_iter().partition(|one| one.request.is_some());
    if !requests.is_recovered() {
        recall_announced(controller).await?;
    }
    hear(controller, &asks, &pushes);
    let came = if pushes.is_empty() { came } else { Came::Push };
    let mut asked = rollback::decide(controller).await;
    let mut looked = converge(&mut controller.world(), came).await;
    if matches!(looked, Err(Trouble::Source(_))) && controller.urgent.take() {
        asked.extend(rollback::decide(controller).await);
        looked = converge(&mut controller.world(), came).await;
    }
    rollback::answer(controller, asked, &looked).await;
    controller.tally.looked(looked.is_ok(), Timestamp::now());
    if looked.is_ok() {
        controller.note_look().await?;
    }
    controller.tally.rolled_back(&controller.memory.rollbacks);
    controller.memory.judging.source_error(matches!(looked, Err(Trouble::Source(_))));
    let ids = |rows: &[Waiting]| rows.iter().map(|one| one.id).collect::<Vec<_>>();
    match &looked {
        Ok(_) if pushes.is_empty() => {}
        Ok(_) => controller.store.close_deliveries(ids(&pushes), None).await?,
        // Told to stop while the remote was silent: that is no failure.
        Err(Trouble::Source(_)) if controller.stop.is_cancelled() => {}
        Err(trouble) => failed(controller, trouble).await,
    }
    if !looked.as_ref().is_err_and(fatal) {
        after(controller, requests, &asks).await?;
        if looked.is_ok() && !requests.is_recovered() {
            requests.recover(&controller.store).await?;
        }
        controller.store.close_deliveries(ids(&asks), None).await?;
    }
    looked
}

/// What was announced shortly before a restart and may still be missing.
async fn recall_announced(controller: &mut Controller) -> Result<(), Trouble> {
    let known = controller.store.announced_since(Timestamp::now() - ANNOUNCED_LATELY).await?;
    if let Some((id, at)) = known.and_then(|(after, at)| Some((after.parse::<CommitId>().ok()?, at))) {
        take_note(&mut controller.world(), &[(Some(id), at)]);
    }
    Ok(())
}

/// What deliveries say of commits: when they were told of, and that the branch should have them.
fn hear(controller: &mut Controller, asks: &[Waiting], pushes: &[Waiting]) {
    let id = |row: &Waiting| row.after.as_deref().and_then(|id| id.parse::<CommitId>().ok());
    let now = Timestamp::now();
    let told = &mut controller.memory.told;
    told.retain(|_, at| now.duration_since(*at) < TOLD_KEPT);
    for row in asks.iter().chain(pushes) {
        if let Some(commit) = id(row) {
            told.entry(commit).or_insert(row.received);
        }
    }
    let news: Vec<_> = pushes.iter().map(|row| (id(row), row.received)).collect();
    take_note(&mut controller.world(), &news);
}

/// What the branch's own pass leads to: what is missing, what requests wait.
async fn after(controller: &mut Controller, requests: &mut Queue, asks: &[Waiting]) -> Result<(), Trouble> {
    let due = watch_announced(&mut controller.world()).await?;
    if let Some(due) = due {
        let sooner = controller.memory.look_in.map_or(due, |known| known.min(due));
        controller.memory.look_in = Some(sooner);
    }
    requests.heard(&controller.store, asks).await?;
    requests.try_again();
    controller.memory.judging.requests_waiting(requests.waiting());
    Ok(())
}

async fn failed(controller: &mut Controller, trouble: &Trouble) {
    let reason = chain(trouble);
    controller.memory.settled = None;
    if matches!(trouble, Trouble::Source(_)) {
        controller.fetch_failed.notify_one();
    }
    tracing::error!("{reason}; what is enforced stays enforced");
    if !fatal(trouble) && matches!(trouble, Trouble::Source(_)) {
        record_failure(&controller.store, &controller.settings, None, &reason).await;
    }
}

/// Nothing may go on that cannot be recorded; the service manager starts us again, and the start looks at everything.
fn fatal(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::Store(error) if error.wants_restart() || matches!(error, store::Error::Closed))
}

/// A row for a trip that found no head.
pub(super) async fn record_failure(store: &Store, settings: &Settings, head: Option<policy::snapshot::CommitId>, reason: &str) {
    let now = Timestamp::now();
    let enforced_before = store.last_in_force().await.ok().flatten().map(|last| last.commit);
    let end = PassEnd::of(Recorded::Failed, reason, now);
    let pass = EndedPass { head, git_ref: settings.git_ref.clone(), enforced_before, plan: None, started: now, end };
    if let Err(error) = store.record_pass(pass).await {
        tracing::error!("cannot record a failure: {}", chain(&error));
    }
}

/// Says what became of the head, once for each news.
fn announce(last: &mut Option<Outcome>, outcome: Outcome) {
    if last.as_ref() == Some(&outcome) {
        return;
    }
    match &outcome {
        Outcome::InForce { commit, changes } => tracing::info!(%commit, changes, "in force"),
        Outcome::Rejected { commit, reason } => tracing::warn!(%commit, "rejected, the last good commit stays enforced: {reason}"),
        Outcome::Inexpressible { commit, reason } => {
            tracing::warn!(%commit, "cannot be enforced exactly, the last good commit stays enforced: {reason}");
        }
        Outcome::Held { reason } => tracing::warn!("held, the last good commit stays enforced: {reason}"),
    }
    *last = Some(outcome);
}

async fn beat(controller: &Controller) {
    if let Err(error) = controller.heartbeat().await {
        tracing::error!("no heartbeat: {}", chain(error.as_ref()));
    }
}

/// A report says what is so now: first everything is compared.
async fn report(controller: &mut Controller, calendar: &mut Calendar) {
    drift(controller, Scope::Everywhere).await;
    calendar.write(controller).await;
    // Whoever asked for it had the loop stop waiting; that must not stop the next look.
    controller.urgent.take();
}

/// Looks for drift; when to look on this host again. Clouds are read call by call: on the schedule, and when something there has rested
/// long enough to be put back, which `clouds_at` keeps.
async fn compare(
    controller: &mut Controller,
    cadence: &mut Cadence,
    clouds_at: &mut Option<tokio::time::Instant>,
    scheduled: bool,
) -> tokio::time::Instant {
    let began = tokio::time::Instant::now();
    let everywhere = scheduled || clouds_at.is_some_and(|at| at <= began);
    let scope = if everywhere { Scope::Everywhere } else { Scope::Host };
    let compared = drift(controller, scope).await;
    let again = compared.and_then(|compared| compared.again_in);
    // What reading the clouds takes says nothing of how often this host may be read.
    let cost = if everywhere { Duration::ZERO } else { began.elapsed() };
    let now = tokio::time::Instant::now();
    if everywhere {
        *clouds_at = again.map(|again| now + again);
    }
    now + cadence.after(cost, compared.is_some()).min(again.unwrap_or(NEVER))
}

/// Nothing if a target or the store did not answer.
async fn drift(controller: &mut Controller, scope: Scope) -> Option<Compared> {
    let compared = check_drift_of(&mut controller.world(), scope).await;
    compared.inspect_err(|trouble| tracing::error!("cannot look for drift: {}", chain(trouble))).ok()
}

/// Until the next look: the poll interval with a tenth of jitter, or the back-off with full jitter.
fn pause(controller: &Controller, failures: u32) -> Duration {
    let interval = controller.config.source.poll_interval.get();
    if failures == 0 {
        return interval.mul_f64(rand::rng().random_range(0.9..=1.1));
    }
    let longest = BACK_OFF_MIN.saturating_mul(2_u32.saturating_pow(failures.min(16))).min(BACK_OFF_MAX);
    rand::rng().random_range(BACK_OFF_MIN..=longest.max(BACK_OFF_MIN))
}

/// A time that passed while a trip ran is now, not lost.
fn until(due: Option<Timestamp>) -> Duration {
    due.map_or(NEVER, |due| Duration::try_from(due.duration_since(Timestamp::now())).unwrap_or(Duration::ZERO))
}
