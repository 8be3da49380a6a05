//! A pack while it is being received: what it already says of itself.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// Only a guess while files come and go, which is enough for a limit.
#[derive(Default)]
pub(super) struct Unfinished {
    /// Bytes so far.
    pub(super) bytes: u64,
    /// Objects that the header promises.
    pub(super) objects: u64,
}

/// Looks at what lies in the mirror and is not a pack yet.
pub(super) fn look(mirror: &Path) -> Unfinished {
    let mut found = Unfinished::default();
    let Ok(files) = std::fs::read_dir(mirror.join("objects/pack")) else {
        return found;
    };
    for file in files.flatten().filter(|file| !file.file_name().to_string_lossy().starts_with("pack-")) {
        found.bytes += file.metadata().map_or(0, |about| about.len());
        found.objects = found.objects.max(objects(&file.path()));
    }
    found
}

/// The header of a pack: four letters, a version, and how many objects follow.
fn objects(file: &Path) -> u64 {
    let mut header = [0; 12];
    let read = File::open(file).and_then(|mut file| file.read_exact(&mut header));
    match header {
        [b'P', b'A', b'C', b'K', _, _, _, _, a, b, c, d] if read.is_ok() => u64::from(u32::from_be_bytes([a, b, c, d])),
        _ => 0,
    }
}
