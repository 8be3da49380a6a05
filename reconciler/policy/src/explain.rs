//! Questions about sets that were not admitted.
//!
//! Nothing here can be enforced: there is no way from a [`PolicySet`] to a [`Ruleset`] but through
//! `admit`. Whoever prints the answer says that the set was not admitted.

use crate::compile::{Flow, Ruleset, Verdict};
use crate::model::PolicySet;

/// What the set says of a flow, admitted or not. What could not be read of it allows nothing.
#[must_use]
pub fn explain(set: &PolicySet, flow: &Flow) -> Verdict {
    Ruleset::of(set).verdict(flow)
}

/// What the set says of many flows.
#[must_use]
pub fn explain_all(set: &PolicySet, flows: &[Flow]) -> alloc::vec::Vec<Verdict> {
    let ruleset = Ruleset::of(set);
    flows.iter().map(|flow| ruleset.verdict(flow)).collect()
}
