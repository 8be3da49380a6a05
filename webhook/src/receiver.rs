//! The door: checks in order of cost, and nothing is parsed before the signature holds.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http_body_util::BodyExt as _;
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::blocklist::Blocklist;
use crate::delivery::{Delivery, Inbox, Kept, Meaning, Refusal};
use crate::secrets::Secrets;
use crate::{github, signature};

/// Largest body. A push of 2,000 commits stays below; GitHub itself cuts at 25 MiB.
pub const BODY_BYTES_MAX: usize = 3 * MIB;
/// Bodies in memory together.
const BODIES_BYTES_MAX: usize = 64 * MIB;
/// In which memory for bodies is counted: small, so that senders who dawdle over their first bytes hold next to nothing.
const UNIT: usize = 4096;
/// From the first byte of a body to its last.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// What a sender is told to wait when we cannot take its delivery.
const RETRY_AFTER_SECONDS: u64 = 5;
/// Longest header value we keep; GitHub's ids have 36 characters and its events fewer.
const WORD_BYTES_MAX: usize = 100;
const MIB: usize = 1024 * 1024;

/// What the receiver has to know.
#[derive(Clone)]
pub struct Settings {
    /// Secrets shared with GitHub.
    pub secrets: Secrets,
    /// The full name of the followed ref, `refs/heads/main`.
    pub reference: String,
}

struct Door {
    settings: Settings,
    inbox: Arc<dyn Inbox>,
    blocklist: Mutex<Blocklist>,
    memory: Semaphore,
}

/// Routes for the receivers that are configured: `POST /webhooks/github`.
pub fn router(settings: Settings, inbox: Arc<dyn Inbox>) -> Router {
    let door = Door { settings, inbox, blocklist: Mutex::default(), memory: Semaphore::new(BODIES_BYTES_MAX / UNIT) };
    Router::new().route("/webhooks/github", post(receive)).with_state(Arc::new(door))
}

async fn receive(State(door): State<Arc<Door>>, request: Request) -> Response {
    door.receive(request).await.unwrap_or_else(|refused| {
        door.inbox.refused(refused.why);
        refused.into_response()
    })
}

impl Door {
    async fn receive(&self, request: Request) -> Result<Response, Refused> {
        let address = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
        let (parts, body) = request.into_parts();
        expect_plain_json(&parts.headers)?;
        self.expect_not_blocked(address)?;
        expect_length_within_limit(&parts.headers)?;
        let mut held = Held { memory: &self.memory, permit: None, units: 0 };
        let body = read(body, &mut held).await?;
        let line = self.expect_signature(&parts.headers, &body, address)?;
        let delivery = delivery(&parts.headers, &body, line, &self.settings.reference);
        drop((body, held));
        self.keep(delivery).await
    }

    fn expect_not_blocked(&self, address: Option<IpAddr>) -> Result<(), Refused> {
        let list = self.blocklist.lock().unwrap_or_else(PoisonError::into_inner);
        match address.and_then(|address| list.blocked(address, Instant::now())) {
            Some(left) => Err(Refused::new(Refusal::Blocked).after(left.as_secs() + 1)),
            None => Ok(()),
        }
    }

    fn expect_signature(&self, headers: &HeaderMap, body: &[u8], address: Option<IpAddr>) -> Result<usize, Refused> {
        let line = signature::github(headers, body, &self.settings.secrets.now());
        line.ok_or_else(|| {
            if let Some(address) = address {
                self.blocklist.lock().unwrap_or_else(PoisonError::into_inner).count(address, Instant::now());
            }
            Refused::new(Refusal::Unauthorised)
        })
    }

    async fn keep(&self, delivery: Delivery) -> Result<Response, Refused> {
        let (result, reason) = match &delivery.meaning {
            Meaning::Pushed { .. } => ("accepted", "a push to our branch"),
            Meaning::Deleted => ("accepted", "our branch was deleted"),
            Meaning::Ping => ("ignored", "ping: the hook works"),
            Meaning::Ignored { reason } => ("ignored", *reason),
        };
        match self.inbox.keep(delivery).await {
            Ok(Kept::New) => Ok(answer(StatusCode::ACCEPTED, result, reason)),
            Ok(Kept::Duplicate) => Ok(answer(StatusCode::ACCEPTED, "duplicate", "this delivery is known")),
            Err(error) => {
                tracing::error!(%error, "a webhook delivery was not kept; the sender is asked to try again");
                Err(Refused::new(Refusal::NotKept).after(RETRY_AFTER_SECONDS))
            }
        }
    }
}

fn expect_plain_json(headers: &HeaderMap) -> Result<(), Refused> {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let only = types.next().filter(|_| types.next().is_none()).and_then(|value| value.to_str().ok());
    let essence = only.map(|value| value.split(';').next().unwrap_or_default().trim());
    if !essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json")) {
        return Err(Refused { reason: "Content-Type must be application/json", ..Refused::new(Refusal::Unsupported) });
    }
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Err(Refused {
            reason: "Content-Encoding is not taken; send the body as it is",
            ..Refused::new(Refusal::Unsupported)
        });
    }
    Ok(())
}

fn expect_length_within_limit(headers: &HeaderMap) -> Result<(), Refused> {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > BODY_BYTES_MAX) {
        return Err(Refused::new(Refusal::TooLarge));
    }
    Ok(())
}

/// The share of the memory for bodies that one request holds. It grows with what has arrived, not with what was announced.
struct Held<'a> {
    memory: &'a Semaphore,
    permit: Option<SemaphorePermit<'a>>,
    units: usize,
}

impl Held<'_> {
    fn grow(&mut self, bytes: usize) -> Result<(), Refused> {
        let wanted = bytes.div_ceil(UNIT);
        let more = u32::try_from(wanted.saturating_sub(self.units)).unwrap_or(u32::MAX);
        let busy = |_| Refused::new(Refusal::Busy).after(RETRY_AFTER_SECONDS);
        let permit = self.memory.try_acquire_many(more).map_err(busy)?;
        match &mut self.permit {
            Some(held) => held.merge(permit),
            None => self.permit = Some(permit),
        }
        self.units = self.units.max(wanted);
        Ok(())
    }
}

async fn read(body: Body, held: &mut Held<'_>) -> Result<Vec<u8>, Refused> {
    let reading = tokio::time::timeout(BODY_TIMEOUT, read_within_limit(body, held));
    reading.await.unwrap_or_else(|_| Err(Refused::new(Refusal::TooSlow)))
}

async fn read_within_limit(mut body: Body, held: &mut Held<'_>) -> Result<Vec<u8>, Refused> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refused::new(Refusal::TooSlow))?;
        let data = frame.data_ref().map_or(&[][..], |data| data);
        if bytes.len() + data.len() > BODY_BYTES_MAX {
            return Err(Refused::new(Refusal::TooLarge));
        }
        held.grow(bytes.len() + data.len())?;
        bytes.extend_from_slice(data);
    }
    Ok(bytes)
}

fn delivery(headers: &HeaderMap, body: &[u8], secret_line: usize, branch: &str) -> Delivery {
    let event = word(headers, "x-github-event").unwrap_or_default();
    let body_digest: [u8; 32] = Sha256::digest(body).into();
    let id = word(headers, "x-github-delivery").unwrap_or_else(|| {
        let digest = Sha256::new_with_prefix(&event).chain_update([0]).chain_update(body_digest).finalize();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    });
    Delivery { forge: "github", meaning: github::meaning(&event, body, branch), id, event, body_digest, secret_line }
}

/// A header that is one short word; anything else counts as missing.
fn word(headers: &HeaderMap, name: &str) -> Option<String> {
    let text = headers.get(name)?.to_str().ok()?;
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    (plain && !text.is_empty() && text.len() <= WORD_BYTES_MAX).then(|| text.to_owned())
}

#[derive(Serialize)]
struct Answer {
    result: &'static str,
    reason: &'static str,
}

fn answer(status: StatusCode, result: &'static str, reason: &'static str) -> Response {
    (status, axum::Json(Answer { result, reason })).into_response()
}

/// A request that is turned away, with one constant text for each cause.
struct Refused {
    why: Refusal,
    reason: &'static str,
    retry_after: Option<u64>,
}

impl Refused {
    fn new(why: Refusal) -> Self {
        let reason = match why {
            Refusal::Unsupported => "Content-Type must be application/json",
            Refusal::Blocked => "too many bad signatures from this address",
            Refusal::TooLarge => "the body is over 3 MiB",
            Refusal::TooSlow => "the body did not arrive whole within 30 s",
            Refusal::Busy => "too many deliveries at once",
            Refusal::Unauthorised => "X-Hub-Signature-256 is missing or wrong",
            Refusal::NotKept => "the delivery could not be stored",
        };
        Self { why, reason, retry_after: None }
    }

    fn after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (status, close) = match self.why {
            Refusal::Unsupported => (StatusCode::UNSUPPORTED_MEDIA_TYPE, false),
            Refusal::Blocked => (StatusCode::TOO_MANY_REQUESTS, true),
            Refusal::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, true),
            Refusal::TooSlow => (StatusCode::REQUEST_TIMEOUT, true),
            Refusal::Busy => (StatusCode::SERVICE_UNAVAILABLE, true),
            Refusal::Unauthorised => (StatusCode::UNAUTHORIZED, false),
            Refusal::NotKept => (StatusCode::SERVICE_UNAVAILABLE, false),
        };
        let mut response = answer(status, "refused", self.reason);
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if close {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
