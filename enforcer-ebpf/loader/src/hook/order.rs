//! Who runs before us on a hook, and running first again.
//!
//! TCX programs run in their order, then clsact filters by priority, the latest of one priority first. Whoever comes first
//! decides who else sees a packet. A newcomer may put itself before us; to be first again without a gap a second instance of our
//! program is attached before all, then the old link is detached, then the new one is given the pinned program: the kernel
//! takes no program twice on one hook. Between the first two steps packets are judged twice, with the same verdict.

use std::{fs, os::fd::AsFd as _, path::Path};

use aya::programs::{Program, SchedClassifier, links::PinnedLink, loaded_programs};

use crate::{
    api::Attached,
    error::Error,
    hook::{
        attach_link,
        filter::{FILTER_HANDLE, FILTER_PRIORITY},
        pin_link, replace,
    },
    object::{self, program_error},
    pin::{Layout, unpin},
    sys::{self, tc::Filter},
    table::Direction,
};

/// What runs before program `own` on a TCX hook, by name and number; nothing if it does not run there at all.
pub(crate) fn before_link(ifindex: u32, direction: Direction, own: u32) -> Result<Vec<String>, Error> {
    let programs = tcx(ifindex, direction)?;
    let before = programs.iter().position(|id| *id == own).unwrap_or_default();
    Ok(programs.into_iter().take(before).map(described).collect())
}

/// Our filter on a hook.
pub(crate) struct Own {
    /// The number of the program it runs.
    pub(crate) program: Option<u32>,
    /// What runs before it.
    pub(crate) before: Vec<String>,
}

/// Our filter on a hook, if it is there.
pub(crate) fn filter(ifindex: u32, direction: Direction) -> Result<Option<Own>, Error> {
    let filters = sys::tc::filters(ifindex, direction).map_err(|error| Error::kernel("list the filters of an interface", error))?;
    let Some(at) = filters.iter().position(is_ours) else { return Ok(None) };
    let mut before: Vec<String> = tcx(ifindex, direction)?.into_iter().map(described).collect();
    before.extend(filters.iter().take(at).map(filter_described));
    Ok(Some(Own { program: filters.get(at).and_then(|own| own.program), before }))
}

fn is_ours(filter: &Filter) -> bool {
    (filter.priority, filter.handle, filter.kind.as_str()) == (u32::from(FILTER_PRIORITY), u32::from(FILTER_HANDLE), "bpf")
}

fn tcx(ifindex: u32, direction: Direction) -> Result<Vec<u32>, Error> {
    sys::tc::tcx_programs(ifindex, direction).map_err(|error| Error::kernel("list the programs of a hook", error))
}

/// `program name (17)`, or `program 17` where asking for its name, which takes CAP_SYS_ADMIN, is refused.
pub(crate) fn described(id: u32) -> String {
    let name = loaded_programs().flatten().find(|info| info.id() == id).and_then(|info| info.name_as_str().map(str::to_owned));
    name.filter(|name| !name.is_empty()).map_or_else(|| format!("program {id}"), |name| format!("program {name} ({id})"))
}

fn filter_described(filter: &Filter) -> String {
    let Filter { priority, handle, kind, name, program } = filter;
    let what = program.map_or_else(|| kind.clone(), |id| format!("program {name} ({id})"));
    format!("{what} as the filter of priority {priority} and handle {handle:#x}")
}

/// Has our program called `name`, which a link runs already, run before all others.
pub(crate) fn put_first(
    layout: &Layout,
    object: &[u8],
    ifname: &str,
    ifindex: u32,
    direction: Direction,
    name: &str,
) -> Result<Attached, Error> {
    tracing::info!(ifname, direction = direction.label(), "putting the program before others that were put before it");
    let mut loaded = object::load_maps(layout, object)?;
    let missing = || Error::Object(name.to_owned());
    let second = loaded.program_mut(name).ok_or_else(missing)?;
    object::verify(second).map_err(|error| program_error(name, error))?;
    let Program::SchedClassifier(second) = second else { return Err(missing()) };
    // Pinned meanwhile, so that whoever comes after a crash can tell that it uses our maps.
    let pin = layout.prog(&format!("{name}_second"));
    unpin(&pin)?;
    second.pin(&pin).map_err(|error| Error::Load(error.into()))?;
    let done = exchange(layout, second, ifname, &layout.link(ifindex, direction), direction, name);
    unpin(&pin)?;
    done
}

fn exchange(
    layout: &Layout,
    second: &mut SchedClassifier,
    ifname: &str,
    path: &Path,
    direction: Direction,
    name: &str,
) -> Result<Attached, Error> {
    // No name of a hook, so nobody takes it for one.
    let fresh = path.with_file_name(format!("{}-new", path.file_name().unwrap_or_default().display()));
    unpin(&fresh)?;
    let id = attach_link(second, ifname, direction).map_err(|error| program_error(name, error))?;
    pin_link(second, name, id, &fresh)?;
    let old = sys::open_pin(path).map_err(|error| Error::kernel(format!("open the link {}", path.display()), error))?;
    fs::rename(&fresh, path).map_err(|error| Error::kernel(format!("pin {}", path.display()), error))?;
    sys::tc::detach_link(old.as_fd()).map_err(|error| Error::kernel("detach a link that is no longer first", error))?;
    let pinned = PinnedLink::from_pin(path).map_err(|error| Error::Load(error.into()))?;
    replace(&mut object::program(layout, name)?, name, pinned)
}
