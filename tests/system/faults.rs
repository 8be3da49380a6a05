//! The list of faults against the sources: a case whose test is gone, or a test that the list does not know, is found here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const FOLDERS: [&str; 6] =
    ["reconciler/src", "reconciler/tests", "reconciler/policy/src", "tests", "webhook", "enforcer-ebpf/loader"];

/// Names of tests that begin with other letters mean other lists, the table of the policy language say.
const CHAPTERS: &[u8] = b"wfgydhalo";

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true if path.ends_with("target") => {}
            true => sources(&path, found),
            false if path.extension().is_some_and(|end| end == "rs") => found.push(path),
            false => {}
        }
    }
}

/// The names of functions, and texts that begin a row of a table.
fn names(text: &str) -> impl Iterator<Item = &str> {
    ["fn ", "(\""].into_iter().flat_map(move |before| {
        text.match_indices(before).map(move |(at, _)| {
            let rest = text.get(at + before.len()..).unwrap_or_default();
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            rest.get(..end).unwrap_or_default()
        })
    })
}

/// `D01` and `D02` of `d01_d02_…`.
fn cases(name: &str) -> Vec<String> {
    let is_case = |part: &&str| {
        let mut bytes = part.bytes();
        part.len() == 3 && bytes.next().is_some_and(|b| CHAPTERS.contains(&b)) && bytes.all(|b| b.is_ascii_digit())
    };
    name.split('_').take_while(is_case).map(str::to_uppercase).collect()
}

#[test]
fn the_list_of_faults_names_every_test_and_every_test_it_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let list = std::fs::read_to_string(root.join("tests/FAULTS.md")).unwrap();
    let mut files = Vec::new();
    FOLDERS.iter().for_each(|folder| sources(&root.join(folder), &mut files));
    let texts: Vec<String> = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let existing: BTreeSet<&str> = texts.iter().flat_map(|text| names(text)).collect();

    let mut listed = BTreeSet::new();
    for row in list.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| #")) {
        let case = row.split(' ').nth(1).unwrap();
        let tests = row.rsplit_once(" | ").unwrap().1;
        assert!(tests.contains('`') || tests.contains("**none**"), "{case} says nothing of its tests");
        for name in tests.split('`').skip(1).step_by(2).filter(|name| !name.contains("::") && name.contains('_')) {
            assert!(existing.contains(name), "{case}: there is no test {name}");
            listed.insert((case.to_owned(), name));
        }
    }
    let is_test = |name: &&&str| !cases(name).is_empty() && name.len() > 8;
    for name in existing.iter().filter(is_test) {
        for case in cases(name) {
            assert!(listed.contains(&(case.clone(), *name)), "tests/FAULTS.md does not know {name} under {case}");
        }
    }
}
