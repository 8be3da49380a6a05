//! The files around the database: who may read them, where they may lie, and whose they are.
//!
//! The database itself is never opened here once SQLite has it: closing any descriptor of it would drop SQLite's own locks.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};

use super::Error;

/// Magic numbers of statfs(2) where `flock` and shared memory cannot be relied on.
const NETWORK: [(u64, &str); 8] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB2"),
    (0x5346_414f, "AFS"),
    (0x00c3_6400, "Ceph"),
    (0x0102_1997, "9p"),
    (0x0bd0_0bd0, "Lustre"),
];

/// Ending of a copy that is about to take the place of the database.
pub(super) const RESTORING: &str = ".restoring";

/// The lock on `<db>.lock`. It is given back when this is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// Checks the surroundings, takes the lock, and makes an empty database file with mode 0600 if there is none.
pub(super) fn take(file: &Path) -> Result<(Lock, Arc<Path>), Error> {
    let (lock, folder, file) = take_place(file)?;
    let left = beside(&file, RESTORING);
    if left.exists() {
        return Err(Error::RestoreCutShort { left });
    }
    if check_plain(&file)?.is_none() {
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file);
        made.map_err(|source| Error::NotWritable { folder, source })?;
    }
    for part in ["", "-wal", "-shm", ".lock"] {
        tighten(&beside(&file, part))?;
    }
    Ok((lock, file.into()))
}

/// Checks the surroundings and takes the lock, whatever is or is not there.
pub(super) fn take_place(file: &Path) -> Result<(Lock, PathBuf, PathBuf), Error> {
    let (folder, file) = place(file)?;
    check_folder(&folder)?;
    let lock = lock(&file, &folder)?;
    Ok((lock, folder, file))
}

/// The database of somebody who only wants to read.
pub(super) fn existing(file: &Path) -> Result<Arc<Path>, Error> {
    let (_, file) = place(file)?;
    let readable = check_plain(&file)?.map(|_| File::open(&file));
    match readable {
        None => Err(Error::NoDatabase(file)),
        Some(Err(source)) => Err(Error::NotReadable { file, source }),
        Some(Ok(_)) => Ok(file.into()),
    }
}

/// The folder and the full name of the database.
fn place(file: &Path) -> Result<(PathBuf, PathBuf), Error> {
    let name = file.file_name().ok_or(Error::NotPlain { file: file.to_owned(), what: "not the name of a file" })?;
    let folder = match file.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        Some(_) | None => PathBuf::from("."),
    };
    let folder = fs::canonicalize(&folder).map_err(|source| {
        let missing = [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&source.kind());
        if missing { Error::FolderMissing(folder) } else { Error::NotReadable { file: file.to_owned(), source } }
    })?;
    let file = folder.join(name);
    Ok((folder, file))
}

fn check_folder(folder: &Path) -> Result<(), Error> {
    let not_writable = |source| Error::NotWritable { folder: folder.to_owned(), source };
    let about = fs::metadata(folder).map_err(not_writable)?;
    let system = rustix::fs::statfs(folder).map_err(|errno| not_writable(errno.into()))?;
    // The field is signed on some platforms; only its low 32 bits are the number.
    let magic = u64::from_ne_bytes(i64::to_ne_bytes(system.f_type)) & 0xffff_ffff;
    if let Some((_, kind)) = NETWORK.iter().find(|(number, _)| *number == magic) {
        return Err(Error::Network { folder: folder.to_owned(), kind });
    }
    let mode = about.mode() & 0o777;
    if mode & 0o077 != 0 && about.uid() == rustix::process::geteuid().as_raw() && is_empty(folder) {
        // A fresh folder made for us. One that others already use is not ours to close.
        return fs::set_permissions(folder, Permissions::from_mode(0o700)).map_err(not_writable);
    }
    if mode & 0o002 != 0 {
        return Err(Error::FolderOpen(folder.to_owned()));
    }
    if mode & 0o077 != 0 {
        tracing::warn!(folder = %folder.display(), mode = format!("{mode:03o}"), "others may enter the folder of the database; chmod 700 it");
    }
    Ok(())
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}

fn lock(file: &Path, folder: &Path) -> Result<Lock, Error> {
    let now = jiff::Timestamp::now();
    let name = beside(file, ".lock");
    let not_writable = |source| Error::NotWritable { folder: folder.to_owned(), source };
    check_plain(&name)?;
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&name);
    let mut held = opened.map_err(not_writable)?;
    if let Err(errno) = flock(&held, FlockOperation::NonBlockingLockExclusive) {
        if errno != rustix::io::Errno::WOULDBLOCK {
            return Err(not_writable(errno.into()));
        }
        let mut pid = String::new();
        let _ = held.take(80).read_to_string(&mut pid);
        let mut words = pid.split_whitespace().map(ToOwned::to_owned);
        let (pid, since) = (words.next(), words.next());
        let unknown = || "(unknown)".to_owned();
        return Err(Error::Locked {
            file: file.to_owned(),
            pid: pid.unwrap_or_else(unknown),
            since: since.unwrap_or_else(unknown),
        });
    }
    let written = held.set_len(0).and_then(|()| held.rewind()).and_then(|()| writeln!(held, "{} {now:.0}", std::process::id()));
    written.map_err(not_writable)?;
    Ok(Lock { _file: held })
}

/// `None` if there is no such file; an error if it is anything but a plain file with one name.
fn check_plain(file: &Path) -> Result<Option<fs::Metadata>, Error> {
    let refused = |what| Err(Error::NotPlain { file: file.to_owned(), what });
    match fs::symlink_metadata(file) {
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::NotReadable { file: file.to_owned(), source }),
        Ok(about) if about.is_symlink() => refused("a symbolic link"),
        Ok(about) if !about.is_file() => refused("not a plain file"),
        Ok(about) if about.nlink() > 1 => refused("a file with several hard links"),
        Ok(about) => Ok(Some(about)),
    }
}

fn tighten(file: &Path) -> Result<(), Error> {
    match fs::set_permissions(file, Permissions::from_mode(0o600)) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::NotWritable { folder: file.to_owned(), source }),
        Ok(()) | Err(_) => Ok(()),
    }
}

pub(super) fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ending);
    name.into()
}
