//! What enforces rules. Each backend maps the core's words to its library's, and nothing else.

#[cfg(feature = "aws")]
pub mod aws;
#[cfg(feature = "azure")]
pub mod azure;
pub mod choice;
pub mod cloud;
mod displaced;
pub mod ebpf;
mod host;
pub mod nftables;

use std::collections::BTreeMap;
use std::time::Duration;

use enforcer::FailsafeEntry;

use crate::converge::BackendError;

/// Connections counted, by the number of the rule that let them in, and the name of the set of counters they come from.
pub type RuleFlows = (String, BTreeMap<u32, u64>);

/// The firewall of this host as others than the loop see it.
#[derive(Debug, Clone)]
pub enum View {
    /// eBPF.
    Ebpf(ebpf::View),
    /// nftables.
    Nftables(nftables::View),
}

/// Whether a firewall drops what no rule allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropping {
    /// No rules are in place.
    Nothing,
    /// It does.
    All,
    /// It only counts, until somebody ends that.
    Audited,
    /// It does not, for so much longer.
    Off(Duration),
}

impl Dropping {
    /// From what the kernel says.
    #[must_use]
    pub const fn of(audited: bool, off: Option<Duration>) -> Self {
        match (off, audited) {
            (Some(left), _) => Self::Off(left),
            (None, true) => Self::Audited,
            (None, false) => Self::All,
        }
    }
}

impl View {
    /// The name of the target.
    #[must_use]
    pub fn target(&self) -> &str {
        match self {
            Self::Ebpf(view) => view.target(),
            Self::Nftables(view) => view.target(),
        }
    }

    /// The numbers of the rules in force.
    #[must_use]
    pub fn numbers(&self) -> &ebpf::Numbers {
        match self {
            Self::Ebpf(view) => view.numbers(),
            Self::Nftables(view) => view.numbers(),
        }
    }

    /// Drops nothing for `within`, then drops again by itself; false where nothing was in force. This may block.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn disable(&self, within: Duration) -> Result<bool, BackendError> {
        let failed = |cause| BackendError { doing: "enforcement cannot be switched off".to_owned(), cause: Some(cause) };
        match self {
            Self::Ebpf(view) => view.disable(within).map_err(|error| failed(Box::new(error))),
            Self::Nftables(view) => view.firewall().disable(within).map_err(|error| failed(Box::new(error))),
        }
    }

    /// Drops again now. This may block.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn enable(&self) -> Result<(), BackendError> {
        let failed = |cause| BackendError { doing: "enforcement cannot be switched on again".to_owned(), cause: Some(cause) };
        match self {
            Self::Ebpf(view) => view.enable().map_err(|error| failed(Box::new(error))),
            Self::Nftables(view) => view.firewall().enable().map_err(|error| failed(Box::new(error))),
        }
    }

    /// What drops now. This may block.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn dropping(&self) -> Result<Dropping, BackendError> {
        let failed = |cause| BackendError { doing: "the kernel cannot be asked".to_owned(), cause: Some(cause) };
        match self {
            Self::Ebpf(view) => {
                let seen = view.glance().map_err(|error| failed(Box::new(error)))?;
                Ok(seen.filter(|seen| seen.epoch != 0).map_or(Dropping::Nothing, |seen| Dropping::of(seen.audit, seen.disabled)))
            }
            Self::Nftables(view) => {
                let seen = view.look().map_err(|error| failed(Box::new(error)))?;
                Ok(seen.map_or(Dropping::Nothing, |seen| Dropping::of(seen.audited, seen.off_left)))
            }
        }
    }

    /// What the kernel counted for each rule, by number, and which set of counters that is; none where there is no firewall. This may
    /// block.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn rule_flows(&self) -> Result<Option<RuleFlows>, BackendError> {
        let failed = |cause| BackendError { doing: "the use of rules cannot be read".to_owned(), cause: Some(cause) };
        match self {
            Self::Ebpf(view) => {
                let read = || -> Result<_, enforcer::Error> {
                    let Some(enforcer) = view.open()? else { return Ok(None) };
                    Ok(Some((enforcer.counters()?, enforcer.rule_flows()?.into_iter().collect())))
                };
                read().map_err(|error| failed(Box::new(error)))
            }
            // Counters begin anew with a start of the host; that somebody removed them meanwhile shows in their having gone back.
            Self::Nftables(view) => {
                let seen = view.look().map_err(|error| failed(Box::new(error)))?;
                let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map_err(|error| failed(Box::new(error)))?;
                Ok(seen.map(|seen| (format!("nftables/{}", boot.trim()), seen.flows)))
            }
        }
    }
}

/// What changes the failsafe list of the firewall in use.
#[derive(Debug, Clone)]
pub enum FailsafeList {
    /// The eBPF firewall's.
    Ebpf(ebpf::FailsafeList),
    /// The nftables firewall's.
    Nftables(nftables::FailsafeList),
}

impl FailsafeList {
    /// Puts another list in place.
    ///
    /// # Errors
    /// The kernel refuses; the list is then expected as it was.
    pub async fn put(&self, entries: Vec<FailsafeEntry>) -> Result<(), BackendError> {
        match self {
            Self::Ebpf(list) => list.put(entries).await,
            Self::Nftables(list) => list.put(entries).await,
        }
    }
}
