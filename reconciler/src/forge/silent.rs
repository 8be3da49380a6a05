//! No forge: statuses are taken and go nowhere.

use crate::converge::{CommitStatus, Forge, ReportError};

/// For repositories without a forge, and for one-off runs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Forge for Silent {
    async fn report(&self, _: &CommitStatus) -> Result<Option<String>, ReportError> {
        Ok(None)
    }
}
