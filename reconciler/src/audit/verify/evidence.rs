//! What others saw of the log: signed notes kept with it, beside it, and where its owner cannot change them.

use jiff::{SignedDuration, Timestamp};

use super::super::{Hash, Note, VerifierKey};
use super::chain::{Chain, Fork};
use super::fault::Fault;

/// An anchor that took nothing for longer vouches for little.
pub const ANCHOR_HOURS_MAX: i64 = 24;
/// The anchor that lies beside the database.
pub const BESIDE: &str = "audit.head";

/// A note somebody kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witnessed {
    /// Where: `file:/mnt/anchor`, `git:refs/notes/pci-segment`.
    pub sink: String,
    /// Its text.
    pub note: String,
    /// When it was put there, where that is known.
    pub at: Option<Timestamp>,
}

/// A note that holds: so many rows with that root.
#[derive(Debug, Clone, Copy)]
struct Claim {
    size: u64,
    root: Hash,
    origin: usize,
    sink: usize,
    at: Option<Timestamp>,
}

/// Every note there is. Only what is needed of them is kept, so that a log of many years fits.
#[derive(Debug, Default)]
pub struct Evidence {
    keys: Vec<VerifierKey>,
    origins: Vec<String>,
    sinks: Vec<String>,
    stored: Vec<Claim>,
    witnessed: Vec<Claim>,
    /// Sinks that were named by whoever asked.
    external: Vec<String>,
    /// The first note that does not hold.
    bad: Option<(String, String)>,
    remarks: Vec<String>,
}

/// The newest note kept elsewhere that agrees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newest {
    /// Where.
    pub sink: String,
    /// Over how many rows.
    pub size: u64,
    /// When it was put there.
    pub at: Option<Timestamp>,
}

impl Evidence {
    /// Nothing yet; notes are to be signed by one of these.
    #[must_use]
    pub fn by(keys: Vec<VerifierKey>) -> Self {
        Self { keys, ..Self::default() }
    }

    /// A sink that is asked, whether it answers with notes or not.
    pub fn asked(&mut self, sink: &str) {
        self.external.push(sink.to_owned());
    }

    /// Something that should be said and is no fault.
    pub fn remark(&mut self, text: String) {
        self.remarks.push(text);
    }

    /// A checkpoint kept in the log's own file; columns beside it are copies.
    pub fn stored(&mut self, size: u64, text: &str, columns: Option<(&str, &[u8])>) {
        let by = format!("checkpoint {size}");
        let Some(note) = self.believed(&by, text) else { return };
        let (origin, root) = (note.checkpoint.origin.as_str(), note.checkpoint.root.as_slice());
        if note.checkpoint.size != size || columns.is_some_and(|columns| columns != (origin, root)) {
            self.refuse(by, "its columns differ from its note".to_owned());
            return;
        }
        let claim = self.claim(&note, "a checkpoint", None);
        self.stored.push(claim);
    }

    /// The checkpoint in the last line of an export.
    pub fn last_line(&mut self, by: &str, text: &str) {
        if let Some(note) = self.believed(by, text) {
            let claim = self.claim(&note, "a checkpoint", None);
            self.stored.push(claim);
        }
    }

    /// A note from elsewhere.
    pub fn witnessed(&mut self, witnessed: &Witnessed) {
        if let Some(note) = self.believed(&witnessed.sink, &witnessed.note) {
            let claim = self.claim(&note, &witnessed.sink, witnessed.at);
            self.witnessed.push(claim);
        }
    }

    /// A note that cannot be believed.
    pub fn refuse(&mut self, by: String, what: String) {
        self.bad.get_or_insert((by, what));
    }

    /// Every size somebody signed.
    #[must_use]
    pub fn sizes(&self) -> Vec<u64> {
        self.claims().map(|claim| claim.size).collect()
    }

    /// How many signatures hold.
    #[must_use]
    pub fn signatures(&self) -> u64 {
        self.claims().count().try_into().unwrap_or(u64::MAX)
    }

    /// What is to be said beside the result.
    #[must_use]
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// Over how many rows the newest note is, of any kind.
    #[must_use]
    pub fn signed(&self) -> u64 {
        self.claims().map(|claim| claim.size).max().unwrap_or(0)
    }

    /// The newest note that was kept elsewhere; a sink that was asked goes before `audit.head`.
    #[must_use]
    pub fn newest(&self) -> Option<Newest> {
        let claim = self.witnessed.iter().max_by_key(|claim| (self.is_external(claim), claim.size, claim.at))?;
        Some(Newest { sink: self.sink(claim).to_owned(), size: claim.size, at: claim.at })
    }

    /// Why a strict reader is not content.
    #[must_use]
    pub fn weakness(&self, chain: &Chain, now: Timestamp) -> Option<String> {
        if let Some(fork) = chain.forks().last() {
            return Some(format!("the log was forked at row {}", fork.seq));
        }
        if chain.frontier().is_none() {
            return Some("only a part was read".to_owned());
        }
        if self.external.is_empty() {
            return Some("no anchor was given".to_owned());
        }
        let newest = self.witnessed.iter().filter(|claim| self.is_external(claim)).max_by_key(|claim| (claim.at, claim.size));
        let Some(newest) = newest else { return Some(format!("{} holds no note", self.external.join(", "))) };
        if newest.at.is_some_and(|at| now.duration_since(at) > SignedDuration::from_hours(ANCHOR_HOURS_MAX)) {
            return Some(format!("the newest note in {} is older than {ANCHOR_HOURS_MAX} h", self.sink(newest)));
        }
        if self.signed() < chain.next() {
            return Some(format!("rows {} to {} are not signed", self.signed(), chain.next() - 1));
        }
        self.remarks.first().cloned()
    }

    /// Compares every note with the rows. `end` is set where only so many rows were asked for.
    ///
    /// # Errors
    /// The first note that does not fit: notes kept elsewhere first, then stored ones, then those that cannot be believed.
    pub fn judge(&self, chain: &Chain, end: Option<u64>) -> Result<(), Fault> {
        if chain.frontier().is_some() {
            self.judge_claims(&self.witnessed, chain, end, true)?;
            self.judge_claims(&self.stored, chain, end, false)?;
        }
        match &self.bad {
            Some((by, what)) => Err(Fault::Note { by: by.clone(), what: what.clone(), row: None }),
            None => Ok(()),
        }
    }

    /// A note over more rows than there are, if there is one.
    #[must_use]
    pub fn longer(&self, chain: &Chain, end: Option<u64>) -> Option<Fault> {
        let rows = chain.next();
        let longer = self
            .witnessed
            .iter()
            .chain(&self.stored)
            .find(|claim| end.is_none_or(|end| claim.size <= end) && claim.size > rows && !self.given_up(claim, chain))?;
        Some(Fault::Shorter { rows, by: self.sink(longer).to_owned(), size: longer.size })
    }

    fn judge_claims(&self, claims: &[Claim], chain: &Chain, end: Option<u64>, elsewhere: bool) -> Result<(), Fault> {
        let mut ordered: Vec<&Claim> = claims.iter().filter(|claim| end.is_none_or(|end| claim.size <= end)).collect();
        ordered.sort_by_key(|claim| claim.size);
        let mut agreed = 0;
        for claim in ordered.into_iter().filter(|claim| !self.given_up(claim, chain)) {
            let (by, size) = (self.sink(claim).to_owned(), claim.size);
            match chain.root_at(size) {
                Some(root) if root == claim.root => agreed = size,
                Some(computed) if elsewhere => {
                    return Err(Fault::TwoHistories { by, size, noted: claim.root, computed, agreed });
                }
                Some(_) => {
                    let by = format!("checkpoint {size}");
                    return Err(Fault::Note { by, what: "root differs from the rows".to_owned(), row: Some(agreed) });
                }
                None => return Err(Fault::Shorter { rows: chain.next(), by, size }),
            }
        }
        Ok(())
    }

    /// Whether a fork says that the rows this note speaks of are no longer those of the log. The first note of the new origin covers
    /// all rows before the fork anew; without one anybody could have written the row.
    fn given_up(&self, claim: &Claim, chain: &Chain) -> bool {
        let origin = self.origin(claim);
        let gives_up = |fork: &&Fork| fork.old_origin == origin && fork.gives_up(claim.size, |size| chain.root_at(size));
        chain.forks().iter().filter(gives_up).any(|fork| self.vouched(fork, chain))
    }

    /// Whether a note of another origin than the one that is left is over the row of a fork, and agrees with the rows.
    fn vouched(&self, fork: &Fork, chain: &Chain) -> bool {
        let over = |claim: &Claim| claim.size > fork.seq && self.origin(claim) != fork.old_origin;
        self.claims().any(|claim| over(claim) && chain.root_at(claim.size) == Some(claim.root))
    }

    fn origin(&self, claim: &Claim) -> &str {
        self.origins.get(claim.origin).map_or("", String::as_str)
    }

    /// The note, if one of the keys signed it.
    fn believed(&mut self, by: &str, text: &str) -> Option<Note> {
        let refused = match Note::parse(text) {
            Err(not_a_note) => not_a_note.to_string(),
            Ok(note) => match self.signature(&note) {
                Ok(()) => return Some(note),
                Err(refused) => refused,
            },
        };
        self.refuse(by.to_owned(), refused);
        None
    }

    /// One key has to have signed; a signature by a known key that does not hold is never passed over.
    fn signature(&self, note: &Note) -> Result<(), String> {
        let mut signed = false;
        for key in &self.keys {
            match key.verify(note) {
                Ok(()) => signed = true,
                Err(super::super::note::NotSigned::Missing(_)) => {}
                Err(wrong) => return Err(wrong.to_string()),
            }
        }
        let signers = || note.signers().map(|(name, id)| format!("{name}+{}", super::super::hex(&id))).collect::<Vec<_>>();
        if signed { Ok(()) } else { Err(format!("no signature by a known key, only by {}", signers().join(", "))) }
    }

    fn claim(&mut self, note: &Note, sink: &str, at: Option<Timestamp>) -> Claim {
        let origin = place(&mut self.origins, &note.checkpoint.origin);
        Claim { size: note.checkpoint.size, root: note.checkpoint.root, origin, sink: place(&mut self.sinks, sink), at }
    }

    fn claims(&self) -> impl Iterator<Item = &Claim> {
        self.stored.iter().chain(&self.witnessed)
    }

    fn sink(&self, claim: &Claim) -> &str {
        self.sinks.get(claim.sink).map_or("", String::as_str)
    }

    fn is_external(&self, claim: &Claim) -> bool {
        self.external.iter().any(|sink| sink == self.sink(claim))
    }
}

/// The place of a text in a short list, which it is added to if it is new.
fn place(list: &mut Vec<String>, text: &str) -> usize {
    list.iter().position(|known| known == text).unwrap_or_else(|| {
        list.push(text.to_owned());
        list.len() - 1
    })
}
