//! Who approved the request a commit came by, at all three forges.

use pci_segment::converge::{Approval, Forge, ReportError, Reviewed, Standing};
use pci_segment::forge::gitea::Gitea;
use pci_segment::forge::github::GitHub;
use pci_segment::forge::gitlab::GitLab;
use serde_json::{Value, json};

use super::forge_stand_in::StandIn;

fn sha(letter: &str) -> String {
    letter.repeat(40)
}

async fn ask(stand_in: &StandIn, forge: &str) -> Result<Option<Vec<Reviewed>>, ReportError> {
    let files = tempfile::tempdir().unwrap();
    let config = stand_in.config("acme/seg", files.path());
    let commit = sha("a").parse().ok().unwrap();
    match forge {
        "github" => GitHub::new(config).unwrap().approvals(&commit).await,
        "gitlab" => GitLab::new(config).unwrap().approvals(&commit).await,
        _ => Gitea::new(config).unwrap().approvals(&commit).await,
    }
}

fn approval(who: &str, standing: Standing, head: Option<&str>) -> Approval {
    let at = Some("2026-01-01T00:00:00Z".parse().unwrap());
    Approval { who: who.to_owned(), at, standing, head: head.map(sha) }
}

fn review(who: &str, state: &str, head: &str) -> Value {
    json!({ "user": { "login": who }, "state": state, "submitted_at": "2026-01-01T00:00:00Z", "commit_id": sha(head) })
}

#[tokio::test]
async fn githubs_reviews_of_the_merged_request_are_told_apart() {
    let stand_in = StandIn::start().await;
    let pull = |number: u64, merged: Value| json!({ "number": number, "html_url": "https://gh/12", "user": { "login": "ada" }, "head": { "sha": sha("b") }, "base": { "ref": "main" }, "merged_at": merged });
    let mut elsewhere = pull(14, json!("2026-01-01T00:00:00Z"));
    elsewhere["base"]["ref"] = json!("playground");
    let pulls = json!([elsewhere, pull(12, json!("2026-01-01T00:00:00Z")), pull(13, Value::Null)]);
    stand_in.route("GET", &format!("/repos/acme/seg/commits/{}/pulls", sha("a")), 200, &pulls);
    let reviews = json!([
        review("grace", "CHANGES_REQUESTED", "c"),
        review("grace", "APPROVED", "b"),
        review("grace", "COMMENTED", "b"),
        review("edsger", "APPROVED", "c"),
        review("ada", "APPROVED", "b"),
        review("alan", "DISMISSED", "b"),
    ]);
    stand_in.route("GET", "/repos/acme/seg/pulls/12/reviews", 200, &reviews);
    let approvals = vec![
        approval("grace", Standing::Given, Some("b")),
        approval("edsger", Standing::EarlierHead, Some("c")),
        approval("ada", Standing::Own, Some("b")),
        approval("alan", Standing::Dismissed, Some("b")),
    ];
    let url = Some("https://gh/12".to_owned());
    let expected = Reviewed { request: 12, url, author: "ada".into(), head: Some(sha("b")), approvals };
    assert_eq!(
        ask(&stand_in, "github").await.unwrap(),
        Some(vec![expected]),
        "and the open one is left out, and one into another branch"
    );
    assert_eq!(stand_in.asked().len(), 2);
}

#[tokio::test]
async fn gitlabs_approvals_are_read_where_it_offers_them() {
    let stand_in = StandIn::start().await;
    let request = json!({ "iid": 12, "web_url": "https://gl/12", "state": "merged", "sha": sha("b"), "target_branch": "main", "author": { "id": 1, "username": "ada" } });
    let path = format!("/projects/acme%2Fseg/repository/commits/{}/merge_requests", sha("a"));
    stand_in.route(
        "GET",
        &path,
        200,
        &json!([request, { "iid": 13, "state": "opened" }, { "iid": 14, "state": "merged", "target_branch": "playground" }]),
    );
    let by = |who: &str| json!({ "user": { "id": 2, "username": who }, "approved_at": "2026-01-01T00:00:00Z" });
    let approvals = "/projects/acme%2Fseg/merge_requests/12/approvals";
    stand_in.route("GET", approvals, 200, &json!({ "approved_by": [by("grace"), by("ada")] }));
    let expected = Reviewed {
        request: 12,
        url: Some("https://gl/12".into()),
        author: "ada".into(),
        head: Some(sha("b")),
        approvals: vec![approval("grace", Standing::HeadNotKnown, None), approval("ada", Standing::Own, None)],
    };
    assert_eq!(ask(&stand_in, "gitlab").await.unwrap(), Some(vec![expected]));
    stand_in.route("GET", approvals, 404, &json!({ "message": "404 Not Found" }));
    assert_eq!(ask(&stand_in, "gitlab").await.unwrap(), None, "not offered");
    stand_in.route("GET", &path, 404, &json!({ "message": "404 Commit Not Found" }));
    assert!(matches!(ask(&stand_in, "gitlab").await, Err(ReportError::Never { .. })));
}

#[tokio::test]
async fn gitea_knows_which_request_a_merge_commit_ended() {
    let stand_in = StandIn::start().await;
    let path = format!("/repos/acme/seg/commits/{}/pull", sha("a"));
    let pull = |merged: bool| json!({ "number": 12, "html_url": null, "user": { "login": "ada" }, "head": { "sha": sha("b") }, "base": { "ref": "main" }, "merged": merged });
    stand_in.route("GET", &path, 200, &pull(true));
    let with = |mut review: Value, key: &str| {
        review[key] = json!(true);
        review
    };
    let reviews = json!([
        review("grace", "APPROVED", "b"), with(review("alan", "APPROVED", "b"), "dismissed"),
        with(review("edsger", "APPROVED", "b"), "stale"), review("barbara", "REQUEST_CHANGES", "b"),
        { "user": null, "state": "REQUEST_REVIEW", "submitted_at": null, "commit_id": "" },
    ]);
    stand_in.route("GET", "/repos/acme/seg/pulls/12/reviews", 200, &reviews);
    let approvals = vec![
        approval("grace", Standing::Given, Some("b")),
        approval("alan", Standing::Dismissed, Some("b")),
        approval("edsger", Standing::EarlierHead, Some("b")),
    ];
    let found = ask(&stand_in, "gitea").await.unwrap().unwrap();
    assert_eq!((found.len(), &found[0].approvals), (1, &approvals));
    assert!(stand_in.asked().len() <= 11, "a server that gives every page the same is not asked for ever");
    stand_in.route("GET", "/repos/acme/seg/pulls/12/reviews", 404, &json!({ "message": "not found" }));
    assert!(matches!(ask(&stand_in, "gitea").await, Err(ReportError::Again { .. })), "no reviews are not no approvals");
    let mut elsewhere = pull(true);
    elsewhere["base"]["ref"] = json!("playground");
    for (code, answer) in [(200, pull(false)), (200, elsewhere), (404, json!({ "message": "not found" }))] {
        stand_in.route("GET", &path, code, &answer);
        assert!(matches!(ask(&stand_in, "gitea").await, Err(ReportError::Never { .. })), "{answer}: it may have been rebased");
    }
}

#[tokio::test]
async fn refused_credentials_are_no_answer_about_approvals() {
    for forge in ["github", "gitlab", "gitea"] {
        let stand_in = StandIn::start().await;
        let ends = ["repos/acme/seg/commits/{}/pulls", "projects/acme%2Fseg/repository/commits/{}/merge_requests"];
        for path in ends.into_iter().chain(["repos/acme/seg/commits/{}/pull"]) {
            stand_in.route("GET", &format!("/{}", path.replace("{}", &sha("a"))), 401, &json!({ "message": "no" }));
        }
        assert!(matches!(ask(&stand_in, forge).await, Err(ReportError::Paused { .. })), "{forge}");
    }
}
