//! The bare mirror: a cache of commits that only we write.
//!
//! Every opening puts it back into the shape we made: our `config`, no hooks, no alternates, no replace refs, no commit graph,
//! nothing else at its top. So whatever was planted there has no effect, and what cannot be repaired that way is set aside and
//! fetched again. It holds one ref of ours, which is moved only after everything it reaches is present.

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

/// The one ref of the mirror. Its name does not depend on the branch, so a renamed branch cannot collide with itself.
pub(crate) const FOLLOWED: &str = "refs/followed/head";

const SHA1_CONFIG: &str = "[core]\n\trepositoryformatversion = 0\n\tbare = true\n\tfilemode = true\n\tlogallrefupdates = false\n";
const SHA256_CONFIG: &str = "[core]\n\trepositoryformatversion = 1\n\tbare = true\n\tfilemode = true\n\tlogallrefupdates = false\n[extensions]\n\tobjectformat = sha256\n";
const HEAD: &str = "ref: refs/followed/head\n";

/// How long another process may keep us from the mirror.
const LOCK_WAIT: Duration = Duration::from_secs(3);

/// Keeps other processes of ours (a `plan` beside the controller) from the mirror until the file is dropped.
pub(crate) fn lock(path: &Path, stop: &AtomicBool) -> Result<File, Fault> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let opened = File::options().create(true).append(true).mode(0o600).open(&name);
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
        for name in ["objects", "objects/pack", "refs", "refs/followed"] {
            folder.create(path.join(name))?;
        }
        fs::write(path.join("HEAD"), HEAD)?;
        fs::write(path.join("config"), if kind == Kind::Sha1 { SHA1_CONFIG } else { SHA256_CONFIG })
    };
    make().map_err(|error| unusable(path, error))
}

/// Moves the mirror out of the way. Only the last damaged one is kept, for a look at what happened.
pub(crate) fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let mut name = path.as_os_str().to_owned();
    name.push(".damaged");
    let aside = PathBuf::from(name);
    match fs::remove_dir_all(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => fs::rename(path, &aside)?,
    }
    Ok(aside)
}

/// Where our ref points: the last head whose whole history is here.
pub(crate) fn followed(repo: &Repository) -> Result<Option<ObjectId>, Fault> {
    let found = repo.try_find_reference(FOLLOWED).map_err(|error| Fault::damaged(doing(repo.path()), &error))?;
    Ok(found.and_then(|reference| reference.try_id().map(gix::Id::detach)))
}

/// Moves our ref after everything it reaches was written.
pub(crate) fn follow(repo: &Repository, id: ObjectId) -> Result<(), Fault> {
    let moved = repo.reference(FOLLOWED, id, PreviousValue::Any, "followed");
    moved.map(|_| ()).map_err(|error| Fault::damaged(doing(repo.path()), &error))
}

/// Moves our ref back to where it was before a fetch that was thrown away.
pub(crate) fn follow_again(repo: &Repository, before: Option<ObjectId>) -> Result<(), Fault> {
    match before {
        Some(id) => follow(repo, id),
        None => remove(&repo.path().join(FOLLOWED)).map_err(|error| unusable(repo.path(), error)),
    }
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
    for folder in ["objects", "objects/pack", "refs"] {
        if !fs::symlink_metadata(path.join(folder))?.is_dir() {
            return Err(io::Error::other(format!("{folder} is not a folder")));
        }
    }
    keep_only(path, |name| matches!(name, "HEAD" | "config" | "objects" | "refs"))?;
    keep_only(&path.join("refs"), |name| name == "followed")?;
    keep_only(&path.join("objects"), |name| name == "pack" || is_fan_out(name))?;
    keep_only(&path.join("objects/pack"), |name| name.starts_with("pack-") && (name.ends_with(".pack") || name.ends_with(".idx")))?;
    rewrite(&path.join("HEAD"), |found| found == HEAD, || HEAD)?;
    rewrite(&path.join("config"), |found| found == SHA1_CONFIG || found == SHA256_CONFIG, || config_for(path))
}

fn is_fan_out(name: &str) -> bool {
    name.len() == 2 && name.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The length of our ref tells which of the two configurations was there.
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
