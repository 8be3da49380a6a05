//! Whether the audit log can be signed, and whether its anchors answer.

use super::Check;
use crate::anchor::Ours;
use crate::config::Config;
use crate::run::keeper::{SinkSaid, ask_anchors, known_keys};
use crate::store::Store;
use crate::{chain::chain, signing};

/// The key, and each anchor.
pub(super) async fn checks(config: &Config) -> Vec<Check> {
    let keys = match Store::open_read_only(config.database.as_path()).await {
        Ok(store) => {
            let keys = known_keys(&store).await.unwrap_or_default();
            store.close().await;
            keys
        }
        Err(_) => Vec::new(),
    };
    let mut checks = vec![key(config, !keys.is_empty())];
    match ask_anchors(config, Ours { keys, ..Ours::default() }).await {
        Ok(said) => checks.extend(said.into_iter().map(anchor)),
        Err(error) => checks.push(Check::bad("anchors", chain(error.as_ref()), "mend audit.anchors")),
    }
    if config.audit.anchors.is_empty() {
        let remedy = "name places in audit.anchors; without one nobody can tell that the end of the log is missing";
        checks.push(Check::bad("anchors", "none configured", remedy).or_optional());
    }
    checks
}

fn key(config: &Config, known: bool) -> Check {
    let file = config.signing_key_file();
    let remedy = "put the key back, owned by the controller's user and with mode 0600";
    match signing::read(&file) {
        Ok(Some(_)) => Check::good("audit key", file.display().to_string()),
        Ok(None) if known => Check::bad("audit key", format!("{} is gone", file.display()), remedy),
        Ok(None) => Check::good("audit key", format!("{} is made at the first start", file.display())),
        Err(error) => Check::bad("audit key", chain(&error), remedy),
    }
}

fn anchor(SinkSaid { name, said }: SinkSaid) -> Check {
    let label = format!("anchor {name}");
    match said {
        Ok(Some(found)) => Check::good(&label, format!("has {} rows of this log", found.note.checkpoint.size)),
        Ok(None) if name.starts_with("syslog:") => Check::good(&label, "gives nothing back; whether it takes notes, status tells"),
        Ok(None) => Check::good(&label, "answers, and has nothing of this log yet"),
        Err(error) => Check::bad(&label, error.to_string(), "check its path or address, and the rights of this user").or_optional(),
    }
}
