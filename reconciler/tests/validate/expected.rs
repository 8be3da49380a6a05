//! What people and GitHub see, word for word: each case has its expected output beside its policy files.
//!
//! After a change that is meant, `PCI_SEGMENT_BLESS=1 cargo test -p pci-segment --test validate` writes them anew; read the diff.

use std::fs;

use super::{DAY, case, run, stdout};

/// The findings of a human report: what follows says which rules there are, and changes with each new one.
fn findings(text: &str) -> &str {
    text.find(" did not run, or not wholly. What they need:")
        .and_then(|at| text[..at].rfind('\n'))
        .map_or(text, |end| &text[..=end])
}

fn hold(name: &str, format: &str, actual: &str) {
    let file = case(name).join(format!("{format}.txt"));
    if std::env::var_os("PCI_SEGMENT_BLESS").is_some() {
        fs::write(&file, actual).unwrap();
    }
    let expected = fs::read_to_string(&file).unwrap();
    assert_eq!(actual, expected, "{name}: {format}");
}

fn shown(name: &str, format: &str) -> String {
    let output = run(&case(name), &["validate", "-f", ".", "--as-of", DAY, "--format", format], "");
    stdout(&output).to_owned()
}

#[test]
fn findings_are_drawn_with_their_line_and_related_places() {
    for name in ["open", "text", "waived"] {
        hold(name, "human", findings(&shown(name, "human")));
    }
}

#[test]
fn findings_become_annotations() {
    for name in ["open", "text", "waived"] {
        hold(name, "github", &shown(name, "github"));
    }
}

#[test]
fn the_same_input_and_day_give_the_same_bytes() {
    for format in ["human", "json", "sarif", "junit", "github"] {
        assert_eq!(shown("text", format), shown("text", format), "{format}");
    }
}

#[test]
fn no_format_sends_a_terminal_what_would_steer_it() {
    for format in ["human", "json", "sarif", "junit", "github"] {
        let text = shown("text", format);
        let steering = |c: char| c.is_control() && c != '\n' || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        assert!(!text.chars().any(steering), "{format}: {text}");
    }
}
