//! Gitea and Forgejo.
//!
//! A status is one call, `POST /repos/{owner}/{repo}/statuses/{sha}` below `/api/v1`, with GitHub's fields and a token that may write
//! the repository; comments need "issue: write". Gitea knows of a merge commit which request it ended, and of no other commit.

use std::time::SystemTime;

use jiff::Timestamp;
use policy::snapshot::CommitId;
use reqwest::header::AUTHORIZATION;
use reqwest::{Method, RequestBuilder};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::answer::{Window, X_RATE_LIMIT, never, reason, refused};
use super::api::{ANSWER_BYTES_MAX, Answer, Api, LIST_BYTES_MAX};
use super::comment::{self, MARK, PAGES_MAX, Thread, edited};
use super::github::Body;
use super::review::{Decision, Review, approvals};
use super::{ConfigError, ForgeConfig, repository_parts};
use crate::converge::{Comment, CommitStatus, Forge, ReportError, Reviewed};

/// Gitea keeps any length; its pages do not show more.
const DESCRIPTION_BYTES_MAX: usize = 255;
/// Reviews on a page.
const REVIEWS: usize = 50;
/// What git, and so Gitea with its 500, says of a commit it does not have.
const COMMIT_GONE: &str = "object does not exist";

/// Why nobody can tell who approved a commit.
const UNKNOWN: &str = "Gitea knows the request of a merge commit only, and this is none of a request into the branch";

/// Reports to Gitea or Forgejo.
pub struct Gitea {
    api: Api,
    repository: String,
}

#[derive(Deserialize)]
struct User {
    login: String,
}

#[derive(Deserialize)]
struct Listed {
    id: u64,
    #[serde(default)]
    body: String,
    user: Option<User>,
}

#[derive(Deserialize)]
struct Pull {
    number: u64,
    html_url: Option<String>,
    user: Option<User>,
    head: Option<Head>,
    base: Option<Base>,
    merged: bool,
}

#[derive(Deserialize)]
struct Head {
    sha: String,
}

#[derive(Deserialize)]
struct Base {
    #[serde(rename = "ref")]
    name: String,
}

#[derive(Deserialize)]
struct Given {
    user: Option<User>,
    state: String,
    submitted_at: Option<Timestamp>,
    commit_id: Option<String>,
    #[serde(default)]
    stale: bool,
    #[serde(default)]
    dismissed: bool,
}

impl Gitea {
    /// Checks the settings. Nothing is connected yet.
    ///
    /// # Errors
    /// A setting that cannot be used.
    pub fn new(config: ForgeConfig) -> Result<Self, ConfigError> {
        let repository = repository_parts(&config.repository, false)?.join("/");
        Ok(Self { api: Api::new(config)?, repository })
    }

    /// A write to a path below the repository.
    async fn write<T: Serialize + Sync>(&self, method: Method, path: &[&str], body: &T) -> Result<Answer, ReportError> {
        self.send(self.api.call(method, &self.below(path)).json(body), ANSWER_BYTES_MAX).await
    }

    /// A read of a path below the repository; nothing where there is none.
    async fn read<T: serde::de::DeserializeOwned>(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Option<T>, ReportError> {
        let answer = self.send(self.api.get(&self.below(path), query), LIST_BYTES_MAX).await?;
        listed(&answer)
    }

    fn below<'a>(&'a self, path: &[&'a str]) -> Vec<&'a str> {
        let (owner, name) = self.repository.split_once('/').unwrap_or_default();
        ["repos", owner, name].iter().chain(path).copied().collect()
    }

    async fn send(&self, request: RequestBuilder, bytes_max: usize) -> Result<Answer, ReportError> {
        self.api.answer(request.header(AUTHORIZATION, self.api.credential("token ")?), bytes_max).await
    }

    async fn reviews(&self, number: u64) -> Result<Vec<Review>, ReportError> {
        let mut reviews = Vec::new();
        for page in 1..=PAGES_MAX {
            let (page, limit) = (page.to_string(), REVIEWS.to_string());
            let query = [("limit", limit.as_str()), ("page", page.as_str())];
            let given: Option<Vec<Given>> = self.read(&["pulls", &number.to_string(), "reviews"], &query).await?;
            let missing = || ReportError::Again { reason: format!("the reviews of request {number} are not told"), after: None };
            let given = given.ok_or_else(missing)?;
            // The server may give less than a page: only an empty one is the last.
            if given.is_empty() {
                break;
            }
            reviews.extend(given.into_iter().filter_map(review));
        }
        Ok(reviews)
    }
}

impl Forge for Gitea {
    async fn report(&self, status: &CommitStatus) -> Result<Option<String>, ReportError> {
        let body = Body::new(status, DESCRIPTION_BYTES_MAX);
        let answer = self.write(Method::POST, &["statuses", &status.commit.to_string()], &body).await?;
        outcome(&answer, SystemTime::now())
    }

    async fn comment(&self, comment: &Comment) -> Result<Option<String>, ReportError> {
        comment::say(self, comment).await
    }

    async fn approvals(&self, commit: &CommitId) -> Result<Option<Vec<Reviewed>>, ReportError> {
        let pull: Option<Pull> = self.read(&["commits", &commit.to_string(), "pull"], &[]).await?;
        // Pushed straight to the branch, rebased, fast-forwarded, or from before a merge: all of these look alike here.
        let unknown = || ReportError::Never { reason: UNKNOWN.to_owned() };
        let here = |pull: &Pull| pull.base.as_ref().is_none_or(|base| self.api.is_followed(&base.name));
        let pull = pull.filter(|pull| pull.merged && here(pull)).ok_or_else(unknown)?;
        let (author, head) = (pull.user.map(|user| user.login).unwrap_or_default(), pull.head.map(|head| head.sha));
        let approvals = approvals(self.reviews(pull.number).await?, &author, head.as_deref());
        Ok(Some(vec![Reviewed { request: pull.number, url: pull.html_url, author, head, approvals }]))
    }
}

impl Thread for Gitea {
    const WINDOW: &'static Window = &X_RATE_LIMIT;

    /// The whole list is one answer.
    async fn ours(&self, request: u64) -> Result<Option<String>, ReportError> {
        let us = self.send(self.api.get(&["user"], &[]), ANSWER_BYTES_MAX).await?;
        // A token need not be allowed to say whose it is.
        if us.code == 403 {
            return Ok(None);
        }
        let Some(us) = listed::<User>(&us)? else { return Ok(None) };
        let path = ["issues", &request.to_string(), "comments"];
        let comments = self.send(self.api.get(&self.below(&path), &[]), LIST_BYTES_MAX).await?;
        if comments.cut {
            return Ok(None);
        }
        let comments: Vec<Listed> = listed(&comments)?.unwrap_or_default();
        let ours = |listed: &Listed| listed.body.contains(MARK) && listed.user.as_ref().is_some_and(|user| user.login == us.login);
        Ok(comments.iter().find(|listed| ours(listed)).map(|found| found.id.to_string()))
    }

    async fn edit(&self, _: u64, id: &str, body: &str) -> Result<bool, ReportError> {
        let answer = self.write(Method::PATCH, &["issues", "comments", id], &json!({ "body": body })).await?;
        edited(&answer, &X_RATE_LIMIT, SystemTime::now())
    }

    async fn create(&self, request: u64, body: &str) -> Result<Answer, ReportError> {
        self.write(Method::POST, &["issues", &request.to_string(), "comments"], &json!({ "body": body })).await
    }

    async fn look(&self, request: Option<u64>) -> Result<Answer, ReportError> {
        let number = request.map(|request| request.to_string());
        let path = number.as_ref().map_or(Vec::new(), |number| vec!["pulls", number]);
        self.send(self.api.get(&self.below(&path), &[]), LIST_BYTES_MAX).await
    }
}

fn review(given: Given) -> Option<Review> {
    let decision = match (given.state.as_str(), given.dismissed) {
        ("APPROVED", false) => Decision::Approved,
        ("REQUEST_CHANGES", false) => Decision::Refused,
        ("APPROVED" | "REQUEST_CHANGES", true) => Decision::Dismissed,
        _ => return None,
    };
    // A review of a team has no person.
    let who = given.user?.login;
    Some(Review { who, decision, at: given.submitted_at, head: given.commit_id, stale: given.stale })
}

/// What an answer to a read holds; nothing for 404.
fn listed<T: serde::de::DeserializeOwned>(answer: &Answer) -> Result<Option<T>, ReportError> {
    match answer.code {
        200 => answer.read("a list").map(Some),
        404 => Ok(None),
        _ => Err(refused(answer, &X_RATE_LIMIT, SystemTime::now())),
    }
}

fn outcome(answer: &Answer, now: SystemTime) -> Result<Option<String>, ReportError> {
    match answer.code {
        201 => Ok(answer.id()),
        400 | 422 => Err(never(answer)),
        404 | 500 if answer.said().contains(COMMIT_GONE) => {
            Err(ReportError::Never { reason: reason("the commit is gone", answer) })
        }
        _ => Err(refused(answer, &X_RATE_LIMIT, now)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forge::answer::tests::given;

    fn answered(code: u16, body: &str) -> Result<Option<String>, ReportError> {
        outcome(&given(code, &[], body), SystemTime::now())
    }

    #[test]
    fn a_status_is_done_or_never_or_again() {
        assert_eq!(answered(201, r#"{"id":9}"#).unwrap().as_deref(), Some("9"));
        for code in [400, 422] {
            assert!(matches!(answered(code, "{}"), Err(ReportError::Never { .. })), "{code}");
        }
        assert!(matches!(answered(500, r#"{"message":""}"#), Err(ReportError::Again { .. })));
        assert!(matches!(answered(429, "{}"), Err(ReportError::Limited { .. })));
        assert!(matches!(answered(404, r#"{"message":"not found"}"#), Err(ReportError::Paused { .. })));
    }

    #[test]
    fn a_commit_that_is_gone_is_given_up_and_stops_nobody_else() {
        let body = r#"{"message":"GetCommit[aa]: object does not exist [id: aa, rel_path: ]"}"#;
        for code in [404, 500] {
            assert!(matches!(answered(code, body), Err(ReportError::Never { .. })), "{code}");
        }
    }
}
