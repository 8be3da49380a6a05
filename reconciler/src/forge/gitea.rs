//! Commit statuses on Gitea and Forgejo.
//!
//! One call, `POST /repos/{owner}/{repo}/statuses/{sha}` below `/api/v1`, with GitHub's fields and a token that may write the
//! repository.

use std::time::SystemTime;

use reqwest::header::AUTHORIZATION;

use super::answer::{X_RATE_LIMIT, never, reason, refused};
use super::api::{Answer, Api, answer};
use super::github::Body;
use super::{ConfigError, ForgeConfig, repository_parts};
use crate::converge::{CommitStatus, Forge, ReportError};

/// Gitea keeps any length; its pages do not show more.
const DESCRIPTION_BYTES_MAX: usize = 255;
/// What git, and so Gitea with its 500, says of a commit it does not have.
const COMMIT_GONE: &str = "object does not exist";

/// Reports to Gitea or Forgejo.
pub struct Gitea {
    api: Api,
    repository: String,
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
}

impl Forge for Gitea {
    async fn report(&self, status: &CommitStatus) -> Result<Option<String>, ReportError> {
        let (owner, name) = self.repository.split_once('/').unwrap_or_default();
        let request = self
            .api
            .post(&["repos", owner, name, "statuses", &status.commit.to_string()])
            .header(AUTHORIZATION, self.api.credential("token ")?)
            .json(&Body::new(status, DESCRIPTION_BYTES_MAX));
        outcome(&answer(request).await?, SystemTime::now())
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
