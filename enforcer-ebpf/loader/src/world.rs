//! Whether what runs and what is pinned are the same maps.
//!
//! A program keeps the maps it was loaded with, pinned or not. Were one pin lost and its map made anew, a generation
//! would be built where nothing looks, and turning to it would turn live programs to an empty slot, which passes
//! everything. So a program shares all of [`CORE`] with the pins or none of it. At opening, lost pins are put back from
//! the programs that run; where that is not possible (opening a map by number takes CAP_SYS_ADMIN) every map is made
//! anew, and hooks go on with what they have until a generation is in force in the new ones.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use aya::{
    maps::{MapData, MapInfo},
    programs::{ProgramInfo, loaded_programs},
};
use enforcer_abi::SLOTS;

use crate::{
    error::Error,
    generation::{Generations, OUTER, SEALS},
    hook,
    object::{self, map_error},
    pin::{Layout, unpin},
    sys,
    table::Direction,
};

/// Maps that say together what a packet may do.
pub(crate) const CORE: [&str; 7] = ["control", "generations", "hosts4", "hosts6", "nets4", "nets6", "intervals"];

/// Maps whose content names epochs of one set of generations.
const FLOWS: [&str; 8] = ["tcp4", "tcp6", "half4", "half6", "other4", "other6", "frags4", "frags6"];

/// How a program's maps compare with a set of [`CORE`] maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kinship {
    /// It uses all of them.
    Ours,
    /// It uses none of them.
    Apart,
    /// It uses some of them: what is written to them must not be turned to.
    Torn,
    /// This process may not ask.
    Unknown,
}

/// A program that runs in one of our hooks.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) ifindex: u32,
    pub(crate) direction: Direction,
    pub(crate) program: u32,
    /// Numbers of its maps, if this process may ask.
    used: Option<Vec<u32>>,
}

impl Live {
    pub(crate) fn kinship(&self, core: &[Option<u32>; 7]) -> Kinship {
        let Some(used) = &self.used else { return Kinship::Unknown };
        match core.iter().flatten().filter(|id| used.contains(id)).count() {
            0 => Kinship::Apart,
            count if count == core.len() => Kinship::Ours,
            _ => Kinship::Torn,
        }
    }
}

/// Makes pins and running programs agree before anything is loaded; answers the programs that run apart from what will
/// be pinned, and whether pins were put back.
pub(crate) fn heal(layout: &Layout) -> Result<(BTreeSet<u32>, bool), Error> {
    let live = live(layout)?;
    let adopted = adopt(layout, &live)?;
    let core = pinned(layout);
    let unsound = |own: &Live| matches!(own.kinship(&core), Kinship::Torn | Kinship::Unknown);
    if core.contains(&None) || live.iter().any(unsound) {
        abandon(layout)?;
        if !live.is_empty() {
            tracing::warn!("hooks run programs with other maps than the pinned ones; maps are made anew beside them");
        }
        return Ok((live.iter().map(|own| own.program).collect(), false));
    }
    Ok((BTreeSet::new(), adopted))
}

/// Numbers of the pinned maps of [`CORE`].
fn pinned(layout: &Layout) -> [Option<u32>; 7] {
    CORE.map(|name| pinned_id(layout, name))
}

pub(crate) fn pinned_id(layout: &Layout, name: &str) -> Option<u32> {
    MapInfo::from_pin(layout.map(name)).ok().map(|info| info.id())
}

/// What runs in the hooks that were attached; what cannot run any more is left out.
pub(crate) fn live(layout: &Layout) -> Result<Vec<Live>, Error> {
    let known = known(layout)?;
    let mut found = Vec::new();
    for (ifindex, direction, filter) in layout.hooks()? {
        let path = layout.link(ifindex, direction);
        let program = if filter {
            let running = sys::interface_name(ifindex).is_some();
            running.then(|| ProgramInfo::from_pin(layout.filter(ifindex, direction)).ok().map(|info| info.id())).flatten()
        } else {
            let link =
                sys::link_details(&path).map_err(|error| Error::kernel(format!("open the link {}", path.display()), error))?;
            (link.ifindex != 0).then_some(link.program)
        };
        let Some(program) = program else { continue };
        let used = known.get(&program).cloned().or_else(|| by_number(program));
        found.push(Live { ifindex, direction, program, used });
    }
    Ok(found)
}

/// Maps of the programs that are pinned, by the program's number.
fn known(layout: &Layout) -> Result<BTreeMap<u32, Vec<u32>>, Error> {
    let directory = layout.progs();
    let entries = fs::read_dir(&directory).map_err(|source| Error::PinDirectory { path: directory, source })?;
    let programs = entries.flatten().map(|entry| entry.path());
    let filters = layout.hooks()?.into_iter().filter(|(_, _, filter)| *filter);
    let filters = filters.map(|(ifindex, direction, _)| layout.filter(ifindex, direction));
    let mut known = BTreeMap::new();
    for path in programs.chain(filters) {
        let Ok(info) = ProgramInfo::from_pin(&path) else { continue };
        let asking = || format!("ask for the maps of {}", path.display());
        known.insert(info.id(), sys::pinned_program_maps(&path).map_err(|error| Error::kernel(asking(), error))?);
    }
    Ok(known)
}

fn by_number(program: u32) -> Option<Vec<u32>> {
    loaded_programs().flatten().find(|info| info.id() == program)?.map_ids().ok().flatten()
}

/// Pins the maps that running programs use where other ones, or none, are pinned. Programs that are pinned but do not
/// run tell only of maps that are not pinned at all.
fn adopt(layout: &Layout, live: &[Live]) -> Result<bool, Error> {
    let Some(running) = agreed(live.iter().filter_map(|own| own.used.as_ref())) else { return Ok(false) };
    let pinned_programs = known(layout)?;
    let loaded = agreed(pinned_programs.values()).unwrap_or_default();
    let missing = loaded.into_iter().filter(|(name, _)| running.is_empty() && pinned_id(layout, name).is_none());
    let mut adopted = false;
    for (name, id) in running.clone().into_iter().chain(missing) {
        if pinned_id(layout, &name) == Some(id) {
            continue;
        }
        let Ok(map) = MapData::from_id(id) else { continue };
        let path = layout.map(&name);
        unpin(&path)?;
        map.pin(&path).map_err(|error| Error::kernel(format!("pin {}", path.display()), std::io::Error::other(error)))?;
        tracing::warn!(map = name, "pinned again the map that programs use");
        adopted = true;
    }
    Ok(adopted)
}

/// Names and numbers of the maps of programs like ours, if all agree; none where they do not. Programs with other maps
/// do not count.
fn agreed<'a>(programs: impl Iterator<Item = &'a Vec<u32>>) -> Option<BTreeMap<String, u32>> {
    let mut all = BTreeMap::new();
    for used in programs {
        let named: BTreeMap<String, u32> = used.iter().filter_map(|id| Some((name_of(*id)?, *id))).collect();
        if !CORE.iter().all(|name| named.contains_key(*name)) {
            continue;
        }
        for (name, id) in named {
            if *all.entry(name).or_insert(id) != id {
                return None;
            }
        }
    }
    Some(all)
}

fn name_of(id: u32) -> Option<String> {
    let info = MapInfo::from_id(id).ok()?;
    info.name_as_str().map(str::to_owned)
}

/// Drops every pin that belongs to one set of generations; programs that run keep their maps.
fn abandon(layout: &Layout) -> Result<(), Error> {
    for name in CORE.into_iter().chain(FLOWS).chain([SEALS]) {
        unpin(&layout.map(name))?;
    }
    for slot in 0..SLOTS {
        OUTER.into_iter().try_for_each(|name| unpin(&layout.inner(slot, name)))?;
    }
    Ok(())
}

/// Pins again what the outer maps hold where it is not pinned, or with `anew` where another map is. Without
/// CAP_SYS_ADMIN it stays as it is until its slot is written again.
pub(crate) fn pin_inner(layout: &Layout, generations: &Generations, anew: bool) -> Result<(), Error> {
    for slot in 0..SLOTS {
        for (position, name) in OUTER.into_iter().enumerate() {
            let path = layout.inner(slot, name);
            let pinned = MapInfo::from_pin(&path).ok().map(|info| info.id());
            let used = generations.inner_id(position, slot)?;
            if used == pinned || (pinned.is_some() && !anew) {
                continue;
            }
            let Some(Ok(map)) = used.map(MapData::from_id) else { continue };
            unpin(&path)?;
            map.pin(&path).map_err(|error| Error::kernel(format!("pin {}", path.display()), std::io::Error::other(error)))?;
        }
    }
    Ok(())
}

/// Before a generation is written: puts lost pins of the maps held here back, and sees that no hook would be turned to
/// a generation it cannot read. Answers the hooks to relink once the generation is in force.
pub(crate) fn ready(layout: &Layout, object: &[u8], generations: &Generations, apart: &BTreeSet<u32>) -> Result<Vec<Live>, Error> {
    generations.pin_again(layout)?;
    let core = generations.core()?;
    let in_force = generations.in_force()?;
    let mut later = Vec::new();
    for own in live(layout)? {
        let kinship = own.kinship(&core);
        if kinship != Kinship::Ours {
            sound(layout, &core)?;
        }
        match kinship {
            Kinship::Ours => {}
            Kinship::Apart | Kinship::Torn | Kinship::Unknown if in_force => hook::relink(layout, object, &own)?,
            Kinship::Apart => later.push(own),
            Kinship::Unknown if apart.contains(&own.program) => later.push(own),
            Kinship::Torn | Kinship::Unknown => return Err(Error::Rewired(format!("the program of interface {}", own.ifindex))),
        }
    }
    Ok(later)
}

/// Sees that the pinned programs, which hooks are about to be given, use the maps of `core`.
pub(crate) fn sound(layout: &Layout, core: &[Option<u32>; 7]) -> Result<(), Error> {
    for name in Direction::ALL.into_iter().flat_map(hook::programs).chain([object::XDP_IN]) {
        let path = layout.prog(name);
        if !path.exists() {
            // It is loaded when it is attached.
            if object::ON_DEMAND.contains(&name) {
                continue;
            }
            return Err(Error::PinGone(path));
        }
        let used = sys::pinned_program_maps(&path).map_err(|error| Error::kernel(format!("ask for the maps of {name}"), error))?;
        if !core.iter().flatten().all(|id| used.contains(id)) {
            return Err(Error::Rewired(format!("the pinned program {name}")));
        }
    }
    Ok(())
}

/// Whether the pinned map called `name` is `map`, pinning it if none is.
pub(crate) fn hold(layout: &Layout, name: &str, map: &MapData) -> Result<(), Error> {
    let own = map.info().map_err(|error| map_error("ask for a map's number", error))?.id();
    match pinned_id(layout, name) {
        Some(id) if id == own => Ok(()),
        Some(_) => Err(Error::Rewired(format!("the pinned map {name}"))),
        None => {
            let path = layout.map(name);
            map.pin(&path).map_err(|error| Error::kernel(format!("pin {}", path.display()), std::io::Error::other(error)))
        }
    }
}
