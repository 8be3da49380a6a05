//! A repository on this machine: read in the process, without starting `git-upload-pack`.
//!
//! Objects are copied children first, so a commit that is present has everything it reaches; a copy that was cut short is simply
//! continued. Every copied object is hashed again on the way in.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use gix::objs::{CommitRefIter, Kind, TreeRefIter, Write as _};
use gix::{ObjectId, Repository};

use super::fault::{Fault, text_of};
use super::mirror;
use crate::converge::{Head, SourceError};
use crate::source::limits::OBJECT_BYTES_MAX;
use crate::source::{failed, refused};

/// Looks at the branch and copies what is new.
pub(crate) fn look(mirror: &mut Repository, path: &Path, branch: &str, bytes_max: u64, stop: &AtomicBool) -> Result<Head, Fault> {
    let opened = mirror::options().with(gix::sec::Trust::Full).open(path);
    let source = opened.map_err(|error| unreadable(path, &error))?.to_thread_local();
    let Some(id) = branch_id(&source, branch).map_err(|error| unreadable(path, &error))? else {
        let refs = source.references().and_then(|all| Ok(all.all()?.next().is_some()));
        let any = refs.map_err(|error| unreadable(path, &error))?;
        return Ok(if any { Head::BranchMissing } else { Head::EmptyRepository });
    };
    if source.object_hash() != mirror.object_hash() {
        return Err(Fault::OtherFormat(source.object_hash()));
    }
    if mirror::followed(mirror)? != Some(id) {
        mirror.objects.refresh_never();
        let mut copy = Copy { source: &source, mirror, path, left: bytes_max, bytes_max, stop };
        copy.all_below(id)?;
        mirror::follow(mirror, id)?;
    }
    super::head_at(id)
}

fn unreadable(path: &Path, error: &gix::Error) -> SourceError {
    let doing = format!("cannot read the repository {}; check source.url and that this user may read it", path.display());
    failed(doing, text_of(error))
}

fn branch_id(source: &Repository, branch: &str) -> gix::Result<Option<ObjectId>> {
    let Some(mut found) = source.try_find_reference(branch)? else {
        return Ok(None);
    };
    Ok(Some(found.peel_to_id()?.detach()))
}

struct Copy<'a> {
    source: &'a Repository,
    mirror: &'a Repository,
    path: &'a Path,
    left: u64,
    bytes_max: u64,
    stop: &'a AtomicBool,
}

/// One object on the way: first its children are found, then it is written.
enum Step {
    Find(ObjectId),
    Write(ObjectId, Kind, Vec<u8>),
}

impl Copy<'_> {
    fn all_below(&mut self, head: ObjectId) -> Result<(), Fault> {
        let mut steps = vec![Step::Find(head)];
        let mut missing = std::collections::HashSet::new();
        while let Some(step) = steps.pop() {
            if self.stop.load(Ordering::Relaxed) {
                return Err(refused("copying was stopped").into());
            }
            match step {
                // A second visit before the first is written can only be another path to the same object: there are no cycles.
                Step::Find(id) if missing.contains(&id) || self.mirror.has_object(id) => {}
                Step::Find(id) => {
                    missing.insert(id);
                    let (kind, bytes) = self.read(id)?;
                    let children = self.children(kind, &bytes)?;
                    steps.push(Step::Write(id, kind, bytes));
                    steps.extend(children.into_iter().map(Step::Find));
                }
                Step::Write(id, kind, bytes) => self.write(id, kind, &bytes)?,
            }
        }
        Ok(())
    }

    fn read(&mut self, id: ObjectId) -> Result<(Kind, Vec<u8>), Fault> {
        let size = self.source.find_header(id).map_err(|error| unreadable(self.path, &error))?.size();
        if size > OBJECT_BYTES_MAX {
            return Err(refused(format!(
                "object {id} has {size} bytes; the limit is {OBJECT_BYTES_MAX}; take it out of the repository"
            ))
            .into());
        }
        self.left = self.left.checked_sub(size).ok_or_else(|| {
            refused(format!(
                "new objects have more than {} bytes together; raise source.pack_mib or make the repository smaller",
                self.bytes_max
            ))
        })?;
        let object = self.source.find_object(id).map_err(|error| unreadable(self.path, &error))?;
        Ok((object.kind, object.detach().data))
    }

    fn children(&self, kind: Kind, bytes: &[u8]) -> Result<Vec<ObjectId>, Fault> {
        let hash = self.source.object_hash();
        let children = match kind {
            Kind::Commit => commit_children(bytes, hash),
            Kind::Tree => tree_children(bytes, hash),
            Kind::Blob | Kind::Tag => Ok(Vec::new()),
        };
        children.map_err(|error| unreadable(self.path, &error).into())
    }

    fn write(&self, id: ObjectId, kind: Kind, bytes: &[u8]) -> Result<(), Fault> {
        let written = self.mirror.objects.write_buf(kind, bytes);
        let written =
            written.map_err(|error| failed("cannot write to the mirror; check the space on its disk", text_of(&error)))?;
        if written != id {
            let problem =
                format!("object {id} of {} does not have the content its name promises; run `git fsck` there", self.path.display());
            return Err(refused(problem).into());
        }
        Ok(())
    }
}

fn commit_children(bytes: &[u8], hash: gix::hash::Kind) -> gix::Result<Vec<ObjectId>> {
    let mut children: Vec<_> = CommitRefIter::from_bytes(bytes, hash).parent_ids().collect();
    children.push(CommitRefIter::from_bytes(bytes, hash).tree_id()?);
    Ok(children)
}

fn tree_children(bytes: &[u8], hash: gix::hash::Kind) -> gix::Result<Vec<ObjectId>> {
    let entries = TreeRefIter::from_bytes(bytes, hash).entries()?;
    Ok(entries.iter().filter(|entry| !entry.mode.is_commit()).map(|entry| entry.oid.to_owned()).collect())
}
