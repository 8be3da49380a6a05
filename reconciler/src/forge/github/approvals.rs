//! Who approved the pull requests that brought a commit.

use jiff::Timestamp;
use policy::snapshot::CommitId;
use serde::Deserialize;

use super::super::comment::PAGES_MAX;
use super::super::review::{Decision, Review, approvals};
use super::comments::User;
use super::{GitHub, listed};
use crate::converge::{ReportError, Reviewed};

/// Requests of one commit and reviews on a page; a commit with more requests came from somewhere odd.
const PAGE: usize = 100;

#[derive(Deserialize)]
struct Pull {
    number: u64,
    html_url: Option<String>,
    user: Option<User>,
    head: Head,
    base: Option<Base>,
    merged_at: Option<String>,
}

#[derive(Deserialize)]
struct Head {
    sha: String,
}

#[derive(Deserialize)]
struct Base {
    #[serde(rename = "ref")]
    name: String,
}

#[derive(Deserialize)]
struct Given {
    user: Option<User>,
    state: String,
    submitted_at: Option<Timestamp>,
    commit_id: Option<String>,
}

impl GitHub {
    /// Requests merged into the branch that is followed only: one that is open, or went elsewhere, may hold a commit that came
    /// another way.
    pub(super) async fn reviewed(&self, commit: &CommitId) -> Result<Vec<Reviewed>, ReportError> {
        let answer = self.read(&["commits", &commit.to_string(), "pulls"], &[("per_page", "100")]).await?;
        let mut reviewed = Vec::new();
        let here = |pull: &Pull| pull.base.as_ref().is_none_or(|base| self.api.is_followed(&base.name));
        let pulls: Vec<Pull> = listed(&answer, "the list of requests")?;
        for pull in pulls.into_iter().filter(|pull| pull.merged_at.is_some() && here(pull)) {
            let author = pull.user.map(|user| user.login).unwrap_or_default();
            let reviews = self.reviews(pull.number).await?;
            let approvals = approvals(reviews, &author, Some(&pull.head.sha));
            reviewed.push(Reviewed { request: pull.number, url: pull.html_url, author, head: Some(pull.head.sha), approvals });
        }
        Ok(reviewed)
    }

    async fn reviews(&self, number: u64) -> Result<Vec<Review>, ReportError> {
        let mut reviews = Vec::new();
        for page in 1..=PAGES_MAX {
            let page = page.to_string();
            let query = [("per_page", "100"), ("page", page.as_str())];
            let answer = self.read(&["pulls", &number.to_string(), "reviews"], &query).await?;
            let given: Vec<Given> = listed(&answer, "the list of reviews")?;
            let last = given.len() < PAGE;
            reviews.extend(given.into_iter().filter_map(review));
            if last {
                break;
            }
        }
        Ok(reviews)
    }
}

fn review(given: Given) -> Option<Review> {
    let decision = match given.state.as_str() {
        "APPROVED" => Decision::Approved,
        "CHANGES_REQUESTED" => Decision::Refused,
        "DISMISSED" => Decision::Dismissed,
        _ => return None,
    };
    let who = given.user?.login;
    Some(Review { who, decision, at: given.submitted_at, head: given.commit_id, stale: false })
}
