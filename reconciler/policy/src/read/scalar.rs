//! What a plain scalar might be taken for.

use alloc::string::String;

/// Plain text that stands for nothing.
pub(super) fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// Whether YAML 1.1 or 1.2 may read the plain scalar as a bool, null, number or base-60 number.
pub(super) fn needs_quotes(text: &str) -> bool {
    is_null(text) || is_word(text) || is_number(text)
}

fn is_word(text: &str) -> bool {
    const WORDS: [&str; 12] = ["y", "n", "yes", "no", "on", "off", "true", "false", ".inf", "-.inf", "+.inf", ".nan"];
    text.len() <= 5 && WORDS.iter().any(|word| word.eq_ignore_ascii_case(text))
}

fn is_number(text: &str) -> bool {
    // Most texts are names; they are told apart at once.
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | '_')) {
        return false;
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let radix = |prefix: &str, radix: u32| {
        digits.strip_prefix(prefix).is_some_and(|d| !d.is_empty() && d.chars().all(|c| c == '_' || c.is_digit(radix)))
    };
    if radix("0x", 16) || radix("0o", 8) || radix("0b", 2) {
        return true;
    }
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))),
        None => (digits, None),
    };
    let decimal = mantissa.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && mantissa.bytes().any(|b| b.is_ascii_digit())
        && mantissa.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'_' | b'.'))
        && mantissa.matches('.').count() <= 1;
    (decimal && exponent.is_none_or(|e| !e.is_empty() && e.bytes().all(|b| b.is_ascii_digit()))) || is_base_60(digits)
}

fn is_base_60(digits: &str) -> bool {
    let whole = digits.split_once('.').map_or(digits, |(whole, _)| whole);
    whole.contains(':')
        && whole.split(':').enumerate().all(|(i, part)| {
            let fits = i == 0 || part.len() <= 2;
            !part.is_empty() && fits && part.bytes().all(|b| b.is_ascii_digit() || (i == 0 && b == b'_'))
        })
}

/// A whole number as the language writes it: `0` or `[1-9][0-9]*`.
pub(super) fn whole(text: &str) -> Option<u64> {
    let canonical = text == "0" || !text.starts_with('0');
    let digits = !text.is_empty() && text.len() <= 18 && text.bytes().all(|b| b.is_ascii_digit());
    (canonical && digits).then(|| text.parse().ok()).flatten()
}

/// A value for a message: short, and nothing in it that a terminal would act on.
pub(super) fn shown(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 64;
    let safe = |c: char| {
        if c.is_control() || super::text::is_forbidden(c) { '\u{FFFD}' } else { c }
    };
    let mut out: String = text.chars().take(SHOWN_CHARS_MAX).map(safe).collect();
    if text.chars().nth(SHOWN_CHARS_MAX).is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_some_yaml_reads_as_something_else_needs_quotes() {
        for text in [
            "no",
            "On",
            "OFF",
            "y",
            "true",
            "~",
            "null",
            "1",
            "-1",
            "1e3",
            "1.5",
            ".5",
            "0x1F",
            "0o17",
            "0b1",
            "1_000",
            "12:30",
            "190:20:30",
            "007",
            ".inf",
            ".NaN",
        ] {
            assert!(needs_quotes(text), "{text}");
        }
        for text in ["cde", "none", "db-01", "10.0.0.0/8", "v1", "1a", "e3", "2026-01-12", "a:b", "::1", "1.2.3", "."] {
            assert!(!needs_quotes(text), "{text}");
        }
    }

    #[test]
    fn only_canonical_whole_numbers_are_read() {
        assert_eq!((whole("0"), whole("443"), whole("65536")), (Some(0), Some(443), Some(65536)));
        for text in ["", "00", "0443", "0x1BB", "443.0", "-1", "+1", "1_0", "9999999999999999999"] {
            assert_eq!(whole(text), None, "{text}");
        }
    }
}
