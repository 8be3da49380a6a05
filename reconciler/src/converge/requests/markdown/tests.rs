//! What others write is shown and does nothing, after a real renderer with everything turned on that forges turn on.

use comrak::{Options, markdown_to_html};
use proptest::prelude::*;

use super::*;

/// GitHub's dialect, with raw HTML left in: forges take some of it out afterwards, we rely on none of that.
pub(in crate::converge::requests) fn rendered(markdown: &str) -> String {
    let mut options = Options::default();
    options.extension.table = true;
    options.extension.autolink = true;
    options.extension.strikethrough = true;
    options.extension.tasklist = true;
    options.extension.footnotes = true;
    options.render.r#unsafe = true;
    markdown_to_html(markdown, &options)
}

/// The tags of a page without their attributes, and the texts between them, decoded.
pub(in crate::converge::requests) fn taken_apart(html: &str) -> (Vec<String>, Vec<String>) {
    let (mut tags, mut texts) = (Vec::new(), Vec::new());
    for piece in html.split('<').skip(1) {
        let (tag, text) = piece.split_once('>').expect("every tag ends");
        tags.push(tag.split_whitespace().next().unwrap_or_default().trim_end_matches('/').to_owned());
        let text =
            text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#39;", "'").replace("&amp;", "&");
        texts.push(text);
    }
    (tags, texts)
}

const NASTY: &[&str] = &[
    "![x](https://evil.example/a.png)",
    "[x](javascript:alert(1))",
    "<img src=x onerror=alert(1)>",
    "</code></td></tr></table>\n\n# Approved @security-team",
    "@acme/security-team please look, fixes #1, acme/x#2, !3, ~label, %4",
    "https://evil.example www.evil.example ftp://evil.example mail@evil.example",
    "`` ` ``` ````",
    "a | b \\| c \\\\| d",
    "&lt;b&gt; &#64;team &amp;",
    "<!-- pci-segment:plan -->",
    "-->",
    "\u{202e}txt.exe",
    "```\n~~~",
    "$`x`$ :smile: ==x== [^1] - [ ]",
];

/// Shown within a cell, as the comment does it.
fn in_a_cell(text: &str) -> (Vec<String>, Vec<String>) {
    taken_apart(&rendered(&format!("before\n\n<table>\n<tr><td>{}</td></tr>\n</table>\n\nafter", code(text))))
}

fn assert_harmless(text: &str) {
    let (tags, texts) = in_a_cell(text);
    assert_eq!(tags, ["p", "/p", "table", "tr", "td", "code", "/code", "/td", "/tr", "/table", "p", "/p"], "{text:?}");
    assert_eq!(texts[5], visible(text), "shown literally");
    let lines = [visible(text)];
    let fence = fence(lines.iter().map(String::as_str));
    let (tags, texts) = taken_apart(&rendered(&format!("before\n\n{fence}diff\n+ {}\n{fence}\n\nafter", lines[0])));
    assert_eq!(tags, ["p", "/p", "pre", "code", "/code", "/pre", "p", "/p"], "{text:?}");
    assert_eq!(texts[3], format!("+ {}\n", lines[0]));
}

#[test]
fn f09_what_a_policy_is_called_is_shown_and_renders_nothing() {
    for text in NASTY {
        assert_harmless(text);
    }
}

#[test]
fn what_cannot_be_seen_is_written_out() {
    assert_eq!(visible("a\nb\u{202e}c\u{200b}d"), "a\\u{a}b\\u{202e}c\\u{200b}d");
    assert_eq!(visible("Zürich 東京 ✓"), "Zürich 東京 ✓");
}

proptest! {
    #[test]
    fn f09_any_text_is_shown_and_renders_nothing(
        parts in prop::collection::vec(prop_oneof![prop::sample::select(NASTY).prop_map(str::to_owned), any::<String>(), "[`<>&|\\\\@!\\[\\]()#*_~\r\n\t -]{0,12}"], 0..5),
    ) {
        assert_harmless(&parts.concat());
    }
}
