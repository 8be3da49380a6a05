//! What people have switched, and what they could do better.

use jiff::Timestamp;

use super::super::waiting::remedy;
use super::Check;
use crate::config::{Config, GitlabHookConfig};
use crate::converge::{AUDIT_HOLD, DISABLED, PINNED, SUSPENDED, until};
use crate::store::Store;

/// Whether enforcement is on, and whether changes are held back.
pub(super) async fn enforcement(config: &Config) -> Vec<Check> {
    let file = config.database.as_path();
    if !file.exists() {
        return Vec::new();
    }
    // Whether the database can be read is told by its own check.
    let Ok(store) = Store::open_read_only(file).await else { return Vec::new() };
    let switches = store.switches().await.unwrap_or_default();
    let failures = store.failures(true).await.unwrap_or_default();
    store.close().await;
    let now = Timestamp::now();
    let held = switches.iter().filter(|switch| switch.until.is_none_or(|until| until > now));
    let check = |switch: &crate::store::Switch| {
        let said = |what: &str| format!("{what} {} by {}: {}", until(switch), switch.who, switch.why);
        match switch.name.as_str() {
            DISABLED => Some(Check::bad("enforcement", said("OFF, nothing is dropped"), "pci-segment resume switches it on again")),
            SUSPENDED => Some(Check::bad("changes", said("suspended"), "pci-segment resume ends that").or_optional()),
            AUDIT_HOLD => Some(Check::bad("changes", said("held by the audit log"), "pci-segment audit verify says what is wrong")),
            PINNED => {
                Some(Check::bad("changes", said("rolled back, newer heads wait"), "pci-segment resume ends that").or_optional())
            }
            _ => None,
        }
    };
    let failed = failures.iter().map(|failure| {
        let since = failure.started.strftime("%Y-%m-%d %H:%M:%S UTC");
        let remedy = remedy(&failure.control).unwrap_or("pci-segment status and the controller's log say more");
        Check::bad(&failure.control, format!("failed since {since}: {}", failure.cause), remedy)
    });
    held.filter_map(check).chain(failed).collect()
}

/// A token proves who speaks, but not what is said.
pub(super) fn gitlab(config: &Config) -> Option<Check> {
    let remedy = "GitLab 19.0 and newer: give the webhook a signing token, and name its file in webhooks.gitlab.signing_token_file";
    Some(match config.webhooks.gitlab.as_ref()? {
        GitlabHookConfig::Signed { .. } => Check::good("gitlab webhook", "signed"),
        GitlabHookConfig::Token { .. } => {
            Check::bad("gitlab webhook", "only a token, which authenticates no body", remedy).or_optional()
        }
    })
}
