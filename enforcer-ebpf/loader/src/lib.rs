//! Loads, pins, attaches, fills and observes the eBPF host firewall.
//!
//! [`Enforcer::open`] finds what is already pinned or loads the embedded object; [`Enforcer::attach`] puts the
//! programs on an interface; [`Enforcer::install`] builds a generation beside the one in force, reads it back, tries it
//! out and turns to it with one store. [`Enforcer::observe`] reads the kernel, not memory. Everything is pinned: enforcement
//! goes on unchanged when the process ends.
//!
//! Invariants: the maps of the active generation are never written; a packet is judged wholly by one generation; a
//! table over the limits is refused before the kernel is touched; a loopback interface is never attached.

mod api;
mod counts;
mod disable;
pub mod drill;
mod enforcer;
mod error;
mod events;
mod failsafe;
mod generation;
mod hook;
mod import;
mod object;
mod observe;
mod pin;
mod probe;
mod sizes;
mod sys;
mod table;
mod test_run;
mod trial;
mod upgrade;
mod watch;
mod world;
mod xdp;

pub use api::{
    Attached, Attachment, AttachmentState, Built, Capability, Checked, FailsafeEntry, Installed, Observed, Tampering,
    TamperingKind, Timed, Took, Trial, XdpHook, XdpState,
};
pub use counts::{Counted, ProgramRuns, measure_runs};
pub use enforcer::Enforcer;
pub use enforcer_abi::ABI_VERSION;
pub use error::Error;
pub use events::{DropEvent, Events, Losses, Refused};
pub use import::LiveFlow;
pub use sizes::TableSize;
pub use table::{Cidr, Direction, Interval, Mode, Table, TableError};
pub use test_run::Checker;
pub use watch::LinkWatch;
