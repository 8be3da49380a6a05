//! Whether somebody on the list of signers vouches for a commit, decided before one byte of its files is read.
//!
//! The list is the one of the commit in force, or the one on this host where that commit has none; so a commit that changes the list
//! is judged by the old one. The form of a commit is held to in every mode. What is in force is not asked again: it was signed by the
//! list of its time.

use std::path::PathBuf;
use std::sync::Arc;

use policy::snapshot::CommitId;
use serde_json::{Value, json};

use super::words::SIGNATURE;
use super::{CommitInfo, Source, Trouble, World};
use crate::audit::event::tidy;
use crate::chain::chain;
use crate::signature::{self, Refusal, Signer, Signers, on_host};

/// Bytes of an author's name that are repeated.
const AUTHOR_BYTES_MAX: usize = 200;

/// Which commits have to be signed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum VerifyMode {
    /// None.
    #[default]
    Off,
    /// What is to be enforced.
    Head,
    /// That, and all that led to it since the commit in force.
    Every,
}

/// Whose commits are taken.
#[derive(Debug, Clone, Default)]
pub struct Verify {
    /// Which have to be signed.
    pub mode: VerifyMode,
    /// A list on this host.
    pub file: Option<PathBuf>,
    /// A list in the commit in force, from the top of the repository; it counts before the one on this host.
    pub path: Option<String>,
}

/// Why a commit is not taken, and what is written down of it.
pub(super) struct NotSigned {
    /// For people.
    pub reason: String,
    /// For the log.
    pub evidence: Value,
}

impl NotSigned {
    fn new(info: &CommitInfo, whose: Option<CommitId>, refusal: &Refusal) -> Self {
        let author = tidy(&info.author, AUTHOR_BYTES_MAX);
        let reason = match whose {
            None => format!("signature: {refusal}; author {author}"),
            Some(other) => format!("signature: {refusal}; commit {} before this one", other.short()),
        };
        let commit = whose.unwrap_or(info.id).to_string();
        let evidence =
            json!({ "refused": tidy(&refusal.to_string(), 300), "key": refusal.key(), "author": author, "commit": commit });
        Self { reason, evidence }
    }

    fn list(reason: &str) -> Self {
        let evidence = json!({ "refused": tidy(reason, 300) });
        Self { reason: format!("signature: {reason}"), evidence }
    }

    /// As findings are kept.
    pub(super) fn finding(&self) -> Value {
        let remedy = "have somebody sign it whom the list of signers in force names";
        json!({
            "rule_id": SIGNATURE, "severity": "error", "file": ".", "line": 1, "message": self.reason, "remediation": remedy,
        })
    }
}

impl<S: Source> World<'_, S> {
    /// Who signed a commit, as the log keeps it; nothing where nobody has to.
    pub(super) async fn signed(
        &self,
        info: &CommitInfo,
        is_head: bool,
        base: Option<CommitId>,
    ) -> Result<Result<Option<Value>, NotSigned>, Trouble> {
        let bytes = self.source.commit_bytes(&info.id).await?;
        if let Some(Err(refusal)) = bytes.as_deref().map(signature::well_formed) {
            return Ok(Err(NotSigned::new(info, None, &refusal)));
        }
        let mode = self.settings.verify.mode;
        if mode == VerifyMode::Off || mode == VerifyMode::Head && !is_head || base == Some(info.id) {
            return Ok(Ok(None));
        }
        let signers = match self.signers(base).await? {
            Ok(signers) => Arc::new(signers),
            Err(problem) => return Ok(Err(NotSigned::list(&problem))),
        };
        let signer = match self.check(info.id, bytes.unwrap_or_default(), &signers).await? {
            Ok(signer) => signer,
            Err(refusal) => return Ok(Err(NotSigned::new(info, None, &refusal))),
        };
        if let (VerifyMode::Every, true, Some(base)) = (mode, is_head, base)
            && let Some(refused) = self.unsigned_before(info, base, &signers).await?
        {
            return Ok(Err(refused));
        }
        if let Some(problem) = self.next_list(&info.id).await? {
            return Ok(Err(NotSigned::list(&problem)));
        }
        let Signer { kind, principal, key } = signer;
        Ok(Ok(Some(json!({ "kind": kind, "principal": tidy(&principal, 200), "key": key }))))
    }

    /// The list that counts now, or why no list does.
    async fn signers(&self, base: Option<CommitId>) -> Result<Result<Signers, String>, Trouble> {
        let verify = &self.settings.verify;
        if let (Some(base), Some(path)) = (base, &verify.path)
            && let Some(found) = self.source.signer_list(&base, path).await?
        {
            let read = Signers::parse(&found.list, &found.armored).map_err(|error| error.to_string());
            let whole = found.problem.map_or(read, Err);
            return Ok(whole.map_err(|problem| format!("the list of signers in force, {path} in {}: {problem}", base.short())));
        }
        let Some(file) = &verify.file else { return Ok(Err("no list says who may sign".to_owned())) };
        match on_host::read(file) {
            Ok(signers) => Ok(Ok(signers)),
            // Ours to mend, and nothing the commit is to blame for: tried again, with what is in force left alone.
            Err(error) => Err(Trouble::Source(error)),
        }
    }

    /// What is wrong with the list a commit brings: in force, it would keep everybody out.
    async fn next_list(&self, commit: &CommitId) -> Result<Option<String>, Trouble> {
        let Some(path) = &self.settings.verify.path else { return Ok(None) };
        let Some(found) = self.source.signer_list(commit, path).await? else { return Ok(None) };
        let read = Signers::parse(&found.list, &found.armored).map_err(|error| error.to_string());
        Ok(found
            .problem
            .map_or(read, Err)
            .err()
            .map(|problem| format!("the list of signers this commit brings, {path}: {problem}")))
    }

    /// The first commit on the way from what is in force that nobody vouches for.
    async fn unsigned_before(
        &self,
        info: &CommitInfo,
        base: CommitId,
        signers: &Arc<Signers>,
    ) -> Result<Option<NotSigned>, Trouble> {
        let Some(commits) = self.source.since(&base, &info.id).await? else {
            return Ok(Some(NotSigned::list("too many commits since the one in force to look at each signature")));
        };
        for (commit, bytes) in commits.into_iter().filter(|(commit, _)| *commit != info.id) {
            if let Err(refusal) = self.check(commit, bytes, signers).await? {
                return Ok(Some(NotSigned::new(info, Some(commit), &refusal)));
            }
        }
        Ok(None)
    }

    /// On a thread of its own, where a verifier that stops is a refusal and nothing worse.
    async fn check(&self, commit: CommitId, bytes: Vec<u8>, signers: &Arc<Signers>) -> Result<Result<Signer, Refusal>, Trouble> {
        let first_seen = self.store.first_seen(&commit).await?.unwrap_or_else(self.clock);
        let signers = Arc::clone(signers);
        let task = tokio::task::spawn_blocking(move || signature::verify(&bytes, &signers, first_seen));
        Ok(task.await.unwrap_or_else(|error| {
            tracing::error!("the verifier of signatures stopped: {}", chain(&error));
            Err(Refusal::Mismatch { key: String::new(), detail: "the verifier stopped on it" })
        }))
    }
}
