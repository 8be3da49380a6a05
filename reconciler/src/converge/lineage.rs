//! Never backwards: how a new head relates to the commit in force.

use policy::snapshot::CommitId;

use super::{ACCEPTED_HEAD, Ancestry, CommitInfo, Source, Trouble, World};
use crate::store::Switch;

/// What a head brings.
pub(super) enum Lineage {
    /// Commits to judge, oldest first, the head last. Only the head if nothing was ever in force, or if it is what is in force.
    New(Vec<CommitInfo>),
    /// A person has to decide.
    Held(String),
}

impl<S: Source> World<'_, S> {
    /// Names what is in force to the source, before a look at a branch that was rewritten lets go of it.
    pub(super) async fn keep_in_force(&self) -> Result<(), Trouble> {
        if let Some(last) = self.store.last_in_force().await? {
            self.source.keep(&last.commit);
        }
        Ok(())
    }

    pub(super) async fn lineage(&self, base: Option<CommitId>, head: CommitId) -> Result<Lineage, Trouble> {
        let Some(base) = base.filter(|base| *base != head) else { return self.head_only(head).await };
        match self.source.between(&base, &head).await? {
            Ancestry::Descends(commits) if commits.is_empty() => self.head_only(head).await,
            Ancestry::Descends(commits) => Ok(Lineage::New(commits)),
            Ancestry::Rewritten if self.is_accepted(head).await? => self.head_only(head).await,
            Ancestry::Rewritten => Ok(Lineage::Held(format!(
                "{} was rewritten: {} does not contain {}; accept it with pci-segment reconcile --accept-head {} --reason …",
                self.branch(),
                head.short(),
                base.short(),
                head.short(),
            ))),
            Ancestry::TooFar { walked } if self.is_accepted(head).await? => {
                tracing::info!(walked, "the accepted head is far from the commit in force; only the head is judged");
                self.head_only(head).await
            }
            Ancestry::TooFar { walked } => Ok(Lineage::Held(format!(
                "more than {walked} commits lie between {} and {}; accept the head with pci-segment reconcile --accept-head",
                base.short(),
                head.short(),
            ))),
        }
    }

    async fn head_only(&self, head: CommitId) -> Result<Lineage, Trouble> {
        Ok(Lineage::New(vec![self.source.describe(&head).await?]))
    }

    /// Whether an operator has accepted exactly this head. It holds until the head is in force.
    pub(super) async fn is_accepted(&self, head: CommitId) -> Result<bool, Trouble> {
        Ok(self.acceptance(head).await?.is_some())
    }

    /// That acceptance.
    pub(super) async fn acceptance(&self, head: CommitId) -> Result<Option<Switch>, Trouble> {
        let accepted = self.store.switch_get(ACCEPTED_HEAD, (self.clock)()).await?;
        Ok(accepted.filter(|switch| switch.value.len() >= 12 && head.to_string().starts_with(&switch.value)))
    }

    fn branch(&self) -> &str {
        self.settings.git_ref.strip_prefix("refs/heads/").unwrap_or(&self.settings.git_ref)
    }
}

#[cfg(test)]
mod tests;
