//! Where commit statuses go.
//!
//! A forge delivers one status and says what happens next if it cannot. It keeps no queue, no budget and no memory of what was
//! sent; those live with the outbox.

pub mod github;
pub mod silent;

/// One line of at most `bytes_max` bytes of UTF-8, cut at a character with `…`. No forge counts higher than bytes.
fn cut(text: &str, bytes_max: usize) -> String {
    const MARK: &str = "…";
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.len() <= bytes_max {
        return line;
    }
    let room = bytes_max.saturating_sub(MARK.len());
    let end = (0..=room).rev().find(|end| line.is_char_boundary(*end)).unwrap_or(0);
    format!("{}{MARK}", line.get(..end).unwrap_or_default().trim_end())
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn f04_a_long_text_is_cut_at_a_character_within_the_limit() {
        assert_eq!(cut("short\nline", 140), "short line");
        assert_eq!(cut(&"a".repeat(140), 140), "a".repeat(140));
        for letter in ["a", "ß", "政", "🦀"] {
            let text = cut(&letter.repeat(200), 140);
            assert!(text.len() <= 140 && text.len() > 130 && text.ends_with('…'), "{letter}");
        }
    }
}
