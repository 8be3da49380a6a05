//! `audit prove`: that a row is in a signed tree, for somebody who has neither the log nor this program's trust.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde::{Deserialize, Serialize};

use super::super::output::{Output, Tone, escape};
use super::super::{Exit, run};
use super::LogArgs;
use crate::audit::{Hash, Leaf, Note, VerifierKey, leaf, proof};
use crate::store::{Store, bytes_of};

/// A proof has one hash per doubling of the log.
const PROOF_BYTES_MAX: u64 = 1024 * 1024;

/// `audit prove`
#[derive(Debug, Args)]
pub struct ProveArgs {
    /// Where the log is.
    #[command(flatten)]
    pub log: LogArgs,
    /// The row
    #[arg(value_name = "ROW", required_unless_present_any = ["check", "consistency"])]
    pub row: Option<u64>,
    /// Checks a proof of a row instead; needs --key, and no log
    #[arg(long, value_name = "FILE", conflicts_with_all = ["row", "consistency"], requires = "key")]
    pub check: Option<PathBuf>,
    /// Only signatures by this key count; several after a rotation
    #[arg(long, value_name = "KEY", requires = "check")]
    pub key: Vec<String>,
    /// Proves instead that the log of N rows begins with that of M rows
    #[arg(long, value_names = ["M", "N"], num_args = 2, conflicts_with = "row")]
    pub consistency: Vec<u64>,
}

/// A row, its way up to the root, and the note that signs the root.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Proof {
    v: u8,
    leaf: String,
    index: u64,
    size: u64,
    path: Vec<String>,
    note: String,
}

/// That a tree begins with an older one.
#[derive(Debug, Serialize)]
struct Consistency {
    v: u8,
    first_size: u64,
    first_root: String,
    second_size: u64,
    second_root: String,
    path: Vec<String>,
}

/// Makes or checks a proof.
///
/// # Errors
/// The log or the proof cannot be read, or nothing signed covers the row.
pub(super) fn prove(args: &ProveArgs, out: Output) -> anyhow::Result<Exit> {
    if let Some(file) = &args.check {
        return check(file, &args.key, out);
    }
    let place = args.log.place()?;
    run::runtime()?.block_on(async {
        let store = Store::open_read_only(&place.database).await?;
        match (args.row, args.consistency.as_slice()) {
            (Some(row), _) => out.json(&inclusion(&store, row, &place.segments).await?),
            (None, [old, new]) => out.json(&consistency(&store, *old, *new).await?),
            (None, _) => bail!("name a row"),
        }
        Ok(Exit::Done)
    })
}

async fn inclusion(store: &Store, row: u64, segments: &std::path::Path) -> anyhow::Result<Proof> {
    let newest = store.checkpoint_within(u64::MAX).await?;
    let newest = newest.context("no checkpoint was signed yet; the controller signs one within 60 s")?;
    let Some(path) = proof::inclusion(row, newest.size) else {
        bail!("the newest signed checkpoint has {} rows; row {row} is not among them yet", newest.size)
    };
    let bytes = bytes_of(store, segments, row).await?;
    let path = encoded(&gathered(store, newest.size, path).await?);
    Ok(Proof { v: 1, leaf: STANDARD.encode(bytes), index: row, size: newest.size, path, note: newest.note })
}

async fn consistency(store: &Store, old: u64, new: u64) -> anyhow::Result<Consistency> {
    let size = store.log_tree().await?.size();
    let path = proof::consistency(old, new).filter(|_| new <= size);
    let Some(path) = path else { bail!("the log has {size} rows; name two sizes up to that, the smaller first") };
    let mut trees = (crate::audit::Frontier::default(), String::new());
    store
        .log_hashes(new, |hash| {
            trees.0.push(hash);
            if trees.0.size() == old {
                trees.1 = STANDARD.encode(trees.0.root());
            }
        })
        .await?;
    let path = encoded(&gathered(store, new, path).await?);
    let second_root = STANDARD.encode(trees.0.root());
    Ok(Consistency { v: 1, first_size: old, first_root: trees.1, second_size: new, second_root, path })
}

async fn gathered(store: &Store, rows: u64, path: Vec<std::ops::Range<u64>>) -> anyhow::Result<Vec<Hash>> {
    let mut gather = proof::Gather::over(path);
    store.log_hashes(rows, |hash| gather.push(hash)).await?;
    gather.finish().context("the log lacks rows; see pci-segment audit verify")
}

fn encoded(path: &[Hash]) -> Vec<String> {
    path.iter().map(|hash| STANDARD.encode(hash)).collect()
}

fn check(file: &PathBuf, keys: &[String], out: Output) -> anyhow::Result<Exit> {
    let keys = keys.iter().map(|key| VerifierKey::parse(key).with_context(|| format!("--key {key}")));
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
    let length = std::fs::metadata(file).with_context(|| format!("cannot read {}", file.display()))?.len();
    if length > PROOF_BYTES_MAX {
        bail!("{} is larger than any proof", file.display());
    }
    let text = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let proof: Proof = serde_json::from_slice(&text).with_context(|| format!("{} is no proof of a row", file.display()))?;
    let (code, said) = judged(&proof, &keys);
    let tone = if code == 0 { Tone::Good } else { Tone::Bad };
    out.line(out.paint(tone, &escape(&said)));
    Ok(Exit::Code(code))
}

/// Exit code and message, as `audit verify` has them.
fn judged(proof: &Proof, keys: &[VerifierKey]) -> (u8, String) {
    let index = proof.index;
    let note = match Note::parse(&proof.note) {
        Ok(note) => note,
        Err(wrong) => return (12, format!("checkpoint {}: {wrong}", proof.size)),
    };
    if !keys.iter().any(|key| key.verify(&note).is_ok()) {
        return (12, format!("checkpoint {}: no signature by a known key holds", proof.size));
    }
    let Ok(bytes) = STANDARD.decode(&proof.leaf) else { return (10, format!("row {index}: its leaf is not base64")) };
    let row = match Leaf::decode(&bytes) {
        Ok(row) if row.seq == index => row,
        Ok(row) => return (10, format!("row {index}: its bytes are those of row {}", row.seq)),
        Err(why) => return (10, format!("row {index}: its bytes are not a row: {why}")),
    };
    let path: Option<Vec<Hash>> = proof.path.iter().map(|hash| STANDARD.decode(hash).ok()?.try_into().ok()).collect();
    let root = path.and_then(|path| proof::root_of_inclusion(&leaf::hash(&bytes), index, proof.size, &path));
    if note.checkpoint.size != proof.size || root != Some(note.checkpoint.root) {
        return (10, format!("row {index}: its path does not lead to the root of checkpoint {}", note.checkpoint.size));
    }
    let text = format!(
        "row {index} ({} by {} from {}) is in the log {} of {} rows",
        row.kind, row.actor, row.origin, note.checkpoint.origin, proof.size
    );
    (0, text)
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::*;
    use crate::audit::{AuditEvent, Draft, Frontier, NoteSigner};

    /// A log of five rows, the proof of row 3 in it, and the key.
    fn proven() -> (Proof, VerifierKey) {
        let (mut leaves, mut tree, mut prev) = (Vec::new(), Frontier::default(), [0; 32]);
        for seq in 0..5 {
            let draft = Draft { kind: "heartbeat", origin: "host:test", ..Draft::at(jiff::Timestamp::UNIX_EPOCH) };
            let bytes = leaf::encode(&AuditEvent::new(draft).unwrap(), seq, &prev);
            prev = leaf::hash(&bytes);
            tree.push(prev);
            leaves.push(bytes);
        }
        let mut gather = proof::Gather::over(proof::inclusion(3, 5).unwrap());
        leaves.iter().for_each(|bytes| gather.push(leaf::hash(bytes)));
        let signer = NoteSigner::new("example.com/pci-segment/test", SigningKey::from_bytes(&[4; 32])).unwrap();
        let (path, note) = (encoded(&gather.finish().unwrap()), signer.sign(5, tree.root()).to_string());
        (Proof { v: 1, leaf: STANDARD.encode(&leaves[3]), index: 3, size: 5, path, note }, signer.verifier().clone())
    }

    #[test]
    fn a_proof_holds_and_a_changed_one_does_not() {
        let (proof, key) = proven();
        assert_eq!(judged(&proof, std::slice::from_ref(&key)).0, 0);
        let (mut changed, _) = proven();
        changed.index = 2;
        assert_eq!(judged(&changed, std::slice::from_ref(&key)).0, 10);
        let (mut changed, _) = proven();
        changed.path.swap(0, 1);
        assert_eq!(judged(&changed, std::slice::from_ref(&key)).0, 10);
        let (mut changed, _) = proven();
        changed.note = changed.note.replacen("\n5\n", "\n6\n", 1);
        assert_eq!(judged(&changed, std::slice::from_ref(&key)).0, 12);
        assert_eq!(judged(&proof, &[]).0, 12);
    }
}
