//! Heads of requests (pull requests, merge requests), fetched beside the branch.
//!
//! Each has a note in the mirror, which goes when nobody asks for the request any more.
//! Whoever may open a request decides what is fetched here. One that passes a limit is not fetched until its head moves or a while has
//! passed, one that could not be fetched in time waits a little, and neither keeps the others waiting.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use gix::{ObjectId, Repository};

use super::address::Address;
use super::config::RequestRefs;
use super::fault::Fault;
use super::remote::{Ask, List, PackLimits};
use super::{Bench, commit_id, local, mirror};
use crate::chain::chain;
use crate::converge::{RequestHeads, SourceError};

/// Requests looked at in one go, the newest ones; more are open at once nowhere where people review them.
const REQUESTS_MAX: usize = 1000;

/// How long a request that passed a limit is left alone.
const LEFT_ALONE_FOR: Duration = Duration::from_secs(60 * 60);

/// How long one is left alone that was not fetched for another reason, so that the others have their turn.
const PUT_OFF_FOR: Duration = Duration::from_secs(2 * 60);

/// A head that was not fetched, or is being fetched.
pub(super) struct Suspect {
    head: ObjectId,
    since: Instant,
    over_limit: bool,
}

impl Suspect {
    fn is_left_alone(&self) -> bool {
        self.since.elapsed() < if self.over_limit { LEFT_ALONE_FOR } else { PUT_OFF_FOR }
    }
}

/// What came of one head.
enum Brought {
    Here,
    OverLimit,
    Later,
    /// Nothing more is fetched in this look.
    Failed,
}

impl RequestRefs {
    fn of(self, number: u64) -> String {
        match self {
            Self::Pull => format!("refs/pull/{number}/head"),
            Self::MergeRequests => format!("refs/merge-requests/{number}/head"),
        }
    }
}

impl Bench<'_> {
    /// Where each request points now, its commit fetched; nothing where the request has no head.
    pub(super) fn request_heads(&mut self, numbers: &[u64]) -> Result<RequestHeads, Fault> {
        let numbers: BTreeSet<u64> = numbers.iter().copied().collect();
        let repo = mirror::open(&self.checked.config.mirror)?;
        mirror::keep_requests(&repo, |number| numbers.contains(&number))?;
        self.state.suspects.retain(|number, _| numbers.contains(number));
        let numbers: Vec<u64> = numbers.into_iter().rev().take(REQUESTS_MAX).collect();
        if numbers.is_empty() {
            return Ok(RequestHeads::default());
        }
        let (mut found, mut fetching) = (RequestHeads::default(), true);
        for (number, head) in self.listed(&repo, &numbers)? {
            let Some(id) = head else {
                mirror::forget(&repo, &mirror::request(number))?;
                found.heads.push((number, None));
                continue;
            };
            // The time that is left is for those that are here, and the next look goes on from where this one ends.
            fetching &= self.watch.worked_for() < self.checked.config.timeout / 2;
            match self.bring(&repo, number, id, fetching)? {
                Brought::Here => found.heads.push((number, Some(commit_id(id)?))),
                Brought::OverLimit => found.over_limit.push(number),
                Brought::Later => {}
                Brought::Failed => fetching = false,
            }
        }
        Ok(found)
    }

    /// Asks once for all of them.
    fn listed(&self, repo: &Repository, numbers: &[u64]) -> Result<Vec<(u64, Option<ObjectId>)>, Fault> {
        let names: Vec<String> = numbers.iter().map(|number| self.checked.config.requests.of(*number)).collect();
        let found = match &self.checked.address {
            Address::File(path) => local::list(path, &names)?,
            Address::Http { .. } | Address::Ssh(_) => self.talk(&List { mirror: repo, names: &names })?,
        };
        Ok(numbers.iter().zip(&names).map(|(number, name)| (*number, found.get(name).copied())).collect())
    }

    /// Has one head here, fetched if it is new.
    fn bring(&mut self, repo: &Repository, number: u64, id: ObjectId, fetching: bool) -> Result<Brought, Fault> {
        let ours = mirror::request(number);
        if mirror::pointed(repo, &ours)? == Some(id) && repo.has_object(id) {
            return Ok(Brought::Here);
        }
        match self.state.suspects.get(&number).filter(|suspect| suspect.head == id && suspect.is_left_alone()) {
            Some(suspect) if suspect.over_limit => return Ok(Brought::OverLimit),
            Some(_) => return Ok(Brought::Later),
            None if !fetching => return Ok(Brought::Later),
            None => {}
        }
        // If this piece of work is given up because of it, the next one finds it here.
        self.suspect(number, id, false);
        match self.fetch_request(number, &ours) {
            Ok(()) => {
                self.state.suspects.remove(&number);
                // It may have moved since it was listed: the next look finds it there.
                let here = mirror::pointed(repo, &ours)? == Some(id);
                Ok(if here { Brought::Here } else { Brought::Later })
            }
            Err(Fault::TooLarge(error)) => {
                self.suspect(number, id, true);
                warn(number, "is not judged until its head moves", &error);
                Ok(Brought::OverLimit)
            }
            Err(fault @ (Fault::Damaged(_) | Fault::OtherFormat(_))) => {
                self.state.suspects.remove(&number);
                Err(fault)
            }
            Err(fault) if self.watch.stopped().load(Ordering::Relaxed) => {
                if self.watch.passed_a_limit() {
                    self.suspect(number, id, true);
                } else if !self.watch.was_late() {
                    self.state.suspects.remove(&number);
                }
                Err(fault)
            }
            Err(fault) => {
                warn(number, "cannot be fetched, tried again later", &fault.into_error());
                Ok(Brought::Failed)
            }
        }
    }

    fn suspect(&mut self, number: u64, head: ObjectId, over_limit: bool) {
        self.state.suspects.insert(number, Suspect { head, since: Instant::now(), over_limit });
    }

    fn fetch_request(&self, number: u64, ours: &str) -> Result<(), Fault> {
        let theirs = self.checked.config.requests.of(number);
        let (stop, limits) = (self.watch.stopped(), PackLimits::of(&self.checked.config));
        // Opened anew each time: a repository has room for few packs more than it had when it was opened.
        let mut repo = mirror::open(&self.checked.config.mirror)?;
        match &self.checked.address {
            Address::File(path) => {
                local::look(&mut repo, path, (&theirs, ours), limits.bytes, stop)?;
            }
            Address::Http { .. } | Address::Ssh(_) => {
                self.fetch(&Ask { mirror: &repo, theirs: &theirs, ours, limits, stop })?;
            }
        }
        Ok(())
    }
}

fn warn(number: u64, what: &str, error: &SourceError) {
    tracing::warn!(request = number, "a request {what}: {}", chain(error));
}
