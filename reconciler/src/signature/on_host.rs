//! The list of signers on this host: one file, and the OpenPGP keys beside it.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

use super::Signers;
use crate::converge::SourceError;
use crate::source::{failed, refused};

/// A larger file is a mistake, not a list.
pub(crate) const LIST_BYTES_MAX: u64 = 1024 * 1024;
/// OpenPGP key files beside a list.
pub(crate) const ARMORED_FILES_MAX: usize = 1000;
/// How the names of OpenPGP key files end.
pub(crate) const ARMORED: &str = ".asc";

/// Reads the list at a path and every `.asc` file in its folder.
///
/// # Errors
/// A file that cannot be read, or a line or key that cannot be honoured.
pub fn read(path: &Path) -> Result<Signers, SourceError> {
    let doing = || format!("cannot read source.verify.allowed_signers_file {}", path.display());
    let list = content(path).map_err(|error| failed(doing(), error))?;
    let mut armored = Vec::new();
    let folder = path.parent().unwrap_or(Path::new("/"));
    for entry in fs::read_dir(folder).map_err(|error| failed(doing(), error))? {
        let entry = entry.map_err(|error| failed(doing(), error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.ends_with(ARMORED) {
            continue;
        }
        if armored.len() >= ARMORED_FILES_MAX {
            return Err(refused(format!("more than {ARMORED_FILES_MAX} {ARMORED} files lie in {}", folder.display())));
        }
        let bytes = content(&entry.path()).map_err(|error| failed(format!("cannot read {}", entry.path().display()), error))?;
        armored.push((name, bytes));
    }
    Signers::parse(&list, &armored).map_err(|error| failed(doing(), error))
}

fn content(path: &Path) -> io::Result<Vec<u8>> {
    // Opening a pipe without a writer would wait for one.
    let file = fs::File::options().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    let mut bytes = Vec::new();
    file.take(LIST_BYTES_MAX.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= LIST_BYTES_MAX) {
        Ok(bytes)
    } else {
        Err(io::Error::other(format!("it has more than {LIST_BYTES_MAX} bytes")))
    }
}
