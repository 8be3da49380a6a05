//! The GitHub receiver, and what all receivers have in common.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use webhook::{BODY_BYTES_MAX, Meaning, Receiver, Refusal, Secrets};

use crate::kit::{PUSH, SECRET, Server, sign, told};

#[tokio::test]
async fn a_push_to_our_branch_is_kept_and_accepted() {
    let server = Server::start().await;
    let (status, body) = server.signed("push", "id-1", PUSH).await;
    assert_eq!((status, body.as_str()), (202, r#"{"result":"accepted","reason":"a push to our branch"}"#));
    let kept = server.kept();
    assert_eq!(kept.len(), 1);
    assert_eq!((kept[0].forge, kept[0].id.as_str(), kept[0].secret_line), ("github", "id-1", 1));
    assert_eq!(kept[0].meaning, Meaning::Pushed { before: None, after: None });
}

#[tokio::test]
async fn w01_every_missing_or_wrong_signature_gets_the_same_answer() {
    let server = Server::start().await;
    let good = sign(SECRET, PUSH.as_bytes());
    let wrong = sign("another secret of 27 bytes", PUSH.as_bytes());
    let mut answers = HashSet::new();
    answers.insert(told(server.post("push", "id", PUSH)).await);
    for value in [&wrong, &good[..40], "", "sha256="] {
        answers.insert(told(server.post("push", "id", PUSH).header("x-hub-signature-256", value)).await);
    }
    let twice = server.post("push", "id", PUSH).header("x-hub-signature-256", &good).header("x-hub-signature-256", &good);
    answers.insert(told(twice).await);
    assert_eq!(answers.len(), 1, "{answers:?}");
    let (status, body) = answers.into_iter().next().unwrap();
    assert!(status == 401 && body.len() <= 200 && !body.contains(&wrong), "{status} {body}");
    assert!(server.kept().is_empty());
    assert_eq!(server.inbox.refused.lock().unwrap().as_slice(), [Refusal::Unauthorised; 6]);
}

#[tokio::test]
async fn w02_a_sha1_signature_alone_is_not_looked_at() {
    let server = Server::start().await;
    // The valid HMAC-SHA1 GitHub sends beside it.
    let sha1 = server.post("push", "id", PUSH).header("x-hub-signature", "sha1=ef02264e910a9f2438128086512d337a4c2a1a95");
    assert_eq!(told(sha1).await.0, 401);
    let bare = sign(SECRET, PUSH.as_bytes()).replace("sha256=", "");
    assert_eq!(told(server.post("push", "id", PUSH).header("x-hub-signature-256", bare)).await.0, 401);
    assert!(server.kept().is_empty());
}

#[tokio::test]
async fn w07_three_mib_are_taken_and_one_byte_more_is_not() {
    let server = Server::start().await;
    let full = format!("{PUSH}{}", " ".repeat(BODY_BYTES_MAX - PUSH.len()));
    assert_eq!(server.signed("push", "id-1", &full).await.0, 202);
    let over = format!(
        "POST /webhooks/github HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        BODY_BYTES_MAX + 1
    );
    assert!(server.raw(over.as_bytes()).await.starts_with("HTTP/1.1 413"));
}

#[tokio::test]
async fn w07_endless_chunks_end_at_the_limit_and_the_connection_is_closed() {
    let server = Server::start().await;
    let mut request =
        b"POST /webhooks/github HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
            .to_vec();
    for _ in 0..64 {
        request.extend_from_slice(b"10000\r\n");
        request.extend_from_slice(&[b' '; 65536]);
        request.extend_from_slice(b"\r\n");
    }
    let answer = server.raw(&request).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("connection: close"), "{answer}");
}

#[tokio::test]
async fn w08_other_content_types_and_encodings_are_named_and_refused() {
    let server = Server::start().await;
    let url = format!("http://{}/webhooks/github", server.address);
    let form = server.client.post(&url).header("content-type", "application/x-www-form-urlencoded").body("payload={}");
    let (status, body) = told(form).await;
    assert!(status == 415 && body.contains("Content-Type") && body.contains("application/json"), "{body}");
    let (status, body) = told(server.post("push", "id", PUSH).header("content-encoding", "gzip")).await;
    assert!(status == 415 && body.contains("Content-Encoding"), "{body}");
    assert_eq!(told(server.client.get(&url)).await.0, 405);
    assert_eq!(told(server.client.post(url.replace("github", "gitlab"))).await.0, 404);
    let charset = server.client.post(&url).header("content-type", "application/json; charset=utf-8").body(PUSH);
    assert_eq!(told(charset.header("x-hub-signature-256", sign(SECRET, PUSH.as_bytes()))).await.0, 202);
}

#[tokio::test]
async fn w09_senders_who_dawdle_do_not_keep_others_out() {
    let server = Server::start().await;
    let mut dawdling = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let head = format!(
            "POST /webhooks/github HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {BODY_BYTES_MAX}\r\n\r\n{{"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        dawdling.push(stream);
    }
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert_eq!(server.signed("push", "id", PUSH).await.0, 202);
}

#[tokio::test]
async fn w10_an_address_with_twenty_bad_signatures_is_turned_away() {
    let server = Server::start().await;
    for _ in 0..20 {
        let bad = server.post("push", "id", PUSH).header("x-forwarded-for", "203.0.113.9");
        assert_eq!(told(bad).await.0, 401);
    }
    let good = server.post("push", "id", PUSH).header("x-hub-signature-256", sign(SECRET, PUSH.as_bytes()));
    let blocked = good.header("x-forwarded-for", "203.0.113.10").send().await.unwrap();
    assert_eq!(blocked.status(), 429);
    let wait: u64 = blocked.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((590..=601).contains(&wait), "{wait}");
    assert!(server.kept().is_empty());
}

#[tokio::test]
async fn w10_behind_a_trusted_proxy_the_sender_is_blocked_and_the_proxy_is_not() {
    let server = Server::with(Receiver::Github(Secrets::parse(SECRET).ok().unwrap()), &["127.0.0.1"]).await;
    let from = |sender: &str| server.post("push", "id", PUSH).header("x-forwarded-for", format!("10.1.1.1, {sender}"));
    for _ in 0..20 {
        assert_eq!(told(from("203.0.113.9")).await.0, 401);
    }
    for _ in 0..40 {
        assert_eq!(told(server.post("push", "id", PUSH)).await.0, 401);
    }
    let good = sign(SECRET, PUSH.as_bytes());
    assert_eq!(told(from("203.0.113.9").header("x-hub-signature-256", &good)).await.0, 429);
    assert_eq!(told(from("203.0.113.10").header("x-hub-signature-256", &good)).await.0, 202);
    assert_eq!(server.signed("push", "id-2", PUSH).await.0, 202);
}

#[tokio::test]
async fn w11_an_authentic_body_that_cannot_be_read_is_kept_and_ignored() {
    let server = Server::start().await;
    let bomb = format!("{}1", r#"{"ref":"#.repeat(100_000));
    for (id, body) in [("id-1", "not JSON"), ("id-2", bomb.as_str())] {
        let (status, answer) = server.signed("push", id, body).await;
        assert_eq!((status, answer.as_str()), (202, r#"{"result":"ignored","reason":"unreadable"}"#));
    }
    assert_eq!(server.kept().len(), 2);
}

#[tokio::test]
async fn w12_one_delivery_many_times_is_kept_once() {
    let server = Arc::new(Server::start().await);
    let sends = (0..100).map(|_| {
        let server = Arc::clone(&server);
        tokio::spawn(async move { server.signed("push", "same", PUSH).await })
    });
    let mut duplicates = 0;
    for send in sends.collect::<Vec<_>>() {
        let (status, body) = send.await.unwrap();
        assert_eq!(status, 202);
        duplicates += usize::from(body.contains("duplicate"));
    }
    assert_eq!((duplicates, server.kept().len()), (99, 1));
}

#[tokio::test]
async fn w13_what_does_not_matter_is_answered_with_its_reason() {
    let server = Server::start().await;
    let cases = [
        ("ping", "{}", "ping: the hook works"),
        ("issue_comment", "{}", "an event we do not use"),
        ("push", r#"{"ref":"refs/tags/main"}"#, "a push to another ref"),
    ];
    for (number, (event, body, reason)) in cases.into_iter().enumerate() {
        let (status, answer) = server.signed(event, &number.to_string(), body).await;
        assert_eq!((status, answer), (202, format!(r#"{{"result":"ignored","reason":"{reason}"}}"#)));
    }
    assert_eq!(server.kept()[0].meaning, Meaning::Ping);
}

#[tokio::test]
async fn a_delivery_without_an_id_gets_one_from_its_bytes() {
    let server = Server::start().await;
    for odd in ["", "x y", "../../etc", &"x".repeat(101)] {
        assert_eq!(server.signed("push", odd, PUSH).await.0, 202);
    }
    let kept = server.kept();
    assert_eq!((kept.len(), kept[0].id.len()), (1, 64));
}

#[tokio::test]
async fn w16_an_inbox_that_fails_gets_the_sender_to_come_again() {
    let server = Server::start().await;
    server.inbox.broken.store(true, Ordering::Relaxed);
    let request = server.post("push", "id", PUSH).header("x-hub-signature-256", sign(SECRET, PUSH.as_bytes()));
    let response = request.send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.headers()["retry-after"].to_str().unwrap()), (503, "5"));
    assert!(!response.text().await.unwrap().contains("disk full"));
    server.inbox.broken.store(false, Ordering::Relaxed);
    assert_eq!(server.signed("push", "id", PUSH).await.0, 202);
}

#[tokio::test]
async fn w17_secrets_are_changed_under_a_running_receiver() {
    let server = Server::start().await;
    let new = "a newer secret of 28 bytes..";
    server.secrets.replace(&format!("{new}\n{SECRET}")).unwrap();
    assert_eq!(server.signed("push", "id-1", PUSH).await.0, 202);
    let by_new = server.post("push", "id-2", PUSH).header("x-hub-signature-256", sign(new, PUSH.as_bytes()));
    assert_eq!(told(by_new).await.0, 202);
    let lines: Vec<_> = server.kept().iter().map(|delivery| delivery.secret_line).collect();
    assert_eq!(lines, [2, 1]);
    server.secrets.replace(new).unwrap();
    assert_eq!(server.signed("push", "id-3", PUSH).await.0, 401);
}
