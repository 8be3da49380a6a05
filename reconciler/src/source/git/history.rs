//! What commits say of themselves, and how two of them are related.

use std::collections::{HashMap, HashSet};

use gix::bstr::ByteSlice;
use gix::{ObjectId, Repository};

use super::commit_id;
use super::fault::{Fault, text_of};
use crate::converge::{Ancestry, CommitInfo};
use crate::source::failed;
use crate::source::limits::{COMMITS_JUDGED_MAX, COMMITS_WALKED_MAX};

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
    let (author, committer, subject, committed_at, parents) = read().map_err(|error| malformed(id, &error))?;
    let parents = parents.into_iter().map(commit_id).collect::<Result<_, _>>()?;
    Ok(CommitInfo { id: commit_id(id)?, parents, author, committer, subject, committed_at })
}

/// The commits after `base` up to `head`, the newest ones, oldest first.
pub(crate) fn between(repo: &Repository, base: ObjectId, head: ObjectId) -> Result<Ancestry, Fault> {
    if base == head {
        return Ok(Ancestry::Descends(Vec::new()));
    }
    // The whole history of the head is here, so a base that is not cannot be part of it.
    if !repo.has_object(base) {
        return Ok(Ancestry::Rewritten);
    }
    let mut parents = HashMap::new();
    let walk = repo.rev_walk([head]).with_hidden([base]).all().map_err(|error| unreadable(&error))?;
    for found in walk {
        let found = found.map_err(|error| unreadable(&error))?;
        if parents.len() >= COMMITS_WALKED_MAX {
            return Ok(Ancestry::TooFar { walked: parents.len() });
        }
        parents.insert(found.id, found.parent_ids.to_vec());
    }
    if !parents.values().flatten().any(|parent| *parent == base) {
        return Ok(Ancestry::Rewritten);
    }
    let order = oldest_first(head, &parents);
    let newest = order.get(order.len().saturating_sub(COMMITS_JUDGED_MAX)..).unwrap_or_default();
    newest.iter().map(|id| describe(repo, *id)).collect::<Result<_, _>>().map(Ancestry::Descends)
}

/// Parents before children, whatever dates the commits claim; the head is last.
fn oldest_first(head: ObjectId, parents: &HashMap<ObjectId, Vec<ObjectId>>) -> Vec<ObjectId> {
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

/// The object is whole but says nothing sensible: a property of the commit, which another clone does not mend.
fn malformed(id: ObjectId, error: &gix::Error) -> Fault {
    failed(format!("malformed commit {id}; push a well-formed one"), text_of(error)).into()
}

fn unreadable(error: &gix::Error) -> Fault {
    Fault::damaged("a commit cannot be read; the mirror is cloned again", error)
}
