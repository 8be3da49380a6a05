//! Reading the kernel back: what is in force, where, and what is not as it was left.

mod hooks;

use aya::maps::{MapData, MapInfo};
use enforcer_abi::{Control, SLOTS};

use crate::{
    api::{Observed, Tampering, TamperingKind},
    enforcer::Enforcer,
    error::Error,
    generation::{OUTER, SealState, encode::Encoded, inner::Inner},
    hook,
    object::{self, map_error},
    sys,
    table::Direction,
    world, xdp,
};

pub(crate) fn observe(enforcer: &Enforcer) -> Result<Observed, Error> {
    let (mut observed, word, slot) = glance(enforcer)?;
    let record = enforcer.generations.record(slot)?;
    if word.fallback() != slot && !enforcer.generations.as_left(&enforcer.layout, word.fallback())? {
        let detail = "the generation before, the way back, was changed after it was installed".to_owned();
        found(&mut observed.tampering, TamperingKind::Edited, detail);
        observed.way_back_edited = true;
    }
    if record.epoch == 0 {
        return Ok(observed);
    }
    let Some(inner) = inner(enforcer, slot, &mut observed.tampering)? else { return Ok(observed) };
    let encoded = Encoded { record, ..inner.read()? };
    if enforcer.generations.seal(slot)?[1] != encoded.checksum() {
        enforcer.generations.forget(slot);
        found(
            &mut observed.tampering,
            TamperingKind::Edited,
            format!("generation {} was changed after it was installed", record.epoch),
        );
    }
    match encoded.table() {
        Ok(table) => observed.table = Some(table),
        Err(why) => found(&mut observed.tampering, TamperingKind::Edited, why),
    }
    Ok(observed)
}

/// Everything but the content of the maps, the control word and the slot in force: the same few calls however large the table is.
pub(crate) fn glance(enforcer: &Enforcer) -> Result<(Observed, Control, u32), Error> {
    let mut observed = Observed::default();
    let word = enforcer.generations.control.load();
    observed.attachments = hooks::attachments(enforcer, &mut observed.tampering)?;
    observed.xdp = xdp::observe(enforcer, &mut observed.tampering)?;
    programs(enforcer, &mut observed.tampering)?;
    let (slot, audit) = enforcer.generations.judging();
    observed.audit = audit;
    observed.disabled = enforcer.disabled().filter(|left| !left.is_zero());
    observed.trial = enforcer.generations.trial()?;
    let record = enforcer.generations.record(slot)?;
    observed.epoch = record.epoch;
    observed.digest = record.digest;
    check_word(enforcer, word, &mut observed.tampering)?;
    Ok((observed, word, slot))
}

fn found(tampering: &mut Vec<Tampering>, kind: TamperingKind, detail: String) {
    tampering.push(Tampering { kind, detail });
}

/// The word must be the one that put its own active slot in force.
fn check_word(enforcer: &Enforcer, word: Control, tampering: &mut Vec<Tampering>) -> Result<(), Error> {
    let [epoch, _, sealed, _] = enforcer.generations.seal(word.active())?;
    let record = enforcer.generations.record(word.active())?;
    if sealed != word.0 || epoch != u64::from(record.epoch) {
        let detail = format!("the control word is {:#x} where {sealed:#x} was written", word.0);
        found(tampering, TamperingKind::Control, detail);
        return Ok(());
    }
    // A word put back to the state before a generation agrees with itself, but that state is over.
    for slot in 0..SLOTS {
        let other = enforcer.generations.seal(slot)?;
        // One that was built but never in force is what a crash leaves.
        if other[0] > epoch && other[3] == SealState::InForce as u64 {
            let detail = format!("generation {epoch} is in force although {} was installed later", other[0]);
            found(tampering, TamperingKind::Control, detail);
        }
    }
    Ok(())
}

/// The maps of the slot in force: the pinned ones, if those are what the kernel uses.
fn inner(enforcer: &Enforcer, slot: u32, tampering: &mut Vec<Tampering>) -> Result<Option<Inner>, Error> {
    let mut maps = Vec::with_capacity(OUTER.len());
    for (position, name) in OUTER.into_iter().enumerate() {
        let path = enforcer.layout.inner(slot, name);
        let used = enforcer.generations.inner_id(position, slot)?;
        let pinned = MapInfo::from_pin(&path).ok().map(|info| info.id());
        if used.is_none() || used != pinned {
            found(tampering, TamperingKind::Rewired, format!("{name} of slot {slot} is map {used:?}, and {pinned:?} is pinned"));
        }
        let opened = match used {
            Some(id) if used != pinned => MapData::from_id(id),
            Some(_) => MapData::from_pin(&path),
            None => return Ok(None),
        };
        match opened {
            Ok(map) => maps.push(map),
            // By number takes CAP_SYS_ADMIN; what cannot be read counts as not in force.
            Err(_) if used != pinned => return Ok(None),
            Err(error) => return Err(map_error(format!("open {name} of slot {slot}"), error)),
        }
    }
    Ok(<[MapData; 5]>::try_from(maps).ok().map(Inner::from_maps))
}

/// The enforcing programs must use our maps.
fn programs(enforcer: &Enforcer, tampering: &mut Vec<Tampering>) -> Result<(), Error> {
    let wanted: Vec<u32> = enforcer.generations.core()?.into_iter().flatten().collect();
    for (name, id) in world::CORE.into_iter().zip(&wanted) {
        let pinned = world::pinned_id(&enforcer.layout, name);
        if pinned != Some(*id) {
            found(tampering, TamperingKind::Rewired, format!("{name} is map {id}, and {pinned:?} is pinned"));
        }
    }
    for name in Direction::ALL.into_iter().flat_map(hook::programs) {
        let path = enforcer.layout.prog(name);
        if !path.exists() && object::ON_DEMAND.contains(&name) {
            // A hook that ran it runs something that is not pinned, which is told where hooks are.
            continue;
        }
        if !path.exists() {
            found(tampering, TamperingKind::Replaced, format!("program {name} is no longer pinned"));
            continue;
        }
        let used = sys::pinned_program_maps(&path).map_err(|error| Error::kernel(format!("ask for the maps of {name}"), error))?;
        if !wanted.iter().all(|id| used.contains(id)) {
            found(tampering, TamperingKind::Rewired, format!("program {name} uses other maps than the pinned ones"));
        }
    }
    Ok(())
}
