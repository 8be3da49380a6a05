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
    /// The last look that gave an answer.
    pub last: Option<Timestamp>,
    /// Why the looks since then gave none; nothing while all is well.
    pub failing: Option<String>,
    /// When nobody could look, oldest first.
    pub gaps: Vec<Gap>,
}

impl Observation {
    fn looked(&mut self, failing: Option<String>, now: Timestamp) {
        if failing.is_some() {
            self.failing = failing;
            return;
        }
        let reason = self.failing.take();
        if let Some(from) = self.last.filter(|last| reason.is_some() || now.duration_since(*last) > GAP) {
            let reason = reason.unwrap_or_else(|| "nobody looked: the controller was stopped or at work".to_owned());
            self.gaps.push(Gap { from, until: now, reason });
            let spare = self.gaps.len().saturating_sub(GAPS_MAX);
            self.gaps.drain(..spare);
        }
        self.last = Some(now);
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
}
