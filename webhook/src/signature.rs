//! Signatures over bodies.

use axum::http::{HeaderMap, HeaderName};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

const GITHUB: HeaderName = HeaderName::from_static("x-hub-signature-256");

/// Checks GitHub's signature: exactly one header, `sha256=` and 64 lower-case digits, HMAC-SHA256 of the body. Returns the line of
/// the secret that matched, from 1.
pub(crate) fn github(headers: &HeaderMap, body: &[u8], secrets: &[Zeroizing<Vec<u8>>]) -> Option<usize> {
    let mut given = headers.get_all(GITHUB).iter();
    let only = given.next().filter(|_| given.next().is_none())?;
    let tag = digest(only.as_bytes().strip_prefix(b"sha256=")?)?;
    matching(body, &tag, secrets)
}

/// Every secret is tried, without leaving early, so that time does not tell which one matched.
fn matching(body: &[u8], tag: &[u8; 32], secrets: &[Zeroizing<Vec<u8>>]) -> Option<usize> {
    let mut found = None;
    for (index, secret) in secrets.iter().enumerate() {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else {
            continue;
        };
        mac.update(body);
        // The comparison is constant-time.
        if mac.verify_slice(tag).is_ok() {
            found = found.or(Some(index + 1));
        }
    }
    found
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
mod tests {
    use super::*;

    /// Published by GitHub in "Validating webhook deliveries".
    const PUBLISHED: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    fn check(values: &[&str], secrets: &[&str]) -> Option<usize> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(GITHUB, value.parse().unwrap());
        }
        let secrets: Vec<_> = secrets.iter().map(|secret| Zeroizing::new(secret.as_bytes().to_vec())).collect();
        github(&headers, b"Hello, World!", &secrets)
    }

    #[test]
    fn the_published_vector_holds_and_names_its_line() {
        assert_eq!(check(&[PUBLISHED], &["It's a Secret to Everybody"]), Some(1));
        assert_eq!(check(&[PUBLISHED], &["another secret", "It's a Secret to Everybody"]), Some(2));
    }

    #[test]
    fn w01_w02_any_other_form_is_refused() {
        let secrets = ["It's a Secret to Everybody"];
        assert_eq!(check(&[], &secrets), None);
        assert_eq!(check(&[PUBLISHED, PUBLISHED], &secrets), None);
        assert_eq!(check(&[PUBLISHED], &["It's a Secret to Nobody at all"]), None);
        let bare = PUBLISHED.strip_prefix("sha256=").unwrap();
        let upper = format!("sha256={}", bare.to_uppercase());
        let wrong = format!("sha256=8{}", &bare[1..]);
        for value in [bare, &upper, &wrong, &PUBLISHED[..70], &format!("{PUBLISHED}0"), &format!("{PUBLISHED},{PUBLISHED}")] {
            assert_eq!(check(&[value], &secrets), None, "{value}");
        }
    }
}
