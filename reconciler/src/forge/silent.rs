//! No forge: what is said is taken and goes nowhere.

use policy::snapshot::CommitId;

use crate::converge::{Comment, CommitStatus, Forge, ReportError, Reviewed};

/// For repositories without a forge, and for one-off runs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Forge for Silent {
    async fn report(&self, _: &CommitStatus) -> Result<Option<String>, ReportError> {
        Ok(None)
    }

    async fn comment(&self, _: &Comment) -> Result<Option<String>, ReportError> {
        Ok(None)
    }

    async fn approvals(&self, _: &CommitId) -> Result<Option<Vec<Reviewed>>, ReportError> {
        Ok(None)
    }
}
