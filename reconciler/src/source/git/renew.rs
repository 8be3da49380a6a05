//! A new mirror in place of a worn one.
//!
//! Each fetch leaves a pack behind, with copies of what its deltas were made from, and each request that was closed leaves its objects.
//! Nothing is packed again here: the mirror is a cache, and the server has better packs than we could make. Past a number of packs, or
//! of bytes, the branch is cloned beside the old mirror; what is in force is taken over in case the server has it no more, and the heads
//! of open requests, which cost a conversation each; and the two change places. If that fails the old mirror stays.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::address::Address;
use super::fault::Fault;
use super::remote::{Answer, Ask, PackLimits};
use super::{Bench, local, mirror, reach};
use crate::source::failed;

/// Packs of a mirror: more make each search for an object slow.
const PACKS_MAX: usize = 64;
/// What a mirror may grow by beside twice its largest pack, which is the last clone.
const GROWTH_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// After a failure.
const AGAIN_AFTER: Duration = Duration::from_secs(60 * 60);

impl Bench<'_> {
    /// Whether the mirror should be renewed now.
    pub(super) fn is_worn(&self) -> bool {
        let tried = self.state.renewal_failed.is_some_and(|last| last.elapsed() < AGAIN_AFTER);
        !tried && !matches!(self.checked.address, Address::File(_)) && is_worn(&self.checked.config.mirror)
    }

    /// Renews it.
    pub(super) fn renew(&mut self) -> Result<(), Fault> {
        self.state.renewal_failed = Some(Instant::now());
        let path = &self.checked.config.mirror;
        let beside = mirror::beside(path)?;
        self.watch.renews();
        let renewed = self.renew_at(&beside);
        // What has arrived of a clone that failed may be all that a disk can hold.
        let cleared = mirror::beside(path);
        self.state.renewal_failed = self.state.renewal_failed.filter(|_| !matches!(renewed, Ok(true)));
        renewed.and(cleared).map(|_| ())
    }

    /// Whether there was anything to clone.
    fn renew_at(&self, beside: &Path) -> Result<bool, Fault> {
        let path = &self.checked.config.mirror;
        let old = mirror::open(path)?;
        mirror::create(beside, old.object_hash())?;
        let mut new = mirror::open(beside)?;
        let (stop, limits) = (self.watch.stopped(), PackLimits::of(&self.checked.config));
        let (theirs, ours) = (self.checked.reference.as_str(), mirror::FOLLOWED);
        let Answer::At(head) = self.talk(&Ask { mirror: &new, theirs, ours, limits, stop })? else {
            return Ok(false);
        };
        if reach::is_straight(&new, None, head) {
            mirror::set_tip(&new, head)?;
        }
        for note in [mirror::BASE, mirror::FOLLOWED] {
            let Some(id) = mirror::pointed(&old, note)?.filter(|id| old.has_object(id)) else { continue };
            local::copy(&old, &mut new, path, id, limits.bytes, stop)?;
            if note == mirror::BASE {
                mirror::point(&new, note, id)?;
            }
        }
        for (number, id) in mirror::requests(&old)?.into_iter().filter(|(_, id)| old.has_object(*id)) {
            match local::copy(&old, &mut new, path, id, limits.bytes, stop) {
                Ok(()) => mirror::point(&new, &mirror::request(number), id)?,
                Err(fault) if stop.load(Ordering::Relaxed) => return Err(fault),
                // It is fetched again.
                Err(_) => {}
            }
        }
        drop((old, new));
        mirror::change_places(path, beside).map_err(|error| failed("cannot put the new mirror in place", error))?;
        Ok(true)
    }
}

fn is_worn(mirror: &Path) -> bool {
    let files = std::fs::read_dir(mirror.join("objects/pack")).into_iter().flatten().flatten();
    let packs = files.filter(|file| file.path().extension().is_some_and(|ending| ending == "pack"));
    let sizes: Vec<u64> = packs.filter_map(|file| Some(file.metadata().ok()?.len())).collect();
    let largest = sizes.iter().copied().max().unwrap_or_default();
    sizes.len() > PACKS_MAX || sizes.iter().sum::<u64>() > largest.saturating_mul(2).saturating_add(GROWTH_BYTES_MAX)
}
