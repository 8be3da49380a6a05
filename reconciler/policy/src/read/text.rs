//! From bytes to characters that may be looked at.
//!
//! Clean text, which is nearly all there is, is borrowed after one pass. In other text every character that is not allowed becomes a
//! space, so that columns stay and the rest of the file is still read.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;

use super::limits::FILE_BYTES_MAX;
use super::problem::{Code, Problems};
use crate::model::Spot;

/// The text of a file, or `None` where nothing of it can be read.
pub(super) fn prepare<'a>(bytes: &'a [u8], problems: &mut Problems) -> Option<Cow<'a, str>> {
    if bytes.len() > FILE_BYTES_MAX {
        too_large(bytes.len() as u64, problems);
        return None;
    }
    if bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]) {
        problems.add(Code::NotUtf8, Spot::START, "this is UTF-16 or UTF-32; write UTF-8".into());
        return None;
    }
    let text = match core::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            not_utf8(bytes, error.valid_up_to(), problems);
            return None;
        }
    };
    let text = match text.strip_prefix('\u{FEFF}') {
        Some(rest) => {
            problems.add(Code::ByteOrderMark, Spot::START, "remove the byte order mark".into());
            rest
        }
        None => text,
    };
    if is_plain(text) { Some(Cow::Borrowed(text)) } else { clean(text, problems) }
}

/// Whether there is nothing but printable ASCII and LF.
pub(super) fn is_plain(text: &str) -> bool {
    // Without a way out in the middle of a piece, the compiler looks at many bytes at once.
    let piece = |bytes: &[u8]| bytes.iter().fold(true, |plain, b| plain & (*b == b'\n' || (0x20..0x7F).contains(b)));
    text.as_bytes().chunks(64).all(piece)
}

/// A file whose size alone forbids it.
pub(super) fn too_large(bytes: u64, problems: &mut Problems) {
    problems.add(Code::Limit, Spot::START, format!("the file has {bytes} bytes; FILE_BYTES_MAX is 1 MiB ({FILE_BYTES_MAX})"));
}

fn not_utf8(bytes: &[u8], at: usize, problems: &mut Problems) {
    let good = bytes.get(..at).and_then(|b| core::str::from_utf8(b).ok()).unwrap_or("");
    let line = 1 + good.matches('\n').count();
    let column = 1 + good.rsplit('\n').next().map_or(0, |l| l.chars().count());
    let byte = bytes.get(at).copied().unwrap_or(0);
    problems.add(Code::NotUtf8, Spot::new(line, column), format!("byte 0x{byte:02X} is not UTF-8"));
}

/// Whether a character shows nothing, turns text round, or breaks lines behind our back.
pub(super) fn is_forbidden(c: char) -> bool {
    match c {
        '\n' | '\t' => false,
        '\0'..='\u{1F}' | '\u{7F}'..='\u{9F}' => true,
        '\u{AD}' | '\u{61C}' | '\u{180E}' | '\u{FEFF}' => true,
        '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FFF9}'..='\u{FFFB}' => true,
        '\u{E0000}'..='\u{E007F}' => true,
        _ => false,
    }
}

/// Reports what is not allowed, once per line and kind, and blanks it out.
fn clean<'a>(text: &'a str, problems: &mut Problems) -> Option<Cow<'a, str>> {
    let mut cleaned = String::with_capacity(text.len());
    let (mut changed, mut readable) = (false, true);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let (mut told, mut told_tab, mut in_comment, mut before) = (false, false, false, ' ');
        let body = line.strip_suffix("\r\n").unwrap_or(line);
        for (column, c) in body.chars().enumerate() {
            in_comment |= c == '#' && matches!(before, ' ' | '\t');
            before = c;
            let spot = || Spot::new(number + 1, column + 1);
            if is_forbidden(c) {
                if !told {
                    problems.add(
                        Code::ControlCharacter,
                        spot(),
                        format!("U+{:04X} is not allowed, not even in a comment", u32::from(c)),
                    );
                }
                told = true;
            } else if c == '\t' && !in_comment {
                if !told_tab {
                    problems.add(Code::Tab, spot(), "tab character; use spaces".into());
                }
                told_tab = true;
            } else {
                cleaned.push(c);
                continue;
            }
            changed = true;
            // Where there is NUL there is rarely text: binary files, UTF-16 without a mark.
            readable &= c != '\0';
            cleaned.push(' ');
        }
        if body.len() < line.len() {
            cleaned.push_str("\r\n");
        }
    }
    let text = if changed { Cow::Owned(cleaned) } else { Cow::Borrowed(text) };
    readable.then_some(text)
}
