//! The shapes of what the enforcer is given and answers.

use std::time::Duration;

use crate::table::{Cidr, Direction, Table};

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

/// What an [`Enforcer::install`](crate::Enforcer::install) did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Installed {
    /// The new generation's number.
    pub epoch: u32,
    /// The slot it lives in.
    pub slot: u32,
    /// How it came about.
    pub how: Built,
    /// How long that took.
    pub took: Took,
}

/// How a generation came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Built {
    /// By changing what a quiet slot held.
    Patched {
        /// Prefixes added, changed or removed.
        changes: usize,
    },
    /// From nothing.
    Whole,
}

/// How long the steps of an installation took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Took {
    /// Encoding and writing.
    pub build: Duration,
    /// Encoding alone, a part of `build`.
    pub encode: Duration,
    /// Reading back and golden packets.
    pub verify: Duration,
    /// Golden packets alone, a part of `verify`.
    pub golden: Duration,
    /// Sealing, and the store that turns packets.
    pub flip: Duration,
}

/// A generation in force until somebody confirms it, or its deadline passes: then the programs themselves use the way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trial {
    /// The generation on trial.
    pub epoch: u32,
    /// The generation that is the way back; the same one where the way back is to audit it.
    pub fallback: u32,
    /// What is left, to about 134 ms; zero once the way back is in force.
    pub left: Duration,
}

impl Trial {
    /// Whether the deadline has passed, so that the way back is in force.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.left.is_zero()
    }
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
    /// Name of the interface; once it is gone the last one this process knew, empty if it knew none.
    pub ifname: String,
    /// Its index.
    pub ifindex: u32,
    /// Ingress (in) or egress (out).
    pub direction: Direction,
    /// Whether enforcement holds there.
    pub state: AttachmentState,
    /// What runs before our program there, by name and number, in order; it can keep packets from being judged. Empty is good.
    pub before: Vec<String>,
}

/// Condition of the XDP hook of one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum XdpState {
    /// Nothing runs there, and nothing of ours is meant to.
    Off,
    /// Our program runs there, in native mode.
    Native,
    /// Another program has the hook.
    Busy {
        /// Its name and number.
        by: String,
    },
    /// The interface cannot run it.
    Unsupported {
        /// Why.
        why: String,
    },
    /// Our program was attached, and is no longer.
    Detached,
}

/// The XDP hook of one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XdpHook {
    /// Name of the interface; once it is gone the last one this process knew, empty if it knew none.
    pub ifname: String,
    /// Its index.
    pub ifindex: u32,
    /// Whether our program was put there, and is to be there still.
    pub wanted: bool,
    /// What runs there.
    pub state: XdpState,
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
    /// Another program runs before ours, and may keep packets from being judged.
    Preceded,
    /// Another program has the XDP hook that ours had.
    Foreign,
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
    /// The table of the generation in force; none before the first [`Enforcer::install`](crate::Enforcer::install).
    pub table: Option<Table>,
    /// The digest it was installed with; zero before the first.
    pub digest: [u8; 32],
    /// Its number; 0 before the first.
    pub epoch: u32,
    /// Nothing is dropped, whatever the table says.
    pub audit: bool,
    /// What is left of the time for which enforcement is off; then `audit` is true, and ends with it.
    pub disabled: Option<Duration>,
    /// What is on trial.
    pub trial: Option<Trial>,
    /// Every hook that was attached.
    pub attachments: Vec<Attachment>,
    /// The XDP hook of every interface that is attached.
    pub xdp: Vec<XdpHook>,
    /// Everything that is not as it was left.
    pub tampering: Vec<Tampering>,
    /// The generation before, the way back, is not what was installed; also among [`Observed::tampering`].
    pub way_back_edited: bool,
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

/// Which program [`Enforcer::time`](crate::Enforcer::time) measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timed {
    /// The enforcing one of this direction.
    Enforcing(Direction),
    /// The one without flows, by the slot in force.
    Check(Direction),
    /// The one that does nothing.
    Empty,
}

/// What the rules of one generation say about a packet as the first of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Whether it passes.
    pub passes: bool,
    /// It passes only because nothing is dropped in this direction.
    pub would_drop: bool,
    /// Why: a label of the metrics.
    pub reason: &'static str,
    /// The rule that allows it, 0 for none.
    pub rule: u32,
}
