//! What the operators' commands are told.

use std::str::FromStr;

use clap::Args;
use jiff::{SignedDuration, Timestamp};

use super::RecordArgs;
use crate::run::control::Ends;

/// A moment: a span of time from now, or the moment itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment(Timestamp);

impl Moment {
    /// As it was said, or counted from when it was read.
    #[must_use]
    pub const fn get(self) -> Timestamp {
        self.0
    }

    fn read(text: &str, now: Timestamp) -> Result<Self, String> {
        let span = text.parse::<SignedDuration>().ok().filter(|span| *span > SignedDuration::ZERO);
        let moment = match span {
            Some(span) => now.checked_add(span).ok(),
            None => text.parse().ok(),
        };
        let moment = moment.ok_or_else(|| {
            format!("`{text}` is neither a span of time nor a moment; write for example 2h, 30m or 2026-01-31T18:00:00Z")
        })?;
        if moment <= now {
            return Err(format!("{moment} is over already"));
        }
        Ok(Self(moment))
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::read(text, Timestamp::now())
    }
}

/// `suspend`
#[derive(Debug, Args)]
pub struct SuspendArgs {
    /// Where the controller is.
    #[command(flatten)]
    pub records: RecordArgs,
    /// Why; kept in the audit log
    #[arg(long)]
    pub reason: String,
    /// When it ends by itself: a span of time (2h, 30m) or a moment (2026-01-31T18:00:00Z)
    #[arg(long, value_name = "TIME")]
    pub until: Option<Moment>,
}

/// `resume`
#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// Where the controller is.
    #[command(flatten)]
    pub records: RecordArgs,
    /// Ends only this, and leaves the rest as it is
    #[arg(long, value_enum)]
    pub only: Option<Ends>,
    /// Why; kept in the audit log
    #[arg(long)]
    pub reason: Option<String>,
}

/// `rollback`
#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// The commit, by seven or more of its digits; `history` lists those that were in force
    pub commit: String,
    /// Where the controller is.
    #[command(flatten)]
    pub records: RecordArgs,
    /// Why; kept in the audit log
    #[arg(long)]
    pub reason: String,
}

/// `disable`
#[derive(Debug, Args)]
pub struct DisableArgs {
    /// Where the controller is.
    #[command(flatten)]
    pub records: RecordArgs,
    /// Why; kept in the audit log
    #[arg(long)]
    pub reason: String,
    /// When enforcement comes back by itself: a span of time (2h, 30m) or a moment (2026-01-31T18:00:00Z)
    #[arg(long, value_name = "TIME")]
    pub until: Moment,
    /// Does not ask
    #[arg(long)]
    pub yes: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_span_from_now_or_a_moment_and_never_over_already() {
        let now: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        let read = |text| Moment::read(text, now).map(|moment| moment.get().to_string());
        for (text, moment) in [
            ("2h", "2026-01-31T14:00:00Z"),
            ("30m", "2026-01-31T12:30:00Z"),
            ("1h30m", "2026-01-31T13:30:00Z"),
            ("2026-01-31T18:00:00Z", "2026-01-31T18:00:00Z"),
            ("2026-01-31T18:00:00+02:00", "2026-01-31T16:00:00Z"),
        ] {
            assert_eq!(read(text), Ok(moment.to_owned()), "{text}");
        }
        for text in ["2026-01-31T12:00:00Z", "2026-01-30T18:00:00Z", "0s", "-2h", "soon", "", "18:00", "2026-01-31"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
