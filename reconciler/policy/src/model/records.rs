//! `kind: RuleRecords` and `kind: Waiver`: people's decisions about rules and about findings.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{Origin, PolicyName};
use crate::date::Date;
use crate::digest::Digest;

/// Why a rule exists, who approved it, when it was reviewed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleRecord {
    /// Where it stands.
    pub origin: Origin,
    /// The policy.
    pub policy: PolicyName,
    /// The rule's name.
    pub rule: Arc<str>,
    /// Who answers for it.
    pub owner: String,
    /// Who asked for it.
    pub requested_by: Option<String>,
    /// Which business function needs it.
    pub justification: String,
    /// Who approved it.
    pub approved_by: Option<String>,
    /// When.
    pub approved_at: Option<Date>,
    /// The change ticket.
    pub change_ticket: Option<String>,
    /// The data flows it serves.
    pub data_flows: Vec<Arc<str>>,
    /// The last review.
    pub reviewed_at: Option<Date>,
    /// Who reviewed.
    pub reviewed_by: Option<String>,
    /// What came of it.
    pub review_result: Option<ReviewResult>,
    /// The digest of the rule's meaning at that review.
    pub reviewed_digest: Option<Digest>,
    /// A review that was late, and how it was caught up.
    pub missed_review: Option<MissedReview>,
    /// Meant to go again.
    pub temporary: bool,
    /// The last day on which the rule is compiled.
    pub expires_at: Option<Date>,
    /// How an insecure service is protected (PCI-1.2.6-001).
    pub insecure_mitigation: Option<String>,
    /// Why a wireless network reaches the CDE (PCI-1.3.3-001).
    pub wireless_purpose: Option<String>,
    /// Why a platform service is needed (PCI-1.3.2-006).
    pub access_reason: Option<String>,
}

/// What came of a review.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReviewResult {
    /// Keep the rule.
    Keep,
    /// Change it.
    Change,
    /// Remove it.
    Remove,
}

impl ReviewResult {
    /// Each with its word.
    pub const WORDS: [(&'static str, Self); 3] = [("keep", Self::Keep), ("change", Self::Change), ("remove", Self::Remove)];
}

/// A late review.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissedReview {
    /// When it was due.
    pub due_at: Date,
    /// When it was done.
    pub done_at: Date,
    /// Why it was late.
    pub reason: String,
    /// Who recorded that.
    pub recorded_by: String,
}

/// A finding accepted for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiver {
    /// Where its `spec` stands.
    pub origin: Origin,
    /// Its name.
    pub name: Arc<str>,
    /// The rule id.
    pub rule: String,
    /// The policy that the finding is about.
    pub policy: Option<PolicyName>,
    /// Its rule, if the finding points at one or below.
    pub rule_name: Option<Arc<str>>,
    /// Or the endpoint.
    pub endpoint: Option<Arc<str>>,
    /// Why.
    pub reason: String,
    /// Which risk is accepted.
    pub risk_acceptance: String,
    /// Who asked.
    pub requested_by: String,
    /// Who approved.
    pub approved_by: String,
    /// When.
    pub approved_at: Date,
    /// Its last day.
    pub expires_at: Date,
}
