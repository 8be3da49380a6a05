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
            data(&format!("{} {}", finding.message, finding.remediation)),
        ));
    }
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
    fn text_from_a_repository_cannot_start_a_command_of_its_own() {
        assert_eq!(data("a\n::error::b"), "a%0A::error::b");
        assert_eq!(property("a,line=1:b"), "a%2Cline=1%3Ab");
    }
}
