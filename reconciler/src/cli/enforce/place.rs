//! Where rules are in force, and whether some were before: what is undone when the command ends.

use std::path::PathBuf;

use anyhow::Context as _;
use enforcer::Enforcer;

use crate::backend::nftables::firewall as nftables;

/// Below which pins, or in which table; true if rules were in force there before.
pub(super) enum Place {
    Pins(PathBuf, bool),
    Table(nftables::Firewall, bool),
}

impl Place {
    pub(super) fn was_guarded(&self) -> bool {
        match self {
            Self::Pins(_, guarded) | Self::Table(_, guarded) => *guarded,
        }
    }

    /// What somebody types to undo it.
    pub(super) fn undo(&self) -> String {
        match self {
            Self::Pins(pins, _) => format!("pci-segment rescue detach --pins {}", pins.display()),
            Self::Table(..) => "nft delete table inet pci_segment".to_owned(),
        }
    }

    /// Nothing is filtered by this command afterwards.
    pub(super) fn remove(&self) -> anyhow::Result<()> {
        let removed = match self {
            Self::Pins(pins, _) => {
                let removed = Enforcer::open_existing(pins).and_then(|pinned| pinned.map_or(Ok(()), Enforcer::remove_all));
                removed.map_err(anyhow::Error::from)
            }
            Self::Table(firewall, _) => firewall.remove().map_err(anyhow::Error::from),
        };
        removed.with_context(|| format!("the rules may still be in force; remove them with: {}", self.undo()))
    }
}
