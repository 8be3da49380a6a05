//! Where commit statuses and comments go, and where approvals are read.
//!
//! A forge delivers one status or comment and says what happens next if it cannot. It keeps no queue, no budget and no memory of what was
//! sent; those live with the outbox. What the three have in common is here: `api` speaks HTTP, `answer` says what a refusal
//! means, `comment` how the one comment of a request is found, `review` which of a person's reviews counts. Each forge's own module
//! holds its calls, its fields and the codes that only it gives a meaning of their own.

mod answer;
mod api;
mod comment;
pub mod gitea;
pub mod github;
pub mod gitlab;
mod review;
pub mod silent;

use std::path::PathBuf;
use std::sync::Arc;

use crate::metrics::Calls;

/// Where statuses go and how we prove who we are.
#[derive(Debug, Clone)]
pub struct ForgeConfig {
    /// The root of the API: `https://api.github.com`, `https://HOST/api/v3` (GitHub Enterprise), `https://HOST/api/v4` (GitLab),
    /// `https://HOST/api/v1` (Gitea, Forgejo).
    pub api_url: String,
    /// `owner/name`; on GitLab groups may be nested.
    pub repository: String,
    /// The file that holds a token that may write commit statuses, or the private key of an App.
    pub token_file: PathBuf,
    /// The branch that is followed, without `refs/heads/`; requests merged into another approve nothing of it.
    pub branch: Option<String>,
    /// Where calls are counted.
    pub calls: Arc<Calls>,
}

/// A setting that cannot be used. The start is refused.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct ConfigError {
    /// The setting, as written in the configuration file.
    pub key: &'static str,
    /// What is wrong and what to write instead.
    pub problem: String,
}

fn wrong(key: &'static str, problem: impl Into<String>) -> ConfigError {
    ConfigError { key, problem: problem.into() }
}

/// The parts of `status.repository`, exactly two unless groups may be nested.
fn repository_parts(repository: &str, nested: bool) -> Result<Vec<&str>, ConfigError> {
    let name = |part: &&str| {
        let plain = part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        plain && !part.is_empty() && *part != "." && *part != ".."
    };
    let parts: Vec<&str> = repository.split('/').collect();
    let enough = if nested { parts.len() >= 2 } else { parts.len() == 2 };
    if enough && parts.iter().all(name) {
        return Ok(parts);
    }
    let example = if nested { "group/name or group/subgroup/name" } else { "owner/name" };
    Err(wrong("status.repository", format!("must be {example}, like acme/segmentation")))
}

/// One line of at most `bytes_max` bytes of UTF-8, cut at a character with `…`. No forge counts higher than bytes.
fn cut(text: &str, bytes_max: usize) -> String {
    const MARK: &str = "…";
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.len() <= bytes_max {
        return line;
    }
    let room = bytes_max.saturating_sub(MARK.len());
    let end = (0..=room).rev().find(|end| line.is_char_boundary(*end)).unwrap_or(0);
    format!("{}{MARK}", line.get(..end).unwrap_or_default().trim_end())
}

#[cfg(test)]
mod tests {
    use super::{cut, repository_parts};

    #[test]
    fn f04_a_long_text_is_cut_at_a_character_within_the_limit() {
        assert_eq!(cut("short\nline", 140), "short line");
        for bytes_max in [140, 255] {
            assert_eq!(cut(&"a".repeat(bytes_max), bytes_max), "a".repeat(bytes_max));
            for letter in ["a", "ß", "政", "🦀"] {
                let text = cut(&letter.repeat(300), bytes_max);
                assert!(text.len() <= bytes_max && text.len() > bytes_max - 10 && text.ends_with('…'), "{letter}");
            }
        }
    }

    #[test]
    fn a_repository_that_would_leave_the_path_is_refused() {
        assert_eq!(repository_parts("acme/seg.ment", false).unwrap(), ["acme", "seg.ment"]);
        assert_eq!(repository_parts("acme/net/pci", true).unwrap(), ["acme", "net", "pci"]);
        for repository in ["a", "../b", "a/..", "a/b?x", "a /b", "/b", "a//b", "a%2fb/c"] {
            for nested in [false, true] {
                let refusal = repository_parts(repository, nested).unwrap_err().to_string();
                assert!(refusal.starts_with("status.repository"), "{repository}");
            }
        }
        assert!(repository_parts("a/b/c", false).is_err());
    }
}
