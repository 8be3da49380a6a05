//! A part of a plan while it is carried out, one call or one reading at a time.
//!
//! What a call is said to have done counts once it is read back. Where nobody knows what became of a call, nothing more is sent before
//! looking has told; where a provider says that something was so already, it has to show it.

use std::collections::VecDeque;

use policy::diff::Change;
use policy::plan::Plan;

use super::super::provider::{Acted, Part, Provider, Stage};
use super::super::target::{BackendError, EndedStep, Taken};
use super::{ChangeOf, Stepped, Table};
use crate::store::StepState;

/// So often a target is read before it counts as not showing what was written to it.
pub(super) const READS_MAX: u32 = 60;

/// One change to be made.
struct Item<P: Provider> {
    stage: Stage,
    change: ChangeOf<P>,
    /// With it the step of the plan is done: a rule that is widened is narrowed later.
    last: bool,
}

/// What may be so, until it is read back.
struct Claim<P: Provider> {
    item: Item<P>,
    state: StepState,
    code: Option<String>,
}

/// What a reading is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asks {
    /// What became of what nobody vouches for.
    Claims,
    /// Whether everything is as it should be by now; two readings in a row have to say so.
    All,
}

struct Verify {
    asks: Asks,
    reads: u32,
    agreed: bool,
}

impl Verify {
    const fn new(asks: Asks) -> Self {
        Self { asks, reads: 0, agreed: false }
    }
}

/// A part of a plan that is being carried out.
pub(super) struct Work<P: Provider> {
    part: Part,
    queue: VecDeque<Item<P>>,
    /// What should be seen once the calls so far have arrived.
    expected: Table<P>,
    claims: Vec<Claim<P>>,
    verify: Option<Verify>,
    /// Why nothing more is made, told once the claims are settled; and whether they can change that.
    failed: Option<(BackendError, bool)>,
}

impl<P: Provider> Stepped<P> {
    /// The next call or reading of a part; `None` once all of it is made and verified.
    pub(super) async fn step(&mut self, part: Part) -> Result<Option<Taken>, BackendError> {
        let mut work = match self.work.take().filter(|work| work.part == part) {
            Some(work) => work,
            None => self.begin(part)?,
        };
        let taken = match work.verify.take() {
            Some(verify) => self.verify(&mut work, verify).await,
            None if work.queue.is_empty() => {
                if let Some(planned) = self.planned.as_mut().filter(|_| part == Part::Adding) {
                    planned.added = true;
                }
                self.work = Some(work);
                return Ok(None);
            }
            None => self.call(&mut work).await,
        };
        if taken.failed.is_some() {
            // Nothing goes on from here: the next plan begins by looking.
            self.planned = None;
        } else {
            self.work = Some(work);
        }
        Ok(Some(taken))
    }

    /// The calls of a part, in their order.
    fn begin(&self, part: Part) -> Result<Work<P>, BackendError> {
        let planned = self.planned.as_ref().ok_or_else(super::unknown)?;
        if let Some(problem) = planned.narrow.first() {
            return Err(self.refused(&problem.message));
        }
        let mut staged: Vec<Item<P>> = Vec::new();
        for change in &planned.plan.changes {
            match change {
                Change::Replace { key, old, new } => staged.extend(replaced::<P>(key, old, new)),
                Change::Create { .. } | Change::Delete { .. } => {
                    staged.push(Item { stage: self.provider.stage(change), change: change.clone(), last: true });
                }
            }
        }
        // Stable: within a stage the order of keys.
        staged.sort_by_key(|item| item.stage);
        let mut expected = planned.observed.clone();
        let (adding, removing): (Vec<_>, Vec<_>) = staged.into_iter().partition(|item| item.stage.part() == Part::Adding);
        let queue = match part {
            Part::Adding => adding,
            Part::Removing if !planned.added && !adding.is_empty() => {
                return Err(self.refused("nothing is removed before all that is added was verified; plan again"));
            }
            Part::Removing => {
                adding.iter().for_each(|item| make::<P>(&mut expected, &item.change));
                removing
            }
        };
        Ok(Work { part, queue: queue.into(), expected, claims: Vec::new(), verify: None, failed: None })
    }

    /// One call of the first stage that is left; all of a stage is verified before the next one begins.
    async fn call(&mut self, work: &mut Work<P>) -> Taken {
        let Some(stage) = work.queue.front().map(|item| item.stage) else { return nothing_yet() };
        let batch: Vec<ChangeOf<P>> =
            work.queue.iter().take_while(|item| item.stage == stage).map(|item| item.change.clone()).collect();
        let Acted { ended, failed } = self.provider.act(&batch).await;
        let (mut steps, mut refused, tried) = (Vec::new(), None, !ended.is_empty());
        for one in ended.into_iter().filter(|one| one.state != StepState::Intent) {
            let Some(at) = work.queue.iter().position(|item| item.stage == stage && *item.change.key() == one.key) else {
                continue;
            };
            let Some(item) = work.queue.remove(at) else { continue };
            match one.state {
                StepState::Done => {
                    make::<P>(&mut work.expected, &item.change);
                    steps.extend(item.last.then(|| ended_step::<P>(&item, one.state, one.code)));
                }
                StepState::Already | StepState::Unknown => {
                    make::<P>(&mut work.expected, &item.change);
                    work.claims.push(Claim { item, state: one.state, code: one.code });
                }
                StepState::Failed | StepState::Intent => {
                    let step = ended_step::<P>(&item, one.state, one.code);
                    refused.get_or_insert_with(|| format!("{} was refused: {}", step.key, step.code.as_deref().unwrap_or("?")));
                    steps.push(step);
                }
            }
        }
        let is_final = refused.is_some() || !tried;
        let idle = (!tried && failed.is_none()).then(|| "the provider tried nothing; report this".to_owned());
        let failed = failed.or_else(|| refused.or(idle).map(|why| self.refused(&why)));
        let unsure = work.claims.iter().any(|claim| claim.state == StepState::Unknown);
        if unsure || failed.is_some() && !work.claims.is_empty() {
            // Nothing more is sent before it is known what became of this.
            work.failed = failed.map(|failed| (failed, is_final || !unsure));
            work.verify = Some(Verify::new(Asks::Claims));
            return Taken { ended: steps, failed: None };
        }
        verify_if_stage_is_over(work, stage);
        Taken { ended: steps, failed }
    }

    /// One reading.
    async fn verify(&mut self, work: &mut Work<P>, mut verify: Verify) -> Taken {
        if verify.reads > 0 {
            tokio::time::sleep(self.entry.pause).await;
        }
        let shown = match self.provider.observe().await {
            Ok(shown) => shown.rules,
            Err(error) => return Taken { ended: settle(work, None), failed: Some(error) },
        };
        let agrees = match verify.asks {
            Asks::All => shown == work.expected,
            Asks::Claims => work.claims.iter().all(|claim| shows::<P>(&shown, &work.expected, claim)),
        };
        verify.reads += 1;
        if agrees && (verify.agreed || verify.asks == Asks::Claims) {
            return self.agreed(work, &shown, verify.asks);
        }
        verify.agreed = agrees;
        if verify.reads < READS_MAX || agrees {
            work.verify = Some(verify);
            return nothing_yet();
        }
        let ended = settle(work, Some(&shown));
        let told = work.failed.take().map(|(failed, _)| failed);
        Taken { ended, failed: Some(told.unwrap_or_else(|| self.not_shown(&shown, &work.expected))) }
    }

    fn agreed(&self, work: &mut Work<P>, shown: &Table<P>, asks: Asks) -> Taken {
        let stage = work.claims.last().map(|claim| claim.item.stage);
        let ended = settle(work, Some(shown));
        // A call that timed out and is seen to be done is no reason to stop.
        let failed = work.failed.take().filter(|(_, is_final)| *is_final).map(|(failed, _)| failed);
        if let Some(stage) = stage.filter(|_| asks == Asks::Claims && failed.is_none()) {
            verify_if_stage_is_over(work, stage);
        }
        Taken { ended, failed }
    }

    fn not_shown(&self, shown: &Table<P>, expected: &Table<P>) -> BackendError {
        let first = Plan::new(shown, expected).changes.first().map(|change| P::key_text(change.key())).unwrap_or_default();
        self.refused(&format!("does not show what was written to it: {first}; look at who else writes there"))
    }

    fn refused(&self, why: &str) -> BackendError {
        BackendError { doing: format!("{}: {why}", self.provider.target()), cause: None }
    }
}

fn verify_if_stage_is_over<P: Provider>(work: &mut Work<P>, stage: Stage) {
    if work.queue.front().is_none_or(|next| next.stage != stage) {
        work.verify = Some(Verify::new(Asks::All));
    }
}

fn shows<P: Provider>(shown: &Table<P>, expected: &Table<P>, claim: &Claim<P>) -> bool {
    let key = claim.item.change.key();
    shown.get(key) == expected.get(key)
}

/// Ends every claim by what is shown: it is so already, or it is refused or unknown, as it was said.
fn settle<P: Provider>(work: &mut Work<P>, shown: Option<&Table<P>>) -> Vec<EndedStep> {
    let claims = std::mem::take(&mut work.claims);
    let end = |claim: Claim<P>| {
        let is_shown = shown.is_some_and(|shown| shows::<P>(shown, &work.expected, &claim));
        let state = if is_shown {
            StepState::Already
        } else if shown.is_some() && claim.state == StepState::Already {
            StepState::Failed
        } else {
            StepState::Unknown
        };
        (claim.item.last || !is_shown).then(|| ended_step::<P>(&claim.item, state, claim.code))
    };
    claims.into_iter().filter_map(end).collect()
}

fn ended_step<P: Provider>(item: &Item<P>, state: StepState, code: Option<String>) -> EndedStep {
    EndedStep { key: P::key_text(item.change.key()), state, code }
}

/// A change of a rule that differs: first what either allows, then only the new.
fn replaced<P: Provider>(key: &P::Key, old: &P::Rule, new: &P::Rule) -> Vec<Item<P>> {
    let wide = P::widened(old, new);
    let from_to = |old: &P::Rule, new: &P::Rule| Change::Replace { key: key.clone(), old: old.clone(), new: new.clone() };
    let narrow = (wide != *new).then(|| Item { stage: Stage::Remove, change: from_to(&wide, new), last: true });
    let widen = (wide != *old).then(|| Item { stage: Stage::Add, change: from_to(old, &wide), last: narrow.is_none() });
    widen.into_iter().chain(narrow).collect()
}

fn make<P: Provider>(table: &mut Table<P>, change: &ChangeOf<P>) {
    match change {
        Change::Create { key, rule } | Change::Replace { key, new: rule, .. } => drop(table.insert(key.clone(), rule.clone())),
        Change::Delete { key, .. } => drop(table.remove(key)),
    }
}

const fn nothing_yet() -> Taken {
    Taken { ended: Vec::new(), failed: None }
}
