//! A file that only grows: one line of JSON for each note, durable before it counts. Best on another mount, with `chattr +a`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use super::{Anchor, AnchorError, Found, Ours, Parcel, Receipt, newest};
use crate::audit::Note;

/// How much of the end is read for the newest note: some thousand of them.
const TAIL_BYTES_MAX: u64 = 2 * 1024 * 1024;

/// One line.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    put_at: Timestamp,
    note: String,
}

/// Notes in a file.
pub struct FileAnchor {
    name: String,
    path: PathBuf,
}

impl FileAnchor {
    /// An anchor in that file, which is made when it is missing; its folder is not.
    #[must_use]
    pub fn new(name: String, path: PathBuf) -> Self {
        Self { name, path }
    }

    fn failed(&self, doing: &str, error: &io::Error) -> AnchorError {
        AnchorError(format!("cannot {doing} {}: {error}", self.path.display()))
    }
}

impl Anchor for FileAnchor {
    fn name(&self) -> &str {
        &self.name
    }

    async fn put(&self, parcel: &Parcel) -> Result<Receipt, AnchorError> {
        let line = Line { put_at: Timestamp::now(), note: parcel.note.to_string() };
        let text = serde_json::to_string(&line).map_err(|error| AnchorError(error.to_string()))?;
        let path = self.path.clone();
        let done = tokio::task::spawn_blocking(move || append(&path, &text)).await;
        let end = done.map_err(|error| AnchorError(error.to_string()))?.map_err(|error| self.failed("write to", &error))?;
        Ok(Receipt(format!("byte {end}")))
    }

    async fn latest(&self, ours: &Ours) -> Result<Option<Found>, AnchorError> {
        let path = self.path.clone();
        let read = tokio::task::spawn_blocking(move || tail(&path)).await.map_err(|error| AnchorError(error.to_string()))?;
        let text = match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|error| self.failed("read", &error))?,
        };
        let lines = text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Line>(line).ok());
        let notes = lines.filter_map(|line| Some(Found { note: Note::parse(&line.note).ok()?, at: Some(line.put_at) }));
        Ok(newest(notes.filter(|found| ours.signed(&found.note))))
    }
}

/// Opens a plain file, not what a link points to, and waits for no pipe.
fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let file = options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed()).open(path)?;
    let about = file.metadata()?;
    if !about.is_file() || about.nlink() != 1 {
        return Err(io::Error::other("it is not a plain file with a single name"));
    }
    Ok(file)
}

fn append(path: &Path, line: &str) -> io::Result<u64> {
    let new = fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    let mut file = open(OpenOptions::new().read(true).append(true).create(true).mode(0o600), path)?;
    let length = file.metadata()?.len();
    // A line that was cut short by a crash must not swallow this one.
    let whole = match length.checked_sub(1) {
        None => true,
        Some(last) => {
            let mut byte = [0];
            file.seek(SeekFrom::Start(last))?;
            file.read_exact(&mut byte)?;
            byte == *b"\n"
        }
    };
    let text = if whole { format!("{line}\n") } else { format!("\n{line}\n") };
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    if new && let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(length)
}

fn tail(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = open(OpenOptions::new().read(true), path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES_MAX)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::*;
    use crate::audit::NoteSigner;

    fn signer(origin: &str, seed: u8) -> NoteSigner {
        NoteSigner::new(origin, SigningKey::from_bytes(&[seed; 32])).unwrap()
    }

    fn parcel(signer: &NoteSigner, size: u64) -> Parcel {
        Parcel { note: signer.sign(size, [7; 32]), commit: None, rows: Vec::new() }
    }

    #[tokio::test]
    async fn the_newest_note_of_ours_comes_back_whatever_else_is_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("anchors");
        let anchor = FileAnchor::new("file:a".to_owned(), path.clone());
        let (us, others, forger) = (signer("us/pci-segment/1", 1), signer("them/pci-segment/2", 2), signer("us/pci-segment/1", 3));
        let ours = Ours { keys: vec![us.verifier().clone()] };
        assert_eq!(anchor.latest(&ours).await, Ok(None), "no file");
        anchor.put(&parcel(&us, 5)).await.unwrap();
        anchor.put(&parcel(&us, 9)).await.unwrap();
        anchor.put(&parcel(&others, 20)).await.unwrap();
        anchor.put(&parcel(&forger, 30)).await.unwrap();
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"put_at\":\"2026-").unwrap();
        anchor.put(&parcel(&us, 7)).await.unwrap();
        let found = anchor.latest(&ours).await.unwrap().unwrap();
        assert_eq!(found.note.checkpoint.size, 9);
        assert!(found.at.is_some());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let lines = fs::read_to_string(&path).unwrap();
        assert_eq!(lines.lines().filter(|line| serde_json::from_str::<Line>(line).is_ok()).count(), 5);
    }

    #[tokio::test]
    async fn links_and_folders_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        fs::write(&target, "").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let us = signer("us/pci-segment/1", 1);
        for path in [link, folder.path().to_owned()] {
            let anchor = FileAnchor::new("file:a".to_owned(), path);
            assert!(anchor.put(&parcel(&us, 5)).await.is_err());
            assert!(anchor.latest(&Ours::default()).await.is_err());
        }
        assert_eq!(fs::read(&target).unwrap(), b"");
    }
}
