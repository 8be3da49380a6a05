//! A repository on this machine: read in the process, without starting `git-upload-pack`.
//!
//! Objects are copied children first, so a commit that is present has everything it reaches; a copy that was cut short is simply
//! continued. Every copied object is hashed again on the way in.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use gix::objs::{CommitRefIter, Kind, TreeRefIter, Write as _};
use gix::{ObjectId, Repository};

use super::fault::{Fault, text_of};
use super::mirror;
use crate::converge::{Head, SourceError};
use crate::source::limits::OBJECT_BYTES_MAX;
use crate::source::{failed, refused};

/// Looks at a ref and copies what is new to where ours follows it.
pub(crate) fn look(
    mirror: &mut Repository,
    path: &Path,
    (theirs, ours): (&str, &str),
    bytes_max: u64,
    stop: &AtomicBool,
) -> Result<Head, Fault> {
    let source = open(path)?;
    let Some(id) = ref_id(&source, theirs).map_err(|error| unreadable(path, &error))? else {
        let refs = source.references().and_then(|all| Ok(all.all()?.next().is_some()));
        let any = refs.map_err(|error| unreadable(path, &error))?;
        return Ok(if any { Head::BranchMissing } else { Head::EmptyRepository });
    };
    if source.object_hash() != mirror.object_hash() {
        return Err(Fault::OtherFormat(source.object_hash()));
    }
    if mirror::pointed(mirror, ours)? != Some(id) {
        copy(&source, mirror, path, id, bytes_max, stop)?;
        mirror::point(mirror, ours, id)?;
    }
    super::head_at(id)
}

/// Copies a commit and what it reaches, as far as it is not there.
pub(crate) fn copy(
    source: &Repository,
    mirror: &mut Repository,
    path: &Path,
    id: ObjectId,
    bytes_max: u64,
    stop: &AtomicBool,
) -> Result<(), Fault> {
    mirror.objects.refresh_never();
    Copy { source, mirror, path, left: bytes_max, bytes_max, stop }.all_below(id)
}

/// Where refs point; those that do not exist are left out.
pub(crate) fn list(path: &Path, names: &[String]) -> Result<HashMap<String, ObjectId>, Fault> {
    let source = open(path)?;
    let mut found = HashMap::new();
    for name in names {
        if let Some(id) = ref_id(&source, name).map_err(|error| unreadable(path, &error))? {
            found.insert(name.clone(), id);
        }
    }
    Ok(found)
}

pub(crate) fn open(path: &Path) -> Result<Repository, Fault> {
    let opened = mirror::options().with(gix::sec::Trust::Full).open(path);
    Ok(opened.map_err(|error| unreadable(path, &error))?.to_thread_local())
}

fn unreadable(path: &Path, error: &gix::Error) -> SourceError {
    let doing = format!("cannot read the repository {}; check source.url and that this user may read it", path.display());
    failed(doing, text_of(error))
}

fn ref_id(source: &Repository, name: &str) -> gix::Result<Option<ObjectId>> {
    let Some(mut found) = source.try_find_reference(name)? else {
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
            let problem = format!("object {id} has {size} bytes; the limit is {OBJECT_BYTES_MAX}; take it out of the repository");
            return Err(Fault::TooLarge(refused(problem)));
        }
        self.left = self.left.checked_sub(size).ok_or_else(|| {
            Fault::TooLarge(refused(format!(
                "new objects have more than {} bytes together; raise source.pack_mib or make the repository smaller",
                self.bytes_max
            )))
        })?;
        let object = self.source.find_object(id).map_err(|error| unreadable(self.path, &error))?;
        Ok((object.kind, object.detach().data))
    }

    fn children(&self, kind: Kind, bytes: &[u8]) -> Result<Vec<ObjectId>, Fault> {
        let hash = self.source.object_hash();
        let children = match kind {
            Kind::Commit => Ok(commit_children(bytes, hash)),
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

/// As far as a commit can be read: one that is malformed is rejected when it is judged, which it has to be here for.
fn commit_children(bytes: &[u8], hash: gix::hash::Kind) -> Vec<ObjectId> {
    let mut children: Vec<_> = CommitRefIter::from_bytes(bytes, hash).parent_ids().collect();
    children.extend(CommitRefIter::from_bytes(bytes, hash).tree_id().ok());
    children
}

fn tree_children(bytes: &[u8], hash: gix::hash::Kind) -> gix::Result<Vec<ObjectId>> {
    let entries = TreeRefIter::from_bytes(bytes, hash).entries()?;
    Ok(entries.iter().filter(|entry| !entry.mode.is_commit()).map(|entry| entry.oid.to_owned()).collect())
}
