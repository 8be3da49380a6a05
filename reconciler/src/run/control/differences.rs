//! Orders about differences: accept one for a time, let one go, write a report. The first two are decisions in the records alone, so
//! they can also be given where no controller runs.

use jiff::{SignedDuration, Timestamp};
use tokio::sync::oneshot;

use super::orders::{Orders, refused};
use super::{JUDGING_TIME_MAX, Reply};
use crate::chain::chain;
use crate::run::reports::Asked;
use crate::store::{AUDIT, DriftEntry, DriftKind, Store};

/// Nothing is accepted for longer at once.
const ACCEPTED_MAX: SignedDuration = SignedDuration::from_hours(366 * 24);

/// Accepts a difference until a time.
///
/// # Errors
/// One line: why not, and what to do.
pub async fn accept(store: &Store, id: &str, reason: &str, until: Timestamp, who: String) -> Result<String, String> {
    let now = Timestamp::now();
    if reason.trim().is_empty() {
        return Err("a reason is needed".to_owned());
    }
    if until <= now {
        return Err(format!("{until} is over already"));
    }
    if until.duration_since(now) > ACCEPTED_MAX {
        return Err(format!("{until} is too far: a difference is accepted for at most 1 year at once"));
    }
    let row = find(store, id).await?;
    if let Some(over) = row.resolved_at {
        return Err(format!("{} is over since {over}; there is nothing to accept", row.id));
    }
    if row.kind == DriftKind::Detached || row.key == AUDIT {
        return Err(format!(
            "{} ({}) is what enforcement hangs on and is put back in every mode; to stop enforcing for a time: pci-segment disable",
            row.id, row.key
        ));
    }
    let said = format!("{} on {} is accepted until {until}; it is neither healed nor counted as open", row.key, row.target);
    store.accept_drift(row, (who, reason.to_owned()), until, now).await.map_err(|error| chain(&error))?;
    Ok(said)
}

/// Ends what was decided about a difference.
///
/// # Errors
/// One line: why not, and what to do.
pub async fn release(store: &Store, id: &str, reason: &str, who: String) -> Result<String, String> {
    if reason.trim().is_empty() {
        return Err("a reason is needed".to_owned());
    }
    let row = find(store, id).await?;
    let (full, said) =
        (row.id.clone(), format!("{} on {} is let go; what differs counts and is healed again", row.key, row.target));
    match store.release_drift(row, (who, reason.to_owned()), Timestamp::now()).await {
        Ok(true) => Ok(said),
        Ok(false) => Err(format!("{full} is neither accepted nor quarantined; pci-segment drift lists what is")),
        Err(error) => Err(chain(&error)),
    }
}

async fn find(store: &Store, id: &str) -> Result<DriftEntry, String> {
    let mut rows = store.drift_like(id).await.map_err(|error| chain(&error))?.into_iter();
    match (rows.next(), rows.next()) {
        (Some(row), None) => Ok(row),
        (Some(_), Some(_)) => Err(format!("{id} names more than one difference; give more digits of the id")),
        (None, _) => Err(format!("{id} names no difference; pci-segment drift lists them, six digits of an id are enough")),
    }
}

impl Orders {
    pub(super) async fn accept_drift(&self, id: &str, reason: &str, until: Timestamp, who: String) -> Reply {
        self.decided(accept(&self.store, id, reason, until, who).await)
    }

    pub(super) async fn release_drift(&self, id: &str, reason: &str, who: String) -> Reply {
        self.decided(release(&self.store, id, reason, who).await)
    }

    fn decided(&self, decided: Result<String, String>) -> Reply {
        match decided {
            Ok(message) => {
                self.drift.notify_one();
                Reply { ok: true, message }
            }
            Err(why) => refused(why),
        }
    }

    /// The loop writes it, after it has looked.
    pub(super) async fn report(&self, who: String) -> Reply {
        let (answer, answered) = oneshot::channel();
        self.reports.ask(Asked { who, answer });
        self.urgent.give();
        match tokio::time::timeout(JUDGING_TIME_MAX, answered).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(_)) => refused("the controller is stopping".to_owned()),
            Err(_) => refused("the controller is at work; pci-segment drift report lists the report when it is written".to_owned()),
        }
    }
}
