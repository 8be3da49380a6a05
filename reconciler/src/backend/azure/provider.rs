//! A resource group as a cloud of the loop.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use policy::compile::Ruleset;
use policy::diff::Change;
use policy::digest::Digest;
use policy::lower::Unsupported;
use policy::lower::cloud::Needed;
use policy::lower::network_security_group as nsg;

use super::client::{API_VERSION, Arm};
use super::kept;
use super::limits;
use super::models::Group;
use super::observe::{Look, Manner};
use super::survey::{self, Survey};
use super::words::{Key, Rule, fewest};
use crate::backend::cloud::Opening;
use crate::config::{AzureConfig, CloudConfig};
use crate::converge::{Acted, Actor, BackendError, Class, NotLowered, Provider, Shown, Stage};

pub(super) const READ_GROUPS: &str = "Microsoft.Network/networkSecurityGroups/read";

/// One resource group of one subscription.
pub(super) struct Network {
    pub(super) arm: Arc<Arm>,
    pub(super) config: CloudConfig,
    pub(super) azure: AzureConfig,
    pub(super) installation: String,
    /// What a commit must not cut this controller off from.
    needed: Vec<Needed>,
    target: String,
    /// `/subscriptions/…/resourceGroups/…`
    pub(super) root: String,
    pub(super) survey: Survey,
    pub(super) look: Look,
    /// Numbers given since the last plan, which a look may not show yet.
    pub(super) numbers: BTreeMap<nsg::Key, u16>,
    /// When we wrote last: whatever we find was done later.
    pub(super) wrote: Option<Timestamp>,
    /// Groups that nobody wants any more, by the last plan.
    leaving: Mutex<BTreeSet<Arc<str>>>,
}

impl Network {
    pub(super) fn new(arm: Arc<Arm>, config: &CloudConfig, azure: &AzureConfig, group: &str, opening: &Opening) -> Self {
        let short: String = azure.subscription_id.chars().take(8).collect();
        Self {
            arm,
            config: config.clone(),
            azure: azure.clone(),
            installation: opening.installation.clone(),
            needed: opening.needed.clone(),
            target: format!("azure/{short}/{group}"),
            root: format!("/subscriptions/{}/resourceGroups/{group}", azure.subscription_id),
            survey: Survey::default(),
            look: Look::default(),
            numbers: BTreeMap::new(),
            wrote: None,
            leaving: Mutex::default(),
        }
    }

    pub(super) fn manner(&self) -> Manner<'_> {
        Manner { installation: &self.installation, mode: self.azure.target_mode, attach: self.config.attach }
    }

    pub(super) fn group_path(&self, name: &str) -> String {
        format!("{}/providers/Microsoft.Network/networkSecurityGroups/{name}", self.root)
    }

    fn is_leaving(&self, group: &Arc<str>) -> bool {
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner).contains(group)
    }

    /// Whether somebody has a group, by the last look.
    fn is_attached(&self, group: &str) -> bool {
        self.look.ours.get(group).is_some_and(|group| group.properties.attached().next().is_some())
    }
}

impl Provider for Network {
    type Key = Key;
    type Rule = Rule;

    fn name(&self) -> &'static str {
        nsg::BACKEND
    }

    fn target(&self) -> &str {
        &self.target
    }

    fn setup_text(&self) -> String {
        format!(
            "{} attach={} mode={:?} probes={} found={}",
            self.installation,
            self.config.attach,
            self.azure.target_mode,
            self.azure.allow_probes,
            Digest::of(self.survey.text().as_bytes())
        )
    }

    async fn survey(&mut self) -> Result<(), BackendError> {
        // A pass begins: what was given in the last one is shown by now, or gone.
        self.numbers.clear();
        if self.config.attach {
            self.survey = Survey::take(&self.arm, &self.root).await?;
        }
        Ok(())
    }

    fn lower(&self, ruleset: &Ruleset) -> Result<BTreeMap<Key, Rule>, NotLowered> {
        let lost = self.survey.lost(&self.root, ruleset, &self.needed);
        if !lost.is_empty() {
            return Err(NotLowered::Unsupported(lost));
        }
        survey::lower(&self.survey, &self.root, self.config.attach, self.azure.allow_probes, ruleset)
    }

    async fn observe(&mut self) -> Result<Shown<Key, Rule>, BackendError> {
        let path = format!("{}/providers/Microsoft.Network/networkSecurityGroups", self.root);
        let groups: Vec<Group> = self.arm.list(READ_GROUPS, &path, API_VERSION, &[]).await?;
        self.look = self.manner().look(groups);
        Ok(self.manner().shown(&self.look))
    }

    fn fits(&self, observed: &BTreeMap<Key, Rule>, desired: &BTreeMap<Key, Rule>) -> Result<(), Vec<Unsupported>> {
        let groups = |table: &BTreeMap<Key, Rule>| -> BTreeSet<Arc<str>> {
            table.keys().filter(|key| matches!(key, Key::Lowered(nsg::Key::Group { .. }))).map(|key| key.group().clone()).collect()
        };
        let leaving = groups(observed).difference(&groups(desired)).cloned().collect();
        *self.leaving.lock().unwrap_or_else(PoisonError::into_inner) = leaving;
        let problems = limits::problems(&self.manner(), &self.look, &self.survey, observed, desired);
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    fn stage(&self, change: &Change<Key, Rule>) -> Stage {
        match change {
            Change::Create { key: Key::Lowered(nsg::Key::Deny { group, .. }), .. } if self.is_attached(group) => Stage::Remove,
            Change::Create { key: Key::Lowered(nsg::Key::Deny { .. }), .. } => Stage::Settle,
            Change::Create { key: Key::Lowered(nsg::Key::Member { .. }), .. } => Stage::Remove,
            Change::Create { .. } => Stage::Add,
            Change::Delete { key: Key::Lowered(nsg::Key::Member { .. }), .. } => Stage::Remove,
            // A group goes with its rules once nobody has it: without its deny it would let pass what nobody wants.
            Change::Delete { key, .. } if self.is_leaving(key.group()) => Stage::Clear,
            Change::Delete { .. } | Change::Replace { .. } => Stage::Remove,
        }
    }

    fn widened(old: &Rule, new: &Rule) -> Rule {
        // What somebody made of a rule is no wish of anybody's: the new one takes its place at once.
        if old.other.is_some() {
            return new.clone();
        }
        Rule { prefixes: fewest(&[old.prefixes.as_slice(), new.prefixes.as_slice()].concat()), other: None }
    }

    fn class(_old: &Rule, _new: &Rule) -> Class {
        Class::Flow
    }

    fn waits(&self, observed: &BTreeMap<Key, Rule>, changes: &[Change<Key, Rule>]) -> Option<String> {
        let mut first: BTreeSet<&str> = BTreeSet::new();
        for change in changes {
            let Change::Create { key: Key::Lowered(key), .. } = change else { continue };
            let group = key.group();
            let begins = match key {
                nsg::Key::Deny { .. } => self.is_attached(group),
                // An interface that moves from one group of ours to another one was denied before.
                nsg::Key::Member { id, .. } => {
                    let had = |key: &Key| matches!(key, Key::Lowered(nsg::Key::Member { id: had, .. }) if had == id);
                    !self.is_attached(group) && !observed.keys().any(had)
                }
                nsg::Key::Group { .. } | nsg::Key::Allow { .. } => false,
            };
            if begins {
                first.insert(group);
            }
        }
        let named: Vec<&str> = first.iter().take(5).copied().collect();
        (!first.is_empty()).then(|| {
            format!(
                "this is the first deny for what is attached to {} network security groups ({}): what no rule allows is cut",
                first.len(),
                named.join(", ")
            )
        })
    }

    async fn act(&mut self, changes: &[Change<Key, Rule>]) -> Acted<Key> {
        self.make(changes).await
    }

    fn group(key: &Key) -> &str {
        key.group()
    }

    fn keep(rules: &BTreeMap<Key, Rule>) -> String {
        kept::keep(rules)
    }

    fn recall(text: &str) -> Option<BTreeMap<Key, Rule>> {
        kept::recall(text)
    }

    fn key_text(key: &Key) -> String {
        key.to_string()
    }

    fn rule_text(rule: &Rule) -> String {
        rule.to_string()
    }

    async fn actor(&mut self, key: &str) -> Option<Actor> {
        if self.azure.activity_log { self.who(key).await } else { None }
    }
}
