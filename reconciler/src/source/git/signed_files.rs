//! The list of signers inside a commit. Plain files only: a link would lead out of what was signed.

use gix::objs::TreeRefIter;
use gix::objs::tree::EntryKind;
use gix::{ObjectId, Repository};

use super::fault::Fault;
use crate::converge::SignerList;
use crate::signature::on_host::{ARMORED, ARMORED_FILES_MAX, LIST_BYTES_MAX};
use crate::source::limits::TREE_BYTES_MAX;
use crate::source::refused;

/// What one name in a folder stands for.
type Named = (Vec<u8>, EntryKind, ObjectId);

/// The list at `path` and the OpenPGP keys beside it.
pub(crate) fn signer_list(repo: &Repository, commit: ObjectId, path: &str) -> Result<Option<SignerList>, Fault> {
    let mut tree =
        repo.find_commit(commit).and_then(|commit| Ok(commit.tree_id()?.detach())).map_err(|error| unreadable(&error))?;
    let (folders, file) = path.rsplit_once('/').map_or(("", path), |(folders, file)| (folders, file));
    for folder in folders.split('/').filter(|folder| !folder.is_empty()) {
        let found = entries(repo, tree)?.into_iter().find(|(name, kind, _)| name == folder.as_bytes() && *kind == EntryKind::Tree);
        let Some((_, _, id)) = found else { return Ok(None) };
        tree = id;
    }
    let here = entries(repo, tree)?;
    let is_file = |kind: &EntryKind| matches!(kind, EntryKind::Blob | EntryKind::BlobExecutable);
    let Some((_, _, list)) = here.iter().find(|(name, kind, _)| name == file.as_bytes() && is_file(kind)) else { return Ok(None) };
    let (mut left, mut problem) = (LIST_BYTES_MAX, None);
    let list = blob(repo, *list, &mut left)?;
    let mut armored = Vec::new();
    for (name, _, id) in here.iter().filter(|(name, kind, _)| name.ends_with(ARMORED.as_bytes()) && is_file(kind)) {
        match blob(repo, *id, &mut left)? {
            Some(bytes) if armored.len() < ARMORED_FILES_MAX => armored.push((crate::source::names::escape(name), bytes)),
            _ => problem = Some(too_much(path)),
        }
    }
    let problem = if list.is_none() { Some(too_much(path)) } else { problem };
    Ok(Some(SignerList { list: list.unwrap_or_default(), armored, problem }))
}

fn too_much(path: &str) -> String {
    format!("{path} and the keys beside it have more than {LIST_BYTES_MAX} bytes, or there are more than {ARMORED_FILES_MAX} keys")
}

fn entries(repo: &Repository, tree: ObjectId) -> Result<Vec<Named>, Fault> {
    let size = repo.find_header(tree).map_err(|error| unreadable(&error))?.size();
    if size > TREE_BYTES_MAX {
        return Err(refused(format!("a folder has {size} bytes of names; the limit is {TREE_BYTES_MAX}")).into());
    }
    let bytes = repo.find_tree(tree).map_err(|error| unreadable(&error))?.detach().data;
    let entries = TreeRefIter::from_bytes(&bytes, repo.object_hash()).entries().map_err(|error| unreadable(&error))?;
    Ok(entries.iter().map(|entry| (entry.filename.to_vec(), entry.mode.kind(), entry.oid.to_owned())).collect())
}

/// The content, if there is room for it.
fn blob(repo: &Repository, id: ObjectId, left: &mut u64) -> Result<Option<Vec<u8>>, Fault> {
    let size = repo.find_header(id).map_err(|error| unreadable(&error))?.size();
    let Some(less) = left.checked_sub(size) else { return Ok(None) };
    *left = less;
    Ok(Some(repo.find_blob(id).map_err(|error| unreadable(&error))?.take_data()))
}

fn unreadable(error: &gix::Error) -> Fault {
    Fault::damaged("the list of signers cannot be read; the mirror is cloned again", error)
}
