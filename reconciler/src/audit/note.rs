//! Signed checkpoints: a C2SP `tlog-checkpoint` inside a C2SP `signed-note`.
//!
//! Size and root of the log, signed with Ed25519, as text that any tool for transparency logs reads: <https://c2sp.org/tlog-checkpoint>,
//! <https://c2sp.org/signed-note>. Whoever keeps a note knows later whether the log still begins with these rows.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};

use super::Hash;

/// A note of ours has some 300 bytes; witnesses may add a line each.
pub const NOTE_BYTES_MAX: usize = 64 * 1024;
/// The longest name of an origin and of its key.
pub const ORIGIN_BYTES_MAX: usize = 255;
/// Ed25519 in key ids and encoded keys.
const ED25519: u8 = 1;
const SIGNATURE_START: &str = "— ";

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Checkpoint {
    /// Which log: `<domain>/pci-segment/<install id>`.
    pub origin: String,
    /// How many rows.
    pub size: u64,
    /// The Merkle tree hash over them.
    pub root: Hash,
}

/// A checkpoint with its signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// What is signed.
    pub checkpoint: Checkpoint,
    signed: String,
    signatures: Vec<Signature>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Signature {
    name: String,
    key_id: [u8; 4],
    bytes: Vec<u8>,
}

/// A text that is no signed checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a signed checkpoint: {0}")]
pub struct NotANote(&'static str);

/// A text that is no verifier key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a verifier key (<name>+<key id>+<base64>): {0}")]
pub struct NotAKey(&'static str);

/// No signature of this note is by the key, or it is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSigned {
    /// Nobody signed it by that name and id.
    #[error("no signature by {0}")]
    Missing(String),
    /// There is one, and it does not hold.
    #[error("signature does not verify with {0}")]
    Wrong(String),
}

impl Checkpoint {
    /// The lines that are signed.
    fn body(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root))
    }
}

impl Note {
    /// Reads a note. Signatures are not checked here: see [`VerifierKey::verify`].
    ///
    /// # Errors
    /// Not a note, or not one of a checkpoint.
    pub fn parse(text: &str) -> Result<Self, NotANote> {
        if text.len() > NOTE_BYTES_MAX {
            return Err(NotANote("too long"));
        }
        if text.chars().any(|c| c.is_control() && c != '\n') {
            return Err(NotANote("a control character"));
        }
        let (signed, below) = text.rsplit_once("\n\n").ok_or(NotANote("no empty line before the signatures"))?;
        let signed = format!("{signed}\n");
        let signatures = below.strip_suffix('\n').ok_or(NotANote("the last line does not end"))?;
        let signatures = signatures.split('\n').map(Signature::parse).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { checkpoint: parse_body(&signed)?, signed, signatures })
    }

    /// By which names and key ids it is signed.
    pub fn signers(&self) -> impl Iterator<Item = (&str, [u8; 4])> {
        self.signatures.iter().map(|signature| (signature.name.as_str(), signature.key_id))
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.signed)?;
        for signature in &self.signatures {
            let bytes = [&signature.key_id, signature.bytes.as_slice()].concat();
            writeln!(f, "{SIGNATURE_START}{} {}", signature.name, STANDARD.encode(bytes))?;
        }
        Ok(())
    }
}

fn parse_body(signed: &str) -> Result<Checkpoint, NotANote> {
    let mut lines = signed.lines();
    let origin = lines.next().filter(|line| is_name(line)).ok_or(NotANote("no origin"))?;
    let size = lines.next().ok_or(NotANote("no size"))?;
    let plain =
        size == "0" || (size.starts_with(|c: char| c.is_ascii_digit() && c != '0') && size.bytes().all(|b| b.is_ascii_digit()));
    let size = size.parse().ok().filter(|_| plain).ok_or(NotANote("the size is not a decimal number"))?;
    let root = lines.next().and_then(|line| STANDARD.decode(line).ok()).and_then(|bytes| Hash::try_from(bytes).ok());
    let root = root.ok_or(NotANote("the root is not 32 bytes in base64"))?;
    if lines.any(str::is_empty) {
        return Err(NotANote("an empty line among the extensions"));
    }
    Ok(Checkpoint { origin: origin.to_owned(), size, root })
}

impl Signature {
    fn parse(line: &str) -> Result<Self, NotANote> {
        let wrong = NotANote("a signature line that is none");
        let (name, text) = line.strip_prefix(SIGNATURE_START).and_then(|rest| rest.split_once(' ')).ok_or(wrong)?;
        let bytes = STANDARD.decode(text).map_err(|_| wrong)?;
        let (key_id, bytes) = bytes.split_first_chunk::<4>().ok_or(wrong)?;
        if !is_name(name) || bytes.is_empty() {
            return Err(wrong);
        }
        Ok(Self { name: name.to_owned(), key_id: *key_id, bytes: bytes.to_vec() })
    }
}

/// Whether a text may stand as name of an origin and of its key.
#[must_use]
pub fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= ORIGIN_BYTES_MAX && !name.contains(|c: char| c == '+' || c.is_whitespace() || c.is_control())
}

/// The public half of a key, with the name it signs by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    key: VerifyingKey,
}

impl VerifierKey {
    /// Reads `<name>+<key id>+<base64>`.
    ///
    /// # Errors
    /// Another form, another algorithm, or an id that does not belong to the key.
    pub fn parse(text: &str) -> Result<Self, NotAKey> {
        let mut parts = text.trim().splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NotAKey("not three parts"));
        };
        if !is_name(name) {
            return Err(NotAKey("the name is none"));
        }
        let bytes = STANDARD.decode(key).map_err(|_| NotAKey("the key is not base64"))?;
        let key = match bytes.split_first() {
            Some((&ED25519, key)) => <[u8; 32]>::try_from(key).map_err(|_| NotAKey("an Ed25519 key has 32 bytes"))?,
            Some(_) | None => return Err(NotAKey("only Ed25519 is known")),
        };
        let key = VerifyingKey::from_bytes(&key).map_err(|_| NotAKey("not a point of the curve"))?;
        let key = Self { name: name.to_owned(), key };
        if super::hex(&key.id()) != id {
            return Err(NotAKey("the id is not that of the key"));
        }
        Ok(key)
    }

    /// The name it signs by, which is the origin of the log.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same key by another name.
    #[must_use]
    pub fn under(&self, name: &str) -> Self {
        Self { name: name.to_owned(), key: self.key }
    }

    /// The first bytes of the hash over name and key.
    #[must_use]
    pub fn id(&self) -> [u8; 4] {
        let digest =
            Sha256::new().chain_update(&self.name).chain_update([b'\n', ED25519]).chain_update(self.key.as_bytes()).finalize();
        let [a, b, c, d, ..] = <[u8; 32]>::from(digest);
        [a, b, c, d]
    }

    /// Checks that this key has signed the note.
    ///
    /// # Errors
    /// There is no signature by it, or one that does not hold.
    pub fn verify(&self, note: &Note) -> Result<(), NotSigned> {
        let id = self.id();
        let mut by_us = note.signatures.iter().filter(|signature| signature.name == self.name && signature.key_id == id).peekable();
        if by_us.peek().is_none() {
            return Err(NotSigned::Missing(self.to_string()));
        }
        let holds = |signature: &Signature| {
            ed25519_dalek::Signature::from_slice(&signature.bytes)
                .is_ok_and(|bytes| self.key.verify_strict(note.signed.as_bytes(), &bytes).is_ok())
        };
        if by_us.all(holds) { Ok(()) } else { Err(NotSigned::Wrong(self.to_string())) }
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = [&[ED25519], self.key.as_bytes().as_slice()].concat();
        write!(f, "{}+{}+{}", self.name, super::hex(&self.id()), STANDARD.encode(key))
    }
}

/// Signs checkpoints. The key is wiped from memory when this is dropped.
pub struct NoteSigner {
    verifier: VerifierKey,
    key: SigningKey,
}

impl NoteSigner {
    /// Signs as `origin`.
    ///
    /// # Errors
    /// The origin may not stand in a note.
    pub fn new(origin: &str, key: SigningKey) -> Result<Self, NotAKey> {
        if !is_name(origin) {
            return Err(NotAKey("the name is none"));
        }
        Ok(Self { verifier: VerifierKey { name: origin.to_owned(), key: key.verifying_key() }, key })
    }

    /// What others verify with.
    #[must_use]
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// A note over so many rows with that root.
    #[must_use]
    pub fn sign(&self, size: u64, root: Hash) -> Note {
        let checkpoint = Checkpoint { origin: self.verifier.name.clone(), size, root };
        let signed = checkpoint.body();
        let bytes = self.key.sign(signed.as_bytes()).to_bytes().to_vec();
        let signature = Signature { name: self.verifier.name.clone(), key_id: self.verifier.id(), bytes };
        Note { checkpoint, signed, signatures: vec![signature] }
    }
}

impl fmt::Debug for NoteSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NoteSigner").field("verifier", &self.verifier.to_string()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "example.com/pci-segment/demo+36e8f146+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4";
    const NOTE: &str = "example.com/pci-segment/demo\n2\nk+eMroXZ4gNbd0Cv0ITo+sLBhW6OEj4yrBHrEqH0EZ8=\n\n\
        — example.com/pci-segment/demo NujxRhwW8her/iKDBT+q3pPVV8A+cervkqYeQK2jIz3lrkoWu9UPys7I2NxV0ucOdj5JdWBTDLi8WXLDPm58BEN4ZAI=\n";

    fn signer() -> NoteSigner {
        let seed: [u8; 32] = std::array::from_fn(|n| u8::try_from(n).unwrap());
        NoteSigner::new("example.com/pci-segment/demo", SigningKey::from_bytes(&seed)).unwrap()
    }

    #[test]
    fn the_published_vector_is_what_is_signed() {
        let read = Note::parse(NOTE).unwrap();
        assert_eq!(signer().verifier().to_string(), KEY);
        assert_eq!(signer().sign(2, read.checkpoint.root).to_string(), NOTE);
        assert_eq!(read.to_string(), NOTE);
        assert_eq!(VerifierKey::parse(KEY).unwrap().verify(&read), Ok(()));
    }

    #[test]
    fn a_note_that_was_changed_anywhere_is_refused() {
        let key = VerifierKey::parse(KEY).unwrap();
        for at in 0..NOTE.len() {
            for bit in 0..8 {
                let mut bytes = NOTE.as_bytes().to_vec();
                bytes[at] ^= 1 << bit;
                let Ok(text) = String::from_utf8(bytes) else { continue };
                let Ok(note) = Note::parse(&text) else { continue };
                assert!(key.verify(&note).is_err(), "byte {at}, bit {bit}: {text}");
            }
        }
    }

    #[test]
    fn a_signature_of_a_witness_is_no_matter() {
        let text = format!("{NOTE}— witness.example {}\n", STANDARD.encode([7; 80]));
        let note = Note::parse(&text).unwrap();
        assert_eq!(VerifierKey::parse(KEY).unwrap().verify(&note), Ok(()));
        assert_eq!(note.signers().count(), 2);
        assert_eq!(note.to_string(), text);
    }

    #[test]
    fn a_key_of_another_name_has_not_signed_it() {
        let other = NoteSigner::new("example.com/pci-segment/other", SigningKey::from_bytes(&[1; 32])).unwrap();
        let note = Note::parse(NOTE).unwrap();
        assert!(matches!(other.verifier().verify(&note), Err(NotSigned::Missing(_))));
        assert_eq!(VerifierKey::parse(&other.verifier().to_string()).as_ref(), Ok(other.verifier()));
    }

    #[test]
    fn what_is_no_key_is_refused_with_the_reason() {
        for bad in ["", "a+b", "a b+36e8f146+AQOh", "x+36e8f146+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4", "x+00000000+BAAA"] {
            assert!(VerifierKey::parse(bad).is_err(), "{bad}");
        }
    }
}
