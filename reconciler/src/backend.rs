//! What enforces rules. Each backend maps the core's words to its library's, and nothing else.

pub mod choice;
mod displaced;
pub mod ebpf;
mod host;
pub mod nftables;

use enforcer::FailsafeEntry;

use crate::converge::BackendError;

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
