//! Any bytes as the files of a set: they are read and judged without a panic, and what is said of them holds together.
//!
//! 0xFF, which no text has, ends a file and begins the next.

use policy::admit::{Circumstances, Judgement, admit};
use policy::date::Date;
use policy::finding::Severity;
use policy::read::limits::PROBLEMS_MAX;
use policy::read::{Code, Reading, read};
use policy::snapshot::{Entry, Snapshot};

/// Checks one input; the judgement, for whoever wants to know more.
pub(crate) fn check(data: &[u8]) -> Option<Judgement> {
    let snapshot = |files: &[&[u8]]| Snapshot {
        entries: files.iter().enumerate().map(|(i, file)| (format!("{i:04}.yaml"), Entry::File(file.to_vec()))).collect(),
    };
    let files: Vec<&[u8]> = data.split(|byte| *byte == 0xFF).collect();
    let reading = read(&snapshot(&files));
    holds_together(&reading, files.len());
    if let [file] = files[..] {
        is_nothing_lost(&reading);
        does_the_reader_of_plain_text_agree(file, &reading, |file| read(&snapshot(&[file])));
    }
    let clean = reading.problems.is_empty();
    let judgement = admit(reading, &Circumstances::on(Date::new(2026, 2, 1)?));
    assert!(clean || !judgement.compliant(), "compliant although something could not be read");
    let refused = judgement.findings.iter().any(|f| f.severity == Severity::Error && f.waiver.is_none());
    assert!(!(refused && judgement.compliant()), "compliant although there is an error");
    Some(judgement)
}

fn holds_together(reading: &Reading, files: usize) {
    assert!(reading.files <= files && reading.problems.len() <= PROBLEMS_MAX);
    assert!(reading.more_problems == 0 || reading.problems.len() == PROBLEMS_MAX);
    for problem in &reading.problems {
        assert!(problem.place.spot.line > 0 && problem.place.spot.column > 0, "{problem:?}");
        assert!(!problem.message.is_empty() && problem.message.len() < 4_096, "{problem:?}");
        assert!(!problem.message.contains(|c: char| c.is_control()), "{problem:?}");
    }
}

/// A file that says nothing is a problem.
fn is_nothing_lost(reading: &Reading) {
    assert!(!reading.problems.is_empty() || !reading.set.kinds.is_empty(), "a file without a document and without a problem");
}

/// Plain ASCII has a reader of its own. A comment that is not ASCII, before everything, sends the same text through the other.
fn does_the_reader_of_plain_text_agree(file: &[u8], reading: &Reading, read: impl Fn(&[u8]) -> Reading) {
    if !file.iter().all(|byte| *byte == b'\n' || (0x20..0x7F).contains(byte)) {
        return;
    }
    let other = read(&["# é\n".as_bytes(), file].concat());
    let seen = |reading: &Reading| {
        let mut seen: Vec<(Code, u32)> = reading.problems.iter().map(|p| (p.code, p.place.spot.column)).collect();
        seen.sort_unstable();
        (seen, reading.more_problems, reading.set.policies.len(), reading.set.kinds.clone())
    };
    assert_eq!(seen(reading), seen(&other), "two readers of the same text");
}
