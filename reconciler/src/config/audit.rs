//! `audit:` — the log, its segments.

use std::path::PathBuf;

use serde::Deserialize;

/// PCI DSS v4.0.1 10.5.1 asks for twelve months.
const RETENTION_DAYS_MIN: u32 = 366;
const RETENTION_DAYS: u32 = 400;

/// How the audit log is kept.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditConfig {
    /// Where sealed segments are written; `segments` beside the database without it.
    pub segments_dir: Option<PathBuf>,
    /// How long segments are promised to be kept. This program deletes none of them, however old.
    pub retention_days: RetentionDays,
    /// Whether rows older than 100 days stay in the database although a sealed segment has them.
    pub keep_bodies: bool,
}

/// At least 366.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u32")]
pub struct RetentionDays(u32);

impl RetentionDays {
    /// The number.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }
}

impl Default for RetentionDays {
    fn default() -> Self {
        Self(RETENTION_DAYS)
    }
}

impl TryFrom<u32> for RetentionDays {
    type Error = String;

    fn try_from(days: u32) -> Result<Self, String> {
        if days < RETENTION_DAYS_MIN {
            return Err(format!("audit.retention_days is {days}; PCI DSS v4.0.1 10.5.1 asks for 12 months: write 366 or more"));
        }
        Ok(Self(days))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_than_a_year_is_refused_with_the_number_to_write() {
        assert_eq!(RetentionDays::default().get(), 400);
        assert!(RetentionDays::try_from(366).is_ok());
        let refused = RetentionDays::try_from(365).unwrap_err();
        assert!(refused.contains("10.5.1") && refused.contains("write 366 or more"), "{refused}");
    }
}
