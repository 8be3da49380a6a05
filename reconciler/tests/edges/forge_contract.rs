//! Every request we make, against what each forge publishes about its API: method, path, query and body.
//!
//! A field or a parameter that the forge does not document counts as a mistake, although forges ignore such: it is ours that would
//! then have no effect.

use jsonschema::Validator;
use pci_segment::converge::{Annotation, Comment, CommitStatus, Forge, Level, StatusState};
use pci_segment::forge::gitea::Gitea;
use pci_segment::forge::github::GitHub;
use pci_segment::forge::gitlab::GitLab;
use serde_json::{Value, json};

use super::forge_app::Setup;
use super::forge_stand_in::{Seen, StandIn, status};

/// What a forge publishes about its API.
struct Contract(Vec<Value>);

impl Contract {
    fn of(forge: &str) -> Self {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/openapi/{forge}.json"));
        let document: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        Self(document["operations"].as_array().unwrap().clone())
    }

    /// What is wrong with a request.
    fn check(&self, seen: &Seen) -> Result<String, String> {
        let (path, query) = seen.path.split_once('?').unwrap_or((&seen.path, ""));
        let fits = |one: &&Value| one["method"] == seen.method && matches(one["path"].as_str().unwrap(), path);
        let operation = self.0.iter().find(fits).ok_or_else(|| format!("no such operation: {} {path}", seen.method))?;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap();
            let schema = operation["query"].get(name).ok_or_else(|| format!("no parameter {name}"))?;
            // A number is written like text in an address.
            let value = value.parse::<u64>().map_or_else(|_| json!(value), |number| json!(number));
            valid(schema, &value)?;
        }
        match (&operation["body"], &seen.body) {
            (Value::Null, Value::Null) => {}
            (Value::Null, body) => return Err(format!("a body where none belongs: {body}")),
            (schema, body) => {
                valid(schema, body)?;
                known(schema, body)?;
            }
        }
        Ok(format!("{} {}", seen.method, operation["path"].as_str().unwrap()))
    }
}

fn matches(template: &str, path: &str) -> bool {
    let (template, path): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    template.len() == path.len() && template.iter().zip(&path).all(|(t, p)| t == p || t.starts_with('{') && !p.is_empty())
}

fn valid(schema: &Value, value: &Value) -> Result<(), String> {
    let validator: Validator = jsonschema::draft202012::new(schema).unwrap();
    validator.validate(value).map_err(|error| format!("{}: {error}", error.instance_path()))
}

/// Only fields that are documented, at any depth.
fn known(schema: &Value, value: &Value) -> Result<(), String> {
    match value {
        Value::Object(fields) => fields.iter().try_for_each(|(name, value)| {
            let inner = schema["properties"].get(name).ok_or_else(|| format!("no field {name}"))?;
            known(inner, value)
        }),
        Value::Array(list) => list.iter().try_for_each(|value| known(&schema["items"], value)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

/// Everything a forge is asked to do: each status, comments that are new, known and gone, approvals.
async fn everything(forge: &impl Forge) {
    for state in [StatusState::Pending, StatusState::Success, StatusState::Failure, StatusState::Error] {
        let link = Some("https://seg.example/commits/a".to_owned());
        let said = CommitStatus { state, link, description: "政策 ".repeat(100), ..status() };
        forge.report(&said).await.unwrap();
        forge.report(&CommitStatus { state, link: None, git_ref: None, ..status() }).await.unwrap();
    }
    let body = "| a | b |\n".repeat(10_000);
    for known_id in [None, Some("9".to_owned()), Some("404".to_owned())] {
        forge.comment(&Comment { request: 12, body: body.clone(), known_id }).await.unwrap();
    }
    forge.approvals(&status().commit).await.unwrap();
}

/// A stand-in that knows a merged request and two comments.
async fn stand_in() -> StandIn {
    let stand_in = StandIn::start().await;
    let commit = "a".repeat(40);
    let pull = json!({
        "number": 12, "user": { "login": "ada" }, "head": { "sha": "b" }, "merged_at": "2026-01-01T00:00:00Z", "merged": true,
    });
    stand_in.route("GET", "/user", 200, &json!({ "id": 4, "login": "bot", "username": "bot" }));
    stand_in.route("GET", &format!("/repos/acme/seg/commits/{commit}/pulls"), 200, &json!([pull]));
    stand_in.route("GET", &format!("/repos/acme/seg/commits/{commit}/pull"), 200, &pull);
    let request = json!([{ "iid": 12, "state": "merged" }]);
    stand_in.route("GET", &format!("/projects/acme%2Fseg/repository/commits/{commit}/merge_requests"), 200, &request);
    stand_in.route("GET", "/projects/acme%2Fseg/merge_requests/12/approvals", 200, &json!({ "approved_by": [] }));
    for gone in ["/repos/acme/seg/issues/comments/404", "/projects/acme%2Fseg/merge_requests/12/notes/404"] {
        stand_in.route(if gone.starts_with("/repos") { "PATCH" } else { "PUT" }, gone, 404, &json!({}));
    }
    for here in ["/repos/acme/seg/issues/comments/9", "/projects/acme%2Fseg/merge_requests/12/notes/9"] {
        stand_in.route(if here.starts_with("/repos") { "PATCH" } else { "PUT" }, here, 200, &json!({ "id": 9 }));
    }
    stand_in
}

/// Each operation of the contract, once.
fn checked(contract: &Contract, stand_in: &StandIn) -> std::collections::BTreeSet<String> {
    let seen = std::mem::take(&mut *stand_in.seen.lock().unwrap());
    seen.iter().map(|seen| contract.check(seen).unwrap_or_else(|error| panic!("{} {}: {error}", seen.method, seen.path))).collect()
}

fn all(contract: &Contract, but: &[&str]) -> std::collections::BTreeSet<String> {
    let name = |one: &Value| format!("{} {}", one["method"].as_str().unwrap(), one["path"].as_str().unwrap());
    contract.0.iter().map(name).filter(|name| !but.iter().any(|part| name.contains(part))).collect()
}

#[tokio::test]
async fn every_request_to_github_is_as_its_openapi_document_says() {
    let (stand_in, files, contract) = (stand_in().await, tempfile::tempdir().unwrap(), Contract::of("github"));
    everything(&GitHub::new(stand_in.config("acme/seg", files.path())).unwrap()).await;
    assert_eq!(checked(&contract, &stand_in), all(&contract, &["check-runs", "access_tokens"]));
}

#[tokio::test]
async fn every_request_of_a_github_app_is_as_its_openapi_document_says() {
    let (setup, contract) = (Setup::new(stand_in().await), Contract::of("github"));
    everything(&setup.forge).await;
    let findings: Vec<Annotation> = (1..120)
        .map(|line| Annotation { file: "db.yaml".into(), line, level: Level::Failure, title: "t".into(), message: "m".into() })
        .collect();
    setup.forge.report_findings(&status(), &findings).await.unwrap();
    assert_eq!(checked(&contract, &setup.stand_in), all(&contract, &["/statuses/", "/user"]));
}

#[tokio::test]
async fn every_request_to_gitlab_is_as_documented() {
    let (stand_in, files, contract) = (stand_in().await, tempfile::tempdir().unwrap(), Contract::of("gitlab"));
    let forge = GitLab::new(stand_in.config("acme/seg", files.path())).unwrap();
    everything(&forge).await;
    // A verdict that finds no transition is read back.
    let refused = json!({ "message": "Cannot transition status via :drop from :failed" });
    stand_in.route("POST", &format!("/projects/acme%2Fseg/statuses/{}", "a".repeat(40)), 400, &refused);
    assert!(forge.report(&status()).await.is_err());
    assert_eq!(checked(&contract, &stand_in), all(&contract, &[]));
}

#[tokio::test]
async fn every_request_to_gitea_is_as_documented() {
    let (stand_in, files, contract) = (stand_in().await, tempfile::tempdir().unwrap(), Contract::of("gitea"));
    everything(&Gitea::new(stand_in.config("acme/seg", files.path())).unwrap()).await;
    assert_eq!(checked(&contract, &stand_in), all(&contract, &[]));
}

#[test]
fn a_request_that_is_wrong_is_seen_to_be_wrong() {
    let wrong = |forge: &str, method: &str, path: &str, body: Value| {
        let (method, path) = (method.to_owned(), path.to_owned());
        Contract::of(forge).check(&Seen { method, path, headers: axum::http::HeaderMap::new(), body }).unwrap_err()
    };
    let status = format!("/repos/acme/seg/statuses/{}", "a".repeat(40));
    assert!(wrong("github", "POST", &status, json!({ "state": "red" })).contains("/state"));
    assert!(wrong("github", "POST", &status, json!({})).contains("required"));
    assert!(wrong("github", "POST", &status, json!({ "state": "failure", "ref": "main" })).contains("no field ref"));
    assert!(wrong("github", "PUT", &status, json!({ "state": "failure" })).contains("no such operation"));
    assert!(wrong("github", "POST", "/repos/acme/seg/statuses/", json!({ "state": "failure" })).contains("no such operation"));
    let run = json!({ "name": "n", "head_sha": "a", "output": { "title": "t", "summary": "s", "annotations": [{ "path": "p" }] } });
    assert!(wrong("github", "POST", "/repos/acme/seg/check-runs", run).contains("/output/annotations/0"));
    assert!(wrong("github", "GET", "/user?page=1", Value::Null).contains("no parameter"));
    assert!(wrong("github", "GET", "/repos/a/b/issues/1/comments?per_page=many", Value::Null).contains("many"));
    assert!(wrong("gitlab", "POST", "/projects/a%2Fb/statuses/c", json!({ "state": "failure" })).contains("failure"));
    let long = json!({ "state": "failed", "description": "x".repeat(256) });
    assert!(wrong("gitlab", "POST", "/projects/a%2Fb/statuses/c", long).contains("/description"));
    let listed = "/repos/acme/seg/issues/1/comments?page=2";
    assert!(wrong("gitea", "GET", listed, Value::Null).contains("no parameter page"));
}
