//! `webhooks:` and `tls:`: how forges reach this controller.

use std::path::PathBuf;

use serde::Deserialize;
use webhook::{BODY_BYTES_MAX, Proxies};

const MIB: usize = 1024 * 1024;
/// What GitHub itself sends at most.
const BODY_MIB_MAX: u8 = 25;

/// `webhooks:`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhooksConfig {
    /// `POST /webhooks/github`.
    pub github: Option<WebhookSecretConfig>,
    /// `POST /webhooks/gitlab`.
    pub gitlab: Option<GitlabHookConfig>,
    /// `POST /webhooks/gitea`, Gitea and Forgejo.
    pub gitea: Option<WebhookSecretConfig>,
    /// Largest body.
    #[serde(default)]
    pub body_mib: BodyMib,
    /// Whose `X-Forwarded-For` is believed.
    #[serde(default)]
    pub trusted_proxies: TrustedProxies,
}

/// `tls:` of the HTTP door.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The certificate and those that vouch for it, PEM.
    pub cert_file: PathBuf,
    /// Its private key, PEM.
    pub key_file: PathBuf,
}

/// One receiver's secrets.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookSecretConfig {
    /// File with one to three secrets, one a line, newest first.
    pub secret_file: PathBuf,
}

/// GitLab's: the signed form, or the older token.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "GitlabHookText")]
pub enum GitlabHookConfig {
    /// File with one to three signing tokens (`whsec_…`). A token alone is refused, also where its file is named.
    Signed {
        /// The file.
        signing_token_file: PathBuf,
    },
    /// File with one to three tokens. A token authenticates no body.
    Token {
        /// The file.
        token_file: PathBuf,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GitlabHookText {
    token_file: Option<PathBuf>,
    signing_token_file: Option<PathBuf>,
}

impl TryFrom<GitlabHookText> for GitlabHookConfig {
    type Error = String;

    fn try_from(text: GitlabHookText) -> Result<Self, String> {
        match text {
            GitlabHookText { signing_token_file: Some(signing_token_file), .. } => Ok(Self::Signed { signing_token_file }),
            GitlabHookText { token_file: Some(token_file), .. } => Ok(Self::Token { token_file }),
            GitlabHookText { .. } => {
                Err("webhooks.gitlab needs signing_token_file (GitLab 19.0 on), or token_file for an older GitLab".to_owned())
            }
        }
    }
}

/// A size of 1 to 25 MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u64")]
pub struct BodyMib(usize);

impl BodyMib {
    /// In bytes.
    #[must_use]
    pub fn bytes(self) -> usize {
        self.0
    }
}

impl Default for BodyMib {
    fn default() -> Self {
        Self(BODY_BYTES_MAX)
    }
}

impl TryFrom<u64> for BodyMib {
    type Error = String;

    fn try_from(number: u64) -> Result<Self, String> {
        let within = u8::try_from(number).ok().filter(|number| (1..=BODY_MIB_MAX).contains(number));
        within
            .map(|number| Self(usize::from(number) * MIB))
            .ok_or_else(|| format!("webhooks.body_mib is {number}; write 1 to {BODY_MIB_MAX}: a forge sends no more"))
    }
}

/// Addresses and blocks of proxies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct TrustedProxies(Proxies);

impl TrustedProxies {
    /// As the receivers know them.
    #[must_use]
    pub fn get(&self) -> &Proxies {
        &self.0
    }
}

impl TryFrom<Vec<String>> for TrustedProxies {
    type Error = String;

    fn try_from(texts: Vec<String>) -> Result<Self, String> {
        Proxies::parse(&texts).map(Self).map_err(|error| format!("webhooks.trusted_proxies: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    fn parse(hooks: &str) -> Result<WebhooksConfig, String> {
        let text = format!("source: {{url: file:///p}}\nwebhooks:\n{hooks}\n");
        Config::parse(&text, Path::new("c.yaml")).map(|config| config.webhooks).map_err(|error| error.to_string())
    }

    #[test]
    fn every_forge_has_a_receiver_of_its_own() {
        let hooks =
            parse("  github: {secret_file: /a}\n  gitlab: {token_file: /b, signing_token_file: /c}\n  gitea: {secret_file: /d}")
                .unwrap();
        assert!(hooks.github.is_some() && hooks.gitea.is_some());
        assert_eq!(hooks.gitlab, Some(GitlabHookConfig::Signed { signing_token_file: "/c".into() }));
        assert_eq!(hooks.body_mib.bytes(), BODY_BYTES_MAX);
        let older = parse("  gitlab: {token_file: /b}").unwrap().gitlab;
        assert_eq!(older, Some(GitlabHookConfig::Token { token_file: "/b".into() }));
    }

    #[test]
    fn tls_needs_both_files() {
        let parse = |tls: &str| {
            let text = format!("source: {{url: file:///p}}\ntls: {tls}\n");
            Config::parse(&text, Path::new("c.yaml")).map_err(|error| error.to_string())
        };
        assert!(parse("{cert_file: /c, key_file: /k}").unwrap().tls.is_some());
        let error = parse("{cert_file: /c}").unwrap_err();
        assert!(error.starts_with("c.yaml:2:") && error.contains("key_file"), "{error}");
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_its_line() {
        for (text, place, reason) in [
            ("  gitlab: {}", "c.yaml:3:", "signing_token_file"),
            ("  github: {secret_file: /a}\n  body_mib: 26", "c.yaml:4:", "1 to 25"),
            ("  body_mib: 0", "c.yaml:3:", "1 to 25"),
            ("  trusted_proxies: [proxy.example]", "c.yaml:3:", "10.0.9.4"),
            ("  trusted_proxies: [0.0.0.0/0]", "c.yaml:3:", "everybody"),
            ("  gitlab: {secret_file: /a}", "c.yaml:3:", "secret_file"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(place) && error.contains(reason), "{text}: {error}");
        }
        assert_eq!(parse("  body_mib: 25").unwrap().body_mib.bytes(), 25 * MIB);
        assert!(parse("  trusted_proxies: [10.0.9.4, \"2001:db8::/64\"]").is_ok());
    }
}
