//! This host's kernel, through the `enforcer` crate.
//!
//! Desired and observed speak the same words (`policy::lower::bpf`), so the one diff of the project finds every difference in
//! content; what is not content (hooks, programs, the control word) comes back as damage.

mod damage;
mod hooks;
mod stored;
mod trial;
mod view;
mod words;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use enforcer::{Enforcer, FailsafeEntry};
use policy::compile::Ruleset;
use policy::digest::Digest;
use policy::host::HostIdentity;
use policy::lower::bpf::{Interval, Key, Rule, RuleIds, Table};
use policy::model::Mode;
use policy::net::Service;

use self::damage::{damage, dhcp_damage, failsafe_damage, unattached};
use self::hooks::{attach_all, check_all, drop_early_where_guarded, present};
pub use self::view::{Numbers, View, runs};
use self::words::{from_kernel, to_kernel};
use super::displaced::Displaced;
use super::host::{Guarded, absent, blocking, refused};
use crate::converge::{Backend, BackendError, Lowered, NotLowered, Observed, Rehearsal, Trial};

/// The eBPF firewall of this host.
#[derive(Debug)]
pub struct Ebpf {
    /// None where nothing is pinned and it was opened only to look.
    enforcer: Arc<Mutex<Option<Enforcer>>>,
    guarded: Guarded,
    interfaces: Vec<String>,
    failsafe: Arc<Mutex<Vec<FailsafeEntry>>>,
    pins: std::path::PathBuf,
    numbers: Numbers,
    wrong: view::Wrong,
    swap: view::Swap,
    displaced: Displaced,
    xdp: bool,
    /// Opened for more than to look.
    enforces: bool,
}

/// What the firewall is opened for.
#[derive(Debug)]
pub struct Setup<'a> {
    /// Where programs and maps are pinned.
    pub pins: &'a std::path::Path,
    /// Who the host is.
    pub identity: HostIdentity,
    /// Where packets are judged.
    pub interfaces: Vec<String>,
    /// What always passes.
    pub failsafe: Vec<FailsafeEntry>,
    /// Count, do not drop.
    pub audit: bool,
    /// A lease is renewed whatever the rules say.
    pub dhcp: bool,
    /// Drop early what would be dropped anyway, where the interface can.
    pub xdp: bool,
}

impl Ebpf {
    /// Finds what is pinned, or loads the programs. Nothing is attached yet.
    ///
    /// # Errors
    /// Missing capabilities or kernel features, each with what to do.
    pub fn open(setup: Setup<'_>) -> Result<Self, BackendError> {
        let enforcer = Enforcer::open(setup.pins).map_err(|e| refused("the eBPF firewall cannot be opened", e))?;
        Ok(Self { enforces: true, ..Self::with(setup, Some(enforcer)) })
    }

    /// Finds what is pinned and changes nothing: for plans.
    ///
    /// # Errors
    /// What is pinned cannot be opened.
    pub fn open_to_look(setup: Setup<'_>) -> Result<Self, BackendError> {
        let enforcer = Enforcer::open_existing(setup.pins).map_err(|e| refused("the eBPF firewall cannot be read", e))?;
        Ok(Self::with(setup, enforcer))
    }

    fn with(setup: Setup<'_>, enforcer: Option<Enforcer>) -> Self {
        Self {
            enforcer: Arc::new(Mutex::new(enforcer)),
            guarded: Guarded::new(setup.identity, &setup.interfaces, setup.audit, setup.dhcp),
            interfaces: setup.interfaces,
            pins: setup.pins.to_owned(),
            numbers: Numbers::default(),
            wrong: view::Wrong::default(),
            swap: view::Swap::default(),
            failsafe: Arc::new(Mutex::new(setup.failsafe)),
            displaced: Displaced::table(),
            xdp: setup.xdp,
            enforces: false,
        }
    }

    /// Puts the failsafe list in place, and early drop: both are configuration, and hold whatever the policies say.
    ///
    /// # Errors
    /// The kernel refuses.
    pub async fn prepare(&self) -> Result<(), BackendError> {
        let (interfaces, failsafe, xdp) = (self.interfaces.clone(), Arc::clone(&self.failsafe), self.xdp);
        self.blocking("the failsafe list cannot be put in place", move |enforcer| {
            enforcer.set_failsafe(&current(&failsafe))?;
            drop_early_where_guarded(enforcer, &interfaces, xdp)
        })
        .await
    }

    /// What changes the failsafe list while the firewall is in use.
    #[must_use]
    pub fn failsafe_list(&self) -> FailsafeList {
        FailsafeList { enforcer: Arc::clone(&self.enforcer), list: Arc::clone(&self.failsafe) }
    }

    /// What looks at the firewall beside the loop.
    #[must_use]
    pub fn view(&self) -> View {
        View {
            enforcer: Arc::clone(&self.enforcer),
            pins: self.pins.clone(),
            interfaces: self.interfaces.clone(),
            target: self.guarded.target.clone(),
            numbers: self.numbers.clone(),
            wrong: Arc::clone(&self.wrong),
            swap: self.swap.clone(),
            xdp: self.xdp,
        }
    }

    /// Loads everything anew where somebody took all of it away: what this process still holds judges nothing any more.
    async fn made_anew(&self) -> Result<(), BackendError> {
        let (pins, failsafe) = (self.pins.clone(), Arc::clone(&self.failsafe));
        self.blocking("the firewall was taken away and cannot be made anew", move |enforcer| {
            if !matches!(Enforcer::open_existing(&pins), Ok(None)) {
                return Ok(());
            }
            tracing::error!("the firewall was taken away; it is made anew");
            *enforcer = Enforcer::open(&pins)?;
            enforcer.set_failsafe(&current(&failsafe))
        })
        .await
    }

    fn nothing_pinned(&self) -> bool {
        self.enforcer.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Runs kernel work on a thread that may block.
    async fn blocking<T, F>(&self, doing: &'static str, work: F) -> Result<T, BackendError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Enforcer) -> Result<T, enforcer::Error> + Send + 'static,
    {
        let enforcer = Arc::clone(&self.enforcer);
        let held = blocking(doing, move || {
            let mut held = enforcer.lock().unwrap_or_else(PoisonError::into_inner);
            held.as_mut().map(work).transpose()
        });
        held.await?.ok_or_else(|| BackendError { doing: format!("{doing}: nothing is pinned there"), cause: None })
    }
}

/// The failsafe list of a firewall, in the kernel and as it is expected there.
#[derive(Debug, Clone)]
pub struct FailsafeList {
    enforcer: Arc<Mutex<Option<Enforcer>>>,
    list: Arc<Mutex<Vec<FailsafeEntry>>>,
}

impl FailsafeList {
    /// Puts another list in place; nothing that looks for drift sees one without the other.
    ///
    /// # Errors
    /// The kernel refuses; the list is then expected as it was.
    pub async fn put(&self, entries: Vec<FailsafeEntry>) -> Result<(), BackendError> {
        let this = self.clone();
        blocking("the failsafe list cannot be changed", move || -> Result<(), enforcer::Error> {
            let mut held = this.enforcer.lock().unwrap_or_else(PoisonError::into_inner);
            held.as_mut().map_or(Ok(()), |enforcer| enforcer.set_failsafe(&entries))?;
            *this.list.lock().unwrap_or_else(PoisonError::into_inner) = entries;
            Ok(())
        })
        .await
    }
}

/// The list as it is expected now; asked for while the enforcer is held.
fn current(list: &Mutex<Vec<FailsafeEntry>>) -> Vec<FailsafeEntry> {
    list.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

impl Backend for Ebpf {
    type Key = Key;
    type Rule = Rule;
    type Memory = RuleIds;

    fn name(&self) -> &'static str {
        "ebpf"
    }

    fn target(&self) -> &str {
        &self.guarded.target
    }

    fn lower(&self, ruleset: &Ruleset, memory: &RuleIds) -> Result<Lowered<Self>, NotLowered> {
        self.guarded.lower(ruleset, memory)
    }

    async fn observe(&mut self) -> Result<Observed<Key, Rule>, BackendError> {
        if self.nothing_pinned() {
            return Ok(Observed { rules: None, damage: Vec::new(), audited: false, absent: Vec::new() });
        }
        if self.enforces {
            self.made_anew().await?;
        }
        let (list, interfaces) = (Arc::clone(&self.failsafe), self.interfaces.clone());
        let look =
            move |enforcer: &mut Enforcer| Ok((present(&interfaces)?, enforcer.observe()?, enforcer.failsafe()?, current(&list)));
        let (there, seen, failsafe, wanted) = self.blocking("the kernel cannot be read", look).await?;
        *self.wrong.lock().unwrap_or_else(PoisonError::into_inner) = view::kinds(&seen);
        let rules = seen.table.as_ref().map(from_kernel);
        let gone: Vec<String> = self.interfaces.iter().filter(|name| !there.contains(name)).cloned().collect();
        let mut damage = damage(&seen, &there);
        damage.extend(unattached(&seen, &there));
        damage.extend(failsafe_damage(&failsafe, &wanted));
        damage.extend(dhcp_damage(&seen, self.guarded.dhcp));
        Ok(Observed { rules, damage, audited: seen.audit, absent: absent(&gone) })
    }

    async fn apply(&mut self, desired: &Table, digest: Digest, within: Option<Duration>) -> Result<u64, BackendError> {
        let table = to_kernel(desired, self.guarded.dhcp);
        let (interfaces, failsafe, xdp) = (self.interfaces.clone(), Arc::clone(&self.failsafe), self.xdp);
        let done = self
            .blocking("the rules cannot be put in force", move |enforcer| {
                // All or nothing: an interface that cannot be guarded is known before anything changes.
                check_all(&interfaces)?;
                enforcer.set_failsafe(&current(&failsafe))?;
                // Rules first: a hook without a generation passes everything, a generation without hooks does no harm.
                let Some(put) = trial::put(enforcer, &table, digest.0, within)? else { return Ok(None) };
                attach_all(enforcer, &interfaces, xdp)?;
                Ok(Some(if within.is_none() { trial::with_way_back(enforcer, &table, digest.0, put) } else { put }))
            })
            .await?;
        let off = "enforcement is off; other rules wait until it is on again";
        let (epoch, took) = done.ok_or_else(|| BackendError { doing: off.to_owned(), cause: None })?;
        self.swap.took(took);
        if within.is_none() {
            self.displaced.clear().await?;
        }
        Ok(u64::from(epoch))
    }

    async fn generation(&mut self) -> Result<Option<u64>, BackendError> {
        if self.nothing_pinned() {
            return Ok(None);
        }
        self.blocking("the kernel cannot be read", |enforcer| Ok(Some(u64::from(enforcer.glance()?.epoch)))).await
    }

    async fn trial(&mut self) -> Result<Option<Trial>, BackendError> {
        if self.nothing_pinned() {
            return Ok(None);
        }
        let found = self.blocking("the kernel cannot be read", |enforcer| enforcer.trial()).await?;
        Ok(found.map(|trial| Trial { left: trial.left }))
    }

    async fn confirm(&mut self) -> Result<(), BackendError> {
        self.blocking("the rules on trial cannot be confirmed", |enforcer| enforcer.confirm().map(drop)).await?;
        self.displaced.clear().await
    }

    async fn roll_back(&mut self) -> Result<Option<u64>, BackendError> {
        let epoch = self.blocking("the rules before cannot be put back in force", Enforcer::roll_back).await?;
        Ok(epoch.map(u64::from))
    }

    async fn rehearse(&mut self, desired: &Table, digest: Digest) -> Result<Rehearsal, BackendError> {
        let table = to_kernel(desired, self.guarded.dhcp);
        let (interfaces, failsafe, xdp) = (self.interfaces.clone(), Arc::clone(&self.failsafe), self.xdp);
        let rehearsed = self.blocking("the first enforcement cannot be prepared", move |enforcer| {
            check_all(&interfaces)?;
            enforcer.set_failsafe(&current(&failsafe))?;
            let took = trial::rehearse(enforcer, &table, digest.0)?;
            attach_all(enforcer, &interfaces, xdp)?;
            Ok((trial::cut(&enforcer.import()?), took))
        });
        let (cut, took) = rehearsed.await?;
        self.swap.took(took);
        Ok(Rehearsal { cut })
    }

    async fn mend(&mut self, desired: &Table, digest: Digest, blank: bool) -> Result<Option<u64>, BackendError> {
        let table = to_kernel(desired, self.guarded.dhcp);
        let (interfaces, failsafe, xdp) = (self.interfaces.clone(), Arc::clone(&self.failsafe), self.xdp);
        let mended = self.blocking("the hooks cannot be put back", move |enforcer| {
            enforcer.set_failsafe(&current(&failsafe))?;
            let seen = enforcer.observe()?;
            let other = seen.table.as_ref().is_some_and(|found| found.no_dhcp != table.no_dhcp);
            // The same rules once more take the place of a way back that somebody has changed.
            let twice = seen.way_back_edited && seen.trial.is_none() && seen.table.as_ref() == Some(&table);
            let installed = if blank || other || twice { Some(enforcer.install(&table, digest.0, 0)?) } else { None };
            attach_all(enforcer, &interfaces, xdp)?;
            Ok(installed)
        });
        let installed = mended.await?;
        self.swap.took(installed.map(|built| built.took));
        Ok(installed.map(|built| u64::from(built.epoch)))
    }

    fn in_force(&mut self, rules: &Table, memory: &RuleIds) {
        self.numbers.set(memory, rules);
    }

    fn takes_over(&self) -> bool {
        self.displaced.is_there()
    }

    async fn be_alone(&mut self) -> Result<(), BackendError> {
        self.displaced.clear().await
    }

    fn setup_text(&self) -> String {
        self.guarded.setup_text()
    }

    fn keep(rules: &Table) -> String {
        stored::keep(rules)
    }

    fn recall(text: &str) -> Option<Table> {
        stored::recall(text)
    }

    fn key_text(key: &Key) -> String {
        match key {
            Key::Isolation { direction } => format!("{} isolation", direction.name()),
            Key::Any { direction, family } => format!("{} any {}", direction.name(), family.name()),
            Key::Prefix { direction, prefix } => format!("{} {prefix}", direction.name()),
        }
    }

    fn rule_text(rule: &Rule) -> String {
        match rule {
            Rule::Isolation(Mode::Enforce) => "default deny".to_owned(),
            Rule::Isolation(Mode::Audit) => "default deny, audited".to_owned(),
            Rule::Services(intervals) if intervals.is_empty() => "nothing".to_owned(),
            Rule::Services(intervals) => intervals.iter().map(interval_text).collect::<Vec<_>>().join(", "),
        }
    }
}

/// `TCP 5432`, `UDP 8000-8100`, `any protocol`.
fn interval_text(interval: &Interval) -> String {
    let (Some(lo), Some(hi)) = (Service::from_number(interval.lo), Service::from_number(interval.hi)) else {
        return format!("{:#x}-{:#x}", interval.lo, interval.hi);
    };
    let audited = if interval.audit { " (audited)" } else { "" };
    let whole = lo.port() == 0 && hi.port() == u16::MAX;
    let what = match (lo.protocol() == hi.protocol(), whole) {
        (false, true) if lo.protocol() == 0 && hi.protocol() == u8::MAX => "any protocol".to_owned(),
        (false, _) => format!("{} {} to {} {}", lo.protocol_name(), lo.port(), hi.protocol_name(), hi.port()),
        (true, true) => lo.protocol_name(),
        (true, false) if lo.is_icmp() => icmp_text(lo, hi),
        (true, false) if lo == hi => format!("{} {}", lo.protocol_name(), lo.port()),
        (true, false) => format!("{} {}-{}", lo.protocol_name(), lo.port(), hi.port()),
    };
    format!("{what}{audited}")
}

fn icmp_text(lo: Service, hi: Service) -> String {
    let [kind, code] = lo.port().to_be_bytes();
    let name = lo.protocol_name();
    if lo == hi { format!("{name} type {kind} code {code}") } else { format!("{name} type {kind}") }
}
