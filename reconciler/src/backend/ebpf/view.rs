//! Looking at the firewall beside the loop: for metrics, for the use of rules, and for whoever watches the interfaces.
//!
//! Nothing here keeps the loop waiting for long: what takes long opens what is pinned by itself ([`View::open`]) and reads without
//! any lock; what needs the firewall of the loop takes it for a few calls.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use enforcer::{Attached, AttachmentState, Enforcer, Error, Observed, Tampering, TamperingKind, Took};
use policy::lower::bpf::ids::RuleName;
use policy::lower::bpf::{Rule, RuleIds, Table};
use tokio::sync::Notify;

use super::damage::{damage, unattached};
use super::hooks::drop_early;
use crate::converge::{Deviation, Difference};

/// Rules and their numbers.
type Numbered = Vec<(RuleName, u32)>;

/// The numbers of the rules in force, by name.
#[derive(Debug, Clone, Default)]
pub struct Numbers {
    list: Arc<Mutex<Option<Numbered>>>,
    changed: Arc<Notify>,
}

impl Numbers {
    /// Other rules are in force, or the same again. Numbers are given to all policies of a repository; those of which nothing is in the
    /// table concern other hosts. A rule that another hides is not in the table either, but its policy is: it is in force, unused.
    pub fn set(&self, ids: &RuleIds, table: &Table) {
        let intervals = table.values().flat_map(|rule| match rule {
            Rule::Services(list) => list.iter().as_slice(),
            Rule::Isolation(_) => &[],
        });
        let counted: BTreeSet<u32> = intervals.map(|interval| interval.rule).collect();
        let here: BTreeSet<&str> =
            ids.iter().filter(|(_, id)| counted.contains(id)).map(|(name, _)| name.policy.as_str()).collect();
        let own = ids.iter().filter(|(name, _)| here.contains(name.policy.as_str()));
        let list = own.map(|(name, id)| (name.clone(), id)).collect();
        *self.list.lock().unwrap_or_else(PoisonError::into_inner) = Some(list);
        self.changed.notify_one();
    }

    /// As they are now; none while nobody knows.
    #[must_use]
    pub fn get(&self) -> Option<Vec<(RuleName, u32)>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until they are set again; a time that was missed counts.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// The firewall of this host as others than the loop see it. All calls but the plain answers may block.
#[derive(Debug, Clone)]
pub struct View {
    pub(super) enforcer: Arc<Mutex<Option<Enforcer>>>,
    pub(super) pins: PathBuf,
    pub(super) interfaces: Vec<String>,
    pub(super) target: String,
    pub(super) numbers: Numbers,
    pub(super) wrong: Wrong,
    pub(super) swap: Swap,
    pub(super) xdp: bool,
}

/// How long the phases of the last change of generation took, as far as this process made one.
#[derive(Debug, Clone, Default)]
pub(super) struct Swap(Arc<Mutex<Option<Took>>>);

impl Swap {
    /// One was made, or none.
    pub(super) fn took(&self, took: Option<Took>) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *last = took.or(*last);
    }
}

/// What a whole look found to be other than it was left, by kind.
pub(super) type Wrong = Arc<Mutex<BTreeSet<&'static str>>>;

/// The kinds as metrics name them.
pub(super) fn kinds(seen: &Observed) -> BTreeSet<&'static str> {
    let kind = |found: &Tampering| match found.kind {
        TamperingKind::Detached => "detached",
        TamperingKind::Replaced => "replaced",
        TamperingKind::Rewired => "rewired",
        TamperingKind::Edited => "edited",
        TamperingKind::Control => "control",
        TamperingKind::Preceded => "preceded",
        TamperingKind::Foreign => "foreign",
    };
    seen.tampering.iter().map(kind).collect()
}

impl View {
    /// The name of the target.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Where packets are judged.
    #[must_use]
    pub fn interfaces(&self) -> &[String] {
        &self.interfaces
    }

    /// The numbers of the rules in force.
    #[must_use]
    pub fn numbers(&self) -> &Numbers {
        &self.numbers
    }

    /// How long the phases of the last change of generation took; none since the start of this process.
    #[must_use]
    pub fn swap(&self) -> Option<Took> {
        *self.swap.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is pinned, for a reader of its own; none where nothing is.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn open(&self) -> Result<Option<Enforcer>, Error> {
        Enforcer::open_existing(&self.pins)
    }

    /// The hooks and the control word; none where nothing is pinned.
    ///
    /// # Errors
    /// The kernel cannot be read.
    pub fn glance(&self) -> Result<Option<Observed>, Error> {
        let held = self.enforcer.lock().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().map(Enforcer::glance).transpose()
    }

    /// Drops nothing for `within`, then drops again by itself; false where nothing was in force.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn disable(&self, within: Duration) -> Result<bool, Error> {
        let mut held = self.enforcer.lock().unwrap_or_else(PoisonError::into_inner);
        held.as_mut().map_or(Ok(false), |enforcer| enforcer.disable(within))
    }

    /// Drops again now.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn enable(&self) -> Result<(), Error> {
        let mut held = self.enforcer.lock().unwrap_or_else(PoisonError::into_inner);
        held.as_mut().map_or(Ok(()), Enforcer::enable)
    }

    /// What is other than it was left, by kind: at this glance, and in the content of maps at the last whole look.
    #[must_use]
    pub fn wrong(&self, seen: &Observed) -> BTreeSet<&'static str> {
        let mut wrong = kinds(seen);
        wrong.extend(self.wrong.lock().unwrap_or_else(PoisonError::into_inner).iter().filter(|kind| **kind == "edited"));
        wrong
    }

    /// Hooks of an interface that exists where nothing of ours runs, in the words of drift.
    #[must_use]
    pub fn detached(&self, seen: &Observed, interface: &str) -> Vec<Difference> {
        let this = [interface.to_owned()];
        let mut found = damage(seen, &this);
        found.retain(|one| one.kind == Deviation::Detached);
        found.extend(unattached(seen, &this));
        found
    }

    /// Whether another program runs where ours should, or before it: what that lets through is judged by nobody.
    #[must_use]
    pub fn others_judge(&self, seen: &Observed) -> bool {
        let kinds = kinds(seen);
        ["replaced", "preceded"].into_iter().any(|kind| kinds.contains(kind))
    }

    /// Attaches one interface.
    ///
    /// # Errors
    /// It is gone, or the kernel refuses.
    pub fn attach(&self, interface: &str) -> Result<Option<Attached>, Error> {
        let mut held = self.enforcer.lock().unwrap_or_else(PoisonError::into_inner);
        let attached = held.as_mut().map(|enforcer| enforcer.attach(interface)).transpose()?;
        if let Some(enforcer) = held.as_mut().filter(|_| self.xdp) {
            drop_early(enforcer, interface, true);
        }
        Ok(attached)
    }
}

/// Whether our program runs in a hook, as far as the kernel tells.
#[must_use]
pub fn runs(state: AttachmentState) -> bool {
    match state {
        AttachmentState::Attached => true,
        AttachmentState::Detached | AttachmentState::Replaced => false,
    }
}
