//! Payloads of forges, each signed and delivered: all are answered with 202, and only what is ours is accepted.

use serde_json::Value;
use webhook::{Receiver, Secrets, sign};

use crate::kit::Server;

const GITHUB: &[u8] = include_bytes!("../corpus/github.jsonl.zz");
const GITLAB: &str = include_str!("../corpus/gitlab.jsonl");
const GITEA: &str = include_str!("../corpus/gitea.jsonl");
const TOKEN: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// The result of the answer to a payload.
async fn result(server: &Server, receiver: &Receiver, number: usize, event: &str, body: &str) -> String {
    let signed = sign(receiver, event, &format!("delivery-{number}"), body.as_bytes());
    let url = format!("http://{}/webhooks/{}", server.address, receiver.forge());
    let mut request = server.client.post(url).header("content-type", "application/json").body(body.to_owned());
    for (name, value) in &signed.0 {
        request = request.header(*name, value.as_str());
    }
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 202, "{event} {number}");
    let text = answer.text().await.unwrap();
    assert!(text.len() <= 200 && !text.contains("unreadable"), "{event} {number}: {text}");
    serde_json::from_str::<Value>(&text).unwrap()["result"].as_str().unwrap().to_owned()
}

/// What GitHub's payload means for somebody who follows `master`, by another way than ours.
fn right(event: &str, body: &Value) -> &'static str {
    let ours = match event {
        "push" => body["ref"] == "refs/heads/master",
        "pull_request" => {
            let judged = ["opened", "synchronize", "reopened", "closed"].iter().any(|action| body["action"] == *action);
            judged && body["pull_request"]["base"]["ref"] == "master"
        }
        _ => false,
    };
    if ours { "accepted" } else { "ignored" }
}

#[tokio::test]
async fn w13_w14_every_example_of_github_is_answered_and_only_ours_are_accepted() {
    let receiver = Receiver::Github(Secrets::parse("0123456789abcdef").ok().unwrap());
    let server = Server::following("refs/heads/master", receiver.clone(), &[]).await;
    let text = String::from_utf8(miniz_oxide::inflate::decompress_to_vec_zlib(GITHUB).unwrap()).unwrap();
    let mut accepted = 0;
    for (number, line) in text.lines().enumerate() {
        let payload: Value = serde_json::from_str(line).unwrap();
        let (event, body) = (payload["event"].as_str().unwrap(), &payload["body"]);
        let result = result(&server, &receiver, number, event, &body.to_string()).await;
        assert_eq!(result, right(event, body), "{event} {number}");
        accepted += usize::from(result == "accepted");
    }
    assert_eq!((server.kept().len(), accepted), (329, 11));
}

async fn documented(receiver: Receiver, payloads: &str) {
    let server = Server::with(receiver.clone(), &[]).await;
    for (number, line) in payloads.lines().enumerate() {
        let payload: Value = serde_json::from_str(line).unwrap();
        let event = payload["event"].as_str().unwrap();
        let result = result(&server, &receiver, number, event, &payload["body"].to_string()).await;
        assert_eq!(payload["result"], result, "{event} {number}");
    }
    assert_eq!(server.kept().len(), payloads.lines().count());
}

#[tokio::test]
async fn w13_the_documented_events_of_gitlab_are_answered_signed_or_with_a_token() {
    documented(Receiver::GitlabSigned(Secrets::parse_signing(TOKEN).ok().unwrap()), GITLAB).await;
    documented(Receiver::GitlabToken(Secrets::parse("0123456789abcdef").ok().unwrap()), GITLAB).await;
}

#[tokio::test]
async fn w13_the_documented_events_of_gitea_are_answered() {
    documented(Receiver::Gitea(Secrets::parse("0123456789abcdef").ok().unwrap()), GITEA).await;
}
