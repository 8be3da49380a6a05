//! A cloud in memory whose answers are scripted: for tests of what is changed call by call.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use policy::compile::Ruleset;
use policy::diff::Change;
use policy::digest::Canonical;
use policy::lower::Unsupported;

use crate::converge::{
    Acted, Actor, BackendError, Class, Deviation, Difference, Ended, Entry, NotLowered, Provider, Shown, Stage, Stepped,
};
use crate::store::StepState;

/// Changes of one call.
const BATCH: usize = 3;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    Group(String),
    Rule(String, u8),
    Member(String, u8),
}

/// The ports a rule allows, and words beside it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rule {
    pub ports: BTreeSet<u8>,
    pub words: u8,
}

impl Canonical for Key {
    fn canonical(&self, out: &mut Vec<u8>) {
        out.extend(format!("{self:?};").bytes());
    }
}

impl Canonical for Rule {
    fn canonical(&self, out: &mut Vec<u8>) {
        out.extend(format!("{self:?};").bytes());
    }
}

pub(crate) type Table = BTreeMap<Key, Rule>;

/// What a call answers other than that it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is refused as a whole, and nothing is done.
    Fails,
    /// It times out, and is done.
    LostAnswer,
    /// It times out, and is not done.
    LostCall,
    /// It says that all is so already, which it is not.
    SaysAlready,
    /// It is done, and says that it was so already.
    WasAlready,
    /// It is done, and this process dies before it knows.
    Dies,
    /// The last change of the batch is refused, the others are done.
    RefusesOne,
}

#[derive(Debug, Default)]
pub(crate) struct World {
    pub rules: Table,
    /// What others have there, never to be touched.
    pub foreign: BTreeMap<String, String>,
    /// What should be there by the head.
    pub desired: Table,
    /// Every state there was since the start, after each change.
    pub states: Vec<Table>,
    /// Faults by the number of the call, from 0.
    pub faults: BTreeMap<usize, Fault>,
    pub calls: usize,
    pub reads: usize,
    /// So many reads show what was there before a write.
    pub lag: usize,
    stale: Option<(Table, usize)>,
    pub cannot_be_read: bool,
    pub cannot_be_surveyed: bool,
    pub cannot_say: Option<String>,
    pub members: u32,
    pub rules_max: Option<usize>,
    pub waits: Option<String>,
    pub actor: Option<Actor>,
    /// What a stranger does at a read with this number.
    pub stranger: Option<(usize, Key, Rule)>,
    /// Told when this process dies.
    pub died: Option<Arc<tokio::sync::Notify>>,
    /// Called after each call: somebody acts meanwhile.
    pub meanwhile: Option<Meanwhile>,
}

/// What happens beside a call; its number is given.
pub(crate) struct Meanwhile(pub Box<dyn Fn(usize) + Send>);

impl std::fmt::Debug for Meanwhile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meanwhile")
    }
}

impl World {
    fn write(&mut self, change: &Change<Key, Rule>) {
        if self.lag > 0 {
            let before = self.stale.take().map_or_else(|| self.rules.clone(), |(before, _)| before);
            self.stale = Some((before, self.lag));
        }
        match change {
            Change::Create { key, rule } | Change::Replace { key, new: rule, .. } => {
                self.rules.insert(key.clone(), rule.clone());
            }
            Change::Delete { key, .. } => {
                self.rules.remove(key);
            }
        }
        self.states.push(self.rules.clone());
    }

    fn read(&mut self) -> Table {
        if let Some((at, key, rule)) = self.stranger.take() {
            if self.reads == at {
                self.rules.insert(key, rule);
            } else {
                self.stranger = Some((at, key, rule));
            }
        }
        self.reads += 1;
        match self.stale.take() {
            Some((before, left)) if left > 0 => {
                self.stale = Some((before.clone(), left - 1));
                before
            }
            _ => self.rules.clone(),
        }
    }
}

/// The cloud as one controller uses it.
#[derive(Debug, Clone)]
pub(crate) struct Cloud {
    pub name: String,
    pub world: Arc<Mutex<World>>,
    /// How many members the last survey found.
    seen: u32,
}

impl Cloud {
    pub(crate) fn new(name: &str, old: Table, new: Table) -> Self {
        let world = World { states: vec![old.clone()], rules: old, desired: new, ..World::default() };
        Self { name: name.to_owned(), world: Arc::new(Mutex::new(world)), seen: 0 }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// What a call answers; nothing where this process dies while it waits.
    fn answer(&self, changes: &[Change<Key, Rule>]) -> Option<Acted<Key>> {
        let mut world = self.world();
        let call = world.calls;
        world.calls += 1;
        let fault = world.faults.remove(&call);
        let batch = &changes[..changes.len().min(BATCH)];
        let done = match fault {
            None | Some(Fault::LostAnswer | Fault::WasAlready | Fault::Dies) => batch.len(),
            Some(Fault::RefusesOne) => batch.len() - 1,
            Some(Fault::Fails | Fault::LostCall | Fault::SaysAlready) => 0,
        };
        batch[..done].iter().for_each(|change| world.write(change));
        if fault == Some(Fault::Dies) {
            world.died.iter().for_each(|died| died.notify_one());
            return None;
        }
        let ended = |(n, change): (usize, &Change<Key, Rule>)| {
            let (state, code) = match fault {
                None | Some(Fault::Dies) => (StepState::Done, None),
                Some(Fault::LostAnswer | Fault::LostCall) => (StepState::Unknown, Some("timeout")),
                Some(Fault::WasAlready | Fault::SaysAlready) => (StepState::Already, Some("InvalidPermission.Duplicate")),
                Some(Fault::RefusesOne) if n < done => (StepState::Done, None),
                Some(Fault::RefusesOne | Fault::Fails) => (StepState::Failed, Some("InvalidParameterValue")),
            };
            Ended { key: change.key().clone(), state, code: code.map(str::to_owned) }
        };
        let ended = batch.iter().enumerate().map(ended).collect();
        if let Some(meanwhile) = &world.meanwhile {
            (meanwhile.0)(call);
        }
        let failed = match fault {
            None | Some(Fault::WasAlready | Fault::SaysAlready | Fault::Dies) => None,
            Some(Fault::LostAnswer | Fault::LostCall) => Some(failure("AuthorizeSecurityGroupIngress: no answer in time")),
            Some(Fault::Fails | Fault::RefusesOne) => Some(failure("AuthorizeSecurityGroupIngress: InvalidParameterValue")),
        };
        Some(Acted { ended, failed })
    }

    pub(crate) fn calls(&self) -> usize {
        self.world().calls
    }

    pub(crate) fn rules(&self) -> Table {
        self.world().rules.clone()
    }

    /// A target of an entry with this name, as a process that knows nothing yet.
    pub(crate) fn target(&self, entry: &str) -> Stepped<Self> {
        let entry = Entry { name: entry.to_owned(), dry_run: false, pause: std::time::Duration::ZERO };
        Stepped::new(self.clone(), entry)
    }
}

/// A meaning to aim at; what this cloud makes of it is scripted.
pub(crate) fn ruleset() -> Ruleset {
    let text = include_bytes!("../../../../policies-template/policies/floor.yaml");
    let mut snapshot = policy::snapshot::Snapshot::default();
    snapshot.entries.insert("policies/floor.yaml".to_owned(), policy::snapshot::Entry::File(text.to_vec()));
    let reading = crate::reading::read(&snapshot);
    let today = policy::date::Date::parse("2026-01-01").unwrap();
    policy::compile::compile(&policy::admit::Admitted::in_force(reading, today).unwrap())
}

pub(crate) fn group(name: &str) -> (Key, Rule) {
    (Key::Group(name.to_owned()), Rule::default())
}

pub(crate) fn rule(name: &str, peer: u8, ports: &[u8]) -> (Key, Rule) {
    (Key::Rule(name.to_owned(), peer), Rule { ports: ports.iter().copied().collect(), words: 0 })
}

fn failure(doing: &str) -> BackendError {
    BackendError { doing: doing.to_owned(), cause: None }
}

impl Provider for Cloud {
    type Key = Key;
    type Rule = Rule;

    fn name(&self) -> &'static str {
        "aws"
    }

    fn target(&self) -> &str {
        &self.name
    }

    fn setup_text(&self) -> String {
        format!("{} members", self.seen)
    }

    async fn survey(&mut self) -> Result<(), BackendError> {
        if self.world().cannot_be_surveyed {
            return Err(failure("DescribeInstances: ExpiredToken; sign in again"));
        }
        let members = self.world().members;
        self.seen = members;
        Ok(())
    }

    fn lower(&self, _ruleset: &Ruleset) -> Result<Table, NotLowered> {
        if let Some(message) = self.world().cannot_say.clone() {
            let (policy, rule, place) = (None, None, None);
            return Err(NotLowered::Unsupported(vec![Unsupported { backend: "aws", policy, rule, place, message }]));
        }
        Ok(self.world().desired.clone())
    }

    async fn observe(&mut self) -> Result<Shown<Key, Rule>, BackendError> {
        let mut world = self.world();
        if world.cannot_be_read {
            return Err(failure("DescribeSecurityGroups: ExpiredToken; sign in again"));
        }
        let rules = world.read();
        let foreign = |(key, observed): (&String, &String)| Difference {
            key: key.clone(),
            kind: Deviation::Extra,
            observed: observed.clone(),
            ours: Some(false),
            ..Difference::default()
        };
        Ok(Shown { rules, foreign: world.foreign.iter().map(foreign).collect() })
    }

    fn fits(&self, observed: &Table, desired: &Table) -> Result<(), Vec<Unsupported>> {
        let widest = observed.keys().chain(desired.keys()).collect::<BTreeSet<_>>().len();
        match self.world().rules_max {
            Some(most) if widest > most => {
                let message = format!("sg-0123 allows {most}, the change needs {widest} at its widest");
                Err(vec![Unsupported { backend: "aws", policy: None, rule: None, place: None, message }])
            }
            _ => Ok(()),
        }
    }

    fn stage(&self, change: &Change<Key, Rule>) -> Stage {
        match (change, change.key()) {
            (Change::Create { .. }, Key::Member(..)) => Stage::Join,
            (Change::Create { .. } | Change::Replace { .. }, _) => Stage::Add,
            (Change::Delete { .. }, Key::Group(_)) => Stage::Clear,
            (Change::Delete { .. }, _) => Stage::Remove,
        }
    }

    fn widened(old: &Rule, new: &Rule) -> Rule {
        Rule { ports: old.ports.union(&new.ports).copied().collect(), words: new.words }
    }

    fn class(old: &Rule, new: &Rule) -> Class {
        if old.ports == new.ports { Class::Cosmetic } else { Class::Flow }
    }

    fn waits(&self, _observed: &Table, _changes: &[Change<Key, Rule>]) -> Option<String> {
        self.world().waits.clone()
    }

    async fn act(&mut self, changes: &[Change<Key, Rule>]) -> Acted<Key> {
        match self.answer(changes) {
            Some(acted) => acted,
            None => std::future::pending().await,
        }
    }

    fn group(key: &Key) -> &str {
        match key {
            Key::Group(group) | Key::Rule(group, _) | Key::Member(group, _) => group,
        }
    }

    fn keep(rules: &Table) -> String {
        let line = |(key, rule): (&Key, &Rule)| {
            let ports: Vec<String> = rule.ports.iter().map(u8::to_string).collect();
            format!("{}={};{}", Self::key_text(key), ports.join(","), rule.words)
        };
        rules.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    fn recall(text: &str) -> Option<Table> {
        text.lines()
            .map(|line| {
                let (key, rest) = line.split_once('=')?;
                let (ports, words) = rest.split_once(';')?;
                let mut parts = key.split(' ');
                let (kind, group) = (parts.next()?, parts.next()?.to_owned());
                let number = parts.next().and_then(|text| text.parse().ok());
                let key = match kind {
                    "group" => Key::Group(group),
                    "rule" => Key::Rule(group, number?),
                    _ => Key::Member(group, number?),
                };
                let ports = ports.split(',').filter_map(|text| text.parse().ok()).collect();
                Some((key, Rule { ports, words: words.parse().ok()? }))
            })
            .collect()
    }

    fn key_text(key: &Key) -> String {
        match key {
            Key::Group(group) => format!("group {group}"),
            Key::Rule(group, peer) => format!("rule {group} {peer}"),
            Key::Member(group, member) => format!("member {group} {member}"),
        }
    }

    fn rule_text(rule: &Rule) -> String {
        format!("{:?} {}", rule.ports, rule.words)
    }

    async fn actor(&mut self, _key: &str) -> Option<Actor> {
        self.world().actor.clone()
    }
}
