//! Attaching to interfaces. A TCX link before all others, pinned, so that it outlives the process; where the kernel has
//! no TCX (before 6.6), a filter on the clsact qdisc with a priority and handle of our own, which outlives it too.

use std::{io, thread, time::Duration};

use aya::programs::{
    LinkOrder, ProgramError, SchedClassifier, TcAttachType,
    links::{FdLink, PinnedLink},
    tc::{NlOptions, SchedClassifierLink, SchedClassifierLinkId, TcAttachOptions, TcError, TcHandle, qdisc_add_clsact},
};

use crate::{
    api::Attached,
    error::Error,
    object::{self, Replaced, program_error},
    pin::{Layout, unpin},
    sys::{self, Interface},
    table::Direction,
    world::{self, Kinship, Live},
};

/// Priority and handle of our clsact filters: before what people number by hand, and recognisably ours.
const FILTER_PRIORITY: u16 = 1;
const FILTER_HANDLE: TcHandle = TcHandle::new(0, 0x5047);

/// Tries to attach while the kernel still removes an older link; about a second in all.
const LINK_TRIES: u32 = 10;

/// Link types whose packets begin with an Ethernet header.
const ETHERNET: u32 = 1;
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
    let ethernet = interface.link_type == ETHERNET;
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

/// Attaches one hook, or finds it attached.
pub(crate) fn attach(
    layout: &Layout,
    object: &[u8],
    ifname: &str,
    interface: Interface,
    direction: Direction,
) -> Result<Attached, Error> {
    let name = program_name(ifname, interface, direction)?;
    object::ensure(layout, object, name)?;
    let mut program = object::program(layout, name)?;
    let own = program.info().map_err(|error| program_error(name, error))?.id();
    let path = layout.link(interface.index, direction);
    if layout.filter(interface.index, direction).exists() {
        return attach_filter(layout, ifname, interface, direction);
    }
    match sys::link_details(&path) {
        Ok(link) if link.ifindex == interface.index && link.program == own => return Ok(Attached::Already),
        Ok(link) if link.ifindex == interface.index => {
            let pinned = PinnedLink::from_pin(&path).map_err(|error| Error::Load(error.into()))?;
            return replace(&mut program, name, pinned);
        }
        // The interface the link was for is gone.
        Ok(_) => unpin(&path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(Error::kernel(format!("open the link {}", path.display()), error)),
    }
    match attach_link(&mut program, ifname, direction) {
        Ok(id) => {
            let link = program.take_link(id).map_err(|error| program_error(name, error))?;
            let link: FdLink = link.try_into().map_err(|error: aya::programs::links::LinkError| Error::Load(error.into()))?;
            link.pin(&path).map_err(|error| Error::kernel(format!("pin {}", path.display()), io::Error::other(error)))?;
            Ok(Attached::Now)
        }
        Err(error) if without_tcx(&error) => attach_filter(layout, ifname, interface, direction),
        Err(error) => Err(program_error(name, error)),
    }
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

/// Attaches as a clsact filter. Adding one that is there already replaces its program.
pub(crate) fn attach_filter(layout: &Layout, ifname: &str, interface: Interface, direction: Direction) -> Result<Attached, Error> {
    let name = program_name(ifname, interface, direction)?;
    let mut program = object::program(layout, name)?;
    let known = layout.filter(interface.index, direction);
    if known.exists() && replace_filter(&mut program, ifname, direction) {
        repin(&mut program, &known)?;
        return Ok(Attached::Updated);
    }
    add_clsact(ifname)?;
    let options = NlOptions { priority: FILTER_PRIORITY, handle: FILTER_HANDLE, classid: None };
    let id = program
        .attach_with_options(ifname, tc_type(direction), TcAttachOptions::Netlink(options))
        .map_err(|error| program_error(name, error))?;
    // A filter has no descriptor to pin: it stays until it is deleted, which dropping its link would do.
    std::mem::forget(program.take_link(id).map_err(|error| program_error(name, error))?);
    repin(&mut program, &known)?;
    Ok(Attached::Now)
}

/// Has our filter, if it is there, run `program` from the next packet on.
fn replace_filter(program: &mut SchedClassifier, ifname: &str, direction: Direction) -> bool {
    let link = SchedClassifierLink::attached(ifname, tc_type(direction), FILTER_PRIORITY, FILTER_HANDLE, None);
    let Ok(id) = link.map_err(ProgramError::from).and_then(|link| program.attach_to_link(link)) else { return false };
    program.take_link(id).map(std::mem::forget).is_ok()
}

fn repin(program: &mut SchedClassifier, path: &std::path::Path) -> Result<(), Error> {
    unpin(path)?;
    program.pin(path).map_err(|error| Error::kernel("pin a filter's program", io::Error::other(error)))
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

fn detach_filter(ifname: &str, direction: Direction) {
    // A link to the filter, which goes with the link; that there is none is as good.
    drop(SchedClassifierLink::attached(ifname, tc_type(direction), FILTER_PRIORITY, FILTER_HANDLE, None));
}

/// Detaches one hook.
pub(crate) fn detach(layout: &Layout, ifindex: u32, direction: Direction) -> Result<(), Error> {
    let filter = layout.filter(ifindex, direction);
    if filter.exists() {
        if let Some(ifname) = sys::interface_name(ifindex) {
            detach_filter(&ifname, direction);
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
    attach(layout, object, &ifname, interface, hook.direction).map(drop)
}

/// Has every hook that runs a program whose pin was given to a newer one run that from the next packet on. It uses the same
/// maps, so flows and rules stay; what uses other maps waits for a generation, see [`world`].
pub(crate) fn upgrade(layout: &Layout, core: &[Option<u32>; 7], replaced: &Replaced) -> Result<(), Error> {
    if replaced.is_empty() {
        return Ok(());
    }
    world::sound(layout, core)?;
    for own in world::live(layout)? {
        let Some(name) = replaced.get(&own.program).filter(|_| own.kinship(core) == Kinship::Ours) else { continue };
        let (ifindex, direction) = (own.ifindex, own.direction);
        if layout.filter(ifindex, direction).exists() {
            continue;
        }
        tracing::info!(ifindex, direction = direction.label(), "upgrading the program");
        let path = layout.link(ifindex, direction);
        let pinned = PinnedLink::from_pin(&path).map_err(|error| Error::Load(error.into()))?;
        replace(&mut object::program(layout, name)?, name, pinned)?;
    }
    Ok(())
}

/// Drops the pins of links whose interface is gone.
pub(crate) fn sweep(layout: &Layout) -> Result<(), Error> {
    for (ifindex, direction, filter) in layout.hooks()? {
        let path = layout.link(ifindex, direction);
        if !filter && sys::link_details(&path).is_ok_and(|link| link.ifindex == 0) {
            tracing::info!(ifindex, direction = direction.label(), "dropping the link of an interface that is gone");
            unpin(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{path::PathBuf, process::Command, thread};

    use super::{attach_filter, detach, filterable};
    use crate::{api::Attached, enforcer::Enforcer, sys, table::Direction};

    fn run(command: &str) -> String {
        let mut words = command.split_whitespace();
        let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
        assert!(output.status.success(), "{command}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn as_a_filter() {
        sys::own_network().unwrap();
        run("ip link add d0 type veth peer name d1");
        let root = PathBuf::from(format!("/run/pci-segment-test-{}-filter", std::process::id()));
        let enforcer = Enforcer::open(&root).unwrap();
        let d0 = filterable("d0").unwrap();
        let show = || run("tc filter show dev d0 ingress");
        let attach = || attach_filter(&enforcer.layout, "d0", d0, Direction::In).unwrap();
        assert_eq!(attach(), Attached::Now);
        assert!(show().contains("tc_in_ether"), "{}", show());
        assert_eq!(attach(), Attached::Updated);
        assert_eq!(show().matches("handle").count(), 1, "{}", show());
        detach(&enforcer.layout, d0.index, Direction::In).unwrap();
        assert_eq!(show(), "");
        assert_eq!(enforcer.layout.hooks().unwrap(), []);
        drop(enforcer);
        run(&format!("umount -l {}", root.display()));
        std::fs::remove_dir(root).unwrap();
    }

    #[test]
    fn a_filter_outlives_its_link_is_replaced_in_place_and_is_removed_by_detaching() {
        let root = rustix::process::geteuid().is_root();
        assert!(root || std::env::var("CI").as_deref() != Ok("true"), "this needs root, and CI must not leave it out");
        if root {
            thread::spawn(as_a_filter).join().unwrap();
        }
    }
}
