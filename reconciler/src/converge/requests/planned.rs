//! What a request's head would do, on every target as it is now, and to the boundary of the CDE.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use policy::admit::Admitted;
use policy::compile::{Ruleset, compile};
use policy::date::Date;
use policy::difference::{Difference, difference};
use policy::lower::Unsupported;
use policy::model::PolicySet;
use policy::snapshot::CommitId;

use crate::chain::chain;
use crate::converge::{BackendError, NotLowered, Source, TargetPlan, World};

/// Comparing two sets and compiling one may take this long; the branch waits for it.
const TIME_MAX: Duration = Duration::from_secs(5);

/// What would change.
pub(in crate::converge) struct Planned {
    pub targets: Vec<PlannedTarget>,
    pub boundary: Boundary,
    /// Flows and endpoints that were not compared.
    pub not_compared: Vec<String>,
}

/// On one target.
pub(in crate::converge) struct PlannedTarget {
    pub name: String,
    /// Or why there is none.
    pub plan: Result<TargetPlan, String>,
    /// Why a person would have to release it.
    pub held: Option<String>,
}

/// What becomes of the boundary of the CDE (PCI DSS v4.0.1 11.4.5).
pub(in crate::converge) enum Boundary {
    /// A flow that changes crosses it, or the CDE itself is another.
    Touched,
    /// None does, and it is not.
    Untouched,
    /// There is none before.
    First,
    /// Why that is not known.
    Unknown(String),
}

impl Planned {
    /// For a status: `compliant; would make 3 changes`.
    pub(super) fn sentence(&self) -> String {
        if self.targets.is_empty() {
            return "compliant; this controller enforces nothing".to_owned();
        }
        let changes: usize = self.targets.iter().filter_map(|target| target.plan.as_ref().ok()).map(TargetPlan::changes_made).sum();
        let word = if changes == 1 { "change" } else { "changes" };
        let missing = self.targets.iter().filter(|target| target.plan.is_err()).count();
        let missing = if missing == 0 { String::new() } else { format!(", {missing} not planned") };
        format!("compliant; would make {changes} {word}{missing}")
    }

    /// What could not be shown.
    pub(super) fn unseen(&self) -> Vec<String> {
        let not_planned = |target: &PlannedTarget| {
            let reason = target.plan.as_ref().err()?;
            Some(format!("{}: {reason}", target.name))
        };
        let absent =
            self.targets.iter().filter_map(|target| Some((target, target.plan.as_ref().ok()?))).flat_map(|(target, plan)| {
                plan.absent
                    .iter()
                    .map(|absent| format!("{}: {} is not there yet; it is guarded once it appears", target.name, absent.key))
            });
        let boundary = match &self.boundary {
            Boundary::Unknown(reason) => Some(reason.clone()),
            Boundary::Touched | Boundary::Untouched | Boundary::First => None,
        };
        self.targets.iter().filter_map(not_planned).chain(absent).chain(boundary).chain(self.not_compared.iter().cloned()).collect()
    }
}

impl<S: Source> World<'_, S> {
    /// Plans on every target. What a backend cannot say is a finding; whatever else goes wrong is said beside the plan.
    pub(super) async fn plan_request(&mut self, admitted: Admitted, base: Option<CommitId>) -> (Planned, Vec<Unsupported>) {
        let before = match (self.enforced_set(), base) {
            (Some(set), _) => Before::Known(set),
            (None, Some(_)) => Before::Unknown,
            (None, None) => Before::Nothing,
        };
        let worked_out = work_out(admitted, before);
        let (ruleset, boundary, not_compared) = match tokio::time::timeout(TIME_MAX, worked_out).await {
            Ok(Ok(found)) => (Ok(found.ruleset), found.boundary, found.not_compared),
            Ok(Err(reason)) => (Err(reason.clone()), Boundary::Unknown(reason), Vec::new()),
            Err(_) => {
                let reason = format!("comparing it with what is in force takes more than {} s", TIME_MAX.as_secs());
                (Err(reason.clone()), Boundary::Unknown(reason), Vec::new())
            }
        };
        let (mut targets, mut unsupported) = (Vec::new(), Vec::new());
        for index in 0..self.targets.len() {
            match &ruleset {
                Ok(ruleset) => match self.plan_target(index, ruleset).await {
                    Ok(planned) => targets.extend(planned),
                    Err(problems) => unsupported.extend(problems),
                },
                Err(reason) => targets.extend(self.targets.get(index).map(|target| PlannedTarget {
                    name: target.name().to_owned(),
                    plan: Err(reason.clone()),
                    held: None,
                })),
            }
        }
        // Whatever happened above: nobody may apply this.
        self.discard();
        (Planned { targets, boundary, not_compared }, unsupported)
    }

    async fn plan_target(&mut self, index: usize, ruleset: &Ruleset) -> Result<Option<PlannedTarget>, Vec<Unsupported>> {
        let Some(target) = self.targets.get_mut(index) else { return Ok(None) };
        let name = target.name().to_owned();
        let failed = |reason| PlannedTarget { name: name.clone(), plan: Err(reason), held: None };
        if let Err(error) = target.survey().await {
            return Ok(Some(failed(chain(&error))));
        }
        // The loop that follows the branch runs on this thread.
        match catch_unwind(AssertUnwindSafe(|| target.aim(ruleset))) {
            Ok(Ok(())) => {}
            Ok(Err(NotLowered::Unsupported(problems))) => return Err(problems),
            Ok(Err(NotLowered::Failed(error))) => return Ok(Some(failed(chain(&error)))),
            Err(_) => return Ok(Some(failed("the backend stopped on this commit".to_owned()))),
        }
        let looked: Result<Option<TargetPlan>, BackendError> = target.plan().await;
        if !target.narrow().is_empty() {
            return Err(target.narrow().to_vec());
        }
        let held = target.excess(&self.settings.limits).map(|excess| excess.to_string());
        let held = held.or_else(|| target.excess_of_group(&self.settings.limits)).or_else(|| target.waits());
        Ok(match looked {
            Ok(None) => None,
            Ok(Some(plan)) => Some(PlannedTarget { plan: Ok(plan), name, held }),
            Err(error) => Some(failed(chain(&error))),
        })
    }
}

/// What is in force.
enum Before {
    Known(Arc<PolicySet>),
    Unknown,
    Nothing,
}

struct WorkedOut {
    ruleset: Ruleset,
    boundary: Boundary,
    not_compared: Vec<String>,
}

/// On a thread of its own, where what stops is an error and nothing worse.
async fn work_out(admitted: Admitted, before: Before) -> Result<WorkedOut, String> {
    let task = tokio::task::spawn_blocking(move || {
        let ruleset = compile(&admitted);
        let today = admitted.today();
        let (boundary, not_compared) = match before {
            Before::Known(enforced) => compare(&enforced, admitted.set(), today),
            Before::Unknown => {
                (Boundary::Unknown("the commit in force cannot be read, so nothing is compared with it".to_owned()), Vec::new())
            }
            Before::Nothing => (Boundary::First, Vec::new()),
        };
        WorkedOut { ruleset, boundary, not_compared }
    });
    task.await.map_err(|_| "the program stopped while comparing this commit with what is in force".to_owned())
}

fn compare(enforced: &PolicySet, new: &PolicySet, today: Date) -> (Boundary, Vec<String>) {
    let found: Difference = difference(enforced, new, today);
    let mut not_compared: Vec<String> = found.not_compared.iter().map(|who| format!("not compared: {who}")).collect();
    if found.more > 0 {
        not_compared.push(format!("{} more differences were counted and not compared", found.more));
    }
    let touched = found.moves_boundary() || found.scope.iter().any(|change| change.cde);
    let boundary = match (touched, not_compared.is_empty()) {
        (true, _) => Boundary::Touched,
        (false, true) => Boundary::Untouched,
        (false, false) => {
            Boundary::Unknown("whether the boundary of the CDE is touched: not everything could be compared".to_owned())
        }
    };
    (boundary, not_compared)
}
