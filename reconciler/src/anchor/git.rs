//! A ref of the policy repository, in the form of `git notes`: the newest checkpoint of each log is a note on the commit in force, and
//! the ref's own history keeps the earlier ones. It is never forced, so every clone is a witness.
//!
//! Several controllers may share the ref: each replaces its own note and leaves those of others, and what people wrote, as they are.

use jiff::Timestamp;
use policy::snapshot::CommitId;

use super::{Anchor, AnchorError, Found, Ours, Parcel, Receipt, newest};
use crate::audit::Note;
use crate::chain::chain;
use crate::source::git::{GitSource, NewNote};

/// What a note is on as long as no commit is in force: the empty tree, which every repository knows.
const NOTHING_IN_FORCE: &str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";

/// Notes in a ref.
pub struct GitAnchor {
    name: String,
    reference: String,
    source: GitSource,
}

impl GitAnchor {
    /// An anchor in that ref of that repository.
    #[must_use]
    pub fn new(name: String, reference: String, source: GitSource) -> Self {
        Self { name, reference, source }
    }
}

impl Anchor for GitAnchor {
    fn name(&self) -> &str {
        &self.name
    }

    async fn put(&self, parcel: &Parcel) -> Result<Receipt, AnchorError> {
        let fallback = || NOTHING_IN_FORCE.parse::<CommitId>().map_err(|_| AnchorError("no commit to file the note on".to_owned()));
        let on = parcel.commit.map_or_else(fallback, Ok)?;
        let checkpoint = &parcel.note.checkpoint;
        let subject = format!("Audit log {}: {} rows", checkpoint.origin, checkpoint.size);
        let note = NewNote { reference: self.reference.clone(), on, subject, at: Timestamp::now() };
        let ours = parcel.note.clone();
        let done = self.source.put_note(note, Box::new(move |before| with_note(before, &ours))).await;
        done.map(Receipt).map_err(|error| AnchorError(chain(&error)))
    }

    async fn latest(&self, ours: &Ours) -> Result<Option<Found>, AnchorError> {
        let notes = self.source.notes(self.reference.clone()).await.map_err(|error| AnchorError(chain(&error)))?;
        let all = notes.texts.iter().flat_map(|text| parts(text)).filter_map(|part| Note::parse(&part).ok());
        let (forged, others): (Vec<Note>, Vec<Note>) = all.partition(|note| ours.forged(note));
        // What stands in our place is told, and not replaced.
        let notes_of = |notes_of: Vec<Note>| notes_of.into_iter().map(|note| Found { note, at: notes.at });
        match newest(notes_of(forged)) {
            Some(forged) => Ok(Some(forged)),
            None => Ok(newest(notes_of(others).filter(|found| ours.signed(&found.note)))),
        }
    }
}

/// A text of several notes with one of them exchanged, or added.
fn with_note(before: &str, note: &Note) -> String {
    let of_this_log = |part: &String| Note::parse(part).is_ok_and(|known| known.checkpoint.origin == note.checkpoint.origin);
    let mut all: Vec<String> = parts(before).into_iter().filter(|part| !of_this_log(part)).collect();
    all.push(note.to_string());
    all.join("\n")
}

/// A text cut behind each block of signatures, without empty lines around the parts.
fn parts(text: &str) -> Vec<String> {
    let (mut parts, mut part, mut signed) = (Vec::new(), String::new(), false);
    for line in text.lines() {
        let signature = line.starts_with("— ");
        if signed && !signature {
            parts.push(std::mem::take(&mut part));
        }
        signed = signature;
        if !(part.is_empty() && line.is_empty()) {
            part.push_str(line);
            part.push('\n');
        }
    }
    parts.push(part);
    parts.retain(|part| !part.trim().is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::*;
    use crate::audit::NoteSigner;

    #[test]
    fn each_log_has_one_note_and_what_others_wrote_stays() {
        let signer = |origin: &str| NoteSigner::new(origin, SigningKey::from_bytes(&[1; 32])).unwrap();
        let (us, them) = (signer("us/pci-segment/1"), signer("them/pci-segment/2"));
        let text = with_note("Reviewed by the auditor.\n\nTwice.\n", &us.sign(5, [1; 32]));
        let text = with_note(&text, &them.sign(7, [2; 32]));
        let text = with_note(&text, &us.sign(9, [3; 32]));
        assert!(text.starts_with("Reviewed by the auditor.\n\nTwice.\n"), "{text}");
        let notes: Vec<_> =
            parts(&text).iter().filter_map(|part| Note::parse(part).ok()).map(|note| note.checkpoint.size).collect();
        assert_eq!(notes, [7, 9]);
        assert_eq!(with_note(&text, &us.sign(9, [3; 32])), text, "the same again changes nothing");
    }
}
