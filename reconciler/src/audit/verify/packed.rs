//! Rows as the database hands them over: packed, many in one buffer, so that reading them costs little more than hashing them.

use super::super::leaf::{self, Leaf};
use super::chain::{Examined, Fork};
use super::fault::Fault;
use crate::audit::kind;

/// The longest number, its minus, and the space behind it.
const NUMBER_BYTES_MAX: usize = 21;

/// A row as it is stored, borrowed from a packed buffer.
#[derive(Debug)]
struct Stored<'a> {
    seq: i64,
    ts: i64,
    event_id: &'a [u8],
    kind: &'a [u8],
    leaf: &'a [u8],
    hash: &'a [u8],
}

/// A packed buffer that does not follow its own lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a row could not be unpacked")]
pub struct NotPacked;

/// How rows are packed, in SQL: place, time and two pairs of lengths, each with a space behind it, then the four fields.
///
/// This expression is most of what reading costs. So two lengths share a number (none has more than 30 bits), and the fields are
/// joined by `||`, the longest last: as arguments of a function they would be copied twice, and before another `||` once more.
/// A field that is null, which no sound row has, makes a row of one space, which is none.
pub const PACKED: &str = "coalesce(concat(seq, ' ', ts, ' ', octet_length(event_id) << 30 | octet_length(kind), ' ', \
                          octet_length(hash) << 30 | octet_length(leaf), ' ') || event_id || kind || hash || leaf, ' ')";

/// Enough for every length: SQLite as we build it holds no field of more than 1,000,000,000 bytes.
const LENGTH_BITS: u32 = 30;

/// Compares every row of a packed buffer with its own bytes; what comes before an unreadable row is kept.
#[must_use]
pub fn examine(mut packed: &[u8]) -> (Vec<Examined>, Option<NotPacked>) {
    let mut rows = Vec::with_capacity(512);
    while !packed.is_empty() {
        let Some((row, rest)) = unpack(packed).and_then(|(row, rest)| Some((examine_one(&row)?, rest))) else {
            return (rows, Some(NotPacked));
        };
        rows.push(row);
        packed = rest;
    }
    (rows, None)
}

fn unpack(packed: &[u8]) -> Option<(Stored<'_>, &[u8])> {
    let (seq, rest) = number(packed)?;
    let (ts, rest) = number(rest)?;
    let (id_length, kind_length, rest) = lengths(rest)?;
    let (hash_length, leaf_length, rest) = lengths(rest)?;
    let (event_id, rest) = rest.split_at_checked(id_length)?;
    let (kind, rest) = rest.split_at_checked(kind_length)?;
    let (hash, rest) = rest.split_at_checked(hash_length)?;
    let (leaf, rest) = rest.split_at_checked(leaf_length)?;
    Some((Stored { seq, ts, event_id, kind, leaf, hash }, rest))
}

/// Decimal digits up to a space, the first of which may be a minus.
fn number(packed: &[u8]) -> Option<(i64, &[u8])> {
    let space = packed.iter().take(NUMBER_BYTES_MAX).position(|byte| *byte == b' ')?;
    let (digits, rest) = packed.split_at_checked(space)?;
    let (negative, digits) = digits.strip_prefix(b"-").map_or((false, digits), |digits| (true, digits));
    if digits.is_empty() {
        return None;
    }
    // Counted down, because the smallest number has no positive twin.
    let down = digits.iter().try_fold(0_i64, |sum, digit| {
        let value = digit.checked_sub(b'0').filter(|value| *value <= 9)?;
        sum.checked_mul(10)?.checked_sub(i64::from(value))
    })?;
    Some((if negative { down } else { down.checked_neg()? }, rest.get(1..)?))
}

fn lengths(packed: &[u8]) -> Option<(usize, usize, &[u8])> {
    let (both, rest) = number(packed)?;
    let (high, low) = (both >> LENGTH_BITS, both & ((1 << LENGTH_BITS) - 1));
    Some((usize::try_from(high).ok()?, usize::try_from(low).ok()?, rest))
}

fn examine_one(row: &Stored<'_>) -> Option<Examined> {
    let seq = u64::try_from(row.seq).ok()?;
    let hash = leaf::hash(row.leaf);
    let mut examined = Examined::new(seq, hash);
    if row.hash != hash {
        // A row whose body was moved to a segment has only its hash left; whether it may be so is decided with its neighbours.
        examined.bare = if row.leaf.is_empty() { row.hash.try_into().ok() } else { None };
        examined.broken = Some(Box::new(Fault::Hash { seq, stored: row.hash.to_vec(), computed: hash }));
        return Some(examined);
    }
    match Leaf::decode(row.leaf) {
        Err(cause) => examined.broken = Some(Box::new(Fault::Bytes { seq, cause })),
        Ok(leaf) => {
            let copy = differing_column(row, seq, &leaf).map(|name| Fault::Column { seq, name });
            let fork = (leaf.kind == kind::LOG_FORKED).then(|| Fork::read(seq, leaf.payload));
            examined = Examined::sound(seq, leaf.prev, hash, copy, fork);
        }
    }
    Some(examined)
}

fn differing_column(row: &Stored<'_>, seq: u64, leaf: &Leaf<'_>) -> Option<&'static str> {
    let columns = [
        ("seq", leaf.seq == seq),
        ("event_id", leaf.event_id == row.event_id),
        ("ts", leaf.ts_ns == row.ts),
        ("kind", leaf.kind.as_bytes() == row.kind),
    ];
    columns.into_iter().find(|(_, equal)| !equal).map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_numbers_are_read_at_their_edges() {
        for n in [0, 1, -1, i64::MAX, i64::MIN] {
            let packed = format!("{n} rest");
            assert_eq!(number(packed.as_bytes()), Some((n, b"rest".as_slice())), "{packed}");
        }
        for bad in ["", " ", "- ", "123", "12x4567 ", "--12345 ", "9223372036854775808 ", "99999999999999999999 "] {
            assert_eq!(number(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn a_buffer_that_lies_about_a_length_is_refused() {
        let packed = format!("0 0 {} {} short", 16_u64 << 30 | 4, 32_u64 << 30 | 0x3fff_ffff);
        assert!(examine(packed.as_bytes()).1.is_some());
        assert!(examine(b" ").1.is_some(), "a row with a field that is null");
        let (rows, wrong) = examine(b"");
        assert!(rows.is_empty() && wrong.is_none());
    }
}
