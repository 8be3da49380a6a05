//! Signatures over bodies: the four forms, and nothing like them.
//!
//! Exactly one header with exactly its form is looked at; everything else does not hold. Every configured secret is tried without
//! leaving early and compared in constant time, so that time tells neither how much of a value is right nor which secret it is.

use axum::http::{HeaderMap, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::digest::CtOutput;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::delivery::Refusal;
use crate::forge::plain;

pub(crate) const GITHUB: &str = "x-hub-signature-256";
pub(crate) const GITEA: &str = "x-gitea-signature";
pub(crate) const GITLAB: &str = "webhook-signature";
pub(crate) const GITLAB_ID: &str = "webhook-id";
pub(crate) const GITLAB_TIMESTAMP: &str = "webhook-timestamp";
pub(crate) const GITLAB_TOKEN: &str = "x-gitlab-token";

/// How far the time of a signed delivery may be from ours.
const FRESH_SECONDS: u64 = 300;
/// Signatures of one delivery that are tried: the sender signs with each of its keys while it changes them.
const SIGNATURES_MAX: usize = 8;

type Secrets = [Zeroizing<Vec<u8>>];

/// GitHub's: `sha256=` and 64 lower-case digits, HMAC-SHA256 of the body. The line of the secret that matched, from 1.
pub(crate) fn github(headers: &HeaderMap, body: &[u8], secrets: &Secrets) -> Option<usize> {
    let tag = digest(only(headers, GITHUB)?.strip_prefix(b"sha256=")?)?;
    matching(&[body], &[tag], secrets)
}

/// Gitea's and Forgejo's: 64 lower-case digits, HMAC-SHA256 of the body. Empty when the hook has no secret, which is no signature.
pub(crate) fn gitea(headers: &HeaderMap, body: &[u8], secrets: &Secrets) -> Option<usize> {
    let tag = digest(only(headers, GITEA)?)?;
    matching(&[body], &[tag], secrets)
}

/// GitLab's: `v1,` and base64, several with spaces between, HMAC-SHA256 of id, time and body; any one suffices. `now` is in seconds
/// since 1970.
pub(crate) fn gitlab(headers: &HeaderMap, body: &[u8], secrets: &Secrets, now: i64) -> Result<usize, Refusal> {
    let id = only(headers, GITLAB_ID).filter(|id| std::str::from_utf8(id).is_ok_and(plain)).ok_or(Refusal::Malformed)?;
    let timestamp = only(headers, GITLAB_TIMESTAMP).ok_or(Refusal::Malformed)?;
    let time = seconds(timestamp).ok_or(Refusal::Malformed)?;
    let given = only(headers, GITLAB).ok_or(Refusal::Malformed)?;
    let tags: Vec<_> = given.split(|b| *b == b' ').filter_map(version_1).take(SIGNATURES_MAX).collect();
    let line = matching(&[id, b".", timestamp, b".", body], &tags, secrets).ok_or(Refusal::Unauthorised)?;
    if time.abs_diff(now) > FRESH_SECONDS { Err(Refusal::Stale) } else { Ok(line) }
}

/// GitLab's older token: equality. Both sides are hashed first, so that not even their lengths show.
pub(crate) fn gitlab_token(headers: &HeaderMap, secrets: &Secrets) -> Option<usize> {
    let hash = |bytes: &[u8]| CtOutput::<Sha256>::new(Sha256::digest(bytes));
    let given = hash(only(headers, GITLAB_TOKEN)?);
    let mut found = None;
    for (index, secret) in secrets.iter().enumerate() {
        // The comparison is constant-time.
        if hash(secret) == given {
            found = found.or(Some(index + 1));
        }
    }
    found
}

/// The value of a header that is there exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let mut given = headers.get_all(name).iter();
    given.next().filter(|_| given.next().is_none()).map(HeaderValue::as_bytes)
}

/// The HMAC of all parts under a key; none for a key that cannot be one, of which there are none for HMAC.
pub(crate) fn mac(parts: &[&[u8]], key: &[u8]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    parts.iter().for_each(|part| mac.update(part));
    Some(mac)
}

fn matching(parts: &[&[u8]], tags: &[[u8; 32]], secrets: &Secrets) -> Option<usize> {
    let mut found = None;
    for (index, secret) in secrets.iter().enumerate() {
        let Some(mac) = mac(parts, secret) else { continue };
        for tag in tags {
            // The comparison is constant-time.
            if mac.clone().verify_slice(tag).is_ok() {
                found = found.or(Some(index + 1));
            }
        }
    }
    found
}

/// One of GitLab's signatures; other versions are not ours to judge.
fn version_1(text: &[u8]) -> Option<[u8; 32]> {
    STANDARD.decode(text.strip_prefix(b"v1,")?).ok()?.try_into().ok()
}

/// Digits only, and few enough to be a time.
fn seconds(text: &[u8]) -> Option<i64> {
    let digits = !text.is_empty() && text.len() <= 12 && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()
}

/// Exactly 64 lower-case digits.
fn digest(digits: &[u8]) -> Option<[u8; 32]> {
    let mut tag = [0; 32];
    let (pairs, rest) = digits.as_chunks::<2>();
    if pairs.len() != tag.len() || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in tag.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(tag)
}

fn digit(c: u8) -> Option<u8> {
    match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod timing;
