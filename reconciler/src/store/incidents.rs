//! What happened when the database could not be written, in a small file beside it: `<db>.failures`, one JSON object a line.
//!
//! The next start turns each line into a row of the log, by its event id, so that a line that is read twice is one row. Two errors of
//! the disk within ten minutes make a start hold: nothing is changed until somebody has looked and says `resume`. That decision lies
//! here too, because a database on such a disk is not to be trusted with it.

use std::fs::{self, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::files::beside;
use crate::audit::event::{fresh_id, tidy};

/// Errors within this time belong together.
const TOGETHER: SignedDuration = SignedDuration::from_mins(10);
/// So many of them, and the next start holds.
const ERRORS_BEFORE_HOLD: usize = 2;
/// Less room than this explains an error by itself.
const ROOM_BYTES_MIN: u64 = 256 * 1024;
/// A longer file is none of ours; a line has some hundred bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// What kind of thing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum What {
    /// The process ended because of the disk.
    Error,
    /// A start found too many of these, and holds.
    Held,
    /// Somebody put a backup in the place of the database.
    Restored,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Incident {
    pub(super) id: [u8; 16],
    pub(super) at: Timestamp,
    pub(super) what: What,
    pub(super) why: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) who: Option<String>,
}

impl Incident {
    pub(super) fn new(what: What, why: &str, at: Timestamp) -> Self {
        Self { id: fresh_id(at), at, what, why: tidy(why, 1_000), who: None }
    }
}

/// Adds a line. A disk that fails may refuse this too; then the next start knows nothing of it, and nothing else is lost.
pub(super) fn record(database: &Path, what: What, why: &str, at: Timestamp) {
    if what == What::Error && no_room(database) {
        // SQLite does not always tell the two apart, and a full disk needs nobody's resume.
        return;
    }
    if let Err(error) = add(database, &Incident::new(what, why, at)) {
        tracing::warn!("cannot note what happened beside the database: {error}");
    }
}

/// Whether the disk is as good as full.
pub(super) fn no_room(database: &Path) -> bool {
    let free = rustix::fs::statvfs(database.parent().unwrap_or(Path::new("/")));
    free.is_ok_and(|free| free.f_bavail.saturating_mul(free.f_frsize) < ROOM_BYTES_MIN)
}

/// The same with an answer.
pub(super) fn add(database: &Path, incident: &Incident) -> std::io::Result<()> {
    let mut line = serde_json::to_string(incident)?;
    line.push('\n');
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(beside(database, ".failures"))?;
    file.write_all(line.as_bytes())?;
    file.sync_all()
}

/// Every line that can be read; one that was cut short tells nothing.
pub(super) fn all(database: &Path) -> Vec<Incident> {
    let Ok(file) = fs::File::open(beside(database, ".failures")) else { return Vec::new() };
    let mut text = Vec::new();
    let _ = file.take(FILE_BYTES_MAX).read_to_end(&mut text);
    String::from_utf8_lossy(&text).lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Why a start has to hold, if it has to; noted, so that the starts after it hold too.
pub(super) fn held(database: &Path, known: &mut Vec<Incident>, now: Timestamp) -> Option<String> {
    if let Some(standing) = known.iter().find(|one| one.what == What::Held) {
        return Some(standing.why.clone());
    }
    let errors: Vec<&Incident> = known.iter().filter(|one| one.what == What::Error && is_recent(one, now)).collect();
    let last = errors.last().filter(|_| errors.len() >= ERRORS_BEFORE_HOLD)?;
    let why = format!("the database failed {} times within 10 minutes, last with: {}", errors.len(), last.why);
    let incident = Incident::new(What::Held, &why, now);
    if let Err(error) = add(database, &incident) {
        tracing::warn!("cannot note beside the database that changes are held: {error}");
    }
    known.push(incident);
    Some(why)
}

/// A time to come is one of a clock that was set back.
fn is_recent(one: &Incident, now: Timestamp) -> bool {
    now.duration_since(one.at) <= TOGETHER
}

/// What is on record in the database by now is needed no more, but for errors that may still count and a standing hold.
pub(super) fn forget(database: &Path, known: &[Incident], now: Timestamp) {
    let needed = |one: &&Incident| one.what == What::Held || one.what == What::Error && is_recent(one, now);
    let left: Vec<&Incident> = known.iter().filter(needed).collect();
    if left.len() < known.len()
        && let Err(error) = replace(database, &left)
    {
        tracing::warn!("cannot shorten the list of failures beside the database: {error}");
    }
}

/// Ends a hold, and lets earlier errors count no more.
///
/// # Errors
/// The file cannot be changed: the next start would hold again.
pub(super) fn release(database: &Path) -> std::io::Result<()> {
    replace(database, &[])
}

fn replace(database: &Path, left: &[&Incident]) -> std::io::Result<()> {
    let name = beside(database, ".failures");
    if left.is_empty() {
        return match fs::remove_file(&name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        };
    }
    let mut text = String::new();
    for incident in left {
        text.push_str(&serde_json::to_string(incident)?);
        text.push('\n');
    }
    let new = beside(database, ".failures.new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(new, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + minutes * 60).unwrap()
    }

    fn holds(file: &Path, minutes: i64) -> bool {
        held(file, &mut all(file), at(minutes)).is_some()
    }

    #[test]
    fn d02_two_errors_within_ten_minutes_hold_every_start_until_they_are_released() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.db");
        assert!(!holds(&file, 0));
        record(&file, What::Error, "disk I/O error", at(0));
        assert!(!holds(&file, 1), "one may be an accident");
        record(&file, What::Error, "disk I/O error", at(11));
        assert!(!holds(&file, 12), "and so may two that have nothing to do with each other");
        record(&file, What::Error, "disk I/O error", at(20));
        assert!(holds(&file, 20) && holds(&file, 60 * 24), "a hold has no end of its own");
        release(&file).unwrap();
        assert!(!holds(&file, 20) && all(&file).is_empty());
    }

    #[test]
    fn a_clock_that_was_set_back_makes_no_error_too_old_to_count() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.db");
        record(&file, What::Error, "one", at(100));
        record(&file, What::Error, "two", at(101));
        assert!(holds(&file, 0));
    }

    #[test]
    fn a_line_that_was_cut_short_hides_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.db");
        record(&file, What::Error, "one", at(0));
        let whole = fs::read(beside(&file, ".failures")).unwrap();
        fs::write(beside(&file, ".failures"), [&whole[..], &whole[..20], b"\n"].concat()).unwrap();
        record(&file, What::Restored, "a copy", at(1));
        let known = all(&file);
        assert_eq!(known.iter().map(|one| one.what).collect::<Vec<_>>(), [What::Error, What::Restored]);
        forget(&file, &known, at(2));
        assert_eq!(all(&file).len(), 1, "the error may still count");
        forget(&file, &all(&file), at(30));
        assert!(all(&file).is_empty());
    }
}
