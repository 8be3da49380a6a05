//! "Did you mean": the nearest legal word.

use alloc::vec;
use alloc::vec::Vec;

/// Longer words are not typing mistakes.
const WORD_BYTES_MAX: usize = 253;
const DISTANCE_MAX: usize = 2;

/// The candidate that was probably meant. Equality but for case wins, then the smallest distance of at most two and at most a third
/// of the longer word; among equals the first.
pub(crate) fn nearest<'c>(found: &str, candidates: &[&'c str]) -> Option<&'c str> {
    if found.len() > WORD_BYTES_MAX {
        return None;
    }
    if let Some(same) = candidates.iter().find(|c| c.eq_ignore_ascii_case(found)) {
        return Some(same);
    }
    let near = candidates.iter().filter_map(|candidate| {
        let longer = found.chars().count().max(candidate.chars().count());
        let distance = distance(found, candidate);
        (distance <= DISTANCE_MAX && distance * 3 <= longer).then_some((distance, *candidate))
    });
    near.min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate)
}

/// Damerau–Levenshtein: insertions, deletions, replacements, and neighbours swapped.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) > DISTANCE_MAX {
        return usize::MAX / 3;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, &x) in a.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, &y) in b.iter().enumerate() {
            let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX / 3);
            let mut best = (at(&row, j) + usize::from(x != y)).min(at(&row, j + 1) + 1).min(at(&next, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(&y) && b.get(j - 1) == Some(&x);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            next.push(best);
        }
        before = core::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_mistake_finds_its_word() {
        let fields = ["podSelector", "policyTypes", "ingress", "egress"];
        for (found, meant) in [
            ("ingres", "ingress"),
            ("igness", "ingress"),
            ("egrses", "egress"),
            ("PodSelector", "podSelector"),
            ("podselctor", "podSelector"),
        ] {
            let expected = (meant != "igness").then_some(meant);
            assert_eq!(nearest(found, &fields), expected, "{found}");
        }
    }

    #[test]
    fn a_short_or_distant_word_finds_nothing() {
        assert_eq!(nearest("fr", &["to"]), None);
        assert_eq!(nearest("banana", &["ingress", "egress"]), None);
        assert_eq!(nearest("tcp", &["TCP", "UDP"]), Some("TCP"));
        assert_eq!(nearest("TPC", &["TCP", "UDP"]), Some("TCP"));
    }
}
