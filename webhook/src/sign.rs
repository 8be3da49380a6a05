//! The sender's side: what a forge would send, for testing a hook from this end.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::Mac as _;
use zeroize::Zeroizing;

use crate::forge::Receiver;
use crate::signature::{self, mac};

/// A delivery that is ready to be sent: its headers. One of them may be a secret (GitLab's token), so there is no `Debug`.
pub struct Signed(pub Vec<(&'static str, Zeroizing<String>)>);

/// The headers with which the forge of `receiver` would send this body, signed with the newest secret.
#[must_use]
pub fn sign(receiver: &Receiver, event: &str, id: &str, body: &[u8]) -> Signed {
    let secrets = receiver.secrets().now();
    let key = secrets.first().map(|secret| secret.as_slice()).unwrap_or_default();
    let mut headers: Vec<(&'static str, Zeroizing<String>)> =
        vec![(receiver.event_header(), text(event)), (receiver.id_header(), text(id))];
    match receiver {
        Receiver::Github(_) => headers.push((signature::GITHUB, text(&format!("sha256={}", hex(&tag(&[body], key)))))),
        Receiver::Gitea(_) => headers.push((signature::GITEA, text(&hex(&tag(&[body], key))))),
        Receiver::GitlabToken(_) => headers.push((signature::GITLAB_TOKEN, text(&String::from_utf8_lossy(key)))),
        Receiver::GitlabSigned(_) => {
            let time = now().to_string();
            let tag = tag(&[id.as_bytes(), b".", time.as_bytes(), b".", body], key);
            headers.push((signature::GITLAB_TIMESTAMP, text(&time)));
            headers.push((signature::GITLAB, text(&format!("v1,{}", STANDARD.encode(tag)))));
        }
    }
    Signed(headers)
}

/// The event and the body of a push to `branch` (a full name) that says no more than that; it makes the controller look.
#[must_use]
pub fn push_body(receiver: &Receiver, branch: &str) -> (&'static str, String) {
    let branch = serde_json::Value::from(branch);
    match receiver {
        Receiver::GitlabSigned(_) | Receiver::GitlabToken(_) => {
            ("Push Hook", format!(r#"{{"object_kind":"push","ref":{branch}}}"#))
        }
        Receiver::Github(_) | Receiver::Gitea(_) => ("push", format!(r#"{{"ref":{branch}}}"#)),
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).ok().and_then(|since| i64::try_from(since.as_secs()).ok()).unwrap_or_default()
}

fn tag(parts: &[&[u8]], key: &[u8]) -> Vec<u8> {
    mac(parts, key).map(|mac| mac.finalize().into_bytes().to_vec()).unwrap_or_default()
}

fn text(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.to_owned())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
