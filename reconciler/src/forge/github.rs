//! GitHub and GitHub Enterprise.
//!
//! With a token, a status is one call, `POST /repos/{owner}/{repo}/statuses/{sha}`, with a token that has "commit statuses: write"; comments need
//! "pull requests: write", and approvals are read with the same. As an App, a status is a check run instead, with its findings beside
//! their lines.

mod app;
mod approvals;
mod checks;
mod comments;

use std::time::SystemTime;

use jiff::Timestamp;
use policy::snapshot::CommitId;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use reqwest::{Method, RequestBuilder};
use serde::Serialize;

use self::app::App;
pub use self::app::Identity;
use self::checks::Runs;
use super::answer::{X_RATE_LIMIT, never, refused};
use super::api::{ANSWER_BYTES_MAX, Answer, Api, LIST_BYTES_MAX, word};
use super::{ConfigError, ForgeConfig, comment, cut, repository_parts};
use crate::converge::{Annotation, Comment, CommitStatus, Forge, ReportError, Reviewed};

/// GitHub answers 422 above this; it counts characters, we count bytes.
const DESCRIPTION_BYTES_MAX: usize = 140;
const API_VERSION: &str = "2022-11-28";

/// Reports to GitHub.
pub struct GitHub {
    api: Api,
    repository: String,
    /// Who we are; the owner of a token without.
    app: Option<App>,
    /// Where policies lie in the repository.
    folder: String,
    runs: Runs,
}

/// What GitHub and Gitea take.
#[derive(Serialize)]
pub(super) struct Body<'a> {
    state: &'static str,
    context: &'a str,
    description: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_url: Option<&'a str>,
}

impl<'a> Body<'a> {
    /// A status with its text cut to what the forge takes.
    pub(super) fn new(status: &'a CommitStatus, description_bytes_max: usize) -> Self {
        Self {
            state: word(status.state),
            context: &status.context,
            description: cut(&status.description, description_bytes_max),
            target_url: status.link.as_deref(),
        }
    }
}

impl GitHub {
    /// Checks the settings. Nothing is connected yet.
    ///
    /// # Errors
    /// A setting that cannot be used.
    pub fn new(config: ForgeConfig) -> Result<Self, ConfigError> {
        let repository = repository_parts(&config.repository, false)?.join("/");
        Ok(Self { api: Api::new(config)?, repository, app: None, folder: String::new(), runs: Runs::default() })
    }

    /// The same as an App, whose private key is in the configured file; `folder` is where policies lie in the repository.
    ///
    /// # Errors
    /// A setting that cannot be used.
    pub fn as_app(config: ForgeConfig, identity: Identity, folder: &str) -> Result<Self, ConfigError> {
        let folder = folder.trim_matches('/');
        let folder = folder.strip_prefix("./").unwrap_or(folder);
        let folder = if folder == "." { String::new() } else { folder.to_owned() };
        Ok(Self { app: Some(App::new(identity)), folder, ..Self::new(config)? })
    }

    /// A write to a path below the repository.
    async fn write<T: Serialize + Sync>(&self, method: Method, path: &[&str], body: &T) -> Result<Answer, ReportError> {
        let request = self.api.call(method, &self.below(path)).json(body);
        self.send(request, ANSWER_BYTES_MAX).await
    }

    /// A read of a path below the repository.
    async fn read(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Answer, ReportError> {
        self.send(self.api.get(&self.below(path), query), LIST_BYTES_MAX).await
    }

    fn below<'a>(&'a self, path: &[&'a str]) -> Vec<&'a str> {
        let (owner, name) = self.repository.split_once('/').unwrap_or_default();
        ["repos", owner, name].iter().chain(path).copied().collect()
    }

    async fn send(&self, request: RequestBuilder, bytes_max: usize) -> Result<Answer, ReportError> {
        let Some(app) = &self.app else {
            return self.api.answer(headers(request, self.api.credential("Bearer ")?), bytes_max).await;
        };
        let again = request.try_clone();
        let token = app.credential(&self.api, &self.repository, None, Timestamp::now()).await?;
        let answer = self.api.answer(headers(request, token.clone()), bytes_max).await?;
        match again {
            // A token may end early: when the App's permissions change, say.
            Some(again) if answer.code == 401 => {
                let token = app.credential(&self.api, &self.repository, Some(&token), Timestamp::now()).await?;
                self.api.answer(headers(again, token), bytes_max).await
            }
            _ => Ok(answer),
        }
    }
}

impl Forge for GitHub {
    async fn report(&self, status: &CommitStatus) -> Result<Option<String>, ReportError> {
        self.report_findings(status, &[]).await
    }

    async fn report_findings(&self, status: &CommitStatus, findings: &[Annotation]) -> Result<Option<String>, ReportError> {
        if self.app.is_some() {
            return self.check(status, findings).await;
        }
        let body = Body::new(status, DESCRIPTION_BYTES_MAX);
        let answer = self.write(Method::POST, &["statuses", &status.commit.to_string()], &body).await?;
        outcome(&answer, SystemTime::now())
    }

    fn writes(&self, findings: &[Annotation]) -> usize {
        if self.app.is_some() { checks::writes(findings.len()) } else { 1 }
    }

    async fn comment(&self, comment: &Comment) -> Result<Option<String>, ReportError> {
        comment::say(self, comment).await
    }

    async fn approvals(&self, commit: &CommitId) -> Result<Option<Vec<Reviewed>>, ReportError> {
        self.reviewed(commit).await.map(Some)
    }
}

fn headers(request: RequestBuilder, credential: HeaderValue) -> RequestBuilder {
    request
        .header(ACCEPT, "application/vnd.github+json")
        .header("X-GitHub-Api-Version", API_VERSION)
        .header(AUTHORIZATION, credential)
}

fn outcome(answer: &Answer, now: SystemTime) -> Result<Option<String>, ReportError> {
    match answer.code {
        201 => Ok(answer.id()),
        400 | 422 => Err(never(answer)),
        _ => Err(refused(answer, &X_RATE_LIMIT, now)),
    }
}

/// What an answer to a read holds.
fn listed<T: serde::de::DeserializeOwned>(answer: &Answer, what: &str) -> Result<T, ReportError> {
    match answer.code {
        200 => answer.read(what),
        422 => Err(never(answer)),
        _ => Err(refused(answer, &X_RATE_LIMIT, SystemTime::now())),
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
        assert_eq!(answered(201, r#"{"id":42}"#).unwrap().as_deref(), Some("42"));
        assert_eq!(answered(201, "").unwrap(), None);
        assert!(matches!(answered(422, "{}"), Err(ReportError::Never { .. })));
        assert!(matches!(answered(200, "<html>"), Err(ReportError::Again { after: None, .. })));
        assert!(matches!(answered(409, "{}"), Err(ReportError::Again { .. })));
    }
}
