//! Text for XML 1.0, which cannot hold every character, not even as a reference.

use crate::cli::output::escape;

/// For an attribute in double quotes, or between tags. Lines stay lines; what XML or a terminal must not see is written out.
pub(super) fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            // The only others that XML 1.0 (2.2) forbids and `escape` lets pass.
            '\u{fffe}' | '\u{ffff}' => out.extend(c.escape_unicode()),
            plain => out.push_str(&escape(plain.encode_utf8(&mut [0; 4]))),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_of_the_first_plane_gives_text_that_xml_allows() {
        for c in (0..=0xFFFF_u32).filter_map(char::from_u32) {
            let text = xml(&c.to_string());
            let document = format!("<a b=\"{text}\">{text}</a>");
            let parsed = roxmltree::Document::parse(&document).unwrap_or_else(|e| panic!("{c:?}: {e}"));
            let read = parsed.root_element().attribute("b").unwrap();
            assert!(read == c.to_string() || read == c.escape_unicode().to_string(), "{c:?}: {read:?}");
            assert_eq!(parsed.root_element().text(), Some(read));
        }
    }
}
