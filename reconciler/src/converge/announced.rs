//! A commit that a forge announced and that never shows: the mirror we read is stale, or somebody keeps it so.
//!
//! What a delivery says of commits is good for nothing else. Only the newest announcement counts: a branch that has it has moved past
//! all earlier ones.

use std::time::Duration;

use jiff::Timestamp;
use policy::snapshot::CommitId;
use serde_json::json;

use super::{Ancestry, Head, Source, Trouble, World};
use crate::audit::{AuditEvent, Draft, Ended, kind};

/// An announced commit that is missing for longer is an alarm.
const MISSING_MAX: Duration = Duration::from_secs(120);

/// What was announced last and is not there yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Announced {
    commit: CommitId,
    /// Since when something that was announced is missing.
    since: Timestamp,
    alarmed: bool,
}

/// Takes note of what deliveries announced, newest last; nothing for a branch that was deleted.
pub fn announce<S: Source>(world: &mut World<'_, S>, news: &[(Option<CommitId>, Timestamp)]) {
    let Some((commit, at)) = news.last() else { return };
    world.memory.announced = match (commit, world.memory.announced.take()) {
        // What was missing before is still missing: a stream of announcements must not put the alarm off.
        (Some(commit), Some(known)) => Some(Announced { commit: *commit, ..known }),
        (Some(commit), None) => Some(Announced { commit: *commit, since: *at, alarmed: false }),
        (None, known) => known.filter(|known| known.alarmed),
    };
}

/// Raises the alarm for what is missing, or ends it. Says after which time to look again.
///
/// # Errors
/// The store did not answer.
pub async fn watch_announced<S: Source>(world: &mut World<'_, S>) -> Result<Option<Duration>, Trouble> {
    let Some(announced) = world.memory.announced.clone() else { return Ok(None) };
    let now = (world.clock)();
    if world.has_arrived(&announced.commit).await {
        world.memory.announced = None;
        if announced.alarmed {
            tracing::info!(commit = %announced.commit, "the commit that was announced is there");
            world.note_stale(&announced, Ended::Done, now).await?;
        }
        return Ok(None);
    }
    let missing = Duration::try_from(now.duration_since(announced.since)).unwrap_or_default();
    if missing < MISSING_MAX {
        return Ok(Some(MISSING_MAX.saturating_sub(missing)));
    }
    if !announced.alarmed {
        tracing::error!(
            commit = %announced.commit,
            "ALARM: ref_stale: a forge announced this commit and the repository does not show it; check that source.url is no stale mirror"
        );
        world.note_stale(&announced, Ended::Failed, now).await?;
        world.memory.announced = Some(Announced { alarmed: true, ..announced });
    }
    Ok(None)
}

impl<S: Source> World<'_, S> {
    /// Whether the branch as it was seen last has this commit.
    async fn has_arrived(&self, commit: &CommitId) -> bool {
        match &self.memory.head {
            Some(Head::At(head)) if head == commit => true,
            Some(Head::At(head)) => {
                matches!(self.source.between(commit, head).await, Ok(Ancestry::Descends(_) | Ancestry::TooFar { .. }))
            }
            Some(Head::EmptyRepository | Head::BranchMissing) | None => false,
        }
    }

    async fn note_stale(&self, announced: &Announced, outcome: Ended, now: Timestamp) -> Result<(), Trouble> {
        self.memory.judging.ref_stale(outcome == Ended::Failed);
        let payload = json!({ "announced": announced.commit.to_string(), "since": announced.since.to_string() });
        let draft = Draft { kind: kind::SOURCE_STALE, object: &self.settings.git_ref, outcome, payload, ..Draft::at(now) };
        let origin = self.settings.git_ref.clone();
        let event = AuditEvent::new(Draft { origin: &origin, ..draft }).map_err(crate::store::Error::from)?;
        self.store.append(event).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
