//! Asks the forge who approved what came in force (PCI DSS v4.0.1 6.5.1).
//!
//! It is evidence and nothing more: it is asked for after a commit is in force, in a task of its own, and nothing that goes wrong here
//! is felt by enforcement. Each commit is asked about until the forge has answered or [`GIVEN_UP_AFTER`] is over; then it is on record
//! that nobody could tell, and why. That a commit came by no request is believed after [`SETTLED_AFTER`] only: a forge notes a merge
//! some time after it has made the commit.
//!
//! A rate limit binds the sender as well, and the sender's binds us. Other waits are kept in memory: a restart asks again at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use policy::snapshot::CommitId;
use tokio_util::sync::CancellationToken;

use super::forge::AnyForge;
use crate::converge::{Forge, ReportError};
use crate::store::{Error, Reviews, Store};

/// How often it is looked for commits nobody asked about.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// Commits asked about in one look; each takes a few reads.
const ASKED_AT_ONCE: usize = 10;
/// Commits looked at for those.
const BATCH: u32 = 100;
/// First wait after a failure; doubles.
const WAIT_MIN: Duration = Duration::from_secs(60);
/// Longest wait after a failure.
const WAIT_MAX: Duration = Duration::from_secs(3_600);
/// How long a forge that refuses us is left alone.
const PAUSE: SignedDuration = SignedDuration::from_mins(5);
/// When a forge has surely noted which request a commit came by.
const SETTLED_AFTER: SignedDuration = SignedDuration::from_mins(5);
/// When it is put on record that nobody could tell.
const GIVEN_UP_AFTER: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Older commits are not asked about: they were there before this was.
const OLD: SignedDuration = SignedDuration::from_hours(14 * 24);

/// Asks until told to stop.
pub(super) async fn ask(forge: Arc<AnyForge>, store: Store, stop: CancellationToken) {
    if matches!(*forge, AnyForge::Silent(_)) {
        return stop.cancelled().await;
    }
    let mut asker = Asker::new(forge, store, Timestamp::now);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
        }
        let asked = tokio::select! {
            () = stop.cancelled() => return,
            asked = asker.round() => asked,
        };
        if let Err(error) = asked {
            tracing::error!("cannot keep who approved what: {}", crate::chain::chain(&error));
        }
    }
}

/// One look, for `run --once`.
pub(super) async fn ask_once(forge: Arc<AnyForge>, store: Store) -> Result<(), Error> {
    if matches!(*forge, AnyForge::Silent(_)) {
        return Ok(());
    }
    Asker::new(forge, store, Timestamp::now).round().await
}

struct Asker<F, C> {
    forge: Arc<F>,
    store: Store,
    clock: C,
    /// Commits that could not be asked about: when again, and how often it was tried.
    waits: HashMap<CommitId, (Timestamp, u32)>,
    /// When the forge is asked again after it refused us.
    paused_until: Option<Timestamp>,
}

impl<F: Forge, C: Fn() -> Timestamp> Asker<F, C> {
    fn new(forge: Arc<F>, store: Store, clock: C) -> Self {
        Self { forge, store, clock, waits: HashMap::new(), paused_until: None }
    }

    async fn round(&mut self) -> Result<(), Error> {
        let now = (self.clock)();
        let paused = self.paused_until.is_some_and(|until| now < until && until.duration_since(now) <= PAUSE);
        if paused || self.store.forge_rests(now).await?.is_some() {
            return Ok(());
        }
        let open = self.store.commits_unreviewed(now - OLD, BATCH).await?;
        self.waits.retain(|commit, _| open.iter().any(|(other, _)| other == commit));
        let due = |commit: &CommitId| self.waits.get(commit).is_none_or(|(at, _)| *at <= now);
        let due: Vec<_> = open.into_iter().filter(|(commit, _)| due(commit)).take(ASKED_AT_ONCE).collect();
        for (commit, seen) in due {
            let (reviews, go_on) = match self.forge.approvals(&commit).await {
                Ok(Some(requests)) if requests.is_empty() => (self.settled(commit, seen, Reviews::Known(requests)), true),
                Ok(Some(requests)) => (Some(Reviews::Known(requests)), true),
                Ok(None) => (Some(Reviews::Unknown("this forge does not tell of approvals".to_owned())), true),
                Err(ReportError::Never { reason }) => (self.settled(commit, seen, Reviews::Unknown(reason)), true),
                Err(ReportError::Again { reason, after }) => (self.later(commit, seen, reason, after), true),
                Err(ReportError::Limited { reason, after }) => {
                    let now = (self.clock)();
                    self.store.rest_forge(now + after.unwrap_or(WAIT_MIN), now).await?;
                    (self.later(commit, seen, reason, after), false)
                }
                Err(ReportError::Paused { reason }) => {
                    self.paused_until = Some((self.clock)() + PAUSE);
                    (self.later(commit, seen, reason, None), false)
                }
            };
            if let Some(reviews) = reviews {
                self.store.note_approvals(commit, reviews, (self.clock)()).await?;
                self.waits.remove(&commit);
            }
            if !go_on {
                break;
            }
        }
        Ok(())
    }

    /// That no request is known is the last word only when the forge had time to note one.
    fn settled(&mut self, commit: CommitId, seen: Timestamp, reviews: Reviews) -> Option<Reviews> {
        let (now, settled) = ((self.clock)(), seen + SETTLED_AFTER);
        // A commit of the future was seen before the clock was put back.
        if now >= settled || now < seen {
            return Some(reviews);
        }
        self.waits.insert(commit, (settled, 0));
        None
    }

    /// Tries again after a while, unless it took too long already.
    fn later(&mut self, commit: CommitId, seen: Timestamp, reason: String, after: Option<Duration>) -> Option<Reviews> {
        let now = (self.clock)();
        if now.duration_since(seen) >= GIVEN_UP_AFTER {
            return Some(Reviews::Unknown(reason));
        }
        let tries = self.waits.get(&commit).map_or(0, |(_, tries)| *tries);
        let wait = WAIT_MIN.saturating_mul(2_u32.saturating_pow(tries.min(16))).min(WAIT_MAX).max(after.unwrap_or_default());
        tracing::warn!(%commit, "who approved it is not known yet: {reason}");
        self.waits.insert(commit, (now + wait, tries.saturating_add(1)));
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::converge::{Comment, CommitInfo, CommitStatus, Reviewed};
    use crate::store::{Came, EndedPass, NewCommit, Outcome, PassEnd};

    type Answer = Result<Option<Vec<Reviewed>>, ReportError>;

    struct Told {
        answer: Mutex<fn() -> Answer>,
        asked: Mutex<u32>,
    }

    impl Forge for Told {
        async fn report(&self, _: &CommitStatus) -> Result<Option<String>, ReportError> {
            Ok(None)
        }

        async fn comment(&self, _: &Comment) -> Result<Option<String>, ReportError> {
            Ok(None)
        }

        async fn approvals(&self, _: &CommitId) -> Answer {
            *self.asked.lock().unwrap() += 1;
            let answer = *self.answer.lock().unwrap();
            answer()
        }
    }

    struct Scene {
        store: Store,
        forge: Arc<Told>,
        now: Arc<Mutex<Timestamp>>,
        _folder: tempfile::TempDir,
    }

    impl Scene {
        /// With one commit in force.
        async fn new(answer: fn() -> Answer) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let begin = Timestamp::from_second(1_767_225_600).unwrap();
            let store = Store::open(&folder.path().join("state.db"), "host:test", begin).await.unwrap();
            let text = || "Ada".to_owned();
            let info = CommitInfo {
                id: commit(),
                parents: Vec::new(),
                author: text(),
                committer: text(),
                subject: text(),
                committed_at: 1,
            };
            let git_ref = "refs/heads/main".to_owned();
            let new = NewCommit { info, git_ref: git_ref.clone(), came: Came::Poll };
            store.begin_judging(vec![new], Vec::new(), begin).await.unwrap();
            let end = PassEnd::of(Outcome::InForce, "", begin);
            let pass = EndedPass { head: Some(commit()), git_ref, enforced_before: None, plan: None, started: begin, end };
            store.record_pass(pass).await.unwrap();
            let forge = Arc::new(Told { answer: Mutex::new(answer), asked: Mutex::default() });
            Self { store, forge, now: Arc::new(Mutex::new(begin)), _folder: folder }
        }

        fn asker(&self) -> Asker<Told, impl Fn() -> Timestamp> {
            let now = Arc::clone(&self.now);
            Asker::new(Arc::clone(&self.forge), self.store.clone(), move || *now.lock().unwrap())
        }

        fn pass(&self, seconds: i64) {
            *self.now.lock().unwrap() += SignedDuration::from_secs(seconds);
        }

        fn asked(&self) -> u32 {
            std::mem::take(&mut self.forge.asked.lock().unwrap())
        }

        async fn kept(&self) -> Option<String> {
            self.store.approvals(&commit()).await.unwrap().map(|kept| kept.to_string())
        }
    }

    fn commit() -> CommitId {
        CommitId::from_bytes(&[7; 20]).unwrap()
    }

    #[tokio::test]
    async fn a_commit_is_asked_about_until_the_forge_has_answered_and_then_never_again() {
        let scene = Scene::new(|| Err(ReportError::Again { reason: "502".into(), after: None })).await;
        let mut asker = scene.asker();
        for wait in [60, 120, 240] {
            asker.round().await.unwrap();
            assert_eq!(scene.asked(), 1, "before {wait} s");
            scene.pass(wait - 1);
            asker.round().await.unwrap();
            assert_eq!(scene.asked(), 0, "within {wait} s");
            scene.pass(1);
        }
        *scene.forge.answer.lock().unwrap() = || Ok(Some(Vec::new()));
        asker.round().await.unwrap();
        asker.round().await.unwrap();
        assert_eq!((scene.asked(), scene.kept().await.as_deref()), (1, Some(r#"{"requests":[]}"#)));
    }

    #[tokio::test]
    async fn that_a_commit_came_by_no_request_is_believed_when_the_forge_had_time_to_note_one() {
        for answer in [|| Ok(Some(Vec::new())), || Err(ReportError::Never { reason: "not known".into() })] as [fn() -> Answer; 2] {
            let scene = Scene::new(answer).await;
            let mut asker = scene.asker();
            for _ in 0..2 {
                asker.round().await.unwrap();
                scene.pass(149);
            }
            assert_eq!((scene.asked(), scene.kept().await), (1, None));
            scene.pass(2);
            asker.round().await.unwrap();
            assert_eq!((scene.asked(), scene.kept().await.is_some()), (1, true));
        }
    }

    #[tokio::test]
    async fn f05_a_rate_limit_of_the_sender_or_our_own_binds_both_and_a_restart_does_not_shorten_it() {
        let scene = Scene::new(|| Err(ReportError::Limited { reason: "429".into(), after: Some(Duration::from_secs(600)) })).await;
        let now = || *scene.now.lock().unwrap();
        let sender = now() + SignedDuration::from_secs(900);
        scene.store.rest_forge(sender, now()).await.unwrap();
        scene.pass(899);
        scene.asker().round().await.unwrap();
        assert_eq!(scene.asked(), 0, "the sender was limited");
        scene.pass(1);
        scene.asker().round().await.unwrap();
        assert_eq!(scene.store.forge_rests(now()).await.unwrap(), Some(now() + SignedDuration::from_secs(600)));
        scene.asker().round().await.unwrap();
        assert_eq!(scene.asked(), 1);
    }

    #[tokio::test]
    async fn f06_a_forge_that_refuses_us_is_asked_about_nothing_for_five_minutes() {
        let scene = Scene::new(|| Err(ReportError::Paused { reason: "credentials refused (401)".into() })).await;
        let mut asker = scene.asker();
        for (seconds, asked) in [(299, 1), (1, 0), (0, 1)] {
            asker.round().await.unwrap();
            assert_eq!(scene.asked(), asked);
            scene.pass(seconds);
        }
    }

    #[tokio::test]
    async fn what_is_not_offered_or_refused_for_a_week_is_on_record_as_unknown() {
        let scene = Scene::new(|| Ok(None)).await;
        scene.asker().round().await.unwrap();
        assert_eq!(scene.kept().await.unwrap(), r#"{"unknown":"this forge does not tell of approvals"}"#);
        let scene = Scene::new(|| Err(ReportError::Paused { reason: "credentials refused (401)".into() })).await;
        scene.asker().round().await.unwrap();
        scene.pass(7 * 86_400 - 1);
        scene.asker().round().await.unwrap();
        assert_eq!(scene.kept().await, None);
        scene.pass(1);
        scene.asker().round().await.unwrap();
        assert_eq!(scene.kept().await.unwrap(), r#"{"unknown":"credentials refused (401)"}"#);
    }
}
