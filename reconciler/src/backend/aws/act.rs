//! Changes, call by call. What AWS says of a call is never the last word on what is there: `Duplicate` and `NotFound` count only
//! after another look, and what was not answered is looked up by the next pass.

mod groups;
mod members;
mod rules;

use policy::diff::Change;
use policy::lower::security_group::Key;

use super::client::Failed;
use super::fault::Kind;
use super::provider::Aws;
use super::seen::Rule;
use crate::converge::{Acted, BackendError, Ended, StepState};

/// One change, in the words of this backend.
pub(super) type One = Change<Key, Rule>;

impl Aws {
    /// Makes the first of these changes that is due, with as many of the same kind as one call takes.
    pub(super) async fn change(&mut self, changes: &[One]) -> Acted<Key> {
        let is_new = |change: &&One| matches!(change, Change::Create { .. } | Change::Replace { .. });
        // Where a gap is allowed, room is made before what needs it.
        let gap = changes.iter().find(|change| !is_new(change)).filter(|_| changes.iter().any(|change| is_new(&change)));
        let Some(first) = gap.or(changes.first()) else { return Acted { ended: Vec::new(), failed: None } };
        match first {
            Change::Create { key: Key::Group { group }, .. } => self.create_group(first.key(), &group.clone()).await,
            Change::Replace { key: Key::Group { group }, .. } => self.tag_group(first.key(), &group.clone()).await,
            Change::Delete { key: Key::Group { group }, .. } => self.delete_group(first.key(), &group.clone()).await,
            Change::Create { key: Key::Rule { .. }, .. } => self.authorize(&alike(first, changes)).await,
            Change::Replace { key: Key::Rule { .. }, .. } => self.describe(&alike(first, changes)).await,
            Change::Delete { key: Key::Rule { .. }, .. } => self.revoke(&alike(first, changes)).await,
            Change::Create { key: Key::Member { group, id }, .. } => self.join(first.key(), group, id, true).await,
            Change::Delete { key: Key::Member { group, id }, .. } => self.join(first.key(), group, id, false).await,
            Change::Replace { key: Key::Member { .. }, .. } => one(first.key(), StepState::Already, None, None),
        }
    }
}

/// Rules of the same group and direction that are changed the same way, the first one in front.
fn alike<'a>(first: &'a One, changes: &'a [One]) -> Vec<&'a One> {
    let place = |change: &One| match change.key() {
        Key::Rule { group, direction, .. } => Some((group.clone(), *direction, std::mem::discriminant(change))),
        Key::Group { .. } | Key::Member { .. } => None,
    };
    let wanted = place(first);
    changes.iter().filter(|change| place(change) == wanted).take(rules::RULES_MAX).collect()
}

fn ended(key: &Key, state: StepState, code: Option<&str>) -> Ended<Key> {
    Ended { key: key.clone(), state, code: code.map(str::to_owned) }
}

/// The end of a call about one thing.
fn one(key: &Key, state: StepState, code: Option<&str>, failed: Option<BackendError>) -> Acted<Key> {
    Acted { ended: vec![ended(key, state, code)], failed }
}

/// The end of a call that failed: whether it was done is known only if AWS said so.
fn stopped<'a>(keys: impl Iterator<Item = &'a Key>, failed: Failed) -> Acted<Key> {
    let state = if failed.fault.kind == Kind::Unknown { StepState::Unknown } else { StepState::Failed };
    let code = failed.fault.code.as_deref();
    Acted { ended: keys.map(|key| ended(key, state, code)).collect(), failed: Some(failed.error) }
}

/// Nothing was sent, because something had to be read before it.
fn unread(failed: Failed) -> Acted<Key> {
    Acted { ended: Vec::new(), failed: Some(failed.error) }
}

fn unknown_group(name: &str) -> BackendError {
    BackendError { doing: format!("{name} is not there any more; it is made again by the next pass"), cause: None }
}
