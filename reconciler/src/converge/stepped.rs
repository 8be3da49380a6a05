//! A cloud with what should be in force, the candidate and the plan made last: changed call by call, so that at every moment
//! everything passes that old and new both allow, and nothing that neither does.
//!
//! What adds comes first and is read back twice, then comes what takes away. A target that fails stays where it is: what was added
//! stays, nothing more is removed, and the next pass begins by looking.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use policy::compile::Ruleset;
use policy::diff::Change;
use policy::digest::Digest;
use policy::lower::Unsupported;
use policy::plan::{Excess, Limits, Plan};

use super::provider::{Actor, Part, Provider, Stage};
use super::target::{
    BackendError, Boxed, Class, Deviation, Difference, EndedStep, Holding, Kept, NotLowered, Rehearsal, Step, Taken, Target,
    TargetPlan, Trial,
};
use crate::store::StepState;

/// So often a target is read before it counts as not showing what was written to it.
const READS_MAX: u32 = 60;

/// Which entry of the configuration a target belongs to, and what was said there.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Nothing is applied.
    pub dry_run: bool,
    /// Between two readings that have to agree.
    pub pause: Duration,
}

/// What a provider enforces, by key.
type Table<P> = BTreeMap<<P as Provider>::Key, <P as Provider>::Rule>;
/// One change of it.
type ChangeOf<P> = Change<<P as Provider>::Key, <P as Provider>::Rule>;

/// A provider, what should be in force, the candidate, and the plan made last.
pub struct Stepped<P: Provider> {
    provider: P,
    entry: Entry,
    in_force: Option<Table<P>>,
    candidate: Option<Table<P>>,
    planned: Option<Planned<P>>,
    left: BTreeSet<String>,
    work: Option<Work<P>>,
}

/// A plan with what it was made from.
struct Planned<P: Provider> {
    plan: Plan<P::Key, P::Rule>,
    observed: Table<P>,
}

/// A part of a plan that is being carried out.
struct Work<P: Provider> {
    part: Part,
    queue: VecDeque<(Stage, ChangeOf<P>)>,
    /// What should be seen once the calls so far have arrived.
    expected: Table<P>,
    verify: Option<Verify>,
    verified: bool,
}

#[derive(Default)]
struct Verify {
    reads: u32,
    agreed: bool,
}

impl<P: Provider> Stepped<P> {
    /// A target of which nothing is known yet.
    #[must_use]
    pub fn new(provider: P, entry: Entry) -> Self {
        Self { provider, entry, in_force: None, candidate: None, planned: None, left: BTreeSet::new(), work: None }
    }

    async fn look(&mut self) -> Result<Option<TargetPlan>, BackendError> {
        self.work = None;
        self.planned = None;
        let Some(desired) = self.candidate.as_ref().or(self.in_force.as_ref()) else { return Ok(None) };
        let shown = self.provider.observe().await?;
        let desired = but_left::<P>(desired, &shown.rules, &self.left);
        if let Err(problems) = self.provider.fits(&shown.rules, &desired) {
            return Err(too_narrow(&problems));
        }
        let plan = Plan::new(&shown.rules, &desired);
        let described = self.describe(&plan, shown.foreign);
        self.planned = Some(Planned { plan, observed: shown.rules });
        Ok(Some(described))
    }

    fn describe(&self, plan: &Plan<P::Key, P::Rule>, foreign: Vec<Difference>) -> TargetPlan {
        let mut differences: Vec<Difference> = plan.changes.iter().map(difference::<P>).collect();
        let step = |d: &Difference| Step { key: d.key.clone(), from: d.observed.clone(), to: d.expected.clone() };
        let create = differences.iter().filter(|d| d.kind != Deviation::Extra).map(step).collect();
        let delete = differences.iter().filter(|d| d.kind == Deviation::Extra).map(step).collect();
        let changes = differences.len();
        differences.extend(foreign.iter().cloned());
        TargetPlan {
            target: self.provider.target().to_owned(),
            backend: self.provider.name(),
            create,
            delete,
            unchanged: plan.unchanged,
            damage: Vec::new(),
            desired_hash: plan.desired_hash,
            observed_hash: plan.observed_hash,
            hash: plan.hash(),
            blank: false,
            audited: false,
            absent: Vec::new(),
            foreign,
            changes,
            differences,
        }
    }

    /// The calls of a part, in their order.
    fn begin(&self, part: Part) -> Option<Work<P>> {
        let planned = self.planned.as_ref()?;
        let mut staged: Vec<(Stage, ChangeOf<P>)> = Vec::new();
        for change in &planned.plan.changes {
            match change {
                Change::Replace { key, old, new } => staged.extend(replaced::<P>(key, old, new)),
                Change::Create { .. } | Change::Delete { .. } => staged.push((self.provider.stage(change), change.clone())),
            }
        }
        // Stable: within a stage the order of keys.
        staged.sort_by_key(|(stage, _)| *stage);
        let mut expected = planned.observed.clone();
        if part == Part::Removing {
            staged
                .iter()
                .filter(|(stage, _)| stage.part() == Part::Adding)
                .for_each(|(_, change)| make::<P>(&mut expected, change));
        }
        let queue: VecDeque<_> = staged.into_iter().filter(|(stage, _)| stage.part() == part).collect();
        let verified = queue.is_empty();
        Some(Work { part, queue, expected, verify: None, verified })
    }

    async fn step(&mut self, part: Part) -> Result<Option<Taken>, BackendError> {
        let mut work = match self.work.take().filter(|work| work.part == part) {
            Some(work) => work,
            None => self.begin(part).ok_or_else(unknown)?,
        };
        if work.verified && work.queue.is_empty() {
            return Ok(None);
        }
        let taken = match work.verify.take() {
            Some(verify) => self.verify(&mut work, verify).await,
            None => self.call(&mut work).await,
        };
        self.work = Some(work);
        taken.map(Some)
    }

    /// One call of the first stage that is left; all of a stage is verified before the next one begins.
    async fn call(&mut self, work: &mut Work<P>) -> Result<Taken, BackendError> {
        let Some(stage) = work.queue.front().map(|(stage, _)| *stage) else {
            work.verify = Some(Verify::default());
            return Ok(nothing_yet());
        };
        let batch: Vec<ChangeOf<P>> =
            work.queue.iter().take_while(|(one, _)| *one == stage).map(|(_, change)| change.clone()).collect();
        let acted = self.provider.act(&batch).await;
        let mut ended = Vec::new();
        for one in acted.ended {
            let Some(at) = work.queue.iter().position(|(of, change)| *of == stage && *change.key() == one.key) else { continue };
            let Some((_, change)) = work.queue.remove(at) else { continue };
            if matches!(one.state, StepState::Done | StepState::Already) {
                make::<P>(&mut work.expected, &change);
            }
            ended.push(EndedStep { key: P::key_text(&one.key), state: one.state, code: one.code });
        }
        work.verified = false;
        if work.queue.front().is_none_or(|(next, _)| *next != stage) {
            work.verify = Some(Verify::default());
        }
        Ok(Taken { ended, failed: acted.failed })
    }

    /// One reading; two in a row have to show what is expected.
    async fn verify(&mut self, work: &mut Work<P>, mut verify: Verify) -> Result<Taken, BackendError> {
        if verify.reads > 0 {
            tokio::time::sleep(self.entry.pause).await;
        }
        let shown = self.provider.observe().await?;
        let agrees = shown.rules == work.expected;
        if agrees && verify.agreed {
            work.verified = true;
            return Ok(nothing_yet());
        }
        verify.agreed = agrees;
        verify.reads += 1;
        if verify.reads > READS_MAX {
            let first = Plan::new(&shown.rules, &work.expected).changes.first().map(|change| P::key_text(change.key()));
            let doing = format!(
                "{} does not show what was written to it: {}; look at who else writes there",
                self.provider.target(),
                first.unwrap_or_default()
            );
            return Err(BackendError { doing, cause: None });
        }
        work.verify = Some(verify);
        Ok(nothing_yet())
    }
}

/// A change of a rule that differs: first what either allows, then only the new.
fn replaced<P: Provider>(key: &P::Key, old: &P::Rule, new: &P::Rule) -> Vec<(Stage, ChangeOf<P>)> {
    let wide = P::widened(old, new);
    let from_to = |old: &P::Rule, new: &P::Rule| Change::Replace { key: key.clone(), old: old.clone(), new: new.clone() };
    let widen = (wide != *old).then(|| (Stage::Add, from_to(old, &wide)));
    let narrow = (wide != *new).then(|| (Stage::Remove, from_to(&wide, new)));
    widen.into_iter().chain(narrow).collect()
}

fn make<P: Provider>(table: &mut Table<P>, change: &ChangeOf<P>) {
    match change {
        Change::Create { key, rule } | Change::Replace { key, new: rule, .. } => drop(table.insert(key.clone(), rule.clone())),
        Change::Delete { key, .. } => drop(table.remove(key)),
    }
}

/// `desired`, but under the keys that are left what is found there.
fn but_left<P: Provider>(desired: &Table<P>, found: &Table<P>, left: &BTreeSet<String>) -> Table<P> {
    if left.is_empty() {
        return desired.clone();
    }
    let is_left = |key: &P::Key| left.contains(&P::key_text(key));
    let own = desired.iter().filter(|(key, _)| !is_left(key));
    own.chain(found.iter().filter(|(key, _)| is_left(key))).map(|(key, rule)| (key.clone(), rule.clone())).collect()
}

fn difference<P: Provider>(change: &ChangeOf<P>) -> Difference {
    let (kind, expected, observed, class) = match change {
        Change::Create { rule, .. } => (Deviation::Missing, P::rule_text(rule), String::new(), Class::Flow),
        Change::Replace { old, new, .. } => (Deviation::Changed, P::rule_text(new), P::rule_text(old), P::class(old, new)),
        Change::Delete { rule, .. } => (Deviation::Extra, String::new(), P::rule_text(rule), Class::Flow),
    };
    Difference { key: P::key_text(change.key()), kind, expected, observed, class, ours: Some(true) }
}

fn too_narrow(problems: &[Unsupported]) -> BackendError {
    let all: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
    BackendError { doing: all.join("; "), cause: None }
}

const fn nothing_yet() -> Taken {
    Taken { ended: Vec::new(), failed: None }
}

fn unknown() -> BackendError {
    BackendError { doing: "nothing is known of what should be enforced".to_owned(), cause: None }
}

impl<P: Provider> Target for Stepped<P> {
    fn name(&self) -> &str {
        self.provider.target()
    }

    fn backend(&self) -> &'static str {
        self.provider.name()
    }

    fn entry(&self) -> &str {
        &self.entry.name
    }

    fn dry_run(&self) -> bool {
        self.entry.dry_run
    }

    fn survey(&mut self) -> Boxed<'_, Result<(), BackendError>> {
        Box::pin(self.provider.survey())
    }

    fn in_steps(&self) -> bool {
        true
    }

    fn take(&mut self, part: Part) -> Boxed<'_, Result<Option<Taken>, BackendError>> {
        Box::pin(self.step(part))
    }

    fn waits(&self) -> Option<String> {
        let planned = self.planned.as_ref()?;
        self.provider.waits(&planned.observed, &planned.plan.changes)
    }

    fn actor<'a>(&'a mut self, key: &'a str) -> Boxed<'a, Option<Actor>> {
        Box::pin(self.provider.actor(key))
    }

    fn knows(&self) -> bool {
        self.in_force.is_some()
    }

    fn aim(&mut self, ruleset: &Ruleset) -> Result<(), NotLowered> {
        self.candidate = Some(self.provider.lower(ruleset)?);
        self.planned = None;
        Ok(())
    }

    fn plan(&mut self) -> Boxed<'_, Result<Option<TargetPlan>, BackendError>> {
        Box::pin(self.look())
    }

    fn excess(&self, limits: &Limits) -> Option<Excess> {
        self.planned.as_ref().and_then(|planned| planned.plan.excess(limits))
    }

    fn apply(&mut self, _within: Option<Duration>) -> Boxed<'_, Result<u64, BackendError>> {
        Box::pin(async {
            for part in [Part::Adding, Part::Removing] {
                while let Some(taken) = self.step(part).await? {
                    if let Some(failed) = taken.failed {
                        return Err(failed);
                    }
                }
            }
            Ok(0)
        })
    }

    fn trial(&mut self) -> Boxed<'_, Result<Option<Trial>, BackendError>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn confirm(&mut self) -> Boxed<'_, Result<(), BackendError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn roll_back(&mut self) -> Boxed<'_, Result<Option<u64>, BackendError>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn rehearse(&mut self) -> Boxed<'_, Result<Rehearsal, BackendError>> {
        Box::pin(std::future::ready(Ok(Rehearsal::default())))
    }

    fn begin_trial(&mut self) {}

    fn adopt_trial(&mut self) {}

    fn end_trial(&mut self) {}

    fn recall_trial(&mut self, _kept: &Kept, _desired_hash: &str) -> bool {
        false
    }

    fn holds<'a>(&'a mut self, desired_hash: &'a str) -> Boxed<'a, Result<Holding, BackendError>> {
        Box::pin(async move {
            let shown = self.provider.observe().await?;
            Ok(if Digest::of_table(&shown.rules).to_string() == desired_hash { Holding::These } else { Holding::Others })
        })
    }

    fn mend(&mut self, _blank: bool) -> Boxed<'_, Result<Option<u64>, BackendError>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn be_alone(&mut self) -> Boxed<'_, Result<(), BackendError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn adopt(&mut self) {
        if let Some(candidate) = self.candidate.take() {
            self.in_force = Some(candidate);
        }
    }

    fn discard(&mut self) {
        self.candidate = None;
        self.work = None;
    }

    fn leave(&mut self, keys: BTreeSet<String>) {
        self.left = keys;
    }

    fn wanted(&self, key: &str) -> Option<String> {
        let rules = self.in_force.as_ref()?;
        rules.iter().find(|(own, _)| P::key_text(own) == key).map(|(_, rule)| P::rule_text(rule))
    }

    fn remember(&self) -> Kept {
        let rules = self.candidate.as_ref().or(self.in_force.as_ref()).map(P::keep).unwrap_or_default();
        Kept { rules, memory: String::new(), setup: self.provider.setup_text() }
    }

    fn recall(&mut self, kept: &Kept, desired_hash: &str) -> bool {
        self.in_force = P::recall(&kept.rules).filter(|rules| Digest::of_table(rules).to_string() == desired_hash);
        self.in_force.is_some()
    }

    fn setup_text(&self) -> String {
        self.provider.setup_text()
    }
}
