//! Which of a person's reviews counts, where a forge lists all of them.
//!
//! The latest that decides something is a person's word: an approval that was followed by a refusal or was taken back is no
//! approval. A remark decides nothing. What an approval is worth depends on whose it is and which head it was given for.

use jiff::Timestamp;

use crate::converge::{Approval, Standing};

/// What a review decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    Approved,
    Refused,
    /// It was an approval or a refusal once.
    Dismissed,
}

/// One review as a forge lists it, oldest first.
pub(super) struct Review {
    pub(super) who: String,
    pub(super) decision: Decision,
    pub(super) at: Option<Timestamp>,
    /// The head that was looked at.
    pub(super) head: Option<String>,
    /// The forge says itself that more commits came.
    pub(super) stale: bool,
}

/// The approvals among the reviews of a request of `author` whose last head was `head`.
pub(super) fn approvals(reviews: Vec<Review>, author: &str, head: Option<&str>) -> Vec<Approval> {
    let mut last: Vec<Review> = Vec::new();
    for review in reviews {
        last.retain(|earlier| earlier.who != review.who);
        last.push(review);
    }
    let approval = |review: Review| {
        let earlier = review.stale || matches!((&review.head, head), (Some(given), Some(head)) if given != head);
        let standing = match review.decision {
            Decision::Refused => return None,
            Decision::Dismissed => Standing::Dismissed,
            Decision::Approved if review.who == author => Standing::Own,
            Decision::Approved if earlier => Standing::EarlierHead,
            Decision::Approved if review.head.is_none() => Standing::HeadNotKnown,
            Decision::Approved => Standing::Given,
        };
        Some(Approval { who: review.who, at: review.at, standing, head: review.head })
    };
    last.into_iter().filter_map(approval).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn review(who: &str, decision: Decision, head: &str) -> Review {
        Review { who: who.into(), decision, at: None, head: Some(head.into()), stale: false }
    }

    #[test]
    fn only_the_last_word_of_each_person_counts_and_it_is_told_what_it_is_worth() {
        use Decision::{Approved, Dismissed, Refused};
        let reviews = vec![
            review("grace", Refused, "1"),
            review("alan", Approved, "2"),
            review("ada", Approved, "2"),
            review("edsger", Approved, "1"),
            review("grace", Approved, "2"),
            review("alan", Refused, "2"),
            review("barbara", Dismissed, "2"),
            Review { stale: true, ..review("donald", Approved, "2") },
            Review { head: None, ..review("tony", Approved, "") },
        ];
        let given = approvals(reviews, "ada", Some("2"));
        let words: Vec<(&str, Standing)> = given.iter().map(|one| (one.who.as_str(), one.standing)).collect();
        let expected = [
            ("ada", Standing::Own),
            ("edsger", Standing::EarlierHead),
            ("grace", Standing::Given),
            ("barbara", Standing::Dismissed),
            ("donald", Standing::EarlierHead),
            ("tony", Standing::HeadNotKnown),
        ];
        assert_eq!(words, expected);
        assert_eq!(given[1].head.as_deref(), Some("1"), "the commit it was given for");
    }
}
