//! The bytes of one row. Frozen with the first release.
//!
//! ```text
//! leaf  = "pci-segment.audit.v1" 00
//!       | u64be seq | i64be ts_ns | u64be epoch | event_id[16] | prev[32]
//!       | lp(kind) | lp(actor) | lp(origin) | lp(object) | u8 outcome
//!       | lp(commit) | lp(plan) | lp(payload)
//! lp(x) = u32be length | bytes
//! hash  = SHA-256(00 | leaf)
//! ```

use sha2::{Digest, Sha256};

use super::{AuditEvent, Hash};

/// First bytes of every leaf.
const MAGIC: &[u8; 21] = b"pci-segment.audit.v1\0";
/// A leaf fits one datagram and one SQLite overflow chain of 16 pages; more goes to `evidence`.
pub const LEAF_BYTES_MAX: usize = 65_535;

/// How the thing a row tells of ended (PCI DSS v4.0.1 10.2.2, "success and failure indication").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Ended {
    /// The row reports a fact, not a deed.
    #[default]
    None = 0,
    /// Done.
    Done = 1,
    /// Refused by a rule.
    Refused = 2,
    /// Tried and failed.
    Failed = 3,
    /// Nobody knows.
    Unknown = 4,
    /// Waits for a person.
    Held = 5,
}

impl Ended {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::None, Self::Done, Self::Refused, Self::Failed, Self::Unknown, Self::Held].into_iter().find(|e| *e as u8 == byte)
    }

    /// The word in JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Held => "held",
        }
    }
}

/// One decoded row, borrowed from its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf<'a> {
    /// Position in the log, from 0, without gaps.
    pub seq: u64,
    /// Nanoseconds since 1970 UTC. `seq` orders, this informs.
    pub ts_ns: i64,
    /// Term of the controller that wrote the row.
    pub epoch: u64,
    /// Unique id of the event.
    pub event_id: [u8; 16],
    /// Hash of the row before, zero bytes for row 0.
    pub prev: Hash,
    /// What kind of event.
    pub kind: &'a str,
    /// Who.
    pub actor: &'a str,
    /// From where.
    pub origin: &'a str,
    /// On what.
    pub object: &'a str,
    /// How it ended.
    pub outcome: Ended,
    /// The commit it is about: 0, 20 or 32 bytes.
    pub commit: &'a [u8],
    /// The plan it is about: 0 or 32 bytes.
    pub plan: &'a [u8],
    /// JSON.
    pub payload: &'a str,
}

/// Why bytes are not a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotALeaf {
    /// The first bytes are others.
    #[error("it does not begin like a row of this log")]
    Magic,
    /// A field ends behind the last byte.
    #[error("it ends in the middle of {0}")]
    Short(&'static str),
    /// Bytes follow the last field.
    #[error("{0} bytes follow its last field")]
    Long(usize),
    /// A field has a length or a value it may not have.
    #[error("{0} is not well formed")]
    Malformed(&'static str),
}

/// The bytes of an event at its place in the log.
#[must_use]
pub fn encode(event: &AuditEvent, seq: u64, prev: &Hash) -> Vec<u8> {
    let mut leaf = Vec::with_capacity(256);
    leaf.extend_from_slice(MAGIC);
    leaf.extend_from_slice(&seq.to_be_bytes());
    leaf.extend_from_slice(&event.ts_ns().to_be_bytes());
    leaf.extend_from_slice(&event.epoch().to_be_bytes());
    leaf.extend_from_slice(event.id());
    leaf.extend_from_slice(prev);
    for text in [event.kind(), event.actor(), event.origin(), event.object()] {
        put(&mut leaf, text.as_bytes());
    }
    leaf.push(event.outcome() as u8);
    for field in [event.commit(), event.plan(), event.payload().as_bytes()] {
        put(&mut leaf, field);
    }
    leaf
}

/// `SHA-256(00 | leaf)`, the leaf hash of RFC 6962 §2.1.
#[must_use]
pub fn hash(leaf: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(leaf).finalize().into()
}

fn put(leaf: &mut Vec<u8>, field: &[u8]) {
    // The constructor of the event bounds the sum of all fields by `LEAF_BYTES_MAX`.
    let length = u32::try_from(field.len()).unwrap_or(u32::MAX);
    leaf.extend_from_slice(&length.to_be_bytes());
    leaf.extend_from_slice(field);
}

impl<'a> Leaf<'a> {
    /// Reads a leaf back.
    ///
    /// # Errors
    /// Anything [`encode`] could not have written.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, NotALeaf> {
        if bytes.len() > LEAF_BYTES_MAX {
            return Err(NotALeaf::Malformed("its length"));
        }
        let rest = bytes.strip_prefix(MAGIC.as_slice()).ok_or(NotALeaf::Magic)?;
        let mut fields = Fields(rest);
        let leaf = Self {
            seq: u64::from_be_bytes(fields.array("seq")?),
            ts_ns: i64::from_be_bytes(fields.array("ts")?),
            epoch: u64::from_be_bytes(fields.array("epoch")?),
            event_id: fields.array("event_id")?,
            prev: fields.array("prev")?,
            kind: fields.word("kind")?,
            actor: fields.word("actor")?,
            origin: fields.word("origin")?,
            object: fields.word("object")?,
            outcome: Ended::from_byte(u8::from_be_bytes(fields.array("outcome")?)).ok_or(NotALeaf::Malformed("outcome"))?,
            commit: fields.sized("commit", &[0, 20, 32])?,
            plan: fields.sized("plan", &[0, 32])?,
            payload: fields.text("payload")?,
        };
        match fields.0.len() {
            0 => Ok(leaf),
            more => Err(NotALeaf::Long(more)),
        }
    }
}

/// What of a leaf is not read yet.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn array<const N: usize>(&mut self, name: &'static str) -> Result<[u8; N], NotALeaf> {
        let (array, rest) = self.0.split_first_chunk::<N>().ok_or(NotALeaf::Short(name))?;
        self.0 = rest;
        Ok(*array)
    }

    fn bytes(&mut self, name: &'static str) -> Result<&'a [u8], NotALeaf> {
        let length = usize::try_from(u32::from_be_bytes(self.array(name)?)).map_err(|_| NotALeaf::Short(name))?;
        let (field, rest) = self.0.split_at_checked(length).ok_or(NotALeaf::Short(name))?;
        self.0 = rest;
        Ok(field)
    }

    fn text(&mut self, name: &'static str) -> Result<&'a str, NotALeaf> {
        std::str::from_utf8(self.bytes(name)?).map_err(|_| NotALeaf::Malformed(name))
    }

    fn word(&mut self, name: &'static str) -> Result<&'a str, NotALeaf> {
        self.text(name).and_then(|text| if text.contains(char::is_control) { Err(NotALeaf::Malformed(name)) } else { Ok(text) })
    }

    fn sized(&mut self, name: &'static str, lengths: &[usize]) -> Result<&'a [u8], NotALeaf> {
        self.bytes(name).and_then(|field| if lengths.contains(&field.len()) { Ok(field) } else { Err(NotALeaf::Malformed(name)) })
    }
}

#[cfg(test)]
mod tests {
    use policy::snapshot::CommitId;
    use serde_json::json;

    use super::*;
    use crate::audit::{Draft, Frontier, hex};

    fn opened() -> AuditEvent {
        let draft = Draft {
            kind: "log.opened",
            actor: "system",
            origin: "host:demo",
            outcome: Ended::Done,
            payload: json!({"v": 1}),
            ..Draft::at(jiff::Timestamp::from_second(1_767_225_600).unwrap())
        };
        AuditEvent::with_id([0; 16], draft).unwrap()
    }

    fn judged() -> AuditEvent {
        let draft = Draft {
            kind: "commit.judged",
            actor: "system",
            origin: "poll",
            object: "policy",
            outcome: Ended::Refused,
            commit: Some(CommitId::from_bytes(&[0xaa; 20]).unwrap()),
            payload: json!({"violations": 1}),
            ..Draft::at(jiff::Timestamp::from_second(1_767_225_601).unwrap())
        };
        AuditEvent::with_id([1; 16], draft).unwrap()
    }

    #[test]
    fn the_published_vectors_hold() {
        let first = encode(&opened(), 0, &[0; 32]);
        assert_eq!(first.len(), 154);
        let first_hash = hash(&first);
        assert_eq!(hex(&first_hash), "e049eb16838994e4b398f264661301230c4fde3543bc8b029aedebf4f0ae259d");
        let second = encode(&judged(), 1, &first_hash);
        assert_eq!(second.len(), 187);
        let second_hash = hash(&second);
        assert_eq!(hex(&second_hash), "1fa57bdbf0af310700678b7f91a12747c88b4131ce7c614bdcd58096591ce8a9");
        let mut tree = Frontier::default();
        tree.push(first_hash);
        tree.push(second_hash);
        assert_eq!(hex(&tree.root()), "93e78cae85d9e2035b7740afd084e8fac2c1856e8e123e32ac11eb12a1f4119f");
    }

    #[test]
    fn a_leaf_decodes_to_what_was_encoded() {
        let bytes = encode(&judged(), 1, &[7; 32]);
        let leaf = Leaf::decode(&bytes).unwrap();
        assert_eq!((leaf.seq, leaf.prev, leaf.kind, leaf.actor), (1, [7; 32], "commit.judged", "system"));
        assert_eq!((leaf.object, leaf.outcome, leaf.commit), ("policy", Ended::Refused, [0xaa; 20].as_slice()));
        assert_eq!(leaf.payload, r#"{"violations":1}"#);
    }

    #[test]
    fn every_shortened_and_every_lengthened_leaf_is_refused() {
        let bytes = encode(&judged(), 1, &[7; 32]);
        for length in 0..bytes.len() {
            assert!(Leaf::decode(&bytes[..length]).is_err(), "{length} bytes");
        }
        assert_eq!(Leaf::decode(&[bytes.as_slice(), b"x"].concat()), Err(NotALeaf::Long(1)));
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_encoded_decodes_to_itself(
            object in "[^\\p{Cc}]{0,40}", text in ".{0,200}", number in -(1_i64 << 53)..=(1 << 53), seq: u64, prev: [u8; 32], oid: [u8; 32],
        ) {
            let commit = Some(CommitId::from_bytes(&oid).unwrap());
            let payload = json!({ "text": text, "number": number });
            let draft = Draft { kind: "boot", origin: "host:a", object: &object, commit, plan: Some(prev), payload, ..Draft::at(jiff::Timestamp::UNIX_EPOCH) };
            let event = AuditEvent::new(draft).unwrap();
            let bytes = encode(&event, seq, &prev);
            let leaf = Leaf::decode(&bytes).unwrap();
            proptest::prop_assert_eq!((leaf.seq, leaf.prev, leaf.object, leaf.commit, leaf.plan), (seq, prev, object.as_str(), &oid[..], &prev[..]));
            proptest::prop_assert_eq!(leaf.payload, event.payload());
        }

        #[test]
        fn no_bytes_make_the_decoder_fall_over(tail: Vec<u8>) {
            let _ = Leaf::decode(&tail);
            let _ = Leaf::decode(&[MAGIC.as_slice(), &tail].concat());
        }
    }
}
