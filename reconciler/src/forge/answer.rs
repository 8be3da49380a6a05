//! What a forge's refusal means for what was sent.
//!
//! The codes below mean the same everywhere. What only one forge means by a code it looks at before it asks here.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::header::{HeaderMap, RETRY_AFTER};

use super::api::Answer;
use super::cut;
use crate::converge::ReportError;

/// Longest wait we believe; GitHub's windows have one hour.
const WAIT_MAX: Duration = Duration::from_secs(2 * 60 * 60);
/// A longer reason says nothing more.
const REASON_BYTES_MAX: usize = 300;

/// How a forge names what is left of a rate limit, and the second of its next window.
pub(super) struct Window {
    /// Requests left.
    pub(super) remaining: &'static str,
    /// Seconds since 1970.
    pub(super) reset: &'static str,
}

/// GitHub's names; proxies in front of Gitea use them too.
pub(super) const X_RATE_LIMIT: Window = Window { remaining: "x-ratelimit-remaining", reset: "x-ratelimit-reset" };
/// GitLab's names.
pub(super) const RATE_LIMIT: Window = Window { remaining: "ratelimit-remaining", reset: "ratelimit-reset" };

/// The forge's words behind ours.
pub(super) fn reason(what: &str, answer: &Answer) -> String {
    cut(&format!("{what} ({}) {}", answer.code, answer.said()), REASON_BYTES_MAX).trim_end().to_owned()
}

/// This, and everything equal, is in vain.
pub(super) fn never(answer: &Answer) -> ReportError {
    ReportError::Never { reason: reason("not accepted", answer) }
}

/// What every forge means by an answer that is not the one hoped for.
pub(super) fn refused(answer: &Answer, window: &Window, now: SystemTime) -> ReportError {
    let reason = |what: &str| reason(what, answer);
    let headers = &answer.headers;
    let limited =
        headers.contains_key(RETRY_AFTER) || exhausted(headers, window) || answer.said().to_lowercase().contains("rate limit");
    match answer.code {
        429 => ReportError::Limited { reason: reason("rate limit"), after: wait(headers, window, now) },
        403 if limited => ReportError::Limited { reason: reason("rate limit"), after: wait(headers, window, now) },
        401 => ReportError::Paused { reason: reason("credentials refused") },
        403 => {
            ReportError::Paused { reason: reason("the token may not do this; see what it needs in the documentation of `status:`") }
        }
        404 | 410 => ReportError::Paused { reason: reason("repository not found; check status.repository and the token's access") },
        300..=399 => {
            ReportError::Paused { reason: reason("repository or API moved; set the new status.repository or status.api_url") }
        }
        500..=599 => ReportError::Again { reason: reason("the forge has trouble of its own"), after: wait(headers, window, now) },
        _ => ReportError::Again { reason: reason("unexpected answer"), after: None },
    }
}

/// How long the forge asks us to wait: `Retry-After`, else the reset of a window that is used up.
fn wait(headers: &HeaderMap, window: &Window, now: SystemTime) -> Option<Duration> {
    let asked = match number(headers, RETRY_AFTER.as_str()) {
        Some(seconds) => Duration::from_secs(seconds),
        None => {
            let reset = Duration::from_secs(number(headers, window.reset).filter(|_| exhausted(headers, window))?);
            let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
            reset.saturating_sub(now).max(Duration::from_secs(1))
        }
    };
    Some(asked.min(WAIT_MAX))
}

fn exhausted(headers: &HeaderMap, window: &Window) -> bool {
    number(headers, window.remaining) == Some(0)
}

pub(super) fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const NOW: u64 = 1_767_225_600;
    const WINDOWS: [Window; 2] = [X_RATE_LIMIT, RATE_LIMIT];

    /// An answer as a forge would give it.
    pub(in crate::forge) fn given(code: u16, headers: &[(&'static str, String)], body: &str) -> Answer {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        Answer { code, headers, body: body.as_bytes().to_vec(), cut: false }
    }

    fn error(code: u16, headers: &[(&'static str, String)], window: &Window, body: &str) -> ReportError {
        refused(&given(code, headers, body), window, UNIX_EPOCH + Duration::from_secs(NOW))
    }

    fn limited(code: u16, headers: &[(&'static str, String)], window: &Window) -> Option<u64> {
        let error = error(code, headers, window, r#"{"message":"You have exceeded a secondary rate limit"}"#);
        let ReportError::Limited { after, .. } = error else { panic!("{error:?}") };
        after.map(|after| after.as_secs())
    }

    #[test]
    fn f05_waits_as_told_else_until_the_reset_else_as_the_sender_thinks_fit() {
        for window in &WINDOWS {
            let reset = |at: u64| vec![(window.remaining, "0".to_owned()), (window.reset, at.to_string())];
            for code in [403, 429] {
                assert_eq!(limited(code, &[("retry-after", "90".into())], window), Some(90));
                assert_eq!(limited(code, &reset(NOW + 1800), window), Some(1800));
                assert_eq!(limited(code, &reset(NOW - 5), window), Some(1));
                assert_eq!(limited(code, &[], window), None);
                assert_eq!(limited(code, &[("retry-after", u64::MAX.to_string())], window), Some(7200));
            }
        }
        let names_of_another = [("x-ratelimit-remaining", "0".to_owned()), ("x-ratelimit-reset", (NOW + 9).to_string())];
        assert_eq!(limited(429, &names_of_another, &RATE_LIMIT), None);
    }

    #[test]
    fn f06_what_a_person_must_mend_pauses_the_forge() {
        for (code, window) in [301, 302, 307, 401, 403, 404, 410].into_iter().flat_map(|code| WINDOWS.map(|w| (code, w))) {
            assert!(matches!(error(code, &[], &window, "{}"), ReportError::Paused { .. }), "{code}");
        }
        let text = error(401, &[], &X_RATE_LIMIT, r#"{"message":"Bad credentials"}"#).to_string();
        assert!(text.contains("credentials refused (401) Bad credentials"), "{text}");
    }

    #[test]
    fn trouble_of_the_forge_is_tried_again() {
        let after = |code, headers: &[(&'static str, String)]| {
            let error = error(code, headers, &X_RATE_LIMIT, "<html>");
            let ReportError::Again { after, .. } = error else { panic!("{error:?}") };
            after.map(|after| after.as_secs())
        };
        assert_eq!(after(503, &[("retry-after", "30".into())]), Some(30));
        assert_eq!((after(500, &[]), after(502, &[]), after(200, &[]), after(418, &[])), (None, None, None, None));
    }

    #[test]
    fn words_are_found_in_a_text_in_an_object_and_in_an_error() {
        let said = |body| given(400, &[], body).said();
        assert_eq!(said(r#"{"message":"no"}"#), "no");
        assert_eq!(said(r#"{"message":{"name":["is too long"]}}"#), r#"{"name":["is too long"]}"#);
        assert_eq!(said(r#"{"error":"state is missing"}"#), "state is missing");
        assert_eq!((said("<html>"), said("[]")), (String::new(), String::new()));
    }
}
