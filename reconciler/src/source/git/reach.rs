//! Which commits lie between two of them.
//!
//! The common walk takes commits as Git writes them. A commit that breaks the form ends it, although nothing is wrong with our
//! mirror and another clone would bring the same bytes; then a slower walk reads nothing but the lines that claim a parent. A commit
//! may claim any parent, in good form too, so this gives nobody more than he had: the broken commit is found, and judging rejects it.

use std::collections::{HashMap, HashSet};

use gix::{ObjectId, Repository};

use super::fault::Fault;
use super::history::{bytes, unreadable};
use crate::source::limits::{COMMITS_REACHED_MAX, COMMITS_WALKED_MAX};

/// Commits and the parents of each.
pub(crate) type Parents = HashMap<ObjectId, Vec<ObjectId>>;

/// What `head` reaches and `base` does not, `head` included; nothing if that is more than is ever walked.
pub(crate) fn after(repo: &Repository, base: Option<ObjectId>, head: ObjectId) -> Result<Option<Parents>, Fault> {
    match straight(repo, base, head) {
        Err(Fault::Damaged(_)) => crooked(repo, base, head),
        found => found,
    }
}

/// Whether what `head` adds to `base` has the form that a server can be told of.
pub(crate) fn is_straight(repo: &Repository, base: Option<ObjectId>, head: ObjectId) -> bool {
    straight(repo, base, head).is_ok()
}

fn straight(repo: &Repository, base: Option<ObjectId>, head: ObjectId) -> Result<Option<Parents>, Fault> {
    let walk = repo.rev_walk([head]).with_hidden(base).all().map_err(|error| unreadable(&error))?;
    let mut parents = Parents::new();
    for found in walk {
        let found = found.map_err(|error| unreadable(&error))?;
        if parents.len() >= COMMITS_WALKED_MAX {
            return Ok(None);
        }
        parents.insert(found.id, found.parent_ids.to_vec());
    }
    Ok(Some(parents))
}

fn crooked(repo: &Repository, base: Option<ObjectId>, head: ObjectId) -> Result<Option<Parents>, Fault> {
    let old = match base {
        Some(base) => reached(repo, base, &HashSet::new(), COMMITS_REACHED_MAX)?,
        None => Some(Parents::new()),
    };
    let Some(old) = old else { return Ok(None) };
    reached(repo, head, &old.into_keys().collect(), COMMITS_WALKED_MAX)
}

fn reached(repo: &Repository, from: ObjectId, without: &HashSet<ObjectId>, most: usize) -> Result<Option<Parents>, Fault> {
    let (mut found, mut next) = (Parents::new(), vec![from]);
    while let Some(id) = next.pop() {
        if without.contains(&id) || found.contains_key(&id) {
            continue;
        }
        if found.len() >= most {
            return Ok(None);
        }
        let commit = bytes(repo, id)?;
        let mut parents = claimed_parents(&commit);
        if crate::signature::well_formed(&commit).is_err() {
            // Git may have read no parent there, and so sent none.
            parents.retain(|parent| repo.has_object(parent));
        }
        next.extend(&parents);
        found.insert(id, parents);
    }
    Ok(Some(found))
}

/// Each parent that the header of a commit names, wherever it does.
fn claimed_parents(commit: &[u8]) -> Vec<ObjectId> {
    let header = commit.split(|byte| *byte == b'\n').take_while(|line| !line.is_empty());
    header.filter_map(|line| ObjectId::from_hex(line.strip_prefix(b"parent ")?).ok()).collect()
}
