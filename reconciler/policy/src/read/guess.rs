//! "Did you mean": the nearest legal word.

use alloc::vec::Vec;

/// Longer words are not typing mistakes.
const WORD_BYTES_MAX: usize = 253;
const DISTANCE_MAX: usize = 2;
/// More than any distance.
const FAR: usize = usize::MAX / 3;

/// The candidate that was probably meant. Equality but for case wins, then the smallest distance of at most two and at most a third
/// of the longer word; among equals the first.
pub(crate) fn nearest<'c>(found: &str, candidates: &[&'c str]) -> Option<&'c str> {
    if found.len() > WORD_BYTES_MAX {
        return None;
    }
    if let Some(same) = candidates.iter().find(|c| c.eq_ignore_ascii_case(found)) {
        return Some(same);
    }
    let found: Vec<char> = found.chars().collect();
    let (mut word, mut rows) = (Vec::new(), Rows::default());
    let near = candidates.iter().filter_map(|candidate| {
        // Bytes are at least characters, so nothing near is left out, and long lists are passed over quickly.
        if candidate.len() > 4 * (found.len() + DISTANCE_MAX) || candidate.len() + DISTANCE_MAX < found.len() {
            return None;
        }
        word.clear();
        word.extend(candidate.chars());
        let distance = rows.distance(&found, &word)?;
        (distance * 3 <= found.len().max(word.len())).then_some((distance, *candidate))
    });
    near.min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate)
}

/// Three rows of the table of distances between beginnings of two words: the one before, the current, the next.
#[derive(Default)]
struct Rows([Vec<usize>; 3]);

impl Rows {
    /// Damerau–Levenshtein: insertions, deletions, replacements, and neighbours swapped. `None` beyond [`DISTANCE_MAX`], so that only
    /// the cells that near the diagonal are looked at.
    fn distance(&mut self, a: &[char], b: &[char]) -> Option<usize> {
        if a.len().abs_diff(b.len()) > DISTANCE_MAX {
            return None;
        }
        let [before, row, next] = &mut self.0;
        for cells in [&mut *before, &mut *row, &mut *next] {
            cells.clear();
            cells.resize(b.len() + 1, FAR);
        }
        row.iter_mut().take(DISTANCE_MAX + 1).enumerate().for_each(|(j, cell)| *cell = j);
        for (i, &x) in a.iter().enumerate() {
            let mut least = FAR;
            let first = (i + 1).saturating_sub(DISTANCE_MAX);
            for (j, cell) in next.iter_mut().enumerate().skip(first).take(2 * DISTANCE_MAX + 1) {
                let at = |row: &[usize], j: Option<usize>| j.and_then(|j| row.get(j)).copied().unwrap_or(FAR);
                let y = j.checked_sub(1).and_then(|j| b.get(j));
                let mut best = (at(row, j.checked_sub(1)) + usize::from(y != Some(&x))).min(at(row, Some(j)) + 1);
                let swapped = i > 0 && j > 1 && a.get(i - 1) == y && b.get(j - 2) == Some(&x);
                if swapped {
                    best = best.min(at(before, j.checked_sub(2)) + 1);
                }
                *cell = best;
                least = least.min(best);
            }
            // Insertions go from left to right along the row.
            let mut left = FAR;
            for cell in next.iter_mut().skip(first).take(2 * DISTANCE_MAX + 1) {
                *cell = (*cell).min(left + 1);
                left = *cell;
            }
            if let Some(outside) = first.checked_sub(1).and_then(|j| next.get_mut(j)) {
                *outside = FAR;
            }
            let swaps = row.iter().skip(first.saturating_sub(1)).take(2 * DISTANCE_MAX + 1).min().copied().unwrap_or(FAR);
            if least.min(swaps) > DISTANCE_MAX {
                return None;
            }
            core::mem::swap(before, row);
            core::mem::swap(row, next);
        }
        row.last().copied().filter(|distance| *distance <= DISTANCE_MAX)
    }
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

    /// The whole table, written from the definition.
    fn plain(a: &[char], b: &[char]) -> usize {
        let mut table = alloc::vec![alloc::vec![0; b.len() + 1]; a.len() + 1];
        for i in 0..=a.len() {
            for j in 0..=b.len() {
                table[i][j] = match (i, j) {
                    (i, 0) => i,
                    (0, j) => j,
                    (i, j) => {
                        let replaced = table[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                        let best = replaced.min(table[i - 1][j] + 1).min(table[i][j - 1] + 1);
                        let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                        if swapped { best.min(table[i - 2][j - 2] + 1) } else { best }
                    }
                };
            }
        }
        table[a.len()][b.len()]
    }

    proptest::proptest! {
        #[test]
        fn the_diagonal_is_enough(a in "[abc]{0,9}", b in "[abc]{0,9}", c in "[abc]{0,9}") {
            let mut rows = Rows::default();
            let chars = |text: &str| text.chars().collect::<Vec<char>>();
            for (a, b) in [(&a, &b), (&b, &c), (&a, &c)] {
                let expected = Some(plain(&chars(a), &chars(b))).filter(|distance| *distance <= DISTANCE_MAX);
                proptest::prop_assert_eq!(rows.distance(&chars(a), &chars(b)), expected);
            }
        }
    }
}
