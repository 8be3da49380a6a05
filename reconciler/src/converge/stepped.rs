//! A cloud with what should be in force, the candidate and the plan made last: changed call by call, so that at every moment
//! everything passes that old and new both allow, and nothing that neither does.
//!
//! What adds comes first and is read back twice, then comes what takes away. A target that fails stays where it is: what was added
//! stays, nothing more is removed, and the next pass begins by looking.

mod limits;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use policy::compile::Ruleset;
use policy::diff::Change;
use policy::digest::Digest;
use policy::lower::Unsupported;
use policy::plan::{Excess, Limits, Plan};

use self::work::Work;
use super::provider::{Actor, Part, Provider};
use super::target::{
    BackendError, Boxed, Class, Deviation, Difference, Holding, Kept, NotLowered, Rehearsal, Step, Taken, Target, TargetPlan, Trial,
};

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
    /// What does not fit at the same time.
    narrow: Vec<Unsupported>,
    /// Everything that adds was made and read back.
    added: bool,
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
        let plan = Plan::new(&shown.rules, &desired);
        // What is there already fits, however tightly.
        let fits = if plan.is_empty() { Ok(()) } else { self.provider.fits(&shown.rules, &desired) };
        let narrow = fits.err().unwrap_or_default();
        let described = self.describe(&plan, shown.foreign);
        self.planned = Some(Planned { plan, observed: shown.rules, narrow, added: false });
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
            dry_run: self.entry.dry_run,
            in_steps: true,
            absent: Vec::new(),
            foreign,
            changes,
            differences,
        }
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
        self.planned.as_ref().and_then(|planned| planned.excess(limits))
    }

    fn excess_of_group(&self, limits: &Limits) -> Option<String> {
        self.planned.as_ref().and_then(|planned| planned.excess_of_group(&self.provider, limits))
    }

    fn narrow(&self) -> &[Unsupported] {
        self.planned.as_ref().map_or(&[], |planned| &planned.narrow)
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

#[cfg(test)]
pub(crate) mod memory;
#[cfg(test)]
mod tests;
