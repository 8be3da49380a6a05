//! What people have stopped: a suspension holds every change back, and so does enforcement that is switched off.
//!
//! Commits go on being judged and their statuses go on being sent, drift is found and hooks that are gone are put back; only what would
//! put other rules in force waits. A suspension ends by itself. Enforcement that is off ends by itself too, in the kernel; its switch
//! is cleared by whoever watches over that (`run::disabled`).

use jiff::Timestamp;
use policy::snapshot::CommitId;

use super::{Outcome, Source, StatusState, Trouble, World};
use crate::store::{Outcome as Recorded, PassEnd, Switch};

/// The switch that holds changes back.
pub const SUSPENDED: &str = "suspended";
/// The switch that says that enforcement is off on this host.
pub const DISABLED: &str = "disabled";

/// The switch that holds changes back because the audit log cannot vouch for them; whoever keeps the log sets and clears it.
pub const AUDIT_HOLD: &str = "audit_hold";

/// `until 2026-11-22 16:00:00 UTC`, or until somebody says so.
#[must_use]
pub fn until(switch: &Switch) -> String {
    switch.until.map_or_else(|| "until resume".to_owned(), |time| format!("until {}", time.strftime("%Y-%m-%d %H:%M:%S UTC")))
}

impl<S: Source> World<'_, S> {
    /// Why nothing may change now.
    pub(super) async fn stopped(&mut self) -> Result<Option<String>, Trouble> {
        if let Some(why) = self.store.held() {
            return Ok(Some(format!("{why}; look at the disk, then: pci-segment resume")));
        }
        let now = (self.clock)();
        for (name, what) in [(DISABLED, "enforcement is off"), (SUSPENDED, "suspended")] {
            let Some(switch) = self.store.switch_get(name, now).await? else { continue };
            self.look_again_at(switch.until, now);
            return Ok(Some(format!("{what} {} by {}: {}", until(&switch), switch.who, switch.why)));
        }
        let held = self.store.switch_get(AUDIT_HOLD, now).await?;
        Ok(held.map(|switch| format!("the audit log cannot vouch for changes: {}", switch.why)))
    }

    /// Whether changes are suspended, which an order to go back does not end.
    pub(super) async fn suspension(&self) -> Result<Option<String>, Trouble> {
        if let Some(why) = self.store.held() {
            return Ok(Some(format!("{why}; look at the disk, then: pci-segment resume")));
        }
        let switch = self.store.switch_get(SUSPENDED, (self.clock)()).await?;
        Ok(switch.map(|switch| format!("suspended {} by {}: {}", until(&switch), switch.who, switch.why)))
    }

    /// Suspensions whose time is over.
    pub(super) async fn end_switches(&self) -> Result<(), Trouble> {
        let now = (self.clock)();
        let Some(switch) = self.store.switch_row(SUSPENDED).await? else { return Ok(()) };
        if switch.until.is_some_and(|until| until <= now) {
            tracing::info!("the suspension is over");
            let by = ("system".to_owned(), "its time is over".to_owned());
            self.store.switch_end(&switch, by, Vec::new(), now).await?;
        }
        Ok(())
    }

    /// The head is compliant, and waits because nothing may change.
    pub(super) async fn hold_back(&mut self, head: CommitId, reason: &str, started: Timestamp) -> Result<Outcome, Trouble> {
        let said = format!("compliant, not applied: {reason}");
        let status = Some(self.settings.status(head, StatusState::Pending, &said));
        self.end(Some(head), None, PassEnd { status, ..PassEnd::of(Recorded::Held, &said, (self.clock)()) }, started).await?;
        self.memory.settled = None;
        Ok(Outcome::Held { reason: said })
    }

    fn look_again_at(&mut self, until: Option<Timestamp>, now: Timestamp) {
        let left = until.and_then(|until| std::time::Duration::try_from(until.duration_since(now)).ok());
        self.memory.look_in = left.into_iter().chain(self.memory.look_in).min();
    }
}
