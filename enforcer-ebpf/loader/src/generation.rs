//! Generations: each is built or changed beside the one in force, read back, tried out, then turned to with one store.
//!
//! The slot written to is never the one in force, nor, while something is on trial, the way back; and no packet is still judged by
//! what it held before. [`install`] says in which order, [`patch`] what a small change is, [`golden`] how it is tried out.

mod checksum;
pub(crate) mod encode;
mod entries;
mod golden;
pub(crate) mod inner;
mod install;
mod packet;
mod patch;
mod slots;

use std::{
    os::fd::AsFd as _,
    sync::{Arc, Mutex},
};

use aya::maps::MapData;
use enforcer_abi::{Control, Generation, SLOTS};

use crate::{
    disable::is_off,
    error::Error,
    object::{self, map_error},
    pin::Layout,
    sys::{self, ControlWord},
    test_run::Checker,
    world,
};
use encode::Encoded;
pub(crate) use install::Order;

/// Largest epoch: flows store it in 31 bits.
const EPOCH_MAX: u32 = u32::MAX >> 1;

/// Names of the outer maps, in the order they are set.
pub(crate) const OUTER: [&str; 5] = ["hosts4", "hosts6", "nets4", "nets6", "intervals"];

/// The pinned array of seals.
pub(crate) const SEALS: &str = "seals";

/// The maps that hold generations.
#[derive(Debug)]
pub(crate) struct Generations {
    pub(crate) control: ControlWord,
    word: MapData,
    records: MapData,
    seals: MapData,
    outer: [MapData; 5],
    /// Held, so that losing their pins does not keep a running process from installing.
    checker: Option<Checker>,
    memory: Mutex<Memory>,
}

/// What this process remembers of its last installations; the kernel is asked whether it still holds.
#[derive(Debug, Default)]
struct Memory {
    /// What it left in each slot.
    left: [Option<Left>; SLOTS as usize],
    /// Slot and epoch of the generation since whose switch no program runs that began before it.
    settled: Option<(u32, u32)>,
}

/// What a process left in a slot, and in which maps.
#[derive(Clone, Debug)]
struct Left {
    content: Arc<Encoded>,
    checksum: u64,
    maps: [u32; 5],
}

/// What a generation was when it was installed, kept beside it: how later changes by others are noticed. The epoch, a
/// checksum of the content, the control word that puts it in force, and a [`SealState`].
pub(crate) type Seal = [u64; 4];

/// How far a slot has come. What is being changed is neither built upon nor gone back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SealState {
    /// Complete, but not known to have been in force.
    Built = 0,
    /// Complete, and has been in force.
    InForce = 1,
    /// Being changed, or given back; if nobody is at it, somebody died.
    Changing = 2,
}

impl Generations {
    /// Opens the pinned maps; the seals, which no program uses, are made if they are gone.
    pub(crate) fn open(layout: &Layout) -> Result<Self, Error> {
        Self::with(layout, seals(layout)?)
    }

    /// Opens the pinned maps, and makes none.
    pub(crate) fn open_existing(layout: &Layout) -> Result<Self, Error> {
        Self::with(layout, object::map(layout, SEALS)?)
    }

    fn with(layout: &Layout, seals: MapData) -> Result<Self, Error> {
        let open = |name: &str| object::map(layout, name);
        let word = open("control")?;
        let control = ControlWord::map(word.fd().as_fd()).map_err(|error| Error::kernel("map the control word", error))?;
        let [hosts4, hosts6, nets4, nets6, intervals] = OUTER;
        let outer = [open(hosts4)?, open(hosts6)?, open(nets4)?, open(nets6)?, open(intervals)?];
        let checker = Checker::open(layout).ok();
        Ok(Self { control, word, records: open("generations")?, seals, outer, checker, memory: Mutex::default() })
    }

    pub(crate) fn record(&self, slot: u32) -> Result<Generation, Error> {
        let record = sys::lookup(self.records.fd().as_fd(), &slot)
            .map_err(|error| Error::kernel("read the record of a generation", error))?;
        Ok(record.unwrap_or_default())
    }

    pub(crate) fn seal(&self, slot: u32) -> Result<Seal, Error> {
        let seal =
            sys::lookup(self.seals.fd().as_fd(), &slot).map_err(|error| Error::kernel("read the seal of a generation", error))?;
        Ok(seal.unwrap_or_default())
    }

    /// The number of the inner map the outer map at `position` of [`OUTER`] holds for `slot`.
    pub(crate) fn inner_id(&self, position: usize, slot: u32) -> Result<Option<u32>, Error> {
        let Some(outer) = self.outer.get(position) else { return Ok(None) };
        sys::lookup(outer.fd().as_fd(), &slot).map_err(|error| Error::kernel("read an outer map", error))
    }

    /// The maps of [`CORE`](world::CORE), in its order.
    fn held(&self) -> [&MapData; 7] {
        let [hosts4, hosts6, nets4, nets6, intervals] = &self.outer;
        [&self.word, &self.records, hosts4, hosts6, nets4, nets6, intervals]
    }

    /// The numbers of the maps the programs must use, in the order of [`CORE`](world::CORE).
    pub(crate) fn core(&self) -> Result<[Option<u32>; 7], Error> {
        let mut ids = [None; 7];
        for (id, map) in ids.iter_mut().zip(self.held()) {
            *id = Some(map.info().map_err(|error| map_error("ask for a map's number", error))?.id());
        }
        Ok(ids)
    }

    /// Puts back the pins that are gone; another map in the place of one is an error.
    pub(crate) fn pin_again(&self, layout: &Layout) -> Result<(), Error> {
        world::CORE.into_iter().zip(self.held()).try_for_each(|(name, map)| world::hold(layout, name, map))?;
        world::hold(layout, SEALS, &self.seals)
    }

    /// Whether a generation was ever installed.
    pub(crate) fn in_force(&self) -> Result<bool, Error> {
        Ok(self.record(self.control.load().active())?.epoch != 0)
    }

    /// Sets the audit bit: nothing is dropped, what would be is counted. During a trial the way back has a bit of its own, and takes
    /// over by itself, so it is set too; but a first trial that still runs keeps its way back, which is to audit.
    pub(crate) fn set_audit(&self, on: bool) -> Result<(), Error> {
        let word = self.control.load();
        if is_off(word) {
            // Audit by hand lasts until it is ended by hand; a deadline of the time before must not end it.
            return self.turn(Control::new(word.active(), word.fallback()).with_audit(on));
        }
        let next = word.with_audit(on);
        let back = self.trial()?.is_some_and(|trial| on || trial.is_over() || word.fallback() != word.active());
        self.turn(if back { next.with_fallback_audit(on) } else { next })
    }

    /// Sets the learning bit: TCP in mid-flow may be picked up in either direction.
    pub(crate) fn set_learning(&self, on: bool) -> Result<(), Error> {
        self.turn(self.control.load().with_learning(on))
    }

    fn next_epoch(&self, hint: u32) -> Result<u32, Error> {
        let mut latest = 0;
        for slot in 0..SLOTS {
            // Flows remember epochs, so one must not come again even if somebody emptied the records.
            let [sealed, ..] = self.seal(slot)?;
            latest = latest.max(self.record(slot)?.epoch).max(u32::try_from(sealed).unwrap_or_default());
        }
        if latest >= EPOCH_MAX {
            return Err(Error::EpochsExhausted);
        }
        Ok(hint.clamp(latest + 1, EPOCH_MAX))
    }

    fn write_record(&self, slot: u32, record: &Generation) -> Result<(), Error> {
        sys::update(self.records.fd().as_fd(), &slot, record)
            .map_err(|error| Error::kernel("write the record of a generation", error))?;
        if self.record(slot)? != *record {
            return Err(Error::ReadBack(format!("the record of slot {slot} differs")));
        }
        Ok(())
    }

    pub(crate) fn write_seal(&self, slot: u32, seal: &Seal) -> Result<(), Error> {
        sys::update(self.seals.fd().as_fd(), &slot, seal).map_err(|error| Error::kernel("write the seal of a generation", error))
    }
}

/// The pinned array of seals, which the programs do not use; made if it is not there.
fn seals(layout: &Layout) -> Result<MapData, Error> {
    let path = layout.map(SEALS);
    if path.exists() {
        return object::map(layout, SEALS);
    }
    let kind = aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_ARRAY as u32;
    #[expect(clippy::cast_possible_truncation, reason = "the sizes are 4 and 32")]
    let wanted = aya_obj::Map::new_from_params(kind, size_of::<u32>() as u32, size_of::<Seal>() as u32, SLOTS, 0);
    let map = MapData::create(wanted, SEALS, None).map_err(|error| map_error("create the map seals", error))?;
    map.pin(&path).map_err(|error| Error::kernel("pin the map seals", std::io::Error::other(error)))?;
    Ok(map)
}
