//! A commit whose apply fails again and again is not tried for ever: after five times it is quarantined, and what was in force stays.
//!
//! The count outlives the process, so that a service manager that starts us again does not begin it anew. A newer head, `reconcile` and
//! `resume` try again.

use policy::snapshot::CommitId;
use serde::{Deserialize, Serialize};

use super::{Source, Trouble, World};
use crate::store::{Note, Switch, Verdict};

/// Under which name the store keeps what failed.
pub const FAILED: &str = "failed_steps";
/// The same commit may fail this often on the same target.
const TRIES_MAX: u32 = 5;

/// What a quarantine says that a plain order to look again ends. One that needs a decision about just this commit says something else.
const TRY_AGAIN: &str = "try again with pci-segment reconcile";

/// How often a commit failed on a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// The commit, in hexadecimal.
    pub commit: String,
    /// Where.
    pub target: String,
    /// How often.
    pub times: u32,
    /// That was once too often.
    pub quarantined: bool,
}

/// Nothing failed, or it is forgotten.
pub(crate) fn forgotten() -> Note {
    Note { name: FAILED.to_owned(), value: None }
}

/// Whether an order to look again lets a commit be tried again that is quarantined for this reason.
pub(crate) fn ends_with_a_look(reason: &str) -> bool {
    reason.ends_with(TRY_AGAIN)
}

impl Failed {
    pub(super) fn note(&self) -> Note {
        Note { name: FAILED.to_owned(), value: serde_json::to_string(self).ok() }
    }
}

impl<S: Source> World<'_, S> {
    /// One failure more of this commit; none where a target is not to blame, or where the commit is in force already.
    async fn failed_once_more(&self, head: CommitId, trouble: &Trouble) -> Result<Option<Failed>, Trouble> {
        let (Trouble::Backend { target, .. } | Trouble::NotVerified { target, .. }) = trouble else { return Ok(None) };
        let now = (self.clock)();
        if self.store.switch_get(super::DISABLED, now).await?.is_some() {
            // Somebody has switched enforcement off in the middle of it, which no commit can help.
            return Ok(None);
        }
        if self.store.last_in_force().await?.is_some_and(|last| last.commit == head) {
            return Ok(None);
        }
        let commit = head.to_string();
        let known = self.store.meta_get(FAILED).await?.and_then(|text| serde_json::from_str::<Failed>(&text).ok());
        let before = known.filter(|known| known.commit == commit && known.target == *target && !known.quarantined);
        let times = before.map_or(0, |before| before.times) + 1;
        Ok(Some(Failed { commit, target: target.clone(), times, quarantined: times >= TRIES_MAX }))
    }

    /// One failure more, and why it was the last, if it was.
    pub(super) async fn count_failure(
        &self,
        head: CommitId,
        trouble: &Trouble,
        reason: &str,
    ) -> Result<(Option<Failed>, Option<String>), Trouble> {
        let failed = self.failed_once_more(head, trouble).await?;
        let given_up = match &failed {
            Some(failed) => self.given_up(head, failed, reason).await?,
            None => None,
        };
        Ok((failed, given_up))
    }

    /// Why this commit is tried no more, if it failed too often.
    async fn given_up(&self, head: CommitId, failed: &Failed, reason: &str) -> Result<Option<String>, Trouble> {
        if !failed.quarantined {
            return Ok(None);
        }
        let stays = match self.store.last_in_force().await? {
            Some(last) => format!("{} stays in force", last.commit.short()),
            None => "nothing is dropped".to_owned(),
        };
        let (head, Failed { times, target, .. }) = (head.short(), failed);
        let reason = format!("{head} failed {times} times on {target}, {stays}: {reason}. Push a newer commit, or {TRY_AGAIN}");
        tracing::error!("{reason}");
        Ok(Some(reason))
    }

    /// Why this head is not tried again, unless a person accepted it since.
    pub(super) async fn quarantined(&self, head: CommitId) -> Result<Option<String>, Trouble> {
        let record = self.store.commit(&head).await?;
        let Some(reason) = record.filter(|record| record.verdict == Verdict::Compliant).and_then(|record| record.quarantine) else {
            return Ok(None);
        };
        let Some(Switch { who, why, .. }) = self.acceptance(head).await? else { return Ok(Some(reason)) };
        self.store.release_quarantine(head, forgotten(), (who, why), (self.clock)()).await?;
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use sqlx::ConnectOptions as _;
    use sqlx::sqlite::SqliteConnectOptions;

    use super::*;
    use crate::converge::calendar::tests::{Branch, Host, Mood, NAME, Nobody, commit, now, settings};
    use crate::converge::{ACCEPTED_HEAD, CommitInfo, Memory, Outcome, StatusState, Target, converge};
    use crate::store::{Came, News, Store};

    /// One look of a controller that has just started.
    async fn look(store: &Store, refuses: bool) -> Result<Outcome, Trouble> {
        let mood = if refuses { Mood::Refuses } else { Mood::Well };
        let mut targets: Vec<Box<dyn Target>> = vec![Box::new(Host { mood, ..Host::default() })];
        let (settings, mut memory) = (settings(), Memory { restored: true, ..Memory::default() });
        let (source, prober, clock) = (&Branch, &Nobody, now as fn() -> jiff::Timestamp);
        let mut world = World { source, store, targets: &mut targets, settings: &settings, prober, clock, memory: &mut memory };
        converge(&mut world, Came::Poll).await
    }

    #[tokio::test]
    async fn a_commit_that_fails_five_times_on_a_target_is_quarantined_over_restarts_until_somebody_lets_it_be_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("state.db"), "host:test", now()).await.unwrap();
        for time in 1..=TRIES_MAX {
            assert!(look(&store, true).await.is_err(), "time {time}");
            let quarantined = store.commit(&commit()).await.unwrap().unwrap().quarantine;
            assert_eq!(quarantined.is_some(), time == TRIES_MAX, "time {time}");
        }
        let Ok(Outcome::Held { reason }) = look(&store, false).await else { panic!("it is not tried again") };
        assert!(reason.contains(&format!("failed 5 times on {NAME}")) && reason.contains("the kernel refuses"), "{reason}");
        let waiting = store.outbox_due(now(), 10).await.unwrap();
        assert!(
            waiting.iter().any(|item| matches!(&item.news, News::Status(status) if status.state == StatusState::Error)),
            "{waiting:?}"
        );

        let by = ("uid:0".to_owned(), "the disk was full".to_owned());
        store.release_quarantine(commit(), forgotten(), by, now()).await.unwrap();
        assert!(look(&store, true).await.is_err(), "tried again, and the count begins anew");
        assert_eq!(store.commit(&commit()).await.unwrap().unwrap().quarantine, None);
        let Ok(Outcome::InForce { commit: head, .. }) = look(&store, false).await else { panic!("it is in force") };
        assert_eq!((head, store.meta_get(FAILED).await.unwrap()), (commit(), None));
        store.close().await;
    }

    #[tokio::test]
    async fn a_head_that_was_accepted_before_it_failed_five_times_stays_quarantined_until_it_is_accepted_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("state.db"), "host:test", now()).await.unwrap();
        let (name, who, why) = (ACCEPTED_HEAD.to_owned(), "uid:0".to_owned(), "rewritten on purpose".to_owned());
        let switch = Switch { name, value: commit().to_string()[..12].to_owned(), who, why, set_at: now(), until: None };
        store.switch_set(switch.clone()).await.unwrap();
        for _ in 1..=TRIES_MAX {
            assert!(look(&store, true).await.is_err());
        }
        assert_eq!(store.switch_get(ACCEPTED_HEAD, now()).await.unwrap(), None, "it was for what failed since");
        assert!(matches!(look(&store, false).await, Ok(Outcome::Held { .. })), "it does not lift itself");

        store.switch_set(switch).await.unwrap();
        assert!(matches!(look(&store, false).await, Ok(Outcome::InForce { .. })));
        let mut log = SqliteConnectOptions::new().filename(folder.path().join("state.db")).connect().await.unwrap();
        let cleared = sqlx::query_scalar("SELECT count(*) FROM audit_log WHERE kind = 'switch.cleared'");
        let cleared: i64 = cleared.fetch_one(&mut log).await.unwrap();
        assert_eq!(cleared, 3, "the first acceptance, the quarantine, the second acceptance");
        assert_eq!(store.commit(&commit()).await.unwrap().unwrap().quarantine, None);
        store.close().await;
    }

    #[tokio::test]
    async fn a_quarantined_commit_stays_red_when_the_next_one_is_pushed() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("state.db"), "host:test", now()).await.unwrap();
        for _ in 1..=TRIES_MAX {
            assert!(look(&store, true).await.is_err());
        }
        let first = Branch.describe(&commit()).await.unwrap();
        let next = CommitInfo { id: CommitId::from_bytes(&[9; 20]).unwrap(), ..first.clone() };
        let (settings, mut memory, targets) = (settings(), Memory::default(), &mut []);
        let (source, prober, clock) = (&Branch, &Nobody, now as fn() -> jiff::Timestamp);
        let world = World { source, store: &store, targets, settings: &settings, prober, clock, memory: &mut memory };
        let head = next.id;
        world.judge(vec![first, next], head, None, Came::Push).await.unwrap();
        let waiting = store.outbox_due(now(), 10).await.unwrap();
        let of_first = waiting.iter().filter_map(|item| match &item.news {
            News::Status(status) if status.commit == commit() => Some(status.state),
            News::Status(_) | News::Comment(..) => None,
        });
        assert_eq!(of_first.collect::<Vec<_>>(), [StatusState::Error]);
        store.close().await;
    }
}
