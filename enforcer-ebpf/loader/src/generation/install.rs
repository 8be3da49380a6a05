//! From a checked table to the generation in force.
//!
//! 1. A slot is chosen that no packet is judged by: a grace period after the last switch has ended before anything is written.
//! 2. It gets the table: as a [`Patch`] of what it holds, or as maps built from nothing. Its seal says that it is being changed.
//! 3. What was written is read back, and golden packets are judged by it.
//! 4. It is sealed, and one store turns every packet to it.
//! 5. Slots that are neither in force nor the way back give their memory back.
//!
//! A failure, or a crash, before the store leaves what was in force; after it the new generation is complete.

use std::{
    sync::{Arc, PoisonError},
    thread,
    time::{Duration, Instant},
};

use enforcer_abi::{Control, SLOTS};

use super::{
    Generations, Left, Memory, SealState,
    encode::{Encoded, Wanted},
    golden::{self, Spot},
    inner::Inner,
    patch::Patch,
};
use crate::{
    api::{Built, Installed, Took},
    error::Error,
    pin::Layout,
    table::{Meaning, Table},
    test_run::Checker,
};

/// What to install.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order<'a> {
    pub(crate) table: &'a Table,
    pub(crate) digest: [u8; 32],
    /// The epoch is at least this.
    pub(crate) epoch_hint: u32,
    /// How long it is on trial, if it is.
    pub(crate) within: Option<Duration>,
    /// Since when it is being worked on.
    pub(crate) began: Instant,
}

/// A generation that is ready to be turned to.
struct Ready {
    slot: u32,
    left: Left,
    how: Built,
    took: Took,
}

impl Generations {
    /// Builds the table in a quiet slot and turns to it.
    pub(crate) fn install(&self, layout: &Layout, order: Order<'_>) -> Result<Installed, Error> {
        self.own_up()?;
        let epoch = self.next_epoch(order.epoch_hint)?;
        let patched = match self.patched(layout, order, epoch) {
            Err(error @ Error::Misjudged { .. }) => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "a change in place failed; building the whole generation");
                None
            }
            Ok(patched) => patched,
        };
        let ready = match patched {
            Some(ready) => ready,
            None => self.whole(layout, order, epoch)?,
        };
        let Ready { slot, left, how, mut took } = ready;
        let checksum = left.checksum;
        let flipping = Instant::now();
        let next = self.word_for(slot, order.within)?;
        let seal = |state: SealState| [u64::from(epoch), checksum, next.0, state as u64];
        self.write_seal(slot, &seal(SealState::Built))?;
        self.control.store(next);
        took.flip = flipping.elapsed();
        self.write_seal(slot, &seal(SealState::InForce))?;
        self.remember(|memory| {
            memory.settled = None;
            memory.left.get_mut(slot as usize).map(|own| own.replace(left))
        });
        if let Err(error) = self.settle(layout, next, epoch) {
            tracing::warn!(%error, "memory of older generations was not given back");
        }
        Ok(Installed { epoch, slot, how, took })
    }

    /// Changes what the slot of the previous generation holds; none if the change is not small, something is on trial, or that slot
    /// is not exactly what was left there.
    fn patched(&self, layout: &Layout, order: Order<'_>, epoch: u32) -> Result<Option<Ready>, Error> {
        let word = self.control.load();
        let slot = word.fallback();
        if word.armed() || slot == word.active() || !self.sealed(slot)? {
            return Ok(None);
        }
        let Some(inner) = self.pinned_inner(layout, slot)? else { return Ok(None) };
        let room = inner.room()?;
        let encoding = Instant::now();
        let wanted = Wanted::of(order.table);
        let plan = |base: &Encoded, sum| Patch::plan((base, sum), &wanted, room, epoch, order.digest);
        let (quiet, patch) = thread::scope(|scope| {
            let waiting = scope.spawn(|| self.quiet_since(layout, word));
            let patch = match self.known(slot, &inner)? {
                Some(left) => plan(&left.content, left.checksum),
                None => self.intact(slot, &inner)?.and_then(|(read, sum)| plan(&read, sum)),
            };
            Ok::<_, Error>((joined(waiting.join())?, patch))
        })?;
        let encode = encoding.elapsed();
        let Some(patch) = patch.filter(|_| quiet) else { return Ok(None) };
        self.mark(slot, SealState::Changing)?;
        patch.write(&inner)?;
        self.write_record(slot, &patch.after.record)?;
        let build = order.began.elapsed();
        let verifying = Instant::now();
        patch.verify(&inner)?;
        let golden = self.try_out(layout, slot, order.table, &patch.spots())?;
        let took = Took { build, encode, verify: verifying.elapsed(), golden, flip: Duration::ZERO };
        let how = Built::Patched { changes: patch.changes() };
        let left = Left { content: Arc::new(patch.after), checksum: patch.checksum, maps: inner.numbers()? };
        Ok(Some(Ready { slot, left, how, took }))
    }

    /// What this process left in `slot`, if it is the sealed content of these maps. The intervals, which are memory, are compared;
    /// prefixes are not, as reading them all takes longer than everything else a small change does.
    fn known(&self, slot: u32, inner: &Inner) -> Result<Option<Left>, Error> {
        let Some(left) = self.remember(|memory| memory.left.get(slot as usize).cloned().flatten()) else { return Ok(None) };
        let [_, sealed, ..] = self.seal(slot)?;
        let same = left.checksum == sealed
            && left.maps == inner.numbers()?
            && left.content.record == self.record(slot)?
            && left.content.intervals == inner.intervals()?;
        Ok(same.then_some(left))
    }

    /// What `slot` holds, all of it read, with its checksum, if that is the sealed one.
    fn intact(&self, slot: u32, inner: &Inner) -> Result<Option<(Encoded, u64)>, Error> {
        let [_, sealed, ..] = self.seal(slot)?;
        let mut read = Encoded { record: self.record(slot)?, ..inner.read_unordered()? };
        if read.checksum() != sealed {
            tracing::warn!(slot, "the previous generation is not as it was left; building the whole generation");
            return Ok(None);
        }
        read.entries.sort();
        Ok(Some((read, sealed)))
    }

    /// Builds everything from nothing, in a slot that is neither in force nor the way back.
    fn whole(&self, layout: &Layout, order: Order<'_>, epoch: u32) -> Result<Ready, Error> {
        let slot = quiet(self.control.load());
        let encoding = Instant::now();
        let encoded = Encoded::of(order.table, epoch, order.digest);
        let encode = encoding.elapsed();
        let inner = thread::scope(|scope| {
            let waiting = scope.spawn(|| self.grace(layout));
            let inner = Inner::build(&encoded)?;
            joined(waiting.join())?;
            Ok::<_, Error>(inner)
        })?;
        let build = order.began.elapsed();
        let verifying = Instant::now();
        inner.verify(&encoded)?;
        let read = verifying.elapsed();
        let placing = Instant::now();
        self.mark(slot, SealState::Changing)?;
        self.place(layout, slot, &inner)?;
        self.write_record(slot, &encoded.record)?;
        let place = placing.elapsed();
        let golden = self.try_out(layout, slot, order.table, &golden::spots(order.table))?;
        let took = Took { build: build + place, encode, verify: read + golden, golden, flip: Duration::ZERO };
        let left = Left { checksum: encoded.checksum(), content: Arc::new(encoded), maps: inner.numbers()? };
        Ok(Ready { slot, left, how: Built::Whole, took })
    }

    /// Golden packets; how long they took.
    fn try_out(&self, layout: &Layout, slot: u32, table: &Table, spots: &[Spot<'_>]) -> Result<Duration, Error> {
        let began = Instant::now();
        let opened;
        let checker = match &self.checker {
            Some(checker) => checker,
            None => {
                opened = Checker::open(layout)?;
                &opened
            }
        };
        golden::try_out(checker, slot, &Meaning::of(table), &golden::probes(table, spots))?;
        Ok(began.elapsed())
    }

    /// Whether a generation was completed in `slot` and is still what its seal names.
    pub(super) fn sealed(&self, slot: u32) -> Result<bool, Error> {
        let [epoch, _, _, state] = self.seal(slot)?;
        Ok(epoch != 0 && epoch == u64::from(self.record(slot)?.epoch) && state != SealState::Changing as u64)
    }

    /// Says of `slot` that it is not to be built upon or gone back to; its epoch is not forgotten.
    pub(super) fn mark(&self, slot: u32, state: SealState) -> Result<(), Error> {
        let [epoch, ..] = self.seal(slot)?;
        self.write_seal(slot, &[epoch, 0, 0, state as u64])
    }

    pub(super) fn remember<T>(&self, what: impl FnOnce(&mut Memory) -> T) -> T {
        what(&mut self.memory.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn joined<T>(result: thread::Result<Result<T, Error>>) -> Result<T, Error> {
    result.unwrap_or_else(|_| Err(Error::kernel("prepare a generation", std::io::Error::other("a thread panicked"))))
}

/// A slot that is neither in force nor the way back.
fn quiet(word: Control) -> u32 {
    (1..SLOTS).map(|step| (word.active() + step) % SLOTS).find(|slot| *slot != word.fallback()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use enforcer_abi::Control;

    #[test]
    fn the_slot_written_to_is_neither_in_force_nor_the_way_back() {
        for active in 0..4 {
            for fallback in 0..4 {
                let slot = super::quiet(Control::new(active, fallback));
                assert!(slot < 4 && slot != active && slot != fallback);
            }
        }
    }
}
