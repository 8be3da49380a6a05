//! A network of AWS as a target: what it should hold, what it holds, and when what is changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use policy::compile::Ruleset;
use policy::diff::Change;
use policy::lower::Unsupported;
use policy::lower::cloud::Why;
use policy::lower::security_group::{BACKEND, Key, Limits, lower};

use super::client::Connection;
use super::normalise::reason;
use super::quota::{Quota, refused, tight};
use super::seen::{Rule, Seen, Table, Whose, tags_text};
use super::survey::{Survey, asks};
use super::{kept, trail};
use crate::backend::cloud::MARK;
use crate::config::{AwsConfig, CloudConfig};
use crate::converge::{Acted, Actor, BackendError, Class, NotLowered, Provider, Shown, Stage};

/// A network.
pub(super) struct Aws {
    pub(super) connection: Arc<Connection>,
    pub(super) vpc: String,
    pub(super) installation: String,
    /// What groups of ours carry beside our mark.
    pub(super) tags: BTreeMap<String, String>,
    target: String,
    attach: bool,
    settings: AwsConfig,
    quota: Option<Quota>,
    known: bool,
    survey: Survey,
    /// Whether the rules depend on who is there.
    depends: AtomicBool,
    pub(super) seen: Seen,
    /// Sizes of the prefix lists that somebody put into our groups.
    lists: BTreeMap<Arc<str>, usize>,
    /// Groups where old and new do not fit together, and that may be cut.
    gaps: Mutex<BTreeSet<Arc<str>>>,
    /// Ids of groups made since the last look.
    pub(super) fresh: BTreeSet<String>,
    /// Ids of groups by name, of those that are gone too.
    ids: BTreeMap<Arc<str>, String>,
    /// When the last look and the one before it began.
    looks: [Option<SystemTime>; 2],
}

impl Aws {
    pub(super) fn new(connection: Arc<Connection>, config: &CloudConfig, vpc: &str, installation: &str) -> Self {
        let mut tags = config.tags.clone();
        tags.remove(MARK);
        Self {
            connection,
            vpc: vpc.to_owned(),
            installation: installation.to_owned(),
            tags,
            target: format!("aws/{}/{vpc}", config.region),
            attach: config.attach,
            settings: config.aws.clone().unwrap_or_default(),
            quota: None,
            known: false,
            survey: Survey::default(),
            depends: AtomicBool::new(true),
            seen: Seen::default(),
            lists: BTreeMap::new(),
            gaps: Mutex::default(),
            fresh: BTreeSet::new(),
            ids: BTreeMap::new(),
            looks: [None; 2],
        }
    }

    fn quota(&self) -> Quota {
        self.quota.unwrap_or_else(|| Quota::assumed(self.settings.rules_per_group))
    }

    fn rule(&self, ruleset: &Ruleset, key: &Key, why: &Why) -> Rule {
        let text = match key {
            Key::Group { .. } => tags_text(self.tags.iter().map(|(key, value)| (key, value.as_str()))),
            Key::Rule { .. } => reason(why, ruleset),
            Key::Member { .. } => String::new(),
        };
        Rule { text }
    }

    /// Reads everything again, one entry of the configuration at a time.
    pub(super) async fn look(&mut self) -> Result<(), BackendError> {
        let connection = self.connection.clone();
        let _one_scan = connection.scan.acquire().await;
        let now = SystemTime::now();
        let groups = connection.groups(&self.vpc, None).await?;
        let interfaces = if self.attach { Some(connection.interfaces(&self.vpc).await?) } else { None };
        let whose = Whose { installation: &self.installation, tags: &self.tags };
        self.seen = Seen::of(whose, &groups, interfaces.as_deref());
        self.ids.extend(self.seen.ids.iter().map(|(name, id)| (name.clone(), id.clone())));
        for list in self.seen.lists() {
            // Where it may not be read, it counts as one: AWS itself has the last word.
            if let Ok(Some(size)) = connection.list_size(&list).await {
                self.lists.insert(list, size);
            }
        }
        self.looks = [Some(now), self.looks.into_iter().next().flatten()];
        Ok(())
    }

    /// Groups of others under names that we need.
    fn taken(&self, desired: &Table) -> Vec<Unsupported> {
        let wanted = desired.keys().filter_map(|key| match key {
            Key::Group { group } => self.seen.strangers.get_key_value(group),
            Key::Rule { .. } | Key::Member { .. } => None,
        });
        let words = |(name, stranger): (&Arc<str>, &super::seen::Stranger)| {
            let whose = match &stranger.mark {
                Some(mark) => format!("it belongs to the installation {mark}; have only one of the two enforce here"),
                None => format!("it carries no tag {MARK}; delete or rename it, or give it the tag {MARK}={}", self.installation),
            };
            refused(format!("{} is called {name} and is not ours: {whose}", stranger.id))
        };
        wanted.map(words).collect()
    }

    fn may_be_cut(&self, group: &Arc<str>) -> bool {
        self.gaps.lock().unwrap_or_else(PoisonError::into_inner).contains(group)
    }
}

impl Provider for Aws {
    type Key = Key;
    type Rule = Rule;

    fn name(&self) -> &'static str {
        BACKEND
    }

    fn target(&self) -> &str {
        &self.target
    }

    fn setup_text(&self) -> String {
        let found = if self.attach || self.depends.load(Ordering::Relaxed) { self.survey.digest() } else { String::new() };
        let (quota, tags) = (self.quota(), tags_text(self.tags.iter().map(|(key, value)| (key, value.as_str()))));
        let Quota { rules_per_group, groups_per_interface } = quota;
        let (attach, gap) = (self.attach, self.settings.allow_gap);
        format!("attach={attach} allow_gap={gap} rules={rules_per_group} groups={groups_per_interface} found={found} tags={tags}")
    }

    async fn survey(&mut self) -> Result<(), BackendError> {
        let connection = self.connection.clone();
        if !self.known {
            connection.network(&self.vpc).await?;
            self.known = true;
        }
        if self.quota.is_none() {
            self.quota = Some(Quota::read(&connection, Quota::assumed(self.settings.rules_per_group)).await);
        }
        let _one_scan = connection.scan.acquire().await;
        self.survey = Survey::make(&connection, &self.vpc, self.attach).await?;
        Ok(())
    }

    fn lower(&self, ruleset: &Ruleset) -> Result<Table, NotLowered> {
        self.depends.store(asks(ruleset), Ordering::Relaxed);
        let subjects = self.survey.subjects(ruleset, self.attach)?;
        let limits = Limits { rules_per_group: self.quota().rules_per_group, name_groups: self.attach };
        let asked = lower(ruleset, &subjects, limits).map_err(NotLowered::Unsupported)?;
        Ok(asked.into_iter().map(|(key, why)| (key.clone(), self.rule(ruleset, &key, &why))).collect())
    }

    async fn observe(&mut self) -> Result<Shown<Key, Rule>, BackendError> {
        self.look().await?;
        self.fresh.clear();
        Ok(Shown { rules: self.seen.table.clone(), foreign: self.seen.foreign.clone() })
    }

    fn fits(&self, observed: &Table, desired: &Table) -> Result<(), Vec<Unsupported>> {
        let mut tight = tight(self.quota(), &self.seen, &self.lists, observed, desired);
        let taken = self.taken(desired);
        let only_gaps = self.settings.allow_gap && !tight.hopeless;
        if only_gaps {
            for group in &tight.gaps {
                tracing::warn!(
                    target = self.target,
                    "{group}: old rules are removed before new ones are in, as aws.allow_gap says"
                );
            }
            tight.problems.clear();
        }
        *self.gaps.lock().unwrap_or_else(PoisonError::into_inner) = if only_gaps { tight.gaps } else { BTreeSet::new() };
        let problems: Vec<Unsupported> = taken.into_iter().chain(tight.problems).collect();
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    fn stage(&self, change: &Change<Key, Rule>) -> Stage {
        let empty = |group: &Arc<str>| self.seen.joined.as_ref().is_some_and(|joined| !joined.contains(group));
        match change {
            Change::Create { key: Key::Member { .. }, .. } => Stage::Join,
            Change::Create { .. } | Change::Replace { .. } => Stage::Add,
            Change::Delete { key: Key::Group { .. }, .. } => Stage::Clear,
            Change::Delete { key: Key::Rule { group, .. }, .. } if self.may_be_cut(group) => Stage::Add,
            Change::Delete { key: Key::Rule { group, .. }, .. } if empty(group) => Stage::Settle,
            Change::Delete { .. } => Stage::Remove,
        }
    }

    fn widened(_old: &Rule, new: &Rule) -> Rule {
        // They differ in words only.
        new.clone()
    }

    fn class(_old: &Rule, _new: &Rule) -> Class {
        Class::Cosmetic
    }

    async fn act(&mut self, changes: &[Change<Key, Rule>]) -> Acted<Key> {
        self.change(changes).await
    }

    fn group(key: &Key) -> &str {
        key.group()
    }

    fn keep(rules: &Table) -> String {
        kept::keep(rules)
    }

    fn recall(text: &str) -> Option<Table> {
        kept::recall(text)
    }

    fn key_text(key: &Key) -> String {
        key.to_string()
    }

    fn rule_text(rule: &Rule) -> String {
        if rule.text.is_empty() { "present".to_owned() } else { rule.text.clone() }
    }

    async fn actor(&mut self, key: &str) -> Option<Actor> {
        if !self.settings.cloudtrail {
            return None;
        }
        let resource = trail::resource(key, &self.ids)?;
        trail::actor(&self.connection, &resource, self.looks.last().copied().flatten()?).await
    }
}
