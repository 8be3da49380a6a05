//! Whether a controller may start on this database: it must hold at least what was signed before, as the note beside it and every
//! anchor that answers have it. A log that was cut, put back from a backup or written anew is found here, before the first write.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use ed25519_dalek::SigningKey;
use jiff::Timestamp;
use rustix::fs::OFlags;
use tokio::task::JoinSet;

use super::compare::{Difference, difference, gives_back, vanished};
use super::identity::{check_origin, known_keys, ours};
use crate::anchor::file::FileAnchor;
use crate::anchor::git::GitAnchor;
use crate::anchor::syslog::{Server, SyslogAnchor};
use crate::anchor::{Anchor as _, AnchorError, AnyAnchor, Found, Ours};
use crate::audit::note::NOTE_BYTES_MAX;
use crate::audit::{Note, NoteSigner, hex};
use crate::config::{AnchorConfig, Config, head_file, syslog_address};
use crate::signing::{self, KeyError};
use crate::source::git::{GitConfig, GitSource};
use crate::store::{self, AUDIT_ORIGIN, Store};

/// An anchor that does not answer by then is compared later.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// The last part of a name of which only the key is meant.
pub(super) const UNNAMED: &str = "unnamed";
/// Of a file that is no note, so much is summed up.
const HEAD_BYTES_MAX: u64 = 16 * 1024 * 1024;

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
    let Some(file) = open_head(&path)? else { return Ok(None) };
    let at = file.metadata().ok().and_then(|about| Timestamp::try_from(about.modified().ok()?).ok());
    let mut bytes = Vec::new();
    let limit = u64::try_from(NOTE_BYTES_MAX).unwrap_or(u64::MAX);
    file.take(limit).read_to_end(&mut bytes).with_context(|| format!("cannot read {}", path.display()))?;
    let text = String::from_utf8_lossy(&bytes);
    let note = Note::parse(&text).with_context(|| {
        format!(
            "{} is damaged; if pci-segment audit verify finds the log whole against an anchor, remove that file",
            path.display()
        )
    })?;
    Ok(Some(Found { note, at }))
}

fn open_head(path: &Path) -> anyhow::Result<Option<File>> {
    let plain = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = match OpenOptions::new().read(true).custom_flags(plain).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.with_context(|| format!("cannot read {}", path.display()))?,
    };
    if !file.metadata().with_context(|| format!("cannot read {}", path.display()))?.is_file() {
        bail!("{} is not a plain file; look who put it there, and remove it", path.display());
    }
    Ok(Some(file))
}

/// What lies beside the database in place of a note.
pub(super) fn head_bytes(config: &Config) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(file) = open_head(&head_file(config.database.folder()))? {
        file.take(HEAD_BYTES_MAX).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
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
    let compared = async {
        let ours = ours(&store, None).await?;
        if ours.gave_up(&head.note) { Ok(()) } else { compare(&store, &ours, "audit.head", &head).await }
    };
    let compared = compared.await;
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
        Err(store::Error::NoDatabase(_)) => return without_database(config, key, head).await,
        Err(_) => return Ok(()),
    };
    let compared = compare_all(config, &store, key, head).await;
    store.close().await;
    compared
}

/// A first start has no key. Whoever has one had a log, and it is asked for.
async fn without_database(config: &Config, key: Option<SigningKey>, head: Option<Found>) -> anyhow::Result<()> {
    if let Some(head) = head {
        return Err(shorter("audit.head", &head, 0));
    }
    let Some(key) = key else { return Ok(()) };
    let signer = NoteSigner::new(&config.audit_origin(UNNAMED), key)?;
    let own = signer.verifier().clone();
    let ours = Ours { keys: vec![own.clone()], own: Some(own), ..Ours::default() };
    for SinkSaid { name, said } in ask_anchors(config, ours).await? {
        match said {
            Ok(Some(found)) => return Err(shorter(&name, &found, 0)),
            Ok(None) => {}
            Err(error) if config.audit.require_anchor => bail!(
                "there is a key and no database, and {name} cannot say whether there was a log: {error}. Restore a backup, or start \
                 again when it answers"
            ),
            Err(error) => tracing::warn!("there is a key and no database, and {name} cannot say whether there was a log: {error}"),
        }
    }
    if config.audit.signing_key_file.is_none() {
        bail!(
            "the key {} signed a log, and its database is gone: database has 0 rows. Restore a backup, or start a new log with: \
             pci-segment audit fork --reason …",
            config.signing_key_file().display()
        );
    }
    Ok(())
}

async fn compare_all(config: &Config, store: &Store, key: Option<SigningKey>, head: Option<Found>) -> anyhow::Result<()> {
    if key.is_none() && !known_keys(store).await?.is_empty() {
        return Err(KeyError::Missing(config.signing_key_file()).into());
    }
    let origin = store.meta_get(AUDIT_ORIGIN).await?;
    let name = origin.clone().unwrap_or_else(|| config.audit_origin(UNNAMED));
    let signer = key.and_then(|key| NoteSigner::new(&name, key).ok());
    let ours = ours(store, signer.as_ref().map(NoteSigner::verifier)).await?;
    if let Some(origin) = &origin {
        check_origin(origin, ours.install.as_deref())?;
    }
    match &head {
        Some(head) if ours.gave_up(&head.note) => {
            tracing::warn!("audit.head is of a log that was given up; the next one replaces it");
        }
        Some(head) => compare(store, &ours, "audit.head", head).await?,
        None if ours.keys.is_empty() => {}
        None => tracing::warn!("audit.head is missing beside the database: only anchors can tell whether the log is whole"),
    }
    let said = ask_anchors(config, ours.clone()).await?;
    for SinkSaid { name, said } in &said {
        match said {
            Ok(Some(found)) => compare(store, &ours, name, found).await?,
            Ok(None) => {}
            Err(error) => tracing::warn!("{name} cannot be compared with the audit log now, and is when it answers: {error}"),
        }
    }
    // After what an anchor has: that says more than what it has no longer.
    for SinkSaid { name, said } in &said {
        if let (Ok(found), Some(origin)) = (said, &origin) {
            still_there(store, origin, name, found.as_ref()).await?;
        }
    }
    Ok(())
}

/// What an anchor took must still be there.
async fn still_there(store: &Store, origin: &str, name: &str, found: Option<&Found>) -> anyhow::Result<()> {
    let (had, has) = (store.anchored(name, origin).await?, found.map(|found| found.note.checkpoint.size));
    if gives_back(name) && has.unwrap_or(0) < had {
        bail!(
            "{}. Put back what it had; where that is lost, name another place in audit.anchors, or start a new log with: pci-segment \
             audit fork --reason …",
            vanished(name, had, has)
        );
    }
    Ok(())
}

async fn compare(store: &Store, ours: &Ours, name: &str, found: &Found) -> anyhow::Result<()> {
    let Some(why) = difference(store, ours, found, true).await? else { return Ok(()) };
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
        Difference::Gap(_) | Difference::Foreign | Difference::Named(_) => bail!(
            "the audit log is not the one its anchor has: {}. Restore the database that was signed, or start a new log with: \
             pci-segment audit fork --reason …",
            why.told(name, found)
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
