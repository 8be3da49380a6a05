//! GitHub statuses against a real loopback HTTP server that stands in for the API.

use std::time::Duration;

use pci_segment::converge::{CommitStatus, Forge, ReportError, StatusState};
use pci_segment::forge::ForgeConfig;
use pci_segment::forge::github::GitHub;
use pci_segment::forge::silent::Silent;
use tempfile::TempDir;

use super::forge_stand_in::{StandIn, TOKEN, status};

struct Setup {
    stand_in: StandIn,
    forge: GitHub,
    files: TempDir,
}

impl Setup {
    async fn new() -> Self {
        let stand_in = StandIn::start().await;
        let files = tempfile::tempdir().unwrap();
        let forge = GitHub::new(stand_in.config("acme/segmentation", files.path())).unwrap();
        Self { stand_in, forge, files }
    }

    async fn answered(&self, code: u16, headers: &[(&'static str, &str)], body: &str) -> Result<Option<String>, ReportError> {
        self.stand_in.answers(code, headers, body);
        self.forge.report(&status()).await
    }
}

#[tokio::test]
async fn a_status_is_posted_with_its_fields_and_headers() {
    let setup = Setup::new().await;
    assert_eq!(setup.forge.report(&status()).await.unwrap().as_deref(), Some("7"));
    let linked = CommitStatus { link: Some("https://seg.example/commits/a".into()), state: StatusState::Pending, ..status() };
    setup.forge.report(&linked).await.unwrap();
    let seen = setup.stand_in.seen.lock().unwrap();
    assert_eq!(seen[0].method, "POST");
    assert_eq!(seen[0].path, format!("/repos/acme/segmentation/statuses/{}", "a".repeat(40)));
    let first = serde_json::json!({
        "state": "failure", "context": "pci-segment/policy", "description": "3 violations: PCI-1.3.1-004 policies/db.yaml:20 (+2)"
    });
    assert_eq!(seen[0].body, first);
    assert_eq!(seen[0].headers["authorization"], format!("Bearer {TOKEN}"));
    assert_eq!(seen[0].headers["accept"], "application/vnd.github+json");
    assert_eq!(seen[0].headers["x-github-api-version"], "2022-11-28");
    assert!(seen[0].headers["user-agent"].to_str().unwrap().starts_with("pci-segment/"));
    assert_eq!(seen[1].body["target_url"], "https://seg.example/commits/a");
    assert_eq!(seen[1].body["state"], "pending");
}

#[tokio::test]
async fn f04_a_long_description_is_cut_to_140_bytes() {
    let setup = Setup::new().await;
    setup.forge.report(&CommitStatus { description: "政策".repeat(100), ..status() }).await.unwrap();
    let seen = setup.stand_in.seen.lock().unwrap();
    let sent = seen[0].body["description"].as_str().unwrap();
    assert!(sent.len() <= 140 && sent.ends_with('…'), "{sent}");
}

#[tokio::test]
async fn f05_f06_each_class_of_answer_says_what_happens_next() {
    let setup = Setup::new().await;
    let limited = setup.answered(403, &[("retry-after", "77")], "{}").await;
    assert!(matches!(limited, Err(ReportError::Limited { after: Some(wait), .. }) if wait.as_secs() == 77), "{limited:?}");
    for code in [401, 403, 404] {
        assert!(matches!(setup.answered(code, &[], "{}").await, Err(ReportError::Paused { .. })), "{code}");
    }
    assert!(matches!(setup.answered(422, &[], r#"{"message":"No commit found"}"#).await, Err(ReportError::Never { .. })));
    assert!(matches!(setup.answered(500, &[], "").await, Err(ReportError::Again { after: None, .. })));
    assert!(matches!(setup.answered(201, &[], "x".repeat(1 << 20).as_str()).await, Ok(None)));
}

#[tokio::test]
async fn f06_a_redirect_is_not_followed_and_the_token_stays_here() {
    let (setup, elsewhere) = (Setup::new().await, Setup::new().await);
    let moved =
        setup.answered(301, &[("location", elsewhere.stand_in.api_url.as_str())], r#"{"message":"Moved Permanently"}"#).await;
    assert!(matches!(moved, Err(ReportError::Paused { .. })), "{moved:?}");
    assert_eq!(setup.stand_in.seen.lock().unwrap().len(), 1);
    assert!(elsewhere.stand_in.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_rotated_token_is_used_and_a_missing_one_pauses() {
    let setup = Setup::new().await;
    let file = setup.files.path().join("token");
    std::fs::write(&file, "second-token\n").unwrap();
    setup.forge.report(&status()).await.unwrap();
    assert_eq!(setup.stand_in.seen.lock().unwrap()[0].headers["authorization"], "Bearer second-token");
    std::fs::remove_file(&file).unwrap();
    assert!(matches!(setup.forge.report(&status()).await, Err(ReportError::Paused { .. })));
}

#[tokio::test]
async fn g13_no_error_shows_the_token() {
    let setup = Setup::new().await;
    for code in [301, 400, 401, 403, 404, 418, 422, 429, 500] {
        let error = setup.answered(code, &[], r#"{"message":"no"}"#).await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("canary"));
    }
    let token_file = setup.files.path().join("token");
    let nowhere = ForgeConfig {
        api_url: "http://127.0.0.1:1".into(),
        repository: "a/b".into(),
        token_file,
        branch: None,
        calls: std::sync::Arc::default(),
    };
    let error = GitHub::new(nowhere).unwrap().report(&status()).await.unwrap_err();
    assert!(matches!(error, ReportError::Again { .. }) && !format!("{error:?}").contains("canary"), "{error:?}");
}

#[tokio::test]
async fn a_forge_that_does_not_answer_is_tried_again() {
    let setup = Setup::new().await;
    setup.stand_in.reply.lock().unwrap().after = Duration::from_secs(30);
    let error = setup.forge.report(&status()).await.unwrap_err();
    assert!(matches!(&error, ReportError::Again { reason, .. } if reason.contains("10 s")), "{error:?}");
}

#[tokio::test]
async fn without_a_forge_every_status_is_taken() {
    assert_eq!(Silent.report(&status()).await.unwrap(), None);
}

#[tokio::test]
async fn a_proxy_that_only_the_environment_names_never_hears_of_the_token() {
    const INSIDE: &str = "http://127.0.0.1:1";
    if std::env::var("HTTP_PROXY").as_deref() == Ok(INSIDE) {
        let (stand_in, files) = (StandIn::start().await, tempfile::tempdir().unwrap());
        let forge = GitHub::new(stand_in.config("acme/seg", files.path())).unwrap();
        assert_eq!(forge.report(&status()).await.unwrap().as_deref(), Some("7"));
        return;
    }
    // A proxy where nobody listens, in a process of its own: a call that went there would fail.
    let mut again = std::process::Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "forge_github::a_proxy_that_only_the_environment_names_never_hears_of_the_token"]);
    again.envs(["HTTP_PROXY", "http_proxy", "ALL_PROXY"].map(|name| (name, INSIDE))).env_remove("NO_PROXY").env_remove("no_proxy");
    let said = again.output().unwrap();
    assert!(said.status.success() && String::from_utf8_lossy(&said.stdout).contains("1 passed"), "{said:?}");
}
