//! Text for XML 1.0, which cannot hold every character, not even as a reference.

use std::borrow::Cow;

use crate::cli::output::escape;

/// For an attribute in double quotes, or between tags. Lines stay lines; what XML or a terminal must not see is written out.
pub(super) fn xml(text: &str) -> Cow<'_, str> {
    let ready = |byte: u8| matches!(byte, 0x20..=0x7E) && !matches!(byte, b'&' | b'<' | b'>' | b'"');
    // Names and ids, of which a large report has a million.
    if text.bytes().all(ready) {
        return Cow::Borrowed(text);
    }
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
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_of_the_first_plane_gives_text_that_xml_allows() {
        for c in (0..=0xFFFF_u32).filter_map(char::from_u32) {
            let character = c.to_string();
            let text = xml(&character);
            let document = format!("<a b=\"{text}\">{text}</a>");
            let parsed = roxmltree::Document::parse(&document).unwrap_or_else(|e| panic!("{c:?}: {e}"));
            let read = parsed.root_element().attribute("b").unwrap();
            assert!(read == character || read == c.escape_unicode().to_string(), "{c:?}: {read:?}");
            assert_eq!(parsed.root_element().text(), Some(read));
        }
    }
}
