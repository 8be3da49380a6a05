//! The one printer for a chain of causes. `Display` of an error never repeats its cause, so nothing is said twice.

/// An error and its causes on one line, for a log or a record.
#[must_use]
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
