//! What Azure refused, in words: the action, the resource, Azure's code, and what to do.

use super::models::Fault;
use crate::converge::BackendError;

/// What is known after a call that did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It was refused: nothing was done.
    Refused,
    /// What it is about is not there.
    Absent,
    /// It has changed since it was read.
    Changed,
    /// Azure answered that it could not just now: after another look it may be sent again.
    Ailing,
    /// It was sent, and nobody knows what became of it.
    Unknown,
}

/// A call that did not succeed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) kind: Kind,
    /// Azure's code, or ours.
    pub(super) code: String,
    pub(super) doing: String,
    pub(super) cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Failure {
    /// Whether a look can tell what became of it. An operation that never ended may still be running.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.kind, Kind::Unknown | Kind::Ailing) && self.code != "OperationNeverEnded"
    }
}

impl From<Failure> for BackendError {
    fn from(failure: Failure) -> Self {
        Self { doing: failure.doing, cause: failure.cause }
    }
}

/// The resource as people know it: what follows the provider or the resource group.
pub(super) fn resource(path: &str) -> &str {
    let path = path.split('?').next().unwrap_or(path);
    let lower = path.to_ascii_lowercase();
    lower.find("/resourcegroups/").and_then(|at| path.get(at + "/resourcegroups/".len()..)).unwrap_or(path)
}

/// A refusal with its status.
pub(super) fn refused(action: &str, path: &str, status: u16, fault: &Fault) -> Failure {
    let kind = match status {
        404 => Kind::Absent,
        412 => Kind::Changed,
        408 | 500..=599 => Kind::Ailing,
        _ => Kind::Refused,
    };
    let code = if fault.code.is_empty() { status.to_string() } else { fault.code.clone() };
    let said: String = fault.message.chars().take(300).collect();
    let what = advice(action, status, &code);
    Failure { kind, doing: format!("{action} on {}: {code} ({status}): {said}; {what}", resource(path)), code, cause: None }
}

fn advice(action: &str, status: u16, code: &str) -> String {
    match (status, code) {
        (401, _) => "renew the credentials; they have expired or are of another tenant".to_owned(),
        (403, _) => format!("give the identity the action {action} (deploy/azure-role.json) in this scope"),
        (404, "SubscriptionNotFound" | "InvalidSubscriptionId") => "look at azure.subscription_id".to_owned(),
        (404, "ResourceGroupNotFound") => "look at azure.resource_groups".to_owned(),
        (404, _) => "it may have been deleted; the next pass looks again".to_owned(),
        (409 | 412, _) => "somebody else writes there; the next pass looks again".to_owned(),
        (429, _) => "the rate limit of the subscription is used up; the next pass tries again".to_owned(),
        (400, "SecurityRuleConflict") => "another rule has this priority; the next pass looks again".to_owned(),
        (400, "InUseNetworkSecurityGroupCannotBeDeleted") => "detach it from interfaces and subnets first".to_owned(),
        (500..=599, _) => "Azure is not well; the next pass looks again".to_owned(),
        _ => "correct what the message names".to_owned(),
    }
}

/// Nobody knows what became of it.
pub(super) fn lost(action: &str, path: &str, code: &str, cause: Option<reqwest::Error>) -> Failure {
    Failure {
        kind: Kind::Unknown,
        code: code.to_owned(),
        doing: format!("{action} on {}: {code}: nobody knows whether it was done; the next pass looks", resource(path)),
        cause: cause.map(|cause| Box::new(cause.without_url()) as Box<dyn std::error::Error + Send + Sync>),
    }
}

/// It could not be asked at all.
pub(super) fn away(action: &str, path: &str, why: &str, cause: Option<Box<dyn std::error::Error + Send + Sync>>) -> Failure {
    Failure { kind: Kind::Refused, code: "Unreachable".to_owned(), doing: format!("{action} on {}: {why}", resource(path)), cause }
}
