//! This host's kernel, through the `enforcer` crate.
//!
//! Desired and observed speak the same words (`policy::lower::bpf`), so the one diff of the project finds every difference in
//! content; what is not content (hooks, programs, the control word) comes back as damage.

mod stored;
mod words;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use enforcer::{AttachmentState, Direction as KernelDirection, Enforcer, FailsafeEntry, TamperingKind};
use policy::compile::Ruleset;
use policy::digest::Digest;
use policy::host::HostIdentity;
use policy::lower::bpf::{Interval, Key, Rule, RuleIds, Table, lower};
use policy::model::Mode;
use policy::net::Service;

use self::words::{from_kernel, to_kernel};

use crate::converge::{Backend, BackendError, Deviation, Difference, Lowered, NotLowered, Observed};

/// The eBPF firewall of this host.
#[derive(Debug)]
pub struct Ebpf {
    /// None where nothing is pinned and it was opened only to look.
    enforcer: Arc<Mutex<Option<Enforcer>>>,
    identity: HostIdentity,
    interfaces: Vec<String>,
    failsafe: Arc<Mutex<Vec<FailsafeEntry>>>,
    target: String,
    audit: bool,
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
}

impl Ebpf {
    /// Finds what is pinned, or loads the programs. Nothing is attached yet.
    ///
    /// # Errors
    /// Missing capabilities or kernel features, each with what to do.
    pub fn open(setup: Setup<'_>) -> Result<Self, BackendError> {
        let enforcer = Enforcer::open(setup.pins).map_err(|e| refused("the eBPF firewall cannot be opened", e))?;
        Ok(Self::with(setup, Some(enforcer)))
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
            identity: setup.identity,
            target: format!("host/{}", setup.interfaces.join(",")),
            interfaces: setup.interfaces,
            failsafe: Arc::new(Mutex::new(setup.failsafe)),
            audit: setup.audit,
        }
    }

    /// Puts the failsafe list in place: it is configuration, and holds whatever the policies say.
    ///
    /// # Errors
    /// The kernel refuses.
    pub async fn prepare(&self) -> Result<(), BackendError> {
        let failsafe = Arc::clone(&self.failsafe);
        self.blocking("the failsafe list cannot be put in place", move |enforcer| enforcer.set_failsafe(&current(&failsafe))).await
    }

    /// What changes the failsafe list while the firewall is in use.
    #[must_use]
    pub fn failsafe_list(&self) -> FailsafeList {
        FailsafeList { enforcer: Arc::clone(&self.enforcer), list: Arc::clone(&self.failsafe) }
    }

    /// Runs kernel work on a thread that may block.
    async fn blocking<T, F>(&self, doing: &'static str, work: F) -> Result<T, BackendError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Enforcer) -> Result<T, enforcer::Error> + Send + 'static,
    {
        let enforcer = Arc::clone(&self.enforcer);
        let done = tokio::task::spawn_blocking(move || {
            let mut held = enforcer.lock().unwrap_or_else(PoisonError::into_inner);
            held.as_mut().map(work)
        })
        .await;
        match done {
            Ok(Some(answer)) => answer.map_err(|e| refused(doing, e)),
            Ok(None) => Err(BackendError { doing: format!("{doing}: nothing is pinned there"), cause: None }),
            Err(cause) => Err(BackendError { doing: doing.to_owned(), cause: Some(Box::new(cause)) }),
        }
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
        let (doing, this) = ("the failsafe list cannot be changed", self.clone());
        let done = tokio::task::spawn_blocking(move || {
            let mut held = this.enforcer.lock().unwrap_or_else(PoisonError::into_inner);
            held.as_mut().map_or(Ok(()), |enforcer| enforcer.set_failsafe(&entries))?;
            *this.list.lock().unwrap_or_else(PoisonError::into_inner) = entries;
            Ok(())
        })
        .await;
        match done {
            Ok(answer) => answer.map_err(|error| refused(doing, error)),
            Err(cause) => Err(BackendError { doing: doing.to_owned(), cause: Some(Box::new(cause)) }),
        }
    }
}

/// The list as it is expected now; asked for while the enforcer is held.
fn current(list: &Mutex<Vec<FailsafeEntry>>) -> Vec<FailsafeEntry> {
    list.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Attaches every interface; one that is gone does not keep the others from being guarded.
fn attach_all(enforcer: &mut Enforcer, interfaces: &[String]) -> Result<(), enforcer::Error> {
    let failed = interfaces.iter().filter_map(|interface| enforcer.attach(interface).err()).next_back();
    failed.map_or(Ok(()), Err)
}

/// The enforcer's error as one line that says what to do, its cause kept.
fn refused(doing: &str, error: enforcer::Error) -> BackendError {
    BackendError { doing: doing.to_owned(), cause: Some(Box::new(error)) }
}

impl Backend for Ebpf {
    type Key = Key;
    type Rule = Rule;
    type Memory = RuleIds;

    fn name(&self) -> &'static str {
        "ebpf"
    }

    fn target(&self) -> &str {
        &self.target
    }

    fn lower(&self, ruleset: &Ruleset, memory: &RuleIds) -> Result<Lowered<Self>, NotLowered> {
        let endpoint = self.identity.endpoint(ruleset).map_err(|stranger| {
            let doing = "nobody knows what this host should enforce".to_owned();
            NotLowered::Failed(BackendError { doing, cause: Some(Box::new(stranger)) })
        })?;
        let ids = RuleIds::assign(memory, ruleset);
        let mut rules = lower(ruleset, &endpoint, &ids).map_err(NotLowered::Unsupported)?;
        if self.audit {
            for rule in rules.values_mut().filter(|rule| matches!(rule, Rule::Isolation(_))) {
                *rule = Rule::Isolation(Mode::Audit);
            }
        }
        Ok(Lowered { rules, memory: ids })
    }

    async fn observe(&mut self) -> Result<Observed<Key, Rule>, BackendError> {
        if self.enforcer.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
            return Ok(Observed { rules: None, damage: Vec::new() });
        }
        let list = Arc::clone(&self.failsafe);
        let look = move |enforcer: &mut Enforcer| Ok((enforcer.observe()?, enforcer.failsafe()?, current(&list)));
        let (seen, failsafe, wanted) = self.blocking("the kernel cannot be read", look).await?;
        let rules = seen.table.as_ref().map(from_kernel);
        let mut damage = damage(&seen);
        damage.extend(unattached(&seen, &self.interfaces));
        damage.extend(failsafe_damage(&failsafe, &wanted));
        Ok(Observed { rules, damage })
    }

    async fn apply(&mut self, desired: &Table, digest: Digest) -> Result<u64, BackendError> {
        let table = to_kernel(desired);
        let (interfaces, failsafe) = (self.interfaces.clone(), Arc::clone(&self.failsafe));
        let installed = self
            .blocking("the rules cannot be put in force", move |enforcer| {
                // All or nothing: an interface that is gone is known before anything changes.
                interfaces.iter().try_for_each(|interface| enforcer.check_interface(interface))?;
                enforcer.set_failsafe(&current(&failsafe))?;
                // Rules first: a hook without a generation passes everything, a generation without hooks does no harm.
                let installed = enforcer.install(&table, digest.0, 0)?;
                attach_all(enforcer, &interfaces)?;
                Ok(installed)
            })
            .await?;
        Ok(u64::from(installed.epoch))
    }

    async fn mend(&mut self, desired: &Table, digest: Digest, blank: bool) -> Result<Option<u64>, BackendError> {
        let table = blank.then(|| to_kernel(desired));
        let (interfaces, failsafe) = (self.interfaces.clone(), Arc::clone(&self.failsafe));
        self.blocking("the hooks cannot be put back", move |enforcer| {
            enforcer.set_failsafe(&current(&failsafe))?;
            let installed = table.map(|table| enforcer.install(&table, digest.0, 0)).transpose()?;
            attach_all(enforcer, &interfaces)?;
            Ok(installed.map(|installed| u64::from(installed.epoch)))
        })
        .await
    }

    fn setup_text(&self) -> String {
        let labels: Vec<String> = self.identity.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let machine = self.identity.machine_id_sha256.as_deref().unwrap_or_default();
        format!("{} {machine} {} audit={}", self.identity.hostname, labels.join(","), self.audit)
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

fn damage(seen: &enforcer::Observed) -> Vec<Difference> {
    let hooks = seen.attachments.iter().filter_map(|hook| {
        let kind = match hook.state {
            AttachmentState::Attached => return None,
            AttachmentState::Detached => Deviation::Detached,
            AttachmentState::Replaced => Deviation::Changed,
        };
        let key = format!("hook {} {}", hook.ifname, hook.direction.label());
        Some(Difference { key, kind, expected: "our program".to_owned(), observed: format!("{:?}", hook.state).to_lowercase() })
    });
    let tampering = seen.tampering.iter().filter_map(|found| {
        let (name, kind) = match found.kind {
            // Hooks are reported above, one by one; edited content by the diff, rule by rule, as long as it can be read.
            TamperingKind::Detached | TamperingKind::Replaced | TamperingKind::Preceded => return None,
            TamperingKind::Edited if seen.table.is_some() => return None,
            TamperingKind::Edited => ("maps", Deviation::Changed),
            TamperingKind::Rewired => ("wiring", Deviation::Changed),
            TamperingKind::Control => ("control word", Deviation::Changed),
            TamperingKind::Foreign => ("XDP hook", Deviation::Changed),
        };
        Some(Difference { key: name.to_owned(), kind, expected: "as it was left".to_owned(), observed: found.detail.clone() })
    });
    let preceded = seen.attachments.iter().filter(|hook| !hook.before.is_empty()).map(|hook| Difference {
        key: format!("hook {} {}", hook.ifname, hook.direction.label()),
        kind: Deviation::Changed,
        expected: "our program first".to_owned(),
        observed: format!("{} before it", hook.before.join(", ")),
    });
    hooks.chain(preceded).chain(tampering).collect()
}

/// Configured hooks, one by one, where nothing of ours is attached, not even broken.
fn unattached(seen: &enforcer::Observed, interfaces: &[String]) -> Vec<Difference> {
    let known: BTreeSet<(&str, KernelDirection)> =
        seen.attachments.iter().map(|hook| (hook.ifname.as_str(), hook.direction)).collect();
    let wanted = interfaces.iter().flat_map(|name| KernelDirection::ALL.map(|direction| (name.as_str(), direction)));
    let difference = |(name, direction): (&str, KernelDirection)| Difference {
        key: format!("hook {name} {}", direction.label()),
        kind: Deviation::Detached,
        expected: "our program".to_owned(),
        observed: "not attached".to_owned(),
    };
    wanted.filter(|hook| !known.contains(hook)).map(difference).collect()
}

/// The failsafe list is configuration, but it opens traffic: what is not on the configured list was put there by somebody else.
fn failsafe_damage(found: &[FailsafeEntry], wanted: &[FailsafeEntry]) -> Vec<Difference> {
    let text =
        |entry: &FailsafeEntry| format!("{} protocol {} port {} {}", entry.direction.label(), entry.proto, entry.port, entry.peer);
    let (found, wanted): (BTreeSet<String>, BTreeSet<String>) =
        (found.iter().map(text).collect(), wanted.iter().map(text).collect());
    let extra = found.difference(&wanted).map(|entry| Difference {
        key: format!("failsafe {entry}"),
        kind: Deviation::Extra,
        expected: String::new(),
        observed: "always passes".to_owned(),
    });
    let missing = wanted.difference(&found).map(|entry| Difference {
        key: format!("failsafe {entry}"),
        kind: Deviation::Missing,
        expected: "always passes".to_owned(),
        observed: String::new(),
    });
    extra.chain(missing).collect()
}
