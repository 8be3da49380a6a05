//! Which rules are on at the walk's current prefix.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use super::services::normalise;
use super::{Event, Interval, Size, Sources};

/// Some rules and the slice they make.
type Made = (Vec<usize>, Arc<[Interval]>);

/// Counts per block and per rule, the rules that are on, and a running hash of them.
pub(super) struct Active {
    /// Per block, how many of its exceptions hold the current prefix.
    excluded: Vec<u32>,
    /// Per rule, how many of its blocks are on.
    blocks_on: Vec<u32>,
    rules: BTreeSet<usize>,
    hash: u128,
    /// Slices by the hash of the rules that made them; several where hashes collide.
    known: BTreeMap<u128, Vec<Made>>,
    /// Each distinct slice once, whatever rules made it.
    slices: BTreeSet<Arc<[Interval]>>,
}

impl Active {
    pub(super) fn new(blocks: usize, rules: usize) -> Self {
        Self {
            excluded: vec![0; blocks],
            blocks_on: vec![0; rules],
            rules: BTreeSet::new(),
            hash: 0,
            known: BTreeMap::new(),
            slices: BTreeSet::new(),
        }
    }

    pub(super) fn enter(&mut self, event: &Event) {
        match (event.except, self.excluded.get_mut(event.block)) {
            (true, Some(count)) => {
                *count += 1;
                if *count == 1 {
                    self.switch_off(event.rule);
                }
            }
            _ => self.switch_on(event.rule),
        }
    }

    pub(super) fn leave(&mut self, event: &Event) {
        match (event.except, self.excluded.get_mut(event.block)) {
            (true, Some(count)) => {
                *count -= 1;
                if *count == 0 {
                    self.switch_on(event.rule);
                }
            }
            _ => self.switch_off(event.rule),
        }
    }

    fn switch_on(&mut self, rule: usize) {
        if let Some(count) = self.blocks_on.get_mut(rule) {
            *count += 1;
            if *count == 1 {
                self.rules.insert(rule);
                self.hash ^= spread(rule);
            }
        }
    }

    fn switch_off(&mut self, rule: usize) {
        if let Some(count) = self.blocks_on.get_mut(rule) {
            *count -= 1;
            if *count == 0 {
                self.rules.remove(&rule);
                self.hash ^= spread(rule);
            }
        }
    }

    /// The services of the rules that are on.
    pub(super) fn slice(&mut self, sources: &Sources<'_>, size: &mut Size) -> Arc<[Interval]> {
        size.work += 1 + self.rules.len();
        let made = self.known.entry(self.hash).or_default();
        if let Some((_, slice)) = made.iter().find(|(rules, _)| rules.iter().eq(&self.rules)) {
            return slice.clone();
        }
        size.work += self.rules.iter().map(|rule| sources.grants(*rule).len()).sum::<usize>();
        let fresh: Arc<[Interval]> = normalise(self.rules.iter().flat_map(|rule| sources.grants(*rule)).copied()).into();
        let slice = match self.slices.get(&fresh) {
            Some(known) => known.clone(),
            None => {
                size.slice(&fresh);
                self.slices.insert(fresh.clone());
                fresh
            }
        };
        made.push((self.rules.iter().copied().collect(), slice.clone()));
        slice
    }
}

/// Spreads small numbers over 128 bits (the finaliser of SplitMix64, twice).
fn spread(rule: usize) -> u128 {
    let mix = |mut z: u64| {
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    };
    let seed = u64::try_from(rule).unwrap_or(u64::MAX).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    u128::from(mix(seed)) << 64 | u128::from(mix(!seed))
}
