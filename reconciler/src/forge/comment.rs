//! The one comment of a request: found, edited in place, or made.
//!
//! It is found by the id of an earlier one. Where none is known (the first time, or after the database was lost) the request is read
//! once, for a comment with the hidden line that our own account wrote: anybody can write the line, and only our own can be edited.
//! A page that is longer than we read counts as one without ours: a second comment is better than none. A comment that cannot be
//! edited any more (deleted, or of an account we no longer are) is made again.
//!
//! A forge answers alike where a request takes nothing (locked, gone) and where we may not write or the repository has moved. The
//! former concerns nobody else and never pauses the forge; so the request is asked for, and the repository where there is none.

use std::time::SystemTime;

use serde::Deserialize;

use super::answer::{Window, never, reason, refused};
use super::api::Answer;
pub(super) use crate::converge::COMMENT_MARK as MARK;
use crate::converge::{Comment, ReportError};

/// GitHub takes 65,536 characters, the others more.
const BODY_BYTES_MAX: usize = 60_000;
/// What stands where a text was cut.
const CUT: &str = "\n\n_The rest did not fit here; `pci-segment plan` shows all of it._\n";
/// A fence that the cut left open would swallow the note behind it.
const FENCE: &str = "\n```";
/// Pages read at most in search of our comment, and comments on each.
pub(super) const PAGES_MAX: u32 = 10;
/// What a locked request is answered, and a repository that is not there, or not ours to write.
const NOT_HERE: [u16; 3] = [403, 404, 410];
/// How many comments make a page.
pub(super) const PAGE: usize = 20;

/// The comments of requests at one forge.
pub(super) trait Thread: Sync {
    /// How this forge names its limits.
    const WINDOW: &'static Window;
    /// Our comment in a request, if there is one.
    fn ours(&self, request: u64) -> impl Future<Output = Result<Option<String>, ReportError>> + Send;
    /// Gives a comment this text; false if that is not possible any more.
    fn edit(&self, request: u64, id: &str, body: &str) -> impl Future<Output = Result<bool, ReportError>> + Send;
    /// What the forge says to a new comment.
    fn create(&self, request: u64, body: &str) -> impl Future<Output = Result<Answer, ReportError>> + Send;
    /// What the forge says to who asks for a request, or for the repository.
    fn look(&self, request: Option<u64>) -> impl Future<Output = Result<Answer, ReportError>> + Send;
}

/// A request that people may be kept from commenting on.
#[derive(Deserialize)]
struct Lockable {
    #[serde(default, alias = "is_locked", alias = "discussion_locked")]
    locked: Option<bool>,
}

/// Makes a request's comment say this; its id.
pub(super) async fn say<T: Thread>(thread: &T, comment: &Comment) -> Result<Option<String>, ReportError> {
    let body = body(&comment.body);
    let id = match &comment.known_id {
        Some(id) => Some(id.clone()),
        None => thread.ours(comment.request).await?,
    };
    if let Some(id) = id
        && thread.edit(comment.request, &id, &body).await?
    {
        return Ok(Some(id));
    }
    let answer = thread.create(comment.request, &body).await?;
    match outcome(&answer, T::WINDOW, SystemTime::now()) {
        Err(ReportError::Paused { .. }) if NOT_HERE.contains(&answer.code) => Err(why_not(thread, comment.request, &answer).await),
        outcome => outcome,
    }
}

/// Whom a refusal concerns: this comment only, or all we say.
async fn why_not<T: Thread>(thread: &T, request: u64, refusal: &Answer) -> ReportError {
    let now = SystemTime::now();
    let found = match thread.look(Some(request)).await {
        Ok(found) => found,
        Err(error) => return error,
    };
    let locked = || serde_json::from_slice::<Lockable>(&found.body).is_ok_and(|request| request.locked == Some(true));
    match found.code {
        200 if locked() => never(refusal),
        // The token may not comment, it seems. That must not keep statuses from being sent.
        200 => ReportError::Again { reason: reason("the comment is refused though its request is there", refusal), after: None },
        404 | 410 => match thread.look(None).await {
            Ok(repository) if repository.code == 200 => never(refusal),
            Ok(repository) => refused(&repository, T::WINDOW, now),
            Err(error) => error,
        },
        _ => refused(&found, T::WINDOW, now),
    }
}

/// The text with the hidden line in front, cut between two lines.
fn body(text: &str) -> String {
    let text = if text.contains(MARK) { text.to_owned() } else { format!("{MARK}\n{text}") };
    if text.len() <= BODY_BYTES_MAX {
        return text;
    }
    let room = BODY_BYTES_MAX - CUT.len() - FENCE.len();
    let end = (0..=room).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    let kept = text.get(..end).unwrap_or_default();
    let kept = kept.rsplit_once('\n').map_or(kept, |(whole, _)| whole);
    let open = kept.lines().filter(|line| line.trim_start().starts_with("```")).count() % 2 == 1;
    format!("{kept}{}{CUT}", if open { FENCE } else { "" })
}

/// Whether an edit went through; what can no longer be edited is made again.
pub(super) fn edited(answer: &Answer, window: &Window, now: SystemTime) -> Result<bool, ReportError> {
    match (answer.code, outcome(answer, window, now)) {
        (200 | 201, _) => Ok(true),
        (code, Err(ReportError::Paused { .. })) if NOT_HERE.contains(&code) => Ok(false),
        (_, outcome) => outcome.map(|_| true),
    }
}

/// What became of a new comment.
fn outcome(answer: &Answer, window: &Window, now: SystemTime) -> Result<Option<String>, ReportError> {
    match (answer.code, refused(answer, window, now)) {
        (200 | 201, _) => Ok(answer.id()),
        (400 | 422 | 423, _) => Err(never(answer)),
        (_, error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::super::answer::X_RATE_LIMIT;
    use super::super::answer::tests::given;
    use super::*;

    #[test]
    fn a_text_gets_the_hidden_line_once_and_is_cut_between_lines_within_the_limit() {
        assert_eq!(body("**no**"), format!("{MARK}\n**no**"));
        assert_eq!(body(&format!("**no**\n{MARK}")), format!("**no**\n{MARK}"));
        for line in ["| a | b |\n", "政策\n", "```\n"] {
            let long = body(&line.repeat(60_000 / line.len() + 1));
            assert!(long.len() <= BODY_BYTES_MAX && long.ends_with(CUT) && long.starts_with(MARK), "{line}");
            let kept = long.strip_suffix(CUT).unwrap();
            assert!(kept.ends_with(line.trim_end()), "{line}");
            assert_eq!(kept.matches("```").count() % 2, 0, "a fence is closed");
        }
        assert!(body(&"x".repeat(100_000)).len() <= BODY_BYTES_MAX);
    }

    #[test]
    fn f09_what_cannot_be_edited_any_more_is_made_again_and_a_text_that_is_not_taken_pauses_nobody() {
        let now = SystemTime::now();
        for code in [403, 404, 410] {
            assert!(!edited(&given(code, &[], "{}"), &X_RATE_LIMIT, now).unwrap(), "{code}");
        }
        for code in [400, 422, 423] {
            assert!(matches!(outcome(&given(code, &[], "{}"), &X_RATE_LIMIT, now), Err(ReportError::Never { .. })), "{code}");
        }
        let limited = given(403, &[("retry-after", "9".into())], "{}");
        assert!(matches!(edited(&limited, &X_RATE_LIMIT, now), Err(ReportError::Limited { .. })));
        assert!(matches!(outcome(&limited, &X_RATE_LIMIT, now), Err(ReportError::Limited { .. })));
        assert!(matches!(outcome(&given(404, &[], "{}"), &X_RATE_LIMIT, now), Err(ReportError::Paused { .. })));
        for (code, word) in [(401, "Paused"), (301, "Paused"), (500, "Again"), (429, "Limited")] {
            let error = format!("{:?}", outcome(&given(code, &[], "{}"), &X_RATE_LIMIT, now).unwrap_err());
            assert!(error.starts_with(word), "{code}: {error}");
            assert!(edited(&given(code, &[], "{}"), &X_RATE_LIMIT, now).is_err(), "{code}");
        }
    }
}
