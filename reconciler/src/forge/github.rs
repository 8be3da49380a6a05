//! Commit statuses on GitHub and GitHub Enterprise.
//!
//! One call, `POST /repos/{owner}/{repo}/statuses/{sha}`, with a token that has "commit statuses: write".

use std::time::SystemTime;

use reqwest::header::{ACCEPT, AUTHORIZATION};
use serde::Serialize;

use super::answer::{X_RATE_LIMIT, never, refused};
use super::api::{Answer, Api, answer, word};
use super::{ConfigError, ForgeConfig, cut, repository_parts};
use crate::converge::{CommitStatus, Forge, ReportError};

/// GitHub answers 422 above this; it counts characters, we count bytes.
const DESCRIPTION_BYTES_MAX: usize = 140;
const API_VERSION: &str = "2022-11-28";

/// Reports to GitHub.
pub struct GitHub {
    api: Api,
    repository: String,
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
        Ok(Self { api: Api::new(config)?, repository })
    }
}

impl Forge for GitHub {
    async fn report(&self, status: &CommitStatus) -> Result<Option<String>, ReportError> {
        let (owner, name) = self.repository.split_once('/').unwrap_or_default();
        let request = self
            .api
            .post(&["repos", owner, name, "statuses", &status.commit.to_string()])
            .header(ACCEPT, "application/vnd.github+json")
            .header("X-GitHub-Api-Version", API_VERSION)
            .header(AUTHORIZATION, self.api.credential("Bearer ")?)
            .json(&Body::new(status, DESCRIPTION_BYTES_MAX));
        outcome(&answer(request).await?, SystemTime::now())
    }
}

fn outcome(answer: &Answer, now: SystemTime) -> Result<Option<String>, ReportError> {
    match answer.code {
        201 => Ok(answer.id()),
        400 | 422 => Err(never(answer)),
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
        assert_eq!(answered(201, r#"{"id":42}"#).unwrap().as_deref(), Some("42"));
        assert_eq!(answered(201, "").unwrap(), None);
        assert!(matches!(answered(422, "{}"), Err(ReportError::Never { .. })));
        assert!(matches!(answered(200, "<html>"), Err(ReportError::Again { after: None, .. })));
        assert!(matches!(answered(409, "{}"), Err(ReportError::Again { .. })));
    }
}
