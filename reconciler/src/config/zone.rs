//! Clocks of a place, and cron by them.

use jiff::tz;
use serde::Deserialize;

/// A time zone by its IANA name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct TimeZone(tz::TimeZone);

impl Default for TimeZone {
    fn default() -> Self {
        Self(tz::TimeZone::UTC)
    }
}

impl TryFrom<String> for TimeZone {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        if name == "UTC" {
            return Ok(Self::default());
        }
        tz::TimeZone::get(&name).map(Self).map_err(|_| {
            format!("`{name}` is no time zone this host knows; write UTC or an IANA name like Europe/Berlin, and install tzdata")
        })
    }
}

/// The next time after `now`. What clocks show twice is due the first time only.
pub(super) fn next(cron: &croner::Cron, now: jiff::Timestamp, zone: &TimeZone) -> Option<jiff::Timestamp> {
    let mut from = now.to_zoned(zone.0.clone());
    // Each round leaves a second showing of a time behind; an hour of seconds is the most there can be.
    for _ in 0..=3_600 {
        let next = cron.find_next_occurrence(&from, false).ok()?;
        if is_first_showing(&next, zone) {
            return Some(next.timestamp());
        }
        from = next;
    }
    None
}

fn is_first_showing(at: &jiff::Zoned, zone: &TimeZone) -> bool {
    let showings = zone.0.to_ambiguous_zoned(at.datetime());
    showings.earlier().map_or(true, |first| first.timestamp() == at.timestamp() || first.datetime() != at.datetime())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CronSchedule;

    fn times(cron: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
        let (cron, zone) = (CronSchedule::try_from(cron.to_owned()).unwrap(), TimeZone::try_from(zone.to_owned()).unwrap());
        let mut at: jiff::Timestamp = from.parse().unwrap();
        let mut next = || {
            at = cron.next_in(at, &zone).unwrap();
            at.to_string()
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn a_weekly_report_comes_by_the_clocks_of_its_zone() {
        let utc = times("0 0 6 * * Mon", "UTC", "2026-03-25T00:00:00Z", 2);
        assert_eq!(utc, ["2026-03-30T06:00:00Z", "2026-04-06T06:00:00Z"]);
        let berlin = times("0 0 6 * * Mon", "Europe/Berlin", "2026-03-20T00:00:00Z", 2);
        assert_eq!(berlin, ["2026-03-23T05:00:00Z", "2026-03-30T04:00:00Z"], "winter, then summer");
    }

    #[test]
    fn a_time_that_clocks_skip_comes_once_right_after_the_gap() {
        let due = times("0 30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", 3);
        assert_eq!(due, ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
    }

    #[test]
    fn a_time_that_clocks_show_twice_comes_once() {
        let due = times("0 30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2);
        assert_eq!(due, ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
        let each_hour = times("0 30 * * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", 2);
        assert_eq!(each_hour, ["2026-10-25T00:30:00Z", "2026-10-25T02:30:00Z"], "02:30 is one time");
    }

    #[test]
    fn an_unknown_zone_is_named() {
        assert!(TimeZone::try_from("Europe/Atlantis".to_owned()).unwrap_err().contains("Europe/Atlantis"));
    }
}
