//! Deliveries become rows; what is ours wakes the loop after its row is durable.

use std::sync::Arc;

use tokio::sync::Notify;
use webhook::{Delivery, Inbox, InboxError, Keeping, Kept, Meaning, Refusal};

use crate::fault;
use crate::metrics::Hooks;
use crate::store::{self, Store};

/// The inbox of the database.
pub(super) struct StoreInbox {
    pub(super) store: Store,
    pub(super) wake: Arc<Notify>,
    pub(super) git_ref: String,
    pub(super) hooks: Arc<Hooks>,
}

impl Inbox for StoreInbox {
    fn keep(&self, delivery: Delivery) -> Keeping<'_> {
        Box::pin(async move {
            let (forge, line, meaning) = (delivery.forge, delivery.secret_line, delivery.meaning.clone());
            let now = jiff::Timestamp::now();
            let row = row(delivery, &self.git_ref, now);
            let matters = row.ignored.is_none();
            let kept = self.store.keep_delivery(row).await.map_err(|error| InboxError(crate::chain::chain(&error)))?;
            fault::point("kept", "");
            let kept = if kept == store::Kept::New { Kept::New } else { Kept::Duplicate };
            self.hooks.kept(forge, line, &meaning, kept, now);
            if kept == Kept::New {
                if meaning == Meaning::Deleted {
                    tracing::error!(forge, branch = self.git_ref, "ALARM: the branch was deleted; what is enforced stays enforced");
                }
                if matters {
                    self.wake.notify_one();
                }
            }
            Ok(kept)
        })
    }

    fn refused(&self, forge: &'static str, why: Refusal) {
        self.hooks.refused(forge, why);
    }
}

/// The row of a delivery. Of a request it holds the number and the head.
fn row(delivery: Delivery, git_ref: &str, received: jiff::Timestamp) -> store::Delivery {
    let mut row = store::Delivery {
        forge: delivery.forge.to_owned(),
        delivery_id: delivery.id,
        event: delivery.event,
        git_ref: git_ref.to_owned(),
        before: None,
        after: None,
        request: None,
        body_sha256: delivery.body_digest,
        secret_line: u8::try_from(delivery.secret_line).unwrap_or(u8::MAX),
        received,
        ignored: None,
    };
    match delivery.meaning {
        Meaning::Pushed { before, after } => (row.before, row.after) = (before, after),
        Meaning::Deleted => {}
        // A number that SQLite cannot hold is none of a request that exists.
        Meaning::Request { number, head, .. } => (row.request, row.after) = (i64::try_from(number).ok(), head),
        Meaning::RequestClosed { number } => row.request = i64::try_from(number).ok(),
        Meaning::Ping => row.ignored = Some("ping".to_owned()),
        Meaning::Ignored { reason } => row.ignored = Some(reason.to_owned()),
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row_of(meaning: Meaning) -> store::Delivery {
        let delivery = Delivery {
            forge: "gitea",
            id: "id".into(),
            event: "pull_request".into(),
            meaning,
            body_digest: [7; 32],
            secret_line: 2,
        };
        row(delivery, "refs/heads/main", jiff::Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_requests_row_holds_its_number_and_its_head() {
        let opened = row_of(Meaning::Request { number: 12, head: Some("abc".into()), base: Some("main".into()) });
        assert_eq!((opened.request, opened.after.as_deref(), opened.ignored), (Some(12), Some("abc"), None));
        let closed = row_of(Meaning::RequestClosed { number: 12 });
        assert_eq!((closed.request, closed.after, closed.ignored), (Some(12), None, None));
    }

    #[test]
    fn what_does_not_matter_never_waits() {
        assert_eq!(row_of(Meaning::Ping).ignored.as_deref(), Some("ping"));
        assert_eq!(row_of(Meaning::Ignored { reason: "unreadable" }).ignored.as_deref(), Some("unreadable"));
        assert_eq!(row_of(Meaning::Deleted).ignored, None);
        let pushed = row_of(Meaning::Pushed { before: Some("a".into()), after: Some("b".into()) });
        assert_eq!((pushed.before.as_deref(), pushed.after.as_deref(), pushed.request), (Some("a"), Some("b"), None));
    }
}
