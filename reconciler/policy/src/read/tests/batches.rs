//! Files in batches: whoever reads them, and in whatever order.

use alloc::format;
use alloc::string::String;

use super::SEED;
use crate::read::limits::{FILES_MAX, PROBLEMS_MAX, SET_BYTES_MAX};
use crate::read::{Code, Which, read, read_with};
use crate::snapshot::{Entry, Snapshot};

fn set(files: usize, text: impl Fn(usize) -> String) -> Snapshot {
    Snapshot { entries: (0..files).map(|i| (format!("{i:05}.yaml"), Entry::File(text(i).into_bytes()))).collect() }
}

/// Every third file is sound, the others have one or two problems each.
fn mixed(files: usize) -> Snapshot {
    set(files, |i| match i % 3 {
        0 => SEED.replace("name: cde-", &format!("name: p{i}-")),
        1 => String::from("kind: ["),
        _ => String::from("a: 1\n---\nb: 2\n"),
    })
}

#[test]
fn the_order_in_which_batches_are_read_changes_nothing() {
    let snapshot = mixed(3_000);
    let expected = read(&snapshot);
    assert_eq!((expected.set.policies.len(), expected.problems.len()), (2_000, PROBLEMS_MAX));
    assert_eq!(expected.more_problems, 3_000 - PROBLEMS_MAX);
    let mut count = 0;
    let backwards = read_with(&snapshot, Which::Found, |batches| {
        count = batches.len();
        batches.iter_mut().rev().for_each(crate::read::Batch::run);
    });
    assert!(count > 3, "{count}");
    assert_eq!(backwards, expected);
}

#[test]
fn a_batch_that_is_not_run_or_run_twice_is_read_once() {
    let snapshot = mixed(3_000);
    let reading = read_with(&snapshot, Which::Found, |batches| {
        for batch in batches.iter_mut().step_by(2) {
            batch.run();
            batch.run();
        }
    });
    assert_eq!(reading, read(&snapshot));
}

#[test]
fn the_first_problems_stay_whatever_the_batches() {
    let reading = read(&mixed(3_000));
    let last = reading.problems.last().unwrap();
    // Two files of three have a problem each, or two.
    assert_eq!(&*last.place.file, "01000.yaml");
}

#[test]
fn what_comes_before_the_file_that_is_too_much_is_read() {
    let many = read(&set(FILES_MAX + 5, |i| format!("kind: {i}")));
    assert_eq!((many.files, many.problems.len() + many.more_problems), (FILES_MAX + 1, FILES_MAX + 1));

    // Not text, so that nothing but its size takes time.
    let entry = Entry::File([0xFF].repeat(1_000_000));
    let heavy = read(&Snapshot { entries: (0..70).map(|i| (format!("{i}.yaml"), entry.clone())).collect() });
    assert_eq!(heavy.files, SET_BYTES_MAX / 1_000_000 + 1);
    let too_much = heavy.problems.iter().find(|p| p.code == Code::Limit).unwrap();
    assert!(too_much.message.contains("SET_BYTES_MAX"), "{}", too_much.message);
}
