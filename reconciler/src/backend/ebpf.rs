//! This host's kernel, through the `enforcer` crate.
//!
//! Desired and observed speak the same words (`policy::lower::bpf`), so the one diff of the project finds every difference in
//! content; what is not content (hooks, programs, the control word) comes back as damage.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use enforcer::{
    AttachmentState, Cidr as KernelCidr, Direction as KernelDirection, Enforcer, FailsafeEntry, Mode as KernelMode, TamperingKind,
};
use policy::compile::{Endpoint, Ruleset};
use policy::digest::Digest;
use policy::lower::Unsupported;
use policy::lower::bpf::{Interval, Key, Rule, RuleIds, Table, lower};
use policy::model::Mode;
use policy::net::{Cidr, Direction, Family, Service};

use crate::converge::{Backend, BackendError, Deviation, Difference, Lowered, Observed};

/// The eBPF firewall of this host.
#[derive(Debug)]
pub struct Ebpf {
    enforcer: Arc<Mutex<Enforcer>>,
    endpoint: Endpoint,
    interfaces: Vec<String>,
    failsafe: Vec<FailsafeEntry>,
    target: String,
    audit: bool,
}

/// What the firewall is opened for.
#[derive(Debug)]
pub struct Setup<'a> {
    /// Where programs and maps are pinned.
    pub pins: &'a std::path::Path,
    /// The host's labels.
    pub endpoint: Endpoint,
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
        Ok(Self {
            enforcer: Arc::new(Mutex::new(enforcer)),
            endpoint: setup.endpoint,
            target: format!("host/{}", setup.interfaces.join(",")),
            interfaces: setup.interfaces,
            failsafe: setup.failsafe,
            audit: setup.audit,
        })
    }

    /// Puts the failsafe list in place: it is configuration, and holds whatever the policies say.
    ///
    /// # Errors
    /// The kernel refuses.
    pub async fn prepare(&self) -> Result<(), BackendError> {
        let failsafe = self.failsafe.clone();
        self.blocking("the failsafe list cannot be put in place", move |enforcer| enforcer.set_failsafe(&failsafe)).await
    }

    /// Runs kernel work on a thread that may block.
    async fn blocking<T, F>(&self, doing: &'static str, work: F) -> Result<T, BackendError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Enforcer) -> Result<T, enforcer::Error> + Send + 'static,
    {
        let enforcer = Arc::clone(&self.enforcer);
        let done = tokio::task::spawn_blocking(move || work(&mut enforcer.lock().unwrap_or_else(PoisonError::into_inner))).await;
        match done {
            Ok(answer) => answer.map_err(|e| refused(doing, e)),
            Err(cause) => Err(BackendError { doing: doing.to_owned(), cause: Some(Box::new(cause)) }),
        }
    }
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

    fn lower(&self, ruleset: &Ruleset, memory: &RuleIds) -> Result<Lowered<Self>, Vec<Unsupported>> {
        let ids = RuleIds::assign(memory, ruleset);
        let mut rules = lower(ruleset, &self.endpoint, &ids)?;
        if self.audit {
            for rule in rules.values_mut().filter(|rule| matches!(rule, Rule::Isolation(_))) {
                *rule = Rule::Isolation(Mode::Audit);
            }
        }
        Ok(Lowered { rules, memory: ids })
    }

    async fn observe(&mut self) -> Result<Observed<Key, Rule>, BackendError> {
        let seen = self.blocking("the kernel cannot be read", |enforcer| enforcer.observe()).await?;
        let rules = seen.table.as_ref().map(from_kernel);
        let mut damage = damage(&seen);
        damage.extend(unattached(&seen, &self.interfaces));
        Ok(Observed { rules, damage })
    }

    async fn apply(&mut self, desired: &Table, digest: Digest) -> Result<u64, BackendError> {
        let table = to_kernel(desired);
        let (interfaces, failsafe) = (self.interfaces.clone(), self.failsafe.clone());
        let installed = self
            .blocking("the rules cannot be put in force", move |enforcer| {
                enforcer.set_failsafe(&failsafe)?;
                // Rules first: a hook without a generation passes everything, a generation without hooks does no harm.
                let installed = enforcer.install(&table, digest.0, 0)?;
                // One interface that is gone does not keep the others from being guarded.
                let failed = interfaces.iter().filter_map(|interface| enforcer.attach(interface).err()).next_back();
                failed.map_or(Ok(installed), Err)
            })
            .await?;
        Ok(u64::from(installed.epoch))
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
            // A legacy filter cannot be asked what it runs; that it is there is all that can be known.
            AttachmentState::Attached | AttachmentState::Unverified => return None,
            AttachmentState::Detached => Deviation::Detached,
            AttachmentState::Replaced => Deviation::Changed,
        };
        let key = format!("hook {} {}", hook.ifname, hook.direction.label());
        Some(Difference { key, kind, expected: "our program".to_owned(), observed: format!("{:?}", hook.state).to_lowercase() })
    });
    let tampering = seen.tampering.iter().filter_map(|found| {
        let (name, kind) = match found.kind {
            // Hooks are reported above, one by one; edited content by the diff, rule by rule, as long as it can be read.
            TamperingKind::Detached | TamperingKind::Replaced => return None,
            TamperingKind::Edited if seen.table.is_some() => return None,
            TamperingKind::Edited => ("maps", Deviation::Changed),
            TamperingKind::Rewired => ("wiring", Deviation::Changed),
            TamperingKind::Control => ("control word", Deviation::Changed),
        };
        Some(Difference { key: name.to_owned(), kind, expected: "as it was left".to_owned(), observed: found.detail.clone() })
    });
    hooks.chain(tampering).collect()
}

/// Configured interfaces on which nothing of ours is attached, not even broken.
fn unattached(seen: &enforcer::Observed, interfaces: &[String]) -> Vec<Difference> {
    let known: BTreeSet<&str> = seen.attachments.iter().map(|hook| hook.ifname.as_str()).collect();
    let missing = interfaces.iter().filter(|name| !known.contains(name.as_str()));
    let difference = |name: &String| Difference {
        key: format!("hook {name}"),
        kind: Deviation::Detached,
        expected: "our program".to_owned(),
        observed: "not attached".to_owned(),
    };
    missing.map(difference).collect()
}

fn to_kernel(table: &Table) -> enforcer::Table {
    let mut out = enforcer::Table::default();
    for (key, rule) in table {
        match (key, rule) {
            (Key::Isolation { direction }, Rule::Isolation(mode)) => {
                let mode = Some(if *mode == Mode::Audit { KernelMode::Audit } else { KernelMode::Enforce });
                match direction {
                    Direction::Ingress => out.isolate_in = mode,
                    Direction::Egress => out.isolate_out = mode,
                }
            }
            (Key::Any { direction, family }, Rule::Services(list)) => {
                if let Some(any) = out.any.get_mut(any_index(*direction, *family)) {
                    *any = list.iter().map(interval_to_kernel).collect();
                }
            }
            (Key::Prefix { direction, prefix }, Rule::Services(list)) => {
                if let Some(cidr) = KernelCidr::new(prefix.first(), prefix.length()) {
                    out.prefixes.push((direction_to_kernel(*direction), cidr, list.iter().map(interval_to_kernel).collect()));
                }
            }
            (Key::Isolation { .. }, Rule::Services(_)) | (Key::Any { .. } | Key::Prefix { .. }, Rule::Isolation(_)) => {}
        }
    }
    out
}

fn from_kernel(table: &enforcer::Table) -> Table {
    let mut out = BTreeMap::new();
    for (direction, mode) in [(Direction::Ingress, table.isolate_in), (Direction::Egress, table.isolate_out)] {
        if let Some(mode) = mode {
            let mode = if mode == KernelMode::Audit { Mode::Audit } else { Mode::Enforce };
            out.insert(Key::Isolation { direction }, Rule::Isolation(mode));
        }
        for family in Family::BOTH {
            let list = table.any.get(any_index(direction, family)).filter(|list| !list.is_empty());
            if let Some(list) = list {
                out.insert(Key::Any { direction, family }, Rule::Services(list.iter().map(interval_from_kernel).collect()));
            }
        }
    }
    for (direction, cidr, list) in &table.prefixes {
        let direction = if *direction == KernelDirection::In { Direction::Ingress } else { Direction::Egress };
        if let Some(prefix) = Cidr::new(cidr.addr(), cidr.prefix_len()) {
            out.insert(Key::Prefix { direction, prefix }, Rule::Services(list.iter().map(interval_from_kernel).collect()));
        }
    }
    out
}

fn any_index(direction: Direction, family: Family) -> usize {
    usize::from(family == Family::V6) * 2 + usize::from(direction == Direction::Egress)
}

fn direction_to_kernel(direction: Direction) -> KernelDirection {
    match direction {
        Direction::Ingress => KernelDirection::In,
        Direction::Egress => KernelDirection::Out,
    }
}

fn interval_to_kernel(i: &Interval) -> enforcer::Interval {
    enforcer::Interval { lo: i.lo, hi: i.hi, rule: i.rule, audit: i.audit }
}

fn interval_from_kernel(i: &enforcer::Interval) -> Interval {
    Interval { lo: i.lo, hi: i.hi, rule: i.rule, audit: i.audit }
}
