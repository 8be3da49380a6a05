//! The other firewall of this host, if it was used before: it goes once this one is in force, and not before, so that the host is
//! never without. Until then both judge, and only what both allow passes.

use std::path::{Path, PathBuf};

use enforcer::Enforcer;

use super::nftables::firewall::Firewall;
use crate::converge::BackendError;

/// What is still there of it.
#[derive(Debug, Default)]
pub(super) struct Displaced(Option<Other>);

#[derive(Debug, Clone)]
enum Other {
    Pins(PathBuf),
    Table(Firewall),
}

impl Displaced {
    /// Seen from eBPF: our nftables table.
    pub(super) fn table() -> Self {
        // Where there is no nft, nobody has made a table with it.
        let firewall = Firewall::find(&[], true).ok().filter(|firewall| firewall.exists().unwrap_or(false));
        Self(firewall.map(Other::Table))
    }

    /// Seen from nftables: what eBPF has pinned.
    pub(super) fn pins(folder: &Path) -> Self {
        Self(folder.exists().then(|| Other::Pins(folder.to_owned())))
    }

    /// Whether something of it is still there.
    pub(super) fn is_there(&self) -> bool {
        self.0.is_some()
    }

    /// Takes it away.
    ///
    /// # Errors
    /// It is still there; the next call tries again.
    pub(super) async fn clear(&mut self) -> Result<(), BackendError> {
        let Some(other) = self.0.clone() else { return Ok(()) };
        let doing = "the rules are in force, but the firewall used before cannot be removed";
        let failed = |cause: Box<dyn std::error::Error + Send + Sync>| BackendError { doing: doing.to_owned(), cause: Some(cause) };
        let removed = tokio::task::spawn_blocking(move || match other {
            Other::Table(firewall) => firewall.remove().map_err(|error| failed(Box::new(error))),
            Other::Pins(folder) => {
                let pinned = Enforcer::open_existing(&folder);
                let gone = pinned.and_then(|pinned| pinned.map_or(Ok(()), Enforcer::remove_all));
                gone.map_err(|error| failed(Box::new(error)))
            }
        });
        match removed.await {
            Ok(removed) => removed?,
            Err(cause) => return Err(failed(Box::new(cause))),
        }
        self.0 = None;
        Ok(())
    }
}
