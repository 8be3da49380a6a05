//! Under which name and with which key the log is signed.

use anyhow::{Context as _, bail};
use ed25519_dalek::SigningKey;
use jiff::Timestamp;

use crate::anchor::{GivenUp, Ours};
use crate::audit::export::named_keys;
use crate::audit::{Note, NoteSigner, VerifierKey};
use crate::config::Config;
use crate::signing::{self, KeyError};
use crate::store::{AUDIT_KEYS, AUDIT_ORIGIN, INSTALL_ID, NewKey, Store};

/// The installation as those who verify know it.
pub struct Identity {
    /// Signs as the origin of now.
    pub signer: NoteSigner,
}

impl Identity {
    /// Reads the key, makes it at the first start, and puts it on record if it is another one than before.
    ///
    /// # Errors
    /// The key is gone, or may not be used; the database cannot be written.
    pub async fn of(config: &Config, store: &Store) -> anyhow::Result<Self> {
        let install = store.meta_get(INSTALL_ID).await?.context("the database does not name its installation; restore a backup")?;
        let origin = store.meta_get(AUDIT_ORIGIN).await?.unwrap_or_else(|| config.audit_origin(&install));
        check_origin(&origin, store.log_names().await?.install.as_deref())?;
        let known = key_texts(store).await?;
        // The first start has its opening row; a longer log without a key has lost it.
        let begun = store.audit_head().await?.size > 1;
        let file = config.signing_key_file();
        let key = match signing::read(&file)? {
            Some(key) => key,
            None if known.is_empty() && !begun => signing::make(&file)?,
            None => return Err(KeyError::Missing(file).into()),
        };
        let signer = NoteSigner::new(&origin, key)?;
        let verifier = signer.verifier().to_string();
        let newest = known.iter().rfind(|text| VerifierKey::parse(text).is_ok_and(|key| key.name() == origin));
        if newest != Some(&verifier) {
            if newest.is_none() {
                tracing::info!(
                    "the audit log is signed; keep this off this host, for instance in the policy repository: {verifier}"
                );
            }
            // Keys that are no longer on record were not those of a new log.
            let lost = || (begun && known.is_empty()).then(|| "none on record".to_owned());
            let instead_of = newest.cloned().or_else(lost);
            let keys = with_key(known, verifier);
            store.use_key(NewKey { origin, keys, instead_of }, Timestamp::now()).await?;
        }
        Ok(Self { signer })
    }

    /// The key that signs, for a database that exists already.
    ///
    /// # Errors
    /// There is none, or it may not be used.
    pub fn key(config: &Config) -> anyhow::Result<SigningKey> {
        let file = config.signing_key_file();
        Ok(signing::read(&file)?.ok_or(KeyError::Missing(file))?)
    }
}

/// Keys of a log with this one last.
pub(super) fn with_key(mut known: Vec<String>, verifier: String) -> Vec<String> {
    known.retain(|text| *text != verifier);
    known.push(verifier);
    known
}

/// Every verifier key of a log as it is written, oldest first.
pub(super) async fn key_texts(store: &Store) -> Result<Vec<String>, crate::store::Error> {
    let known = store.meta_get(AUDIT_KEYS).await?;
    Ok(named_keys(&known.unwrap_or_default()).unwrap_or_default())
}

/// Every verifier key of a log, oldest first.
///
/// # Errors
/// The database cannot be read.
pub async fn known_keys(store: &Store) -> Result<Vec<VerifierKey>, crate::store::Error> {
    Ok(key_texts(store).await?.iter().filter_map(|text| VerifierKey::parse(text).ok()).collect())
}

/// Whose notes count in an anchor: whatever a key of this log has signed, but for origins that a fork left behind. That there was a
/// fork is believed only where a signed note of the log that went on covers the row that says so.
pub(super) async fn ours(store: &Store, signer: Option<&VerifierKey>) -> Result<Ours, crate::store::Error> {
    let mut keys = known_keys(store).await?;
    keys.extend(signer.cloned());
    keys.dedup();
    let names = store.log_names().await?;
    let mut ours = Ours { keys, own: signer.cloned(), install: names.install.clone(), given_up: Vec::new() };
    for fork in names.forks.iter().rev() {
        let kept = store.newest_checkpoint(&fork.new).await?;
        let Some(note) = kept.and_then(|kept| Note::parse(&kept.note).ok()) else { continue };
        let checkpoint = &note.checkpoint;
        let covers = checkpoint.origin == fork.new && checkpoint.size > fork.seq && ours.signed(&note);
        if covers && store.root_at(checkpoint.size, false).await? == Some(checkpoint.root) {
            let by_own = ours.own.as_ref().is_some_and(|own| own.under(&checkpoint.origin).verify(&note).is_ok());
            let before = names.forks.iter().filter(|before| before.seq <= fork.seq);
            ours.given_up = before.map(|before| GivenUp { origin: before.old.clone(), by_own }).collect();
            break;
        }
    }
    Ok(ours)
}

/// The origin on record must be the one that the rows of the log name.
pub(super) fn check_origin(origin: &str, install: Option<&str>) -> anyhow::Result<()> {
    match install {
        Some(install) if origin.rsplit('/').next() != Some(install) => bail!(
            "the database calls its log {origin}, and the rows of the log name it {install}: the database was changed by other hands. \
             Restore a backup"
        ),
        Some(_) | None => Ok(()),
    }
}
