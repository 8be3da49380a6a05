//! Attaching to interfaces. A TCX link before all others, pinned, so that it outlives the process; where the kernel has
//! no TCX (before 6.6), a filter on the clsact qdisc with a priority and handle of our own, which outlives it too.

mod filter;
pub(crate) mod order;

use std::{
    collections::BTreeMap,
    fs, io,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use aya::programs::{
    LinkOrder, ProgramError, ProgramInfo, SchedClassifier, TcAttachType,
    links::{FdLink, PinnedLink},
    tc::{SchedClassifierLink, SchedClassifierLinkId, TcAttachOptions},
};

use crate::{
    api::Attached,
    error::Error,
    object::{self, Replaced, program_error},
    pin::{Layout, unpin},
    sys::{self, Interface},
    table::Direction,
    world::{self, Kinship, Live},
    xdp,
};

/// Tries to attach while the kernel still removes an older link; about a second in all.
const LINK_TRIES: u32 = 10;

/// Link types whose packets begin with an IP header: tun and WireGuard, raw IP, IP tunnels.
const PLAIN: [u32; 5] = [0xFFFE, 519, 768, 769, 776];

/// The interface called `ifname`, if it may be filtered.
pub(crate) fn filterable(ifname: &str) -> Result<Interface, Error> {
    let found = sys::interface(ifname).map_err(|error| Error::kernel(format!("look up interface {ifname}"), error))?;
    let Some(interface) = found else {
        // Which there are is help on the way; that they cannot be listed is not the error.
        let present = sys::interface_names().unwrap_or_default();
        return Err(Error::NoInterface { ifname: ifname.to_owned(), present });
    };
    if interface.loopback {
        return Err(Error::Loopback(ifname.to_owned()));
    }
    Ok(interface)
}

/// Whether [`attach`] would take the interface called `ifname`.
pub(crate) fn check(ifname: &str) -> Result<(), Error> {
    let interface = filterable(ifname)?;
    Direction::ALL.into_iter().try_for_each(|direction| program_name(ifname, interface, direction).map(drop))
}

/// Programs a hook may run, by direction.
pub(crate) const fn programs(direction: Direction) -> [&'static str; 2] {
    match direction {
        Direction::In => ["tc_in_ether", "tc_in_plain"],
        Direction::Out => ["tc_out_ether", "tc_out_plain"],
    }
}

/// Name of the program for one hook of an interface.
pub(crate) fn program_name(ifname: &str, interface: Interface, direction: Direction) -> Result<&'static str, Error> {
    let ethernet = interface.is_ethernet();
    if !ethernet && !PLAIN.contains(&interface.link_type) {
        return Err(Error::LinkType { ifname: ifname.to_owned(), kind: interface.link_type });
    }
    Ok(match (direction, ethernet) {
        (Direction::In, true) => "tc_in_ether",
        (Direction::Out, true) => "tc_out_ether",
        (Direction::In, false) => "tc_in_plain",
        (Direction::Out, false) => "tc_out_plain",
    })
}

const fn tc_type(direction: Direction) -> TcAttachType {
    match direction {
        Direction::In => TcAttachType::Ingress,
        Direction::Out => TcAttachType::Egress,
    }
}

/// Attaches one hook, or finds it attached; it runs before all others afterwards. With `filters` no TCX link is made.
pub(crate) fn attach(
    layout: &Layout,
    object: &[u8],
    filters: bool,
    ifname: &str,
    interface: Interface,
    direction: Direction,
) -> Result<Attached, Error> {
    let name = program_name(ifname, interface, direction)?;
    object::ensure(layout, object, name)?;
    let mut program = object::program(layout, name)?;
    let own = program.info().map_err(|error| program_error(name, error))?.id();
    let path = layout.link(interface.index, direction);
    if layout.filter(interface.index, direction).exists() || (filters && !path.exists()) {
        return filter::attach(layout, ifname, interface, direction);
    }
    match sys::link_details(&path) {
        Ok(link) if link.ifindex == interface.index => {
            if !order::before_link(interface.index, direction, link.program)?.is_empty() {
                return order::put_first(layout, object, ifname, interface.index, direction, name);
            }
            if link.program == own {
                return Ok(Attached::Already);
            }
            let pinned = PinnedLink::from_pin(&path).map_err(|error| Error::Load(error.into()))?;
            return replace(&mut program, name, pinned);
        }
        // The interface the link was for is gone.
        Ok(_) => unpin(&path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(Error::kernel(format!("open the link {}", path.display()), error)),
    }
    match attach_link(&mut program, ifname, direction) {
        Ok(id) => pin_link(&mut program, name, id, &path).map(|()| Attached::Now),
        Err(error) if without_tcx(&error) => filter::attach(layout, ifname, interface, direction),
        Err(error) => Err(program_error(name, error)),
    }
}

/// Pins a link just made, so that it outlives this process.
fn pin_link(program: &mut SchedClassifier, name: &str, id: SchedClassifierLinkId, path: &Path) -> Result<(), Error> {
    let link = program.take_link(id).map_err(|error| program_error(name, error))?;
    let link: FdLink = link.try_into().map_err(|error: aya::programs::links::LinkError| Error::Load(error.into()))?;
    link.pin(path).map(drop).map_err(|error| Error::kernel(format!("pin {}", path.display()), io::Error::other(error)))
}

/// Attaches before all others. A link that has just lost its last reference is removed a little later, and until then
/// the same program cannot be attached again.
fn attach_link(program: &mut SchedClassifier, ifname: &str, direction: Direction) -> Result<SchedClassifierLinkId, ProgramError> {
    let mut tries = 1;
    loop {
        let first = TcAttachOptions::TcxOrder(LinkOrder::first());
        match program.attach_with_options(ifname, tc_type(direction), first) {
            Err(ProgramError::SyscallError(error))
                if tries < LINK_TRIES && error.io_error.kind() == io::ErrorKind::AlreadyExists =>
            {
                thread::sleep(Duration::from_millis(1 << tries));
                tries += 1;
            }
            other => return other,
        }
    }
}

/// Has a live link run `program` from the next packet on.
fn replace(program: &mut SchedClassifier, name: &str, pinned: PinnedLink) -> Result<Attached, Error> {
    let link = SchedClassifierLink::try_from(FdLink::from(pinned)).map_err(|error| Error::Load(error.into()))?;
    let id = program.attach_to_link(link).map_err(|error| program_error(name, error))?;
    // Dropping the link closes a descriptor; the pin keeps it alive.
    drop(program.take_link(id).map_err(|error| program_error(name, error))?);
    Ok(Attached::Updated)
}

fn without_tcx(error: &ProgramError) -> bool {
    let ProgramError::SyscallError(error) = error else { return false };
    matches!(error.io_error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP))
}

/// Detaches one hook.
pub(crate) fn detach(layout: &Layout, ifindex: u32, direction: Direction) -> Result<(), Error> {
    let filter = layout.filter(ifindex, direction);
    if filter.exists() {
        if let Some(ifname) = sys::interface_name(ifindex) {
            filter::detach(&ifname, direction);
        }
        unpin(&filter)?;
    }
    unpin(&layout.link(ifindex, direction))
}

/// Has a hook that runs something else run our program from the next packet on.
pub(crate) fn relink(layout: &Layout, object: &[u8], hook: &Live) -> Result<(), Error> {
    let Some(ifname) = sys::interface_name(hook.ifindex) else {
        return Err(Error::Rewired(format!("the program of interface {}", hook.ifindex)));
    };
    let interface = filterable(&ifname)?;
    tracing::info!(ifname, direction = hook.direction.label(), "replacing a program that uses other maps");
    attach(layout, object, false, &ifname, interface, hook.direction).map(drop)
}

/// Has every hook that runs a program whose pin was given to a newer one run that from the next packet on. It uses the same
/// maps, so flows and rules stay; what uses other maps waits for a generation, see [`world`].
pub(crate) fn upgrade(layout: &Layout, core: &[Option<u32>; 7], replaced: &Replaced) -> Result<(), Error> {
    if replaced.is_empty() {
        return Ok(());
    }
    world::sound(layout, core)?;
    if let Some((old, _)) = replaced.iter().find(|(_, name)| *name == object::XDP_IN) {
        xdp::upgrade(layout, *old)?;
    }
    for own in world::live(layout)? {
        let Some(name) = replaced.get(&own.program).filter(|_| own.kinship(core) == Kinship::Ours) else { continue };
        let (ifindex, direction) = (own.ifindex, own.direction);
        tracing::info!(ifindex, direction = direction.label(), "upgrading the program");
        if layout.filter(ifindex, direction).exists() {
            if let Some(ifname) = sys::interface_name(ifindex) {
                filter::upgrade(layout, &ifname, ifindex, direction, name)?;
            }
            continue;
        }
        let path = layout.link(ifindex, direction);
        let pinned = PinnedLink::from_pin(&path).map_err(|error| Error::Load(error.into()))?;
        replace(&mut object::program(layout, name)?, name, pinned)?;
    }
    Ok(())
}

/// Turns every hook pinned below `old` to the program of the same name pinned below `new`, and pins it there.
pub(crate) fn adopt(old: &Layout, new: &Layout, object: &[u8]) -> Result<(), Error> {
    let names = running_names(old)?;
    for (ifindex, direction, is_filter) in old.hooks()? {
        let from = if is_filter { old.filter(ifindex, direction) } else { old.link(ifindex, direction) };
        let doing = |error| Error::kernel(format!("take over {}", from.display()), error);
        if is_filter {
            let Some(ifname) = sys::interface_name(ifindex) else { continue };
            filter::adopt(old, new, object, &ifname, ifindex, direction)?;
            continue;
        }
        let details = sys::link_details(&from).map_err(doing)?;
        if details.ifindex == 0 {
            continue;
        }
        let [ether, plain] = programs(direction);
        let name = if names.get(&details.program).is_some_and(|name| name == plain) { plain } else { ether };
        object::ensure(new, object, name)?;
        let link = sys::open_pin(&from).map_err(doing)?;
        let program = sys::open_pin(&new.prog(name)).map_err(doing)?;
        sys::tc::update_link(link.as_fd(), program.as_fd()).map_err(doing)?;
        let to = new.link(ifindex, direction);
        unpin(&to)?;
        sys::pin(link.as_fd(), &to).map_err(doing)?;
    }
    Ok(())
}

/// Names of the programs pinned below `layout`, by number.
fn running_names(layout: &Layout) -> Result<BTreeMap<u32, String>, Error> {
    let path = layout.progs();
    let entries = fs::read_dir(&path).map_err(|source| Error::PinDirectory { path, source })?;
    let named = |path: PathBuf| Some((ProgramInfo::from_pin(&path).ok()?.id(), path.file_name()?.to_string_lossy().into_owned()));
    Ok(entries.flatten().filter_map(|entry| named(entry.path())).collect())
}

/// Drops the pins of links whose interface is gone.
pub(crate) fn sweep(layout: &Layout) -> Result<(), Error> {
    for (ifindex, direction, filter) in layout.hooks()? {
        let path = if filter { layout.filter(ifindex, direction) } else { layout.link(ifindex, direction) };
        let gone = if filter { sys::interface_name(ifindex).is_none() } else { is_dead(&path) };
        if gone {
            tracing::info!(ifindex, direction = direction.label(), "dropping the link of an interface that is gone");
            unpin(&path)?;
        }
    }
    // A dead link of an interface that is there tells that the hook was taken from us.
    let gone = |ifindex: &u32| sys::interface_name(*ifindex).is_none() && is_dead(&layout.xdp(*ifindex));
    layout.xdp_hooks()?.into_iter().filter(gone).try_for_each(|ifindex| unpin(&layout.xdp(ifindex)))
}

fn is_dead(link: &Path) -> bool {
    sys::link_details(link).is_ok_and(|link| link.ifindex == 0)
}
