//! What GitHub's events mean for us. Only called after the signature held.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::delivery::Meaning;
use crate::event::{Change, Request, UNCHANGED, UNREADABLE, UNUSED, push};

/// Reads an event. `branch` is the full name of our ref.
pub(crate) fn meaning(event: &str, body: &[u8], branch: &str) -> Meaning {
    match event {
        "push" => push(body, branch),
        "pull_request" => request(body, branch),
        "ping" => Meaning::Ping,
        _ => UNUSED,
    }
}

/// The fields we use of a `pull_request`. Gitea's has the same shape.
#[derive(Deserialize)]
pub(crate) struct PullRequest<'a> {
    #[serde(borrow)]
    pub(crate) action: Cow<'a, str>,
    number: u64,
    #[serde(borrow)]
    pull_request: Ends<'a>,
    #[serde(borrow)]
    changes: Option<Changes<'a>>,
}

#[derive(Deserialize)]
struct Ends<'a> {
    #[serde(borrow)]
    head: Head<'a>,
    #[serde(borrow)]
    base: Base<'a>,
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    sha: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Base<'a> {
    #[serde(rename = "ref", borrow)]
    reference: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Changes<'a> {
    /// GitHub's: `{"ref": {"from": …}, "sha": …}`.
    #[serde(borrow)]
    base: Option<BaseChange<'a>>,
    /// Gitea's: `{"from": …}`.
    #[serde(rename = "ref", borrow)]
    reference: Option<From<'a>>,
    title: Option<IgnoredAny>,
    body: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct BaseChange<'a> {
    #[serde(rename = "ref", borrow)]
    reference: From<'a>,
}

#[derive(Deserialize)]
struct From<'a> {
    #[serde(borrow)]
    from: Cow<'a, str>,
}

fn request(body: &[u8], branch: &str) -> Meaning {
    let Ok(event) = serde_json::from_slice::<PullRequest<'_>>(body) else { return UNREADABLE };
    match &*event.action {
        "opened" | "synchronize" | "reopened" => event.meaning(&Change::Head, branch),
        "edited" => event.edited(branch),
        "closed" => event.meaning(&Change::Closed, branch),
        _ => UNCHANGED,
    }
}

impl PullRequest<'_> {
    /// An edit matters when it names another base. One that says nothing we know of is looked at all the same.
    pub(crate) fn edited(self, branch: &str) -> Meaning {
        let only_words = self.changes.as_ref().is_some_and(|changes| {
            changes.base.is_none() && changes.reference.is_none() && (changes.title.is_some() || changes.body.is_some())
        });
        if only_words { UNCHANGED } else { self.meaning(&Change::Head, branch) }
    }

    pub(crate) fn meaning(self, change: &Change, branch: &str) -> Meaning {
        let before = self.changes.and_then(|changes| changes.base.map(|base| base.reference).or(changes.reference));
        let request = Request {
            number: self.number,
            head: self.pull_request.head.sha,
            base: self.pull_request.base.reference,
            base_before: before.map(|before| before.from),
        };
        request.meaning(change, branch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BRANCH: &str = "refs/heads/main";

    fn told(action: &str, base: &str, more: &str) -> Meaning {
        let head = "c".repeat(40);
        let body = format!(
            r#"{{"action":"{action}","number":12,"pull_request":{{"url":"http://169.254.169.254/","head":{{"ref":"main","sha":"{head}"}},
            "base":{{"ref":"{base}","sha":"x"}}}}{more}}}"#
        );
        meaning("pull_request", body.as_bytes(), BRANCH)
    }

    fn judged() -> Meaning {
        Meaning::Request { number: 12, head: Some("c".repeat(40)), base: Some("main".into()) }
    }

    #[test]
    fn a_request_for_our_branch_is_judged_when_its_commits_or_its_base_change() {
        for action in ["opened", "synchronize", "reopened"] {
            assert_eq!(told(action, "main", ""), judged(), "{action}");
            assert_eq!(told(action, "dev", ""), Meaning::Ignored { reason: "a request for another branch" });
        }
        let changed = |from: &str| format!(r#","changes":{{"base":{{"ref":{{"from":"{from}"}},"sha":{{"from":"y"}}}}}}"#);
        assert_eq!(told("edited", "main", &changed("dev")), judged());
        assert_eq!(told("edited", "dev", &changed("main")), Meaning::RequestClosed { number: 12 });
        assert_eq!(told("closed", "main", ""), Meaning::RequestClosed { number: 12 });
    }

    #[test]
    fn w13_what_changes_no_commit_and_no_base_is_ignored() {
        assert_eq!(told("edited", "main", r#","changes":{"title":{"from":"a"}}"#), UNCHANGED);
        for action in ["labeled", "assigned", "review_requested", "converted_to_draft", ""] {
            assert_eq!(told(action, "main", ""), UNCHANGED, "{action}");
        }
        assert_eq!(meaning("issue_comment", b"{}", BRANCH), UNUSED);
        assert_eq!(meaning("ping", b"not read", BRANCH), Meaning::Ping);
    }

    #[test]
    fn w11_a_request_without_its_fields_is_unreadable() {
        for body in [
            "{}",
            r#"{"action":"opened"}"#,
            r#"{"action":"opened","number":-1}"#,
            r#"{"action":"opened","number":1,"pull_request":[]}"#,
        ] {
            assert_eq!(meaning("pull_request", body.as_bytes(), BRANCH), UNREADABLE, "{body}");
        }
    }
}
