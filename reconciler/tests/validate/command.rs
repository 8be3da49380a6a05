//! Exit codes, standard input, and what happens to paths that cannot be read.

use super::{DAY, Folder, GOOD, OPEN, WIDE, code, json, policy, run, stderr, stdout};

const FORMATS: [&str; 5] = ["human", "json", "sarif", "junit", "github"];

#[test]
fn the_exit_code_is_the_same_in_every_format() {
    let good = Folder::new(&[("a.yaml", &policy("cde-a", GOOD))]);
    let wide = Folder::new(&[("a.yaml", &policy("cde-a", WIDE))]);
    let open = Folder::new(&[("a.yaml", &policy("cde-a", OPEN))]);
    for format in FORMATS {
        let exit = |folder: &Folder, more: &[&str]| code(&folder.validate(&[&["--format", format], more].concat()));
        assert_eq!((exit(&good, &[]), exit(&good, &["--strict"])), (0, 0), "{format}");
        assert_eq!((exit(&wide, &[]), exit(&wide, &["--strict"])), (0, 1), "{format}");
        assert_eq!((exit(&open, &[]), exit(&open, &["--strict"])), (1, 1), "{format}");
    }
}

#[test]
fn the_last_line_says_how_it_ended_and_why() {
    let last = |block: &str, more: &[&str]| {
        let output = Folder::new(&[("a.yaml", &policy("cde-a", block))]).validate(more);
        stdout(&output).lines().last().unwrap().to_owned()
    };
    assert!(last(GOOD, &[]).starts_with("compliant: 1 policy in 1 file, profile baseline, 0 errors, 0 warnings"));
    assert!(last(WIDE, &[]).starts_with("compliant: 1 policy in 1 file, profile baseline, 0 errors, 1 warning"));
    let strict = last(WIDE, &["--strict"]);
    assert!(strict.starts_with("not compliant: ") && strict.contains("(--strict)"), "{strict}");
    assert!(last(OPEN, &[]).starts_with("not compliant: "));
}

#[test]
fn what_needs_more_facts_is_named_with_what_it_needs() {
    let output = Folder::new(&[("a.yaml", &policy("cde-a", GOOD))]).validate(&[]);
    let line = stdout(&output).lines().find(|line| line.trim_start().starts_with("backends ")).unwrap();
    assert!(line.contains("PCI-1.2.8-008"), "{line}");
}

#[test]
fn a_path_that_cannot_be_read_ends_with_two_and_the_others_are_still_judged() {
    let folder = Folder::new(&[("a.yaml", &policy("cde-a", GOOD))]);
    for format in FORMATS {
        let output = run(folder.path(), &["validate", "-f", "a.yaml", "missing.yaml", "--as-of", DAY, "--format", format], "");
        assert_eq!(code(&output), 2, "{format}");
        assert!(stdout(&output).contains("missing.yaml"), "{format}: {output:?}");
        assert!(stderr(&output).starts_with("error: missing.yaml: no such file"), "{format}: {output:?}");
    }
    let report = json(&run(folder.path(), &["validate", "-f", "a.yaml", "missing.yaml", "--format", "json"], ""));
    assert_eq!((&report["compliant"], &report["findings"][0]["code"]), (&false.into(), &"not-a-file".into()), "{report:#}");
}

#[test]
fn nothing_to_read_is_one_line_and_two() {
    let folder = Folder::new(&[("notes.txt", "none")]);
    for path in [".", "missing.yaml", "*.yaml"] {
        let output = run(folder.path(), &["validate", "-f", path], "");
        assert_eq!((code(&output), stdout(&output), stderr(&output).lines().count()), (2, "", 1), "{output:?}");
    }
    let comments = Folder::new(&[("a.yaml", "# none yet\n")]);
    assert_ne!(code(&comments.validate(&[])), 0);
}

#[test]
fn a_dash_is_standard_input() {
    let folder = Folder::new(&[]);
    let judge = |text: &str| run(folder.path(), &["validate", "-f", "-", "--as-of", DAY], text);
    assert_eq!(code(&judge(&policy("cde-a", GOOD))), 0);
    let refused = judge(&policy("cde-a", OPEN));
    assert_eq!(code(&refused), 1);
    assert!(stdout(&refused).contains(" --> <stdin>:7:38\n"), "{refused:?}");
}

#[test]
fn standard_input_past_the_limit_is_refused() {
    let folder = Folder::new(&[]);
    let output = run(folder.path(), &["validate", "-f", "-"], &"# comment\n".repeat(200_000));
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("standard input has more than 1048576 bytes"), "{output:?}");
}

#[test]
fn what_cannot_be_decoded_is_a_finding_without_an_excerpt() {
    let folder = Folder::new(&[]);
    std::fs::write(folder.path().join("a.yaml"), b"kind: \xff\n").unwrap();
    let output = folder.validate(&[]);
    assert_eq!(code(&output), 1);
    assert!(stdout(&output).contains("--> a.yaml:1:7\n"), "{output:?}");
}
