//! Whether a controller may start on this database: it must hold at least what was signed before, as the note beside it and every
//! anchor that answers have it. A log that was cut, put back from a backup or written anew is found here, before the first write.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use rustix::fs::OFlags;
use tokio::task::JoinSet;

use super::identity::{known_keys, ours};
use crate::anchor::file::FileAnchor;
use crate::anchor::git::GitAnchor;
use crate::anchor::syslog::{Server, SyslogAnchor};
use crate::anchor::{Anchor as _, AnchorError, AnyAnchor, Found, Ours};
use crate::audit::note::NOTE_BYTES_MAX;
use crate::audit::{Checkpoint, Note, NoteSigner, hex};
use crate::config::{AnchorConfig, Config, head_file, syslog_address};
use crate::signing::{self, KeyError};
use crate::source::git::{GitConfig, GitSource};
use crate::store::{self, AUDIT_ORIGIN, Store};

/// An anchor that does not answer by then is compared later.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

/// What an anchor said.
pub struct SinkSaid {
    /// As people write it.
    pub name: String,
    /// The newest note of ours it has.
    pub said: Result<Option<Found>, AnchorError>,
}

/// The anchors of a configuration.
///
/// # Errors
/// A setting that cannot be used.
pub fn anchors(config: &Config) -> anyhow::Result<Vec<AnyAnchor>> {
    config.audit.anchors.iter().map(|anchor| open(config, anchor, config.database.folder())).collect()
}

/// One anchor, with its mirror in that folder.
pub(super) fn open(config: &Config, anchor: &AnchorConfig, folder: &Path) -> anyhow::Result<AnyAnchor> {
    let name = anchor.name();
    Ok(match anchor {
        AnchorConfig::File(path) => AnyAnchor::File(FileAnchor::new(name, path.clone())),
        AnchorConfig::Git(reference) => {
            // A mirror of its own: notes and policies do not wait for each other.
            let mirror = folder.join("anchors.git");
            let source = GitSource::new(GitConfig { mirror, ..crate::run::git_config(config)? })?;
            AnyAnchor::Git(Box::new(GitAnchor::new(name, reference.clone(), source)))
        }
        AnchorConfig::Syslog(address) => {
            let (tls, host, port) = syslog_address(address).context("audit.anchors: syslog names no address")?;
            let server = Server { host: host.to_owned(), port, tls, ca_file: config.audit.syslog_ca_file.clone() };
            AnyAnchor::Syslog(Box::new(SyslogAnchor::new(name, server, &config.host_name())))
        }
    })
}

/// Asks every anchor at once, and waits for none of them for long.
///
/// # Errors
/// A setting that cannot be used.
pub async fn ask_anchors(config: &Config, ours: Ours) -> anyhow::Result<Vec<SinkSaid>> {
    let ours = Arc::new(ours);
    let mut asked = JoinSet::new();
    for anchor in anchors(config)? {
        let ours = Arc::clone(&ours);
        asked.spawn(async move {
            let answer = tokio::time::timeout(ANSWER_TIME_MAX, anchor.latest(&ours)).await;
            let said = answer.unwrap_or_else(|_| Err(AnchorError(format!("no answer within {} s", ANSWER_TIME_MAX.as_secs()))));
            SinkSaid { name: anchor.name().to_owned(), said }
        });
    }
    let mut said = asked.join_all().await;
    said.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(said)
}

/// The note beside the database; nothing where there is none.
///
/// # Errors
/// It is there and is no note.
pub fn beside(folder: &Path) -> anyhow::Result<Option<Found>> {
    let path = head_file(folder);
    let plain = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = match OpenOptions::new().read(true).custom_flags(plain).open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let at = file.metadata().ok().and_then(|about| Timestamp::try_from(about.modified().ok()?).ok());
    let mut text = String::new();
    let limit = u64::try_from(NOTE_BYTES_MAX).unwrap_or(u64::MAX);
    file.take(limit).read_to_string(&mut text).with_context(|| format!("cannot read {}", path.display()))?;
    let note = Note::parse(&text).with_context(|| {
        format!(
            "{} is damaged; if pci-segment audit verify finds the log whole against an anchor, remove that file",
            path.display()
        )
    })?;
    Ok(Some(Found { note, at }))
}

/// Writes the note beside the database: all of it or nothing.
pub(super) fn write_head(path: &Path, text: &str) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = std::path::PathBuf::from(name);
    let made = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(&new);
    let mut made = made?;
    made.write_all(text.as_bytes())?;
    made.sync_all()?;
    fs::rename(&new, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// Refuses to have a command write to a log that is not the one the note beside it was signed over. Anchors are not asked: a command
/// does not wait for a network, and what it adds to a log that they refuse hides nothing from them.
///
/// # Errors
/// It is shorter, or another.
pub async fn writable(database: &Path) -> anyhow::Result<()> {
    let Some(head) = beside(database.parent().unwrap_or(Path::new("")))? else { return Ok(()) };
    let store = Store::open_read_only(database).await?;
    let compared = compare(&store, "audit.head", &head).await;
    store.close().await;
    compared
}

/// Refuses a start on a log that is not the one that was signed. Nothing is written.
///
/// # Errors
/// It is shorter, or another; the key may not be used.
pub(in crate::run) async fn allowed(config: &Config) -> anyhow::Result<()> {
    // Notes first: a log only grows, so what is read after them has at least what they say.
    let key = signing::read(&config.signing_key_file())?;
    let head = beside(config.database.folder())?;
    let store = match Store::open_read_only(config.database.as_path()).await {
        Ok(store) => store,
        // What else is wrong with it, opening it to write says better.
        Err(store::Error::NoDatabase(_)) => return head.map_or(Ok(()), |head| Err(shorter("audit.head", &head, 0))),
        Err(_) => return Ok(()),
    };
    let compared = compare_all(config, &store, key, head).await;
    store.close().await;
    compared
}

async fn compare_all(
    config: &Config,
    store: &Store,
    key: Option<ed25519_dalek::SigningKey>,
    head: Option<Found>,
) -> anyhow::Result<()> {
    let signed = !known_keys(store).await?.is_empty();
    if signed && key.is_none() {
        return Err(KeyError::Missing(config.signing_key_file()).into());
    }
    if let Some(head) = &head {
        compare(store, "audit.head", head).await?;
    } else if signed {
        tracing::warn!("audit.head is missing beside the database: only anchors can tell whether the log is whole");
    }
    let origin = store.meta_get(AUDIT_ORIGIN).await?.or_else(|| head.map(|head| head.note.checkpoint.origin));
    let signer = origin.zip(key).and_then(|(origin, key)| NoteSigner::new(&origin, key).ok());
    let ours = ours(store, signer.as_ref().map(NoteSigner::verifier)).await?;
    for SinkSaid { name, said } in ask_anchors(config, ours).await? {
        match said {
            Ok(Some(found)) => compare(store, &name, &found).await?,
            Ok(None) => {}
            Err(error) => tracing::warn!("{name} cannot be compared with the audit log now, and is when it answers: {error}"),
        }
    }
    Ok(())
}

async fn compare(store: &Store, name: &str, found: &Found) -> anyhow::Result<()> {
    let Some(why) = difference(store, &found.note.checkpoint, true).await? else { return Ok(()) };
    match why {
        Difference::Shorter(rows) => Err(shorter(name, found, rows)),
        Difference::Other(root) => bail!(
            "the audit log is not the one its anchor has: at {} rows the database gives {}, {name} has {} signed at {}. Restore the \
             database that was signed, or start a new log with: pci-segment audit fork --reason …",
            found.note.checkpoint.size,
            hex(&root),
            hex(&found.note.checkpoint.root),
            when(found)
        ),
    }
}

fn shorter(name: &str, found: &Found, rows: u64) -> anyhow::Error {
    anyhow::anyhow!(
        "audit log is shorter than its anchor: database has {rows} rows, {name} has {} signed at {}. Restore a newer backup, or start a \
         new log with: pci-segment audit fork --reason …",
        found.note.checkpoint.size,
        when(found)
    )
}

fn when(found: &Found) -> String {
    found.at.map_or_else(|| "a time not known".to_owned(), |at| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

/// How a log is not the one that was signed.
pub(super) enum Difference {
    /// It has so many rows only.
    Shorter(u64),
    /// At the signed size it gives this root.
    Other(crate::audit::Hash),
}

/// Compares the log with what was signed of it, from its first row on or from where it was signed before.
pub(super) async fn difference(
    store: &Store,
    signed: &Checkpoint,
    from_the_first: bool,
) -> Result<Option<Difference>, store::Error> {
    Ok(match store.root_at(signed.size, from_the_first).await? {
        None => Some(Difference::Shorter(store.audit_head().await?.size)),
        Some(root) if root != signed.root => Some(Difference::Other(root)),
        Some(_) => None,
    })
}
