//! A generation on trial: in force until a deadline that the programs themselves keep, so that the way back needs no process.
//!
//! The way back is the generation that was confirmed last. A host that was never enforced has none: there the way back is to audit the
//! generation on trial, which drops nothing.

use std::time::Duration;

use enforcer_abi::{Control, TICK_SHIFT};

use crate::{
    api::Trial,
    disable::is_off,
    error::Error,
    generation::{Generations, SealState},
    sys,
};

/// The tick of now, on the clock the programs read.
pub(crate) fn now() -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "ticks wrap; only their differences count")]
    {
        (sys::coarse_clock() >> TICK_SHIFT) as u32
    }
}

/// What is left until a word's deadline; zero once it has passed.
pub(crate) fn left(word: Control) -> Duration {
    let left = word.deadline().wrapping_sub(now()).cast_signed().max(0).cast_unsigned();
    Duration::from_nanos(u64::from(left) << TICK_SHIFT)
}

/// Ticks in `duration`, rounded up so that a trial is never shorter than asked for; at most half of what can be told apart.
pub(crate) fn ticks(duration: Duration) -> u32 {
    let ticks = duration.as_nanos().div_ceil(1 << TICK_SHIFT);
    u32::try_from(ticks).unwrap_or(u32::MAX).clamp(1, i32::MAX.cast_unsigned())
}

impl Generations {
    /// The slot that judges now, and whether it only audits.
    pub(crate) fn judging(&self) -> (u32, bool) {
        self.control.load().in_force(now())
    }

    /// The word that puts `slot` in force, on trial for `within` if that is given. The way back is what was confirmed last. Where
    /// nothing is dropped now, as after the deadline of a first trial, nothing is dropped then.
    pub(crate) fn word_for(&self, slot: u32, within: Option<Duration>) -> Result<Control, Error> {
        let word = self.control.load();
        if is_off(word) && within.is_none() {
            // Whoever switched enforcement off until a certain time meant it for whatever is in force then.
            return Ok(Control::new(slot, slot).with_audit(true).with_deadline(word.deadline()));
        }
        let (back, back_audit) =
            if word.armed() { (word.fallback(), word.fallback_audit()) } else { (word.active(), word.audit()) };
        let first = self.record(back)?.epoch == 0;
        let next = match (within, first) {
            (Some(_), true) => Control::new(slot, slot).with_fallback_audit(true),
            _ => Control::new(slot, back).with_fallback_audit(back_audit),
        };
        let (_, audits) = word.in_force(now());
        let next = next.with_audit(audits).with_learning(word.learning());
        Ok(within.map_or(next, |within| next.with_deadline(now().wrapping_add(ticks(within)))))
    }

    /// Ends audit and learning with one store, on trial for `within` if that is given: the way back is to audit again.
    pub(crate) fn end_rehearsal(&self, within: Option<Duration>) -> Result<u32, Error> {
        let slot = self.control.load().active();
        let epoch = self.record(slot)?.epoch;
        let next = Control::new(slot, slot).with_fallback_audit(true);
        self.turn(within.map_or(next, |within| next.with_deadline(now().wrapping_add(ticks(within)))))?;
        Ok(epoch)
    }

    /// What is on trial.
    pub(crate) fn trial(&self) -> Result<Option<Trial>, Error> {
        let word = self.control.load();
        if !word.armed() || is_off(word) {
            return Ok(None);
        }
        let (epoch, fallback) = (self.record(word.active())?.epoch, self.record(word.fallback())?.epoch);
        Ok(Some(Trial { epoch, fallback, left: left(word) }))
    }

    /// Ends the trial: what is on it stays. None if nothing is.
    pub(crate) fn confirm(&self) -> Result<Option<u32>, Error> {
        let Some(trial) = self.trial()? else { return Ok(None) };
        if trial.is_over() {
            return Err(Error::TrialOver { epoch: trial.epoch, fallback: trial.fallback });
        }
        let word = self.control.load();
        let next = Control::new(word.active(), word.fallback()).with_audit(word.audit()).with_fallback_audit(word.fallback_audit());
        self.turn(next.with_learning(word.learning()))?;
        Ok(Some(trial.epoch))
    }

    /// Puts the way back in force; answers its epoch, none if there is none.
    pub(crate) fn roll_back(&self) -> Result<Option<u32>, Error> {
        let word = self.control.load();
        let (back, audit) = (word.fallback(), word.fallback_audit());
        let epoch = self.record(back)?.epoch;
        let [sealed, _, _, state] = self.seal(back)?;
        let nowhere = back == word.active() && audit == word.audit() && !word.armed();
        // What never was in force is no way back, and neither is what somebody began to change.
        if epoch == 0 || u64::from(epoch) != sealed || state != SealState::InForce as u64 || nowhere {
            return Ok(None);
        }
        if back != word.active() {
            let [epoch, content, sealed, _] = self.seal(word.active())?;
            self.write_seal(word.active(), &[epoch, content, sealed, SealState::Built as u64])?;
        }
        self.turn(Control::new(back, back).with_audit(audit).with_fallback_audit(audit))?;
        Ok(Some(epoch))
    }

    /// Makes up for a process that died between turning to a generation and saying so: what is in force is a way back too.
    pub(crate) fn own_up(&self) -> Result<(), Error> {
        let word = self.control.load();
        let [epoch, content, sealed, state] = self.seal(word.active())?;
        if epoch == 0 || sealed != word.0 || state != SealState::Built as u64 {
            return Ok(());
        }
        self.write_seal(word.active(), &[epoch, content, sealed, SealState::InForce as u64])
    }

    /// Stores `next`, sealed beside the slot it puts in force.
    pub(crate) fn turn(&self, next: Control) -> Result<(), Error> {
        let [epoch, content, _, in_force] = self.seal(next.active())?;
        self.write_seal(next.active(), &[epoch, content, next.0, in_force])?;
        self.control.store(next);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::ticks;

    #[test]
    fn a_trial_is_never_shorter_than_asked_for() {
        assert_eq!(ticks(Duration::ZERO), 1);
        assert_eq!(ticks(Duration::from_nanos(1 << 27)), 1);
        assert_eq!(ticks(Duration::from_secs(60)), 448);
        assert_eq!(ticks(Duration::MAX), i32::MAX.cast_unsigned());
    }
}
