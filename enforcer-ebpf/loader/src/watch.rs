//! Hearing of interfaces that come, go, are renamed, or go up and down, as it happens.
//!
//! The kernel tells more than that (statistics, carrier, wireless events), and, when a listener is slow, less: it drops what the
//! socket cannot hold and says so. So a watch remembers what it has been told, tells only real changes, and after a loss lists
//! everything again.

use std::{
    collections::BTreeMap,
    io,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    error::Error,
    sys::netlink::{Heard, Message, Netlink, attribute, attributes, text, u32_at},
};

const RTMGRP_LINK: u32 = 1;
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const IFLA_IFNAME: u16 = 3;
/// Size of `struct ifinfomsg`; its index and its flags are at 4 and 8.
const IFINFO_BYTES: usize = 16;
const IFF_UP: u32 = 1;
const AF_BRIDGE: u8 = 7;

/// Name of an interface, and whether it is up, by its index.
type Links = BTreeMap<u32, (String, bool)>;

/// Tells when the interfaces of one network namespace change: that of the thread that opened it.
#[derive(Debug)]
pub struct LinkWatch {
    netlink: Netlink,
    /// Lists; a socket stays in the namespace it was opened in.
    lister: Netlink,
    known: Mutex<Links>,
}

impl LinkWatch {
    /// Begins to watch; whatever changes from now on is told by [`LinkWatch::wait`].
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn open() -> Result<Self, Error> {
        let netlink = Netlink::open(RTMGRP_LINK).map_err(|error| Error::kernel("watch the network interfaces", error))?;
        let lister = Netlink::open(0).map_err(failed)?;
        let known = list(&lister).map_err(failed)?;
        Ok(Self { netlink, lister, known: Mutex::new(known) })
    }

    /// Waits until an interface comes, goes, is renamed or goes up or down, for at most `longest`; answers whether one did.
    /// Changes since the last call count. To be called on a thread that may block.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn wait(&self, longest: Duration) -> Result<bool, Error> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let until = Instant::now() + longest.min(Duration::from_secs(u64::from(u32::MAX)));
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.netlink.hear(left).map_err(failed)? {
                Heard::Messages(messages) => {
                    // All of them, so that one burst is told once.
                    if messages.iter().filter(|message| apply(&mut known, message)).count() > 0 {
                        return Ok(true);
                    }
                }
                Heard::Lost => {
                    *known = list(&self.lister).map_err(failed)?;
                    return Ok(true);
                }
                Heard::Nothing if left.is_zero() => return Ok(false),
                Heard::Nothing => {}
            }
        }
    }
}

fn failed(error: io::Error) -> Error {
    Error::kernel("list the network interfaces", error)
}

fn list(lister: &Netlink) -> io::Result<Links> {
    let mut links = Links::new();
    for message in lister.dump(RTM_GETLINK, &[0; IFINFO_BYTES])? {
        apply(&mut links, &message);
    }
    Ok(links)
}

/// Takes in one message; answers whether it told something new.
fn apply(links: &mut Links, message: &Message) -> bool {
    let body = &message.body;
    let (Some(index), Some(flags)) = (u32_at(body, 4), u32_at(body, 8)) else { return false };
    // A bridge tells of its ports under its own family; a port that leaves a bridge does not leave the host.
    if body.first() == Some(&AF_BRIDGE) {
        return false;
    }
    match message.kind {
        RTM_NEWLINK => {
            let attributes = attributes(body.get(IFINFO_BYTES..).unwrap_or_default());
            let name = attribute(&attributes, IFLA_IFNAME).map(text).unwrap_or_default();
            let now = (name, flags & IFF_UP != 0);
            links.insert(index, now.clone()) != Some(now)
        }
        RTM_DELLINK => links.remove(&index).is_some(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::{process::Command, thread, time::Duration};

    use super::LinkWatch;
    use crate::sys;

    const SOON: Duration = Duration::from_secs(20);

    fn ip(command: &str) {
        let output = Command::new("ip").args(command.split_whitespace()).output().unwrap();
        assert!(output.status.success(), "ip {command}: {output:?}");
    }

    /// Everything that has happened, down to the last message.
    fn settle(watch: &LinkWatch) {
        while watch.wait(Duration::from_millis(100)).unwrap() {}
    }

    fn in_own_network(work: fn()) {
        let root = rustix::process::geteuid().is_root();
        assert!(root || std::env::var("CI").as_deref() != Ok("true"), "this needs root, and CI must not leave it out");
        if root {
            thread::spawn(move || {
                sys::own_network().unwrap();
                work();
            })
            .join()
            .unwrap();
        }
    }

    #[test]
    fn an_interface_that_comes_goes_is_renamed_or_goes_up_is_told() {
        in_own_network(|| {
            let watch = LinkWatch::open().unwrap();
            assert!(!watch.wait(Duration::ZERO).unwrap(), "nothing has happened yet");
            let changes = ["link add v0 type veth peer name v1", "link set v0 name w0", "link set w0 up", "link set w0 down"];
            for change in changes.into_iter().chain(["link del w0"]) {
                ip(change);
                assert!(watch.wait(SOON).unwrap(), "{change}");
                settle(&watch);
            }
        });
    }

    #[test]
    fn what_is_not_about_coming_going_names_or_being_up_is_not_told() {
        in_own_network(|| {
            ip("link add v0 type veth peer name v1");
            let watch = LinkWatch::open().unwrap();
            for change in ["link set v0 mtu 1400", "link set v0 address 02:00:00:00:00:01", "addr add 10.1.1.1/24 dev v0"] {
                ip(change);
                assert!(!watch.wait(Duration::from_millis(50)).unwrap(), "{change}");
            }
        });
    }

    #[test]
    fn what_the_socket_could_not_hold_counts_as_a_change_and_the_next_one_is_told_again() {
        in_own_network(|| {
            let watch = LinkWatch::open().unwrap();
            rustix::net::sockopt::set_socket_recv_buffer_size(&watch.netlink.socket, 2048).unwrap();
            for _ in 0..20 {
                ip("link add v0 type veth peer name v1");
                ip("link del v0");
            }
            assert!(matches!(watch.netlink.hear(Duration::ZERO), Ok(crate::sys::netlink::Heard::Lost)));
            ip("link add v0 type veth peer name v1");
            assert!(watch.wait(SOON).unwrap());
            settle(&watch);
            ip("link del v0");
            assert!(watch.wait(SOON).unwrap());
        });
    }
}
