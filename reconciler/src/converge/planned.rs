//! A plan for one target, in words, and how what is there differs from what should be.

use policy::digest::Digest;
use serde::Serialize;

/// How something observed differs from what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Deviation {
    /// Should be there and is not.
    Missing,
    /// Is there and should not be.
    Extra,
    /// Is there, otherwise than it should be.
    Changed,
    /// Enforcement itself is not in place.
    Detached,
}

/// What a difference means for packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Verdicts differ.
    #[default]
    Flow,
    /// Only words do: a description, a tag.
    Cosmetic,
}

/// One difference between desired and observed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What it is about, in the backend's words.
    pub key: String,
    /// How it differs.
    pub kind: Deviation,
    /// What should be there; empty for nothing.
    pub expected: String,
    /// What is there; empty for nothing.
    pub observed: String,
    /// What it means for packets.
    #[serde(skip)]
    pub class: Class,
    /// Whether what differs carries our mark; `None` where nobody can tell.
    #[serde(skip)]
    pub ours: Option<bool>,
}

impl Default for Difference {
    /// What differs on a host: it decides about packets, and everything in our tables is ours.
    fn default() -> Self {
        let (key, expected, observed) = (String::new(), String::new(), String::new());
        Self { key, kind: Deviation::Changed, expected, observed, class: Class::Flow, ours: Some(true) }
    }
}

/// One step of a plan, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What it is about.
    pub key: String,
    /// What is there before; empty for nothing.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub from: String,
    /// What is there after; empty for nothing.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub to: String,
}

/// A plan for one target, in words.
#[derive(Debug, Clone, Serialize)]
pub struct TargetPlan {
    /// The target.
    pub target: String,
    /// Its backend.
    pub backend: &'static str,
    /// What would be added, or would replace something.
    pub create: Vec<Step>,
    /// What would be removed, or would be replaced.
    pub delete: Vec<Step>,
    /// Rules that stay.
    pub unchanged: usize,
    /// What is wrong beside the rules, and would be put right.
    pub damage: Vec<Difference>,
    /// Hash of what should be.
    pub desired_hash: Digest,
    /// Hash of what is.
    pub observed_hash: Digest,
    /// What a person confirms.
    pub hash: Digest,
    /// Nothing was ever enforced here.
    pub blank: bool,
    /// Nothing is dropped on the whole target, whatever the rules say.
    pub audited: bool,
    /// It is shown and not applied.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// It is carried out call by call.
    #[serde(skip)]
    pub in_steps: bool,
    /// What cannot be guarded before it appears.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub absent: Vec<Difference>,
    /// What others put where ours is: reported, never changed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub foreign: Vec<Difference>,
    /// Rules that are added, changed or removed.
    #[serde(skip)]
    pub changes: usize,
    /// What is different, for drift.
    #[serde(skip)]
    pub differences: Vec<Difference>,
}

impl TargetPlan {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes == 0 && self.damage.is_empty() && !self.blank && !self.audited
    }

    /// How many rules this puts in force or removes; after a rehearsal all of them begin to be enforced.
    #[must_use]
    pub fn changes_made(&self) -> usize {
        if self.audited { self.changes + self.unchanged } else { self.changes }
    }
}
