//! Longest match as disjoint ranges, and back.
//!
//! nftables has no longest match: an interval map wants ranges that do not overlap. So every prefix becomes the ranges in which it is
//! the longest match: itself without the prefixes inside it. A range that is not the whole of its prefix says in a comment which
//! prefix it belongs to; a prefix that those inside it cover completely has no range and is recorded apart. That makes the way back
//! exact: what was rendered reads as the same prefixes, and whatever else is found in the map shows as the prefixes it is about.
//!
//! Full-length prefixes are not here: they have a map of their own that is asked first.

use std::collections::BTreeMap;

use policy::net::{Cidr, Family};

/// Addresses from `first` to `last`, both included, as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Range {
    pub(super) first: u128,
    pub(super) last: u128,
}

/// A range and the prefix that is its longest match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece<T> {
    pub(super) range: Range,
    /// None for a range that names no prefix and is none.
    pub(super) owner: Option<Cidr>,
    pub(super) value: T,
}

/// The ranges of prefixes of one family, in order, and the prefixes that have none.
pub(super) fn pieces<T: Clone>(prefixes: &BTreeMap<Cidr, T>) -> (Vec<Piece<T>>, Vec<(Cidr, T)>) {
    let mut sorted: Vec<(&Cidr, &T)> = prefixes.iter().collect();
    sorted.sort_by_key(|(prefix, _)| (prefix.bounds().0, prefix.length()));
    let mut walk = Walk { cursor: Some(0), open: Vec::new(), found: Vec::new(), covered: Vec::new() };
    for (prefix, value) in sorted {
        let (first, _) = prefix.bounds();
        walk.close_before(first);
        if let Some(below) = first.checked_sub(1) {
            walk.emit_to(below);
        }
        walk.cursor = Some(first);
        walk.open.push(Open { prefix: *prefix, value, shown: false });
    }
    while !walk.open.is_empty() {
        walk.close();
    }
    (walk.found, walk.covered)
}

struct Open<'a, T> {
    prefix: Cidr,
    value: &'a T,
    shown: bool,
}

/// Where the walk is: everything below the cursor has been given away; none is past the last address there is.
struct Walk<'a, T> {
    cursor: Option<u128>,
    open: Vec<Open<'a, T>>,
    found: Vec<Piece<T>>,
    covered: Vec<(Cidr, T)>,
}

impl<T: Clone> Walk<'_, T> {
    /// Gives what is left up to `last` to the innermost prefix.
    fn emit_to(&mut self, last: u128) {
        let (Some(first), Some(top)) = (self.cursor, self.open.last_mut()) else { return };
        if first <= last {
            top.shown = true;
            let owner = Some(top.prefix);
            self.found.push(Piece { range: Range { first, last }, owner, value: top.value.clone() });
        }
    }

    fn close(&mut self) {
        let Some(top) = self.open.last() else { return };
        let last = top.prefix.bounds().1;
        self.emit_to(last);
        if self.cursor.is_some_and(|cursor| cursor <= last) {
            self.cursor = last.checked_add(1);
        }
        if let Some(gone) = self.open.pop().filter(|gone| !gone.shown) {
            self.covered.push((gone.prefix, gone.value.clone()));
        }
    }

    fn close_before(&mut self, first: u128) {
        while self.open.last().is_some_and(|top| top.prefix.bounds().1 < first) {
            self.close();
        }
    }
}

/// The prefixes that read as these ranges: exactly those that were rendered, or, where somebody has changed a map, those and the
/// prefixes in which it differs. `nothing` is what an address without any range has.
pub(super) fn prefixes<T: Clone + PartialEq>(
    family: Family,
    found: &[Piece<T>],
    covered: &[(Cidr, T)],
    nothing: &T,
) -> BTreeMap<Cidr, T> {
    let mut out: BTreeMap<Cidr, T> = covered.iter().cloned().collect();
    // The first range of a prefix speaks for it.
    for piece in found.iter().rev() {
        if let Some(owner) = piece.owner {
            out.insert(owner, piece.value.clone());
        }
    }
    let (expected, _) = pieces(&out);
    let same = expected.len() == found.len() && expected.iter().zip(found).all(|(a, b)| a.range == b.range && a.value == b.value);
    if !same {
        for (range, value) in differences(family, found, &expected, nothing) {
            for part in whole_prefixes(family, range) {
                // What is longer inside would hide it.
                out.retain(|prefix, _| !part.covers(*prefix));
                out.insert(part, value.clone());
            }
        }
    }
    out
}

/// The ranges in which `found` says something else than `expected`, with what it says.
fn differences<T: Clone + PartialEq>(family: Family, found: &[Piece<T>], expected: &[Piece<T>], nothing: &T) -> Vec<(Range, T)> {
    let mut edges: Vec<u128> = vec![0];
    for piece in found.iter().chain(expected) {
        edges.push(piece.range.first);
        edges.extend(piece.range.last.checked_add(1).filter(|next| *next <= family.last()));
    }
    edges.sort_unstable();
    edges.dedup();
    let mut out = Vec::new();
    for (i, first) in edges.iter().enumerate() {
        let last = edges.get(i + 1).map_or(family.last(), |next| next.saturating_sub(1));
        let here = at(found, *first).unwrap_or(nothing);
        if here != at(expected, *first).unwrap_or(nothing) {
            out.push((Range { first: *first, last }, here.clone()));
        }
    }
    out
}

/// What the ranges say of one address.
pub(super) fn at<T>(pieces: &[Piece<T>], address: u128) -> Option<&T> {
    let after = pieces.partition_point(|piece| piece.range.first <= address);
    let piece = pieces.get(after.checked_sub(1)?)?;
    (piece.range.last >= address).then_some(&piece.value)
}

/// The fewest prefixes that are together exactly the range.
pub(super) fn whole_prefixes(family: Family, range: Range) -> Vec<Cidr> {
    let bits = u32::from(family.bits());
    let mut out = Vec::new();
    let mut first = Some(range.first);
    while let Some(from) = first.filter(|from| *from <= range.last) {
        // How far the alignment of the start and the room that is left allow.
        let aligned = from.trailing_zeros().min(bits);
        let room = (range.last - from).checked_add(1).map_or(128, u128::ilog2);
        let host_bits = aligned.min(room);
        let size_less_one = if host_bits >= 128 { u128::MAX } else { (1 << host_bits) - 1 };
        let length = u8::try_from(bits - host_bits).unwrap_or(u8::MAX);
        out.extend(Cidr::new(family.address(from), length));
        first = from.checked_add(size_less_one).and_then(|last| last.checked_add(1));
    }
    out
}

/// The prefix of this length that holds the address.
pub(super) fn prefix_of(family: Family, address: u128, length: u8) -> Option<Cidr> {
    let host_bits = u32::from(family.bits().checked_sub(length)?);
    let keep = u128::MAX.checked_shl(host_bits).unwrap_or(0);
    Cidr::new(family.address(address & keep), length)
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    fn cidr(text: &str) -> Cidr {
        Cidr::parse(text).unwrap()
    }

    fn shown(prefixes: &[(&str, u8)]) -> (Vec<(String, u8)>, Vec<Cidr>) {
        let prefixes = prefixes.iter().map(|(text, value)| (cidr(text), *value)).collect();
        let (found, covered) = pieces(&prefixes);
        let text = |p: &Piece<u8>| {
            let [first, last] = [p.range.first, p.range.last].map(|n| Family::V4.address(n));
            (format!("{first}-{last}"), p.value)
        };
        (found.iter().map(text).collect(), covered.into_iter().map(|(prefix, _)| prefix).collect())
    }

    #[test]
    fn a_prefix_is_what_those_inside_it_leave() {
        let (found, covered) = shown(&[("10.0.0.0/8", 1), ("10.0.0.0/16", 2), ("10.0.128.0/17", 3), ("10.255.255.0/24", 4)]);
        let expected = [
            ("10.0.0.0-10.0.127.255", 2),
            ("10.0.128.0-10.0.255.255", 3),
            ("10.1.0.0-10.255.254.255", 1),
            ("10.255.255.0-10.255.255.255", 4),
        ];
        assert_eq!(found, expected.map(|(text, value)| (text.to_owned(), value)));
        assert_eq!(covered, []);
    }

    #[test]
    fn a_prefix_that_its_halves_cover_has_no_range() {
        let (found, covered) = shown(&[("0.0.0.0/0", 1), ("0.0.0.0/1", 2), ("128.0.0.0/1", 3)]);
        assert_eq!(found.len(), 2);
        assert_eq!(covered, [cidr("0.0.0.0/0")]);
    }

    #[test]
    fn a_range_is_taken_apart_into_the_fewest_prefixes() {
        let range = Range { first: 0x0A00_0001, last: 0x0A00_0006 };
        let parts: Vec<String> = whole_prefixes(Family::V4, range).iter().map(ToString::to_string).collect();
        assert_eq!(parts, ["10.0.0.1/32", "10.0.0.2/31", "10.0.0.4/31", "10.0.0.6/32"]);
        assert_eq!(whole_prefixes(Family::V6, Range { first: 0, last: u128::MAX }), [cidr("::/0")]);
        assert_eq!(whole_prefixes(Family::V4, Range { first: 0, last: u128::from(u32::MAX) }), [cidr("0.0.0.0/0")]);
    }

    /// Few bits that matter, so that prefixes nest, touch and cover each other.
    fn nested(family: Family) -> impl Strategy<Value = BTreeMap<Cidr, u8>> {
        let at_the_ends = prop::collection::vec((0_u8..5, 0_u128..16, any::<bool>(), 0_u8..3), 0..12);
        at_the_ends.prop_map(move |drafts| {
            let place = |(length, bits, high, value): (u8, u128, bool, u8)| {
                // Lengths 0 to 4, or just below full length at either end of the space.
                let length = if high { family.bits() - 1 - length } else { length };
                let room = u32::from(family.bits() - length);
                let base = if length == 0 || room >= 128 { 0 } else { bits << room & family.last() };
                let base = if high && bits % 2 == 1 { family.last() >> room << room } else { base };
                Some((prefix_of(family, base, length)?, value))
            };
            drafts.into_iter().filter_map(place).collect()
        })
    }

    fn longest(prefixes: &BTreeMap<Cidr, u8>, address: u128, family: Family) -> Option<u8> {
        let holds = |prefix: &&Cidr| prefix.contains(family.address(address));
        prefixes.keys().filter(holds).max_by_key(|prefix| prefix.length()).map(|prefix| prefixes[prefix])
    }

    proptest! {
        #[test]
        fn ranges_are_the_longest_match_at_every_edge(v6: bool, (four, six) in (nested(Family::V4), nested(Family::V6))) {
            let (family, prefixes) = if v6 { (Family::V6, six) } else { (Family::V4, four) };
            let (found, _) = pieces(&prefixes);
            prop_assert!(found.windows(2).all(|pair| pair[0].range.last < pair[1].range.first));
            let edges = prefixes.keys().flat_map(|prefix| {
                let (first, last) = prefix.bounds();
                [Some(first), first.checked_sub(1), Some(last), last.checked_add(1)]
            });
            for address in edges.flatten().filter(|address| *address <= family.last()) {
                prop_assert_eq!(at(&found, address).copied(), longest(&prefixes, address, family));
            }
        }

        #[test]
        fn ranges_read_back_as_the_prefixes_they_were_made_of(prefixes_in in nested(Family::V4)) {
            let (found, covered) = pieces(&prefixes_in);
            prop_assert_eq!(prefixes(Family::V4, &found, &covered, &u8::MAX), prefixes_in);
        }

        #[test]
        fn a_map_changed_by_hand_reads_as_what_it_does(before in nested(Family::V4), pick: usize, what in 0_u8..3) {
            let (mut found, covered) = pieces(&before);
            if found.is_empty() {
                return Ok(());
            }
            let at_hand = pick % found.len();
            match what {
                0 => drop(found.remove(at_hand)),
                1 => found[at_hand].value = 9,
                _ => found[at_hand].owner = None,
            }
            let read = prefixes(Family::V4, &found, &covered, &u8::MAX);
            for piece in &found {
                for address in [piece.range.first, piece.range.last] {
                    prop_assert_eq!(longest(&read, address, Family::V4), Some(piece.value));
                }
            }
            if what != 2 {
                prop_assert_ne!(read, before);
            }
        }
    }
}
