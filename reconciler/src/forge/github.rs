//! Commit statuses on GitHub and GitHub Enterprise.
//!
//! One call, `POST /repos/{owner}/{repo}/statuses/{sha}`. The token is read from its file at each call, so that a rotated one is
//! used at once; it is sent to the configured address only, since redirects are not followed.

mod answer;

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use reqwest::{Client, Url, redirect};
use serde::Serialize;

use super::cut;
use crate::chain::chain;
use crate::converge::{CommitStatus, Forge, ReportError, StatusState};
use crate::secret::Secret;

/// GitHub answers 422 above this; it counts characters, we count bytes.
const DESCRIPTION_BYTES_MAX: usize = 140;
/// For the whole call; GitHub's own limit is 10 s as well.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// An answer we read at most; a status has about 2 KiB.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// A longer cause says nothing more.
const CAUSE_BYTES_MAX: usize = 500;
const API_VERSION: &str = "2022-11-28";

/// Where statuses go and how we prove who we are.
#[derive(Debug, Clone)]
pub struct GitHubConfig {
    /// `https://api.github.com`, or `https://HOST/api/v3` for GitHub Enterprise.
    pub api_url: String,
    /// `owner/name`.
    pub repository: String,
    /// The file that holds a token with "commit statuses: write".
    pub token_file: PathBuf,
}

/// A setting that cannot be used. The start is refused.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct ConfigError {
    /// The setting, as written in the configuration file.
    pub key: &'static str,
    /// What is wrong and what to write instead.
    pub problem: String,
}

/// Reports to GitHub.
pub struct GitHub {
    client: Client,
    /// Ends with `/statuses/`.
    statuses: Url,
    token_file: PathBuf,
}

#[derive(Serialize)]
struct Body<'a> {
    state: &'static str,
    context: &'a str,
    description: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_url: Option<&'a str>,
}

impl GitHub {
    /// Checks the settings. Nothing is connected yet.
    ///
    /// # Errors
    /// A setting that cannot be used.
    pub fn new(config: GitHubConfig) -> Result<Self, ConfigError> {
        crate::tls::install_crypto_provider();
        let statuses = statuses_url(&config.api_url, &config.repository)?;
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            .timeout(CALL_TIMEOUT)
            .user_agent(concat!("pci-segment/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| {
                wrong("status.api_url", format!("the TLS client cannot be set up ({})", cut(&chain(&error), CAUSE_BYTES_MAX)))
            })?;
        Ok(Self { client, statuses, token_file: config.token_file })
    }

    async fn send(&self, status: &CommitStatus) -> Result<Option<String>, ReportError> {
        let url =
            self.statuses.join(&status.commit.to_string()).map_err(|error| ReportError::Never { reason: error.to_string() })?;
        let authorization = self.authorization()?;
        let body = Body {
            state: word(status.state),
            context: &status.context,
            description: cut(&status.description, DESCRIPTION_BYTES_MAX),
            target_url: status.link.as_deref(),
        };
        let request = self
            .client
            .post(url)
            .header(ACCEPT, "application/vnd.github+json")
            .header("X-GitHub-Api-Version", API_VERSION)
            .header(AUTHORIZATION, authorization)
            .json(&body);
        let mut response = request.send().await.map_err(|error| again(&error.without_url()))?;
        let (code, headers) = (response.status().as_u16(), response.headers().clone());
        let mut text = Vec::new();
        while let Some(part) = response.chunk().await.map_err(|error| again(&error.without_url()))? {
            let room = ANSWER_BYTES_MAX.saturating_sub(text.len());
            text.extend_from_slice(part.get(..room).unwrap_or(&part));
            if room <= part.len() {
                break;
            }
        }
        answer::outcome(code, &headers, &text, SystemTime::now())
    }

    fn authorization(&self) -> Result<HeaderValue, ReportError> {
        let token =
            Secret::read(&self.token_file).map_err(|error| ReportError::Paused { reason: cut(&chain(&error), CAUSE_BYTES_MAX) })?;
        let text = zeroize::Zeroizing::new(format!("Bearer {}", token.expose()));
        let mut value = HeaderValue::from_str(&text)
            .map_err(|_| ReportError::Paused { reason: "status.token_file holds characters a header cannot have".into() })?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl Forge for GitHub {
    async fn report(&self, status: &CommitStatus) -> Result<Option<String>, ReportError> {
        self.send(status).await
    }
}

fn word(state: StatusState) -> &'static str {
    match state {
        StatusState::Pending => "pending",
        StatusState::Success => "success",
        StatusState::Failure => "failure",
        StatusState::Error => "error",
    }
}

fn again(error: &reqwest::Error) -> ReportError {
    let reason = if error.is_timeout() {
        "no answer within 10 s".to_owned()
    } else {
        format!("cannot reach the forge: {}", cut(&chain(error), CAUSE_BYTES_MAX))
    };
    ReportError::Again { reason, after: None }
}

fn wrong(key: &'static str, problem: impl Into<String>) -> ConfigError {
    ConfigError { key, problem: problem.into() }
}

fn statuses_url(api_url: &str, repository: &str) -> Result<Url, ConfigError> {
    let url =
        Url::parse(api_url.trim_end_matches('/')).map_err(|error| wrong("status.api_url", format!("is not a URL ({error})")))?;
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(wrong(
            "status.api_url",
            "must not hold user-info, a query or a fragment; the token belongs into status.token_file",
        ));
    }
    let loopback = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    if url.scheme() != "https" && !(url.scheme() == "http" && loopback) {
        return Err(wrong("status.api_url", "must begin with https://, or the token would cross the network in the clear"));
    }
    let name = |part: &str| {
        let plain = part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        plain && !part.is_empty() && part != "." && part != ".."
    };
    match repository.split_once('/') {
        Some((owner, repo)) if name(owner) && name(repo) => {}
        _ => {
            return Err(wrong("status.repository", "must be owner/name, like acme/segmentation"));
        }
    }
    Url::parse(&format!("{url}/", url = url.as_str().trim_end_matches('/')))
        .and_then(|base| base.join(&format!("repos/{repository}/statuses/")))
        .map_err(|error| wrong("status.api_url", error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(api_url: &str, repository: &str) -> String {
        statuses_url(api_url, repository).unwrap_err().to_string()
    }

    #[test]
    fn the_address_is_made_for_both_kinds_of_github() {
        let url = |api_url| statuses_url(api_url, "acme/seg.ment").unwrap().to_string();
        assert_eq!(url("https://api.github.com"), "https://api.github.com/repos/acme/seg.ment/statuses/");
        assert_eq!(url("https://ghe.example/api/v3/"), "https://ghe.example/api/v3/repos/acme/seg.ment/statuses/");
        assert_eq!(url("http://127.0.0.1:9/"), "http://127.0.0.1:9/repos/acme/seg.ment/statuses/");
    }

    #[test]
    fn settings_that_would_show_the_token_or_leave_the_path_are_refused() {
        assert!(refusal("http://api.example", "a/b").contains("https"));
        assert!(!refusal("https://canary@api.example", "a/b").contains("canary"));
        for repository in ["a", "a/b/c", "../b", "a/..", "a/b?x", "a /b", "/b"] {
            assert!(refusal("https://api.example", repository).starts_with("status.repository"), "{repository}");
        }
    }
}
