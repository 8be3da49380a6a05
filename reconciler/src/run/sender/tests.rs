//! The sender with a real store, a clock that is told the time, and a forge that answers as it is told.

use std::sync::{Arc, Mutex};

use policy::snapshot::CommitId;
use sqlx::{ConnectOptions as _, sqlite::SqliteConnectOptions};
use tokio::sync::Semaphore;

use super::*;
use crate::converge::{Comment, CommitStatus, Reviewed, StatusState};

type Answer = Result<Option<String>, ReportError>;
type Ways = fn(&CommitStatus) -> Answer;

/// What was said to the forge, and when.
#[derive(Clone)]
struct Scene {
    store: Store,
    now: Arc<Mutex<Timestamp>>,
    answer: Arc<Mutex<Ways>>,
    said: Arc<Mutex<Vec<(Timestamp, CommitStatus)>>>,
    comments: Arc<Mutex<Vec<Comment>>>,
    /// How many calls are answered at a time.
    gate: Arc<Semaphore>,
    calls: Arc<Calls>,
    folder: Arc<tempfile::TempDir>,
}

impl Forge for Scene {
    async fn report(&self, status: &CommitStatus) -> Answer {
        let _held = self.gate.acquire().await.unwrap();
        self.said.lock().unwrap().push((*self.now.lock().unwrap(), status.clone()));
        let answer = *self.answer.lock().unwrap();
        answer(status)
    }

    async fn comment(&self, comment: &Comment) -> Answer {
        self.comments.lock().unwrap().push(comment.clone());
        Ok(Some("4711".to_owned()))
    }

    async fn approvals(&self, _: &CommitId) -> Result<Option<Vec<Reviewed>>, ReportError> {
        Ok(None)
    }
}

fn taken(_: &CommitStatus) -> Answer {
    Ok(None)
}

fn away(_: &CommitStatus) -> Answer {
    Err(ReportError::Again { reason: "no answer".into(), after: None })
}

impl Scene {
    async fn new(answer: Ways) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let begin = Timestamp::from_second(1_767_225_600).unwrap();
        let store = Store::open(&folder.path().join("state.db"), "host:test", begin).await.unwrap();
        let (now, answer) = (Arc::new(Mutex::new(begin)), Arc::new(Mutex::new(answer)));
        let gate = Arc::new(Semaphore::new(100));
        let folder = Arc::new(folder);
        Self { store, now, answer, said: Arc::default(), comments: Arc::default(), gate, calls: Arc::default(), folder }
    }

    /// A process that begins now.
    async fn start(&self) -> Sender<Self, impl Fn() -> Timestamp> {
        let now = self.now.clone();
        let known = Known::read(&self.store, self.now()).await.unwrap();
        Sender::new(Arc::new(self.clone()), self.store.clone(), Arc::clone(&self.calls), move || *now.lock().unwrap(), known)
    }

    fn now(&self) -> Timestamp {
        *self.now.lock().unwrap()
    }

    fn pass(&self, seconds: i64) {
        let mut now = self.now.lock().unwrap();
        *now += SignedDuration::from_secs(seconds);
    }

    fn answers(&self, answer: Ways) {
        *self.answer.lock().unwrap() = answer;
    }

    async fn queue(&self, commit: usize, state: StatusState, text: &str) {
        let (commit, now) = (format!("{commit:040x}").parse().unwrap(), self.now());
        let (description, context) = (text.into(), "pci-segment/policy".into());
        let status = CommitStatus { commit, state, description, link: None, context, git_ref: None };
        self.store.queue_status(status, now).await.unwrap();
    }

    /// Everything said since the last question.
    fn said(&self) -> Vec<(Timestamp, CommitStatus)> {
        std::mem::take(&mut self.said.lock().unwrap())
    }

    fn states(&self) -> Vec<StatusState> {
        self.said().into_iter().map(|(_, status)| status.state).collect()
    }

    /// As if the only status that was sent had been sent so many times more.
    async fn repeat_what_was_sent(&self, times: u64) {
        let file = self.folder.path().join("state.db");
        let mut connection = SqliteConnectOptions::new().filename(file).connect().await.unwrap();
        let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) \
                   INSERT INTO outbox (id, kind, oid, context, status, description, queued_at, next_try, state, ended_at) \
                   SELECT randomblob(16), kind, oid, context, status, 'fine ' || i, queued_at, next_try, state, ended_at FROM outbox, n";
        let query = sqlx::query(sql).bind(i64::try_from(times).unwrap());
        assert_eq!(query.execute(&mut connection).await.unwrap().rows_affected(), times);
    }

    async fn waiting(&self) -> (u64, u64) {
        let depth = self.store.outbox_depth().await.unwrap();
        (depth.queued, depth.dead)
    }
}

#[tokio::test]
async fn f05_a_rate_limit_stops_all_rows_for_as_long_as_told_and_a_restart_does_not_shorten_it() {
    let scene = Scene::new(|_| Err(ReportError::Limited { reason: "429".into(), after: Some(Duration::from_secs(1_800)) })).await;
    scene.queue(1, StatusState::Success, "fine").await;
    scene.queue(2, StatusState::Success, "fine").await;
    let mut sender = scene.start().await;
    sender.round().await.unwrap();
    assert_eq!(scene.said().len(), 1, "the second row is not tried");
    scene.answers(taken);
    scene.queue(3, StatusState::Failure, "no").await;
    scene.pass(1_799);
    sender.round().await.unwrap();
    let mut restarted = scene.start().await;
    restarted.round().await.unwrap();
    assert!(scene.said().is_empty());
    scene.pass(1);
    restarted.round().await.unwrap();
    assert_eq!(scene.states(), [StatusState::Failure, StatusState::Success, StatusState::Success]);
}

#[tokio::test]
async fn f05_a_rate_limit_without_a_time_is_waited_for_a_minute_and_then_twice_as_long() {
    let scene = Scene::new(|_| Err(ReportError::Limited { reason: "403".into(), after: None })).await;
    scene.queue(1, StatusState::Failure, "no").await;
    for seconds in [60, 120, 240] {
        scene.start().await.round().await.unwrap();
        assert_eq!(scene.said().len(), 1, "before {seconds} s");
        scene.pass(seconds - 1);
        scene.start().await.round().await.unwrap();
        assert!(scene.said().is_empty(), "within {seconds} s");
        scene.pass(1);
    }
    assert_eq!(unnamed_wait(u32::MAX), Duration::from_secs(3_600));
}

#[tokio::test]
async fn f06_refused_credentials_pause_the_forge_for_five_minutes_and_keep_every_row() {
    let scene = Scene::new(|_| Err(ReportError::Paused { reason: "credentials refused (401)".into() })).await;
    scene.queue(1, StatusState::Failure, "no").await;
    scene.queue(2, StatusState::Success, "fine").await;
    let mut sender = scene.start().await;
    sender.round().await.unwrap();
    scene.pass(299);
    sender.round().await.unwrap();
    assert_eq!((scene.states(), scene.waiting().await), (vec![StatusState::Failure], (2, 0)));
    assert_eq!(scene.calls.why_not().as_deref(), Some("credentials refused (401)"), "what `/readyz` says");
    // Only the first is refused, it turns out: the second does not wait behind it for ever.
    scene.answers(
        |status| if status.state == StatusState::Failure { Err(ReportError::Paused { reason: "404".into() }) } else { Ok(None) },
    );
    scene.pass(1);
    sender.round().await.unwrap();
    assert_eq!((scene.states(), scene.waiting().await), (vec![StatusState::Success], (1, 0)));
    scene.answers(taken);
    scene.pass(1);
    sender.round().await.unwrap();
    assert_eq!((scene.waiting().await, scene.calls.why_not()), ((0, 0), None));
}

/// Lets everything that can happen without another answer happen.
async fn settle() {
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn four_calls_run_at_a_time_after_one_went_through_and_of_one_commit_only_one() {
    let scene = Scene::new(taken).await;
    for commit in 0..9 {
        scene.queue(commit, StatusState::Success, "fine").await;
    }
    let mut sender = scene.start().await;
    scene.gate.forget_permits(99);
    sender.round().await.unwrap();
    assert_eq!(scene.said().len(), 9);
    // Now nobody is answered, so that calls stay under way.
    scene.gate.forget_permits(1);
    for commit in 20..29 {
        scene.queue(commit, StatusState::Pending, "queued").await;
    }
    let verdicts = async {
        settle().await;
        for commit in 20..29 {
            scene.queue(commit, StatusState::Failure, "no").await;
        }
        scene.gate.add_permits(4);
    };
    let (ended, ()) = tokio::join!(sender.round(), verdicts);
    ended.unwrap();
    let said = scene.said();
    let number = |status: &CommitStatus| status.commit.to_string();
    let of = |commit: usize| {
        let commit = format!("{commit:040x}");
        said.iter().filter(|(_, s)| number(s) == commit).map(|(_, s)| s.state).collect::<Vec<_>>()
    };
    for commit in 25..29 {
        assert_eq!(of(commit), [StatusState::Pending, StatusState::Failure], "{commit}: the newest first, in order, and both");
    }
    for commit in 20..25 {
        assert_eq!(of(commit), [StatusState::Failure], "{commit}: what was not under way yet is superseded");
    }
    assert_eq!(scene.waiting().await, (0, 0));
}

#[tokio::test]
async fn the_head_of_a_long_push_is_green_before_what_led_to_it_and_red_goes_in_order() {
    let scene = Scene::new(taken).await;
    for commit in 0..90 {
        scene.queue(commit, StatusState::Success, "compliant").await;
    }
    scene.queue(90, StatusState::Failure, "no").await;
    scene.queue(91, StatusState::Failure, "no").await;
    scene.start().await.round().await.unwrap();
    let mut said: Vec<_> = scene.said().iter().map(|(_, s)| s.commit.to_string()).collect();
    said.iter_mut().take(4).for_each(|commit| commit.drain(..38).for_each(drop));
    // Four are under way at a time.
    said.truncate(4);
    said.sort_unstable();
    assert_eq!(said, ["58", "59", "5a", "5b"]);
}

#[tokio::test]
async fn a_comment_goes_behind_statuses_out_of_the_same_budget_and_is_edited_from_then_on() {
    let scene = Scene::new(taken).await;
    let head = format!("{:040x}", 1).parse().unwrap();
    scene.store.queue_comment(12, head, "first".into(), scene.now()).await.unwrap();
    for commit in 0..60 {
        scene.queue(commit, StatusState::Pending, "queued").await;
    }
    let mut sender = scene.start().await;
    sender.round().await.unwrap();
    assert_eq!((scene.said().len(), scene.comments.lock().unwrap().len()), (60, 0));
    scene.pass(60);
    sender.round().await.unwrap();
    scene.store.queue_comment(12, head, "second".into(), scene.now()).await.unwrap();
    sender.round().await.unwrap();
    let said = scene.comments.lock().unwrap().clone();
    let bodies: Vec<_> = said.iter().map(|comment| (comment.body.as_str(), comment.known_id.as_deref())).collect();
    assert_eq!(bodies, [("first", None), ("second", Some("4711"))]);
}

#[tokio::test]
async fn f08_after_a_day_without_a_forge_red_goes_first_within_the_budget_and_each_commit_ends_with_its_last_word() {
    let scene = Scene::new(away).await;
    let mut sender = scene.start().await;
    for commit in 0..100 {
        scene.queue(commit, StatusState::Pending, "queued").await;
        if commit % 10 != 0 {
            scene.queue(commit, StatusState::Success, "fine").await;
        }
        if commit % 4 == 1 {
            scene.queue(commit, StatusState::Failure, "no").await;
        }
    }
    for _ in 0..96 {
        sender.round().await.unwrap();
        scene.pass(900);
    }
    assert!(!scene.said().is_empty());
    assert_eq!(scene.waiting().await, (100, 0));
    scene.answers(taken);
    for _ in 0..200 {
        sender.round().await.unwrap();
        scene.pass(1);
    }
    let said = scene.said();
    let word = |(_, status): &(Timestamp, CommitStatus)| match status.state {
        StatusState::Failure | StatusState::Error => 0,
        StatusState::Success => 1,
        StatusState::Pending => 2,
    };
    assert!(said.is_sorted_by_key(word), "red, green, pending");
    assert_eq!(said.len(), 100, "each commit is spoken of once");
    let first_minute = said.iter().filter(|(at, _)| at.duration_since(said[0].0) < SignedDuration::from_secs(60)).count();
    assert_eq!(first_minute, 60);
    for (_, status) in &said {
        let number = (0..100).find(|n| format!("{n:040x}").parse::<CommitId>().unwrap() == status.commit).unwrap();
        let expected = match (number % 4, number % 10) {
            (1, _) => StatusState::Failure,
            (_, 0) => StatusState::Pending,
            _ => StatusState::Success,
        };
        assert_eq!(status.state, expected, "{number}");
    }
    assert_eq!(scene.waiting().await, (0, 0));
}

#[tokio::test]
async fn f08_after_seven_days_green_and_pending_are_given_up_and_red_is_not() {
    let scene = Scene::new(away).await;
    scene.queue(1, StatusState::Success, "fine").await;
    scene.queue(2, StatusState::Pending, "queued").await;
    scene.queue(3, StatusState::Failure, "no").await;
    scene.queue(4, StatusState::Error, "stopped").await;
    let mut sender = scene.start().await;
    scene.pass(7 * 86_400);
    sender.round().await.unwrap();
    assert_eq!(scene.waiting().await, (4, 0));
    scene.said();
    scene.pass(1_000);
    sender.round().await.unwrap();
    assert_eq!((scene.states(), scene.waiting().await), (vec![StatusState::Failure, StatusState::Error], (2, 2)));
}

#[tokio::test]
async fn f08_of_a_commits_thousand_statuses_the_last_ten_are_for_failures_and_errors() {
    let scene = Scene::new(taken).await;
    scene.queue(1, StatusState::Success, "fine").await;
    scene.start().await.round().await.unwrap();
    assert_eq!(scene.states(), [StatusState::Success]);
    scene.repeat_what_was_sent(STATUSES_BEFORE_ONLY_RED - 2).await;
    scene.queue(1, StatusState::Success, "the last one").await;
    scene.start().await.round().await.unwrap();
    assert!(scene.said().is_empty(), "nearly a thousand within the hour");
    scene.pass(3_600);
    let mut sender = scene.start().await;
    sender.round().await.unwrap();
    assert_eq!(scene.states(), [StatusState::Success]);
    scene.queue(1, StatusState::Success, "one too many").await;
    scene.queue(2, StatusState::Success, "another commit").await;
    sender.round().await.unwrap();
    assert_eq!((scene.said()[0].1.description.as_str(), scene.waiting().await), ("another commit", (0, 1)));
    scene.queue(1, StatusState::Failure, "no").await;
    sender.round().await.unwrap();
    assert_eq!((scene.states(), scene.waiting().await), (vec![StatusState::Failure], (0, 1)));
}

#[tokio::test]
async fn f05_of_two_limits_that_were_told_at_once_the_longer_one_holds() {
    let scene = Scene::new(taken).await;
    scene.queue(1, StatusState::Success, "fine").await;
    let mut sender = scene.start().await;
    sender.round().await.unwrap();
    scene.answers(|status| {
        let seconds = if status.commit.to_string().ends_with('2') { 1_800 } else { 1 };
        Err(ReportError::Limited { reason: "429".into(), after: Some(Duration::from_secs(seconds)) })
    });
    scene.queue(2, StatusState::Success, "fine").await;
    scene.queue(3, StatusState::Success, "fine").await;
    sender.round().await.unwrap();
    assert_eq!(scene.said().len(), 3);
    scene.answers(taken);
    scene.pass(2);
    sender.round().await.unwrap();
    assert!(scene.said().is_empty(), "the forge asked for half an hour");
    scene.start().await.round().await.unwrap();
    assert!(scene.said().is_empty(), "a restart does not shorten it either");
}

#[tokio::test]
async fn f06_what_is_never_taken_does_not_say_that_the_forge_takes_us_in_again() {
    let scene = Scene::new(taken).await;
    scene.queue(1, StatusState::Success, "fine").await;
    let mut sender = scene.start().await;
    sender.round().await.unwrap();
    scene.answers(|status| {
        if status.commit.to_string().ends_with('2') {
            Err(ReportError::Paused { reason: "404".into() })
        } else {
            Err(ReportError::Never { reason: "not accepted (404)".into() })
        }
    });
    scene.queue(2, StatusState::Success, "fine").await;
    scene.queue(3, StatusState::Success, "fine").await;
    sender.round().await.unwrap();
    assert_eq!(scene.calls.why_not().as_deref(), Some("404"), "the forge rests for five minutes and `/readyz` says so");
}

#[tokio::test]
async fn a_verdict_waits_behind_a_pending_whose_call_nobody_answered() {
    let scene = Scene::new(away).await;
    scene.queue(1, StatusState::Pending, "queued").await;
    let mut sender = scene.start().await;
    sender.round().await.unwrap();
    assert_eq!(scene.states(), [StatusState::Pending]);
    scene.answers(taken);
    scene.queue(1, StatusState::Failure, "no").await;
    scene.queue(2, StatusState::Failure, "no").await;
    scene.pass(9);
    sender.round().await.unwrap();
    let said = scene.said();
    assert!(said.len() == 1 && said[0].1.commit.to_string().ends_with('2'), "the forge may still write the first one");
    scene.pass(1);
    sender.round().await.unwrap();
    assert_eq!((scene.states(), scene.waiting().await), (vec![StatusState::Failure], (0, 0)));
}
