//! What GitHub's answers mean for the status that was sent.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde::Deserialize;

use crate::converge::ReportError;
use crate::forge::cut;

/// Where the forge limits us without saying for how long.
const UNNAMED_WAIT: Duration = Duration::from_secs(60);
/// Longest wait we believe; GitHub's windows have one hour.
const WAIT_MAX: Duration = Duration::from_secs(2 * 60 * 60);

#[derive(Deserialize)]
struct Done {
    id: Option<u64>,
}

#[derive(Deserialize, Default)]
struct Refused {
    #[serde(default)]
    message: String,
}

/// Classifies an answer.
pub(super) fn outcome(code: u16, headers: &HeaderMap, body: &[u8], now: SystemTime) -> Result<Option<String>, ReportError> {
    let said = serde_json::from_slice::<Refused>(body).unwrap_or_default().message;
    let limited = headers.contains_key(RETRY_AFTER) || exhausted(headers) || said.to_lowercase().contains("rate limit");
    let reason = |what: &str| cut(&format!("{what} ({code}) {said}"), 300).trim_end().to_owned();
    match code {
        201 => Ok(serde_json::from_slice::<Done>(body).ok().and_then(|done| done.id).map(|id| id.to_string())),
        429 => Err(ReportError::Again { reason: reason("rate limit"), after: Some(wait(headers, now).unwrap_or(UNNAMED_WAIT)) }),
        403 if limited => {
            Err(ReportError::Again { reason: reason("rate limit"), after: Some(wait(headers, now).unwrap_or(UNNAMED_WAIT)) })
        }
        401 => Err(ReportError::Paused { reason: reason("credentials refused") }),
        403 => Err(ReportError::Paused { reason: reason("the token may not write commit statuses") }),
        404 | 410 => {
            Err(ReportError::Paused { reason: reason("repository not found; check status.repository and the token's access") })
        }
        300..=399 => {
            Err(ReportError::Paused { reason: reason("repository or API moved; set the new status.repository or status.api_url") })
        }
        400 | 422 => Err(ReportError::Never { reason: reason("not accepted") }),
        500..=599 => Err(ReportError::Again { reason: reason("the forge has trouble of its own"), after: wait(headers, now) }),
        _ => Err(ReportError::Again { reason: reason("unexpected answer"), after: None }),
    }
}

/// How long the forge asks us to wait: `Retry-After`, else the reset of a window that is used up.
fn wait(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let asked = match number(headers, RETRY_AFTER.as_str()) {
        Some(seconds) => Duration::from_secs(seconds),
        None => {
            let reset = Duration::from_secs(number(headers, "x-ratelimit-reset").filter(|_| exhausted(headers))?);
            let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
            reset.saturating_sub(now).max(Duration::from_secs(1))
        }
    };
    Some(asked.min(WAIT_MAX))
}

fn exhausted(headers: &HeaderMap) -> bool {
    number(headers, "x-ratelimit-remaining") == Some(0)
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_767_225_600;

    fn answer(code: u16, headers: &[(&'static str, String)], body: &str) -> Result<Option<String>, ReportError> {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        outcome(code, &headers, body.as_bytes(), UNIX_EPOCH + Duration::from_secs(NOW))
    }

    fn waits(code: u16, headers: &[(&'static str, String)]) -> Option<u64> {
        match answer(code, headers, r#"{"message":"You have exceeded a secondary rate limit"}"#) {
            Err(ReportError::Again { after, .. }) => after.map(|after| after.as_secs()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn f05_waits_as_told_else_until_the_reset_else_a_minute() {
        let reset = |at: u64| vec![("x-ratelimit-remaining", "0".to_owned()), ("x-ratelimit-reset", at.to_string())];
        for code in [403, 429] {
            assert_eq!(waits(code, &[("retry-after", "90".into())]), Some(90));
            assert_eq!(waits(code, &reset(NOW + 1800)), Some(1800));
            assert_eq!(waits(code, &reset(NOW - 5)), Some(1));
            assert_eq!(waits(code, &[]), Some(60));
            assert_eq!(waits(code, &[("retry-after", u64::MAX.to_string())]), Some(7200));
        }
        assert_eq!(waits(503, &[("retry-after", "30".into())]), Some(30));
        assert_eq!(waits(502, &[]), None);
    }

    #[test]
    fn f06_what_a_person_must_mend_pauses_the_forge() {
        for code in [301, 302, 307, 401, 403, 404, 410] {
            assert!(matches!(answer(code, &[], "{}"), Err(ReportError::Paused { .. })), "{code}");
        }
        let text = answer(401, &[], r#"{"message":"Bad credentials"}"#).unwrap_err().to_string();
        assert!(text.contains("credentials refused (401) Bad credentials"), "{text}");
    }

    #[test]
    fn the_rest_is_done_or_never_or_again() {
        assert_eq!(answer(201, &[], r#"{"id":42}"#).unwrap().as_deref(), Some("42"));
        assert_eq!(answer(201, &[], "").unwrap(), None);
        assert!(matches!(answer(422, &[], "{}"), Err(ReportError::Never { .. })));
        assert!(matches!(answer(200, &[], "<html>"), Err(ReportError::Again { after: None, .. })));
    }
}
