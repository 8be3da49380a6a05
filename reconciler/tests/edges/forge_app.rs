//! Being a GitHub App, against a stand-in for the API; the signature is checked by `openssl`.

use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use pci_segment::converge::{Annotation, Comment, CommitStatus, Forge, Level, ReportError, StatusState};
use pci_segment::forge::github::{GitHub, Identity};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::forge_stand_in::{StandIn, status};

const TOKENS: &str = "/app/installations/2/access_tokens";
const RUNS: &str = "/repos/acme/seg/check-runs";
const RUN: &str = "/repos/acme/seg/check-runs/70";

pub(crate) struct Setup {
    pub(crate) stand_in: StandIn,
    pub(crate) forge: GitHub,
    files: TempDir,
}

impl Setup {
    pub(crate) fn new(stand_in: StandIn) -> Self {
        let files = tempfile::tempdir().unwrap();
        let config = stand_in.config("acme/seg", files.path());
        openssl(&["genrsa", "-traditional", "-out", path(&config.token_file), "2048"]);
        stand_in.route("GET", &format!("/repos/acme/seg/commits/{}/check-runs", "a".repeat(40)), 200, &json!({ "check_runs": [] }));
        stand_in.route("POST", RUNS, 201, &json!({ "id": 70 }));
        stand_in.route("PATCH", RUN, 200, &json!({ "id": 70 }));
        let forge = GitHub::as_app(config, Identity { app_id: 1, installation_id: 2 }, "network/policies").unwrap();
        let setup = Self { stand_in, forge, files };
        setup.grants("ghs_canary", 3_600);
        setup
    }

    fn grants(&self, token: &str, seconds: i64) {
        let until = Timestamp::from_second((Timestamp::now() + SignedDuration::from_secs(seconds)).as_second()).unwrap();
        self.stand_in.route("POST", TOKENS, 201, &json!({ "token": token, "expires_at": until }));
    }

    /// Another process of the same App.
    fn restarted(&self) -> GitHub {
        let config = pci_segment::forge::ForgeConfig {
            api_url: self.stand_in.api_url.clone(),
            repository: "acme/seg".into(),
            token_file: self.files.path().join("token"),
            branch: None,
            calls: std::sync::Arc::default(),
        };
        GitHub::as_app(config, Identity { app_id: 1, installation_id: 2 }, "").unwrap()
    }

    /// Methods, paths and bodies of everything asked since the last question, but for tokens.
    fn runs(&self) -> Vec<(String, Value)> {
        let seen = std::mem::take(&mut *self.stand_in.seen.lock().unwrap());
        let of_runs = seen.into_iter().filter(|seen| seen.path != TOKENS);
        of_runs.map(|seen| (format!("{} {}", seen.method, seen.path.split('?').next().unwrap()), seen.body)).collect()
    }

    fn tokens_asked(&self) -> usize {
        self.stand_in.asked().iter().filter(|line| line.ends_with(TOKENS)).count()
    }
}

fn openssl(arguments: &[&str]) {
    let done = Command::new("openssl").args(arguments).output().unwrap();
    assert!(done.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn finding(n: u64) -> Annotation {
    let level = [Level::Failure, Level::Warning, Level::Notice][usize::try_from(n % 3).unwrap()];
    Annotation { file: "db.yaml".into(), line: n + 1, level, title: "PCI-1.3.1-004".into(), message: format!("finding {n}") }
}

#[tokio::test]
async fn an_app_signs_a_claim_of_ten_minutes_and_gets_a_token_for_one_repository_and_no_more_than_it_needs() {
    let setup = Setup::new(StandIn::start().await);
    setup.forge.report(&status()).await.unwrap();
    setup.forge.report(&status()).await.unwrap();
    let files = setup.files.path();
    let seen = setup.stand_in.seen.lock().unwrap();
    let asked: Vec<_> = seen.iter().filter(|seen| seen.path == TOKENS).collect();
    assert_eq!(asked.len(), 1, "a token is kept");
    assert_eq!(asked[0].body, json!({ "repositories": ["seg"], "permissions": { "checks": "write", "pull_requests": "write" } }));
    let claim = asked[0].headers["authorization"].to_str().unwrap().strip_prefix("Bearer ").unwrap().to_owned();
    let (signed, signature) = claim.rsplit_once('.').unwrap();
    let parts: Vec<Value> =
        signed.split('.').map(|part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()).collect();
    assert_eq!(parts[0], json!({ "alg": "RS256", "typ": "JWT" }));
    let (now, number) = (Timestamp::now().as_second(), |key: &str| parts[1][key].as_i64().unwrap());
    assert_eq!(parts[1]["iss"], "1");
    assert_eq!(number("exp") - number("iat"), 600);
    assert!((number("iat") - (now - 60)).abs() < 60, "{}", parts[1]);
    let [key, public, text, signature_file] = ["token", "public", "signed", "signature"].map(|name| files.join(name));
    std::fs::write(&text, signed).unwrap();
    std::fs::write(&signature_file, URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
    openssl(&["rsa", "-in", path(&key), "-pubout", "-out", path(&public)]);
    openssl(&["dgst", "-sha256", "-verify", path(&public), "-signature", path(&signature_file), path(&text)]);
    for seen in seen.iter().filter(|seen| seen.path != TOKENS) {
        assert_eq!(seen.headers["authorization"], "Bearer ghs_canary", "{}", seen.path);
    }
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends_and_once_when_it_is_refused() {
    let setup = Setup::new(StandIn::start().await);
    setup.grants("short", 299);
    setup.forge.report(&status()).await.unwrap();
    assert_eq!(setup.tokens_asked(), 2, "less than five minutes are left: for the look and for the write");
    setup.grants("long", 3_600);
    setup.forge.report(&status()).await.unwrap();
    assert_eq!(setup.tokens_asked(), 1);
    setup.stand_in.route("POST", RUNS, 401, &json!({ "message": "Bad credentials" }));
    setup.grants("other", 3_600);
    let refused = setup.forge.report(&status()).await.unwrap_err();
    assert!(matches!(refused, ReportError::Paused { .. }), "{refused:?}");
    assert_eq!(setup.tokens_asked(), 1, "and not for ever");
}

#[tokio::test]
async fn g13_what_is_wrong_with_the_app_pauses_and_shows_no_secret() {
    let setup = Setup::new(StandIn::start().await);
    for code in [401, 403, 404, 422] {
        setup.stand_in.route("POST", TOKENS, code, &json!({ "message": "no" }));
        let error = setup.forge.report(&status()).await.unwrap_err();
        assert!(matches!(error, ReportError::Paused { .. }), "{code}: {error:?}");
    }
    let key = std::fs::read_to_string(setup.files.path().join("token")).unwrap();
    for (content, problem) in [("canary", "no private key"), (key.get(..900).unwrap(), "private key"), ("", "is empty")] {
        std::fs::write(setup.files.path().join("token"), content).unwrap();
        let error = setup.forge.report(&status()).await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(matches!(error, ReportError::Paused { .. }) && text.contains(problem), "{text}");
        assert!(!text.contains("canary") && !text.contains(key.lines().nth(3).unwrap()), "{text}");
    }
}

#[tokio::test]
async fn a_verdict_ends_the_pending_run_with_its_findings_beside_their_lines_fifty_at_a_time() {
    let setup = Setup::new(StandIn::start().await);
    let pending = CommitStatus { state: StatusState::Pending, description: "being validated".into(), ..status() };
    assert_eq!(setup.forge.report(&pending).await.unwrap().as_deref(), Some("70"));
    let look = format!("GET /repos/acme/seg/commits/{}/check-runs", "a".repeat(40));
    let external_id = format!("pci-segment/policy:{}", "a".repeat(40));
    let begun = setup.runs();
    assert_eq!((begun.len(), begun[0].0.as_str(), begun[1].0.as_str()), (2, look.as_str(), "POST /repos/acme/seg/check-runs"));
    let output = json!({ "title": "being validated", "summary": "No findings.", "annotations": [] });
    let body = json!({
        "name": "pci-segment/policy", "head_sha": "a".repeat(40), "status": "in_progress", "external_id": external_id, "output": output,
    });
    assert_eq!(begun[1].1, body);
    let findings: Vec<_> = (0..210).map(finding).collect();
    let red = CommitStatus { link: Some("https://seg.example/commits/a".into()), ..status() };
    setup.forge.report_findings(&red, &findings).await.unwrap();
    let ended = setup.runs();
    let calls: Vec<_> = ended.iter().map(|(call, _)| call.as_str()).collect();
    assert_eq!(calls, vec![format!("PATCH {RUN}"); 4], "nothing is looked up");
    assert_eq!(
        (&ended[0].1["conclusion"], &ended[0].1["details_url"]),
        (&json!("failure"), &json!("https://seg.example/commits/a"))
    );
    assert_eq!(ended[0].1["output"]["summary"], "Findings: 210; the first 200 are beside their lines.");
    let counts: Vec<_> = ended.iter().map(|(_, body)| body["output"]["annotations"].as_array().unwrap().len()).collect();
    assert_eq!(counts, [50, 50, 50, 50]);
    let second = json!({
        "path": "network/policies/db.yaml", "start_line": 2, "end_line": 2, "annotation_level": "warning", "title": "PCI-1.3.1-004",
        "message": "finding 1",
    });
    assert_eq!(ended[0].1["output"]["annotations"][1], second);
    setup.forge.report_findings(&status(), &findings[..1]).await.unwrap();
    let again = setup.runs();
    assert_eq!((again.len(), again[0].0.as_str()), (1, "POST /repos/acme/seg/check-runs"), "findings are never added to old ones");
}

#[tokio::test]
async fn findings_that_are_refused_behind_the_first_fifty_do_not_make_the_verdict_go_out_twice() {
    let setup = Setup::new(StandIn::start().await);
    let findings: Vec<_> = (0..210).map(finding).collect();
    assert_eq!(setup.forge.writes(&findings), 4, "each costs a write of the budget");
    setup.stand_in.route("PATCH", RUN, 502, &json!({}));
    assert_eq!(setup.forge.report_findings(&status(), &findings).await.unwrap().as_deref(), Some("70"));
    let calls: Vec<_> = setup.runs().into_iter().map(|(call, _)| call).collect();
    assert_eq!(calls[1..], ["POST /repos/acme/seg/check-runs".to_owned(), format!("PATCH {RUN}")]);
}

#[tokio::test]
async fn each_state_has_its_conclusion_and_an_error_of_ours_lets_nothing_through() {
    let setup = Setup::new(StandIn::start().await);
    for (state, conclusion, title) in [
        (StatusState::Success, "success", "text"),
        (StatusState::Failure, "failure", "text"),
        (StatusState::Error, "failure", "error: text"),
    ] {
        setup.forge.report(&CommitStatus { state, description: "text".into(), ..status() }).await.unwrap();
        let (_, body) = setup.runs().pop().unwrap();
        assert_eq!((&body["status"], &body["conclusion"]), (&json!("completed"), &json!(conclusion)));
        assert_eq!(body["output"]["title"], title);
    }
}

#[tokio::test]
async fn after_a_restart_the_run_that_was_left_open_is_ended_and_another_ones_is_not() {
    let setup = Setup::new(StandIn::start().await);
    let commit = "a".repeat(40);
    let run =
        |id: u64, status: &str, whose: &str| json!({ "id": id, "status": status, "external_id": format!("{whose}:{commit}") });
    let list = |runs: Value| {
        let path = format!("/repos/acme/seg/commits/{}/check-runs", "a".repeat(40));
        setup.stand_in.route("GET", &path, 200, &json!({ "check_runs": runs }));
    };
    list(json!([run(68, "in_progress", "other"), run(69, "completed", "pci-segment/policy")]));
    setup.restarted().report(&status()).await.unwrap();
    assert_eq!(setup.runs().pop().unwrap().0, format!("POST {RUNS}"));
    list(json!([run(70, "in_progress", "pci-segment/policy")]));
    setup.restarted().report(&status()).await.unwrap();
    assert_eq!(setup.runs().pop().unwrap().0, format!("PATCH {RUN}"));
    setup.stand_in.route("PATCH", RUN, 404, &json!({}));
    setup.restarted().report(&status()).await.unwrap();
    assert_eq!(setup.runs().pop().unwrap().0, format!("POST {RUNS}"), "a run that is gone is made again");
}

#[tokio::test]
async fn an_app_knows_its_own_comment_by_its_number() {
    let setup = Setup::new(StandIn::start().await);
    let list = "/repos/acme/seg/issues/12/comments";
    let by = |id: u64, app: Value| json!({ "id": id, "body": "<!-- pci-segment:plan -->", "user": { "login": "x[bot]" }, "performed_via_github_app": app });
    setup.stand_in.route("GET", list, 200, &json!([by(7, Value::Null), by(8, json!({ "id": 5 })), by(9, json!({ "id": 1 }))]));
    setup.stand_in.route("PATCH", "/repos/acme/seg/issues/comments/9", 200, &json!({ "id": 9 }));
    let comment = Comment { request: 12, body: "text".into(), known_id: None };
    assert_eq!(setup.forge.comment(&comment).await.unwrap().as_deref(), Some("9"));
}
