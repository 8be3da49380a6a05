//! Requests that wait to be judged, in the time that the branch leaves over.
//!
//! One [`step`](Queue::step) at a time, and only when the loop has nothing else to do, so that a request delays the branch by one
//! judging at most; the fetching of heads is given up when somebody pushes. Nothing here has to outlive the process: a delivery becomes
//! a row of `requests` before it is ended, and at the start every open request whose head has no verdict is asked for again, as is
//! every other commit that a crash left pending.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use policy::snapshot::CommitId;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::storm::Storm;
use crate::chain::chain;
use crate::converge::{RequestHeads, Source, Trouble, World, judge_left_over, judge_request, request_out_of_reach};
use crate::store::{Came, CommitRecord, Store, Verdict, Waiting};

/// Open requests that are followed, the newest ones: each costs a ref in the mirror.
const FOLLOWED_MAX: usize = 1_000;
/// See [`Queue::rests_until`].
const REST: Duration = Duration::from_secs(1);

/// What waits.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Heads have to be fetched, or to be let go.
    fetch: bool,
    /// Requests to be judged once their heads are there.
    asked: BTreeSet<u64>,
    /// Heads that are there.
    ready: VecDeque<(u64, CommitId)>,
    /// What could not be fetched or read, until the next look.
    failed: BTreeSet<u64>,
    /// Heads of which it was said that they pass a limit. They are asked for as before: the limit may be raised, or the server may
    /// send less another time.
    told: BTreeMap<u64, CommitId>,
    /// Fetching failed, so it is done at the next look even if nothing is asked for.
    fetch_failed: bool,
    /// Commits that a crash left pending and that no open request has.
    left: VecDeque<CommitRecord>,
    /// Those that could not be read, until the next look.
    left_failed: VecDeque<CommitRecord>,
    /// After a failure nothing is done for a moment: what ails one request ails the next.
    rests_until: Option<Instant>,
    recovered: bool,
}

impl Queue {
    /// Whether there is nothing to do.
    pub(super) fn is_idle(&self) -> bool {
        !self.fetch && self.ready.is_empty() && self.left.is_empty()
    }

    /// When there is time for the next step; nothing where there is nothing to do, or while deliveries come faster than the branch is
    /// looked at: then the wait for heads would be given up at once, again and again.
    pub(super) fn step_at(&self, storm: &Storm) -> Option<Instant> {
        let due = !self.is_idle() && storm.look_at().is_none();
        due.then(|| self.rests_until.unwrap_or_else(Instant::now))
    }

    /// How many requests wait.
    pub(super) fn waiting(&self) -> u64 {
        (self.asked.len() + self.ready.len() + self.failed.len()) as u64
    }

    /// What an earlier process left. After the first look at the branch, which settles what is its own.
    pub(super) async fn recover(&mut self, store: &Store) -> Result<(), Trouble> {
        let mut heads = BTreeSet::new();
        for request in store.requests_open().await? {
            heads.insert(request.head);
            let judged = store.commit(&request.head).await?.is_some_and(|record| record.verdict != Verdict::Pending);
            if !judged {
                self.asked.insert(request.number);
                self.fetch = true;
            }
        }
        let pending = store.commits_pending().await?;
        let is_left = |record: &CommitRecord| record.came != Came::Request || !heads.contains(&record.commit);
        self.left.extend(pending.into_iter().filter(is_left));
        self.recovered = true;
        Ok(())
    }

    /// Notes what deliveries say of requests, oldest first; of each only the last counts. Afterwards they can be ended.
    pub(super) async fn heard(&mut self, store: &Store, rows: &[Waiting]) -> Result<(), Trouble> {
        let mut last = BTreeMap::new();
        for row in rows {
            let Some(number) = row.request.and_then(|number| u64::try_from(number).ok()) else { continue };
            last.insert(number, row.after.as_deref());
        }
        for (number, after) in last {
            let head = after.and_then(|id| id.parse::<CommitId>().ok());
            if after.is_some() && head.is_none() {
                tracing::warn!(number, "a delivery names a head that is no commit id");
                continue;
            }
            store.request_seen(number, head, Timestamp::now()).await?;
            self.ready.retain(|(other, _)| *other != number);
            self.failed.remove(&number);
            match head {
                Some(_) => self.asked.insert(number),
                None => self.asked.remove(&number),
            };
            // Also for one that is closed: what is not asked for any more is let go.
            self.fetch = true;
        }
        Ok(())
    }

    /// What failed is tried again.
    pub(super) fn try_again(&mut self) {
        self.left.append(&mut self.left_failed);
        if self.fetch_failed || !self.failed.is_empty() {
            self.asked.append(&mut self.failed);
            (self.fetch, self.fetch_failed) = (true, false);
        }
    }

    /// Whether an earlier process was asked for what it left.
    pub(super) fn is_recovered(&self) -> bool {
        self.recovered
    }

    /// Fetches heads, or judges one of them. What fails is kept for the next look.
    pub(super) async fn step<S: Source>(&mut self, world: &mut World<'_, S>, wake: &Notify) -> Result<(), Trouble> {
        let done = self.do_step(world, wake).await;
        self.rests_until = done.is_err().then(|| Instant::now() + REST);
        match done {
            // The remote is asked again when the branch is; that is no news.
            Err(Trouble::Source(error)) => {
                tracing::warn!("requests are tried again later: {}", chain(&error));
                Ok(())
            }
            done => done,
        }
    }

    async fn do_step<S: Source>(&mut self, world: &mut World<'_, S>, wake: &Notify) -> Result<(), Trouble> {
        if self.fetch {
            return self.fetch_heads(world, wake).await;
        }
        if let Some((number, head)) = self.ready.pop_front() {
            let judged = judge_request(world, number, head).await;
            if judged.is_err() {
                self.failed.insert(number);
            }
            return judged;
        }
        if let Some(left) = self.left.pop_front() {
            let judged = judge_left_over(world, &left).await;
            if judged.is_err() {
                self.left_failed.push_back(left);
            }
            return judged;
        }
        Ok(())
    }

    async fn fetch_heads<S: Source>(&mut self, world: &mut World<'_, S>, wake: &Notify) -> Result<(), Trouble> {
        let asked = self.asked.clone();
        let fetched = self.fetch_and_take(world, wake).await;
        if fetched.is_err() {
            (self.fetch, self.fetch_failed) = (false, true);
            self.asked.clear();
            // What was there before the failure is judged now.
            self.failed.extend(asked.into_iter().filter(|number| !self.ready.iter().any(|(ready, _)| ready == number)));
        }
        fetched
    }

    async fn fetch_and_take<S: Source>(&mut self, world: &mut World<'_, S>, wake: &Notify) -> Result<(), Trouble> {
        let mut open = world.store.requests_open().await?;
        open.drain(..open.len().saturating_sub(FOLLOWED_MAX));
        let known: BTreeMap<u64, CommitId> = open.iter().map(|request| (request.number, request.head)).collect();
        let numbers: Vec<u64> = known.keys().copied().collect();
        let heads = tokio::select! {
            biased;
            fetched = world.source.request_heads(&numbers) => fetched?,
            () = wake.notified() => {
                // The branch first; the heads are fetched after it.
                wake.notify_one();
                return Ok(());
            }
        };
        self.fetch = false;
        self.take(world, &known, heads).await
    }

    async fn take<S: Source>(
        &mut self,
        world: &mut World<'_, S>,
        known: &BTreeMap<u64, CommitId>,
        fetched: RequestHeads,
    ) -> Result<(), Trouble> {
        self.told.retain(|number, _| known.contains_key(number));
        for (number, head) in fetched.heads {
            self.told.remove(&number);
            let was_asked = self.asked.remove(&number);
            let moved = known.get(&number).copied() != head;
            if moved {
                // Forced to another commit since the delivery, or gone.
                world.store.request_seen(number, head, (world.clock)()).await?;
            }
            if let Some(head) = head.filter(|_| was_asked || moved) {
                self.ready.retain(|(other, _)| *other != number);
                self.ready.push_back((number, head));
            }
        }
        for number in fetched.over_limit.iter().filter(|number| self.asked.contains(number)) {
            let Some(head) = known.get(number).filter(|head| self.told.get(number) != Some(head)) else { continue };
            request_out_of_reach(world, *number, *head).await?;
            self.told.insert(*number, *head);
        }
        self.failed.extend(std::mem::take(&mut self.asked).into_iter().filter(|number| known.contains_key(number)));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
