//! `status:`, where verdicts are reported, as people write it.

use std::path::PathBuf;

use serde::Deserialize;

use super::types::RepositorySlug;

/// Which forge gets commit statuses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ForgeName {
    /// Nobody is told.
    #[default]
    None,
    /// GitHub or GitHub Enterprise.
    Github,
    /// GitLab, theirs or one's own.
    Gitlab,
    /// Gitea or Forgejo.
    Gitea,
}

/// `status:`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusConfig {
    /// Which forge.
    #[serde(default)]
    pub forge: ForgeName,
    /// Root of its API; see [`StatusConfig::api_url`].
    pub api_url: Option<String>,
    /// `owner/name`; on GitLab groups may be nested.
    pub repository: Option<RepositorySlug>,
    /// File that holds the token.
    pub token_file: Option<PathBuf>,
    /// The GitHub App that reports, in place of a token.
    pub github_app: Option<GithubAppConfig>,
    /// The name under which the verdict is filed.
    #[serde(default = "default_context")]
    pub context: String,
    /// Whether a pull or merge request gets a comment with findings and plan. It shows addresses: think of it on public repositories.
    #[serde(default = "yes")]
    pub comment: bool,
}

/// `status.github_app:`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GithubAppConfig {
    /// Number of the App.
    pub app_id: u64,
    /// Number of its installation.
    pub installation_id: u64,
    /// File that holds its private key, as GitHub gives it.
    pub private_key_file: PathBuf,
}

impl Default for StatusConfig {
    fn default() -> Self {
        Self {
            forge: ForgeName::None,
            api_url: None,
            repository: None,
            token_file: None,
            github_app: None,
            context: default_context(),
            comment: true,
        }
    }
}

impl StatusConfig {
    /// The root of the forge's API: configured, else that of its maker's service. Gitea has none: whose address was meant is not
    /// guessed, since it gets the token.
    #[must_use]
    pub fn api_url(&self) -> Option<&str> {
        let theirs = match self.forge {
            ForgeName::Github => Some("https://api.github.com"),
            ForgeName::Gitlab => Some("https://gitlab.com/api/v4"),
            ForgeName::Gitea | ForgeName::None => None,
        };
        self.api_url.as_deref().or(theirs)
    }

    /// Whether a forge is named together with all it needs.
    pub(super) fn check(&self) -> Result<(), String> {
        let nested = self.forge == ForgeName::Gitlab;
        if self.forge == ForgeName::None {
            return Ok(());
        }
        match &self.repository {
            None => return Err("status.repository is needed with a forge: write owner/name".to_owned()),
            Some(repository) if !nested && repository.as_str().matches('/').count() != 1 => {
                return Err(format!("status.repository is `{}`; write owner/name", repository.as_str()));
            }
            Some(_) => {}
        }
        match (&self.token_file, &self.github_app) {
            (None, None) => return Err("status.token_file is needed with a forge".to_owned()),
            (Some(_), Some(_)) => return Err("status has a token_file and a github_app; keep one".to_owned()),
            (None, Some(_)) if self.forge != ForgeName::Github => {
                return Err("status.github_app is for forge: github; the others need status.token_file".to_owned());
            }
            (Some(_), None) | (None, Some(_)) => {}
        }
        if self.api_url().is_none() {
            return Err("status.api_url is needed with gitea: write https://HOST/api/v1".to_owned());
        }
        Ok(())
    }
}

const fn yes() -> bool {
    true
}

fn default_context() -> String {
    "pci-segment/policy".to_owned()
}
