//! A file that only grows: one line of JSON for each note, durable before it counts. Best on another mount, with `chattr +a`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use super::{Anchor, AnchorError, Found, Ours, Parcel, Receipt};
use crate::audit::Note;
use crate::audit::note::NOTE_BYTES_MAX;

/// How much of the end is read at least for the newest note: some thousand of them. All of it is at the first look.
const TAIL_BYTES: u64 = 2 * 1024 * 1024;
/// One read, from the end on.
const PART_BYTES: u64 = 64 * 1024;
/// A longer line is no note, and is not kept in memory.
const LINE_BYTES_MAX: usize = 2 * NOTE_BYTES_MAX;

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
    /// Whether all of it was looked at.
    looked: AtomicBool,
}

impl FileAnchor {
    /// An anchor in that file, which is made when it is missing; its folder is not.
    #[must_use]
    pub fn new(name: String, path: PathBuf) -> Self {
        Self { name, path, looked: AtomicBool::new(false) }
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
        let (path, ours) = (self.path.clone(), ours.clone());
        let at_least = if self.looked.load(Ordering::Relaxed) { TAIL_BYTES } else { u64::MAX };
        let read = tokio::task::spawn_blocking(move || {
            let mut search = Search { ours, best: None, forged: None };
            from_the_end(&path, at_least, &mut search).map(|()| search.best.or(search.forged))
        });
        match read.await.map_err(|error| AnchorError(error.to_string()))? {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => {
                let found = read.map_err(|error| self.failed("read", &error))?;
                self.looked.store(true, Ordering::Relaxed);
                Ok(found)
            }
        }
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

/// What is looked for, line by line.
struct Search {
    ours: Ours,
    best: Option<Found>,
    /// A note in our name by another key: told only where none of ours is there.
    forged: Option<Found>,
}

impl Search {
    fn line(&mut self, line: &[u8]) {
        let Ok(line) = serde_json::from_slice::<Line>(line) else { return };
        let Ok(note) = Note::parse(&line.note) else { return };
        let found = Found { note, at: Some(line.put_at) };
        // Signatures are checked where they matter only: a long file has many notes.
        let rank = |found: &Found| (found.note.checkpoint.size, found.at);
        if self.best.as_ref().is_some_and(|best| rank(best) >= rank(&found)) {
            return;
        }
        if self.ours.signed(&found.note) {
            self.best = Some(found);
        } else if self.best.is_none() && self.forged.is_none() && self.ours.forged(&found.note) {
            self.forged = Some(found);
        }
    }
}

/// Reads lines from the end on: so many bytes, and on until a note of ours is found, so that nothing put behind it hides it.
fn from_the_end(path: &Path, at_least: u64, search: &mut Search) -> io::Result<()> {
    let mut file = open(OpenOptions::new().read(true), path)?;
    let length = file.metadata()?.len();
    // The front of a line whose end was read before; none where it is longer than a note can be.
    let (mut left, mut ending) = (length, Some(Vec::new()));
    while left > 0 && (search.best.is_none() || length.saturating_sub(left) < at_least) {
        let size = left.min(PART_BYTES);
        left -= size;
        file.seek(SeekFrom::Start(left))?;
        let mut part = Vec::new();
        (&mut file).take(size).read_to_end(&mut part)?;
        let mut lines = part.split(|byte| *byte == b'\n');
        let first = lines.next().unwrap_or_default();
        let mut whole: Vec<&[u8]> = lines.collect();
        let Some(last) = whole.pop() else {
            ending = joined(first, ending);
            continue;
        };
        if let Some(line) = joined(last, ending.take()) {
            search.line(&line);
        }
        whole.iter().rev().for_each(|line| search.line(line));
        ending = joined(first, Some(Vec::new()));
    }
    if left == 0
        && let Some(line) = ending
    {
        search.line(&line);
    }
    Ok(())
}

fn joined(front: &[u8], ending: Option<Vec<u8>>) -> Option<Vec<u8>> {
    let ending = ending?;
    (front.len().saturating_add(ending.len()) <= LINE_BYTES_MAX).then(|| [front, &ending].concat())
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
        let ours = Ours { keys: vec![us.verifier().clone()], ..Ours::default() };
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
    async fn d08_junk_behind_the_notes_and_old_notes_again_hide_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("anchors");
        let us = signer("us/pci-segment/1", 1);
        let ours = Ours { keys: vec![us.verifier().clone()], ..Ours::default() };
        let first = FileAnchor::new("file:a".to_owned(), path.clone());
        first.put(&parcel(&us, 9)).await.unwrap();
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(&vec![b'x'; 3 * 1024 * 1024]).unwrap();
        for looked in [false, true] {
            let anchor = FileAnchor::new("file:a".to_owned(), path.clone());
            anchor.looked.store(looked, Ordering::Relaxed);
            assert_eq!(anchor.latest(&ours).await.unwrap().unwrap().note.checkpoint.size, 9);
        }
        let line = Line { put_at: Timestamp::now(), note: us.sign(5, [7; 32]).to_string() };
        let again = format!("\n{}", serde_json::to_string(&line).unwrap()).repeat(20_000);
        assert!(again.len() > usize::try_from(TAIL_BYTES).unwrap());
        file.write_all(again.as_bytes()).unwrap();
        let anchor = FileAnchor::new("file:a".to_owned(), path.clone());
        assert_eq!(anchor.latest(&ours).await.unwrap().unwrap().note.checkpoint.size, 9);
    }

    #[tokio::test]
    async fn d16_a_note_in_our_name_by_another_key_is_told_where_none_of_ours_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let (us, forger) = (signer("us/pci-segment/1", 1), signer("us/pci-segment/1", 3));
        let anchor = FileAnchor::new("file:a".to_owned(), folder.path().join("anchors"));
        anchor.put(&parcel(&forger, 30)).await.unwrap();
        let ours = Ours { keys: vec![us.verifier().clone()], install: Some("1".to_owned()), ..Ours::default() };
        let found = anchor.latest(&ours).await.unwrap().unwrap();
        assert!(ours.forged(&found.note) && !ours.signed(&found.note));
        anchor.put(&parcel(&us, 5)).await.unwrap();
        assert!(ours.signed(&anchor.latest(&ours).await.unwrap().unwrap().note));
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
