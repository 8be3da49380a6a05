//! Questions about sets that were not admitted.
//!
//! Nothing here can be enforced: there is no way from a [`PolicySet`] to a [`Ruleset`] but through
//! `admit`. Whoever prints the answer says that the set was not admitted.

use crate::compile::{Flow, Ruleset, Verdict};
use crate::date::Date;
use crate::model::PolicySet;

/// What the set says of a flow, admitted or not. What could not be read of it allows nothing.
#[must_use]
pub fn explain(set: &PolicySet, today: Date, flow: &Flow) -> Verdict {
    Ruleset::of(set, today).verdict(flow)
}

/// What the set says of many flows.
#[must_use]
pub fn explain_all(set: &PolicySet, today: Date, flows: &[Flow]) -> alloc::vec::Vec<Verdict> {
    let ruleset = Ruleset::of(set, today);
    flows.iter().map(|flow| ruleset.verdict(flow)).collect()
}
