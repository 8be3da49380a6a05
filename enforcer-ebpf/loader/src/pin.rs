//! Where everything is pinned: `<root>/abi<ABI_VERSION>/{maps,inner/<slot>,progs,links/<ifindex>-<hook>}`.
//!
//! The version is part of the path because maps written for one meaning must never be read with another.

use std::{
    fs, io,
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
};

use enforcer_abi::{ABI_VERSION, SLOTS};

use crate::{error::Error, table::Direction};

/// Only root may see or change what is pinned.
const MODE: u32 = 0o700;
/// Where the BPF file system belongs; the only directory this crate mounts on that it has not made itself.
const BPFFS: &str = "/sys/fs/bpf";
/// How the name of an XDP hook's link ends.
const XDP: &str = "-xdp";
/// `BPF_FS_MAGIC`.
const BPF_FS_MAGIC: i64 = 0xCAFE_4A11;

/// The paths below one root.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    root: PathBuf,
    base: PathBuf,
    version: u32,
}

impl Layout {
    pub(crate) fn new(root: &Path) -> Self {
        Self::of_version(root, ABI_VERSION)
    }

    /// Where another version pins.
    pub(crate) fn of_version(root: &Path, version: u32) -> Self {
        Self { root: root.to_owned(), base: root.join(format!("abi{version}")), version }
    }

    /// Makes every directory, and mounts a BPF file system if there is none.
    pub(crate) fn prepare(&self) -> Result<(), Error> {
        ensure_bpffs(&self.root)?;
        let mut wanted = vec![self.root.clone(), self.base.clone(), self.maps(), self.progs(), self.links()];
        wanted.push(self.base.join("inner"));
        wanted.extend((0..SLOTS).map(|slot| self.slot(slot)));
        for path in wanted {
            make(&path).map_err(|source| Error::PinDirectory { path, source })?;
        }
        Ok(())
    }

    /// Whether anything is pinned here.
    pub(crate) fn used(&self) -> Result<bool, Error> {
        match fs::read_dir(self.maps()) {
            Ok(mut entries) => Ok(entries.next().is_some()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(Error::PinDirectory { path: self.maps(), source }),
        }
    }

    /// Held while what is pinned is changed, so that two processes do not interleave.
    pub(crate) fn lock(&self) -> Result<OwnedFd, Error> {
        flock(&self.base, rustix::fs::FlockOperation::LockExclusive)
            .map_err(|error| Error::PinDirectory { path: self.base.clone(), source: error.into() })
    }

    /// Held by the one process that reads events.
    pub(crate) fn turn(&self) -> Result<OwnedFd, Error> {
        flock(&self.maps(), rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
            rustix::io::Errno::WOULDBLOCK => Error::EventsTaken,
            other => Error::PinDirectory { path: self.maps(), source: other.into() },
        })
    }

    /// Which layouts its maps have.
    pub(crate) fn version(&self) -> u32 {
        self.version
    }

    pub(crate) fn base(&self) -> &Path {
        &self.base
    }

    pub(crate) fn maps(&self) -> PathBuf {
        self.base.join("maps")
    }

    pub(crate) fn progs(&self) -> PathBuf {
        self.base.join("progs")
    }

    pub(crate) fn links(&self) -> PathBuf {
        self.base.join("links")
    }

    pub(crate) fn slot(&self, slot: u32) -> PathBuf {
        self.base.join("inner").join(slot.to_string())
    }

    pub(crate) fn map(&self, name: &str) -> PathBuf {
        self.maps().join(name)
    }

    pub(crate) fn prog(&self, name: &str) -> PathBuf {
        self.progs().join(name)
    }

    pub(crate) fn inner(&self, slot: u32, name: &str) -> PathBuf {
        self.slot(slot).join(name)
    }

    pub(crate) fn link(&self, ifindex: u32, direction: Direction) -> PathBuf {
        self.links().join(format!("{ifindex}-{}", direction.label()))
    }

    /// Marks a hook whose program is attached as a filter, which cannot be pinned: the pinned program itself.
    pub(crate) fn filter(&self, ifindex: u32, direction: Direction) -> PathBuf {
        self.links().join(format!("{ifindex}-{}-filter", direction.label()))
    }

    /// The link on the XDP hook of an interface.
    pub(crate) fn xdp(&self, ifindex: u32) -> PathBuf {
        self.links().join(format!("{ifindex}{XDP}"))
    }

    /// Every interface whose XDP hook was attached.
    pub(crate) fn xdp_hooks(&self) -> Result<Vec<u32>, Error> {
        let parse = |name: &str| name.strip_suffix(XDP)?.parse().ok();
        self.linked(parse)
    }

    /// Every hook that was attached: interface, direction, whether as a filter.
    pub(crate) fn hooks(&self) -> Result<Vec<(u32, Direction, bool)>, Error> {
        self.linked(parse_hook)
    }

    /// What `parse` makes of the names of links, in order.
    fn linked<T: Ord>(&self, parse: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, Error> {
        let path = self.links();
        let read = || {
            let mut found = Vec::new();
            for entry in fs::read_dir(&path)? {
                found.extend(parse(&entry?.file_name().to_string_lossy()));
            }
            found.sort_unstable();
            Ok(found)
        };
        read().map_err(|source| Error::PinDirectory { path: path.clone(), source })
    }

    /// Removes everything of this version.
    pub(crate) fn remove_base(&self) -> Result<(), Error> {
        match fs::remove_dir_all(&self.base) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::PinDirectory { path: self.base.clone(), source: error })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Removes everything below the root, and the root if it is empty then.
    pub(crate) fn remove(&self) -> Result<(), Error> {
        self.remove_base()?;
        // Another version's pins, or a mount, may keep it.
        let _ = fs::remove_dir(&self.root);
        Ok(())
    }
}

fn flock(path: &Path, operation: rustix::fs::FlockOperation) -> Result<OwnedFd, rustix::io::Errno> {
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    let directory = rustix::fs::open(path, flags, rustix::fs::Mode::empty())?;
    rustix::fs::flock(&directory, operation)?;
    Ok(directory)
}

fn parse_hook(name: &str) -> Option<(u32, Direction, bool)> {
    let mut parts = name.split('-');
    let ifindex = parts.next()?.parse().ok()?;
    let label = parts.next()?;
    let direction = Direction::ALL.into_iter().find(|direction| direction.label() == label)?;
    match (parts.next(), parts.next()) {
        (None, _) => Some((ifindex, direction, false)),
        (Some("filter"), None) => Some((ifindex, direction, true)),
        (Some(_), _) => None,
    }
}

fn make(path: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(MODE).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => fs::set_permissions(path, fs::Permissions::from_mode(MODE)),
        other => other,
    }
}

/// Removes a pin; that there was none is as good.
pub(crate) fn unpin(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::kernel(format!("remove the pin {}", path.display()), error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn on_bpffs(path: &Path) -> bool {
    #[expect(clippy::allow_attributes, reason = "the width of the field differs between architectures")]
    #[allow(clippy::unnecessary_cast, clippy::useless_conversion, reason = "as above")]
    rustix::fs::statfs(path).is_ok_and(|fs| i64::from(fs.f_type) == BPF_FS_MAGIC)
}

/// Makes sure that `root`, or the directory it will be made in, is on a BPF file system.
fn ensure_bpffs(root: &Path) -> Result<(), Error> {
    if root.exists() {
        return if on_bpffs(root) { Ok(()) } else { mount(root) };
    }
    let parent = root.parent().unwrap_or(root);
    if on_bpffs(parent) {
        return Ok(());
    }
    if parent == Path::new(BPFFS) {
        return mount(parent);
    }
    make(root).map_err(|source| Error::PinDirectory { path: root.to_owned(), source })?;
    mount(root)
}

/// Mounts over an empty directory only, so that nothing is ever hidden.
fn mount(path: &Path) -> Result<(), Error> {
    let empty = fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
    if !empty {
        return Err(Error::NotBpffs(path.to_owned()));
    }
    let flags = rustix::mount::MountFlags::NOSUID | rustix::mount::MountFlags::NODEV | rustix::mount::MountFlags::NOEXEC;
    rustix::mount::mount("bpf", path, "bpf", flags, Some(c"mode=0700")).map_err(|errno| match errno {
        rustix::io::Errno::PERM => {
            Error::NotPermitted { doing: "mounting a BPF file system", capability: "CAP_SYS_ADMIN", source: errno.into() }
        }
        other => Error::PinDirectory { path: path.to_owned(), source: other.into() },
    })?;
    tracing::info!(path = %path.display(), "mounted a BPF file system");
    Ok(())
}
