//! What is said below a request: the verdict, what was found, and what would change on every target that is observed now.
//!
//! A forge takes a comment up to a size (GitHub 65,536 characters), so lines that do not fit are left out, whole, and the end says so. The
//! hidden line at the top is how the comment is found again. All text that is not our own goes through [`markdown`](super::markdown).

use policy::snapshot::CommitId;
use serde_json::Value;

use super::markdown::{code, escaped, fence, visible};
use super::{Boundary, Planned, PlannedTarget};
use crate::converge::TargetPlan;
use crate::store::Verdict;

/// How the comment is found again.
pub const MARK: &str = "<!-- pci-segment:plan -->";
/// The whole comment.
pub(super) const BYTES_MAX: usize = 60_000;
/// One text in it: a rule of thousands of ports must not crowd out the others.
const TEXT_BYTES_MAX: usize = 1_000;

/// What is said.
pub(super) struct Said<'a> {
    pub commit: CommitId,
    pub verdict: Verdict,
    /// Verdict, first finding, how many more.
    pub sentence: &'a str,
    /// As they are stored.
    pub findings: &'a Value,
    /// Findings that are counted and not listed.
    pub more_findings: usize,
    /// What each target would do.
    pub plan: Option<&'a Planned>,
    /// Rules that were not asked, and why.
    pub unseen: &'a [String],
    /// Where a person can read more.
    pub link: Option<&'a str>,
}

impl Said<'_> {
    /// The Markdown.
    pub(super) fn text(&self) -> String {
        let rest = match self.link {
            Some(link) => format!("<p>Shortened; <a href=\"{}\">the rest is here</a>.</p>\n", escaped(link)),
            None => {
                "<p>Shortened; <code>pci-segment validate</code> and <code>pci-segment plan</code> show the rest.</p>\n".to_owned()
            }
        };
        let mut page = Page::new(BYTES_MAX.saturating_sub(rest.len()));
        page.line(MARK);
        page.line(&format!("### pci-segment: {}", headline(self.verdict)));
        page.line("");
        page.line(&format!("<p>Commit {}: {}</p>", code(&self.commit.short()), code(&short(self.sentence))));
        page.line("");
        self.findings(&mut page);
        self.plan(&mut page);
        self.unseen(&mut page);
        let Page { mut text, cut, .. } = page;
        if cut {
            text.push_str(&rest);
        }
        text
    }

    fn findings(&self, page: &mut Page) {
        let mut findings: Vec<&Value> = self.findings.as_array().into_iter().flatten().collect();
        if findings.is_empty() {
            return;
        }
        findings.sort_by_key(|finding| weight(finding).0);
        page.line("#### Findings");
        page.line("");
        let open = ["<table>", "<tr><th>Rule</th><th>Severity</th><th>Where</th><th>What</th></tr>"];
        page.block(&open, findings.into_iter().map(row), "</table>");
        if self.more_findings > 0 {
            page.line(&format!("<p>{} more are counted and not listed.</p>", self.more_findings));
            page.line("");
        }
    }

    fn plan(&self, page: &mut Page) {
        page.line("#### Plan");
        page.line("");
        let Some(plan) = self.plan else {
            page.line("<p>None: only a compliant commit is planned.</p>");
            page.line("");
            return;
        };
        page.line(&format!("<p>What merging this would change now. {}</p>", boundary(&plan.boundary)));
        page.line("");
        if plan.targets.is_empty() {
            page.line("<p>No target is configured: nothing would change.</p>");
            page.line("");
        }
        for target in &plan.targets {
            match &target.plan {
                Ok(found) => show(target, found, page),
                Err(_) => {
                    page.line(&format!("<p><strong>{}</strong>: not planned, see below.</p>", code(&target.name)));
                    page.line("");
                }
            }
        }
    }

    fn unseen(&self, page: &mut Page) {
        let of_plan = self.plan.map(Planned::unseen).unwrap_or_default();
        if self.unseen.is_empty() && of_plan.is_empty() {
            return;
        }
        page.line("#### What could not be shown");
        page.line("");
        let line = |one: &String| format!("<li>{}</li>", code(&short(one)));
        if !of_plan.is_empty() {
            page.block(&["<ul>"], of_plan.iter().map(line), "</ul>");
        }
        if !self.unseen.is_empty() {
            // Folded: on a repository that declares little, dozens of lines would hide what was found.
            let summary = format!("<details><summary>{} rules that lack their facts were not asked</summary>", self.unseen.len());
            page.block(&[&summary, "<ul>"], self.unseen.iter().map(line), "</ul></details>");
        }
    }
}

fn row(finding: &Value) -> String {
    let text = |key: &str| finding.get(key).and_then(Value::as_str).unwrap_or("?");
    let line = finding.get("line").and_then(Value::as_u64).unwrap_or(1);
    let place = format!("{}:{line}", text("file"));
    let cells = [code(text("rule_id")), weight(finding).1.to_owned(), code(&short(&place)), code(&short(text("message")))];
    format!("<tr><td>{}</td></tr>", cells.join("</td><td>"))
}

fn headline(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Compliant => "compliant",
        Verdict::Rejected => "rejected",
        Verdict::Inexpressible => "cannot be enforced exactly",
        Verdict::Error => "not judged, because of an error",
        Verdict::Pending => "being validated",
    }
}

/// What comes first, and its word.
fn weight(finding: &Value) -> (u8, &'static str) {
    if finding.get("waiver").is_some_and(|waiver| !waiver.is_null()) {
        return (3, "waived");
    }
    match finding.get("severity").and_then(Value::as_str) {
        Some("error") => (0, "error"),
        Some("warning") => (1, "warning"),
        _ => (2, "info"),
    }
}

fn boundary(boundary: &Boundary) -> &'static str {
    match boundary {
        Boundary::Touched => {
            "<strong>The boundary of the CDE is touched</strong>: test the segmentation again (PCI DSS v4.0.1 11.4.5)."
        }
        Boundary::Untouched => "The boundary of the CDE is not touched.",
        Boundary::First => "Nothing is in force yet, so this draws the boundary of the CDE.",
        Boundary::Unknown(_) => "Whether the boundary of the CDE is touched is not known, see below.",
    }
}

fn show(target: &PlannedTarget, plan: &TargetPlan, page: &mut Page) {
    let numbers = format!("{} to put in force, {} to remove, {} unchanged", plan.create.len(), plan.delete.len(), plan.unchanged);
    page.line(&format!("<p><strong>{}</strong> ({}): {numbers}.</p>", code(&target.name), code(plan.backend)));
    if let Some(excess) = &target.held {
        page.line(&format!("<p>It would be held for a person: {}</p>", code(&short(excess))));
    }
    page.line("");
    let lines = steps(plan);
    if lines.is_empty() {
        return;
    }
    let fence = fence(lines.iter().map(String::as_str));
    page.block(&[&format!("{fence}diff")], lines.into_iter(), &fence);
}

/// One line for each change.
fn steps(plan: &TargetPlan) -> Vec<String> {
    let mut lines = Vec::new();
    for step in &plan.create {
        let before = if step.from.is_empty() { String::new() } else { format!(" (now: {})", step.from) };
        lines.push(format!("+ {}: {}{before}", step.key, step.to));
    }
    lines.extend(plan.delete.iter().map(|step| format!("- {}: {}", step.key, step.from)));
    lines.extend(plan.damage.iter().map(|damage| format!("! {}: {}", damage.key, damage.observed)));
    lines.iter().map(|line| visible(&short(line))).collect()
}

/// At most [`TEXT_BYTES_MAX`] bytes, cut at a character.
fn short(text: &str) -> String {
    if text.len() <= TEXT_BYTES_MAX {
        return text.to_owned();
    }
    let end = (0..=TEXT_BYTES_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}…", text.get(..end).unwrap_or_default())
}

/// Lines, as long as there is room.
struct Page {
    text: String,
    bytes_max: usize,
    /// A line was left out; so are all that follow, but for the ends of what is open.
    cut: bool,
}

impl Page {
    fn new(bytes_max: usize) -> Self {
        Self { text: String::new(), bytes_max, cut: false }
    }

    /// A line on its own.
    fn line(&mut self, line: &str) {
        if self.has_room(line.len() + 1) {
            self.push(line);
        }
    }

    /// Lines between two that belong together: both or none, since what follows an open one would be part of it.
    fn block(&mut self, open: &[&str], lines: impl Iterator<Item = String>, close: &str) {
        let room = close.len() + 2;
        if !self.has_room(open.iter().map(|line| line.len() + 1).sum::<usize>() + room) {
            return;
        }
        open.iter().for_each(|line| self.push(line));
        for line in lines {
            if !self.has_room(line.len() + 1 + room) {
                break;
            }
            self.push(&line);
        }
        self.push(close);
        self.push("");
    }

    fn has_room(&mut self, bytes: usize) -> bool {
        self.cut |= self.text.len() + bytes > self.bytes_max;
        !self.cut
    }

    fn push(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }
}

#[cfg(test)]
mod tests;
