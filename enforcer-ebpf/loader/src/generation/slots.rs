//! What a slot holds in the outer maps, and when nobody is judged by it any more.

use std::{os::fd::AsFd as _, thread};

use aya::maps::MapData;
use enforcer_abi::{Control, SLOTS};

use super::{Generations, OUTER, SealState, encode::Encoded, inner::Inner};
use crate::{
    error::Error,
    object::map_error,
    pin::{Layout, unpin},
    sys,
};

impl Generations {
    /// The pinned maps of `slot`, if they are the ones programs use.
    pub(super) fn pinned_inner(&self, layout: &Layout, slot: u32) -> Result<Option<Inner>, Error> {
        let Some(inner) = Inner::pinned(layout, slot) else { return Ok(None) };
        for (position, map) in inner.maps().into_iter().enumerate() {
            if self.inner_id(position, slot)? != Some(number(map)?) {
                return Ok(None);
            }
        }
        Ok(Some(inner))
    }

    /// Whether `slot`, all of it read, is as it was left; what is being changed meanwhile, or whose seal is lost, has nothing to be
    /// compared with. What is not as it was left is forgotten, so that nothing is built upon it.
    pub(crate) fn as_left(&self, layout: &Layout, slot: u32) -> Result<bool, Error> {
        let seal = self.seal(slot)?;
        if !self.sealed(slot)? {
            return Ok(true);
        }
        let Some(inner) = self.pinned_inner(layout, slot)? else { return Ok(true) };
        let read = Encoded { record: self.record(slot)?, ..inner.read_unordered()? };
        if read.checksum() == seal[1] || self.seal(slot)? != seal {
            return Ok(true);
        }
        self.forget(slot);
        Ok(false)
    }

    /// Whether the way back is as it was left; read only where this process does not know that.
    pub(crate) fn way_back_is_whole(&self, layout: &Layout) -> Result<bool, Error> {
        let word = self.control.load();
        let slot = word.fallback();
        let known = || self.remember(|memory| memory.left.get(slot as usize).is_some_and(Option::is_some));
        Ok(slot == word.active() || known() || self.as_left(layout, slot)?)
    }

    /// From now on what `slot` holds is not known, until it is read.
    pub(crate) fn forget(&self, slot: u32) {
        self.remember(|memory| memory.left.get_mut(slot as usize).map(Option::take));
    }

    /// Whether no program runs any more that began before `word` put its slot in force; waits for that if need be.
    pub(super) fn quiet_since(&self, layout: &Layout, word: Control) -> Result<bool, Error> {
        let judging = (word.active(), self.record(word.active())?.epoch);
        if self.remember(|memory| memory.settled) == Some(judging) {
            return Ok(true);
        }
        self.grace(layout)
    }

    /// Returns once no program runs that began before: writing a slot of an outer map waits for that, so one is written again as it
    /// is. False if there is none to write, as before the first generation, or with its pin lost.
    pub(super) fn grace(&self, layout: &Layout) -> Result<bool, Error> {
        let ([outer, ..], [name, ..]) = (&self.outer, OUTER);
        let word = self.control.load();
        for slot in [word.active(), word.fallback()] {
            let Some(used) = self.inner_id(0, slot)? else { continue };
            let Ok(map) = MapData::from_pin(layout.inner(slot, name)) else { continue };
            if number(&map)? == used {
                let put = sys::update(outer.fd().as_fd(), &slot, &sys::descriptor(map.fd().as_fd()));
                return put.map(|()| true).map_err(|error| Error::kernel("wait for running programs", error));
            }
        }
        Ok(false)
    }

    /// After a switch: waits until no packet is judged by what was in force, and gives the maps back that nothing needs.
    pub(super) fn settle(&self, layout: &Layout, word: Control, epoch: u32) -> Result<(), Error> {
        if !self.grace(layout)? {
            return Ok(());
        }
        // On trial, the way back may take over at any time.
        self.remember(|memory| memory.settled = (!word.armed()).then_some((word.active(), epoch)));
        self.release(layout, word)
    }

    /// Puts `inner` into the outer maps and pins it. Each update waits for running programs, so all wait together.
    pub(super) fn place(&self, layout: &Layout, slot: u32, inner: &Inner) -> Result<(), Error> {
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
            self.mark(slot, SealState::Changing)?;
            together(held, "take a map out of", |outer| sys::delete(outer.fd().as_fd(), &slot))?;
            OUTER.into_iter().try_for_each(|name| unpin(&layout.inner(slot, name)))?;
            self.forget(slot);
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

fn number(map: &MapData) -> Result<u32, Error> {
    map.info().map(|info| info.id()).map_err(|error| map_error("ask for a map's number", error))
}
