//! The bare mirror: a cache of commits that only we write.
//!
//! Every opening puts it back into the shape we made: our `config`, no hooks, no alternates, no replace refs, no commit graph,
//! nothing else at its top. So whatever was planted there has no effect, and what cannot be repaired that way is set aside and
//! fetched again. Beside objects it holds notes of where the branch and the requests were, each written after
//! everything it reaches is present, and one ref, from which a server is told what we have.

use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use gix::hash::Kind;
use gix::refs::transaction::PreviousValue;
use gix::{ObjectId, Repository};

use super::fault::Fault;
use crate::source::failed;
use crate::source::limits::OBJECT_BYTES_MAX;

/// Where the head of the branch is noted. Its name does not depend on the branch's, so a renamed branch cannot collide with itself.
pub(crate) const FOLLOWED: &str = "followed/head";
/// Where the commit in force is noted.
pub(crate) const BASE: &str = "followed/base";
/// The one ref, from which a server is told what we have.
const TIP: &str = "refs/tips/head";

const SHA1_CONFIG: &str = "[core]\n\trepositoryformatversion = 0\n\tbare = true\n\tfilemode = true\n\tlogallrefupdates = false\n";
const SHA256_CONFIG: &str = "[core]\n\trepositoryformatversion = 1\n\tbare = true\n\tfilemode = true\n\tlogallrefupdates = false\n[extensions]\n\tobjectformat = sha256\n";
const HEAD: &str = "ref: refs/tips/head\n";

/// How long another process may keep us from the mirror.
const LOCK_WAIT: Duration = Duration::from_secs(3);

/// Keeps other processes of ours (a `plan` beside the controller) from the mirror until the file is dropped.
pub(crate) fn lock(path: &Path, stop: &AtomicBool) -> Result<File, Fault> {
    let opened = File::options().create(true).append(true).mode(0o600).open(named(path, ".lock"));
    let file = opened.map_err(|error| unusable(path, error))?;
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(unusable(path, error)),
            Err(TryLockError::WouldBlock) if began.elapsed() > LOCK_WAIT || stop.load(Ordering::Relaxed) => {
                let problem = format!("another process uses the mirror {}; we try again when it has ended", path.display());
                return Err(crate::source::refused(problem).into());
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Opens the mirror, making it when it is missing.
pub(crate) fn open(path: &Path) -> Result<Repository, Fault> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => {
            let problem = format!("{} is not a folder; move it away so that the mirror can be made there", path.display());
            return Err(crate::source::refused(problem).into());
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(path, Kind::Sha1)?,
        Err(error) => return Err(unusable(path, error)),
    }
    restore(path).map_err(|error| Fault::Damaged(failed(doing(path), error)))?;
    let opened = options().with(gix::sec::Trust::Full).open_path_as_is(true).strict_config(true).open(path);
    Ok(opened.map_err(|error| Fault::damaged(doing(path), &error))?.to_thread_local())
}

/// Options under which any repository is opened: nothing outside it is read, and nothing in it is run or replaced.
pub(crate) fn options() -> gix::open::Options {
    gix::open::Options::isolated().config_overrides([
        "core.useReplaceRefs=false".to_owned(),
        "core.commitGraph=false".to_owned(),
        format!("gitoxide.objects.allocLimit={OBJECT_BYTES_MAX}"),
    ])
}

/// Makes an empty mirror for objects named by `kind`.
pub(crate) fn create(path: &Path, kind: Kind) -> Result<(), Fault> {
    let make = || {
        let mut folder = DirBuilder::new();
        folder.mode(0o700).create(path)?;
        for name in ["objects", "objects/pack", "refs", "refs/tips", "followed"] {
            folder.create(path.join(name))?;
        }
        fs::write(path.join("HEAD"), HEAD)?;
        fs::write(path.join("config"), if kind == Kind::Sha1 { SHA1_CONFIG } else { SHA256_CONFIG })
    };
    make().map_err(|error| unusable(path, error))
}

/// Moves the mirror out of the way. Only the last damaged one is kept, for a look at what happened.
pub(crate) fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let aside = named(path, ".damaged");
    match fs::remove_dir_all(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => fs::rename(path, &aside)?,
    }
    Ok(aside)
}

/// A place for a new mirror beside this one; what was left there is removed.
pub(crate) fn beside(path: &Path) -> Result<PathBuf, Fault> {
    let beside = renewed(path);
    remove(&beside).map_err(|error| unusable(&beside, error))?;
    Ok(beside)
}

/// Where that is.
pub(crate) fn renewed(path: &Path) -> PathBuf {
    named(path, ".new")
}

/// Puts a new mirror where the old one is. If it ends half-way, none is there, and one is made.
pub(crate) fn change_places(path: &Path, new: &Path) -> io::Result<()> {
    let old = named(path, ".old");
    remove(&old)?;
    fs::rename(path, &old)?;
    fs::rename(new, path)?;
    remove(&old)
}

fn named(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Where the head of a request is noted.
pub(crate) fn request(number: u64) -> String {
    format!("followed/{number}")
}

/// Where the branch was when it was last fetched: a head whose whole history is here.
pub(crate) fn followed(repo: &Repository) -> Result<Option<ObjectId>, Fault> {
    pointed(repo, FOLLOWED)
}

/// What a note of ours says; a broken one says nothing, and what it was about is fetched again.
pub(crate) fn pointed(repo: &Repository, ours: &str) -> Result<Option<ObjectId>, Fault> {
    match fs::read_to_string(repo.path().join(ours)) {
        Ok(text) => Ok(ObjectId::from_hex(text.trim().as_bytes()).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unusable(repo.path(), error)),
    }
}

/// Notes where something is, after everything that it reaches was written.
pub(crate) fn point(repo: &Repository, ours: &str, id: ObjectId) -> Result<(), Fault> {
    let file = repo.path().join(ours);
    let new = repo.path().join("followed/new");
    fs::write(&new, format!("{id}\n")).and_then(|()| fs::rename(new, file)).map_err(|error| unusable(repo.path(), error))
}

/// Notes the commit in force, once it is here.
pub(crate) fn keep(repo: &Repository, id: ObjectId) -> Result<(), Fault> {
    if pointed(repo, BASE)? == Some(id) || !repo.has_object(id) {
        return Ok(());
    }
    point(repo, BASE, id)
}

/// Removes a note of ours.
pub(crate) fn forget(repo: &Repository, ours: &str) -> Result<(), Fault> {
    remove(&repo.path().join(ours)).map_err(|error| unusable(repo.path(), error))
}

/// Requests that are noted, and where each was.
pub(crate) fn requests(repo: &Repository) -> Result<Vec<(u64, ObjectId)>, Fault> {
    let folder = repo.path().join("followed");
    let entries = fs::read_dir(&folder).map_err(|error| unusable(repo.path(), error))?;
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u64>().ok());
    numbers.filter_map(|number| Some(pointed(repo, &request(number)).transpose()?.map(|id| (number, id)))).collect()
}

/// Removes the notes of requests that are not wanted any more.
pub(crate) fn keep_requests(repo: &Repository, wanted: impl Fn(u64) -> bool) -> Result<(), Fault> {
    let ours = |name: &str| matches!(name, "head" | "base") || name.parse().is_ok_and(&wanted);
    keep_only(&repo.path().join("followed"), ours).map_err(|error| unusable(repo.path(), error))
}

/// The commit that a server is told we have, with all it reaches.
pub(crate) fn tip(repo: &Repository) -> Result<Option<ObjectId>, Fault> {
    let found = repo.try_find_reference(TIP).map_err(|error| Fault::damaged(doing(repo.path()), &error))?;
    Ok(found.and_then(|reference| reference.try_id().map(gix::Id::detach)))
}

/// Moves the tip.
pub(crate) fn set_tip(repo: &Repository, id: ObjectId) -> Result<(), Fault> {
    let moved = repo.reference(TIP, id, PreviousValue::Any, "followed");
    moved.map(|_| ()).map_err(|error| Fault::damaged(doing(repo.path()), &error))
}

/// Removes the tip: the next fetch brings everything.
pub(crate) fn forget_tip(repo: &Repository) -> Result<(), Fault> {
    forget(repo, TIP)
}

fn doing(path: &Path) -> String {
    format!("the mirror {} cannot be read; it is cloned again", path.display())
}

fn unusable(path: &Path, cause: io::Error) -> Fault {
    let doing =
        format!("cannot make or use the mirror {}; check that its parent folder exists, is ours and has space", path.display());
    failed(doing, cause).into()
}

/// Puts our own shape back.
fn restore(path: &Path) -> io::Result<()> {
    if fs::metadata(path)?.mode() & 0o777 != 0o700 {
        fs::set_permissions(path, Permissions::from_mode(0o700))?;
    }
    if !path.join("followed").exists() {
        DirBuilder::new().mode(0o700).create(path.join("followed"))?;
    }
    for folder in ["objects", "objects/pack", "refs", "followed"] {
        if !fs::symlink_metadata(path.join(folder))?.is_dir() {
            return Err(io::Error::other(format!("{folder} is not a folder")));
        }
    }
    keep_only(path, |name| matches!(name, "HEAD" | "config" | "objects" | "refs" | "followed"))?;
    keep_only(&path.join("refs"), |name| name == "tips")?;
    keep_only(&path.join("objects"), |name| name == "pack" || is_fan_out(name))?;
    keep_only(&path.join("objects/pack"), |name| name.starts_with("pack-") && (name.ends_with(".pack") || name.ends_with(".idx")))?;
    rewrite(&path.join("HEAD"), |found| found == HEAD, || HEAD)?;
    rewrite(&path.join("config"), |found| found == SHA1_CONFIG || found == SHA256_CONFIG, || config_for(path))
}

fn is_fan_out(name: &str) -> bool {
    name.len() == 2 && name.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The length of an id tells which of the two configurations was there.
fn config_for(path: &Path) -> &'static str {
    let id = fs::read_to_string(path.join(FOLLOWED)).unwrap_or_default();
    if id.trim().len() == Kind::Sha256.len_in_hex() { SHA256_CONFIG } else { SHA1_CONFIG }
}

fn rewrite(file: &Path, good: impl Fn(&str) -> bool, text: impl Fn() -> &'static str) -> io::Result<()> {
    let plain = fs::symlink_metadata(file).is_ok_and(|found| found.is_file());
    if plain && fs::read_to_string(file).is_ok_and(|found| good(&found)) {
        return Ok(());
    }
    let text = text();
    remove(file)?;
    fs::write(file, text)
}

fn keep_only(folder: &Path, ours: impl Fn(&str) -> bool) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if !entry.file_name().to_str().is_some_and(&ours) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Removes a file, link or folder without following a link.
fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
