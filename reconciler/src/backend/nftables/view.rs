//! Looking at the table beside the loop: for metrics, for `status`, and for the use of rules. One call of `nft` for all of it, without
//! the elements of maps, so that it costs about the same however many prefixes a policy has.

use std::collections::BTreeMap;
use std::time::Duration;

use super::firewall::{Counted, Error, Firewall};
use super::observe::{counts, hooks, rule_flows};
use super::present::Present;
use super::state::State;
use crate::backend::ebpf::Numbers;

/// What was seen at one look.
#[derive(Debug, Clone)]
pub struct Reading {
    /// The generation that judges.
    pub epoch: u64,
    /// Nothing is dropped, whatever the rules say.
    pub audited: bool,
    /// What is left of a trial; none without one, and once it is over.
    pub trial_left: Option<Duration>,
    /// What is left of the time for which enforcement is off; none where it is not, and once it is over.
    pub off_left: Option<Duration>,
    /// What keeps packets from being judged, in words.
    pub unhooked: Vec<String>,
    /// Interfaces that do not exist.
    pub absent: Vec<String>,
    /// Packets by what happened to them.
    pub counts: Vec<Counted>,
    /// Flows by the number of the rule that let them in or out.
    pub flows: BTreeMap<u32, u64>,
}

impl Firewall {
    /// Looks at everything but the rules; none where no table of ours is.
    ///
    /// # Errors
    /// `nft` cannot list it.
    pub fn look(&self) -> Result<Option<Reading>, Error> {
        let (nft, interfaces) = self.parts();
        let present = Present::read(nft, false)?;
        let state = State::of(&present);
        let Some((epoch, audited)) = state.judging(present.safe()) else { return Ok(None) };
        let trial_left = match state {
            State::Trial { left, .. } if !left.is_zero() => Some(left),
            State::Trial { .. } | State::Absent | State::Broken | State::Settled(_) | State::Rehearsed(_) | State::Off { .. } => {
                None
            }
        };
        let off_left = match state {
            State::Off { left, .. } if !left.is_zero() => Some(left),
            State::Off { .. } | State::Trial { .. } | State::Absent | State::Broken | State::Settled(_) | State::Rehearsed(_) => {
                None
            }
        };
        let unhooked = hooks(&present, interfaces).into_iter().map(|one| format!("{}: {}", one.key, one.observed)).collect();
        let (counts, flows) = (counts(&present), rule_flows(&present).into_iter().collect());
        Ok(Some(Reading { epoch, audited, trial_left, off_left, unhooked, absent: self.absent(), counts, flows }))
    }
}

/// The firewall of this host as others than the loop see it.
#[derive(Debug, Clone)]
pub struct View {
    pub(super) firewall: Firewall,
    pub(super) target: String,
    pub(super) numbers: Numbers,
}

impl View {
    /// The name of the target.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Where packets are judged.
    #[must_use]
    pub fn interfaces(&self) -> &[String] {
        self.firewall.parts().1
    }

    /// The numbers of the rules in force.
    #[must_use]
    pub fn numbers(&self) -> &Numbers {
        &self.numbers
    }

    /// The firewall itself.
    #[must_use]
    pub fn firewall(&self) -> &Firewall {
        &self.firewall
    }

    /// Looks; this may block.
    ///
    /// # Errors
    /// `nft` cannot list our table.
    pub fn look(&self) -> Result<Option<Reading>, Error> {
        self.firewall.look()
    }
}
