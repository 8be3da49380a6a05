//! The text a finding points at: its line, the word under the caret, and the documents of a file.
//!
//! Columns count Unicode scalar values from 1, as the reader counts them. Files are indexed once and kept while findings stay in them,
//! so that a large file with many findings is not split into lines for each.

use std::ops::Range;

use policy::model::Spot;
use policy::snapshot::{Entry, Snapshot};

/// Nobody reads a longer line, and an excerpt of it would not help.
const LINE_BYTES_MAX: usize = 4096;

/// The files that were judged, as text.
pub(super) struct Sources<'a> {
    snapshot: &'a Snapshot,
    last: Option<(&'a str, Vec<&'a str>)>,
}

impl<'a> Sources<'a> {
    pub(super) fn new(snapshot: &'a Snapshot) -> Self {
        Self { snapshot, last: None }
    }

    /// The text of a line, without its end; empty just behind the last, `None` where there is none to show.
    pub(super) fn line(&mut self, file: &str, line: u32) -> Option<&'a str> {
        if self.last.as_ref().is_none_or(|(name, _)| *name != file) {
            let (name, _) = self.snapshot.entries.get_key_value(file)?;
            self.last = Some((name, text(self.snapshot, file)?.lines().collect()));
        }
        let (_, lines) = self.last.as_ref()?;
        let index = usize::try_from(line).ok()?.checked_sub(1)?;
        let line = if index == lines.len() { "" } else { lines.get(index)? };
        (line.len() <= LINE_BYTES_MAX).then_some(line)
    }

    /// The word a finding points at, as columns: the first, and the one behind the last.
    pub(super) fn columns(&mut self, file: &str, spot: Spot) -> Option<Range<u32>> {
        let line = self.line(file, spot.line)?;
        let word = line.get(word(line, spot.column))?;
        let width = u32::try_from(word.chars().count()).ok()?;
        (width > 0).then(|| spot.column..spot.column.saturating_add(width))
    }
}

/// A file as the reader saw it: without a byte order mark, which has no column.
fn text<'a>(snapshot: &'a Snapshot, file: &str) -> Option<&'a str> {
    let Some(Entry::File(bytes)) = snapshot.entries.get(file) else { return None };
    let text = std::str::from_utf8(bytes).ok()?;
    Some(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// The bytes of the word that begins at a column: a quoted text, a bracket, or what YAML would take for one plain scalar.
pub(super) fn word(line: &str, column: u32) -> Range<usize> {
    let skipped = usize::try_from(column).unwrap_or(usize::MAX).saturating_sub(1);
    let start = line.char_indices().nth(skipped).map_or(line.len(), |(at, _)| at);
    let rest = line.get(start..).unwrap_or_default();
    start..start + length(rest)
}

fn length(rest: &str) -> usize {
    let mut chars = rest.char_indices();
    match chars.next() {
        None => 0,
        Some((_, quote @ ('"' | '\''))) => {
            let mut escaped = false;
            let close = chars.find(|&(_, c)| {
                let closes = c == quote && !escaped;
                escaped = quote == '"' && c == '\\' && !escaped;
                closes
            });
            close.map_or(rest.len(), |(at, _)| at + 1)
        }
        Some((_, '[' | '{')) if rest.starts_with("[]") || rest.starts_with("{}") => 2,
        Some((_, first @ ('[' | '{' | ']' | '}' | ',' | '#'))) => first.len_utf8(),
        Some((_, first)) => plain(rest).max(first.len_utf8()),
    }
}

/// Up to a comma or bracket, a colon or comment that ends the scalar, or the end of the line.
fn plain(rest: &str) -> usize {
    let ends = |at: usize, c: char| match c {
        ',' | '[' | ']' | '{' | '}' => true,
        ':' => rest.get(at + 1..).is_none_or(|after| after.is_empty() || after.starts_with([' ', ','])),
        ' ' => rest.get(at + 1..).is_some_and(|after| after.starts_with('#')),
        _ => false,
    };
    let end = rest.char_indices().find(|&(at, c)| ends(at, c)).map_or(rest.len(), |(at, _)| at);
    rest.get(..end).unwrap_or(rest).trim_end().len()
}

/// The first line of each YAML document of a file; a file that is no text is one document.
pub(super) fn documents(snapshot: &Snapshot, file: &str) -> Vec<u32> {
    let mut starts = Vec::new();
    let mut wanted = true;
    for (number, line) in (1_u32..).zip(text(snapshot, file).unwrap_or_default().lines()) {
        // At the first column this is a document's border, whatever stands around it (YAML 1.2.2, 9.1.2).
        let border = line == "---" || line.starts_with("--- ") || line.starts_with("---\t");
        if border {
            wanted = true;
        }
        let content = !line.trim_start().is_empty() && !line.trim_start().starts_with('#') && line != "---";
        if wanted && content {
            starts.push(number);
            wanted = false;
        }
    }
    if starts.is_empty() { vec![1] } else { starts }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(text: &str) -> Snapshot {
        Snapshot { entries: [("p.yaml".to_owned(), Entry::File(text.as_bytes().to_vec()))].into() }
    }

    fn at(line: &str, column: u32) -> &str {
        &line[word(line, column)]
    }

    #[test]
    fn the_word_under_the_caret_is_what_yaml_reads_as_one() {
        let line = r#"a: {cidr: 0.0.0.0/0, key: "x, y\"z", six: ::/0, list: [], deep: [1]}  # no"#;
        let column = |word: &str| u32::try_from(line.find(word).unwrap() + 1).unwrap();
        for (from, expected) in [
            ("a:", "a"),
            ("0.0", "0.0.0.0/0"),
            ("\"x", r#""x, y\"z""#),
            ("::/0", "::/0"),
            ("[]", "[]"),
            ("[1]", "["),
            ("cidr", "cidr"),
            ("# no", "#"),
        ] {
            assert_eq!(at(line, column(from)), expected);
        }
        assert_eq!(at("pci-dss: Req 1.3.1  # reason", 10), "Req 1.3.1");
        assert_eq!(at("kind: Zoné", 7), "Zoné");
        assert_eq!((at("short", 99), at("", 1)), ("", ""));
    }

    #[test]
    fn columns_are_characters_not_bytes() {
        let snapshot = snapshot("name: 'Zoné', x: y\n");
        let spot = Spot { line: 1, column: 7 };
        assert_eq!(Sources::new(&snapshot).columns("p.yaml", spot), Some(7..13));
    }

    #[test]
    fn a_byte_order_mark_has_no_column() {
        let snapshot = snapshot("\u{feff}kind: x\n");
        assert_eq!(Sources::new(&snapshot).line("p.yaml", 1), Some("kind: x"));
    }

    #[test]
    fn each_document_of_a_file_has_its_line_and_an_empty_one_is_none() {
        let of = |text: &str| documents(&snapshot(text), "p.yaml");
        assert_eq!(of("# a comment\na: 1\n"), [2]);
        assert_eq!(of("---\na: 1\n---\n# only this\n---\nb: 2\n"), [2, 6]);
        assert_eq!(of("--- {a: 1}\n--- {b: 1}\n"), [1, 2]);
        assert_eq!(of("a: |\n  ---\n  text\n"), [1]);
        assert_eq!(of(""), [1]);
    }
}
