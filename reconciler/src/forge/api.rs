//! One call to a forge's API.
//!
//! The token is read from its file at each call, so that a rotated one is used at once. It is sent to the configured address only:
//! redirects are not followed, and an address without TLS is refused unless it is this machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Client, Method, RequestBuilder, Url, redirect};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::answer::{RATE_LIMIT, X_RATE_LIMIT, number};
use super::{ConfigError, ForgeConfig, cut, wrong};
use crate::chain::chain;
use crate::converge::{ReportError, StatusState};
use crate::metrics::Calls;
use crate::secret::Secret;

/// For the whole call; GitHub's own limit is 10 s as well.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// An answer to a write we read at most; a status has about 2 KiB, a comment comes back with its text.
pub(super) const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// A list we read at most: more than a page of comments of GitHub's longest kind, not of GitLab's.
pub(super) const LIST_BYTES_MAX: usize = 8 * 1024 * 1024;
/// A longer cause says nothing more.
const CAUSE_BYTES_MAX: usize = 500;

/// Where an API is and what opens it.
pub(super) struct Api {
    client: Client,
    root: Url,
    token_file: PathBuf,
    branch: Option<String>,
    calls: Arc<Calls>,
}

/// What came back, whatever it means.
pub(super) struct Answer {
    /// The HTTP status.
    pub(super) code: u16,
    /// Its headers.
    pub(super) headers: HeaderMap,
    /// Its beginning.
    pub(super) body: Vec<u8>,
    /// There was more.
    pub(super) cut: bool,
}

impl Api {
    /// Checks the settings. Nothing is connected yet.
    pub(super) fn new(config: ForgeConfig) -> Result<Self, ConfigError> {
        crate::tls::install_crypto_provider();
        let root = root(&config.api_url)?;
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            // Settings name what the token may pass, not the environment.
            .no_proxy()
            .timeout(CALL_TIMEOUT)
            .user_agent(concat!("pci-segment/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| {
                wrong("status.api_url", format!("the TLS client cannot be set up ({})", cut(&chain(&error), CAUSE_BYTES_MAX)))
            })?;
        Ok(Self { client, root, token_file: config.token_file, branch: config.branch, calls: config.calls })
    }

    /// Whether what was merged into this branch came to the one that is followed.
    pub(super) fn is_followed(&self, branch: &str) -> bool {
        self.branch.as_ref().is_none_or(|followed| followed == branch)
    }

    /// A call to a path below the root. A `/` inside a part is percent-encoded.
    pub(super) fn call(&self, method: Method, path: &[&str]) -> RequestBuilder {
        self.client.request(method, self.address(path))
    }

    /// A read of such a path.
    pub(super) fn get(&self, path: &[&str], query: &[(&str, &str)]) -> RequestBuilder {
        let mut url = self.address(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.client.get(url)
    }

    fn address(&self, path: &[&str]) -> Url {
        let mut url = self.root.clone();
        if let Ok(mut parts) = url.path_segments_mut() {
            parts.pop_if_empty().extend(path);
        }
        url
    }

    /// The token behind `scheme`, as the value of a header that no log shows.
    pub(super) fn credential(&self, scheme: &str) -> Result<HeaderValue, ReportError> {
        let token =
            Secret::read(&self.token_file).map_err(|error| ReportError::Paused { reason: cut(&chain(&error), CAUSE_BYTES_MAX) })?;
        header(scheme, token.expose())
    }

    /// Where the token, or an App's private key, is.
    pub(super) fn secret_file(&self) -> &Path {
        &self.token_file
    }

    /// Sends a request and reads the beginning of what comes back.
    pub(super) async fn answer(&self, request: RequestBuilder, bytes_max: usize) -> Result<Answer, ReportError> {
        let answer = receive(request, bytes_max).await;
        let (code, headers) = answer.as_ref().map_or((None, None), |answer| (Some(answer.code), Some(&answer.headers)));
        let left = [&X_RATE_LIMIT, &RATE_LIMIT].into_iter().find_map(|window| number(headers?, window.remaining));
        self.calls.answered(code, left);
        answer
    }
}

/// A token of another kind as such a value.
pub(super) fn bearer(token: &str) -> Result<HeaderValue, ReportError> {
    header("Bearer ", token)
}

fn header(scheme: &str, token: &str) -> Result<HeaderValue, ReportError> {
    let text = zeroize::Zeroizing::new(format!("{scheme}{token}"));
    let mut value = HeaderValue::from_str(&text)
        .map_err(|_| ReportError::Paused { reason: "status.token_file holds characters a header cannot have".into() })?;
    value.set_sensitive(true);
    Ok(value)
}

async fn receive(request: RequestBuilder, bytes_max: usize) -> Result<Answer, ReportError> {
    let mut response = request.send().await.map_err(|error| again(&error.without_url()))?;
    let (code, headers) = (response.status().as_u16(), response.headers().clone());
    let (mut body, mut cut) = (Vec::new(), false);
    while let Some(part) = response.chunk().await.map_err(|error| again(&error.without_url()))? {
        let room = bytes_max.saturating_sub(body.len());
        body.extend_from_slice(part.get(..room).unwrap_or(&part));
        cut = room < part.len();
        if cut {
            break;
        }
    }
    Ok(Answer { code, headers, body, cut })
}

impl Answer {
    /// The forge's own words. GitLab sends a text, or an object with one list for each field.
    pub(super) fn said(&self) -> String {
        #[derive(Deserialize)]
        struct Refused {
            message: Option<Value>,
            error: Option<Value>,
        }
        let refused = serde_json::from_slice::<Refused>(&self.body).ok();
        match refused.and_then(|refused| refused.message.or(refused.error)) {
            Some(Value::String(text)) => text,
            Some(other) => other.to_string(),
            None => String::new(),
        }
    }

    /// What it holds; what cannot be read may be readable the next time.
    pub(super) fn read<T: DeserializeOwned>(&self, what: &str) -> Result<T, ReportError> {
        serde_json::from_slice(&self.body)
            .map_err(|error| ReportError::Again { reason: format!("{what} cannot be read: {error}"), after: None })
    }

    /// The forge's id of what it took.
    pub(super) fn id(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Done {
            id: Option<u64>,
        }
        serde_json::from_slice::<Done>(&self.body).ok()?.id.map(|id| id.to_string())
    }
}

/// GitHub's and Gitea's words for our states.
pub(super) const fn word(state: StatusState) -> &'static str {
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

fn root(api_url: &str) -> Result<Url, ConfigError> {
    let url = Url::parse(api_url).map_err(|error| wrong("status.api_url", format!("is not a URL ({error})")))?;
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
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(api_url: &str, path: &[&str]) -> String {
        let config = ForgeConfig {
            api_url: api_url.into(),
            repository: String::new(),
            token_file: PathBuf::new(),
            branch: None,
            calls: Arc::default(),
        };
        Api::new(config).unwrap().address(path).to_string()
    }

    #[test]
    fn a_path_is_put_below_the_root_whether_or_not_that_ends_with_a_slash() {
        assert_eq!(address("https://api.github.com", &["repos", "a", "b.c"]), "https://api.github.com/repos/a/b.c");
        assert_eq!(address("https://ghe.example/api/v3/", &["repos"]), "https://ghe.example/api/v3/repos");
        assert_eq!(address("https://ghe.example/api/v3", &["repos"]), "https://ghe.example/api/v3/repos");
        assert_eq!(address("http://127.0.0.1:9/", &["projects", "a/b/c"]), "http://127.0.0.1:9/projects/a%2Fb%2Fc");
    }

    #[test]
    fn an_address_that_would_show_the_token_is_refused() {
        let refusal = |api_url| root(api_url).unwrap_err().to_string();
        assert!(refusal("http://api.example").contains("https"));
        assert!(!refusal("https://canary@api.example").contains("canary"));
        assert!(refusal("https://api.example?token=x").contains("query"));
        assert!(refusal("api.example").contains("is not a URL"));
    }
}
