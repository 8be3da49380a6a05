//! GitLab and Gitea statuses against a real loopback HTTP server that stands in for the API.

use pci_segment::converge::{CommitStatus, Forge, ReportError, StatusState};
use pci_segment::forge::gitea::Gitea;
use pci_segment::forge::gitlab::GitLab;
use serde_json::json;
use tempfile::TempDir;

use super::forge_stand_in::{StandIn, TOKEN, status};

const REFUSED: &str = r#"{"message":"Cannot transition status via :run from :running"}"#;

async fn gitlab() -> (StandIn, GitLab, TempDir) {
    let (stand_in, files) = (StandIn::start().await, tempfile::tempdir().unwrap());
    let forge = GitLab::new(stand_in.config("acme/net/segmentation", files.path())).unwrap();
    (stand_in, forge, files)
}

async fn gitea() -> (StandIn, Gitea, TempDir) {
    let (stand_in, files) = (StandIn::start().await, tempfile::tempdir().unwrap());
    let mut config = stand_in.config("acme/segmentation", files.path());
    config.api_url.push_str("/api/v1");
    (stand_in, Gitea::new(config).unwrap(), files)
}

fn pending() -> CommitStatus {
    CommitStatus { state: StatusState::Pending, description: "queued".into(), ..status() }
}

#[tokio::test]
async fn gitlab_gets_its_own_fields_words_and_credential() {
    let (stand_in, forge, _files) = gitlab().await;
    let linked = CommitStatus { link: Some("https://seg.example/commits/a".into()), ..status() };
    assert_eq!(forge.report(&linked).await.unwrap().as_deref(), Some("7"));
    forge.report(&pending()).await.unwrap();
    forge.report(&CommitStatus { state: StatusState::Error, description: "stopped".into(), ..status() }).await.unwrap();
    let seen = stand_in.seen.lock().unwrap();
    let path = format!("/projects/acme%2Fnet%2Fsegmentation/statuses/{}", "a".repeat(40));
    assert_eq!((seen[0].method.as_str(), &seen[0].path), ("POST", &path));
    let text = "3 violations: PCI-1.3.1-004 policies/db.yaml:20 (+2)";
    let link = "https://seg.example/commits/a";
    let first =
        json!({ "state": "failed", "name": "pci-segment/policy", "description": text, "target_url": link, "ref": "release/1" });
    assert_eq!(seen[0].body, first);
    assert_eq!(seen[0].headers["private-token"], TOKEN);
    assert!(!seen[0].headers.contains_key("authorization"));
    assert_eq!(seen[1].body["state"], "running");
    assert_eq!((&seen[2].body["state"], &seen[2].body["description"]), (&json!("failed"), &json!("error: stopped")));
}

#[tokio::test]
async fn gitlab_gets_the_verdict_into_the_pipeline_that_has_the_pending_status() {
    let (stand_in, forge, _files) = gitlab().await;
    stand_in.answers(201, &[], r#"{"id":7,"pipeline_id":41}"#);
    forge.report(&pending()).await.unwrap();
    stand_in.answers(404, &[], r#"{"message":"404 Pipeline for pipeline_id, sha and ref Not Found"}"#);
    assert!(matches!(forge.report(&status()).await, Err(ReportError::Again { .. })));
    stand_in.answers(201, &[], r#"{"id":8}"#);
    forge.report(&status()).await.unwrap();
    let seen = stand_in.seen.lock().unwrap();
    let named: Vec<_> = seen.iter().map(|seen| seen.body.get("pipeline_id").cloned()).collect();
    assert_eq!(named, [None, Some(json!(41)), None], "a pipeline that is gone is forgotten");
}

#[tokio::test]
async fn f07_gitlab_refusing_a_pending_status_that_is_there_has_taken_it() {
    let (stand_in, forge, _files) = gitlab().await;
    stand_in.answers(400, &[], REFUSED);
    assert_eq!(forge.report(&pending()).await.unwrap(), None);
    assert_eq!(stand_in.seen.lock().unwrap().len(), 1, "nothing is read for a pending status");
}

#[tokio::test]
async fn f07_gitlab_refusing_a_verdict_is_believed_only_after_it_was_read_back() {
    let (stand_in, forge, _files) = gitlab().await;
    stand_in.answers(400, &[], REFUSED);
    let ours = json!({ "id": 12, "status": "failed", "description": status().description });
    let older = json!({ "id": 11, "status": "success", "description": "fine" });
    let lists = |list: serde_json::Value| *stand_in.listed.lock().unwrap() = list.to_string();
    lists(json!([older, ours]));
    assert_eq!(forge.report(&status()).await.unwrap().as_deref(), Some("12"));
    let green = json!({ "id": 13, "status": "success", "description": status().description });
    let other_words = json!({ "id": 13, "status": "failed", "description": "error: stopped" });
    for list in [json!([ours, green]), json!([other_words]), json!([]), json!({ "message": "no list" })] {
        lists(list.clone());
        assert!(matches!(forge.report(&status()).await, Err(ReportError::Again { .. })), "{list}");
    }
    let seen = stand_in.seen.lock().unwrap();
    let path = format!("/projects/acme%2Fnet%2Fsegmentation/repository/commits/{}/statuses", "a".repeat(40));
    assert_eq!((seen[1].method.as_str(), seen[1].path.split('?').next().unwrap()), ("GET", path.as_str()));
    assert!(seen[1].path.contains("name=pci-segment%2Fpolicy"), "{}", seen[1].path);
    assert_eq!(seen[1].headers["private-token"], TOKEN);
}

#[tokio::test]
async fn f05_f06_f07_each_class_of_gitlabs_answers_says_what_happens_next() {
    let (stand_in, forge, _files) = gitlab().await;
    let answered = async |code, headers: &[(&'static str, &str)], body| {
        stand_in.answers(code, headers, body);
        forge.report(&status()).await.unwrap_err()
    };
    assert!(matches!(answered(409, &[], "{}").await, ReportError::Again { after: None, .. }));
    assert!(matches!(answered(502, &[], "").await, ReportError::Again { .. }));
    let limited = answered(429, &[("ratelimit-remaining", "0"), ("ratelimit-reset", "1")], "{}").await;
    assert!(matches!(limited, ReportError::Limited { after: Some(wait), .. } if wait.as_secs() == 1), "{limited:?}");
    for code in [301, 401, 403, 404] {
        let paused = answered(code, &[], "{}").await;
        assert!(matches!(paused, ReportError::Paused { .. }) && !format!("{paused:?}").contains("canary"), "{code}");
    }
    assert!(matches!(answered(400, &[], r#"{"message":{"name":["is invalid"]}}"#).await, ReportError::Never { .. }));
}

#[tokio::test]
async fn gitea_gets_githubs_fields_with_its_own_credential() {
    let (stand_in, forge, _files) = gitea().await;
    assert_eq!(forge.report(&status()).await.unwrap().as_deref(), Some("7"));
    let long = CommitStatus { description: "政策".repeat(100), state: StatusState::Pending, ..status() };
    forge.report(&long).await.unwrap();
    let seen = stand_in.seen.lock().unwrap();
    let path = format!("/api/v1/repos/acme/segmentation/statuses/{}", "a".repeat(40));
    assert_eq!((seen[0].method.as_str(), &seen[0].path), ("POST", &path));
    let text = "3 violations: PCI-1.3.1-004 policies/db.yaml:20 (+2)";
    assert_eq!(seen[0].body, json!({ "state": "failure", "context": "pci-segment/policy", "description": text }));
    assert_eq!(seen[0].headers["authorization"], format!("token {TOKEN}"));
    let sent = seen[1].body["description"].as_str().unwrap();
    assert!(sent.len() <= 255 && sent.len() > 245 && sent.ends_with('…'), "{sent}");
}

#[tokio::test]
async fn f05_f06_each_class_of_giteas_answers_says_what_happens_next() {
    let (stand_in, forge, _files) = gitea().await;
    let answered = async |code, headers: &[(&'static str, &str)], body| {
        stand_in.answers(code, headers, body);
        forge.report(&status()).await.unwrap_err()
    };
    let limited = answered(429, &[("retry-after", "33")], "{}").await;
    assert!(matches!(limited, ReportError::Limited { after: Some(wait), .. } if wait.as_secs() == 33), "{limited:?}");
    for code in [301, 401, 403, 404] {
        let paused = answered(code, &[], "{}").await;
        assert!(matches!(paused, ReportError::Paused { .. }) && !format!("{paused:?}").contains("canary"), "{code}");
    }
    for code in [400, 422] {
        assert!(matches!(answered(code, &[], "{}").await, ReportError::Never { .. }), "{code}");
    }
    assert!(matches!(answered(503, &[], "").await, ReportError::Again { .. }));
}
