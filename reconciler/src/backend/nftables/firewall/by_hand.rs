//! The firewall in the hands of somebody with a shell: what there is, and audit on and off. No configuration is needed; which
//! interfaces are meant, the table itself says.

use std::sync::Arc;
use std::time::Duration;

use super::{Error, Firewall};
use crate::backend::nftables::observe::{failsafe_damage, observe, table_of};
use crate::backend::nftables::present::Present;
use crate::backend::nftables::run::Nft;
use crate::backend::nftables::script;
use crate::backend::nftables::state::State;
use crate::converge::Difference;

/// What there is.
#[derive(Debug)]
pub struct Standing {
    /// The generation whose rules are in place; none where no rules are.
    pub epoch: Option<u64>,
    /// Nothing is dropped, whatever they say.
    pub audited: bool,
    /// Whose packets are judged.
    pub interfaces: Vec<String>,
    /// What is on trial.
    pub trial: Option<OnTrial>,
    /// What is wrong beside the rules.
    pub damage: Vec<Difference>,
    /// What always passes, in words.
    pub failsafe: Vec<String>,
}

/// A generation on trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnTrial {
    /// Which one.
    pub epoch: u64,
    /// The one that judges afterwards; none if nothing is dropped then.
    pub fallback: Option<u64>,
    /// What is left; zero once its time is over.
    pub left: Duration,
}

impl Firewall {
    /// Our table as it is, whatever is configured.
    ///
    /// # Errors
    /// `nft` is not installed or cannot list it.
    pub fn in_use() -> Result<Option<Self>, Error> {
        let nft = Nft::find()?;
        let present = Present::read(&nft, false)?;
        let interfaces = present.interfaces().into_iter().map(ToOwned::to_owned).collect();
        Ok(present.exists.then(|| Self { nft, interfaces, dhcp: true, turn: Arc::default() }))
    }

    /// What there is, for people.
    ///
    /// # Errors
    /// `nft` cannot list it.
    pub fn standing(&self) -> Result<Standing, Error> {
        let present = Present::read(&self.nft, true)?;
        let seen = observe(&present, &self.interfaces);
        let trial = match seen.state {
            State::Trial { new, old, left } => Some(OnTrial { epoch: new, fallback: old, left }),
            State::Absent | State::Broken | State::Settled(_) | State::Rehearsed(_) | State::Off { .. } => None,
        };
        // Compared with nothing, every entry is one too many.
        let failsafe = failsafe_damage(&present, &[]).into_iter().map(|entry| entry.key.replacen("failsafe ", "", 1)).collect();
        Ok(Standing {
            epoch: seen.table.is_some().then_some(seen.epoch),
            audited: seen.audited,
            interfaces: self.interfaces.clone(),
            trial,
            damage: seen.damage,
            failsafe,
        })
    }

    /// Drops nothing any more, or drops again what no rule allows. A trial ends first: what was in force before it is audited.
    ///
    /// # Errors
    /// `nft` refuses.
    pub fn set_audit(&self, audit: bool) -> Result<(), Error> {
        let _alone = self.alone();
        let present = Present::read(&self.nft, true)?;
        let state = State::of(&present);
        if audit {
            let kept = match state {
                State::Settled(epoch) | State::Off { epoch, .. } => epoch,
                State::Trial { new, old, .. } => old.unwrap_or(new),
                State::Broken => present.safe(),
                State::Absent | State::Rehearsed(_) => return Ok(()),
            };
            return Ok(self.nft.load(&script::settle(None, kept, &present))?);
        }
        let (State::Rehearsed(epoch) | State::Trial { new: epoch, old: None, left: Duration::ZERO } | State::Off { epoch, .. }) =
            state
        else {
            return Ok(());
        };
        self.drop_again(epoch, &present)
    }

    /// Drops nothing for `within`, then drops again without anybody's help. Called again, the time begins anew. What is on trial is
    /// taken back first. Answers false where no rules were in force, so that there is nothing to switch off.
    ///
    /// # Errors
    /// `nft` refuses.
    pub fn disable(&self, within: Duration) -> Result<bool, Error> {
        let _alone = self.alone();
        let present = Present::read(&self.nft, false)?;
        let epoch = match State::of(&present) {
            State::Settled(epoch) | State::Rehearsed(epoch) | State::Off { epoch, .. } => epoch,
            State::Trial { old: Some(old), .. } => old,
            State::Broken if present.safe() > 0 => present.safe(),
            State::Trial { old: None, .. } | State::Broken | State::Absent => return Ok(false),
        };
        self.nft.load(&script::off(epoch, within, &present))?;
        Ok(true)
    }

    /// Drops again now what no rule allows, where that is off for a time, and ends connections that are denied. Audit that somebody
    /// turned on stays: whoever did so was told that nothing drops until he ends it.
    ///
    /// # Errors
    /// `nft` refuses.
    pub fn enable(&self) -> Result<(), Error> {
        let _alone = self.alone();
        let present = Present::read(&self.nft, true)?;
        let State::Off { epoch, .. } = State::of(&present) else { return Ok(()) };
        self.drop_again(epoch, &present)
    }

    fn drop_again(&self, epoch: u64, present: &Present) -> Result<(), Error> {
        self.nft.load(&script::settle(Some(epoch), epoch, present))?;
        // Entries of what is on the failsafe list are ended too: it is matched without state, so nobody notices.
        self.cut(&table_of(present, epoch), &[]).map(drop)
    }

    /// What is left of the time for which enforcement is off; zero once it is over and nobody has said so, none where it is not off.
    ///
    /// # Errors
    /// `nft` cannot list it.
    pub fn disabled(&self) -> Result<Option<Duration>, Error> {
        Ok(match State::of(&Present::read(&self.nft, false)?) {
            State::Off { left, .. } => Some(left),
            State::Absent | State::Broken | State::Settled(_) | State::Trial { .. } | State::Rehearsed(_) => None,
        })
    }
}
