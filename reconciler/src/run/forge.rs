//! The forge that is configured.

use policy::snapshot::CommitId;

use crate::converge::{Annotation, Comment, CommitStatus, Forge, ReportError, Reviewed};
use crate::forge::gitea::Gitea;
use crate::forge::github::GitHub;
use crate::forge::gitlab::GitLab;
use crate::forge::silent::Silent;

/// The configured forge.
pub(super) enum AnyForge {
    /// GitHub.
    GitHub(Box<GitHub>),
    /// GitLab.
    GitLab(Box<GitLab>),
    /// Gitea or Forgejo.
    Gitea(Box<Gitea>),
    /// Nobody is told.
    Silent(Silent),
}

impl Forge for AnyForge {
    async fn report(&self, status: &CommitStatus) -> Result<Option<String>, ReportError> {
        match self {
            Self::GitHub(forge) => forge.report(status).await,
            Self::GitLab(forge) => forge.report(status).await,
            Self::Gitea(forge) => forge.report(status).await,
            Self::Silent(forge) => forge.report(status).await,
        }
    }

    async fn report_findings(&self, status: &CommitStatus, findings: &[Annotation]) -> Result<Option<String>, ReportError> {
        match self {
            Self::GitHub(forge) => forge.report_findings(status, findings).await,
            Self::GitLab(forge) => forge.report_findings(status, findings).await,
            Self::Gitea(forge) => forge.report_findings(status, findings).await,
            Self::Silent(forge) => forge.report_findings(status, findings).await,
        }
    }

    fn writes(&self, findings: &[Annotation]) -> usize {
        match self {
            Self::GitHub(forge) => forge.writes(findings),
            Self::GitLab(forge) => forge.writes(findings),
            Self::Gitea(forge) => forge.writes(findings),
            Self::Silent(forge) => forge.writes(findings),
        }
    }

    async fn comment(&self, comment: &Comment) -> Result<Option<String>, ReportError> {
        match self {
            Self::GitHub(forge) => forge.comment(comment).await,
            Self::GitLab(forge) => forge.comment(comment).await,
            Self::Gitea(forge) => forge.comment(comment).await,
            Self::Silent(forge) => forge.comment(comment).await,
        }
    }

    async fn approvals(&self, commit: &CommitId) -> Result<Option<Vec<Reviewed>>, ReportError> {
        match self {
            Self::GitHub(forge) => forge.approvals(commit).await,
            Self::GitLab(forge) => forge.approvals(commit).await,
            Self::Gitea(forge) => forge.approvals(commit).await,
            Self::Silent(forge) => forge.approvals(commit).await,
        }
    }
}
