//! What has to be looked after beside the loop: the clock, the write-ahead log, a disk that was full, and the soundness of the file.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::chain::chain;
use crate::store::{Error, Store, WAL};

/// The clocks are compared this often.
const TICK: Duration = Duration::from_secs(1);
/// Clocks that differ by more did not run apart, one was set.
const JUMP: SignedDuration = SignedDuration::from_secs(2);
/// The write-ahead log is measured each so many ticks.
const WAL_TICKS: u64 = 5;
/// A reader that holds a transaction keeps the write-ahead log from being emptied.
const WAL_BYTES_ALARM: u64 = 64 * 1024 * 1024;
/// The whole file is looked through this often.
const INTEGRITY_EVERY: SignedDuration = SignedDuration::from_hours(24);
/// Not at once after a start, which has looked through it quickly and has other things to do.
const INTEGRITY_NOT_BEFORE: Duration = Duration::from_secs(600);

/// What the task needs.
pub(super) struct Upkeep {
    pub store: Store,
    /// Has the loop look.
    pub wake: Arc<Notify>,
    /// How often the clock was set.
    pub jumps: Arc<AtomicU64>,
    pub stop: CancellationToken,
}

impl Upkeep {
    /// Looks after things until the controller stops.
    pub(super) async fn keep(self) {
        let (mut clock, mut ticks) = (Clock::default(), 0_u64);
        let mut integrity_at = Instant::now() + INTEGRITY_NOT_BEFORE;
        clock.jump(Timestamp::now(), Instant::now());
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                // Whatever waited in vain is tried at once, not after its back-off.
                () = self.store.room() => self.wake.notify_one(),
                () = tokio::time::sleep(TICK) => {}
            }
            ticks = ticks.wrapping_add(1);
            if let Some(jump) = clock.jump(Timestamp::now(), Instant::now()) {
                self.jumped(jump).await;
            }
            if ticks.is_multiple_of(WAL_TICKS)
                && let Err(error) = watch_wal(&self.store, Timestamp::now()).await
            {
                tracing::warn!("cannot record what the write-ahead log is like: {}", chain(&error));
            }
            if Instant::now() >= integrity_at {
                integrity_at = Instant::now() + INTEGRITY_NOT_BEFORE;
                self.integrity().await;
            }
        }
    }

    async fn jumped(&self, jump: SignedDuration) {
        self.jumps.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(seconds = jump.as_secs(), "the clock of this host was set; rows keep their order");
        if let Err(error) = self.store.clock_jumped(jump, Timestamp::now()).await {
            tracing::error!("that the clock was set is not on record: {}", chain(&error));
        }
    }

    /// Looks through the file if that is due; a failure to look is tried again with the next turn.
    async fn integrity(&self) {
        let now = Timestamp::now();
        let due = match self.store.found_sound().await {
            // A time to come is one of a clock that was set back.
            Ok(Some(last)) => now.duration_since(last).abs() >= INTEGRITY_EVERY,
            Ok(None) => true,
            Err(_) => false,
        };
        if !due || self.store.vitals().full {
            return;
        }
        match self.store.check_integrity(now).await {
            Ok(None) => tracing::debug!("the database is sound"),
            Ok(Some(wrong)) => tracing::error!("ALARM: the database is damaged: {wrong}; restore a backup"),
            Err(error) => tracing::error!("cannot look through the database: {}", chain(&error)),
        }
    }
}

/// Alarms where the write-ahead log is not emptied, and ends the alarm.
pub(super) async fn watch_wal(store: &Store, now: Timestamp) -> Result<(), Error> {
    let bytes = store.vitals().wal_bytes;
    if bytes > WAL_BYTES_ALARM {
        let cause = "it is larger than 64 MiB: some process reads the database for too long";
        if store.failure_open(WAL, cause, now).await? {
            tracing::error!(bytes, "ALARM: the write-ahead log is not emptied; end what reads the database for so long");
        }
    } else if store.failures(true).await?.iter().any(|one| one.control == WAL) {
        store.failure_end(WAL, "it was emptied", "system", now).await?;
    }
    Ok(())
}

/// The wall clock, held against one that only goes forward.
#[derive(Debug, Default)]
struct Clock {
    last: Option<(Timestamp, Instant)>,
}

impl Clock {
    /// By how much the wall clock was set since the last look, if it was.
    fn jump(&mut self, wall: Timestamp, steady: Instant) -> Option<SignedDuration> {
        let (wall_before, steady_before) = self.last.replace((wall, steady))?;
        let passed = SignedDuration::try_from(steady.duration_since(steady_before)).ok()?;
        let jump = wall.duration_since(wall_before) - passed;
        (jump.abs() > JUMP).then_some(jump)
    }
}

#[cfg(test)]
mod tests;
