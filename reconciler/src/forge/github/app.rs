//! Being a GitHub App: who holds its private key signs a claim that lasts minutes, and gets a token for it that lasts an hour.
//!
//! The token is asked for one repository and for no more than we do with it. It is kept in memory, renewed before it ends, and thrown
//! away when GitHub no longer takes it. The key is read from its file each time, so that a new one counts at the next renewal.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use reqwest::header::HeaderValue;
use rustls::SignatureScheme;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Mutex;

use super::super::answer::{X_RATE_LIMIT, reason, refused};
use super::super::api::{ANSWER_BYTES_MAX, Api, bearer};
use super::headers;
use crate::chain::chain;
use crate::converge::ReportError;
use crate::secret::Secret;

/// GitHub takes claims of ten minutes at most; ours begin a minute ago, because clocks differ.
const CLAIM: SignedDuration = SignedDuration::from_mins(9);
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_mins(1);
/// So long before its end a token is no longer used.
const RENEWED_BEFORE: SignedDuration = SignedDuration::from_mins(5);

/// Which App we are, and where it is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Number of the App.
    pub app_id: u64,
    /// Number of its installation in the repository's account.
    pub installation_id: u64,
}

/// The App and the token it has now.
pub(super) struct App {
    pub(super) identity: Identity,
    token: Mutex<Option<(Secret, Timestamp)>>,
}

#[derive(Deserialize)]
struct Granted {
    token: String,
    expires_at: Timestamp,
}

impl App {
    pub(super) fn new(identity: Identity) -> Self {
        Self { identity, token: Mutex::new(None) }
    }

    /// The header that opens the repository. `refused` is a header that GitHub did not take: it is never given again.
    pub(super) async fn credential(
        &self,
        api: &Api,
        repository: &str,
        refused: Option<&HeaderValue>,
        now: Timestamp,
    ) -> Result<HeaderValue, ReportError> {
        let mut token = self.token.lock().await;
        if let Some((secret, until)) = token.as_ref()
            && now < *until
        {
            let known = bearer(secret.expose())?;
            if refused != Some(&known) {
                return Ok(known);
            }
        }
        *token = None;
        let granted = self.ask(api, repository, now).await?;
        let secret = Secret::new(granted.token);
        let header = bearer(secret.expose())?;
        *token = Some((secret, granted.expires_at - RENEWED_BEFORE));
        Ok(header)
    }

    async fn ask(&self, api: &Api, repository: &str, now: Timestamp) -> Result<Granted, ReportError> {
        let paused = |reason: String| ReportError::Paused { reason };
        let key = Secret::read_text(api.secret_file()).map_err(|error| paused(chain(&error)))?;
        let claim = claim(&key, self.identity.app_id, now)
            .map_err(|problem| paused(format!("status.github_app.private_key_file {problem}")))?;
        let installation = self.identity.installation_id.to_string();
        let name = repository.rsplit('/').next().unwrap_or(repository);
        let wanted = json!({ "repositories": [name], "permissions": { "checks": "write", "pull_requests": "write" } });
        let request = api.call(Method::POST, &["app", "installations", &installation, "access_tokens"]);
        let request = headers(request, bearer(claim.expose())?).json(&wanted);
        let answer = api.answer(request, ANSWER_BYTES_MAX).await?;
        match answer.code {
            201 => answer.read("the App's token"),
            422 => Err(paused(reason("the App lacks `checks: write` or `pull_requests: write`, or the repository", &answer))),
            _ => Err(refused(&answer, &X_RATE_LIMIT, std::time::SystemTime::now())),
        }
    }
}

/// A JSON web token (RFC 7519) signed with RS256, which is what GitHub asks for.
fn claim(key: &Secret, app_id: u64, now: Timestamp) -> Result<Secret, String> {
    let der = PrivateKeyDer::from_pem_slice(key.expose().as_bytes()).map_err(|_| "holds no private key in PEM form".to_owned())?;
    let key = any_supported_type(&der).map_err(|_| "holds a key that cannot be used; GitHub gives RSA keys".to_owned())?;
    let signer = key.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256]).ok_or("holds no RSA key; GitHub gives RSA keys")?;
    let (from, until) = (now - CLOCKS_DIFFER, now + CLAIM);
    let claims = json!({ "iat": from.as_second(), "exp": until.as_second(), "iss": app_id.to_string() });
    let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&json!({ "alg": "RS256", "typ": "JWT" })), part(&claims));
    let signature = signer.sign(signed.as_bytes()).map_err(|_| "could not sign".to_owned())?;
    Ok(Secret::new(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))))
}
