//! Orders to go back to an earlier commit. They are decided by the loop, which alone may judge and knows the mirror; whoever gave one
//! waits for what came of it.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tokio::sync::oneshot;

use super::Controller;
use super::control::Reply;
use crate::chain::chain;
use crate::converge::{Outcome, PINNED, Trouble};
use crate::store::Switch;

/// One order, and who waits for the answer.
#[derive(Debug)]
pub(super) struct Asked {
    /// Hexadecimal digits of the commit.
    pub commit: String,
    pub reason: String,
    pub who: String,
    pub answer: oneshot::Sender<Reply>,
}

/// Orders that the loop has not seen yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Rollbacks(Arc<Mutex<Vec<Asked>>>);

impl Rollbacks {
    pub(super) fn ask(&self, asked: Asked) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
    }

    fn take(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// An order that was taken, before the trip that carries it out.
pub(super) struct Taken {
    commit: String,
    answer: oneshot::Sender<Reply>,
}

/// Refuses what cannot be gone back to, and pins the rest.
pub(super) async fn decide(controller: &mut Controller) -> Vec<Taken> {
    let mut taken = Vec::new();
    for Asked { commit, reason, who, answer } in controller.rollbacks.take() {
        let refuse = |answer: oneshot::Sender<Reply>, message: String| drop(answer.send(Reply { ok: false, message }));
        let found = controller.world().may_go_back(&commit).await;
        let commit = match found {
            Ok(Ok(commit)) => commit,
            Ok(Err(why)) => {
                refuse(answer, why);
                continue;
            }
            Err(trouble) => {
                refuse(answer, chain(&trouble));
                continue;
            }
        };
        let (value, now) = (commit.to_string(), Timestamp::now());
        let switch = Switch { name: PINNED.to_owned(), value, who, why: reason, set_at: now, until: None };
        match controller.store.switch_set(switch).await {
            Ok(()) => taken.push(Taken { commit: commit.short(), answer }),
            Err(error) => refuse(answer, chain(&error)),
        }
    }
    taken
}

/// Says what came of them.
pub(super) async fn answer(controller: &Controller, taken: Vec<Taken>, looked: &Result<Outcome, Trouble>) {
    if taken.is_empty() {
        return;
    }
    let in_force = match controller.store.last_in_force().await {
        Ok(last) => last.map(|last| last.commit.short()),
        Err(_) => None,
    };
    for Taken { commit, answer } in taken {
        let came = match looked {
            _ if in_force.as_ref() == Some(&commit) => format!("{commit} is in force; newer heads wait until pci-segment resume"),
            Ok(Outcome::Held { reason }) => format!("{commit} is pinned and waits: {reason}"),
            Ok(_) => format!("{commit} is pinned; pci-segment status tells when it is in force"),
            Err(trouble) => format!("{commit} is pinned, and is tried again: {}", chain(trouble)),
        };
        let _ = answer.send(Reply { ok: true, message: came });
    }
}
