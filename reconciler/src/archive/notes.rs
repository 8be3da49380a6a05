//! Notes kept in files: the newest beside the database, all of them in a `file` anchor.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::Path;

use jiff::Timestamp;
use serde::Deserialize;

use super::opening::plain;
use super::reader::next_line;
use crate::audit::note::NOTE_BYTES_MAX;
use crate::audit::verify::{BESIDE, Evidence, Witnessed};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    put_at: String,
    note: String,
}

/// The note beside the database; `None` if there is none.
///
/// # Errors
/// It is there and cannot be read.
pub fn beside(database: &Path) -> Result<Option<Witnessed>, String> {
    let file = database.parent().unwrap_or(Path::new(".")).join(BESIDE);
    let bounded = |opened: File| {
        let mut bytes = Vec::new();
        let limit = u64::try_from(NOTE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
        opened.take(limit).read_to_end(&mut bytes).map(|_| bytes)
    };
    match plain(&file).and_then(bounded) {
        Ok(bytes) => {
            let note = String::from_utf8_lossy(&bytes).into_owned();
            Ok(Some(Witnessed { sink: BESIDE.to_owned(), note, at: None }))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("cannot read {}: {error}", file.display())),
    }
}

/// Reads the notes of one sink by its name.
///
/// # Errors
/// The sink cannot be read from here.
pub fn sink(name: &str, evidence: &mut Evidence) -> Result<(), String> {
    let Some(file) = name.strip_prefix("file:") else {
        return Err(format!("cannot read the anchor {name}: name a file with file:/PATH, or a ref with git:REF"));
    };
    evidence.asked(name);
    let cannot = |error: &dyn std::fmt::Display| format!("cannot read the anchor {name}: {error}");
    let mut lines = BufReader::new(plain(file).map_err(|error| cannot(&error))?);
    for number in 1_u64.. {
        match next_line(&mut lines) {
            Ok(None) => break,
            Ok(Some(line)) => match parse(&line) {
                Some((note, at)) => evidence.witnessed(&Witnessed { sink: name.to_owned(), note, at: Some(at) }),
                None => evidence.refuse(format!("{name}, line {number}"), "not a line of an anchor".to_owned()),
            },
            Err(why) if why.starts_with("it is cut off") => {
                evidence.remark(format!("the last line of {name} is cut off"));
                break;
            }
            Err(why) => return Err(cannot(&why)),
        }
    }
    Ok(())
}

fn parse(line: &[u8]) -> Option<(String, Timestamp)> {
    let line: Line = serde_json::from_slice(line).ok()?;
    Some((line.note, moment(&line.put_at)?))
}

/// A time in UTC as this program writes it, `2026-01-31T12:00:00Z` with or without a fraction; other spellings are not taken, so that
/// every reader agrees.
fn moment(text: &str) -> Option<Timestamp> {
    let fits = text.len() <= 30
        && text.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            10 => byte == b'T',
            13 | 16 => byte == b':',
            0..19 => byte.is_ascii_digit(),
            _ => true,
        });
    let fraction = text.get(19..)?.strip_suffix('Z').filter(|_| fits)?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !fraction.is_empty() && !fraction.strip_prefix('.').is_some_and(digits) {
        return None;
    }
    // Not every reader knows leap seconds, the year 0, or the last hours of the year 9999.
    if text.get(17..19) == Some("60") || text.starts_with("0000") || text.starts_with("9999") {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_are_written_and_no_other_way() {
        for good in ["2026-01-31T12:00:00Z", "2026-01-31T12:00:00.5Z", "2026-01-31T12:00:00.123456789Z"] {
            assert!(moment(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "2026-01-31T12:00:00",
            "2026-01-31 12:00:00Z",
            "2026-01-31T12:00:00+00:00",
            "2026-01-31T12:00:00.Z",
            "2026-02-30T12:00:00Z",
            "2026-01-31T12:00:60Z",
            "2026-01-31T24:00:00Z",
            "2026-01-31T12:00:00.1234567890Z",
            "0000-01-31T12:00:00Z",
            "ä26-01-31T12:00:00Z",
        ] {
            assert!(moment(bad).is_none(), "{bad}");
        }
    }
}
