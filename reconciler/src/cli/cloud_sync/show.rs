//! A plan and its end, for people.

use super::Ended;
use crate::cli::output::{Output, Tone, escape};
use crate::cli::validate::words::counted;
use crate::converge::TargetPlan;

/// What would change, and how much of it.
pub(super) fn plan(plan: &TargetPlan, out: Output) {
    out.line(out.paint(Tone::Strong, &plan.target));
    for step in &plan.create {
        let key = escape(&step.key);
        if step.from.is_empty() {
            out.line(format_args!("  {} {key}: {}", out.paint(Tone::Good, "+"), escape(&step.to)));
        } else {
            let (from, to) = (escape(&step.from), escape(&step.to));
            out.line(format_args!("  {} {key}: {from} -> {to}", out.paint(Tone::Warning, "~")));
        }
    }
    for step in &plan.delete {
        out.line(format_args!("  {} {}: {}", out.paint(Tone::Bad, "-"), escape(&step.key), escape(&step.from)));
    }
    for other in &plan.foreign {
        let what = if other.observed.is_empty() { &other.expected } else { &other.observed };
        out.line(format_args!(
            "  {} {}: {} (not ours: left as it is)",
            out.paint(Tone::Dim, "="),
            escape(&other.key),
            escape(what)
        ));
    }
    out.line(format_args!("  {}", summary(plan)));
}

fn summary(plan: &TargetPlan) -> String {
    let change = plan.create.iter().filter(|step| !step.from.is_empty()).count();
    let (add, remove) = (plan.create.len() - change, plan.delete.len());
    if add + change + remove == 0 {
        return format!("nothing to change: {} as they should be", counted(plan.unchanged, "rule is", "rules are"));
    }
    format!("{add} to add, {change} to change, {remove} to remove, {} unchanged", plan.unchanged)
}

/// How a run ended.
pub(super) fn end(plans: &[TargetPlan], ended: &Ended, out: Output) {
    match ended {
        Ended::Shown if plans.iter().all(TargetPlan::is_empty) => out.line(out.paint(Tone::Good, "in force")),
        Ended::Shown => out.line("dry run: nothing was changed"),
        Ended::Held(why) => {
            for why in why {
                out.line(format_args!("{}: {}", out.paint(Tone::Warning, "held"), escape(why)));
            }
        }
        Ended::Applied(done) => {
            let made: usize = done.iter().map(|one| one.steps.len()).sum();
            let failed = done.iter().any(|one| one.error.is_some());
            let word = if failed { out.paint(Tone::Bad, "stopped") } else { out.paint(Tone::Good, "in force") };
            out.line(format_args!("{word}: {} in {}", counted(made, "step", "steps"), counted(done.len(), "target", "targets")));
        }
    }
}
