//! The public face: one struct, and the shapes of what it answers.

use std::path::Path;

use crate::{Cidr, Direction, Error, Table};

/// Traffic of this host that no generation can cut: matched without state, in both directions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailsafeEntry {
    /// Its number in events and reports.
    pub id: u32,
    /// Who opens the flow.
    pub direction: Direction,
    /// IP protocol.
    pub proto: u8,
    /// Port of the service; for ICMP `type << 8 | code`.
    pub port: u16,
    /// The peers, never all of them.
    pub peer: Cidr,
}

/// How an interface was attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attached {
    /// It was attached just now.
    Now,
    /// It already was, with this program.
    Already,
    /// The program of an existing link was replaced without a gap.
    Updated,
}

/// What an [`Enforcer::install`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Installed {
    /// The new generation's number.
    pub epoch: u32,
    /// The slot it lives in.
    pub slot: u32,
}

/// Condition of one attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachmentState {
    /// Our program runs there.
    Attached,
    /// The link, the filter or the interface is gone.
    Detached,
    /// Another program runs in its place.
    Replaced,
}

/// One hook of one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Name of the interface; empty if it is gone.
    pub ifname: String,
    /// Its index.
    pub ifindex: u32,
    /// Ingress (in) or egress (out).
    pub direction: Direction,
    /// Whether enforcement holds there.
    pub state: AttachmentState,
}

/// How the kernel differs from what this loader left there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TamperingKind {
    /// A link or filter is gone.
    Detached,
    /// Another program runs in place of ours.
    Replaced,
    /// A program or an outer map uses maps that are not ours.
    Rewired,
    /// The content of a generation is not what was written.
    Edited,
    /// The control word is not ours.
    Control,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tampering {
    /// Its kind.
    pub kind: TamperingKind,
    /// Where, and how.
    pub detail: String,
}

/// What the kernel enforces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// The table of the generation in force; none before the first [`Enforcer::install`].
    pub table: Option<Table>,
    /// The digest it was installed with; zero before the first.
    pub digest: [u8; 32],
    /// Its number; 0 before the first.
    pub epoch: u32,
    /// Every hook that was attached.
    pub attachments: Vec<Attachment>,
    /// Everything that is not as it was left.
    pub tampering: Vec<Tampering>,
}

/// One thing enforcement needs, tried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capability {
    /// What was tried.
    pub name: &'static str,
    /// Whether it worked.
    pub ok: bool,
    /// Whether enforcement is possible without it.
    pub optional: bool,
    /// What the kernel answered.
    pub detail: String,
    /// What to do if it did not work; empty if it did.
    pub remedy: String,
}

/// The firewall of this host.
#[derive(Debug)]
pub struct Enforcer {
    _private: (),
}

impl Enforcer {
    /// Opens what is pinned below `root` (a directory on a BPF file system, made if absent), or loads and pins it.
    ///
    /// # Errors
    /// If the directory, the capabilities or the kernel do not allow it.
    pub fn open(root: &Path) -> Result<Self, Error> {
        Err(Error::NotBpffs(root.to_owned()))
    }

    /// [`Enforcer::open`] with an object other than the embedded one: for tests of a freshly built object.
    ///
    /// # Errors
    /// As [`Enforcer::open`].
    pub fn open_with_object(root: &Path, _object: &[u8]) -> Result<Self, Error> {
        Err(Error::NotBpffs(root.to_owned()))
    }

    /// Attaches both directions of interface `ifname`; idempotent.
    ///
    /// # Errors
    /// If there is no such interface, or it is a loopback one, or the kernel refuses.
    pub fn attach(&mut self, ifname: &str) -> Result<Attached, Error> {
        Err(Error::NoInterface(ifname.to_owned()))
    }

    /// Detaches both directions of interface `ifname`.
    ///
    /// # Errors
    /// If there is no such interface or the kernel refuses.
    pub fn detach(&mut self, ifname: &str) -> Result<(), Error> {
        Err(Error::NoInterface(ifname.to_owned()))
    }

    /// Replaces the failsafe entries.
    ///
    /// # Errors
    /// If an entry names every peer, there are too many, or the kernel refuses.
    pub fn set_failsafe(&mut self, _entries: &[FailsafeEntry]) -> Result<(), Error> {
        Ok(())
    }

    /// Builds `table` in a quiet slot, reads it back, and turns every packet to it at once. The epoch is at least
    /// `epoch_hint`, and greater than the one in force.
    ///
    /// # Errors
    /// If the table is over the limits or the kernel refuses; then what was enforced stays enforced.
    pub fn install(&mut self, table: &Table, _digest: [u8; 32], epoch_hint: u32) -> Result<Installed, Error> {
        table.check()?;
        Ok(Installed { epoch: epoch_hint, slot: 0 })
    }

    /// Reads what the kernel enforces.
    ///
    /// # Errors
    /// If the kernel cannot be read.
    pub fn observe(&self) -> Result<Observed, Error> {
        Ok(Observed::default())
    }

    /// Detaches every interface and removes every pin: the host is unfiltered afterwards.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn remove_all(self) -> Result<(), Error> {
        Ok(())
    }

    /// Tries out what enforcement needs on this kernel.
    #[must_use]
    pub fn probe() -> Vec<Capability> {
        Vec::new()
    }
}
