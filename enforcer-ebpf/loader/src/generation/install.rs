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
    os::fd::AsFd as _,
    thread,
    time::{Duration, Instant},
};

use aya::maps::MapData;
use enforcer_abi::{Control, SLOTS};

use super::{
    Generations, OUTER, SealState,
    encode::{Encoded, Wanted},
    golden::{self, Spot},
    inner::Inner,
    patch::Patch,
};
use crate::{
    api::{Built, Installed, Took},
    error::Error,
    object::map_error,
    pin::{Layout, unpin},
    sys,
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
    checksum: u64,
    how: Built,
    took: Took,
}

impl Generations {
    /// Builds the table in a quiet slot and turns to it.
    pub(crate) fn install(&self, layout: &Layout, order: Order<'_>) -> Result<Installed, Error> {
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
        let Ready { slot, checksum, how, mut took } = ready;
        let flipping = Instant::now();
        let next = self.word_for(slot, order.within)?;
        let seal = |state: SealState| [u64::from(epoch), checksum, next.0, state as u64];
        self.write_seal(slot, &seal(SealState::Built))?;
        self.control.store(next);
        took.flip = flipping.elapsed();
        self.write_seal(slot, &seal(SealState::InForce))?;
        if let Err(error) = self.release(layout, next) {
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
        let (base, wanted, encode) = thread::scope(|scope| {
            let waiting = scope.spawn(|| self.grace(layout));
            let base = inner.read()?;
            let encoding = Instant::now();
            let wanted = Wanted::of(order.table);
            let encode = encoding.elapsed();
            waited(waiting.join())?;
            Ok::<_, Error>((base, wanted, encode))
        })?;
        let base = Encoded { record: self.record(slot)?, ..base };
        let [_, checksum, ..] = self.seal(slot)?;
        if base.checksum() != checksum {
            tracing::warn!(slot, "the previous generation is not as it was left; building the whole generation");
            return Ok(None);
        }
        let Some(patch) = Patch::plan(&base, &wanted, inner.room()?, epoch, order.digest) else { return Ok(None) };
        self.mark(slot, SealState::Changing)?;
        patch.write(&inner)?;
        self.write_record(slot, &patch.after.record)?;
        let build = order.began.elapsed();
        let verifying = Instant::now();
        patch.verify(&inner)?;
        let golden = self.try_out(layout, slot, order.table, &patch.spots())?;
        let took = Took { build, encode, verify: verifying.elapsed(), golden, flip: Duration::ZERO };
        let how = Built::Patched { changes: patch.changes() };
        Ok(Some(Ready { slot, checksum: patch.after.checksum(), how, took }))
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
            waited(waiting.join())?;
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
        Ok(Ready { slot, checksum: encoded.checksum(), how: Built::Whole, took })
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
    fn sealed(&self, slot: u32) -> Result<bool, Error> {
        let [epoch, _, _, state] = self.seal(slot)?;
        Ok(epoch != 0 && epoch == u64::from(self.record(slot)?.epoch) && state != SealState::Changing as u64)
    }

    /// Says of `slot` that it is not to be built upon or gone back to; its epoch is not forgotten.
    fn mark(&self, slot: u32, state: SealState) -> Result<(), Error> {
        let [epoch, ..] = self.seal(slot)?;
        self.write_seal(slot, &[epoch, 0, 0, state as u64])
    }

    /// The pinned maps of `slot`, if they are the ones programs use.
    fn pinned_inner(&self, layout: &Layout, slot: u32) -> Result<Option<Inner>, Error> {
        let Some(inner) = Inner::pinned(layout, slot) else { return Ok(None) };
        for (position, map) in inner.maps().into_iter().enumerate() {
            if self.inner_id(position, slot)? != Some(number(map)?) {
                return Ok(None);
            }
        }
        Ok(Some(inner))
    }

    /// Returns once no program runs that began before: writing a slot of an outer map waits for that, so one is written again as it
    /// is. Without a generation in force there is nothing to wait for.
    fn grace(&self, layout: &Layout) -> Result<(), Error> {
        let ([outer, ..], [name, ..]) = (&self.outer, OUTER);
        for slot in [self.control.load().active(), self.control.load().fallback()] {
            let Some(used) = self.inner_id(0, slot)? else { continue };
            let Ok(map) = MapData::from_pin(layout.inner(slot, name)) else { continue };
            if number(&map)? == used {
                let put = sys::update(outer.fd().as_fd(), &slot, &sys::descriptor(map.fd().as_fd()));
                return put.map_err(|error| Error::kernel("wait for running programs", error));
            }
        }
        Ok(())
    }

    /// Puts `inner` into the outer maps and pins it. Each update waits for running programs, so all wait together.
    fn place(&self, layout: &Layout, slot: u32, inner: &Inner) -> Result<(), Error> {
        let put = |outer: &MapData, map: &MapData| sys::update(outer.fd().as_fd(), &slot, &sys::descriptor(map.fd().as_fd()));
        let pairs: Vec<_> = self.outer.iter().zip(inner.maps()).collect();
        together(pairs, "place a map into", |(outer, map)| put(outer, map))?;
        for (name, map) in OUTER.into_iter().zip(inner.maps()) {
            let path = layout.inner(slot, name);
            unpin(&path)?;
            map.pin(&path).map_err(|error| Error::kernel(format!("pin {}", path.display()), std::io::Error::other(error)))?;
        }
        for (position, map) in inner.maps().into_iter().enumerate() {
            if self.inner_id(position, slot)? != Some(number(map)?) {
                return Err(Error::ReadBack(format!("outer map {position} holds another map in slot {slot}")));
            }
        }
        Ok(())
    }

    /// Gives back the maps of slots that are neither in force nor the way back.
    fn release(&self, layout: &Layout, word: Control) -> Result<(), Error> {
        let mut waited = false;
        for slot in (0..SLOTS).filter(|slot| *slot != word.active() && *slot != word.fallback()) {
            let mut held = Vec::new();
            for (position, outer) in self.outer.iter().enumerate() {
                if self.inner_id(position, slot)?.is_some() {
                    held.push(outer);
                }
            }
            if held.is_empty() {
                continue;
            }
            // A packet may still be judged by what was in force a moment ago.
            if !waited {
                self.grace(layout)?;
                waited = true;
            }
            self.mark(slot, SealState::Changing)?;
            together(held, "take a map out of", |outer| sys::delete(outer.fd().as_fd(), &slot))?;
            OUTER.into_iter().try_for_each(|name| unpin(&layout.inner(slot, name)))?;
        }
        Ok(())
    }
}

/// Does `work`, which waits for running programs each time, for all `parts` at once.
fn together<T: Send>(parts: Vec<T>, doing: &str, work: impl Fn(T) -> std::io::Result<()> + Sync) -> Result<(), Error> {
    let work = &work;
    thread::scope(|scope| {
        let waiting: Vec<_> = parts.into_iter().map(|part| scope.spawn(move || work(part))).collect();
        let mut done = OUTER.into_iter().zip(waiting).map(|(name, one)| {
            let one = one.join().unwrap_or_else(|_| Err(std::io::Error::other("the thread that waited panicked")));
            one.map_err(|error| Error::kernel(format!("{doing} {name}"), error))
        });
        done.by_ref().collect::<Result<(), Error>>()
    })
}

fn waited(result: thread::Result<Result<(), Error>>) -> Result<(), Error> {
    result.unwrap_or_else(|_| Err(Error::kernel("wait for running programs", std::io::Error::other("the thread panicked"))))
}

fn number(map: &MapData) -> Result<u32, Error> {
    map.info().map(|info| info.id()).map_err(|error| map_error("ask for a map's number", error))
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
