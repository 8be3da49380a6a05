//! The only place that prints. Text from repositories and kernels is escaped here, so that a file name cannot steer a terminal.

#![expect(clippy::print_stderr, reason = "the command line's output module")]

use std::fmt::Display;
use std::io::{BufWriter, IsTerminal, Write};

use super::Colour;

/// Where a command writes, and whether it may use colour.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    colour: bool,
    verbose: u8,
}

/// What a piece of text means, for those who see colour.
#[derive(Debug, Clone, Copy)]
pub enum Tone {
    /// Went well.
    Good,
    /// Wants attention.
    Warning,
    /// Went wrong.
    Bad,
    /// Less important.
    Dim,
    /// A heading.
    Strong,
}

impl Output {
    /// Decides on colour: the flag, then `NO_COLOR`, then whether standard output is a terminal.
    #[must_use]
    pub fn new(colour: Colour, verbose: u8) -> Self {
        let wanted = match colour {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()) && std::io::stdout().is_terminal(),
        };
        Self { colour: wanted, verbose }
    }

    /// How much detail was asked for.
    #[must_use]
    pub fn verbosity(self) -> u8 {
        self.verbose
    }

    /// Whether colour is used.
    #[must_use]
    pub fn colour(self) -> bool {
        self.colour
    }

    /// One line of data.
    pub fn line(self, text: impl Display) {
        // A closed pipe (`| head`) ends the output, not the program.
        let _ = writeln!(std::io::stdout(), "{text}");
    }

    /// Bytes as they are: a completion script, a manual page.
    pub fn bytes(self, bytes: &[u8]) {
        // As in `line`: whoever closes the pipe has seen enough.
        let _ = std::io::stdout().write_all(bytes);
    }

    /// Standard output itself, for more than anybody wants to hold in memory.
    #[must_use]
    pub fn writer(self) -> impl Write {
        std::io::stdout().lock()
    }

    /// As [`Output::writer`], for work on another thread.
    #[must_use]
    pub fn writer_owned(self) -> impl Write + Send + 'static {
        std::io::stdout()
    }

    /// One JSON document.
    pub fn json(self, value: &impl serde::Serialize) {
        // Standard output alone writes line by line, and a large report has a million.
        let mut out = BufWriter::new(std::io::stdout().lock());
        if serde_json::to_writer_pretty(&mut out, value).is_ok() {
            let _ = writeln!(out);
        }
        // As in `line`: whoever closes the pipe has seen enough.
        let _ = out.flush();
    }

    /// One line for people beside the data.
    pub fn note(self, text: impl Display) {
        let _ = writeln!(std::io::stderr(), "{text}");
    }

    /// What is going on, on one line that the next one replaces; only where somebody watches. Empty text takes it away.
    pub fn progress(self, text: impl Display) {
        if std::io::stderr().is_terminal() {
            let _ = write!(std::io::stderr(), "\r\x1b[K{text}");
        }
    }

    /// An error with its causes on one line; with `-v` a line each, and whole where a cause has many (a verifier's log).
    pub fn error(self, error: &anyhow::Error) {
        let label = self.paint(Tone::Bad, "error:");
        if self.verbose == 0 {
            eprintln!("{label} {}", escape(&one_line(error)));
            return;
        }
        for (depth, cause) in error.chain().enumerate() {
            let mut prefix = if depth == 0 { format!("{label} ") } else { "  because: ".to_owned() };
            for line in cause.to_string().lines() {
                eprintln!("{prefix}{}", escape(line));
                "    ".clone_into(&mut prefix);
            }
        }
    }

    /// Text in a tone.
    #[must_use]
    pub fn paint(self, tone: Tone, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Good => "32",
            Tone::Warning => "33",
            Tone::Bad => "1;31",
            Tone::Dim => "2",
            Tone::Strong => "1",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// A table with a heading row.
    pub fn table(self, headings: &[&str], rows: Vec<Vec<String>>) {
        let mut table = comfy_table::Table::new();
        table.load_preset(comfy_table::presets::NOTHING);
        table.set_content_arrangement(comfy_table::ContentArrangement::Disabled);
        table.set_header(headings.iter().map(|h| h.to_uppercase()));
        for row in rows {
            table.add_row(row.iter().map(|cell| escape(cell)));
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        for line in table.lines() {
            self.line(line.trim_end());
        }
    }
}

/// The whole chain on one line, of each cause its first: the last cause is often the only one that says what to mend.
fn one_line(error: &anyhow::Error) -> String {
    let causes = error.chain().map(ToString::to_string);
    causes.map(|text| text.lines().next().unwrap_or_default().trim_end().to_owned()).collect::<Vec<_>>().join(": ")
}

/// Control characters, terminal escapes and direction marks made visible.
#[must_use]
pub fn escape(text: &str) -> String {
    let hidden = |c: char| {
        c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    if !text.chars().any(hidden) {
        return text.to_owned();
    }
    text.chars().map(|c| if hidden(c) { c.escape_unicode().to_string() } else { c.to_string() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_escape_in_a_name_is_shown_not_sent() {
        assert_eq!(escape("a\x1b[31mb"), "a\\u{1b}[31mb");
        assert_eq!(escape("plain"), "plain");
    }

    #[test]
    fn an_error_is_one_line_with_every_cause() {
        let error = anyhow::Error::msg("no such device").context("cannot attach").context("the rules cannot be put in force");
        assert_eq!(one_line(&error), "the rules cannot be put in force: cannot attach: no such device");
    }

    #[test]
    fn of_a_cause_with_many_lines_only_the_first_is_shown() {
        let error = anyhow::Error::msg("verifier said no\n0: r1 = r0\n1: exit").context("cannot load");
        assert_eq!(one_line(&error), "cannot load: verifier said no");
    }
}
