//! What many rules allow, as rectangles of addresses and services, and the two questions about them: what meets a rectangle, and
//! what of it do the others leave uncovered.
//!
//! A set with one port per rule and one with one peer per rule must both be quick, so the rectangles stand in a tree that is cut
//! along either side, whichever tells them apart. Every step is counted; past [`Work::new`]'s limit nothing more is answered, and
//! whoever asks says so.

use alloc::vec;
use alloc::vec::Vec;

use crate::net::{Direction, Family, ServiceRange};

/// Rectangles in a leaf.
const LEAF: usize = 8;

/// Addresses from `first` to `last` on services from `lo` to `hi`, all included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Patch {
    pub(super) first: u128,
    pub(super) last: u128,
    /// Service numbers with their [`lane`] on top.
    pub(super) lo: u32,
    pub(super) hi: u32,
    /// Whose it is.
    pub(super) owner: u32,
    /// Which peer of the owner; [`NO_PEER`] for none.
    pub(super) peer: u16,
    /// Whether it holds for everybody the owner selects; else only for some.
    pub(super) sure: bool,
}

/// No peer in particular.
pub(super) const NO_PEER: u16 = u16::MAX;

const EGRESS: u32 = 1 << 31;
const V6: u32 = 1 << 30;
const LANES: u32 = EGRESS | V6;

/// Directions and families never meet: each has its own lane of service numbers.
pub(super) fn lane(direction: Direction, family: Family) -> u32 {
    let direction = if direction == Direction::Egress { EGRESS } else { 0 };
    direction | if family == Family::V6 { V6 } else { 0 }
}

/// The service number of a port known by its name only; it meets no port known by number.
pub(super) fn by_name(number: u32) -> u32 {
    1 << 29 | (number & 0x00FF_FFFF)
}

impl Patch {
    /// Nobody's rectangle, to ask with.
    pub(super) fn question(span: (u128, u128), lane: u32, services: ServiceRange) -> Self {
        let (lo, hi) = (lane | services.lo(), lane | services.hi());
        Self { first: span.0, last: span.1, lo, hi, owner: u32::MAX, peer: NO_PEER, sure: true }
    }

    /// The direction of its lane.
    pub(super) fn direction(&self) -> Direction {
        if self.lo & EGRESS == 0 { Direction::Ingress } else { Direction::Egress }
    }

    /// The family of its lane.
    pub(super) fn family(&self) -> Family {
        if self.lo & V6 == 0 { Family::V4 } else { Family::V6 }
    }

    /// Its services; none for a port known by name.
    pub(super) fn services(&self) -> Option<ServiceRange> {
        ServiceRange::from_numbers(self.lo & !LANES, self.hi & !LANES)
    }

    fn meets(&self, other: &Self) -> bool {
        self.lo <= other.hi && other.lo <= self.hi && self.first <= other.last && other.first <= self.last
    }

    fn around(self, other: &Self) -> Self {
        let (first, last) = (self.first.min(other.first), self.last.max(other.last));
        Self { first, last, lo: self.lo.min(other.lo), hi: self.hi.max(other.hi), ..self }
    }
}

/// Steps taken, against a limit.
pub(super) struct Work {
    left: usize,
}

impl Work {
    pub(super) fn new(steps_max: usize) -> Self {
        Self { left: steps_max }
    }

    /// Takes some steps; false where there are none left.
    pub(super) fn spend(&mut self, steps: usize) -> bool {
        self.left = self.left.saturating_sub(steps);
        self.left > 0
    }

    /// Whether nothing more is answered.
    pub(super) fn is_done(&self) -> bool {
        self.left == 0
    }
}

/// Rectangles, findable.
#[derive(Default)]
pub(super) struct Tree {
    patches: Vec<Patch>,
    /// The root first; the left child of a node stands directly behind it.
    nodes: Vec<Node>,
}

struct Node {
    /// Everything below lies in it.
    bounds: Patch,
    from: usize,
    to: usize,
    /// The right child; `None` for a leaf.
    right: Option<usize>,
}

impl Tree {
    pub(super) fn new(patches: Vec<Patch>) -> Self {
        let mut tree = Self { nodes: Vec::with_capacity(patches.len() / LEAF * 2 + 1), patches };
        tree.grow(0, tree.patches.len());
        tree
    }

    fn grow(&mut self, from: usize, to: usize) {
        let patches = self.patches.get_mut(from..to).unwrap_or_default();
        let Some(bounds) = patches.iter().copied().reduce(|a, b| a.around(&b)) else { return };
        let number = self.nodes.len();
        let half = patches.len() / 2;
        if patches.len() > LEAF {
            // Whichever side has more of them apart.
            let apart = |starts: &mut dyn Iterator<Item = bool>| starts.filter(|differs| *differs).count();
            let addresses = apart(&mut patches.windows(2).map(|w| matches!(w, [a, b] if a.first != b.first)));
            let services = apart(&mut patches.windows(2).map(|w| matches!(w, [a, b] if a.lo != b.lo)));
            if services > addresses {
                patches.select_nth_unstable_by_key(half, |patch| (patch.lo, patch.first));
            } else {
                patches.select_nth_unstable_by_key(half, |patch| (patch.first, patch.lo));
            }
        }
        self.nodes.push(Node { bounds, from, to, right: None });
        if to - from > LEAF {
            self.grow(from, from + half);
            let right = self.nodes.len();
            self.grow(from + half, to);
            if let Some(node) = self.nodes.get_mut(number) {
                node.right = Some(right);
            }
        }
    }

    /// The first rectangle that meets this one and is wanted.
    pub(super) fn find(&self, asked: &Patch, work: &mut Work, mut wanted: impl FnMut(&Patch) -> bool) -> Option<Patch> {
        let mut open = vec![0_usize];
        while let Some(number) = open.pop() {
            let Some(node) = self.nodes.get(number).filter(|node| node.bounds.meets(asked)) else { continue };
            if !work.spend(1) {
                return None;
            }
            if let Some(right) = node.right {
                open.push(right);
                open.push(number + 1);
                continue;
            }
            let leaf = self.patches.get(node.from..node.to).unwrap_or_default();
            if let Some(found) = leaf.iter().find(|patch| patch.meets(asked) && wanted(patch)) {
                return Some(*found);
            }
        }
        None
    }
}

/// A part of this rectangle that none of the rectangles covers which `find` gives; `None` where they cover it all. Where `find` gives
/// up early, something is left.
pub(super) fn uncovered(whole: Patch, mut find: impl FnMut(&Patch) -> Option<Patch>) -> Option<Patch> {
    let mut pieces = vec![whole];
    while let Some(piece) = pieces.pop() {
        let Some(over) = find(&piece) else { return Some(piece) };
        // What is left of it: above and below by address, then, of the middle, by service.
        if piece.first < over.first {
            pieces.push(Patch { last: over.first - 1, ..piece });
        }
        if over.last < piece.last {
            pieces.push(Patch { first: over.last + 1, ..piece });
        }
        let middle = Patch { first: piece.first.max(over.first), last: piece.last.min(over.last), ..piece };
        if piece.lo < over.lo {
            pieces.push(Patch { hi: over.lo - 1, ..middle });
        }
        if over.hi < piece.hi {
            pieces.push(Patch { lo: over.hi + 1, ..middle });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn patch() -> impl Strategy<Value = Patch> {
        let wide = prop_oneof![3 => 0_u8..4, 1 => 0_u8..16];
        (0_u8..16, wide.clone(), 0_u8..16, wide).prop_map(|(first, addresses, lo, services)| Patch {
            first: first.into(),
            last: (first + addresses).min(15).into(),
            lo: lo.into(),
            hi: (lo + services).min(15).into(),
            owner: 0,
            peer: NO_PEER,
            sure: true,
        })
    }

    fn point(address: u8, service: u8) -> Patch {
        let (address, service) = (u128::from(address), u32::from(service));
        Patch { first: address, last: address, lo: service, hi: service, owner: 0, peer: NO_PEER, sure: true }
    }

    proptest! {
        #[test]
        fn a_rectangle_is_covered_exactly_if_each_of_its_points_is(
            patches in proptest::collection::vec(patch(), 0..60),
            whole in patch(),
        ) {
            let tree = Tree::new(patches.clone());
            let mut work = Work::new(1_000_000);
            let left = uncovered(whole, |piece| tree.find(piece, &mut work, |_| true));
            let points = (0..16).flat_map(|a| (0..16).map(move |s| point(a, s)));
            let bare: Vec<Patch> = points.filter(|p| p.meets(&whole) && !patches.iter().any(|q| q.meets(p))).collect();
            prop_assert_eq!(left.is_none(), bare.is_empty());
            if let Some(left) = left {
                prop_assert!(bare.iter().any(|p| p.first == left.first && p.lo == left.lo));
            }
        }

        #[test]
        fn what_meets_a_rectangle_is_found(patches in proptest::collection::vec(patch(), 0..200), asked in patch()) {
            let tree = Tree::new(patches.clone());
            let mut seen = 0;
            tree.find(&asked, &mut Work::new(1_000_000), |_| { seen += 1; false });
            prop_assert_eq!(seen, patches.iter().filter(|p| p.meets(&asked)).count());
        }
    }

    #[test]
    fn where_the_work_ends_nothing_counts_as_covered() {
        let tree = Tree::new(vec![point(1, 1)]);
        let mut work = Work::new(1);
        assert_eq!(uncovered(point(1, 1), |piece| tree.find(piece, &mut work, |_| true)), Some(point(1, 1)));
        assert!(work.is_done());
    }

    #[test]
    fn lanes_and_names_never_meet() {
        let everything = |direction, family| Patch::question((0, u128::MAX), lane(direction, family), ServiceRange::ALL);
        let lanes: Vec<Patch> = Direction::BOTH.into_iter().flat_map(|d| Family::BOTH.map(|f| everything(d, f))).collect();
        for (i, a) in lanes.iter().enumerate() {
            assert!(lanes.iter().enumerate().all(|(j, b)| i == j || !a.meets(b)));
            let name = Patch { lo: a.lo | by_name(7), hi: a.lo | by_name(7), ..*a };
            assert!(lanes.iter().all(|b| !name.meets(b)));
        }
    }
}
