//! One network namespace, by iproute2's name for it.

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::process::Command;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::INTERFACE;

/// A named network namespace; removed when dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    handle: File,
    keep: bool,
}

impl Namespace {
    /// Makes a namespace.
    ///
    /// # Errors
    /// Not root, no `ip` command, or the name is taken.
    pub fn create(name: &str) -> io::Result<Self> {
        ip(&["netns", "add", name])?;
        let handle = File::open(format!("/run/netns/{name}"))?;
        Ok(Self { name: name.to_owned(), handle, keep: false })
    }

    /// Its name, as `ip netns` shows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn keep(&mut self) {
        self.keep = true;
    }

    /// Runs something on a thread inside the namespace; processes and sockets it makes stay there.
    ///
    /// # Errors
    /// The namespace cannot be entered, or what `work` returns.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                move_into_link_name_space(self.handle.as_fd(), Some(LinkNameSpaceType::Network))?;
                work()
            });
            inside.join().map_err(|_| io::Error::other("the thread inside the namespace panicked"))?
        })
    }

    /// Runs `ip` inside the namespace.
    ///
    /// # Errors
    /// `ip` says no.
    pub fn ip(&self, arguments: &[&str]) -> io::Result<()> {
        let mut all = vec!["-n", self.name.as_str()];
        all.extend(arguments);
        ip(&all)
    }

    pub(super) fn address(&self, address: IpAddr) -> io::Result<()> {
        match address {
            IpAddr::V4(a) => self.ip(&["address", "add", &format!("{a}/32"), "dev", INTERFACE]),
            IpAddr::V6(a) => self.ip(&["address", "add", &format!("{a}/128"), "dev", INTERFACE, "nodad"]),
        }
    }

    pub(super) fn route(&self, block: &str) -> io::Result<()> {
        self.ip(&["route", "add", block, "dev", INTERFACE])
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if !self.keep {
            let _ = ip(&["netns", "delete", &self.name]);
        }
    }
}

pub(super) fn ip(arguments: &[&str]) -> io::Result<()> {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .map_err(|e| io::Error::new(e.kind(), format!("cannot run ip (package iproute2): {e}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("ip {}: {}", arguments.join(" "), said.trim())))
}
