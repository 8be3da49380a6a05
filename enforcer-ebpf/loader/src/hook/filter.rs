//! Hooks of kernels without TCX: a filter on the clsact qdisc, with a priority and handle of our own. It has no descriptor to
//! pin, so it stays until it is deleted; the program it was given is pinned in its place, which marks the hook as ours.

use std::{io, path::Path};

use aya::programs::{
    ProgramError, SchedClassifier,
    tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle, qdisc_add_clsact},
};

use super::{order, program_name, tc_type};
use crate::{
    api::Attached,
    error::Error,
    object::{self, program_error},
    pin::{Layout, unpin},
    sys::Interface,
    table::Direction,
};

/// Priority and handle of our filters: before what people number by hand, and recognisably ours.
pub(super) const FILTER_PRIORITY: u16 = 1;
pub(super) const FILTER_HANDLE: TcHandle = TcHandle::new(0, 0x5047);

/// Attaches as a filter. Where ours is there already its program is replaced, unless it is the same one.
pub(super) fn attach(layout: &Layout, ifname: &str, interface: Interface, direction: Direction) -> Result<Attached, Error> {
    let name = program_name(ifname, interface, direction)?;
    let mut program = object::program(layout, name)?;
    let own = program.info().map_err(|error| program_error(name, error))?.id();
    let mark = layout.filter(interface.index, direction);
    let present = order::filter(interface.index, direction)?;
    match present {
        Some(ref there) if there.program == Some(own) && pinned(&mark) == Some(own) => return Ok(Attached::Already),
        // Whatever has our priority and handle was left by us, or is in our place.
        Some(_) if replace(&mut program, ifname, direction) => {
            repin(&mut program, &mark)?;
            return Ok(Attached::Updated);
        }
        Some(_) | None => {}
    }
    add_clsact(ifname)?;
    let options = NlOptions { priority: FILTER_PRIORITY, handle: FILTER_HANDLE, classid: None };
    let id = program
        .attach_with_options(ifname, tc_type(direction), TcAttachOptions::Netlink(options))
        .map_err(|error| program_error(name, error))?;
    // A filter stays until it is deleted, which dropping its link would do.
    std::mem::forget(program.take_link(id).map_err(|error| program_error(name, error))?);
    repin(&mut program, &mark)?;
    Ok(Attached::Now)
}

/// Has our filter, if it is there, run `program` from the next packet on.
fn replace(program: &mut SchedClassifier, ifname: &str, direction: Direction) -> bool {
    let link = SchedClassifierLink::attached(ifname, tc_type(direction), FILTER_PRIORITY, FILTER_HANDLE, None);
    let Ok(id) = link.map_err(ProgramError::from).and_then(|link| program.attach_to_link(link)) else { return false };
    program.take_link(id).map(std::mem::forget).is_ok()
}

/// Has the filter of a hook run the pinned program `name`, if the filter is there and runs what it was left with.
pub(super) fn upgrade(layout: &Layout, ifname: &str, ifindex: u32, direction: Direction, name: &str) -> Result<(), Error> {
    let mark = layout.filter(ifindex, direction);
    let running = order::filter(ifindex, direction)?.and_then(|own| own.program);
    let mut program = object::program(layout, name)?;
    if running.is_some() && running == pinned(&mark) && replace(&mut program, ifname, direction) {
        repin(&mut program, &mark)?;
    }
    Ok(())
}

/// Has the filter that an older version left on a hook run the program pinned below `new`, and marks the hook there.
pub(super) fn adopt(
    old: &Layout,
    new: &Layout,
    object: &[u8],
    ifname: &str,
    ifindex: u32,
    direction: Direction,
) -> Result<(), Error> {
    let name = program_name(ifname, super::filterable(ifname)?, direction)?;
    object::ensure(new, object, name)?;
    let running = order::filter(ifindex, direction)?.and_then(|own| own.program);
    let mut program = object::program(new, name)?;
    let own = program.info().map_err(|error| program_error(name, error))?.id();
    let theirs = running.is_some() && running == pinned(&old.filter(ifindex, direction));
    if running == Some(own) || (theirs && replace(&mut program, ifname, direction)) {
        repin(&mut program, &new.filter(ifindex, direction))?;
    }
    Ok(())
}

/// Deletes our filter; that there is none is as good.
pub(super) fn detach(ifname: &str, direction: Direction) {
    // A link to the filter, which goes with the link.
    drop(SchedClassifierLink::attached(ifname, tc_type(direction), FILTER_PRIORITY, FILTER_HANDLE, None));
}

fn pinned(mark: &Path) -> Option<u32> {
    aya::programs::ProgramInfo::from_pin(mark).ok().map(|info| info.id())
}

fn repin(program: &mut SchedClassifier, mark: &Path) -> Result<(), Error> {
    unpin(mark)?;
    program.pin(mark).map_err(|error| Error::kernel("pin a filter's program", io::Error::other(error)))
}

fn add_clsact(ifname: &str) -> Result<(), Error> {
    match qdisc_add_clsact(ifname) {
        Err(TcError::IoError(error)) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(Error::kernel(format!("add the clsact qdisc to {ifname}"), error))
        }
        // There already is one, perhaps of another program; it is shared.
        Ok(()) | Err(_) => Ok(()),
    }
}
