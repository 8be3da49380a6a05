//! What must go on connecting when rules change: the controller's own reach, and declared data flows that begin at this host.
//!
//! Only what connected just before counts. On a host that was never enforced everything connects, also what nobody wants; there only
//! what the new rules allow counts.

use std::net::SocketAddr;
use std::time::Duration;

use policy::compile::Ruleset;
use policy::model::PolicySet;
use serde::{Deserialize, Serialize};

use super::{Boxed, Source, World};

/// What does not connect in this time was not there before.
const BEFORE: Duration = Duration::from_secs(1);
/// What does not answer in this time is cut: enough for two repetitions of a packet that was lost.
const AFTER: Duration = Duration::from_secs(4);
/// A set may declare more than can be tried.
const ERRANDS_MAX: usize = 48;

/// A connection to try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Errand {
    /// What it is, for people: `the Git remote git.example`.
    pub what: String,
    /// Where to.
    pub to: SocketAddr,
}

/// How a try ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tried {
    /// Somebody accepted.
    Connected,
    /// Nobody accepted, but the peer answered: rules do not stand between.
    Refused,
    /// No answer.
    Silent,
}

/// What tries connections.
pub trait Prober: Send + Sync {
    /// What the controller itself must reach.
    fn own(&self) -> Boxed<'_, Vec<Errand>>;
    /// Tries all at once, each for this long; one answer for each.
    fn attempt<'a>(&'a self, errands: &'a [Errand], longest: Duration) -> Boxed<'a, Vec<Tried>>;
}

impl<S: Source> World<'_, S> {
    /// What connects now, before the rules change.
    pub(super) async fn reached(&self, set: &PolicySet, ruleset: &Ruleset, first: bool) -> Vec<Errand> {
        let mut errands = self.prober.own().await;
        let declared = self.settings.identity.as_ref().map(|me| me.declared_flows(set, ruleset)).unwrap_or_default();
        errands.extend(
            declared
                .into_iter()
                .filter(|flow| flow.allowed || !first)
                .map(|flow| Errand { what: format!("{} to {}", flow.id, flow.peer), to: SocketAddr::new(flow.address, flow.port) }),
        );
        errands.truncate(ERRANDS_MAX);
        if errands.is_empty() {
            return errands;
        }
        let tried = self.prober.attempt(&errands, BEFORE).await;
        let connected = errands.into_iter().zip(tried).filter(|(_, tried)| *tried == Tried::Connected);
        connected.map(|(errand, _)| errand).collect()
    }

    /// The first that connected before and is cut now, in words.
    pub(super) async fn first_unreached(&self, errands: &[Errand]) -> Option<String> {
        if errands.is_empty() {
            return None;
        }
        let tried = self.prober.attempt(errands, AFTER).await;
        let lost: Vec<&Errand> =
            errands.iter().zip(tried).filter(|(_, tried)| *tried == Tried::Silent).map(|(errand, _)| errand).collect();
        let first = lost.first()?;
        let more = if lost.len() > 1 { format!(" (and {} more)", lost.len() - 1) } else { String::new() };
        Some(format!("{} ({}) connected before and does not any more{more}", first.what, first.to))
    }
}
