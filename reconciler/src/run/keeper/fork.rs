//! The way out where the log is not the one that was signed, and the one that was is lost: it goes on under a new origin, and its next row
//! names the old one, what every anchor has of it, who decided that, and why. Never by itself.

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::identity::{Identity, key_texts, ours, with_key};
use super::start::{SinkSaid, UNNAMED, ask_anchors, beside, head_bytes, write_head};
use crate::anchor::Found;
use crate::audit::event::tidy;
use crate::audit::{NoteSigner, Trunk, hex};
use crate::config::{Config, head_file};
use crate::converge::AUDIT_HOLD;
use crate::signing;
use crate::store::{AUDIT_ORIGIN, Forked, NewKey, Store};

/// Starts a new origin; the old one, the new one and the row that says so.
///
/// # Errors
/// A controller has the database, its rows contradict each other, the key is gone, nothing can be written.
pub async fn fork(config: &Config, reason: &str, actor: &str) -> anyhow::Result<(String, String, u64)> {
    if reason.trim().is_empty() {
        bail!("a reason is needed");
    }
    let now = Timestamp::now();
    let (head, head_said) = evidence(config);
    let key = match signing::read(&config.signing_key_file())? {
        Some(key) => key,
        None => Identity::key(config)?,
    };
    let store = Store::open(config.database.as_path(), &format!("host:{}", config.host_name()), now).await?;
    let known = store.meta_get(AUDIT_ORIGIN).await?;
    let signer = NoteSigner::new(&config.audit_origin(UNNAMED), key.clone())?;
    let said = ask_anchors(config, ours(&store, Some(signer.verifier())).await?).await?;
    // Of a database that is gone, only what lies elsewhere still has the name.
    let elsewhere = said.iter().filter_map(|sink| sink.said.as_ref().ok()?.as_ref());
    let named = head.iter().chain(elsewhere).map(|found| found.note.checkpoint.origin.clone()).next();
    let old = known.or(named).unwrap_or_default();
    sound(&store, &old).await?;
    let mut known = key_texts(&store).await?;
    if known.is_empty() && !old.is_empty() {
        // The database that knew the key is gone; notes of the old log can still be told from forged ones.
        known.extend(NoteSigner::new(&old, key.clone()).ok().map(|signer| signer.verifier().to_string()));
    }
    let log = store.audit_head().await?;
    let payload = json!({
        "why": tidy(reason, 2_000), "old_origin": old, "database": { "size": log.size, "root": log.root },
        "audit_head": head_said, "anchors": said.iter().map(told).collect::<Vec<_>>(),
    });
    let install_id = Uuid::now_v7().to_string();
    let origin = config.audit_origin(&install_id);
    let signer = NoteSigner::new(&origin, key)?;
    let keys = with_key(known, signer.verifier().to_string());
    let key = NewKey { origin: origin.clone(), keys, instead_of: None };
    let row = store.fork(Forked { install_id, key, actor: actor.to_owned(), payload }, AUDIT_HOLD, now).await?;
    sign(config, &store, &signer, now).await?;
    store.close().await;
    Ok((old, origin, row))
}

/// The note beside the database, and what the row says of it: a file that is none is evidence, too, and is about to be replaced.
fn evidence(config: &Config) -> (Option<Found>, Value) {
    match beside(config.database.folder()) {
        Ok(head) => {
            let said = head.as_ref().map_or(Value::Null, signed);
            (head, said)
        }
        Err(error) => {
            let sum = head_bytes(config).ok().map(|bytes| hex(&<[u8; 32]>::from(Sha256::digest(bytes))));
            (None, json!({ "damaged": tidy(&format!("{error:#}"), 500), "sha256": sum }))
        }
    }
}

/// A log that contradicts itself cannot go on under any name.
async fn sound(store: &Store, old: &str) -> anyhow::Result<()> {
    if store.grow(store.trunk(old).await?).await?.is_ok() {
        return Ok(());
    }
    let whole = store.grow(Trunk::default()).await?;
    whole.map(drop).context("the log contradicts itself; look with pci-segment audit verify, and restore a backup first")
}

/// The first checkpoint of the new origin, so that the old note beside the database refuses no start any more.
async fn sign(config: &Config, store: &Store, signer: &NoteSigner, now: Timestamp) -> anyhow::Result<()> {
    let whole = store.grow(Trunk::default()).await?;
    let grown = match whole {
        Ok(grown) => grown,
        // Bodies that are only in segments any more: from where it was signed last.
        Err(_) => store.grow(store.last_tree().await?).await?.context("the log contradicts itself")?,
    };
    let note = signer.sign(grown.frontier().size(), grown.frontier().root());
    let sinks = config.audit.anchors.iter().map(crate::config::AnchorConfig::name).collect();
    store.keep_checkpoint(&note, grown.frontier(), sinks, now).await?;
    write_head(&head_file(config.database.folder()), &note.to_string()).context("cannot write audit.head")
}

fn signed(found: &Found) -> Value {
    let checkpoint = &found.note.checkpoint;
    json!({ "origin": checkpoint.origin, "size": checkpoint.size, "root": hex(&checkpoint.root), "at": found.at.map(|at| at.to_string()) })
}

fn told(SinkSaid { name, said }: &SinkSaid) -> Value {
    match said {
        Ok(found) => json!({ "sink": name, "has": found.as_ref().map(signed) }),
        Err(error) => json!({ "sink": name, "unreachable": tidy(&error.to_string(), 500) }),
    }
}
