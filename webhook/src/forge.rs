//! What differs from forge to forge: the route, the names of headers, the form of the signature, the words for events.

use std::borrow::Cow;

use axum::http::HeaderMap;
use sha2::{Digest, Sha256};

use crate::delivery::{Delivery, Meaning, Refusal};
use crate::secrets::Secrets;
use crate::{gitea, github, gitlab, signature};

/// Longest header value we keep; ids have some 36 characters and events fewer.
const WORD_BYTES_MAX: usize = 100;

/// A receiver, with the secrets its forge knows.
#[derive(Clone)]
pub enum Receiver {
    /// `POST /webhooks/github`, HMAC over the body.
    Github(Secrets),
    /// `POST /webhooks/gitlab`, HMAC over id, time and body (GitLab 19.0 on). A token alone is not taken here.
    GitlabSigned(Secrets),
    /// `POST /webhooks/gitlab`, a token that says who sends but authenticates no body (older GitLab).
    GitlabToken(Secrets),
    /// `POST /webhooks/gitea`, HMAC over the body; Gitea and Forgejo.
    Gitea(Secrets),
}

impl Receiver {
    /// The forge, as in the route and in [`Delivery::forge`].
    #[must_use]
    pub fn forge(&self) -> &'static str {
        match self {
            Self::Github(_) => "github",
            Self::GitlabSigned(_) | Self::GitlabToken(_) => "gitlab",
            Self::Gitea(_) => "gitea",
        }
    }

    /// Its secrets.
    #[must_use]
    pub fn secrets(&self) -> &Secrets {
        match self {
            Self::Github(secrets) | Self::GitlabSigned(secrets) | Self::GitlabToken(secrets) | Self::Gitea(secrets) => secrets,
        }
    }

    pub(crate) fn route(&self) -> &'static str {
        match self {
            Self::Github(_) => "/webhooks/github",
            Self::GitlabSigned(_) | Self::GitlabToken(_) => "/webhooks/gitlab",
            Self::Gitea(_) => "/webhooks/gitea",
        }
    }

    /// The line of the secret that signed this request, from 1. `now` is in seconds since 1970.
    pub(crate) fn verify(&self, headers: &HeaderMap, body: &[u8], now: i64) -> Result<usize, Refusal> {
        let secrets = self.secrets().now();
        match self {
            Self::Github(_) => signature::github(headers, body, &secrets).ok_or(Refusal::Unauthorised),
            Self::GitlabSigned(_) => signature::gitlab(headers, body, &secrets, now),
            Self::GitlabToken(_) => signature::gitlab_token(headers, &secrets).ok_or(Refusal::Unauthorised),
            Self::Gitea(_) => signature::gitea(headers, body, &secrets).ok_or(Refusal::Unauthorised),
        }
    }

    /// What an authentic request says. `branch` is the full name of our ref.
    pub(crate) fn delivery(&self, headers: &HeaderMap, body: &[u8], secret_line: usize, branch: &str) -> Delivery {
        let event = words(headers, self.event_header()).unwrap_or_default();
        let body_digest: [u8; 32] = Sha256::digest(body).into();
        let id = word(headers, self.id_header()).unwrap_or_else(|| {
            let digest = Sha256::new_with_prefix(&*event).chain_update([0]).chain_update(body_digest).finalize();
            digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
        });
        let meaning = self.meaning(&event, body, branch);
        Delivery { forge: self.forge(), meaning, id: id.into_owned(), event: event.into_owned(), body_digest, secret_line }
    }

    fn meaning(&self, event: &str, body: &[u8], branch: &str) -> Meaning {
        match self {
            _ if event.is_empty() => Meaning::Ignored { reason: "no header names the event" },
            Self::Github(_) => github::meaning(event, body, branch),
            Self::GitlabSigned(_) | Self::GitlabToken(_) => gitlab::meaning(event, body, branch),
            Self::Gitea(_) => gitea::meaning(event, body, branch),
        }
    }

    pub(crate) fn event_header(&self) -> &'static str {
        match self {
            Self::Github(_) => "x-github-event",
            Self::GitlabSigned(_) | Self::GitlabToken(_) => "x-gitlab-event",
            Self::Gitea(_) => "x-gitea-event",
        }
    }

    /// Where the id of a delivery stands. GitLab's `X-Gitlab-Event-UUID` is not one: hooks that set each other off share it.
    pub(crate) fn id_header(&self) -> &'static str {
        match self {
            Self::Github(_) => "x-github-delivery",
            Self::GitlabSigned(_) => signature::GITLAB_ID,
            Self::GitlabToken(_) => "idempotency-key",
            Self::Gitea(_) => "x-gitea-delivery",
        }
    }
}

/// An event's name: plain words; GitLab's have spaces between. Anything else counts as missing.
fn words<'a>(headers: &'a HeaderMap, name: &str) -> Option<Cow<'a, str>> {
    let text = headers.get(name)?.to_str().ok()?;
    (text.len() <= WORD_BYTES_MAX && text.split(' ').all(plain)).then(|| text.into())
}

/// An id; anything that is not one plain word counts as missing.
fn word<'a>(headers: &'a HeaderMap, name: &str) -> Option<Cow<'a, str>> {
    headers.get(name)?.to_str().ok().filter(|text| plain(text)).map(Cow::from)
}

/// Whether a text is one short word of characters that mean nothing to anybody.
pub(crate) fn plain(text: &str) -> bool {
    let known = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    known && !text.is_empty() && text.len() <= WORD_BYTES_MAX
}
