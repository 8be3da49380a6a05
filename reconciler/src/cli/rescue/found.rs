//! The firewalls that a rescue finds: one of two kinds, or both, where a host was changing from one to the other.

use std::path::PathBuf;

use anyhow::bail;
use enforcer::Enforcer;

use crate::backend::nftables::firewall::{Error, Firewall};
use crate::backend::nftables::run::NftError;

/// One of them.
pub(super) enum Found {
    /// What eBPF has pinned there.
    Pins(PathBuf, Box<Enforcer>),
    /// Our nftables table.
    Table(Firewall),
}

impl Found {
    /// Both kinds, in the order they are looked at. Pins that somebody named are the only ones meant.
    pub(super) fn all(pins: PathBuf, named: bool) -> anyhow::Result<Vec<Self>> {
        let pinned = Enforcer::open_existing(&pins)?.map(|enforcer| Self::Pins(pins, Box::new(enforcer)));
        let table = if named { None } else { table(Firewall::in_use(), pinned.is_some())? };
        Ok(pinned.into_iter().chain(table.map(Self::Table)).collect())
    }

    /// Keeps what is on trial. Every answer is for people.
    pub(super) fn confirm(&mut self) -> anyhow::Result<String> {
        let kept = match self {
            Self::Pins(_, enforcer) => enforcer.confirm()?.map(u64::from),
            Self::Table(firewall) => match firewall.standing()?.trial {
                Some(trial) => {
                    firewall.confirm()?;
                    Some(trial.epoch)
                }
                None => None,
            },
        };
        Ok(kept.map_or_else(|| "nothing is on trial".to_owned(), |epoch| format!("generation {epoch} stays in force")))
    }

    /// Puts the rules before back in force.
    pub(super) fn roll_back(&mut self) -> anyhow::Result<String> {
        let (epoch, audited) = match self {
            Self::Pins(_, enforcer) => {
                let Some(epoch) = enforcer.roll_back()? else {
                    bail!("there is no way back: no other generation was in force here");
                };
                (u64::from(epoch), enforcer.audits())
            }
            Self::Table(firewall) => {
                let Some(epoch) = firewall.roll_back(&[])? else {
                    bail!("there is no way back: nftables keeps the rules before only while others are on trial");
                };
                (epoch, firewall.standing()?.audited)
            }
        };
        let audited = if audited { ", and nothing is dropped" } else { "" };
        Ok(format!("generation {epoch} is in force{audited}"))
    }

    /// Drops nothing any more. A trial ends first: its deadline would take audit back.
    pub(super) fn audit(&mut self) -> anyhow::Result<String> {
        match self {
            Self::Pins(_, enforcer) => {
                if enforcer.trial()?.is_some() {
                    enforcer.roll_back()?;
                }
                enforcer.set_audit(true)?;
            }
            Self::Table(firewall) => firewall.set_audit(true)?,
        }
        Ok("nothing is dropped; what would be is counted".to_owned())
    }

    /// Ends audit.
    pub(super) fn enforce(&mut self) -> anyhow::Result<String> {
        match self {
            Self::Pins(_, enforcer) => {
                enforcer.set_learning(false)?;
                enforcer.set_audit(false)?;
            }
            Self::Table(firewall) => firewall.set_audit(false)?,
        }
        Ok("what no rule allows is dropped again".to_owned())
    }

    /// Takes all of it away.
    pub(super) fn detach(self) -> anyhow::Result<String> {
        match self {
            Self::Pins(_, enforcer) => enforcer.remove_all()?,
            Self::Table(firewall) => firewall.remove()?,
        }
        Ok("every hook and every rule is removed: this host is not filtered".to_owned())
    }
}

/// The table, if one can be seen. Where there is no nft, nobody has made one with it; where nft fails nobody knows, and only what is
/// pinned can be taken in hand.
fn table(found: Result<Option<Firewall>, Error>, pinned: bool) -> anyhow::Result<Option<Firewall>> {
    match found {
        Ok(table) => Ok(table),
        Err(Error::Nft(NftError::Missing)) => Ok(None),
        Err(_) if pinned => Ok(None),
        Err(error) => Err(anyhow::Error::from(error).context("nobody can tell whether nftables filters this host")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_cannot_be_listed_is_not_taken_for_none() {
        let refused = || Err(Error::Nft(NftError::Refused { said: "Operation not permitted".to_owned() }));
        let said = format!("{:#}", table(refused(), false).unwrap_err());
        assert!(said.contains("whether nftables filters this host") && said.contains("run as root"), "{said}");
        assert!(table(refused(), true).unwrap().is_none(), "it keeps nobody from what is pinned");
        assert!(table(Err(Error::Nft(NftError::Missing)), false).unwrap().is_none());
    }
}
