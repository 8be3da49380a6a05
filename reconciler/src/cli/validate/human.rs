//! Findings for people, drawn by the renderer that rustc uses: place, source line with the word underlined, related places, then what
//! a person does next. The last lines say what did not run, and the verdict.

use annotate_snippets::{Annotation, AnnotationKind, Element, Group, Level, Origin, Renderer, Snippet};
use policy::finding::{Finding, Severity};
use policy::model::{Place, Spot};
use policy::snapshot::Snapshot;

use super::Report;
use super::source::{Sources, word};
use super::words::{also, by_need, counted, meant, severity, waived, witness};
use crate::cli::output::{Output, Tone, escape};

/// Wider source lines are cut around the word; the same everywhere, so that the same input gives the same bytes.
const COLUMNS_MAX: usize = 132;
/// Related places shown with their line; of a hundred nobody needs more than these.
const RELATED_SHOWN_MAX: usize = 4;
/// Related places no further away share an excerpt.
const NEAR_LINES_MAX: u32 = 24;
/// Rules named beside what they need.
const NAMED_MAX: usize = 4;

pub(super) fn print(report: &Report<'_>, out: Output) {
    let judgement = report.judgement;
    let mut drawer = Drawer::new(report.snapshot, out);
    for finding in &judgement.findings {
        out.line(format_args!("{}\n", drawer.draw(finding)));
    }
    if judgement.more_problems > 0 {
        out.line(format!("and {}, counted and not listed\n", counted(judgement.more_problems, "more error", "more errors")));
    }
    if judgement.more_findings > 0 {
        let more = counted(judgement.more_findings, "more warning or note", "more warnings and notes");
        out.line(format!("and {more}, counted and not listed\n"));
    }
    for line in not_run(report, out) {
        out.line(line);
    }
    out.line(verdict(report, out));
}

/// What did not run, one line for each need.
fn not_run(report: &Report<'_>, out: Output) -> Vec<String> {
    let not_run = &report.judgement.not_run;
    let needs = by_need(not_run);
    let width = needs.keys().map(String::len).max().unwrap_or(0);
    let line = |(need, ids): (&String, &Vec<&str>)| {
        let named = ids.iter().take(NAMED_MAX).copied().collect::<Vec<_>>().join(", ");
        let more = ids.len().saturating_sub(NAMED_MAX);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("  {need:width$}  {named}{more}")
    };
    let head = (!not_run.is_empty())
        .then(|| format!("{} did not run, or not wholly. What they need:", counted(not_run.len(), "rule", "rules")));
    head.into_iter().chain(needs.iter().map(line)).map(|text| out.paint(Tone::Dim, &text)).collect()
}

fn verdict(report: &Report<'_>, out: Output) -> String {
    let (judgement, counts) = (report.judgement, report.judgement.counts());
    let word = if report.passes() { out.paint(Tone::Good, "compliant") } else { out.paint(Tone::Bad, "not compliant") };
    let asked = match report.groups {
        None => format!("{} in {}", counted(judgement.policies, "policy", "policies"), counted(judgement.files, "file", "files")),
        Some(_) => format!("{} of {} judged", judgement.policies, counted(judgement.files, "group", "groups")),
    };
    let mut parts = vec![
        asked,
        format!("profile {}", judgement.profile.name()),
        counted(counts.error, "error", "errors"),
        counted(counts.warning, "warning", "warnings"),
    ];
    let strict = report.strict && counts.warning > 0;
    for (n, text) in [
        (counts.info, format!("{} info", counts.info)),
        (counts.waived, format!("{} waived", counts.waived)),
        (judgement.skipped, format!("{} skipped", counted(judgement.skipped, "file", "files"))),
        (judgement.not_run.len(), format!("{} not run", counted(judgement.not_run.len(), "rule", "rules"))),
        (usize::from(strict), "warnings count (--strict)".to_owned()),
    ] {
        if n > 0 {
            parts.push(text);
        }
    }
    format!("{word}: {}", parts.join(", "))
}

/// Draws findings of one set.
pub(in crate::cli) struct Drawer<'a> {
    /// The files that findings point at, and the files of related places: findings come in order of their file.
    primary: Sources<'a>,
    related: Sources<'a>,
    renderer: Renderer,
}

impl<'a> Drawer<'a> {
    pub(in crate::cli) fn new(snapshot: &'a Snapshot, out: Output) -> Self {
        let renderer = if out.colour() { Renderer::styled() } else { Renderer::plain() };
        Self { primary: Sources::new(snapshot), related: Sources::new(snapshot), renderer: renderer.term_width(COLUMNS_MAX) }
    }

    /// A finding, as a block without a line end.
    pub(in crate::cli) fn draw(&mut self, finding: &Finding) -> String {
        let (level, word) = match (finding.severity, &finding.waiver) {
            (_, Some(_)) => (Level::NOTE, "waived"),
            (Severity::Error, None) => (Level::ERROR, severity(finding.severity)),
            (Severity::Warning, None) => (Level::WARNING, severity(finding.severity)),
            (Severity::Info, None) => (Level::INFO, severity(finding.severity)),
        };
        let title = format!("Req {}: {}", finding.requirements.join(", "), escape(&finding.message));
        let mut group = Group::with_title(level.with_name(word).primary_title(title).id(finding.rule_id));
        let shown = finding.related.get(..RELATED_SHOWN_MAX).unwrap_or(&finding.related);
        let (near, far): (Vec<&Place>, Vec<&Place>) = shown.iter().partition(|place| is_near(place, &finding.place));
        group = group.element(excerpt(&mut self.primary, &finding.place, &near, AnnotationKind::Primary));
        for place in far {
            group = group.element(excerpt(&mut self.related, place, &[], AnnotationKind::Context));
        }
        self.renderer.render(&[notes(group, finding)])
    }
}

/// Whether both places fit into one excerpt.
fn is_near(place: &Place, other: &Place) -> bool {
    place.file == other.file && place.spot.line.abs_diff(other.spot.line) <= NEAR_LINES_MAX
}

/// A place with its line, and in the same excerpt what is near it; only the place where there is no line to show.
fn excerpt<'a>(sources: &mut Sources<'_>, place: &Place, near: &[&Place], kind: AnnotationKind) -> Element<'a> {
    let path = escape(&place.file);
    let spots = || near.iter().map(|other| (other.spot, AnnotationKind::Context)).chain([(place.spot, kind)]);
    let first = spots().map(|(spot, _)| spot.line).min().unwrap_or(place.spot.line);
    let last = spots().map(|(spot, _)| spot.line).max().unwrap_or(place.spot.line);
    let lines: Option<Vec<String>> = (first..=last).map(|number| sources.line(&place.file, number).map(shown)).collect();
    let Some(lines) = lines else {
        return Origin::path(path).line(wide(place.spot.line)).char_column(wide(place.spot.column)).into();
    };
    let annotation = |(spot, kind): (Spot, AnnotationKind)| {
        let index = wide(spot.line - first);
        let before: usize = lines.iter().take(index).map(|line| line.len() + 1).sum();
        let word = word(lines.get(index).map_or("", String::as_str), spot.column);
        let label = (kind == AnnotationKind::Context).then_some("together with this");
        kind.span(before + word.start..before + word.end).label(label)
    };
    let annotations: Vec<Annotation<'a>> = spots().map(annotation).collect();
    Snippet::source(lines.join("\n")).path(path).line_start(wide(first)).annotations(annotations).into()
}

fn wide(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// A line for a terminal. An empty one keeps a column for the caret.
fn shown(line: &str) -> String {
    if line.is_empty() { " ".to_owned() } else { line.chars().map(visible).collect() }
}

/// One for one, so that columns stay: what would steer a terminal becomes a replacement character.
fn visible(c: char) -> char {
    if c != '\t' && escape(c.encode_utf8(&mut [0; 4])).len() != c.len_utf8() { char::REPLACEMENT_CHARACTER } else { c }
}

/// What stands below the excerpt.
fn notes<'a>(group: Group<'a>, finding: &Finding) -> Group<'a> {
    let note = |name: &'static str, text: String| Level::NOTE.with_name(name).message(text);
    let hidden = finding.related.iter().skip(RELATED_SHOWN_MAX);
    let hidden: Vec<String> = hidden.map(|p| format!("{}:{}:{}", escape(&p.file), p.spot.line, p.spot.column)).collect();
    let mut notes = Vec::new();
    if let [first, rest @ ..] = hidden.as_slice() {
        let more = if rest.is_empty() { String::new() } else { format!(" and {} more places", rest.len()) };
        notes.push(note("with", format!("{first}{more}")));
    }
    if let Some(shown) = &finding.witness {
        notes.push(note("witness", witness(shown)));
    }
    notes.extend(meant(finding).map(|meant| note("help", meant)));
    notes.push(note("help", escape(&finding.remediation)));
    notes.extend(waived(finding).map(|waiver| note("waived", waiver)));
    if let Some(also) = also(finding) {
        notes.push(note("also", also));
    }
    group.elements(notes)
}

#[cfg(test)]
mod tests {
    use policy::snapshot::Entry;
    use proptest::prelude::*;

    use super::super::tests::{WAIVER, waived_report};
    use super::*;
    use crate::cli::Colour;

    fn plain() -> Output {
        Output::new(Colour::Never, 0)
    }

    #[test]
    fn a_waived_finding_is_shown_as_waived_with_the_reason() {
        waived_report(|report| {
            let finding = report.judgement.findings.iter().find(|finding| finding.waiver.is_some()).unwrap();
            let text = Drawer::new(report.snapshot, plain()).draw(finding);
            assert!(text.starts_with("waived[PCI-1.3.1-004]: Req 1.3.1: "), "{text}");
            assert!(text.contains(&format!("= waived: {WAIVER}")), "{text}");
            assert!(verdict(report, plain()).contains("0 errors, 0 warnings, 1 waived"), "{}", verdict(report, plain()));
        });
    }

    fn place(file: &str, (line, column): (u32, u32)) -> Place {
        Place { file: file.into(), spot: Spot { line, column } }
    }

    proptest! {
        /// Nothing a file holds, and no place in it or outside, stops the renderer.
        #[test]
        fn every_text_and_every_place_can_be_drawn(
            text in "[ -~\\t\\n\\r\u{0}\u{1b}\u{301}\u{200d}\u{202e}é字🦀\"']{0,200}",
            spots in prop::collection::vec((prop_oneof![0..12_u32, Just(u32::MAX)], prop_oneof![0..220_u32, Just(u32::MAX)]), 1..8),
        ) {
            waived_report(|report| {
                let mut finding = report.judgement.findings[0].clone();
                finding.message.clone_from(&text);
                let files = ["a.yaml", "b.yaml", "missing.yaml"];
                let mut places = spots.iter().zip(files.iter().cycle()).map(|(spot, file)| place(file, *spot));
                finding.place = places.next().unwrap();
                finding.related = places.collect();
                let file = || Entry::File(text.clone().into_bytes());
                let snapshot = Snapshot { entries: [("a.yaml".to_owned(), file()), ("b.yaml".to_owned(), file())].into() };
                let drawn = Drawer::new(&snapshot, plain()).draw(&finding);
                assert!(drawn.contains(&*finding.place.file) && !drawn.contains('\u{1b}') && !drawn.contains('\u{202e}'), "{drawn}");
            });
        }
    }
}
