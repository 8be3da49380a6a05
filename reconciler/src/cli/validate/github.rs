//! Findings as workflow commands, which GitHub shows beside the changed lines.

use policy::admit::Judgement;
use policy::finding::Severity;

use crate::cli::output::Output;

pub(super) fn print(judgement: &Judgement, out: Output) {
    for finding in &judgement.findings {
        let level = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info => "notice",
        };
        let place = &finding.place;
        out.line(format!(
            "::{level} file={},line={},col={},title={}::{}",
            property(&place.file),
            place.spot.line,
            place.spot.column,
            finding.rule_id,
            data(&sentences(&finding.message, &finding.remediation)),
        ));
    }
}

/// What is wrong, then what to do: two sentences, or two halves of one.
fn sentences(message: &str, remediation: &str) -> String {
    let separator = match (message.ends_with(['.', '!', '?']), remediation.starts_with(char::is_lowercase)) {
        (true, _) => " ",
        (false, true) => "; ",
        (false, false) => ". ",
    };
    format!("{message}{separator}{remediation}")
}

/// The escapes of GitHub's workflow commands for a message.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// The same for a property, which also ends at `:` and `,`.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_and_the_remedy_do_not_run_together() {
        assert_eq!(sentences("port 23 is open", "close it"), "port 23 is open; close it");
        assert_eq!(sentences("Port 23 is open", "Close it"), "Port 23 is open. Close it");
        assert_eq!(sentences("Port 23 is open.", "Close it"), "Port 23 is open. Close it");
    }

    #[test]
    fn text_from_a_repository_cannot_start_a_command_of_its_own() {
        assert_eq!(data("a\n::error::b"), "a%0A::error::b");
        assert_eq!(property("a,line=1:b"), "a%2Cline=1%3Ab");
    }
}
