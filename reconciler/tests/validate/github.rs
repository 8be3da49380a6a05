//! Annotations: GitHub shows ten of each level of a step.

use super::{Folder, OPEN, code, policy, stdout};

/// A set with this many errors, and twice as many notices.
fn many(errors: usize) -> Folder {
    let files: Vec<(String, String)> = (0..errors)
        .map(|n| {
            // A port of its own for each, or all but one would be redundant.
            let policy = policy(&format!("cde-{n}"), OPEN).replace("443", &(8443 + n).to_string());
            let policy = policy.replace(", annotations: {pci-dss: \"Req 1.3.1\"}", "");
            (format!("{n:02}.yaml"), policy.replace("  policyTypes: [Ingress, Egress]\n", ""))
        })
        .collect();
    Folder::new(&files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect::<Vec<_>>())
}

#[test]
fn errors_come_first_and_a_notice_that_is_shown_says_how_many_there_are() {
    let output = many(12).validate(&["--format", "github"]);
    assert_eq!(code(&output), 1);
    let lines: Vec<&str> = stdout(&output).lines().collect();
    let commands: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("::")?.split([' ', ':']).next()).collect();
    let first_notice = commands.iter().position(|command| *command == "notice").unwrap();
    assert!(commands[..first_notice].iter().all(|command| *command == "error"), "{commands:?}");
    assert_eq!((first_notice, commands.len() - first_notice), (12, 10), "{commands:?}");
    assert!(
        lines.last().unwrap().starts_with("::notice title=pci-segment::12 errors, 0 warnings and 24 notices in all"),
        "{lines:?}"
    );
    // The other notices are lines of the log.
    assert_eq!(lines.iter().filter(|line| line.starts_with("notice[")).count(), 24 - 9);
}

#[test]
fn as_many_as_github_shows_need_no_total() {
    let output = many(5).validate(&["--format", "github"]);
    assert_eq!(stdout(&output).lines().filter(|line| line.starts_with("::error ")).count(), 5);
    assert!(!stdout(&output).contains("in all"), "{output:?}");
}
