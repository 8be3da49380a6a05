//! Under which name and with which key the log is signed.

use anyhow::Context as _;
use ed25519_dalek::SigningKey;
use jiff::Timestamp;

use crate::anchor::Ours;
use crate::audit::{NoteSigner, VerifierKey};
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
        let known = key_texts(store).await?;
        let file = config.signing_key_file();
        let key = match signing::read(&file)? {
            Some(key) => key,
            None if known.is_empty() => signing::make(&file)?,
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
            let instead_of = newest.cloned();
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
    Ok(known.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
}

/// Every verifier key of a log, oldest first.
///
/// # Errors
/// The database cannot be read.
pub async fn known_keys(store: &Store) -> Result<Vec<VerifierKey>, crate::store::Error> {
    Ok(key_texts(store).await?.iter().filter_map(|text| VerifierKey::parse(text).ok()).collect())
}

/// Whose notes count in an anchor: those of the origin of now. What a fork left behind is named in its row, and counts no more.
pub(super) async fn ours(store: &Store, signer: Option<&VerifierKey>) -> Result<Ours, crate::store::Error> {
    let origin = store.meta_get(AUDIT_ORIGIN).await?;
    let mut keys = known_keys(store).await?;
    keys.extend(signer.cloned());
    keys.retain(|key| origin.as_deref().is_none_or(|origin| key.name() == origin));
    keys.dedup();
    Ok(Ours { keys })
}
