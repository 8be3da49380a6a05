//! What a row says, checked before it can exist: the six things PCI DSS v4.0.1 10.2.2 asks for (who, what kind, when, how it
//! ended, from where, on what), and JSON without floats.

use jiff::Timestamp;
use policy::snapshot::CommitId;
use serde_json::Value;
use uuid::{ContextV7, Uuid};

use super::Hash;
use super::leaf::{Ended, LEAF_BYTES_MAX};

/// Bytes of a leaf that are not in a variable field: magic, five numbers and hashes, outcome, seven lengths.
const FIXED_BYTES: usize = 21 + 8 + 8 + 8 + 16 + 32 + 1 + 7 * 4;
/// Integers beyond this are not the same number in every JSON reader (RFC 8259 §6).
const INTEGER_MAX: i64 = 1 << 53;

/// An event before it is checked. Start from [`Draft::at`].
#[derive(Debug, Clone)]
pub struct Draft<'a> {
    /// When.
    pub at: Timestamp,
    /// What kind, see [`super::kind`].
    pub kind: &'a str,
    /// Who; the controller itself is `system`.
    pub actor: &'a str,
    /// From where: `poll`, `push`, `host:<name>`, an address.
    pub origin: &'a str,
    /// On what.
    pub object: &'a str,
    /// How it ended.
    pub outcome: Ended,
    /// The commit it is about.
    pub commit: Option<CommitId>,
    /// Hash of the plan it is about.
    pub plan: Option<Hash>,
    /// Everything else. No floats, no secrets.
    pub payload: Value,
}

impl Draft<'_> {
    /// A draft with nothing in it but the time and the actor `system`.
    #[must_use]
    pub fn at(at: Timestamp) -> Self {
        Self {
            at,
            kind: "",
            actor: "system",
            origin: "",
            object: "",
            outcome: Ended::None,
            commit: None,
            plan: None,
            payload: Value::Object(serde_json::Map::new()),
        }
    }
}

/// A row that may be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEvent {
    id: [u8; 16],
    ts_ns: i64,
    kind: String,
    actor: String,
    origin: String,
    object: String,
    outcome: Ended,
    commit: Option<CommitId>,
    plan: Vec<u8>,
    payload: String,
}

/// Why a row may not be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// PCI DSS v4.0.1 10.2.2 asks for it.
    #[error("an audit row needs {0}")]
    Missing(&'static str),
    /// It would not be shown as it is stored.
    #[error("{0} of an audit row holds a control character")]
    Control(&'static str),
    /// Readers would disagree about it.
    #[error("the payload of an audit row holds {0}, which is not an integer within 2^53")]
    Number(serde_json::Number),
    /// It belongs to `evidence`.
    #[error("an audit row of {0} bytes is larger than {LEAF_BYTES_MAX}")]
    Large(usize),
    /// Its time cannot be written down in nanoseconds.
    #[error("the time {0} is outside of what an audit row can hold")]
    Time(Timestamp),
}

impl AuditEvent {
    /// Checks a draft and gives it a fresh UUIDv7 from its own time.
    ///
    /// # Errors
    /// Kind, actor or origin missing; a control character; a float; too many bytes.
    pub fn new(draft: Draft<'_>) -> Result<Self, Refused> {
        Self::with_id(fresh_id(draft.at), draft)
    }

    /// Checks a draft that already has its id. Writing the same id twice writes one row.
    ///
    /// # Errors
    /// As [`AuditEvent::new`].
    #[expect(clippy::needless_pass_by_value, reason = "a draft has no other use; callers build it in place")]
    pub fn with_id(id: [u8; 16], draft: Draft<'_>) -> Result<Self, Refused> {
        for (name, text) in [("a kind", draft.kind), ("an actor", draft.actor), ("an origin", draft.origin)] {
            if text.is_empty() {
                return Err(Refused::Missing(name));
            }
        }
        for (name, text) in
            [("the kind", draft.kind), ("the actor", draft.actor), ("the origin", draft.origin), ("the object", draft.object)]
        {
            if text.contains(char::is_control) {
                return Err(Refused::Control(name));
            }
        }
        check_numbers(&draft.payload)?;
        let event = Self {
            id,
            ts_ns: i64::try_from(draft.at.as_nanosecond()).map_err(|_| Refused::Time(draft.at))?,
            kind: draft.kind.to_owned(),
            actor: draft.actor.to_owned(),
            origin: draft.origin.to_owned(),
            object: draft.object.to_owned(),
            outcome: draft.outcome,
            commit: draft.commit,
            plan: draft.plan.map(Vec::from).unwrap_or_default(),
            payload: draft.payload.to_string(),
        };
        match event.leaf_bytes() {
            0..=LEAF_BYTES_MAX => Ok(event),
            more => Err(Refused::Large(more)),
        }
    }

    fn leaf_bytes(&self) -> usize {
        let texts = self.kind.len() + self.actor.len() + self.origin.len() + self.object.len();
        FIXED_BYTES + texts + self.commit().len() + self.plan.len() + self.payload.len()
    }

    pub(crate) fn id(&self) -> &[u8; 16] {
        &self.id
    }

    pub(crate) fn ts_ns(&self) -> i64 {
        self.ts_ns
    }

    /// One controller writes, so there is one term; the field is in the leaf so that more can come.
    pub(crate) fn epoch(&self) -> u64 {
        0
    }

    pub(crate) fn kind(&self) -> &str {
        &self.kind
    }

    pub(crate) fn actor(&self) -> &str {
        &self.actor
    }

    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    pub(crate) fn object(&self) -> &str {
        &self.object
    }

    pub(crate) fn outcome(&self) -> Ended {
        self.outcome
    }

    pub(crate) fn commit(&self) -> &[u8] {
        self.commit.as_ref().map_or(&[], CommitId::as_bytes)
    }

    pub(crate) fn plan(&self) -> &[u8] {
        &self.plan
    }

    pub(crate) fn payload(&self) -> &str {
        &self.payload
    }
}

/// A UUIDv7 of a given time.
pub(crate) fn fresh_id(at: Timestamp) -> [u8; 16] {
    let seconds = u64::try_from(at.as_second()).unwrap_or(0);
    let nanos = u32::try_from(at.subsec_nanosecond()).unwrap_or(0);
    let context = ContextV7::new().with_additional_precision();
    Uuid::new_v7(uuid::Timestamp::from_unix(&context, seconds, nanos)).into_bytes()
}

/// A text as it may stand in a row: control characters shown as U+FFFD, cut at a character.
pub(crate) fn tidy(text: &str, bytes_max: usize) -> String {
    let shown: String = text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect();
    shown.get(..shown.floor_char_boundary(bytes_max)).unwrap_or_default().to_owned()
}

fn check_numbers(value: &Value) -> Result<(), Refused> {
    match value {
        Value::Number(number) => match number.as_i64() {
            Some(n) if (-INTEGER_MAX..=INTEGER_MAX).contains(&n) => Ok(()),
            Some(_) | None => Err(Refused::Number(number.clone())),
        },
        Value::Array(items) => items.iter().try_for_each(check_numbers),
        Value::Object(fields) => fields.values().try_for_each(check_numbers),
        Value::Null | Value::Bool(_) | Value::String(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn draft() -> Draft<'static> {
        Draft { kind: "boot", origin: "host:demo", ..Draft::at(Timestamp::UNIX_EPOCH) }
    }

    #[test]
    fn a_row_without_actor_or_origin_or_kind_is_refused() {
        assert_eq!(AuditEvent::new(Draft { actor: "", ..draft() }), Err(Refused::Missing("an actor")));
        assert_eq!(AuditEvent::new(Draft { origin: "", ..draft() }), Err(Refused::Missing("an origin")));
        assert_eq!(AuditEvent::new(Draft { kind: "", ..draft() }), Err(Refused::Missing("a kind")));
    }

    #[test]
    fn a_control_character_is_refused() {
        for bad in ["a\nb", "a\u{1b}[31m", "\u{85}", "\0"] {
            assert!(matches!(AuditEvent::new(Draft { object: bad, ..draft() }), Err(Refused::Control(_))), "{bad:?}");
        }
    }

    #[test]
    fn a_float_and_a_number_beyond_two_to_the_53_are_refused() {
        for bad in [json!({"a": [1.5]}), json!(9_007_199_254_740_993_i64), json!(u64::MAX), json!(1e3)] {
            assert!(matches!(AuditEvent::new(Draft { payload: bad.clone(), ..draft() }), Err(Refused::Number(_))), "{bad}");
        }
        assert!(AuditEvent::new(Draft { payload: json!(9_007_199_254_740_992_i64), ..draft() }).is_ok());
    }

    #[test]
    fn a_leaf_of_65535_bytes_is_taken_and_one_more_is_not() {
        let of = |bytes: usize| AuditEvent::new(Draft { payload: json!("x".repeat(bytes)), ..draft() });
        let event = of(10).unwrap();
        let spare = LEAF_BYTES_MAX - super::super::leaf::encode(&event, 0, &[0; 32]).len();
        let largest = of(10 + spare).unwrap();
        assert_eq!(super::super::leaf::encode(&largest, 0, &[0; 32]).len(), LEAF_BYTES_MAX);
        assert_eq!(of(11 + spare), Err(Refused::Large(LEAF_BYTES_MAX + 1)));
    }

    #[test]
    fn tidying_keeps_characters_whole_and_shows_what_would_not_print() {
        assert_eq!(tidy("a\nb", 100), "a\u{fffd}b");
        assert_eq!(tidy("ää", 3), "ä");
    }
}
