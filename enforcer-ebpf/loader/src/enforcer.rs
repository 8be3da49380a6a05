//! The firewall of this host: what is pinned, and what can be done with it.

mod tried;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use aya::maps::MapData;
use enforcer_abi::SLOTS;

use crate::{
    api::{Attached, Capability, FailsafeEntry, Installed, Observed, Trial},
    counts::{self, Counted, ProgramRuns},
    error::Error,
    failsafe,
    generation::{Generations, OUTER, Order},
    hook, object, observe,
    pin::{Layout, unpin},
    probe, sys,
    table::{Direction, Table},
    upgrade,
    world::{self, Kinship, Live},
    xdp,
};

/// The firewall of this host. Dropping it changes nothing in the kernel.
#[derive(Debug)]
pub struct Enforcer {
    pub(crate) layout: Layout,
    pub(crate) generations: Generations,
    failsafe: MapData,
    /// Hooks this process attached or found, and the names of their interfaces, so that it can tell when even a pin or
    /// the interface is gone.
    pub(crate) attached: Mutex<BTreeMap<(u32, Direction), String>>,
    /// Programs that ran when the maps were made anew, so cannot use them.
    apart: BTreeSet<u32>,
    /// What programs are loaded from when they are first needed.
    pub(crate) object: Cow<'static, [u8]>,
    /// Attach as on a kernel without TCX.
    filters: bool,
}

impl Enforcer {
    /// Opens what is pinned below `root` (a directory on a BPF file system, made if absent), or loads and pins it.
    ///
    /// # Errors
    /// If the directory, the capabilities or the kernel do not allow it.
    pub fn open(root: &Path) -> Result<Self, Error> {
        Self::open_object(root, Cow::Borrowed(object::embedded()))
    }

    /// [`Enforcer::open`] with an object other than the embedded one: for tests of a freshly built object.
    ///
    /// # Errors
    /// As [`Enforcer::open`].
    pub fn open_with_object(root: &Path, object: &[u8]) -> Result<Self, Error> {
        Self::open_object(root, Cow::Owned(object.to_vec()))
    }

    fn open_object(root: &Path, object: Cow<'static, [u8]>) -> Result<Self, Error> {
        let layout = Layout::new(root);
        let older = upgrade::older(root)?;
        layout.prepare()?;
        let _lock = layout.lock()?;
        let (apart, adopted) = world::heal(&layout)?;
        let replaced = object::load(&layout, &object)?;
        let generations = Generations::open(&layout)?;
        world::pin_inner(&layout, &generations, adopted)?;
        object::mark::set(&layout, &object)?;
        hook::upgrade(&layout, &generations.core()?, &replaced)?;
        if let Some(older) = older {
            upgrade::take_over(&older, &layout, &object, &generations)?;
        }
        Ok(Self { apart, object, ..Self::with(layout, generations)? })
    }

    /// Opens what is pinned below `root` as it is, without loading, pinning, mounting or replacing anything; none if
    /// nothing is.
    ///
    /// # Errors
    /// If only a part of it is pinned, or it cannot be read.
    pub fn open_existing(root: &Path) -> Result<Option<Self>, Error> {
        let layout = Layout::new(root);
        if !layout.used()? {
            return match upgrade::older(root)? {
                Some(older) => Err(Error::NotTakenOver(older.base().to_owned())),
                None => Ok(None),
            };
        }
        let generations = Generations::open_existing(&layout)?;
        Self::with(layout, generations).map(Some)
    }

    fn with(layout: Layout, generations: Generations) -> Result<Self, Error> {
        let failsafe = object::map(&layout, "failsafe")?;
        let named = |ifindex| sys::interface_name(ifindex).unwrap_or_default();
        let attached = layout.hooks()?.into_iter().map(|(ifindex, direction, _)| ((ifindex, direction), named(ifindex)));
        let attached = Mutex::new(attached.collect());
        let object = Cow::Borrowed(object::embedded());
        Ok(Self { layout, generations, failsafe, attached, apart: BTreeSet::new(), object, filters: false })
    }

    /// Whether [`Enforcer::attach`] would take interface `ifname`; changes nothing.
    ///
    /// # Errors
    /// If there is no such interface, or it is a loopback one, or its frames cannot be read.
    pub fn check_interface(ifname: &str) -> Result<(), Error> {
        hook::check(ifname)
    }

    /// Whether there is an interface `ifname`, and whether it is set up, in the network namespace of the calling thread.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn interface(ifname: &str) -> Result<Option<bool>, Error> {
        let found = sys::interface(ifname).map_err(|error| Error::kernel(format!("look up interface {ifname}"), error))?;
        Ok(found.map(|interface| interface.up))
    }

    /// Attaches both directions of interface `ifname`; idempotent. An interface made anew under the same name is
    /// attached anew.
    ///
    /// # Errors
    /// If there is no such interface, or it is a loopback one, or the kernel refuses.
    pub fn attach(&mut self, ifname: &str) -> Result<Attached, Error> {
        let interface = hook::filterable(ifname)?;
        let _lock = self.layout.lock()?;
        hook::sweep(&self.layout)?;
        self.generations.pin_again(&self.layout)?;
        let core = self.generations.core()?;
        world::sound(&self.layout, &core)?;
        let in_force = self.generations.in_force()?;
        let live = world::live(&self.layout)?;
        let mut result = Attached::Already;
        // The interface may have been made anew.
        self.hooks_known(|known| known.retain(|(ifindex, _), name| *ifindex == interface.index || name != ifname));
        for direction in Direction::ALL {
            self.hooks_known(|known| drop(known.insert((interface.index, direction), ifname.to_owned())));
            let other =
                |own: &Live| (own.ifindex, own.direction) == (interface.index, direction) && own.kinship(&core) != Kinship::Ours;
            if !in_force && live.iter().any(other) {
                tracing::warn!(
                    ifname,
                    "a hook keeps its program until a generation is installed, so that nothing passes meanwhile"
                );
                continue;
            }
            match hook::attach(&self.layout, &self.object, self.filters, ifname, interface, direction)? {
                Attached::Already => {}
                changed @ (Attached::Now | Attached::Updated) => result = changed,
            }
        }
        xdp::mend(&self.layout, interface.index)?;
        Ok(result)
    }

    /// From now on, hooks that are not attached yet are attached as on a kernel before 6.6, with filters on the clsact qdisc: for
    /// tests on newer ones.
    #[doc(hidden)]
    pub fn without_tcx(&mut self) {
        self.filters = true;
    }

    /// Detaches both directions of interface `ifname`: it is unfiltered afterwards.
    ///
    /// # Errors
    /// If there is no such interface or the kernel refuses.
    pub fn detach(&mut self, ifname: &str) -> Result<(), Error> {
        let interface = hook::filterable(ifname)?;
        let _lock = self.layout.lock()?;
        for direction in Direction::ALL {
            hook::detach(&self.layout, interface.index, direction)?;
            self.hooks_known(|known| drop(known.remove(&(interface.index, direction))));
        }
        xdp::detach(&self.layout, interface.index)
    }

    fn hooks_known(&self, change: impl FnOnce(&mut BTreeMap<(u32, Direction), String>)) {
        change(&mut self.attached.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Replaces the failsafe entries; what stays among them is never missing.
    ///
    /// # Errors
    /// If an entry names every peer or there are too many, in which case nothing is changed; or if the kernel refuses.
    pub fn set_failsafe(&mut self, entries: &[FailsafeEntry]) -> Result<(), Error> {
        let _lock = self.layout.lock()?;
        world::hold(&self.layout, "failsafe", &self.failsafe)?;
        failsafe::set(&self.failsafe, entries)
    }

    /// The failsafe entries in force, in order of number.
    ///
    /// # Errors
    /// If the kernel cannot be read, or holds one that [`Enforcer::set_failsafe`] did not write.
    pub fn failsafe(&self) -> Result<Vec<FailsafeEntry>, Error> {
        failsafe::read(&self.failsafe)
    }

    /// Builds `table` in a quiet slot, or changes what a quiet slot holds into it; reads it back, tries it out, and turns every packet
    /// to it at once. The epoch is at least `epoch_hint`, and greater than every one before.
    ///
    /// # Errors
    /// If the table is over the limits, the kernel refuses, or the programs do not judge as the table says; then what was enforced
    /// stays enforced.
    pub fn install(&mut self, table: &Table, digest: [u8; 32], epoch_hint: u32) -> Result<Installed, Error> {
        self.put(table, digest, epoch_hint, None)
    }

    /// [`Enforcer::install`], but what was confirmed last comes back after `within` unless [`Enforcer::confirm`] is called before,
    /// whether this process lives or not. Where nothing was enforced before, the way back is to drop nothing.
    ///
    /// # Errors
    /// As [`Enforcer::install`].
    pub fn install_on_trial(
        &mut self,
        table: &Table,
        digest: [u8; 32],
        epoch_hint: u32,
        within: Duration,
    ) -> Result<Installed, Error> {
        self.put(table, digest, epoch_hint, Some(within))
    }

    fn put(&mut self, table: &Table, digest: [u8; 32], epoch_hint: u32, within: Option<Duration>) -> Result<Installed, Error> {
        let _lock = self.layout.lock()?;
        let began = Instant::now();
        table.check()?;
        let apart = world::ready(&self.layout, &self.object, &self.generations, &self.apart)?;
        let installed = self.generations.install(&self.layout, Order { table, digest, epoch_hint, within, began })?;
        apart.iter().try_for_each(|own| hook::relink(&self.layout, &self.object, own))?;
        Ok(installed)
    }

    /// Turns the audit of the whole host on or off: with it nothing is dropped, and what would be is counted.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn set_audit(&mut self, on: bool) -> Result<(), Error> {
        let _lock = self.layout.lock()?;
        self.generations.set_audit(on)
    }

    /// Ends audit and learning with one store, so that the generation in force begins to drop: on trial for `within`, if that is
    /// given, with audit as the way back. Answers its epoch.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn end_rehearsal(&mut self, within: Option<Duration>) -> Result<u32, Error> {
        let _lock = self.layout.lock()?;
        self.generations.end_rehearsal(within)
    }

    /// Whether nothing is dropped on the whole host now.
    #[must_use]
    pub fn audits(&self) -> bool {
        self.generations.judging().1
    }

    /// What is on trial, if anything is.
    ///
    /// # Errors
    /// If the kernel cannot be read.
    pub fn trial(&self) -> Result<Option<Trial>, Error> {
        self.generations.trial()
    }

    /// Ends the trial: the generation on trial stays. Answers its epoch, none if nothing was on trial.
    ///
    /// # Errors
    /// If the deadline has passed, or the kernel refuses.
    pub fn confirm(&mut self) -> Result<Option<u32>, Error> {
        let _lock = self.layout.lock()?;
        self.generations.confirm()
    }

    /// Puts the way back in force with one store, whether something is on trial, its deadline has passed, or all is confirmed.
    /// Answers the epoch in force afterwards, none if there is no way back.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn roll_back(&mut self) -> Result<Option<u32>, Error> {
        let _lock = self.layout.lock()?;
        self.generations.roll_back()
    }

    /// Turns learning on or off: with it TCP in mid-flow may be picked up in either direction.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn set_learning(&mut self, on: bool) -> Result<(), Error> {
        let _lock = self.layout.lock()?;
        self.generations.set_learning(on)
    }

    /// Reads what the kernel enforces.
    ///
    /// # Errors
    /// If the kernel cannot be read.
    pub fn observe(&self) -> Result<Observed, Error> {
        observe::observe(self)
    }

    /// [`Enforcer::observe`] without reading any rule, so without `table`: as cheap for a large table as for none.
    ///
    /// # Errors
    /// If the kernel cannot be read.
    pub fn glance(&self) -> Result<Observed, Error> {
        observe::glance(self).map(|(observed, ..)| observed)
    }

    /// Packets by what happened to them, and why; only what happened at all.
    ///
    /// # Errors
    /// If the kernel cannot be read.
    pub fn counts(&self) -> Result<Vec<Counted>, Error> {
        counts::read(&self.layout)
    }

    /// Which set of counters there is: another text after a reboot, or once the maps were made anew, as they then begin at zero.
    ///
    /// # Errors
    /// If the kernel cannot be read.
    pub fn counters(&self) -> Result<String, Error> {
        counts::world(&self.layout)
    }

    /// What the programs of each hook have cost so far, as far as the kernel measured it (see [`measure_runs`](crate::measure_runs)).
    ///
    /// # Errors
    /// If the kernel cannot be read.
    pub fn program_runs(&self) -> Result<Vec<ProgramRuns>, Error> {
        counts::program_runs(&self.layout)
    }

    /// Whether the way back is what was installed, as far as this process knows; where it does not, all of it is read.
    ///
    /// # Errors
    /// If the kernel cannot be read.
    pub fn way_back_is_whole(&self) -> Result<bool, Error> {
        self.generations.way_back_is_whole(&self.layout)
    }

    /// Detaches every interface and removes every pin: the host is unfiltered afterwards.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn remove_all(self) -> Result<(), Error> {
        let lock = self.layout.lock()?;
        // Hooks go one by one: what came in past one that is gone would be refused on its way out by one that is still there.
        self.generations.set_audit(true)?;
        for (ifindex, direction, _) in self.layout.hooks()? {
            hook::detach(&self.layout, ifindex, direction)?;
        }
        for slot in 0..SLOTS {
            for name in OUTER {
                unpin(&self.layout.inner(slot, name))?;
            }
        }
        drop(lock);
        self.layout.remove()
    }

    /// Tries out what enforcement needs on this kernel.
    #[must_use]
    pub fn probe() -> Vec<Capability> {
        probe::probe()
    }
}
