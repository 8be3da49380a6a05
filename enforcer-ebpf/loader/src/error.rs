//! What can fail, and what to do about it. Each variant says what was being done; the cause is its source.

use std::{io, path::PathBuf};

use crate::table::TableError;

/// A failed operation of the enforcer. What was enforced before it stays enforced.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The pin directory cannot be made or used.
    #[error("cannot use {} as the directory for pinned eBPF objects", .path.display())]
    PinDirectory {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The pin directory is not on a BPF file system.
    #[error("{} is not on a BPF file system; mount one there: mount -t bpf bpf {}", .0.display(), .0.display())]
    NotBpffs(PathBuf),
    /// The process may not do what it needs to.
    #[error("{doing} was not permitted; the process needs the capability {capability}")]
    NotPermitted {
        /// What was being done.
        doing: &'static str,
        /// The capability that allows it.
        capability: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The object is not one this loader understands.
    #[error("the eBPF object is damaged or lacks {0}")]
    Object(String),
    /// A pinned map differs from what this version would create.
    #[error(
        "the pinned map {} was made by another version ({detail}); remove it to start afresh",
        .path.display()
    )]
    PinnedMap {
        /// Its path.
        path: PathBuf,
        /// How it differs.
        detail: String,
    },
    /// Pins of another version, which this one cannot take over.
    #[error(
        "{} was made by another version of pci-segment and goes on enforcing; {why}; start the version that made it, or, to begin \
         afresh and be unfiltered meanwhile, remove {} and restart",
        .path.display(), .path.display()
    )]
    OtherVersion {
        /// The directory, or the map that is not as it should be.
        path: PathBuf,
        /// The version of the layouts.
        version: u32,
        /// Why not.
        why: &'static str,
    },
    /// Pins of an older version, looked at by this one.
    #[error("{} was made by an older version of pci-segment and goes on enforcing; starting pci-segment takes it over", .0.display())]
    NotTakenOver(PathBuf),
    /// The kernel's verifier refused a program.
    #[error("the kernel refused program {program}; its verifier ended with:\n{log}")]
    Verifier {
        /// The program.
        program: String,
        /// The last lines of the verifier's log.
        log: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Loading failed for another reason.
    #[error("cannot load the eBPF object")]
    Load(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A kernel call failed.
    #[error("cannot {doing}")]
    Kernel {
        /// What was being done.
        doing: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// There is no such interface.
    #[error("there is no network interface {ifname}; {}", here(.present))]
    NoInterface {
        /// The name asked for.
        ifname: String,
        /// Those there are, without loopback.
        present: Vec<String>,
    },
    /// Loopback is never filtered.
    #[error("{0} is a loopback interface; a host talking to itself is not segmentation")]
    Loopback(String),
    /// The interface carries frames the program cannot read.
    #[error("{ifname} has link type {kind}, which the program cannot read")]
    LinkType {
        /// The interface.
        ifname: String,
        /// Its ARPHRD number.
        kind: u32,
    },
    /// The table cannot be enforced; the kernel was not touched.
    #[error("the table cannot be enforced")]
    Table(#[from] TableError),
    /// A failsafe entry is not one.
    #[error("failsafe entry {id} is refused: {why}")]
    Failsafe {
        /// Its number.
        id: u32,
        /// Why.
        why: &'static str,
    },
    /// More failsafe entries than the kernel side holds; none was changed.
    #[error("{count} failsafe entries were given, and {max} is the most; none was changed")]
    FailsafeFull {
        /// How many.
        count: usize,
        /// The limit.
        max: usize,
    },
    /// A pin that belongs to what is in force is gone.
    #[error("the pin {} is gone; restarting pci-segment, or applying once, puts it back", .0.display())]
    PinGone(PathBuf),
    /// Something uses other maps than this process writes; nothing was switched.
    #[error("{0} is another one than this process uses; restart pci-segment, which puts that right without a gap")]
    Rewired(String),
    /// What was read back differs from what was written; nothing was switched.
    #[error("what was written does not read back: {0}")]
    ReadBack(String),
    /// A confirmation that came after the deadline.
    #[error(
        "generation {epoch} was not confirmed in time, and generation {fallback} is in force again; apply it once more to try again"
    )]
    TrialOver {
        /// What was on trial.
        epoch: u32,
        /// What is in force.
        fallback: u32,
    },
    /// Events can be read by one process at a time.
    #[error("another process reads the events of refused packets: a controller, or another `pci-segment events --follow`")]
    EventsTaken,
    /// All epochs have been used; the pins must be removed once.
    #[error("the generation counter is exhausted; remove the enforcement and install it again")]
    EpochsExhausted,
}

/// Interfaces an error names; a host with more has them made by a container runtime.
const NAMES_SHOWN: usize = 10;

/// What there is to choose from.
fn here(present: &[String]) -> String {
    let shown: Vec<&str> = present.iter().take(NAMES_SHOWN).map(String::as_str).collect();
    match present.len().saturating_sub(NAMES_SHOWN) {
        0 if shown.is_empty() => "this host has none but loopback".to_owned(),
        0 => format!("this host has {}", shown.join(", ")),
        more => format!("this host has {} and {more} more", shown.join(", ")),
    }
}

impl Error {
    pub(crate) fn kernel(doing: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Kernel { doing: doing.into(), source: source.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::Error;

    fn message(count: usize) -> String {
        let present = (0..count).map(|n| format!("eth{n}")).collect();
        Error::NoInterface { ifname: "wan".to_owned(), present }.to_string()
    }

    #[test]
    fn a_missing_interface_is_answered_with_the_ones_there_are() {
        assert_eq!(message(2), "there is no network interface wan; this host has eth0, eth1");
        assert_eq!(message(0), "there is no network interface wan; this host has none but loopback");
        assert!(message(10).ends_with("eth8, eth9"));
        assert!(message(12).ends_with("eth9 and 2 more"));
    }
}
