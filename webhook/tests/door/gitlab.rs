//! The GitLab receivers: signed, and with a token.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use webhook::{Meaning, Receiver, Refusal, Secrets};

use crate::kit::{Server, hmac, told};

const TOKEN: &str = "a token of 26 bytes at all";
const PUSH: &str =
    r#"{"object_kind":"push","event_name":"push","ref":"refs/heads/main","project":{"git_http_url":"http://169.254.169.254/"}}"#;

async fn signed_only() -> Server {
    let token = format!("whsec_{}", STANDARD.encode([9; 32]));
    Server::with(Receiver::GitlabSigned(Secrets::parse_signing(&token).ok().unwrap()), &[]).await
}

async fn token_only() -> Server {
    Server::with(Receiver::GitlabToken(Secrets::parse(TOKEN).ok().unwrap()), &[]).await
}

fn post(server: &Server, event: &str, body: &'static str) -> reqwest::RequestBuilder {
    let url = format!("http://{}/webhooks/gitlab", server.address);
    server.client.post(url).header("content-type", "application/json").header("x-gitlab-event", event).body(body)
}

fn time(offset: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    now.checked_add_signed(offset).unwrap().to_string()
}

fn signature(id: &str, time: &str, body: &str) -> String {
    format!("v1,{}", STANDARD.encode(hmac(&[9; 32], &[id.as_bytes(), b".", time.as_bytes(), b".", body.as_bytes()])))
}

fn signed(server: &Server, id: &str, offset: i64) -> reqwest::RequestBuilder {
    let (time, request) = (time(offset), post(server, "Push Hook", PUSH));
    let signature = signature(id, &time, PUSH);
    request.header("webhook-id", id).header("webhook-timestamp", time).header("webhook-signature", signature)
}

#[tokio::test]
async fn a_signed_push_is_kept_under_the_id_that_is_signed() {
    let server = signed_only().await;
    assert_eq!(told(signed(&server, "id-1", 0).header("idempotency-key", "other").header("x-gitlab-token", "x")).await.0, 202);
    let kept = server.kept();
    assert_eq!((kept[0].forge, kept[0].id.as_str(), kept[0].event.as_str()), ("gitlab", "id-1", "Push Hook"));
    assert_eq!(kept[0].meaning, Meaning::Pushed { before: None, after: None });
    assert!(told(signed(&server, "id-1", 0)).await.1.contains("duplicate"));
}

#[tokio::test]
async fn w04_a_token_alone_does_not_open_a_signed_hook_and_a_wrong_one_opens_none() {
    let server = signed_only().await;
    assert_eq!(told(post(&server, "Push Hook", PUSH).header("x-gitlab-token", TOKEN)).await.0, 401);
    let server = token_only().await;
    let wrong = TOKEN.replace("26", "27");
    let (status, answer) = told(post(&server, "Push Hook", PUSH).header("x-gitlab-token", &wrong)).await;
    assert!(status == 401 && !answer.contains(&wrong), "{answer}");
    assert!(server.kept().is_empty());
    assert_eq!(told(post(&server, "Push Hook", PUSH).header("x-gitlab-token", TOKEN)).await.0, 202);
}

#[tokio::test]
async fn w05_what_is_stale_or_malformed_is_told_by_the_counter_alone() {
    let server = signed_only().await;
    let without_id = post(&server, "Push Hook", PUSH).header("webhook-timestamp", time(0)).header("webhook-signature", "v1,x");
    let mut answers = Vec::new();
    for request in [signed(&server, "id", -360), signed(&server, "id", 360), without_id] {
        answers.push(told(request).await);
    }
    assert!(answers.iter().all(|(status, text)| *status == 401 && text == &answers[0].1), "{answers:?}");
    assert_eq!(*server.inbox.refused.lock().unwrap(), [Refusal::Stale, Refusal::Stale, Refusal::Malformed]);
}

#[tokio::test]
async fn a_token_delivery_has_the_id_of_its_retries_or_of_its_bytes() {
    let server = token_only().await;
    let send = |event: &str| post(&server, event, PUSH).header("x-gitlab-token", TOKEN).header("x-gitlab-event-uuid", "shared");
    assert_eq!(told(send("Push Hook").header("idempotency-key", "key-1")).await.0, 202);
    assert_eq!(told(send("Push Hook")).await.0, 202);
    assert_eq!(told(send("Tag Push Hook")).await.0, 202);
    assert!(told(send("Push Hook")).await.1.contains("duplicate"));
    let ids: Vec<_> = server.kept().into_iter().map(|delivery| delivery.id).collect();
    assert!(ids.len() == 3 && ids[0] == "key-1" && ids[1].len() == 64 && ids[1] != ids[2], "{ids:?}");
}

#[tokio::test]
async fn the_route_names_the_forge_whatever_the_headers_say() {
    let server = token_only().await;
    let github = format!("http://{}/webhooks/github", server.address);
    let request = server.client.post(github).header("content-type", "application/json").header("x-gitlab-token", TOKEN).body(PUSH);
    assert_eq!(told(request).await.0, 404);
    let dressed = post(&server, "Note Hook", PUSH).header("x-github-event", "push").header("x-gitlab-token", TOKEN);
    assert!(told(dressed).await.1.contains("an event we do not use"));
}
