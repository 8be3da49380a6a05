//! Notes on GitLab's merge requests, and who approved them.
//!
//! A merge request is named by its number in the project. An approval that was taken back is no longer listed, and for which head one
//! was given is not told: projects may have approvals removed when commits come.

use std::time::SystemTime;

use jiff::Timestamp;
use policy::snapshot::CommitId;
use reqwest::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::super::answer::{RATE_LIMIT, Window, never, refused};
use super::super::api::{ANSWER_BYTES_MAX, Answer, LIST_BYTES_MAX};
use super::super::comment::{MARK, PAGE, PAGES_MAX, Thread, edited};
use super::super::review::{Decision, Review, approvals};
use super::GitLab;
use crate::converge::{ReportError, Reviewed};

#[derive(Deserialize)]
struct User {
    id: u64,
    #[serde(default)]
    username: String,
}

#[derive(Deserialize)]
struct Note {
    id: u64,
    #[serde(default)]
    body: String,
    author: Option<User>,
    #[serde(default)]
    system: bool,
}

#[derive(Deserialize)]
struct MergeRequest {
    iid: u64,
    web_url: Option<String>,
    author: Option<User>,
    state: String,
    sha: Option<String>,
    target_branch: Option<String>,
}

#[derive(Deserialize)]
struct Approvals {
    #[serde(default)]
    approved_by: Vec<ApprovedBy>,
}

#[derive(Deserialize)]
struct ApprovedBy {
    user: User,
    approved_at: Option<Timestamp>,
}

impl Thread for GitLab {
    const WINDOW: &'static Window = &RATE_LIMIT;

    async fn ours(&self, request: u64) -> Result<Option<String>, ReportError> {
        let us = self.get(&["user"], &[]).await?;
        if us.code == 403 {
            return Ok(None);
        }
        let us: User = listed(&us)?;
        let path = ["projects", &self.project, "merge_requests", &request.to_string(), "notes"];
        for page in 1..=PAGES_MAX {
            let (page, size) = (page.to_string(), PAGE.to_string());
            let query = [("sort", "asc"), ("order_by", "created_at"), ("per_page", size.as_str()), ("page", page.as_str())];
            let answer = self.get(&path, &query).await?;
            if answer.cut || answer.code == 404 {
                return Ok(None);
            }
            let notes: Vec<Note> = listed(&answer)?;
            let last = notes.len() < PAGE;
            let ours =
                |note: &Note| !note.system && note.body.contains(MARK) && note.author.as_ref().is_some_and(|by| by.id == us.id);
            if let Some(found) = notes.iter().find(|note| ours(note)) {
                return Ok(Some(found.id.to_string()));
            }
            if last {
                break;
            }
        }
        Ok(None)
    }

    async fn edit(&self, request: u64, id: &str, body: &str) -> Result<bool, ReportError> {
        let path = ["projects", &self.project, "merge_requests", &request.to_string(), "notes", id];
        let answer = self.write(Method::PUT, &path, &json!({ "body": body })).await?;
        edited(&answer, &RATE_LIMIT, SystemTime::now())
    }

    async fn create(&self, request: u64, body: &str) -> Result<Answer, ReportError> {
        let path = ["projects", &self.project, "merge_requests", &request.to_string(), "notes"];
        self.write(Method::POST, &path, &json!({ "body": body })).await
    }

    async fn look(&self, request: Option<u64>) -> Result<Answer, ReportError> {
        match request {
            Some(request) => self.get(&["projects", &self.project, "merge_requests", &request.to_string()], &[]).await,
            None => self.get(&["projects", &self.project], &[]).await,
        }
    }
}

impl GitLab {
    /// Requests merged into the branch that is followed only; nothing where this GitLab does not tell of approvals.
    pub(super) async fn reviewed(&self, commit: &CommitId) -> Result<Option<Vec<Reviewed>>, ReportError> {
        let path = ["projects", &self.project, "repository", "commits", &commit.to_string(), "merge_requests"];
        let requests: Vec<MergeRequest> = listed(&self.get(&path, &[("per_page", "100")]).await?)?;
        let mut reviewed = Vec::new();
        let here = |request: &MergeRequest| request.target_branch.as_ref().is_none_or(|branch| self.api.is_followed(branch));
        for request in requests.into_iter().filter(|request| request.state == "merged" && here(request)) {
            let number = request.iid.to_string();
            let answer = self.get(&["projects", &self.project, "merge_requests", &number, "approvals"], &[]).await?;
            if answer.code == 404 {
                return Ok(None);
            }
            let author = request.author.map(|user| user.username).unwrap_or_default();
            let given = listed::<Approvals>(&answer)?.approved_by.into_iter().map(|by| Review {
                who: by.user.username,
                decision: Decision::Approved,
                at: by.approved_at,
                head: None,
                stale: false,
            });
            let approvals = approvals(given.collect(), &author, request.sha.as_deref());
            reviewed.push(Reviewed { request: request.iid, url: request.web_url, author, head: request.sha, approvals });
        }
        Ok(Some(reviewed))
    }

    async fn get(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Answer, ReportError> {
        let request = self.api.get(path, query).header(super::CREDENTIAL, self.api.credential("")?);
        self.api.answer(request, LIST_BYTES_MAX).await
    }

    async fn write(&self, method: Method, path: &[&str], body: &serde_json::Value) -> Result<Answer, ReportError> {
        let request = self.api.call(method, path).header(super::CREDENTIAL, self.api.credential("")?);
        self.api.answer(request.json(body), ANSWER_BYTES_MAX).await
    }
}

/// What an answer to a read holds. A commit or project that is not there is nothing to wait for here.
fn listed<T: DeserializeOwned>(answer: &Answer) -> Result<T, ReportError> {
    match answer.code {
        200 => answer.read("a list"),
        404 if answer.said().contains("Commit") => Err(never(answer)),
        _ => Err(refused(answer, &RATE_LIMIT, SystemTime::now())),
    }
}
