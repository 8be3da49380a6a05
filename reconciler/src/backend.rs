//! What enforces rules. Each backend maps the core's words to its library's, and nothing else.

pub mod choice;
mod displaced;
pub mod ebpf;
mod host;
pub mod nftables;

use std::collections::BTreeMap;

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
