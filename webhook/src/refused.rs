//! What a sender is told: at most 200 bytes, and never anything it sent.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::delivery::Refusal;

/// What a sender is told to wait when we cannot take its delivery.
const RETRY_AFTER_SECONDS: u64 = 5;

#[derive(Serialize)]
struct Answer {
    result: &'static str,
    reason: &'static str,
}

pub(crate) fn answer(status: StatusCode, result: &'static str, reason: &'static str) -> Response {
    (status, axum::Json(Answer { result, reason })).into_response()
}

/// A request that is turned away, with one constant text for each cause.
pub(crate) struct Refused {
    pub(crate) why: Refusal,
    reason: &'static str,
    retry_after: Option<u64>,
}

impl Refused {
    pub(crate) fn new(why: Refusal) -> Self {
        let reason = match why {
            Refusal::Unsupported => "Content-Type must be application/json",
            Refusal::Blocked => "too many bad signatures from this address",
            Refusal::TooLarge => "the body is over the limit (webhooks.body_mib)",
            Refusal::TooSlow => "the body did not arrive whole within 30 s",
            Refusal::Busy => "too many deliveries at once",
            // Which of these it was, the counter tells; a sender could learn from it.
            Refusal::Unauthorised | Refusal::Stale | Refusal::Malformed => "the signature or token is missing or wrong",
            Refusal::NotKept => "the delivery could not be stored",
        };
        Self { why, reason, retry_after: None }
    }

    /// With other words.
    pub(crate) fn saying(self, reason: &'static str) -> Self {
        Self { reason, ..self }
    }

    /// It may come again after so many seconds.
    pub(crate) fn after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// It may come again soon: the fault is ours.
    pub(crate) fn for_now(why: Refusal) -> Self {
        Self::new(why).after(RETRY_AFTER_SECONDS)
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
            Refusal::Unauthorised | Refusal::Stale | Refusal::Malformed => (StatusCode::UNAUTHORIZED, false),
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
