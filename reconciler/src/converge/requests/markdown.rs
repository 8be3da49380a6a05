//! Text of others inside our Markdown: shown as it is written, whatever it is.
//!
//! Markdown has too many ways to become something else (each forge adds its own: mentions, references, addresses that turn into links
//! by themselves, some of them found only after entities were decoded). So nothing of others ever stands in Markdown itself. It stands
//! in `<code>` within an HTML block, where forges neither parse Markdown nor look for names, or in a fenced block with a fence longer
//! than any within. An HTML block ends at an empty line, so there is no line break in what [`code`] returns.

use std::fmt::Write as _;

/// Shows text inside a line of an HTML block.
pub(super) fn code(text: &str) -> String {
    format!("<code>{}</code>", escaped(text))
}

/// For an attribute in quotes.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for c in visible(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// A fence that none of these lines can end.
pub(super) fn fence<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let longest = lines.flat_map(|line| line.split(|c| c != '`')).map(str::len).max().unwrap_or(0);
    "`".repeat(longest.saturating_add(1).max(3))
}

/// One line without what would end it, hide in it or turn it round.
pub(super) fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if hides(c) {
            // Writing to a string cannot fail.
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

/// Control characters, line and paragraph separators, and what changes direction or has no width.
fn hides(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
pub(super) mod tests;
