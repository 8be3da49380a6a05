//! Carries plans out: on all targets what adds, then on all what takes away.

use serde::Serialize;

use crate::chain::chain;
use crate::cli::Format;
use crate::cli::output::{Output, Tone, escape};
use crate::converge::{EndedStep, Part, Target, TargetPlan};

/// What became of a target's plan.
#[derive(Debug, Serialize)]
pub(super) struct Done {
    pub(super) target: String,
    pub(super) steps: Vec<StepDone>,
    /// Why it stopped; null where all of it was made and verified.
    pub(super) error: Option<String>,
}

/// What became of a step.
#[derive(Debug, Serialize)]
pub(super) struct StepDone {
    key: String,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
}

/// Where one target fails to add, nothing is removed anywhere: what is missing there may be what replaces it.
pub(super) async fn apply(targets: &mut [Box<dyn Target>], plans: &[TargetPlan], format: Format, out: Output) -> Vec<Done> {
    let empty = |name: &str| Done { target: name.to_owned(), steps: Vec::new(), error: None };
    let mut done: Vec<Done> = targets.iter().map(|target| empty(target.name())).collect();
    for part in [Part::Adding, Part::Removing] {
        for ((target, plan), done) in targets.iter_mut().zip(plans).zip(&mut done) {
            if !plan.is_empty() {
                done.error = take_all(target.as_mut(), part, plan.changes, &mut done.steps, format, out).await;
            }
        }
        if done.iter().any(|one| one.error.is_some()) {
            break;
        }
    }
    done
}

/// All steps of a part; returns why it stopped.
async fn take_all(
    target: &mut dyn Target,
    part: Part,
    changes: usize,
    steps: &mut Vec<StepDone>,
    format: Format,
    out: Output,
) -> Option<String> {
    loop {
        let doing = if part == Part::Adding { "adding" } else { "taking away" };
        out.progress(format_args!("{}: {doing}, {} of {changes} changes made", target.name(), steps.len().min(changes)));
        let taken = target.take(part).await;
        out.progress("");
        let taken = match taken {
            Ok(Some(taken)) => taken,
            Ok(None) => return None,
            Err(error) => return Some(chain(&error)),
        };
        for step in &taken.ended {
            if format == Format::Human {
                show(step, out);
            }
            steps.push(StepDone { key: step.key.clone(), state: step.state.word(), code: step.code.clone() });
        }
        if let Some(failed) = taken.failed {
            return Some(chain(&failed));
        }
    }
}

fn show(step: &EndedStep, out: Output) {
    use crate::store::StepState::{Already, Done};
    let tone = if matches!(step.state, Done | Already) { Tone::Good } else { Tone::Bad };
    let code = step.code.as_deref().map(|code| format!(" ({})", escape(code))).unwrap_or_default();
    out.line(format_args!("  {} {}{code}", out.paint(tone, step.state.word()), escape(&step.key)));
}
