//! Which targets were looked at, and when nobody could: a report says of a target that was not observed that it was not.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::switches::{Note, write_notes};
use super::tx::Tx;
use super::{Error, Store};
use crate::audit::event::tidy;

/// Under which names what is known of a target's observation is kept.
const NAMES: &str = "observed:";
/// Two looks farther apart than this leave a gap: the loop looks at least every five minutes.
const GAP: SignedDuration = SignedDuration::from_mins(10);
/// Gaps that are kept of a target, the newest ones; a target with more was not observed.
const GAPS_MAX: usize = 200;

/// A time in which a target was not observed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Since when: the last good look before.
    pub from: Timestamp,
    /// Until when: the first good look after.
    pub until: Timestamp,
    /// Why, for people.
    pub reason: String,
}

/// What is known of a target's observation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// When it was first tried to look at it: nothing is known of what was before.
    #[serde(default)]
    pub since: Option<Timestamp>,
    /// The last look that gave an answer.
    pub last: Option<Timestamp>,
    /// Why the looks since then gave none; nothing while all is well.
    pub failing: Option<String>,
    /// When nobody could look, oldest first.
    pub gaps: Vec<Gap>,
}

impl Observation {
    fn looked(&mut self, failing: Option<String>, now: Timestamp) {
        self.clamp(now);
        let since = *self.since.get_or_insert(self.last.unwrap_or(now));
        if failing.is_some() {
            self.failing = failing;
            return;
        }
        let reason = self.failing.take();
        // A target that gave no answer from the beginning was not observed since then.
        let from = self.last.unwrap_or(since);
        if from < now && (reason.is_some() || now.duration_since(from) > GAP) {
            let reason = reason.unwrap_or_else(|| "nobody looked: the controller was stopped or at work".to_owned());
            self.gaps.push(Gap { from, until: now, reason });
            let spare = self.gaps.len().saturating_sub(GAPS_MAX);
            self.gaps.drain(..spare);
        }
        self.last = Some(now);
    }

    /// Where the clock was set back, nothing on record was later than now: else one jump spoils every report until its end.
    fn clamp(&mut self, now: Timestamp) {
        self.since = self.since.map(|since| since.min(now));
        self.last = self.last.map(|last| last.min(now));
        for gap in &mut self.gaps {
            gap.until = gap.until.min(now);
        }
        self.gaps.retain(|gap| gap.from < gap.until);
    }

    /// When it was not observed between two moments, oldest first: also before anybody looked for the first time.
    #[must_use]
    pub fn gaps_between(&self, begins: Timestamp, ends: Timestamp) -> Vec<Gap> {
        let before = self.since.filter(|since| since.duration_since(begins) > GAP).map(|since| Gap {
            from: begins,
            until: since.min(ends),
            reason: "nobody had looked at it yet".to_owned(),
        });
        let in_period = |gap: &&Gap| gap.until >= begins && gap.from <= ends;
        let known = self.gaps.iter().filter(in_period).cloned();
        before.into_iter().chain(known.map(|gap| Gap { until: gap.until.min(ends), ..gap })).collect()
    }
}

impl Store {
    /// Keeps that a target was looked at, or why that gave no answer.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn note_observed(&self, target: String, failing: Option<String>, now: Timestamp) -> Result<(), Error> {
        self.write(move |tx| Box::pin(async move { note(tx, &target, failing, now).await })).await
    }

    /// What is known of every target's observation, by name.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn observations(&self) -> Result<Vec<(String, Observation)>, Error> {
        let query = sqlx::query_as("SELECT name, value FROM meta WHERE substr(name, 1, ?1) = ?2 ORDER BY name")
            .bind(i64::try_from(NAMES.len()).unwrap_or(0))
            .bind(NAMES);
        let rows: Vec<(String, String)> = self.read("cannot read what was observed", query.fetch_all(&self.readers)).await?;
        let known = |(name, text): (String, String)| {
            (name.trim_start_matches(NAMES).to_owned(), serde_json::from_str(&text).unwrap_or_default())
        };
        Ok(rows.into_iter().map(known).collect())
    }
}

async fn note(tx: &mut Tx, target: &str, failing: Option<String>, now: Timestamp) -> Result<(), Error> {
    let name = format!("{NAMES}{target}");
    let known: Option<String> = sqlx::query_scalar("SELECT value FROM meta WHERE name = ?")
        .bind(&name)
        .fetch_optional(tx.connection())
        .await
        .map_err(|e| Error::sqlite("cannot read what was observed", e))?;
    let mut known: Observation = known.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    known.looked(failing.map(|why| tidy(&why, 500)), now);
    write_notes(tx, &[Note { name, value: serde_json::to_string(&known).ok() }], now).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + minutes * 60).unwrap()
    }

    #[test]
    fn a_look_without_an_answer_and_a_time_without_a_look_both_leave_a_gap() {
        let mut known = Observation::default();
        known.looked(None, at(0));
        known.looked(None, at(5));
        assert_eq!((known.last, known.gaps.len()), (Some(at(5)), 0));
        known.looked(Some("no answer".to_owned()), at(6));
        assert_eq!((known.last, known.failing.as_deref()), (Some(at(5)), Some("no answer")));
        known.looked(None, at(8));
        known.looked(None, at(60));
        let gaps: Vec<_> = known.gaps.iter().map(|gap| (gap.from, gap.until)).collect();
        assert_eq!(gaps, [(at(5), at(8)), (at(8), at(60))]);
        assert_eq!((known.last, known.failing), (Some(at(60)), None));
    }

    #[test]
    fn the_time_before_the_first_answer_was_not_observed_also_where_the_first_looks_failed() {
        let mut known = Observation::default();
        known.looked(Some("no answer".to_owned()), at(50));
        known.looked(Some("no answer".to_owned()), at(52));
        known.looked(None, at(55));
        let gaps: Vec<_> = known.gaps_between(at(0), at(60)).iter().map(|gap| (gap.from, gap.until)).collect();
        assert_eq!(gaps, [(at(0), at(50)), (at(50), at(55))]);
        let mut at_once = Observation::default();
        at_once.looked(None, at(5));
        assert_eq!(at_once.gaps_between(at(0), at(60)), [], "a start takes a while");
    }

    #[test]
    fn a_clock_that_was_ahead_for_a_while_spoils_nothing_after_it_was_set_back() {
        let mut known = Observation::default();
        known.looked(None, at(0));
        known.looked(None, at(1_000_000));
        known.looked(Some("no answer".to_owned()), at(1_000_001));
        known.looked(None, at(1_000_002));
        known.looked(None, at(3));
        let gaps: Vec<_> = known.gaps.iter().map(|gap| (gap.from, gap.until)).collect();
        assert_eq!((gaps, known.last), (vec![(at(0), at(3))], Some(at(3))));
        known.looked(None, at(8));
        assert_eq!(known.gaps_between(at(4), at(8)), []);
    }
}
