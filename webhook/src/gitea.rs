//! What the events of Gitea and Forgejo mean for us. Only called after the signature held.
//!
//! Both follow GitHub's shapes with words of their own. A branch that is deleted comes as `delete` with a short name and the kind of
//! ref beside it. Their test delivery is a push like any other: it wakes, and that is what it shall show.

use std::borrow::Cow;

use serde::Deserialize;

use crate::delivery::Meaning;
use crate::event::{Change, UNCHANGED, UNREADABLE, UNUSED, push};
use crate::github::PullRequest;

/// Reads an event. `branch` is the full name of our ref.
pub(crate) fn meaning(event: &str, body: &[u8], branch: &str) -> Meaning {
    match event {
        "push" => push(body, branch),
        "delete" => deleted(body, branch),
        // Some versions name the kind of change in the event, too.
        "pull_request" | "pull_request_sync" => request(body, branch),
        _ => UNUSED,
    }
}

fn request(body: &[u8], branch: &str) -> Meaning {
    let Ok(event) = serde_json::from_slice::<PullRequest<'_>>(body) else { return UNREADABLE };
    match &*event.action {
        "opened" | "synchronized" | "reopened" => event.meaning(&Change::Head, branch),
        "edited" => event.edited(branch),
        "closed" => event.meaning(&Change::Closed, branch),
        _ => UNCHANGED,
    }
}

#[derive(Deserialize)]
struct Deleted<'a> {
    #[serde(rename = "ref", borrow)]
    reference: Cow<'a, str>,
    #[serde(borrow)]
    ref_type: Cow<'a, str>,
}

fn deleted(body: &[u8], branch: &str) -> Meaning {
    let Ok(event) = serde_json::from_slice::<Deleted<'_>>(body) else { return UNREADABLE };
    let short = branch.strip_prefix("refs/heads/");
    let ours = event.ref_type == "branch" && (event.reference == branch || Some(&*event.reference) == short);
    if ours { Meaning::Deleted } else { Meaning::Ignored { reason: "another ref was deleted" } }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BRANCH: &str = "refs/heads/main";

    #[test]
    fn a_request_for_our_branch_is_judged() {
        let told = |action: &str, more: &str| {
            let head = "d".repeat(40);
            let body = format!(
                r#"{{"action":"{action}","number":3,"pull_request":{{"head":{{"sha":"{head}"}},"base":{{"ref":"main"}}}}{more}}}"#
            );
            meaning("pull_request", body.as_bytes(), BRANCH)
        };
        let judged = Meaning::Request { number: 3, head: Some("d".repeat(40)), base: Some("main".into()) };
        for action in ["opened", "synchronized", "reopened"] {
            assert_eq!(told(action, ""), judged, "{action}");
        }
        assert_eq!(told("edited", r#","changes":{"ref":{"from":"dev"}}"#), judged);
        assert_eq!(told("edited", r#","changes":{"body":{"from":"x"}}"#), UNCHANGED);
        assert_eq!(told("closed", ""), Meaning::RequestClosed { number: 3 });
        assert_eq!(told("label_updated", ""), UNCHANGED);
    }

    #[test]
    fn a_deleted_branch_is_ours_only_by_its_kind_and_name() {
        let told =
            |name: &str, kind: &str| meaning("delete", format!(r#"{{"ref":"{name}","ref_type":"{kind}"}}"#).as_bytes(), BRANCH);
        assert_eq!(told("main", "branch"), Meaning::Deleted);
        assert_eq!(told("refs/heads/main", "branch"), Meaning::Deleted);
        for (name, kind) in [("main", "tag"), ("dev", "branch"), ("refs/tags/main", "tag")] {
            assert_eq!(told(name, kind), Meaning::Ignored { reason: "another ref was deleted" });
        }
        assert_eq!(meaning("delete", b"[]", BRANCH), UNREADABLE);
        assert_eq!(meaning("repository", b"{}", BRANCH), UNUSED);
    }
}
