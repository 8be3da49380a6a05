//! Requests and the one comment each of them has.

use super::*;
use crate::converge;

/// What waits to be said in requests, and under which id.
async fn waiting(store: &Store, now: Timestamp) -> Vec<(u64, String, Option<String>)> {
    let due = store.outbox_due(now, 10).await.unwrap().into_iter();
    due.filter_map(|item| match item.news {
        News::Comment(converge::Comment { request, body, known_id }, _) => Some((request, body, known_id)),
        News::Status(_) => None,
    })
    .collect()
}

async fn send_all(store: &Store, remote: Option<&str>) {
    for item in store.outbox_due(at(10), 10).await.unwrap() {
        store.outbox_sent(item.id, remote.map(str::to_owned), at(10)).await.unwrap();
    }
}

#[tokio::test]
async fn a_request_is_open_with_its_newest_head_until_it_is_closed() {
    let place = Place::new();
    let store = place.open().await;
    let heads = async || {
        let open = store.requests_open().await.unwrap();
        open.into_iter().map(|request| (request.number, request.head)).collect::<Vec<_>>()
    };
    store.request_seen(7, Some(oid(1)), at(1)).await.unwrap();
    store.request_seen(3, Some(oid(2)), at(1)).await.unwrap();
    store.request_seen(7, Some(oid(3)), at(2)).await.unwrap();
    assert_eq!(heads().await, [(3, oid(2)), (7, oid(3))]);
    store.request_seen(7, None, at(3)).await.unwrap();
    store.request_seen(99, None, at(3)).await.unwrap();
    assert_eq!(heads().await, [(3, oid(2))]);
    store.request_seen(7, Some(oid(3)), at(4)).await.unwrap();
    assert_eq!(heads().await.len(), 2, "opened again");
    for number in [0, u64::MAX] {
        assert!(store.request_seen(number, Some(oid(1)), at(1)).await.is_err(), "{number}");
    }
}

#[tokio::test]
async fn a_verdict_queues_its_comment_behind_every_status() {
    let place = Place::new();
    let store = place.open().await;
    store.begin_judging(vec![new_commit(1)], Vec::new(), at(1)).await.unwrap();
    let comment = Comment { request: 7, body: "**no**".to_owned() };
    let red = status(1, StatusState::Failure, "no");
    let verdict = Judged { comment: Some(comment), ..judged(1, Verdict::Rejected, json!([]), Some(red)) };
    store.record_verdict(verdict).await.unwrap();
    store.queue_status(status(2, StatusState::Pending, "queued"), at(9)).await.unwrap();
    let due = store.outbox_due(at(10), 10).await.unwrap();
    let comments: Vec<bool> = due.iter().map(|item| matches!(item.news, News::Comment(..))).collect();
    assert_eq!(comments, [false, false, true]);
    assert_eq!((due[2].news.commit(), due[2].news.is_red()), (oid(1), false));
    assert_eq!(waiting(&store, at(10)).await, [(7, "**no**".to_owned(), None)]);
    assert_eq!(store.requests_open().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_verdict_that_is_not_stored_leaves_no_comment() {
    let place = Place::new();
    let store = place.open().await;
    let comment = Some(Comment { request: 7, body: "never begun".to_owned() });
    assert!(store.record_verdict(Judged { comment, ..judged(1, Verdict::Rejected, json!([]), None) }).await.is_err());
    assert_eq!(waiting(&store, at(10)).await, []);
}

#[tokio::test]
async fn one_comment_of_a_request_waits_and_the_same_is_not_said_twice() {
    let place = Place::new();
    let store = place.open().await;
    let say = |commit, body: &str| store.queue_comment(7, oid(commit), body.to_owned(), at(1));
    say(1, "first").await.unwrap();
    say(2, "second").await.unwrap();
    say(2, "second").await.unwrap();
    store.queue_comment(8, oid(2), "second".to_owned(), at(1)).await.unwrap();
    let of_7 = (7, "second".to_owned(), None);
    assert_eq!(waiting(&store, at(10)).await, [(8, "second".to_owned(), None), of_7]);
    send_all(&store, Some("4711")).await;
    say(3, "second").await.unwrap();
    assert_eq!(waiting(&store, at(10)).await, [], "the request has it already");
    say(3, "third").await.unwrap();
    assert_eq!(waiting(&store, at(10)).await, [(7, "third".to_owned(), Some("4711".to_owned()))]);
    say(4, "second").await.unwrap();
    assert_eq!(waiting(&store, at(10)).await.len(), 1, "what was superseded may be on its way");
    send_all(&store, None).await;
    say(5, "fifth").await.unwrap();
    assert_eq!(waiting(&store, at(10)).await[0].2.as_deref(), Some("4711"), "an edit without an id keeps the one known");
    let kinds = kinds(&place).await;
    assert_eq!(kinds.iter().filter(|kind| *kind == "comment.sent").count(), 3, "{kinds:?}");
}

#[tokio::test]
async fn a_comment_that_no_forge_takes_is_logged_and_the_request_is_not_opened_by_one() {
    let place = Place::new();
    let store = place.open().await;
    store.request_seen(7, Some(oid(1)), at(1)).await.unwrap();
    store.request_seen(7, None, at(2)).await.unwrap();
    store.queue_comment(7, oid(1), "late".to_owned(), at(3)).await.unwrap();
    assert!(store.requests_open().await.unwrap().is_empty());
    let due = store.outbox_due(at(10), 10).await.unwrap();
    store.outbox_dead(due[0].id, "locked".to_owned(), at(4)).await.unwrap();
    assert_eq!(kinds(&place).await, ["log.opened", "comment.dead"]);
    store.queue_comment(7, oid(1), "late".to_owned(), at(5)).await.unwrap();
    assert_eq!(waiting(&store, at(10)).await.len(), 1, "what was not taken may be said again");
}

#[tokio::test]
async fn a_database_of_the_second_version_is_brought_up_to_date_and_keeps_its_rows() {
    let place = Place::new();
    let mut old = SqliteConnectOptions::new().filename(place.file()).create_if_missing(true).connect().await.unwrap();
    open::migrate(&mut old, &open::MIGRATIONS[..2]).await.unwrap();
    let id = "01010101010101010101010101010101";
    let commit = "0101010101010101010101010101010101010101";
    let rows = format!(
        "INSERT INTO commits (oid, parents, author, committer, subject, committed_at, ref, first_seen, came, attempts, verdict, \
         findings, finding_count, rule_ids) VALUES (x'{commit}', '[]', 'Ada', 'Ada', 's', 1, 'refs/heads/main', 1, 'poll', 0, \
         'rejected', '[]', 0, '[]'); \
         INSERT INTO outbox (id, kind, oid, context, status, description, queued_at, next_try, state) \
         VALUES (x'{id}', 'status', x'{commit}', 'pci-segment/policy', 'failure', 'no', 1, 1, 'queued')"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(rows)).execute(&mut old).await.unwrap();
    drop(old);
    let store = place.open().await;
    assert_eq!(store.commit(&oid(1)).await.unwrap().unwrap().verdict, Verdict::Rejected);
    let due = store.outbox_due(at(10), 10).await.unwrap();
    assert_eq!(due[0].news, News::Status(CommitStatus { git_ref: None, ..status(1, StatusState::Failure, "no") }));
    store.queue_comment(7, oid(1), "no".to_owned(), at(1)).await.unwrap();
    assert_eq!(waiting(&store, at(10)).await.len(), 1);
    assert_eq!(kinds(&place).await, ["log.opened"]);
}
