//! The firewall itself: every operation as it happens on this thread, in its network namespace.

mod by_hand;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use enforcer::FailsafeEntry;
use policy::digest::Digest;
use policy::lower::bpf::Table;

use super::conntrack::{self, Judge, interface_index};
use super::observe::{Seen, failsafe_damage, observe, seal};
use super::present::Present;
use super::run::{Nft, NftError};
use super::script::{self, Judges, Order, WayBack, is_plain_name};
use super::state::State;
use crate::converge::Difference;

pub use self::by_hand::{OnTrial, Standing};

/// What cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `nft` is missing, or says no.
    #[error(transparent)]
    Nft(#[from] NftError),
    /// Not an interface that can be filtered.
    #[error("interface {name} {why}")]
    Interface {
        /// Its name.
        name: String,
        /// What is wrong.
        why: &'static str,
    },
    /// An entry that a script cannot say.
    #[error("failsafe entry {id} has protocol {proto}; nftables knows it for TCP, UDP and SCTP")]
    Failsafe {
        /// Its number.
        id: u32,
        /// Its protocol.
        proto: u8,
    },
    /// Somebody switched it off meanwhile.
    #[error("enforcement is off; other rules wait until it is on again")]
    Off,
    /// The way back is in force.
    #[error("generation {epoch} was not confirmed in time; the rules before it are in force again")]
    TrialOver {
        /// Which one was on trial.
        epoch: u64,
    },
    /// What was loaded does not read back.
    #[error("generation {epoch} was loaded, but reads back otherwise: {what}; apply again")]
    ReadBack {
        /// Which one.
        epoch: u64,
        /// The first difference.
        what: String,
    },
    /// The kernel does not show or delete its entries.
    #[error("connections that are denied now could not be ended (needs CONFIG_NF_CT_NETLINK); their replies still pass")]
    Conntrack(#[source] std::io::Error),
}

/// Our table in the kernel.
#[derive(Debug, Clone)]
pub struct Firewall {
    nft: Nft,
    interfaces: Vec<String>,
    /// Whether the DHCP client passes.
    dhcp: bool,
    /// What is read, thought over and loaded is not changed by another thread in between.
    turn: Arc<Mutex<()>>,
}

impl Firewall {
    /// For these interfaces. Nothing is changed yet.
    ///
    /// # Errors
    /// `nft` is not installed; a name that is no interface's.
    pub fn find(interfaces: &[String], dhcp: bool) -> Result<Self, Error> {
        Self::with(Nft::find()?, interfaces, dhcp)
    }

    /// With a certain `nft`.
    ///
    /// # Errors
    /// A name that is no interface's.
    pub fn with(nft: Nft, interfaces: &[String], dhcp: bool) -> Result<Self, Error> {
        for name in interfaces {
            if !is_plain_name(name) {
                return Err(Error::Interface {
                    name: name.escape_debug().to_string(),
                    why: "has a name that nftables cannot hold",
                });
            }
            if name == "lo" {
                return Err(Error::Interface {
                    name: name.clone(),
                    why: "is the loopback; a host talking to itself is not filtered",
                });
            }
        }
        Ok(Self { nft, interfaces: interfaces.to_vec(), dhcp, turn: Arc::default() })
    }

    /// Whether we have a table there.
    ///
    /// # Errors
    /// `nft` cannot list it.
    pub fn exists(&self) -> Result<bool, Error> {
        Ok(Present::read(&self.nft, false)?.exists)
    }

    /// Whether the kernel would take our script: everything a policy may need, checked and thrown away.
    ///
    /// # Errors
    /// What is missing.
    pub fn probe(&self) -> Result<(), Error> {
        let table = script::sample();
        // Beside what is there, as the next generation will be: one that is in force has elements of its own.
        let present = Present::read(&self.nft, false)?;
        let order = self.order(&table, Digest([0; 32]), present.newest() + 1, &[], None);
        match self.nft.check(&script::install(&order, &present)) {
            Err(_) if present.exists => Ok(self.nft.check(&script::install(&order, &Present::to_be_replaced()))?),
            checked => Ok(checked?),
        }
    }

    /// The table to this thread alone, among all that this firewall was cloned for.
    fn alone(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn order<'a>(
        &'a self,
        table: &'a Table,
        digest: Digest,
        epoch: u64,
        failsafe: &'a [FailsafeEntry],
        way_back: Option<WayBack>,
    ) -> Order<'a> {
        Order { table, digest, epoch, interfaces: &self.interfaces, failsafe, dhcp: self.dhcp, judges: Judges::At(way_back) }
    }

    /// What is there.
    ///
    /// # Errors
    /// `nft` cannot list it.
    pub fn observe(&self, failsafe: &[FailsafeEntry]) -> Result<Observation, Error> {
        let present = Present::read(&self.nft, true)?;
        let mut seen = observe(&present, &self.interfaces);
        if seen.table.is_some() {
            seen.damage.extend(failsafe_damage(&present, failsafe));
        }
        Ok(seen.into())
    }

    /// Puts a table in force, on trial if a time is given, and ends the connections it denies.
    ///
    /// # Errors
    /// `nft` refuses: nothing has changed.
    pub fn apply(&self, table: &Table, digest: Digest, failsafe: &[FailsafeEntry], within: Option<Duration>) -> Result<u64, Error> {
        let _alone = self.alone();
        let present = Present::read(&self.nft, false)?;
        let state = State::of(&present);
        if matches!(state, State::Off { left, .. } if !left.is_zero()) {
            return Err(Error::Off);
        }
        let way_back = within.map(|within| WayBack { within, to: state.way_back(present.safe()) });
        let epoch = self.put(table, digest, failsafe, Judges::At(way_back), &present)?;
        self.cut(table, failsafe)?;
        Ok(epoch)
    }

    /// Puts everything in place and drops nothing; what is open then becomes known. Says what would be cut.
    ///
    /// # Errors
    /// As for [`Firewall::apply`].
    pub fn rehearse(&self, table: &Table, digest: Digest, failsafe: &[FailsafeEntry]) -> Result<Vec<String>, Error> {
        let _alone = self.alone();
        let present = Present::read(&self.nft, false)?;
        let tracked = !matches!(State::of(&present), State::Absent) || conntrack_is_busy();
        self.put(table, digest, failsafe, Judges::Nobody, &present)?;
        let judge = Judge::new(table, failsafe, &self.interfaces).map_err(Error::Conntrack)?;
        let mut cut: Vec<String> = conntrack::would_cut(&judge).map_err(Error::Conntrack)?.into_iter().collect();
        if !tracked {
            cut.push(
                "connections from before this rehearsal that are silent are not known: connection tracking was not in use".into(),
            );
        }
        Ok(cut)
    }

    fn put(
        &self,
        table: &Table,
        digest: Digest,
        failsafe: &[FailsafeEntry],
        judges: Judges,
        present: &Present,
    ) -> Result<u64, Error> {
        check_failsafe(failsafe)?;
        let epoch = present.newest() + 1;
        let order = Order { judges, ..self.order(table, digest, epoch, failsafe, None) };
        if let Err(error) = self.nft.load(&script::install(&order, present)) {
            // Something of another kind may stand where something of ours must be. Only a way back is worth keeping the table for.
            if !present.exists || judges.keeps().is_some() {
                return Err(error.into());
            }
            self.nft.load(&script::install(&order, &Present::to_be_replaced())).map_err(|_| error)?;
        }
        let after = Present::read(&self.nft, true)?;
        let read = super::observe::table_of(&after, epoch);
        if read != *table {
            return Err(Error::ReadBack { epoch, what: first_difference(table, &read) });
        }
        self.nft.load(&script::seal(epoch, &seal(&after, epoch)))?;
        Ok(epoch)
    }

    fn cut(&self, table: &Table, failsafe: &[FailsafeEntry]) -> Result<usize, Error> {
        let judge = Judge::new(table, failsafe, &self.interfaces).map_err(Error::Conntrack)?;
        conntrack::cut(&judge).map_err(Error::Conntrack)
    }

    /// What is on trial: the time left, zero once it is over.
    ///
    /// # Errors
    /// `nft` cannot list it.
    pub fn trial(&self) -> Result<Option<Duration>, Error> {
        Ok(match State::of(&Present::read(&self.nft, false)?) {
            State::Trial { left, .. } => Some(left),
            State::Absent | State::Broken | State::Settled(_) | State::Rehearsed(_) | State::Off { .. } => None,
        })
    }

    /// Ends the trial: what is on it stays.
    ///
    /// # Errors
    /// Its time is over.
    pub fn confirm(&self) -> Result<(), Error> {
        let _alone = self.alone();
        let present = Present::read(&self.nft, false)?;
        match State::of(&present) {
            State::Trial { new, left, .. } if left.is_zero() => Err(Error::TrialOver { epoch: new }),
            State::Trial { new, .. } => Ok(self.nft.load(&script::settle(Some(new), new, &present))?),
            State::Absent | State::Broken | State::Settled(_) | State::Rehearsed(_) | State::Off { .. } => Ok(()),
        }
    }

    /// Puts the way back in force. The generation of it; none if there is no way back.
    ///
    /// # Errors
    /// `nft` refuses.
    pub fn roll_back(&self, failsafe: &[FailsafeEntry]) -> Result<Option<u64>, Error> {
        let _alone = self.alone();
        let present = Present::read(&self.nft, true)?;
        let State::Trial { new, old, .. } = State::of(&present) else { return Ok(None) };
        self.nft.load(&script::settle(old, old.unwrap_or(new), &present))?;
        if let Some(old) = old {
            self.cut(&super::observe::table_of(&present, old), failsafe)?;
        }
        Ok(Some(old.unwrap_or(new)))
    }

    /// Puts hooks, chains, interfaces and the failsafe back as they must be, with the rules that are there, or with `desired` where
    /// none are.
    ///
    /// # Errors
    /// `nft` refuses.
    pub fn mend(&self, desired: &Table, digest: Digest, failsafe: &[FailsafeEntry], blank: bool) -> Result<Option<u64>, Error> {
        let _alone = self.alone();
        let present = Present::read(&self.nft, true)?;
        let seen = observe(&present, &self.interfaces);
        if blank {
            return self.put(desired, digest, failsafe, Judges::At(None), &present).map(Some);
        }
        if seen.table.is_none() {
            return Ok(None);
        }
        self.failsafe_in_place(failsafe, &present)?;
        if seen.damage.is_empty() {
            return Ok(None);
        }
        let rules = seen.table.unwrap_or_default();
        self.put(&rules, digest, failsafe, seen.state.judges(seen.audited), &present).map(Some)
    }

    /// Another failsafe list, where we have a table.
    ///
    /// # Errors
    /// `nft` refuses.
    pub fn put_failsafe(&self, failsafe: &[FailsafeEntry]) -> Result<(), Error> {
        let _alone = self.alone();
        self.failsafe_in_place(failsafe, &Present::read(&self.nft, false)?)
    }

    fn failsafe_in_place(&self, failsafe: &[FailsafeEntry], present: &Present) -> Result<(), Error> {
        check_failsafe(failsafe)?;
        if !present.exists || present.dormant || failsafe_damage(present, failsafe).is_empty() {
            return Ok(());
        }
        Ok(self.nft.load(&script::failsafe_list(failsafe))?)
    }

    /// Takes everything of ours away; nothing is filtered by it any more.
    ///
    /// # Errors
    /// `nft` refuses.
    pub fn remove(&self) -> Result<(), Error> {
        let _alone = self.alone();
        remove(&self.nft)
    }

    /// What `nft` is called by, and where packets are judged.
    pub(super) fn parts(&self) -> (&Nft, &[String]) {
        (&self.nft, &self.interfaces)
    }

    /// The counters: `in` or `out`, verdict and reason as in the metrics, packets, bytes.
    ///
    /// # Errors
    /// `nft` cannot list them.
    pub fn counts(&self) -> Result<Vec<Counted>, Error> {
        Ok(super::observe::counts(&Present::read(&self.nft, false)?))
    }

    /// Flows that each rule has let in or out, by the rule's number.
    ///
    /// # Errors
    /// `nft` cannot list them.
    pub fn rule_flows(&self) -> Result<Vec<(u32, u64)>, Error> {
        Ok(super::observe::rule_flows(&Present::read(&self.nft, false)?))
    }

    /// Interfaces that are not there. The table knows them by name, so they are filtered from their first packet on.
    #[must_use]
    pub fn absent(&self) -> Vec<String> {
        self.interfaces.iter().filter(|name| interface_index(name).is_none()).cloned().collect()
    }
}

/// Packets and bytes of one verdict and reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// `in` or `out`.
    pub direction: &'static str,
    /// `pass`, `drop`, `would_drop` or `would_pass`.
    pub verdict: &'static str,
    /// Why.
    pub reason: String,
    /// How many.
    pub packets: u64,
    /// How long, together.
    pub bytes: u64,
}

/// What [`Firewall::observe`] found.
#[derive(Debug, Clone)]
pub struct Observation {
    /// The rules in place; none where there are none.
    pub table: Option<Table>,
    /// Nothing is dropped, whatever they say.
    pub audited: bool,
    /// Which generation it is.
    pub epoch: u64,
    /// The digest it was loaded with, in hexadecimal.
    pub digest: String,
    /// What is wrong beside the rules.
    pub damage: Vec<Difference>,
}

impl From<Seen> for Observation {
    fn from(seen: Seen) -> Self {
        let Seen { table, audited, epoch, digest, state: _, damage } = seen;
        Self { table, audited, epoch, digest, damage }
    }
}

/// Takes our table away, if there is one.
pub(super) fn remove(nft: &Nft) -> Result<(), Error> {
    Ok(nft.load(&script::remove())?)
}

fn check_failsafe(entries: &[FailsafeEntry]) -> Result<(), Error> {
    let odd = entries.iter().find(|entry| !matches!(entry.proto, 6 | 17 | 132));
    odd.map_or(Ok(()), |entry| Err(Error::Failsafe { id: entry.id, proto: entry.proto }))
}

fn first_difference(wanted: &Table, read: &Table) -> String {
    let plan = policy::plan::Plan::new(read, wanted);
    plan.changes.first().map_or_else(String::new, |change| format!("{:?}", change.key()))
}

/// Whether connection tracking knows anything in this namespace.
fn conntrack_is_busy() -> bool {
    let count = std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count");
    count.is_ok_and(|count| count.trim() != "0")
}
