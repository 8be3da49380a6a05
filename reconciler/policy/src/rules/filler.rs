//! Words that stand where a reason should.

use alloc::string::String;

/// What people write to get past a required field.
const FILLERS: [&str; 9] = ["tbd", "tbc", "todo", "fixme", "na", "legacy", "test", "testing", "placeholder"];

/// Whether a text says nothing: fillers in any case and punctuation, one or several, or one character over and over.
pub(super) fn is_filler(text: &str) -> bool {
    let letters: String = text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    let first = letters.chars().next();
    letters.chars().all(|c| Some(c) == first) || is_made_of_fillers(&letters)
}

/// Whether a text is there and says something.
pub(super) fn says_something(text: Option<&str>) -> bool {
    text.is_some_and(|text| !is_filler(text))
}

/// How long a text is: its words with one space between them.
pub(super) fn length(text: &str) -> usize {
    let words = text.split_whitespace().map(|word| word.chars().count() + 1);
    words.sum::<usize>().saturating_sub(1)
}

/// Whether fillers, one after the other, are all there is.
fn is_made_of_fillers(letters: &str) -> bool {
    // Where a run of fillers from the beginning can end.
    let mut ends = alloc::vec![false; letters.len() + 1];
    if let Some(begin) = ends.first_mut() {
        *begin = true;
    }
    for at in 0..letters.len() {
        if ends.get(at) == Some(&true) {
            let rest = letters.get(at..).unwrap_or("");
            for filler in FILLERS.into_iter().filter(|filler| rest.starts_with(filler)) {
                ends.get_mut(at + filler.len()).into_iter().for_each(|end| *end = true);
            }
        }
    }
    ends.last() == Some(&true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fillers_are_known_in_any_case_and_punctuation() {
        for text in [
            "tbd",
            "TBD",
            "T.B.D.",
            "tbd, tbd, tbd, tbd, tbd",
            "n/a",
            "N / A",
            "n/a n/a n/a n/a n/a",
            "(legacy) - test - TBD!",
            "Testing testing test",
            "x",
            "xxxxxxxxxxxxxxxxxxxx",
            "...................",
            "",
            "  \n ",
        ] {
            assert!(is_filler(text), "{text}");
        }
    }

    #[test]
    fn a_reason_that_holds_such_a_word_is_a_reason() {
        for text in [
            "The legacy gateway still settles cards.",
            "Test transactions of the acquirer",
            "nation-wide terminals",
            "TEST-1041",
            "legacy settlement",
            "Zahlungsverkehr läuft darüber",
        ] {
            assert!(!is_filler(text), "{text}");
        }
    }

    #[test]
    fn blanks_do_not_make_a_text_longer() {
        for (text, count) in [("", 0), ("   ", 0), ("a", 1), (" a \n  b ", 3), ("Größe", 5)] {
            assert_eq!(length(text), count, "{text}");
        }
    }
}
