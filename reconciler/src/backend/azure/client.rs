//! Calls to the Resource Manager.
//!
//! The SDK's pipeline sends a write again after a broken connection and reads bodies without a bound, so calls go through the HTTP
//! client the rest of the program uses: a write whose answer is lost is never sent again blindly.

use std::time::Duration;

use rand::RngExt as _;
use reqwest::header::{AUTHORIZATION, HeaderMap, IF_MATCH, IF_NONE_MATCH, RETRY_AFTER};
use reqwest::{Method, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::credentials::Credentials;
use super::errors::{Failure, away, lost, refused};
use super::models::{Page, Refusal};
use crate::config::{AzureConfig, CloudConfig};
use crate::converge::BackendError;

const PUBLIC: &str = "https://management.azure.com";
/// The version of Microsoft.Network that our models follow.
pub(super) const API_VERSION: &str = "2024-03-01";
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Pages of one list.
const PAGES_MAX: usize = 1_000;
/// How long throttling and faults of the other side are waited for in one call, in all.
const PATIENCE: Duration = Duration::from_secs(15 * 60);
const WAIT_FIRST: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(60);

/// What a write rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    /// It is as it was read.
    Match(String),
    /// Nothing is there.
    Absent,
    Anything,
}

/// An answer that is no refusal.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// How long the other side asks us to wait.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        retry_after(&self.headers)
    }
}

/// The Resource Manager of one subscription.
#[derive(Debug)]
pub(super) struct Arm {
    client: reqwest::Client,
    root: Url,
    credentials: Option<Credentials>,
}

impl Arm {
    /// Nothing is asked yet.
    pub(super) fn new(config: &CloudConfig, azure: &AzureConfig) -> Result<Self, BackendError> {
        crate::tls::install_crypto_provider();
        let text = config.endpoint_url.as_deref().unwrap_or(PUBLIC);
        let root = Url::parse(text).map_err(|cause| BackendError {
            doing: format!("{}: endpoint_url is no address; write for example {PUBLIC}", config.label()),
            cause: Some(Box::new(cause)),
        })?;
        let credentials = match root.scheme() {
            "https" => Some(Credentials::new(azure)?),
            // No token ever crosses a network in the clear; on this machine nobody else listens, and none is needed.
            "http" if is_loopback(&root) && azure.client_secret_file.is_none() => None,
            "http" if is_loopback(&root) => Some(Credentials::new(azure)?),
            _ => {
                let doing = format!("{}: endpoint_url has to be https; http is for this machine alone", config.label());
                return Err(BackendError { doing, cause: None });
            }
        };
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(CALL_TIMEOUT)
            .user_agent(concat!("pci-segment/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|cause| BackendError { doing: "the TLS client cannot be set up".to_owned(), cause: Some(Box::new(cause)) })?;
        Ok(Self { client, root, credentials })
    }

    /// Reads one resource.
    pub(super) async fn read<T: DeserializeOwned>(&self, action: &str, path: &str) -> Result<T, Failure> {
        let url = self.address(path, API_VERSION, &[])?;
        parse(action, path, &self.get(action, path, url).await?.body)
    }

    /// Reads a whole list.
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        action: &str,
        path: &str,
        version: &str,
        query: &[(&str, &str)],
    ) -> Result<Vec<T>, Failure> {
        let (mut all, mut next) = (Vec::new(), Some(self.address(path, version, query)?));
        for _ in 0..PAGES_MAX {
            let Some(url) = next.take() else { return Ok(all) };
            let page: Page<T> = parse(action, path, &self.get(action, path, url).await?.body)?;
            all.extend(page.value);
            next = match page.next_link.filter(|link| !link.is_empty()) {
                Some(link) => Some(self.own(action, path, &link)?),
                None => None,
            };
        }
        match next {
            Some(_) => Err(away(action, path, &format!("the list has more than {PAGES_MAX} pages"), None)),
            None => Ok(all),
        }
    }

    /// Writes one resource; what comes back may only say that it was begun.
    pub(super) async fn write(
        &self,
        action: &str,
        method: Method,
        path: &str,
        body: Option<&(impl Serialize + Sync)>,
        condition: &Condition,
    ) -> Result<Answer, Failure> {
        let url = self.address(path, API_VERSION, &[])?;
        let mut waits = Waits::default();
        loop {
            let mut request = self.client.request(method.clone(), url.clone());
            request = match condition {
                Condition::Match(etag) if !etag.is_empty() => request.header(IF_MATCH, etag),
                Condition::Absent => request.header(IF_NONE_MATCH, "*"),
                Condition::Match(_) | Condition::Anything => request,
            };
            if let Some(body) = body {
                request = request.json(body);
            }
            let answer = self.send(action, path, request).await?;
            let fault = fault(&answer);
            // Neither was begun: another operation runs, or there were too many calls.
            let again = answer.status == 429 || (answer.status == 409 && is_busy(&fault.code));
            if answer.status < 300 {
                return Ok(answer);
            }
            if !(again && waits.wait(answer.retry_after()).await) {
                return Err(refused(action, path, answer.status, &fault));
            }
        }
    }

    /// Reads an address on the same host, patiently.
    pub(super) async fn get(&self, action: &str, path: &str, url: Url) -> Result<Answer, Failure> {
        let mut waits = Waits::default();
        loop {
            let answer = self.send(action, path, self.client.get(url.clone())).await;
            let failure = match answer {
                Ok(answer) if answer.status < 300 => return Ok(answer),
                Ok(answer) => {
                    let again = matches!(answer.status, 408 | 429 | 500..=599);
                    if again && waits.wait(answer.retry_after()).await {
                        continue;
                    }
                    return Err(refused(action, path, answer.status, &fault(&answer)));
                }
                Err(failure) => failure,
            };
            // Reading changes nothing, so a lost answer is simply asked for again, a few times.
            waits.lost += 1;
            if waits.lost > 3 || !waits.wait(None).await {
                return Err(failure);
            }
        }
    }

    async fn send(&self, action: &str, path: &str, request: reqwest::RequestBuilder) -> Result<Answer, Failure> {
        let request = match &self.credentials {
            Some(credentials) => {
                let header = credentials.header().await.map_err(|error| away(action, path, &error.doing, error.cause))?;
                request.header(AUTHORIZATION, header)
            }
            None => request,
        };
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) if error.is_connect() => {
                let why = "Azure cannot be reached; look at the network, a proxy, and endpoint_url";
                return Err(away(action, path, why, Some(Box::new(error.without_url()))));
            }
            Err(error) => {
                return Err(lost(action, path, if error.is_timeout() { "Timeout" } else { "ConnectionLost" }, Some(error)));
            }
        };
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(|error| lost(action, path, "ConnectionLost", Some(error)))? {
            if body.len() + part.len() > BODY_BYTES_MAX {
                return Err(lost(action, path, "AnswerTooLong", None));
            }
            body.extend_from_slice(&part);
        }
        Ok(Answer { status, headers, body })
    }

    fn address(&self, path: &str, version: &str, query: &[(&str, &str)]) -> Result<Url, Failure> {
        let mut url = self.root.clone();
        url.set_path(path);
        url.set_query(None);
        url.query_pairs_mut().append_pair("api-version", version).extend_pairs(query);
        Ok(url)
    }

    /// An address that an answer names, if it is on the host we ask anyway: no token goes anywhere else.
    pub(super) fn own(&self, action: &str, path: &str, link: &str) -> Result<Url, Failure> {
        let same = |url: &Url| {
            url.scheme() == self.root.scheme()
                && url.host_str() == self.root.host_str()
                && url.port_or_known_default() == self.root.port_or_known_default()
        };
        Url::parse(link)
            .ok()
            .filter(same)
            .ok_or_else(|| away(action, path, "the answer names an address on another host; look at endpoint_url", None))
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn is_busy(code: &str) -> bool {
    matches!(
        code,
        "AnotherOperationInProgress"
            | "OperationNotAllowedOnNonTerminalResource"
            | "ReferencedResourceNotProvisioned"
            | "RetryableError"
    )
}

fn fault(answer: &Answer) -> super::models::Fault {
    serde_json::from_slice::<Refusal>(&answer.body).unwrap_or_default().error
}

pub(super) fn parse<T: DeserializeOwned>(action: &str, path: &str, body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body)
        .map_err(|cause| away(action, path, "the answer is not what Azure documents", Some(Box::new(cause))))
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// Waits between tries, with an end to all of them together.
#[derive(Debug, Default)]
pub(super) struct Waits {
    tries: u32,
    lost: u32,
    waited: Duration,
}

impl Waits {
    /// Waits as long as was asked for, else longer each time and never the same; `false` once that is too long.
    pub(super) async fn wait(&mut self, asked: Option<Duration>) -> bool {
        let most = WAIT_FIRST.saturating_mul(1 << self.tries.min(6)).min(WAIT_MAX);
        let own = rand::rng().random_range(Duration::from_millis(50)..=most);
        let pause = asked.map_or(own, |asked| asked.min(PATIENCE) + Duration::from_millis(rand::rng().random_range(0..=100)));
        self.tries += 1;
        self.waited += pause;
        if self.waited > PATIENCE {
            return false;
        }
        tokio::time::sleep(pause).await;
        true
    }
}
