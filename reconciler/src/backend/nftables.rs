//! This host's kernel, through nftables: for kernels where the eBPF firewall cannot be loaded.
//!
//! The same rules as the eBPF backend's, in the same words, so the one diff of the project finds every difference; only how they are
//! said differs. Everything lives in one table, `inet pci_segment`, which is ours alone, and changes by one transaction.
//!
//! Known differences, each held by a test: fragments are put together before they are judged; what a process sends on a packet socket,
//! and frames that carry no IP, are not seen; an IPv6 authentication header is refused, not looked behind, and the number of extension
//! headers is not limited; replies outside a connection's window are judged as if they opened one; flows are cut by deleting their
//! entry, up to a second later; drops are counted, but not told one by one.

pub mod firewall;
pub mod run;

mod conntrack;
mod names;
mod observe;
mod present;
mod ranges;
mod script;
mod state;
mod view;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use enforcer::FailsafeEntry;
use policy::compile::Ruleset;
use policy::digest::Digest;
use policy::host::HostIdentity;
use policy::lower::bpf::{Key, Rule, RuleIds, Table};

use self::firewall::{Error, Firewall};
pub use self::view::{Reading, View};
use super::displaced::Displaced;
use super::ebpf::{Ebpf, Numbers};
use super::host::{Guarded, absent, blocking, refused};
use crate::converge::{Backend, BackendError, Lowered, NotLowered, Observed, Rehearsal, Trial};

/// The nftables firewall of this host.
#[derive(Debug)]
pub struct Nftables {
    firewall: Firewall,
    guarded: Guarded,
    failsafe: Arc<Mutex<Vec<FailsafeEntry>>>,
    numbers: Numbers,
    displaced: Displaced,
}

/// What the firewall is opened for.
#[derive(Debug)]
pub struct Setup<'a> {
    /// Where the eBPF firewall would be pinned: it is removed once this one is in force.
    pub pins: &'a std::path::Path,
    /// Who the host is.
    pub identity: HostIdentity,
    /// Where packets are judged.
    pub interfaces: Vec<String>,
    /// What always passes.
    pub failsafe: Vec<FailsafeEntry>,
    /// Count, do not drop.
    pub audit: bool,
    /// Whether the DHCP client passes.
    pub dhcp: bool,
}

impl Nftables {
    /// Finds `nft`; nothing is changed.
    ///
    /// # Errors
    /// `nft` is missing, or an interface has no usable name.
    pub fn open(setup: Setup<'_>) -> Result<Self, BackendError> {
        let firewall = Firewall::find(&setup.interfaces, setup.dhcp).map_err(|e| refused("nftables cannot be used", e))?;
        Ok(Self {
            firewall,
            guarded: Guarded::new(setup.identity, &setup.interfaces, setup.audit, setup.dhcp),
            numbers: Numbers::default(),
            failsafe: Arc::new(Mutex::new(setup.failsafe)),
            displaced: Displaced::pins(setup.pins),
        })
    }

    /// Whether this kernel would take our rules.
    ///
    /// # Errors
    /// What is missing.
    pub fn probe(&self) -> Result<(), BackendError> {
        self.firewall.probe().map_err(|error| refused("nftables cannot be used", error))
    }

    /// The firewall itself.
    #[must_use]
    pub fn firewall(&self) -> &Firewall {
        &self.firewall
    }

    /// Puts the failsafe list in place, where there is a table: it is configuration, and holds whatever the policies say.
    ///
    /// # Errors
    /// The kernel refuses.
    pub async fn prepare(&self) -> Result<(), BackendError> {
        self.blocking("the failsafe list cannot be put in place", Firewall::put_failsafe).await
    }

    /// What changes the failsafe list while the firewall is in use.
    #[must_use]
    pub fn failsafe_list(&self) -> FailsafeList {
        FailsafeList { firewall: self.firewall.clone(), list: Arc::clone(&self.failsafe) }
    }

    /// What looks at the firewall beside the loop.
    #[must_use]
    pub fn view(&self) -> View {
        View { firewall: self.firewall.clone(), target: self.guarded.target.clone(), numbers: self.numbers.clone() }
    }

    /// Runs work on a thread that may block.
    async fn blocking<T, F>(&self, doing: &'static str, work: F) -> Result<T, BackendError>
    where
        T: Send + 'static,
        F: FnOnce(&Firewall, &[FailsafeEntry]) -> Result<T, Error> + Send + 'static,
    {
        let (firewall, failsafe) = (self.firewall.clone(), Arc::clone(&self.failsafe));
        blocking(doing, move || {
            let failsafe = failsafe.lock().unwrap_or_else(PoisonError::into_inner);
            work(&firewall, &failsafe)
        })
        .await
    }
}

/// The failsafe list of a firewall, in the kernel and as it is expected there.
#[derive(Debug, Clone)]
pub struct FailsafeList {
    firewall: Firewall,
    list: Arc<Mutex<Vec<FailsafeEntry>>>,
}

impl FailsafeList {
    /// Puts another list in place; nothing that looks for drift sees one without the other.
    ///
    /// # Errors
    /// The kernel refuses; the list is then expected as it was.
    pub async fn put(&self, entries: Vec<FailsafeEntry>) -> Result<(), BackendError> {
        let this = self.clone();
        blocking("the failsafe list cannot be changed", move || -> Result<(), Error> {
            let mut held = this.list.lock().unwrap_or_else(PoisonError::into_inner);
            this.firewall.put_failsafe(&entries)?;
            *held = entries;
            Ok(())
        })
        .await
    }
}

impl Backend for Nftables {
    type Key = Key;
    type Rule = Rule;
    type Memory = RuleIds;

    fn name(&self) -> &'static str {
        "nftables"
    }

    fn target(&self) -> &str {
        &self.guarded.target
    }

    fn lower(&self, ruleset: &Ruleset, memory: &RuleIds) -> Result<Lowered<Self>, NotLowered> {
        self.guarded.lower(ruleset, memory)
    }

    async fn observe(&mut self) -> Result<Observed<Key, Rule>, BackendError> {
        let look = |firewall: &Firewall, failsafe: &[FailsafeEntry]| Ok((firewall.observe(failsafe)?, absent(&firewall.absent())));
        let (seen, absent) = self.blocking("the kernel cannot be read", look).await?;
        Ok(Observed { rules: seen.table, damage: seen.damage, audited: seen.audited, absent })
    }

    async fn apply(&mut self, desired: &Table, digest: Digest, within: Option<Duration>) -> Result<u64, BackendError> {
        let table = desired.clone();
        let put = move |firewall: &Firewall, failsafe: &[FailsafeEntry]| firewall.apply(&table, digest, failsafe, within);
        let epoch = self.blocking("the rules cannot be put in force", put).await?;
        if within.is_none() {
            self.displaced.clear().await?;
        }
        Ok(epoch)
    }

    async fn generation(&mut self) -> Result<Option<u64>, BackendError> {
        let look = |firewall: &Firewall, _: &[FailsafeEntry]| Ok(firewall.look()?.map(|seen| seen.epoch));
        self.blocking("the kernel cannot be read", look).await
    }

    async fn trial(&mut self) -> Result<Option<Trial>, BackendError> {
        let left = self.blocking("the kernel cannot be read", |firewall, _| firewall.trial()).await?;
        Ok(left.map(|left| Trial { left }))
    }

    async fn confirm(&mut self) -> Result<(), BackendError> {
        self.blocking("the rules on trial cannot be confirmed", |firewall, _| firewall.confirm()).await?;
        self.displaced.clear().await
    }

    async fn roll_back(&mut self) -> Result<Option<u64>, BackendError> {
        self.blocking("the rules before cannot be put back in force", Firewall::roll_back).await
    }

    async fn rehearse(&mut self, desired: &Table, digest: Digest) -> Result<Rehearsal, BackendError> {
        let table = desired.clone();
        let rehearse = move |firewall: &Firewall, failsafe: &[FailsafeEntry]| firewall.rehearse(&table, digest, failsafe);
        let cut = self.blocking("the first enforcement cannot be prepared", rehearse).await?;
        Ok(Rehearsal { cut })
    }

    async fn mend(&mut self, desired: &Table, digest: Digest, blank: bool) -> Result<Option<u64>, BackendError> {
        let table = desired.clone();
        let mend = move |firewall: &Firewall, failsafe: &[FailsafeEntry]| firewall.mend(&table, digest, failsafe, blank);
        self.blocking("the hooks cannot be put back", mend).await
    }

    fn takes_over(&self) -> bool {
        self.displaced.is_there()
    }

    async fn be_alone(&mut self) -> Result<(), BackendError> {
        self.displaced.clear().await
    }

    fn in_force(&mut self, rules: &Table, memory: &RuleIds) {
        self.numbers.set(memory, rules);
    }

    fn setup_text(&self) -> String {
        self.guarded.setup_text()
    }

    fn keep(rules: &Table) -> String {
        Ebpf::keep(rules)
    }

    fn recall(text: &str) -> Option<Table> {
        Ebpf::recall(text)
    }

    fn key_text(key: &Key) -> String {
        Ebpf::key_text(key)
    }

    fn rule_text(rule: &Rule) -> String {
        Ebpf::rule_text(rule)
    }
}
