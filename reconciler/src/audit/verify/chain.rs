//! Row after row: each is there, leads to the one before, and grows the tree; roots are taken on the way where they are asked for.

use std::collections::VecDeque;

use serde_json::Value;

use super::super::{Frontier, Hash, hex};
use super::fault::Fault;

/// One row after it was compared with its own bytes.
#[derive(Debug)]
pub struct Examined {
    pub(super) seq: u64,
    pub(super) prev: Hash,
    pub(super) hash: Hash,
    /// The stored hash of a row without a body.
    pub(super) bare: Option<Hash>,
    /// What hides everything else that could be said of this row.
    pub(super) broken: Option<Box<Fault>>,
    /// What is said only of a row whose link holds.
    pub(super) copy: Option<Box<Fault>>,
    pub(super) fork: Option<Box<Fork>>,
}

impl Examined {
    pub(super) fn new(seq: u64, hash: Hash) -> Self {
        Self { seq, prev: [0; 32], hash, bare: None, broken: None, copy: None, fork: None }
    }

    /// Which row it says it is.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// A row that does not hold by itself.
    pub(in crate::audit) fn broken(seq: u64, fault: Fault) -> Self {
        Self { broken: Some(Box::new(fault)), ..Self::new(seq, [0; 32]) }
    }

    /// A row whose bytes give its hash; `copy` is what differs beside them.
    pub(in crate::audit) fn sound(seq: u64, prev: Hash, hash: Hash, copy: Option<Fault>, fork: Option<Fork>) -> Self {
        Self { prev, copy: copy.map(Box::new), fork: fork.map(Box::new), ..Self::new(seq, hash) }
    }
}

/// A row that says: from here on the log goes by another origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fork {
    /// The row.
    pub seq: u64,
    /// By which origin the log went before; empty if the row does not say.
    pub old_origin: String,
    /// Notes of that origin the row names: size, and root in hexadecimal.
    pub named: Vec<(u64, String)>,
}

impl Fork {
    pub(in crate::audit) fn read(seq: u64, payload: &str) -> Self {
        let payload: Value = serde_json::from_str(payload).unwrap_or_default();
        let old_origin = payload.get("old_origin").and_then(Value::as_str).unwrap_or_default().to_owned();
        let anchors = payload.get("anchors").and_then(Value::as_array).into_iter().flatten().filter_map(|anchor| anchor.get("has"));
        let notes = payload.get("audit_head").into_iter().chain(anchors);
        let named = notes.filter(|note| note.get("origin").and_then(Value::as_str) == Some(&old_origin)).filter_map(|note| {
            Some((note.get("size").and_then(Value::as_u64)?, note.get("root").and_then(Value::as_str)?.to_owned()))
        });
        Self { seq, named: named.collect(), old_origin }
    }

    /// Whether the row says that rows of this number and before are not those the old origin signed.
    pub(super) fn gives_up(&self, size: u64, root_at: impl Fn(u64) -> Option<Hash>) -> bool {
        let other = |named: u64, root: &str| named > self.seq || root_at(named).is_some_and(|here| hex(&here) != root);
        size > self.seq || self.named.iter().any(|(named, root)| *named >= size && other(*named, root))
    }
}

/// The rows seen so far, in order.
#[derive(Debug)]
pub struct Chain {
    first: u64,
    next: u64,
    last: Hash,
    frontier: Frontier,
    /// Sizes at which the root is asked for, smallest first.
    marks: VecDeque<u64>,
    roots: Vec<(u64, Hash)>,
    forks: Vec<Fork>,
    /// Whose bodies may be elsewhere: first and last row.
    pruned: VecDeque<(u64, u64)>,
    hashes: Vec<(u64, Hash)>,
}

impl Chain {
    /// A chain whose next row is `first`, and whose last was `before` (zero bytes for row 0).
    #[must_use]
    pub fn starting(first: u64, before: Hash) -> Self {
        Self {
            first,
            next: first,
            last: before,
            frontier: Frontier::default(),
            marks: VecDeque::new(),
            roots: Vec::new(),
            forks: Vec::new(),
            pruned: VecDeque::new(),
            hashes: Vec::new(),
        }
    }

    /// Asks for roots (and last hashes) at these sizes.
    #[must_use]
    pub fn with_marks(mut self, mut sizes: Vec<u64>) -> Self {
        sizes.sort_unstable();
        sizes.dedup();
        self.marks = sizes.into_iter().filter(|size| *size >= self.first).collect();
        self.mark();
        self
    }

    /// Allows rows without bodies in these ranges, in order.
    #[must_use]
    pub fn with_pruned(mut self, ranges: impl IntoIterator<Item = (u64, u64)>) -> Self {
        self.pruned = ranges.into_iter().collect();
        self
    }

    /// How many rows were found good.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.next - self.first
    }

    /// The first row that was asked for.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.first
    }

    /// The next row.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Hash of the last row.
    #[must_use]
    pub fn head(&self) -> &Hash {
        &self.last
    }

    /// The tree over all rows, if they were read from the first on.
    #[must_use]
    pub fn frontier(&self) -> Option<&Frontier> {
        (self.first == 0).then_some(&self.frontier)
    }

    /// The root over so many rows, if it was asked for and reached.
    #[must_use]
    pub fn root_at(&self, size: u64) -> Option<Hash> {
        found(&self.roots, size)
    }

    /// The hash of the last of so many rows, under the same conditions.
    #[must_use]
    pub fn head_at(&self, size: u64) -> Option<Hash> {
        found(&self.hashes, size)
    }

    /// Where the log took another origin.
    #[must_use]
    pub fn forks(&self) -> &[Fork] {
        &self.forks
    }

    /// Goes on with the next rows.
    ///
    /// # Errors
    /// The first thing that is wrong, by row.
    pub fn follow(&mut self, rows: Vec<Examined>) -> Result<(), Fault> {
        rows.into_iter().try_for_each(|row| self.step(row))
    }

    fn step(&mut self, row: Examined) -> Result<(), Fault> {
        if row.seq > self.next {
            return Err(Fault::Missing { first: self.next, last: row.seq - 1 });
        }
        if row.seq < self.next {
            return Err(Fault::Again { seq: row.seq, expected: self.next });
        }
        if let Some(hash) = row.bare.filter(|_| self.may_be_bare(row.seq)) {
            self.add(hash);
            return Ok(());
        }
        if let Some(broken) = row.broken {
            return Err(*broken);
        }
        if row.prev != self.last {
            return Err(Fault::Chain { seq: row.seq, prev: row.prev, before: self.last });
        }
        if let Some(copy) = row.copy {
            return Err(*copy);
        }
        self.forks.extend(row.fork.map(|fork| *fork));
        self.add(row.hash);
        Ok(())
    }

    fn add(&mut self, hash: Hash) {
        self.last = hash;
        self.next += 1;
        if self.first == 0 {
            self.frontier.push(hash);
        }
        self.mark();
    }

    fn mark(&mut self) {
        if self.marks.front() == Some(&self.next) {
            self.marks.pop_front();
            self.hashes.push((self.next, self.last));
            if self.first == 0 {
                self.roots.push((self.next, self.frontier.root()));
            }
        }
    }

    fn may_be_bare(&mut self, seq: u64) -> bool {
        while self.pruned.front().is_some_and(|(_, last)| *last < seq) {
            self.pruned.pop_front();
        }
        self.pruned.front().is_some_and(|(first, _)| *first <= seq)
    }
}

fn found(sorted: &[(u64, Hash)], size: u64) -> Option<Hash> {
    let at = sorted.binary_search_by_key(&size, |(at, _)| *at).ok()?;
    sorted.get(at).map(|(_, hash)| *hash)
}
