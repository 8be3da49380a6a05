//! The receiver of Gitea and Forgejo.

use webhook::{Meaning, Receiver, Secrets};

use crate::kit::{PUSH, SECRET, Server, hex, hmac, told};

async fn start() -> Server {
    Server::with(Receiver::Gitea(Secrets::parse(SECRET).ok().unwrap()), &[]).await
}

/// As Gitea sends it: with GitHub's headers beside its own.
fn post(server: &Server, event: &str, id: &str, signature: &str) -> reqwest::RequestBuilder {
    let url = format!("http://{}/webhooks/gitea", server.address);
    let request = server.client.post(url).header("content-type", "application/json").body(PUSH);
    request
        .header("x-gitea-event", event)
        .header("x-gitea-delivery", id)
        .header("x-gitea-signature", signature)
        .header("x-github-event", "ping")
        .header("x-github-delivery", "of-github")
        .header("x-hub-signature-256", "sha256=0000")
}

#[tokio::test]
async fn w06_a_push_is_taken_by_its_own_headers() {
    let server = start().await;
    let good = hex(&hmac(SECRET.as_bytes(), &[PUSH.as_bytes()]));
    assert_eq!(told(post(&server, "push", "id-1", &good)).await.0, 202);
    let kept = server.kept();
    assert_eq!((kept[0].forge, kept[0].id.as_str(), kept[0].event.as_str()), ("gitea", "id-1", "push"));
    assert_eq!(kept[0].meaning, Meaning::Pushed { before: None, after: None });
}

#[tokio::test]
async fn w06_a_hook_without_a_secret_is_refused() {
    let server = start().await;
    assert_eq!(told(post(&server, "push", "id-1", "")).await.0, 401);
    let good = hex(&hmac(SECRET.as_bytes(), &[PUSH.as_bytes()]));
    assert_eq!(told(post(&server, "push", "id-1", &format!("sha256={good}"))).await.0, 401);
    assert!(server.kept().is_empty());
}
