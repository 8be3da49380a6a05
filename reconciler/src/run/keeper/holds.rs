//! Why changes stop for the sake of the log. There is one switch, which people see, and a fact for each cause: the switch goes only
//! when no cause is left, so that one place that recovers says nothing for another that has not.

use jiff::Timestamp;
use tokio::sync::Mutex;

use super::{BEHIND, DISAGREES, UNSOUND};
use crate::converge::AUDIT_HOLD;
use crate::store::{self, Note, Store, Switch};

/// Between what is on record and what follows from it nobody else decides.
static DECIDING: Mutex<()> = Mutex::const_new(());

fn fact(what: &str, sink: &str) -> String {
    format!("{AUDIT_HOLD} {what} {sink}")
}

/// What does not pass by itself is named first.
fn rank(what: &str) -> u8 {
    match what {
        UNSOUND => 2,
        DISAGREES => 1,
        _ => 0,
    }
}

async fn known(store: &Store) -> Result<Option<Switch>, store::Error> {
    store.switch_row(AUDIT_HOLD).await
}

async fn set(store: &Store, what: &str, why: &str, now: Timestamp) -> Result<(), store::Error> {
    let (name, value, who, why) = (AUDIT_HOLD.to_owned(), what.to_owned(), "system".to_owned(), why.to_owned());
    store.switch_set(Switch { name, value, who, why, set_at: now, until: None }).await
}

/// Changes stop, until what stopped them is over. Of causes that weigh the same the first is the one that is shown.
pub(super) async fn hold(store: &Store, what: &str, sink: &str, why: &str, now: Timestamp) -> Result<(), store::Error> {
    let _deciding = DECIDING.lock().await;
    let name = fact(what, sink);
    if store.meta_get(&name).await?.as_deref() != Some(why) {
        store.note(Note { name, value: Some(why.to_owned()) }, now).await?;
    }
    match known(store).await? {
        Some(known) if rank(&known.value) >= rank(what) => Ok(()),
        Some(_) | None => set(store, what, why, now).await,
    }
}

/// One cause is over: true where changes go on, because none is left.
pub(super) async fn release(store: &Store, what: &str, sink: &str, why: &str, now: Timestamp) -> Result<bool, store::Error> {
    let _deciding = DECIDING.lock().await;
    let name = fact(what, sink);
    let was = store.meta_get(&name).await?;
    let gone = Note { name: name.clone(), value: None };
    let Some(known) = known(store).await? else {
        if was.is_some() {
            store.note(gone, now).await?;
        }
        return Ok(false);
    };
    if was.is_none() && known.value != what {
        return Ok(false);
    }
    let mut left = causes(store).await?;
    left.retain(|cause| fact(&cause.what, &cause.sink) != name);
    let Some(next) = left.into_iter().max_by_key(|cause| rank(&cause.what)) else {
        return store.switch_end(&known, ("system".to_owned(), why.to_owned()), vec![gone], now).await;
    };
    if was.is_some() {
        store.note(gone, now).await?;
    }
    if known.value != next.what || was.as_ref() == Some(&known.why) {
        set(store, &next.what, &next.why, now).await?;
    }
    Ok(false)
}

/// Why changes are held.
pub(super) struct Cause {
    /// What: `unsound`, `disagrees`, `behind`.
    pub(super) what: String,
    /// Which anchor; empty for all of them, and for the log.
    pub(super) sink: String,
    /// In words.
    pub(super) why: String,
}

/// All causes on record.
pub(super) async fn causes(store: &Store) -> Result<Vec<Cause>, store::Error> {
    let facts = store.facts_named(&format!("{AUDIT_HOLD} ")).await?;
    let cause = |(name, why): (String, String)| {
        let (what, sink) = name.split_once(' ')?;
        Some(Cause { what: what.to_owned(), sink: sink.to_owned(), why })
    };
    Ok(facts.into_iter().filter_map(cause).collect())
}

/// Ends what nobody is left to end: an anchor that was taken out of the configuration, anchors that nobody requires any more. Who
/// changed the configuration decided that; the row of the log says which anchor no longer counts.
pub(super) async fn settle(store: &Store, sinks: &[String], required: bool, now: Timestamp) -> Result<(), store::Error> {
    for cause in causes(store).await? {
        if cause.what == DISAGREES && !sinks.contains(&cause.sink) {
            store.anchor_agrees(&cause.sink, now).await?;
            let why = format!("{} is no longer in audit.anchors; it was: {}", cause.sink, cause.why);
            tracing::warn!("{why}");
            release(store, DISAGREES, &cause.sink, &why, now).await?;
        }
    }
    if !required || sinks.is_empty() {
        release(store, BEHIND, "", "audit.require_anchor is off", now).await?;
    }
    Ok(())
}
