//! The XDP hook of an interface: the program there drops early what TC ingress would drop, and passes all else on.
//!
//! It is asked for by interface, in native mode only (the generic mode is slower than TC), through a pinned link. That the hook
//! is busy or the driver cannot is an answer and no failure: TC alone enforces just as well. Attaching may have a driver set up
//! its rings anew and lose packets meanwhile, so it happens when somebody asks for it and never on the way.

use std::{collections::BTreeSet, io, os::fd::AsFd as _, sync::PoisonError};

use aya::programs::ProgramInfo;

use crate::{
    api::{Tampering, TamperingKind, XdpHook, XdpState},
    enforcer::Enforcer,
    error::Error,
    hook::{self, order::described},
    object::{self, XDP_IN},
    pin::{Layout, unpin},
    sys, world,
};

impl Enforcer {
    /// Has packets that interface `ifname` would drop dropped by its XDP hook already, in native mode; or ends that. Idempotent.
    /// No verdict changes by it: [`Enforcer::attach`] is what enforces.
    ///
    /// To be called again for an interface made anew. [`XdpState::Busy`] and [`XdpState::Unsupported`] leave the hook as it was.
    ///
    /// # Errors
    /// If there is no such interface, or it is a loopback one, or the kernel refuses for another reason than those.
    pub fn set_xdp(&mut self, ifname: &str, on: bool) -> Result<XdpState, Error> {
        let interface = hook::filterable(ifname)?;
        let _lock = self.layout.lock()?;
        if !on {
            detach(&self.layout, interface.index)?;
            return Ok(XdpState::Off);
        }
        if !interface.is_ethernet() {
            return Ok(XdpState::Unsupported { why: format!("link type {} has no Ethernet header", interface.link_type) });
        }
        self.generations.pin_again(&self.layout)?;
        match object::ensure(&self.layout, &self.object, XDP_IN) {
            Err(Error::Object(name)) if name == XDP_IN => {
                return Ok(XdpState::Unsupported { why: "this version has no XDP program".to_owned() });
            }
            other => other?,
        }
        world::sound(&self.layout, &self.generations.core()?)?;
        attach(&self.layout, interface.index)
    }
}

/// Attaches, or finds attached; replaces an older program of ours.
pub(crate) fn attach(layout: &Layout, ifindex: u32) -> Result<XdpState, Error> {
    let path = layout.xdp(ifindex);
    let doing = |error| Error::kernel(format!("attach {XDP_IN}"), error);
    let program = sys::open_pin(&layout.prog(XDP_IN)).map_err(doing)?;
    match sys::link_details(&path) {
        Ok(link) if link.ifindex == ifindex => {
            if own(layout) != Some(link.program) {
                let link = sys::open_pin(&path).map_err(doing)?;
                sys::tc::update_link(link.as_fd(), program.as_fd()).map_err(doing)?;
            }
            return Ok(XdpState::Native);
        }
        Ok(_) => unpin(&path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(doing(error)),
    }
    let link = match sys::tc::attach_xdp(program.as_fd(), ifindex) {
        Ok(link) => link,
        Err(error) => return refused(ifindex, error),
    };
    sys::pin(link.as_fd(), &path).map_err(|error| Error::kernel(format!("pin {}", path.display()), error))?;
    Ok(XdpState::Native)
}

/// What a driver or a busy hook answers; anything else is an error.
fn refused(ifindex: u32, error: io::Error) -> Result<XdpState, Error> {
    match error.raw_os_error() {
        Some(libc::EBUSY | libc::EEXIST) => {
            let by = running(ifindex)?.map_or_else(|| "another program".to_owned(), described);
            Ok(XdpState::Busy { by })
        }
        Some(libc::EOPNOTSUPP) => Ok(XdpState::Unsupported { why: "the driver has no native XDP".to_owned() }),
        Some(libc::EINVAL | libc::ERANGE | libc::E2BIG) => {
            let why = format!("the driver refuses it with these settings, often for the MTU or the number of queues ({error})");
            Ok(XdpState::Unsupported { why })
        }
        Some(libc::EPERM) => match object::not_permitted("attaching a BPF program", &error) {
            Some(refused) => Err(refused),
            None => Err(Error::kernel(format!("attach {XDP_IN}"), error)),
        },
        _ => Err(Error::kernel(format!("attach {XDP_IN}"), error)),
    }
}

/// Ends the program's run on that interface, if it runs there.
pub(crate) fn detach(layout: &Layout, ifindex: u32) -> Result<(), Error> {
    let path = layout.xdp(ifindex);
    if let Ok(link) = sys::open_pin(&path) {
        // Without the pin the link would end too, but a little later. That it has ended already is as good.
        let _ = sys::tc::detach_link(link.as_fd());
    }
    unpin(&path)
}

/// Puts back a hook that was lost, as far as nobody else has it.
pub(crate) fn mend(layout: &Layout, ifindex: u32) -> Result<(), Error> {
    if !layout.xdp(ifindex).exists() || !layout.prog(XDP_IN).exists() {
        return Ok(());
    }
    // While another one has the hook the pin stays, which tells that it was ours.
    let taken = running(ifindex)?.is_some_and(|id| own(layout) != Some(id));
    if taken { Ok(()) } else { attach(layout, ifindex).map(drop) }
}

/// Has every interface that runs program `old` run the pinned one from the next packet on.
pub(crate) fn upgrade(layout: &Layout, old: u32) -> Result<(), Error> {
    for ifindex in layout.xdp_hooks()? {
        if sys::link_details(&layout.xdp(ifindex)).is_ok_and(|link| link.ifindex != 0 && link.program == old) {
            attach(layout, ifindex)?;
        }
    }
    Ok(())
}

/// The XDP hook of every interface that is attached or was asked to have it.
pub(crate) fn observe(enforcer: &Enforcer, tampering: &mut Vec<Tampering>) -> Result<Vec<XdpHook>, Error> {
    let layout = &enforcer.layout;
    let wanted: BTreeSet<u32> = layout.xdp_hooks()?.into_iter().collect();
    let known = enforcer.attached.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut all = wanted.clone();
    all.extend(layout.hooks()?.into_iter().map(|(ifindex, ..)| ifindex));
    let mut hooks = Vec::new();
    for ifindex in all {
        let former = || known.iter().find(|((index, _), _)| *index == ifindex).map(|(_, name)| name.clone());
        let ifname = sys::interface_name(ifindex).or_else(former).unwrap_or_default();
        let wanted = wanted.contains(&ifindex);
        let state = state(layout, ifindex, wanted)?;
        if wanted && state != XdpState::Native {
            let (kind, what) = match &state {
                XdpState::Busy { by } => (TamperingKind::Foreign, by.as_str()),
                XdpState::Detached | XdpState::Off | XdpState::Native | XdpState::Unsupported { .. } => {
                    (TamperingKind::Detached, "nothing")
                }
            };
            tampering.push(Tampering { kind, detail: format!("interface {ifname} ({ifindex}), XDP: runs {what}") });
        }
        hooks.push(XdpHook { ifname, ifindex, wanted, state });
    }
    Ok(hooks)
}

fn state(layout: &Layout, ifindex: u32, wanted: bool) -> Result<XdpState, Error> {
    if wanted
        && sys::link_details(&layout.xdp(ifindex)).is_ok_and(|link| link.ifindex == ifindex && own(layout) == Some(link.program))
    {
        return Ok(XdpState::Native);
    }
    Ok(match running(ifindex)? {
        Some(id) => XdpState::Busy { by: described(id) },
        None if wanted => XdpState::Detached,
        None => XdpState::Off,
    })
}

fn own(layout: &Layout) -> Option<u32> {
    ProgramInfo::from_pin(layout.prog(XDP_IN)).ok().map(|info| info.id())
}

fn running(ifindex: u32) -> Result<Option<u32>, Error> {
    sys::tc::xdp_program(ifindex).map_err(|error| Error::kernel("ask for the XDP program of an interface", error))
}

#[cfg(test)]
mod tests {
    use std::{os::fd::AsFd as _, path::PathBuf, process::Command, thread};

    use aya_obj::generated::bpf_prog_type::BPF_PROG_TYPE_XDP;

    use super::{attach, detach, mend, running, state};
    use crate::{
        api::XdpState,
        hook::filterable,
        object::XDP_IN,
        pin::Layout,
        sys::{
            self,
            tc::{Small, attach_xdp, detach_link, load},
        },
    };

    fn in_own_network(work: fn(&Layout)) {
        let root = rustix::process::geteuid().is_root();
        assert!(root || std::env::var("CI").as_deref() != Ok("true"), "this needs root, and CI must not leave it out");
        if !root {
            return;
        }
        let test = move || {
            sys::own_network().unwrap();
            let pins = PathBuf::from(format!("/run/pci-segment-test-{}-xdp", std::process::id()));
            let layout = Layout::new(&pins);
            layout.prepare().unwrap();
            let made = Command::new("ip").args(["link", "add", "d0", "type", "veth", "peer", "name", "d1"]).status().unwrap();
            assert!(made.success());
            let done = thread::scope(|scope| {
                let in_namespace = || std::panic::catch_unwind(|| work(&layout));
                // Scoped threads share the namespace of the thread that spawns them.
                scope.spawn(in_namespace).join().unwrap()
            });
            assert!(Command::new("umount").arg("-l").arg(&pins).status().unwrap().success());
            std::fs::remove_dir(pins).unwrap();
            done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        };
        thread::spawn(test).join().unwrap();
    }

    fn program() -> std::os::fd::OwnedFd {
        load(BPF_PROG_TYPE_XDP as u32, Small::PassesXdp).unwrap()
    }

    #[test]
    fn the_xdp_hook_is_taken_shared_with_nobody_given_back_and_what_is_done_to_it_is_found() {
        in_own_network(|layout| {
            let (d0, d1, lo) = (filterable("d0").unwrap().index, filterable("d1").unwrap().index, 1);
            sys::pin(program().as_fd(), &layout.prog(XDP_IN)).unwrap();
            assert_eq!(state(layout, d0, false).unwrap(), XdpState::Off);
            for _ in 0..2 {
                assert_eq!(attach(layout, d0).unwrap(), XdpState::Native);
                assert_eq!(state(layout, d0, true).unwrap(), XdpState::Native);
            }
            assert_eq!(layout.xdp_hooks().unwrap(), [d0]);
            assert_eq!(layout.hooks().unwrap(), []);

            let other = attach_xdp(program().as_fd(), d1).unwrap();
            let busy = XdpState::Busy { by: format!("program {}", running(d1).unwrap().unwrap()) };
            assert_eq!(attach(layout, d1).unwrap(), busy);
            assert_eq!(layout.xdp_hooks().unwrap(), [d0], "a hook that is busy is not ours");
            assert!(matches!(attach(layout, lo).unwrap(), XdpState::Unsupported { why } if why.contains("no native XDP")));

            detach_link(sys::open_pin(&layout.xdp(d0)).unwrap().as_fd()).unwrap();
            assert_eq!(state(layout, d0, true).unwrap(), XdpState::Detached);
            let thief = attach_xdp(program().as_fd(), d0).unwrap();
            mend(layout, d0).unwrap();
            assert!(matches!(state(layout, d0, true).unwrap(), XdpState::Busy { .. }), "nobody is thrown out");
            detach_link(thief.as_fd()).unwrap();
            mend(layout, d0).unwrap();
            assert_eq!(state(layout, d0, true).unwrap(), XdpState::Native);

            std::fs::remove_file(layout.prog(XDP_IN)).unwrap();
            sys::pin(program().as_fd(), &layout.prog(XDP_IN)).unwrap();
            let old = running(d0).unwrap().unwrap();
            super::upgrade(layout, old).unwrap();
            assert_ne!(running(d0).unwrap(), Some(old), "the newer program runs");
            assert_eq!(state(layout, d0, true).unwrap(), XdpState::Native);

            detach(layout, d0).unwrap();
            assert_eq!((running(d0).unwrap(), layout.xdp_hooks().unwrap()), (None, vec![]));
            detach(layout, d0).unwrap();
            drop(other);
        });
    }
}
