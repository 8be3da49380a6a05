//! What GitLab's events mean for us. Only called after the signature, or the token, held.
//!
//! The event stands in a header that a token does not authenticate, nor does the signature; the body says the kind once more, and both
//! have to agree. A test delivery is a real event of the newest commits, so there is nothing to tell it by.

use std::borrow::Cow;

use serde::Deserialize;

use crate::delivery::Meaning;
use crate::event::{Change, Request, UNCHANGED, UNREADABLE, UNUSED, push};

/// Reads an event. `branch` is the full name of our ref.
pub(crate) fn meaning(event: &str, body: &[u8], branch: &str) -> Meaning {
    match event {
        "Push Hook" => of_kind("push", body).unwrap_or_else(|| push(body, branch)),
        "Merge Request Hook" => of_kind("merge_request", body).unwrap_or_else(|| request(body, branch)),
        "Tag Push Hook" => Meaning::Ignored { reason: "a push to another ref" },
        _ => UNUSED,
    }
}

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow)]
    object_kind: Cow<'a, str>,
}

/// Why the body is not what its header says, if it is not.
fn of_kind(kind: &str, body: &[u8]) -> Option<Meaning> {
    match serde_json::from_slice::<Kind<'_>>(body) {
        Err(_) => Some(UNREADABLE),
        Ok(told) if told.object_kind != kind => Some(Meaning::Ignored { reason: "the header and the body name different events" }),
        Ok(_) => None,
    }
}

#[derive(Deserialize)]
struct MergeRequest<'a> {
    #[serde(borrow)]
    object_attributes: Attributes<'a>,
    #[serde(borrow, default)]
    changes: Changes<'a>,
}

#[derive(Deserialize)]
struct Attributes<'a> {
    iid: u64,
    /// Absent in a test delivery of a request where nothing happens.
    #[serde(borrow)]
    action: Option<Cow<'a, str>>,
    #[serde(borrow)]
    target_branch: Cow<'a, str>,
    #[serde(borrow)]
    last_commit: Option<Commit<'a>>,
    /// The head before; only there when an update brings other commits.
    #[serde(borrow)]
    oldrev: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Commit<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
}

#[derive(Default, Deserialize)]
struct Changes<'a> {
    #[serde(borrow)]
    target_branch: Option<Moved<'a>>,
}

#[derive(Deserialize)]
struct Moved<'a> {
    #[serde(borrow)]
    previous: Option<Cow<'a, str>>,
}

fn request(body: &[u8], branch: &str) -> Meaning {
    let Ok(event) = serde_json::from_slice::<MergeRequest<'_>>(body) else { return UNREADABLE };
    let attributes = event.object_attributes;
    let moved = event.changes.target_branch.is_some();
    let change = match attributes.action.as_deref() {
        Some("open" | "reopen") => Change::Head,
        Some("update") if attributes.oldrev.is_some() || moved => Change::Head,
        Some("close" | "merge") => Change::Closed,
        _ => return UNCHANGED,
    };
    let request = Request {
        number: attributes.iid,
        head: attributes.last_commit.map(|commit| commit.id),
        base: attributes.target_branch,
        base_before: event.changes.target_branch.and_then(|change| change.previous),
    };
    request.meaning(&change, branch)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BRANCH: &str = "refs/heads/main";

    fn told(action: &str, target: &str, more: &str, changes: &str) -> Meaning {
        let head = "e".repeat(40);
        let body = format!(
            r#"{{"object_kind":"merge_request","object_attributes":{{"iid":5,"id":99,"action":"{action}","target_branch":"{target}",
            "source_branch":"main","last_commit":{{"id":"{head}"}}{more}}},"changes":{{{changes}}}}}"#
        );
        meaning("Merge Request Hook", body.as_bytes(), BRANCH)
    }

    #[test]
    fn a_request_is_judged_when_it_is_opened_or_an_update_brings_commits() {
        let judged = Meaning::Request { number: 5, head: Some("e".repeat(40)), base: Some("main".into()) };
        let old = format!(r#","oldrev":"{}""#, "a".repeat(40));
        assert_eq!(told("open", "main", "", ""), judged);
        assert_eq!(told("reopen", "main", "", ""), judged);
        assert_eq!(told("update", "main", &old, ""), judged);
        assert_eq!(told("update", "main", "", r#""target_branch":{"previous":"dev","current":"main"}"#), judged);
        assert_eq!(told("update", "main", "", r#""title":{"previous":"a","current":"b"}"#), UNCHANGED);
        for action in ["close", "merge"] {
            assert_eq!(told(action, "main", "", ""), Meaning::RequestClosed { number: 5 });
        }
        let away = r#""target_branch":{"previous":"main","current":"dev"}"#;
        assert_eq!(told("update", "dev", "", away), Meaning::RequestClosed { number: 5 });
        assert_eq!(told("open", "dev", "", ""), Meaning::Ignored { reason: "a request for another branch" });
        for action in ["approved", "unapproved", "approval"] {
            assert_eq!(told(action, "main", "", ""), UNCHANGED, "{action}");
        }
    }

    #[test]
    fn a_push_is_read_only_under_its_own_header() {
        let body = format!(r#"{{"object_kind":"push","ref":"refs/heads/main","after":"{}"}}"#, "f".repeat(40));
        let pushed = Meaning::Pushed { before: None, after: Some("f".repeat(40)) };
        assert_eq!(meaning("Push Hook", body.as_bytes(), BRANCH), pushed);
        let odd = Meaning::Ignored { reason: "the header and the body name different events" };
        assert_eq!(meaning("Merge Request Hook", body.as_bytes(), BRANCH), odd);
        assert_eq!(meaning("Push Hook", &body.into_bytes().repeat(2), BRANCH), UNREADABLE);
        for event in ["Note Hook", "Pipeline Hook", "System Hook", "push"] {
            assert_eq!(meaning(event, b"{}", BRANCH), UNUSED, "{event}");
        }
    }

    #[test]
    fn the_deletion_of_our_branch_is_told_by_the_null_id() {
        let body = format!(r#"{{"object_kind":"push","ref":"refs/heads/main","after":"{}","checkout_sha":null}}"#, "0".repeat(40));
        assert_eq!(meaning("Push Hook", body.as_bytes(), BRANCH), Meaning::Deleted);
    }
}
