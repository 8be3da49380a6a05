//! What commits say of themselves, and how two of them are related.

use std::collections::HashSet;

use gix::bstr::ByteSlice;
use gix::{ObjectId, Repository};

use super::commit_id;
use super::fault::Fault;
use super::reach::{self, Parents};
use crate::converge::{Ancestry, CommitInfo, StoredCommits};
use crate::signature::well_formed;
use crate::source::limits::{COMMITS_JUDGED_MAX, COMMITS_WALKED_MAX, SET_BYTES_MAX};

/// Longest subject that is kept; forges cut at less.
const SUBJECT_CHARS_MAX: usize = 500;

/// Reads one commit.
pub(crate) fn describe(repo: &Repository, id: ObjectId) -> Result<CommitInfo, Fault> {
    let commit = repo.find_commit(id).map_err(|error| unreadable(&error))?;
    let read = || -> gix::Result<_> {
        let parts = commit.decode()?;
        let subject = parts.message.lines().next().unwrap_or_default().to_str_lossy();
        let person =
            |person: gix::actor::SignatureRef<'_>| format!("{} <{}>", person.name.to_str_lossy(), person.email.to_str_lossy());
        let committer = parts.committer()?;
        let seconds = committer.time().map_or(0, |time| time.seconds);
        let subject: String = subject.chars().take(SUBJECT_CHARS_MAX).collect();
        Ok((person(parts.author()?), person(committer), subject, seconds, parts.parents().collect::<Vec<_>>()))
    };
    let Ok((author, committer, subject, committed_at, parents)) = read() else {
        // Whole, but it says nothing sensible: a property of the commit, which another try does not mend. Judging rejects it.
        let (author, committer) = (String::new(), String::new());
        let subject = "malformed commit".to_owned();
        return Ok(CommitInfo { id: commit_id(id)?, parents: Vec::new(), author, committer, subject, committed_at: 0 });
    };
    let parents = parents.into_iter().map(commit_id).collect::<Result<_, _>>()?;
    Ok(CommitInfo { id: commit_id(id)?, parents, author, committer, subject, committed_at })
}

/// The object of a commit.
pub(crate) fn bytes(repo: &Repository, id: ObjectId) -> Result<Vec<u8>, Fault> {
    Ok(repo.find_commit(id).map_err(|error| unreadable(&error))?.detach().data)
}

/// Every commit that `head` reaches and `base` does not; nothing if they are too many or too large.
pub(crate) fn since(repo: &Repository, base: ObjectId, head: ObjectId) -> Result<Option<StoredCommits>, Fault> {
    let base = repo.has_object(base).then_some(base);
    let Some(commits) = reach::after(repo, base, head)? else { return Ok(None) };
    let (mut found, mut left) = (Vec::new(), SET_BYTES_MAX);
    for id in commits.into_keys() {
        let size = repo.find_header(id).map_err(|error| unreadable(&error))?.size();
        let Some(less) = left.checked_sub(size) else { return Ok(None) };
        left = less;
        found.push((commit_id(id)?, bytes(repo, id)?));
    }
    Ok(Some(found))
}

/// The commits after `base` up to `head`, the newest ones, oldest first.
pub(crate) fn between(repo: &Repository, base: ObjectId, head: ObjectId) -> Result<Ancestry, Fault> {
    if base == head {
        return Ok(Ancestry::Descends(Vec::new()));
    }
    // Its parents cannot be told from what it says. It is judged, which is to say rejected, by itself.
    if well_formed(&bytes(repo, head)?).is_err() {
        return Ok(Ancestry::Descends(vec![describe(repo, head)?]));
    }
    // The whole history of the head is here, so a base that is not cannot be part of it.
    if !repo.has_object(base) {
        return Ok(Ancestry::Rewritten);
    }
    let Some(parents) = reach::after(repo, Some(base), head)? else {
        return Ok(Ancestry::TooFar { walked: COMMITS_WALKED_MAX });
    };
    if !parents.values().flatten().any(|parent| *parent == base) {
        return Ok(Ancestry::Rewritten);
    }
    let order = oldest_first(head, &parents);
    let newest = order.get(order.len().saturating_sub(COMMITS_JUDGED_MAX)..).unwrap_or_default();
    newest.iter().map(|id| describe(repo, *id)).collect::<Result<_, _>>().map(Ancestry::Descends)
}

/// Parents before children, whatever dates the commits claim; the head is last.
fn oldest_first(head: ObjectId, parents: &Parents) -> Vec<ObjectId> {
    let (mut order, mut seen) = (Vec::with_capacity(parents.len()), HashSet::new());
    let mut steps = vec![(head, false)];
    while let Some((id, parents_done)) = steps.pop() {
        if parents_done {
            order.push(id);
        } else if let Some(before) = parents.get(&id).filter(|_| seen.insert(id)) {
            steps.push((id, true));
            steps.extend(before.iter().rev().map(|parent| (*parent, false)));
        }
    }
    order
}

pub(crate) fn unreadable(error: &gix::Error) -> Fault {
    Fault::damaged("a commit cannot be read; the mirror is cloned again", error)
}
