//! Which firewall this host gets: what was asked for, or the best that works here, tried rather than guessed from versions.

use super::ebpf::{self, Ebpf};
use super::nftables::{self, Nftables};
use super::{FailsafeList, View};
use crate::chain::chain;
use crate::converge::BackendError;

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// eBPF, else nftables.
    Auto,
    /// eBPF or nothing.
    Ebpf,
    /// nftables or nothing.
    Nftables,
}

/// The one that works.
#[derive(Debug)]
pub enum Firewall {
    /// eBPF.
    Ebpf(Box<Ebpf>),
    /// nftables.
    Nftables(Box<Nftables>),
}

impl Firewall {
    /// Puts the failsafe list in place.
    ///
    /// # Errors
    /// The kernel refuses.
    pub async fn prepare(&self) -> Result<(), BackendError> {
        match self {
            Self::Ebpf(firewall) => firewall.prepare().await,
            Self::Nftables(firewall) => firewall.prepare().await,
        }
    }

    /// What looks at the firewall beside the loop.
    #[must_use]
    pub fn view(&self) -> View {
        match self {
            Self::Ebpf(firewall) => View::Ebpf(firewall.view()),
            Self::Nftables(firewall) => View::Nftables(firewall.view()),
        }
    }

    /// What changes the failsafe list while the firewall is in use.
    #[must_use]
    pub fn failsafe_list(&self) -> FailsafeList {
        match self {
            Self::Ebpf(firewall) => FailsafeList::Ebpf(firewall.failsafe_list()),
            Self::Nftables(firewall) => FailsafeList::Nftables(firewall.failsafe_list()),
        }
    }
}

/// Opens it; nothing is attached yet.
///
/// # Errors
/// It does not work here: each step that was tried, and what to do.
pub fn open(wanted: Wanted, setup: ebpf::Setup<'_>) -> Result<Firewall, BackendError> {
    let (other, xdp) = (for_nftables(&setup), setup.xdp);
    let nft = |setup| {
        let firewall = Nftables::open(setup)?;
        firewall.probe()?;
        if xdp {
            tracing::warn!("host.xdp: native has no effect: nftables enforces on this host, and early drop takes eBPF");
        }
        Ok(Firewall::Nftables(Box::new(firewall)))
    };
    match wanted {
        Wanted::Nftables => nft(other),
        Wanted::Ebpf => Ebpf::open(setup).map(|firewall| Firewall::Ebpf(Box::new(firewall))),
        Wanted::Auto => match Ebpf::open(setup) {
            Ok(firewall) => Ok(Firewall::Ebpf(Box::new(firewall))),
            Err(first) => match nft(other) {
                Ok(firewall) => {
                    tracing::warn!("nftables enforces on this host, because {}", chain(&first));
                    Ok(firewall)
                }
                Err(second) => Err(neither(&first, &second)),
            },
        },
    }
}

/// Opens what is in force and changes nothing: for plans.
///
/// # Errors
/// It cannot be read.
pub fn open_to_look(wanted: Wanted, setup: ebpf::Setup<'_>) -> Result<Firewall, BackendError> {
    let other = for_nftables(&setup);
    let pinned = setup.pins.exists();
    let nft = |setup| Nftables::open(setup).map(|firewall| Firewall::Nftables(Box::new(firewall)));
    match wanted {
        Wanted::Nftables => nft(other),
        Wanted::Auto if !pinned => match nft(other) {
            Ok(Firewall::Nftables(firewall)) if firewall.firewall().exists().unwrap_or(false) => Ok(Firewall::Nftables(firewall)),
            Ok(_) | Err(_) => Ebpf::open_to_look(setup).map(|firewall| Firewall::Ebpf(Box::new(firewall))),
        },
        Wanted::Auto | Wanted::Ebpf => Ebpf::open_to_look(setup).map(|firewall| Firewall::Ebpf(Box::new(firewall))),
    }
}

fn for_nftables<'a>(setup: &ebpf::Setup<'a>) -> nftables::Setup<'a> {
    nftables::Setup {
        pins: setup.pins,
        identity: setup.identity.clone(),
        interfaces: setup.interfaces.clone(),
        failsafe: setup.failsafe.clone(),
        audit: setup.audit,
        dhcp: setup.dhcp,
    }
}

fn neither(ebpf: &BackendError, nftables: &BackendError) -> BackendError {
    BackendError { doing: format!("nothing can enforce on this host: {}; {}", chain(ebpf), chain(nftables)), cause: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_nothing_works_one_message_names_both_steps() {
        let step = |doing: &str| BackendError { doing: doing.to_owned(), cause: None };
        let text = neither(&step("no eBPF: EPERM; run as root"), &step("no nft; install nftables")).to_string();
        assert_eq!(text, "nothing can enforce on this host: no eBPF: EPERM; run as root; no nft; install nftables");
    }
}
