//! Comments on GitHub's pull requests, which are issues to this part of its API.

use std::time::SystemTime;

use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use super::super::answer::{Window, X_RATE_LIMIT};
use super::super::comment::{MARK, PAGE, PAGES_MAX, Thread, edited};
use super::{Answer, GitHub, listed};
use crate::converge::ReportError;

/// An account.
#[derive(Deserialize)]
pub(super) struct User {
    /// Its name.
    pub(super) login: String,
}

#[derive(Deserialize)]
struct Listed {
    id: u64,
    #[serde(default)]
    body: String,
    user: Option<User>,
    performed_via_github_app: Option<Numbered>,
}

#[derive(Deserialize)]
struct Numbered {
    id: u64,
}

/// Who we are.
enum Account {
    Named(String),
    App(u64),
}

impl Account {
    fn wrote(&self, comment: &Listed) -> bool {
        match self {
            Self::Named(login) => comment.user.as_ref().is_some_and(|user| user.login == *login),
            Self::App(number) => comment.performed_via_github_app.as_ref().is_some_and(|app| app.id == *number),
        }
    }
}

impl Thread for GitHub {
    const WINDOW: &'static Window = &X_RATE_LIMIT;

    async fn ours(&self, request: u64) -> Result<Option<String>, ReportError> {
        let Some(us) = self.account().await? else { return Ok(None) };
        for page in 1..=PAGES_MAX {
            let query = [("per_page", PAGE.to_string()), ("page", page.to_string())];
            let query = query.each_ref().map(|(name, value)| (*name, value.as_str()));
            let answer = self.read(&["issues", &request.to_string(), "comments"], &query).await?;
            if answer.cut || matches!(answer.code, 404 | 410) {
                return Ok(None);
            }
            let comments: Vec<Listed> = listed(&answer, "the list of comments")?;
            let last = comments.len() < PAGE;
            if let Some(found) = comments.iter().find(|comment| comment.body.contains(MARK) && us.wrote(comment)) {
                return Ok(Some(found.id.to_string()));
            }
            if last {
                break;
            }
        }
        Ok(None)
    }

    async fn edit(&self, _: u64, id: &str, body: &str) -> Result<bool, ReportError> {
        let answer = self.write(Method::PATCH, &["issues", "comments", id], &json!({ "body": body })).await?;
        edited(&answer, &X_RATE_LIMIT, SystemTime::now())
    }

    async fn create(&self, request: u64, body: &str) -> Result<Answer, ReportError> {
        self.write(Method::POST, &["issues", &request.to_string(), "comments"], &json!({ "body": body })).await
    }

    async fn look(&self, request: Option<u64>) -> Result<Answer, ReportError> {
        match request {
            Some(request) => self.read(&["pulls", &request.to_string()], &[]).await,
            None => self.read(&[], &[]).await,
        }
    }
}

impl GitHub {
    /// Who we are; nothing where the credential is nobody's.
    async fn account(&self) -> Result<Option<Account>, ReportError> {
        if let Some(app) = &self.app {
            return Ok(Some(Account::App(app.identity.app_id)));
        }
        let answer = self.send(self.api.get(&["user"], &[]), super::ANSWER_BYTES_MAX).await?;
        if matches!(answer.code, 403 | 404) {
            return Ok(None);
        }
        Ok(Some(Account::Named(listed::<User>(&answer, "our own account")?.login)))
    }
}
