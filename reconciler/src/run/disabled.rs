//! The watch over enforcement that is switched off: it has the kernel agree with what is on record, says loudly every minute that
//! nothing is dropped, and puts on record that it is on again.
//!
//! The kernel itself drops again when the time is over, so nothing here can leave a host open for longer, whether it runs or not. After
//! a restart, or a start of the host, what is left of the time is left; a clock that was set back does not make it longer while this
//! process lives.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::backend::{Dropping, View};
use crate::chain::chain;
use crate::converge::{BackendError, DISABLED, until};
use crate::store::{self, Store, Switch, restoring};

/// The longest time for which enforcement can be switched off with one order.
pub const DISABLED_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// While it is off the kernel is looked at this often.
const GLANCE: Duration = Duration::from_secs(2);
/// Else the record is.
const IDLE: Duration = Duration::from_secs(10);
/// It is said again this often.
const REMINDER: Duration = Duration::from_secs(60);
/// The kernel's timer counts whole seconds, or steps of 134 ms.
const SLACK: Duration = Duration::from_secs(5);

/// What the watch needs.
pub(super) struct Watch {
    pub store: Store,
    pub view: Arc<OnceLock<View>>,
    /// Somebody has changed the record.
    pub changed: Arc<Notify>,
    /// Has the loop compare everything now.
    pub drift: Arc<Notify>,
    /// Has the loop look at the head now.
    pub wake: Arc<Notify>,
    pub stop: CancellationToken,
}

/// What cannot be done.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Kernel(#[from] BackendError),
    #[error("the kernel was asked on a thread that stopped")]
    Stopped(#[from] tokio::task::JoinError),
}

/// From look to look.
#[derive(Default)]
struct Known {
    /// When it ends on the clock that nobody sets, and which record says so.
    ends: Option<(Timestamp, Instant)>,
    /// It was off when this was looked at last, or nobody knows.
    off: Option<bool>,
    /// At the last look nothing was dropped, without an end.
    audited: bool,
    said: Option<Instant>,
}

impl Watch {
    /// Watches until the controller stops. It stays off then, until its time is over.
    pub(super) async fn keep(self) {
        let mut known = Known::default();
        loop {
            let pause = match self.settle(&mut known).await {
                Ok(pause) => pause,
                Err(trouble) => {
                    if known.said.is_none_or(|said| said.elapsed() >= REMINDER) {
                        known.said = Some(Instant::now());
                        tracing::error!("whether enforcement is off cannot be settled: {}", chain(&trouble));
                    }
                    GLANCE
                }
            };
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.changed.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Has the kernel agree with the record; how long until the next look.
    async fn settle(&self, known: &mut Known) -> Result<Duration, Trouble> {
        let Some(view) = self.view.get().cloned() else { return Ok(IDLE) };
        let Some(switch) = self.store.switch_row(DISABLED).await? else {
            if known.off != Some(false) {
                self.switched_on(&view, known).await?;
            }
            return Ok(IDLE);
        };
        let left = known.left(&switch);
        if left.is_zero() {
            return self.ended(&view, &switch, known).await;
        }
        let looking = view.clone();
        match tokio::task::spawn_blocking(move || looking.dropping()).await?? {
            Dropping::Nothing => {}
            Dropping::Off(so_long) if so_long <= left + SLACK => {}
            // Somebody was told that nothing drops until he ends it: no deadline must end that for him.
            // Twice, as a rehearsal looks the same for a moment.
            Dropping::Audited if known.audited => return self.audited_by_hand(&view, &switch, known).await,
            Dropping::Audited => {
                known.audited = true;
                return Ok(GLANCE.min(left));
            }
            Dropping::Off(_) | Dropping::All => {
                let view = view.clone();
                tokio::task::spawn_blocking(move || view.disable(left)).await??;
                self.drift.notify_one();
            }
        }
        (known.off, known.audited) = (Some(true), false);
        if known.said.is_none_or(|said| said.elapsed() >= REMINDER) {
            known.said = Some(Instant::now());
            let Switch { who, why, .. } = &switch;
            tracing::error!(target = view.target(), "ENFORCEMENT IS OFF, nothing is dropped {} by {who}: {why}", until(&switch));
        }
        Ok(GLANCE.min(left))
    }

    /// The record is gone: somebody has ended it, or there never was one.
    async fn switched_on(&self, view: &View, known: &mut Known) -> Result<(), Trouble> {
        let looking = view.clone();
        let dropping = tokio::task::spawn_blocking(move || looking.dropping()).await??;
        let off = matches!(dropping, Dropping::Off(_));
        if off {
            let view = view.clone();
            tokio::task::spawn_blocking(move || view.enable()).await??;
        }
        let owed = self.store.note_restored(view.target(), Timestamp::now()).await?;
        if off || owed || known.off == Some(true) {
            tracing::warn!(target = view.target(), "enforcement is on again");
            self.look();
        }
        *known = Known { off: Some(false), ..Known::default() };
        Ok(())
    }

    /// Its time is over: the kernel drops again already, now the record says so. Who has made it longer meanwhile has a record of his
    /// own, which stays.
    async fn ended(&self, view: &View, switch: &Switch, known: &mut Known) -> Result<Duration, Trouble> {
        let why = "its time is over";
        let by = ("system".to_owned(), why.to_owned());
        if !self.store.switch_end(switch, by, vec![restoring("system", why)], Timestamp::now()).await? {
            return Ok(Duration::ZERO);
        }
        self.switched_on(view, known).await?;
        Ok(IDLE)
    }

    /// Nothing is dropped until somebody ends it with the firewall in hand; that has an end on record is true no longer.
    async fn audited_by_hand(&self, view: &View, switch: &Switch, known: &mut Known) -> Result<Duration, Trouble> {
        let by = ("system".to_owned(), "audit was turned on by hand, which has no end".to_owned());
        if !self.store.switch_end(switch, by, Vec::new(), Timestamp::now()).await? {
            return Ok(Duration::ZERO);
        }
        tracing::error!(target = view.target(), "NOTHING IS DROPPED until pci-segment rescue enforce: audit was turned on by hand");
        *known = Known { off: Some(false), ..Known::default() };
        self.look();
        Ok(IDLE)
    }

    fn look(&self) {
        self.drift.notify_one();
        self.wake.notify_one();
    }
}

impl Known {
    fn left(&mut self, switch: &Switch) -> Duration {
        let by_record = left(switch, Timestamp::now());
        let ends = match self.ends {
            Some((set_at, ends)) if set_at == switch.set_at => ends,
            _ => Instant::now() + by_record,
        };
        self.ends = Some((switch.set_at, ends));
        by_record.min(ends.saturating_duration_since(Instant::now()))
    }
}

/// What is left, by a clock that may have been set back since, but never more than was ordered.
pub(super) fn left(switch: &Switch, now: Timestamp) -> Duration {
    let Some(until) = switch.until else { return Duration::ZERO };
    Duration::try_from(until.duration_since(now.max(switch.set_at))).unwrap_or(Duration::ZERO).min(DISABLED_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn switch(set_at: i64, until: i64) -> Switch {
        let at = |second| Timestamp::from_second(second).unwrap();
        let (name, value, who, why) = (DISABLED.to_owned(), "host/eth0".to_owned(), "uid:0".to_owned(), "a test".to_owned());
        Switch { name, value, who, why, set_at: at(set_at), until: Some(at(until)) }
    }

    #[test]
    fn a_clock_that_was_set_back_or_a_record_without_an_end_never_makes_it_longer_than_was_ordered() {
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(left(&switch(1_000, 1_600), at(1_100)), Duration::from_secs(500));
        assert_eq!(left(&switch(1_000, 1_600), at(10)), Duration::from_secs(600));
        assert_eq!(left(&switch(1_000, 1_600), at(1_600)), Duration::ZERO);
        assert_eq!(left(&switch(1_000, 1_000_000_000), at(1_000)), DISABLED_MAX);
        assert_eq!(left(&Switch { until: None, ..switch(1_000, 1_600) }, at(1_000)), Duration::ZERO);
    }

    #[test]
    fn what_is_left_does_not_grow_while_the_process_lives() {
        let mut known = Known::default();
        let now = Timestamp::now().as_second();
        let first = known.left(&switch(now, now + 60));
        // As if the clock had been set back by half a minute: the same record seems to end later.
        let later = known.left(&Switch { until: Timestamp::from_second(now + 90).ok(), ..switch(now, now + 60) });
        assert!(later <= first, "{later:?} after {first:?}");
    }
}
