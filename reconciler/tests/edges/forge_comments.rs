//! The one comment of a request, at all three forges.

use pci_segment::converge::{Comment, Forge, ReportError};
use pci_segment::forge::gitea::Gitea;
use pci_segment::forge::github::GitHub;
use pci_segment::forge::gitlab::GitLab;
use serde_json::{Value, json};

use super::forge_stand_in::StandIn;

const MARK: &str = "<!-- pci-segment:plan -->";

/// Where a forge keeps comments, and how it edits one.
struct Ways {
    list: &'static str,
    one: &'static str,
    edits: &'static str,
    mine: Value,
    theirs: Value,
}

fn ways(forge: &str) -> Ways {
    let by = |who: Value, key: &str| json!({ "id": 9, "body": format!("{MARK}\nold"), key: who });
    match forge {
        "gitlab" => Ways {
            list: "/projects/acme%2Fseg/merge_requests/12/notes",
            one: "/projects/acme%2Fseg/merge_requests/12/notes/9",
            edits: "PUT",
            mine: by(json!({ "id": 4, "username": "bot" }), "author"),
            theirs: by(json!({ "id": 5, "username": "eve" }), "author"),
        },
        _ => Ways {
            list: "/repos/acme/seg/issues/12/comments",
            one: "/repos/acme/seg/issues/comments/9",
            edits: "PATCH",
            mine: by(json!({ "login": "bot" }), "user"),
            theirs: by(json!({ "login": "eve" }), "user"),
        },
    }
}

async fn say(stand_in: &StandIn, forge: &str, known_id: Option<&str>) -> Result<Option<String>, ReportError> {
    let files = tempfile::tempdir().unwrap();
    let config = stand_in.config("acme/seg", files.path());
    let comment = Comment { request: 12, body: "| a | b |".to_owned(), known_id: known_id.map(str::to_owned) };
    match forge {
        "github" => GitHub::new(config).unwrap().comment(&comment).await,
        "gitlab" => GitLab::new(config).unwrap().comment(&comment).await,
        _ => Gitea::new(config).unwrap().comment(&comment).await,
    }
}

async fn stand_in(ways: &Ways) -> StandIn {
    let stand_in = StandIn::start().await;
    stand_in.route("GET", "/user", 200, &json!({ "id": 4, "login": "bot", "username": "bot" }));
    stand_in.route("POST", ways.list, 201, &json!({ "id": 10 }));
    stand_in.route(ways.edits, ways.one, 200, &json!({ "id": 9 }));
    stand_in
}

fn paths(asked: &[String]) -> Vec<&str> {
    asked.iter().map(|line| line.split('?').next().unwrap()).collect()
}

#[tokio::test]
async fn a_known_comment_is_edited_in_place_and_nothing_is_read() {
    for forge in ["github", "gitlab", "gitea"] {
        let ways = ways(forge);
        let stand_in = stand_in(&ways).await;
        assert_eq!(say(&stand_in, forge, Some("9")).await.unwrap().as_deref(), Some("9"), "{forge}");
        let seen = stand_in.seen.lock().unwrap();
        assert_eq!(seen.len(), 1, "{forge}");
        assert_eq!((seen[0].method.as_str(), seen[0].path.as_str()), (ways.edits, ways.one));
        assert_eq!(seen[0].body, json!({ "body": format!("{MARK}\n| a | b |") }));
    }
}

#[tokio::test]
async fn an_unknown_comment_is_found_by_its_hidden_line_and_our_own_account_only() {
    for forge in ["github", "gitlab", "gitea"] {
        let ways = ways(forge);
        let stand_in = stand_in(&ways).await;
        stand_in.route("GET", ways.list, 200, &json!([ways.theirs]));
        assert_eq!(say(&stand_in, forge, None).await.unwrap().as_deref(), Some("10"), "{forge}: another's is left alone");
        let asked = stand_in.asked();
        let (list, new) = (format!("GET {}", ways.list), format!("POST {}", ways.list));
        assert_eq!(paths(&asked), ["GET /user", &list, &new], "{forge}");
        stand_in.route("GET", ways.list, 200, &json!([ways.theirs, ways.mine]));
        assert_eq!(say(&stand_in, forge, None).await.unwrap().as_deref(), Some("9"), "{forge}");
        let edit = format!("{} {}", ways.edits, ways.one);
        assert_eq!(paths(&stand_in.asked()), ["GET /user", &list, &edit], "{forge}");
        stand_in.route("GET", "/user", 403, &json!({}));
        assert_eq!(say(&stand_in, forge, None).await.unwrap().as_deref(), Some("10"), "{forge}: who we are is not told");
    }
}

#[tokio::test]
async fn no_more_than_ten_pages_are_read_in_search_of_our_comment() {
    for (forge, pages) in [("github", 10), ("gitlab", 10), ("gitea", 1)] {
        let ways = ways(forge);
        let stand_in = stand_in(&ways).await;
        stand_in.route("GET", ways.list, 200, &Value::Array(vec![ways.theirs.clone(); 20]));
        assert_eq!(say(&stand_in, forge, None).await.unwrap().as_deref(), Some("10"), "{forge}");
        let asked = stand_in.asked();
        assert_eq!(asked.iter().filter(|line| line.starts_with(&format!("GET {}", ways.list))).count(), pages, "{forge}");
    }
}

#[tokio::test]
async fn f09_a_deleted_comment_is_made_again_and_a_locked_request_concerns_nobody_else() {
    for forge in ["github", "gitlab", "gitea"] {
        let ways = ways(forge);
        let stand_in = stand_in(&ways).await;
        stand_in.route(ways.edits, ways.one, 404, &json!({ "message": "Not Found" }));
        assert_eq!(say(&stand_in, forge, Some("9")).await.unwrap().as_deref(), Some("10"), "{forge}");
        let asked = stand_in.asked();
        assert_eq!(paths(&asked), [format!("{} {}", ways.edits, ways.one), format!("POST {}", ways.list)], "{forge}");
        let request = if forge == "gitlab" { "/projects/acme%2Fseg/merge_requests/12" } else { "/repos/acme/seg/pulls/12" };
        let repository = if forge == "gitlab" { "/projects/acme%2Fseg" } else { "/repos/acme/seg" };
        let locked = if forge == "gitea" { "is_locked" } else { "locked" };
        let locked = if forge == "gitlab" { "discussion_locked" } else { locked };
        stand_in.route("GET", request, 200, &json!({ locked: true }));
        for code in [403, 410, 422] {
            stand_in.route("POST", ways.list, code, &json!({ "message": "locked" }));
            let error = say(&stand_in, forge, Some("9")).await.unwrap_err();
            assert!(matches!(error, ReportError::Never { .. }), "{forge} {code}: {error:?}");
        }
        stand_in.route("POST", ways.list, 404, &json!({ "message": "Not Found" }));
        for (found, there, word) in
            [(200, 200, "Again"), (404, 200, "Never"), (404, 404, "Paused"), (404, 301, "Paused"), (401, 200, "Paused")]
        {
            stand_in.route("GET", request, found, &json!({ locked: false }));
            stand_in.route("GET", repository, there, &json!({}));
            let error = say(&stand_in, forge, Some("9")).await.unwrap_err();
            assert!(format!("{error:?}").starts_with(word), "{forge}: request {found}, repository {there}: {error:?}");
        }
        stand_in.route("POST", ways.list, 401, &json!({ "message": "Bad credentials" }));
        let error = say(&stand_in, forge, Some("9")).await.unwrap_err();
        assert!(matches!(error, ReportError::Paused { .. }), "{forge}: {error:?}");
    }
}

#[tokio::test]
async fn long_comments_of_others_do_not_keep_ours_from_being_made() {
    for forge in ["github", "gitlab", "gitea"] {
        let ways = ways(forge);
        let stand_in = stand_in(&ways).await;
        // Ten comments as long as GitLab takes them.
        let mut long = ways.theirs.clone();
        long["body"] = json!("x".repeat(1_000_000));
        stand_in.route("GET", ways.list, 200, &Value::Array(vec![long; 10]));
        assert_eq!(say(&stand_in, forge, None).await.unwrap().as_deref(), Some("10"), "{forge}");
    }
}
