//! The secrets of the webhook receivers: read at the start, and read again while the controller runs.
//!
//! A secret file is compared by its content, because secrets that are mounted into a container change by a link and keep their time. A
//! file that cannot be used any more changes nothing: the secrets before it stay, and the log says so once.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use webhook::{Receiver, Secrets};
use zeroize::Zeroizing;

use crate::audit::{AuditEvent, Draft, Ended, kind};
use crate::config::{GitlabHookConfig, WebhooksConfig};
use crate::metrics::Hooks;
use crate::store::Store;

/// How soon a changed file is seen.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often there is a row about refused deliveries, if there were any.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// One secret file: whose it is, and what stands there.
pub(super) type Kept = (Receiver, PathBuf);

/// The receivers of a configuration, each with its file.
pub(super) fn receivers(config: &WebhooksConfig) -> anyhow::Result<Vec<Kept>> {
    let all = ["github", "gitlab", "gitea"].map(|forge| receiver(config, forge));
    all.into_iter().filter_map(Result::transpose).collect()
}

/// The receiver of one forge and its file, if it is configured.
///
/// # Errors
/// Its file cannot be read, or holds no usable secrets.
pub fn receiver(config: &WebhooksConfig, forge: &str) -> anyhow::Result<Option<(Receiver, PathBuf)>> {
    type Make = fn(Secrets) -> Receiver;
    let (file, key, make): (_, _, Make) = match (forge, &config.gitlab) {
        ("github", _) => (config.github.as_ref().map(|hook| &hook.secret_file), "github.secret_file", Receiver::Github),
        ("gitea", _) => (config.gitea.as_ref().map(|hook| &hook.secret_file), "gitea.secret_file", Receiver::Gitea),
        ("gitlab", Some(GitlabHookConfig::Signed { signing_token_file })) => {
            (Some(signing_token_file), "gitlab.signing_token_file", Receiver::GitlabSigned)
        }
        ("gitlab", Some(GitlabHookConfig::Token { token_file })) => (Some(token_file), "gitlab.token_file", Receiver::GitlabToken),
        _ => return Ok(None),
    };
    let Some(file) = file else { return Ok(None) };
    let text = read(file).with_context(|| format!("webhooks.{key}: cannot read {}", file.display()))?;
    let parse = if key == "gitlab.signing_token_file" { Secrets::parse_signing } else { Secrets::parse };
    let secrets = parse(&text).with_context(|| format!("webhooks.{key}: {}", file.display()))?;
    Ok(Some((make(secrets), file.clone())))
}

fn read(file: &Path) -> std::io::Result<Zeroizing<String>> {
    std::fs::read_to_string(file).map(Zeroizing::new)
}

/// Keeps secrets as their files are, and refused deliveries on record.
pub(super) struct Watch {
    pub(super) receivers: Vec<Kept>,
    pub(super) hooks: Arc<Hooks>,
    pub(super) store: Store,
    pub(super) origin: String,
}

impl Watch {
    /// Until told to stop.
    pub(super) async fn keep(self, stop: CancellationToken) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        let mut tells = tokio::time::interval_at(tokio::time::Instant::now() + TELL_EVERY, TELL_EVERY);
        let mut wrong = vec![false; self.receivers.len()];
        loop {
            tokio::select! {
                () = stop.cancelled() => return self.tell().await,
                _ = looks.tick() => {
                    for ((receiver, file), wrong) in self.receivers.iter().zip(&mut wrong) {
                        renew(receiver, file, wrong);
                    }
                }
                _ = tells.tick() => self.tell().await,
            }
        }
    }

    /// One row for all that was refused since the last.
    async fn tell(&self) {
        let refused = self.hooks.take_refused();
        if refused.is_empty() {
            return;
        }
        let rows: Vec<_> =
            refused.iter().map(|((forge, why), count)| serde_json::json!({ "forge": forge, "why": why, "count": count })).collect();
        let draft = Draft {
            kind: kind::WEBHOOK_REFUSED,
            actor: "system",
            origin: &self.origin,
            object: "webhooks",
            outcome: Ended::Done,
            payload: serde_json::json!({ "refused": rows }),
            ..Draft::at(Timestamp::now())
        };
        let written = match AuditEvent::new(draft) {
            Ok(event) => self.store.append(event).await.map(drop).map_err(|error| crate::chain::chain(&error)),
            Err(error) => Err(crate::chain::chain(&error)),
        };
        if let Err(error) = written {
            tracing::error!("refused webhook deliveries are not on record: {error}");
        }
    }
}

/// Takes what the file says now; `wrong` tells whether it could not be used when it was looked at last.
fn renew(receiver: &Receiver, file: &Path, wrong: &mut bool) {
    let read = read(file).map_err(|error| error.to_string());
    let renewed = read.and_then(|text| receiver.secrets().replace(&text).map_err(|error| error.to_string()));
    if let (Err(reason), false) = (&renewed, *wrong) {
        tracing::error!(file = %file.display(), "the webhook secrets before stay in use: {reason}");
    }
    *wrong = renewed.is_err();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(yaml: &str) -> WebhooksConfig {
        serde_saphyr::from_str(yaml).unwrap()
    }

    #[test]
    fn w03_a_receiver_without_usable_secrets_names_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        let at = file.display();
        let refusal = |yaml: &str| format!("{:#}", receivers(&config(yaml)).err().unwrap());
        let gitea = format!("gitea: {{ secret_file: {at} }}");
        assert!(refusal(&gitea).contains("webhooks.gitea.secret_file: cannot read"));
        std::fs::write(&file, "fifteen bytes..").unwrap();
        assert!(refusal(&gitea).contains("line 1 is shorter than 16 bytes"));
        std::fs::write(&file, "sixteen bytes...").unwrap();
        assert!(receivers(&config(&gitea)).is_ok());
        let signed = refusal(&format!("gitlab: {{ signing_token_file: {at} }}"));
        assert!(signed.contains("webhooks.gitlab.signing_token_file") && signed.contains("whsec_"), "{signed}");
        assert!(!signed.contains("sixteen"), "the secret is in no error");
    }

    #[test]
    fn w17_a_file_that_cannot_be_used_any_more_leaves_the_secrets_before() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, "the secret before").unwrap();
        let yaml = format!("github: {{ secret_file: {} }}", file.display());
        let (receiver, file) = receivers(&config(&yaml)).unwrap().remove(0);
        let (body, mut wrong) = (b"{}", false);
        let signature = || webhook::sign(&receiver, "push", "id", body).0.remove(2).1;
        let before = signature();
        std::fs::write(&file, "short").unwrap();
        renew(&receiver, &file, &mut wrong);
        assert!(wrong && signature() == before);
        std::fs::remove_file(&file).unwrap();
        renew(&receiver, &file, &mut wrong);
        assert!(wrong && signature() == before);
        std::fs::write(&file, "another secret of 27 bytes!\nthe secret before").unwrap();
        renew(&receiver, &file, &mut wrong);
        assert!(!wrong && signature() != before);
    }
}
