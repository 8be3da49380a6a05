//! Two arranged sides, stretch by stretch: what one allows and the other does not.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::answers::Side;
use crate::net::{AddressSet, Family, ServiceRange, ServiceSet};

/// Services that some addresses gained or lost.
pub(super) type Blocks = Vec<(AddressSet, Vec<ServiceRange>)>;

/// What the new side allows beyond the old one, and the other way round. `None` is nobody's side: everything passes.
pub(super) fn compare(old: Option<&Side>, new: Option<&Side>, family: Family) -> (Blocks, Blocks) {
    let bounds = |side: Option<&Side>| side.map_or(&[][..], |side| side.bounds(family)).to_vec();
    let mut cuts: Vec<u128> = [0].into_iter().chain(bounds(old)).chain(bounds(new)).collect();
    cuts.sort_unstable();
    cuts.dedup();
    let (mut gained, mut lost) = (Merged::default(), Merged::default());
    let mut known: BTreeMap<(Option<usize>, Option<usize>), (ServiceSet, ServiceSet)> = BTreeMap::new();
    for (number, first) in cuts.iter().enumerate() {
        let last = cuts.get(number + 1).map_or(family.last(), |next| next - 1);
        // Stretches share their slices, so each pair is compared once.
        let slice = |side: Option<&Side>| side.and_then(|side| side.number_at(family, *first));
        let (more, less) = known.entry((slice(old), slice(new))).or_insert_with(|| {
            let (before, after) = (allowed(old, family, *first), allowed(new, family, *first));
            (after.minus(&before), before.minus(&after))
        });
        gained.add(more, *first, last);
        lost.add(less, *first, last);
    }
    (gained.blocks(family), lost.blocks(family))
}

/// Everything that an address may use.
fn allowed(side: Option<&Side>, family: Family, address: u128) -> ServiceSet {
    match side.filter(|side| side.isolating().is_some()) {
        None => ServiceSet::of([ServiceRange::ALL]),
        Some(side) => {
            let (any, slice) = side.at(family, address);
            ServiceSet::of(any.iter().chain(slice).filter_map(|step| step.services()))
        }
    }
}

/// Addresses by the services they share.
#[derive(Default)]
struct Merged(BTreeMap<Vec<ServiceRange>, Vec<(u128, u128)>>);

impl Merged {
    fn add(&mut self, services: &ServiceSet, first: u128, last: u128) {
        if services.is_empty() {
            return;
        }
        match self.0.get_mut(services.ranges()) {
            Some(spans) => spans.push((first, last)),
            None => drop(self.0.insert(services.ranges().to_vec(), [(first, last)].into())),
        }
    }

    fn blocks(self, family: Family) -> Blocks {
        let each = self.0.into_iter().map(|(services, spans)| (AddressSet::from_spans(family, spans), services));
        let mut blocks: Blocks = each.collect();
        blocks.sort_by_key(|(addresses, _)| addresses.spans().first().copied());
        blocks
    }
}
