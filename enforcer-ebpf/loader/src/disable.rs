//! Enforcement switched off for a time: what is in force stays in place, nothing is dropped, and the programs themselves drop again when
//! the time is over, whether any process lives or not.
//!
//! The control word says it with what it has: an armed word whose way back is its own active slot, audited until the deadline and not
//! audited after it. No trial looks like that, because a trial does not begin audited.

use std::time::Duration;

use enforcer_abi::Control;

use crate::{
    enforcer::Enforcer,
    error::Error,
    generation::Generations,
    trial::{now, ticks},
};

/// Whether a word says that enforcement is off until its deadline, be that passed or not.
pub(crate) fn is_off(word: Control) -> bool {
    word.armed() && word.active() == word.fallback() && word.audit() && !word.fallback_audit()
}

impl Generations {
    /// What is left of the time in which nothing is dropped; zero once it is over, none where enforcement is not off.
    fn off(&self) -> Option<Duration> {
        let word = self.control.load();
        is_off(word).then(|| crate::trial::left(word))
    }
}

impl Enforcer {
    /// Drops nothing for `within`, then drops again without anybody's help. Called again, the time begins anew. What is on trial is
    /// taken back first. Answers false where no generation ever dropped anything, so that there is nothing to switch off.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn disable(&mut self, within: Duration) -> Result<bool, Error> {
        let _lock = self.layout.lock()?;
        let word = self.generations.control.load();
        let first = word.armed() && !is_off(word) && word.active() == word.fallback();
        if self.generations.trial()?.is_some() {
            self.generations.roll_back()?;
        }
        let slot = self.generations.control.load().active();
        if first || self.generations.record(slot)?.epoch == 0 {
            return Ok(false);
        }
        let off = Control::new(slot, slot).with_audit(true).with_deadline(now().wrapping_add(ticks(within)));
        self.generations.turn(off)?;
        Ok(true)
    }

    /// Drops again now what no rule allows, where that is off for a time. Audit that somebody turned on stays: whoever did so was told
    /// that nothing drops until he ends it.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn enable(&mut self) -> Result<(), Error> {
        let _lock = self.layout.lock()?;
        let word = self.generations.control.load();
        if is_off(word) {
            self.generations.turn(Control::new(word.active(), word.fallback()))?;
        }
        Ok(())
    }

    /// What is left of the time for which enforcement is off; zero once it is over and nobody has said so, none where it is not off.
    #[must_use]
    pub fn disabled(&self) -> Option<Duration> {
        self.generations.off()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_off_drops_again_from_its_deadline_on_and_is_no_trial() {
        let off = Control::new(2, 2).with_audit(true).with_deadline(1_000);
        assert!(is_off(off));
        assert_eq!((off.in_force(999), off.in_force(1_000)), ((2, true), (2, false)));
        let first = Control::new(2, 2).with_fallback_audit(true).with_deadline(1_000);
        let later = Control::new(2, 1).with_deadline(1_000);
        let audited = Control::new(2, 2).with_audit(true).with_fallback_audit(true);
        assert!(![first, later, audited].into_iter().any(is_off));
    }
}
