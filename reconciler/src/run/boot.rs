//! The start of the host, before its network comes up: what was confirmed last is enforced again from the database alone. No Git, no
//! names, no judgement, and nothing is written, so that the controller can start at the same time.
//!
//! What was on trial is not on record as in force, and does not come back. A host that was never enforced is left alone. Where rules
//! were in force and cannot be read any more, everything is denied but the failsafe list: a host that was guarded is not opened by a
//! damaged file. In mode audit it is only counted, as everything else there.
//!
//! Interfaces that do not exist yet are waited for, but not for long: a boot that hangs helps nobody, and the controller attaches what
//! comes later.

use std::path::Path;
use std::time::Duration;

use policy::digest::Digest;
use policy::lower::bpf::{Key, Rule, Table};
use policy::model::Mode;
use policy::net::Direction;
use tokio::time::Instant;

use super::{reach, wiring};
use crate::backend::View;
use crate::backend::choice::{Firewall, Wanted};
use crate::chain::chain;
use crate::config::{Config, HostMode};
use crate::converge::{Backend, DISABLED, Kept, kept_name, until};
use crate::store::{self, EnforcedRow, Store};

/// Between two looks for interfaces.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How a boot ended.
#[derive(Debug)]
pub enum Booted {
    /// No interface is configured, or nothing was ever in force here; nothing is attached.
    NeverEnforced {
        /// Which of the two.
        why: String,
    },
    /// The kernel enforces already; only hooks were looked after.
    Already {
        /// Interfaces that do not exist.
        missing: Vec<String>,
    },
    /// What was confirmed last is in force.
    Restored {
        /// The commit, in hexadecimal.
        commit: String,
        /// How many rules.
        rules: usize,
        /// Interfaces that do not exist.
        missing: Vec<String>,
    },
    /// The rules are in place, and nothing is dropped because enforcement is off.
    Off {
        /// Until when, by whom and why.
        what: String,
        /// Interfaces that do not exist.
        missing: Vec<String>,
    },
    /// Everything is denied but the failsafe list.
    Closed {
        /// What cannot be read.
        why: String,
        /// Interfaces that do not exist.
        missing: Vec<String>,
    },
}

/// What is to be put back.
enum Last {
    Never(String),
    Good { commit: String, rules: Table },
    Damaged(String),
}

/// Puts back what was confirmed last.
///
/// # Errors
/// The kernel does not allow it.
pub async fn boot(config: &Config, wait: Duration) -> anyhow::Result<Booted> {
    if config.host.interfaces.is_empty() {
        return Ok(Booted::NeverEnforced { why: "host.interfaces is empty".to_owned() });
    }
    let database = open(config.database.as_path()).await;
    let store = database.as_ref().ok().and_then(Option::as_ref);
    let failsafe = reach::remembered(config, store).await?;
    let last = match &database {
        Ok(None) => Last::Never(format!("there is no database at {}", config.database.as_path().display())),
        Ok(Some(store)) => last(config, store).await,
        Err(error) => Last::Damaged(chain(error)),
    };
    let last = match last {
        Last::Never(why) => return Ok(Booted::NeverEnforced { why }),
        known @ (Last::Damaged(_) | Last::Good { .. }) => known,
    };
    let (present, missing) = await_interfaces(&config.host.interfaces, wait).await;
    let wanted = wiring::wanted(config.host.backend);
    let firewall = match wiring::firewall(config, wanted, present, failsafe.clone())? {
        // It knows interfaces by name: those to come are guarded from their first packet on.
        Firewall::Nftables(_) if !missing.is_empty() => {
            wiring::firewall(config, Wanted::Nftables, config.host.interfaces.clone(), failsafe)?
        }
        firewall @ (Firewall::Ebpf(_) | Firewall::Nftables(_)) => firewall,
    };
    firewall.prepare().await?;
    let view = firewall.view();
    let booted = match firewall {
        Firewall::Ebpf(mut firewall) => put_back(firewall.as_mut(), last, config.host.mode, missing).await?,
        Firewall::Nftables(mut firewall) => put_back(firewall.as_mut(), last, config.host.mode, Vec::new()).await?,
    };
    still_off(booted, store, view).await
}

/// What was switched off for a time is off for what is left of it, also after a start of the host. Without the record nobody knows.
async fn still_off(booted: Booted, store: Option<&Store>, view: View) -> anyhow::Result<Booted> {
    let (Booted::Restored { missing, .. } | Booted::Already { missing }) = &booted else { return Ok(booted) };
    let Some(store) = store else { return Ok(booted) };
    let Ok(Some(switch)) = store.switch_row(DISABLED).await else { return Ok(booted) };
    let left = super::disabled::left(&switch, jiff::Timestamp::now());
    if left.is_zero() || !tokio::task::spawn_blocking(move || view.disable(left)).await?? {
        return Ok(booted);
    }
    Ok(Booted::Off { what: format!("{} by {}: {}", until(&switch), switch.who, switch.why), missing: missing.clone() })
}

async fn put_back<B>(firewall: &mut B, last: Last, mode: HostMode, missing: Vec<String>) -> anyhow::Result<Booted>
where
    B: Backend<Key = Key, Rule = Rule>,
{
    let (booted, rules) = match last {
        Last::Good { commit, rules } => (Booted::Restored { commit, rules: rules.len(), missing: missing.clone() }, rules),
        Last::Damaged(why) => (Booted::Closed { why, missing: missing.clone() }, closed(mode)),
        Last::Never(why) => return Ok(Booted::NeverEnforced { why }),
    };
    // What the kernel holds was read back when it was put there; a boot does not replace it.
    let blank = firewall.observe().await?.rules.is_none();
    firewall.mend(&rules, Digest::of_table(&rules), blank).await?;
    Ok(if blank { booted } else { Booted::Already { missing } })
}

/// Nothing is allowed in either direction; the failsafe list stands outside of every table.
fn closed(mode: HostMode) -> Table {
    let mode = match mode {
        HostMode::Enforce => Mode::Enforce,
        HostMode::Audit => Mode::Audit,
    };
    Direction::BOTH.into_iter().map(|direction| (Key::Isolation { direction }, Rule::Isolation(mode))).collect()
}

/// The database, if there is one.
async fn open(file: &Path) -> Result<Option<Store>, store::Error> {
    match Store::open_read_only(file).await {
        Ok(store) => Ok(Some(store)),
        Err(store::Error::NoDatabase(_) | store::Error::FolderMissing(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn last(config: &Config, store: &Store) -> Last {
    let rows = match store.enforced_all().await {
        Ok(rows) => rows,
        Err(error) => return Last::Damaged(chain(&error)),
    };
    let Some(row) = of_this_host(config, rows) else {
        return Last::Never("nothing was ever in force on this host".to_owned());
    };
    let kept = match store.meta_get(&kept_name(&row.target)).await {
        Ok(kept) => kept,
        Err(error) => return Last::Damaged(chain(&error)),
    };
    let Some(kept) = kept.and_then(|text| serde_json::from_str::<Kept>(&text).ok()) else {
        return Last::Damaged(format!("the rules of commit {} are not in the database any more", row.commit));
    };
    match wiring::recall(&kept.rules).filter(|rules| Digest::of_table(rules).to_string() == row.desired_hash) {
        Some(rules) => Last::Good { commit: row.commit, rules },
        None => Last::Damaged(format!("the rules of commit {} in the database do not hash to what is on record", row.commit)),
    }
}

/// What was in force under the configured interfaces, else under others: the rules of a host do not depend on them.
fn of_this_host(config: &Config, rows: Vec<EnforcedRow>) -> Option<EnforcedRow> {
    let name = wiring::target_name(config);
    let mut rows: Vec<EnforcedRow> = rows.into_iter().filter(|row| row.target.starts_with("host/")).collect();
    rows.sort_by_key(|row| (row.target == name, row.verified_at));
    rows.pop()
}

/// Which of the interfaces are there, and which are not although they were waited for.
async fn await_interfaces(wanted: &[String], wait: Duration) -> (Vec<String>, Vec<String>) {
    let until = Instant::now() + wait;
    loop {
        let (present, missing): (Vec<String>, Vec<String>) = wanted.iter().cloned().partition(|name| exists(name));
        if missing.is_empty() || Instant::now() >= until {
            return (present, missing);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn exists(name: &str) -> bool {
    use rustix::net::{AddressFamily, SocketType, netdevice::name_to_index, socket};
    socket(AddressFamily::INET, SocketType::DGRAM, None).and_then(|any| name_to_index(any, name)).is_ok()
}
