//! Plain text for the YAML parser: nearly all there is.
//!
//! The parser reads characters through a trait. Its own reader for `&str` decodes UTF-8 at every look and makes room for 128 bytes in
//! every value. Where each character is one byte and each line ends in LF, less will do, and a fifth of the parser's work falls away.

use saphyr_parser::Input;

/// Room that the parser makes when a plain value begins. It has 32 bytes by then, so that with short values this is never used.
const ROOM_BYTES: usize = 16;

/// A reader of text that [`is_plain`](super::super::text::is_plain).
pub(super) struct Ascii<'a> {
    rest: &'a [u8],
    /// How far the parser asked to see; all of the text can be seen anyhow.
    seen: usize,
}

impl<'a> Ascii<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { rest: text.as_bytes(), seen: 0 }
    }
}

/// The parser takes NUL for the end, as it does with its own readers.
fn character(byte: Option<&u8>) -> char {
    byte.map_or('\0', |byte| char::from(*byte))
}

impl Input for Ascii<'_> {
    #[inline]
    fn lookahead(&mut self, count: usize) {
        self.seen = self.seen.max(count);
    }

    #[inline]
    fn buflen(&self) -> usize {
        self.seen
    }

    #[inline]
    fn bufmaxlen(&self) -> usize {
        ROOM_BYTES
    }

    #[inline]
    fn raw_read_ch(&mut self) -> char {
        let c = self.peek();
        self.skip();
        c
    }

    #[inline]
    fn raw_read_non_breakz_ch(&mut self) -> Option<char> {
        let (byte, rest) = self.rest.split_first().filter(|(byte, _)| **byte != b'\n')?;
        self.rest = rest;
        Some(char::from(*byte))
    }

    #[inline]
    fn skip(&mut self) {
        self.skip_n(1);
    }

    #[inline]
    fn skip_n(&mut self, count: usize) {
        self.rest = self.rest.get(count..).unwrap_or(&[]);
    }

    #[inline]
    fn peek(&self) -> char {
        character(self.rest.first())
    }

    #[inline]
    fn peek_nth(&self, n: usize) -> char {
        character(self.rest.get(n))
    }

    #[inline]
    fn peek_opt(&self) -> Option<char> {
        self.rest.first().map(|byte| char::from(*byte))
    }

    #[inline]
    fn skip_while_non_breakz(&mut self) -> usize {
        let count = self.rest.iter().position(|byte| *byte == b'\n').unwrap_or(self.rest.len());
        self.skip_n(count);
        count
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::String;
    use alloc::vec::Vec;

    use proptest::prelude::*;
    use saphyr_parser::{Event, Parser, Span};

    use super::Ascii;

    /// Events with their places, up to the first error, and what it says.
    fn events<'a>(
        parser: impl Iterator<Item = Result<(Event<'a>, Span), saphyr_parser::ScanError>>,
    ) -> (Vec<(Event<'a>, Span)>, Option<String>) {
        let mut seen = Vec::new();
        for event in parser.take(10_000) {
            match event {
                Ok(event) => seen.push(event),
                Err(error) => return (seen, Some(alloc::format!("{error}"))),
            }
        }
        (seen, None)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

        #[test]
        fn the_parser_reads_the_same_as_from_its_own_reader(
            text in "([ -~]|\n|  |- |: |\\? |\n  |\n---\n|\n\\.\\.\\.\n|\\[|\\]|\\{|\\}|, |[|>][0-9]?[+-]?\n| #|\"|'|&a |\\*a|!!str |%YAML 1\\.2\n|[a-z]{1,40}|a: |\n {14,20}[a-z]){0,60}"
        ) {
            prop_assert_eq!(events(Parser::new(Ascii::new(&text))), events(Parser::new_from_str(&text)));
        }
    }
}
