//! What anchors vouch for, as evidence for whoever verifies the log. To be asked before the log is read: it only grows, so what is read
//! after an answer has at least what the answer says.

use std::path::Path;
use std::time::Duration;

use super::start::open;
use crate::anchor::{Anchor as _, AnchorError, AnyAnchor, Found, Ours};
use crate::audit::VerifierKey;
use crate::audit::verify::{Evidence, Witnessed};
use crate::config::{AnchorConfig, Config};

/// An anchor that does not answer by then vouches for nothing this time.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(20);

/// The configured anchors that give back what they took. Mirrors of repositories are in `folder`.
///
/// # Errors
/// A setting that cannot be used.
pub fn readable(config: &Config, folder: &Path) -> anyhow::Result<Vec<AnyAnchor>> {
    let gives_back = |anchor: &&AnchorConfig| matches!(anchor, AnchorConfig::File(_) | AnchorConfig::Git(_));
    config.audit.anchors.iter().filter(gives_back).map(|anchor| open(config, anchor, folder)).collect()
}

/// The anchor in a ref of the configuration's repository, configured as an anchor or not.
///
/// # Errors
/// A setting that cannot be used.
pub fn in_ref(config: &Config, reference: &str, folder: &Path) -> anyhow::Result<AnyAnchor> {
    let anchor = AnchorConfig::Git(reference.to_owned());
    anchor.check().map_err(anyhow::Error::msg)?;
    open(config, &anchor, folder)
}

/// The newest note that each of these keys' origins has there.
///
/// # Errors
/// The anchor does not answer, or not in time.
pub async fn notes(anchor: &AnyAnchor, keys: &[VerifierKey]) -> Result<Vec<Witnessed>, AnchorError> {
    let mut origins: Vec<&str> = keys.iter().map(VerifierKey::name).collect();
    origins.sort_unstable();
    origins.dedup();
    let asked = async {
        let mut found = Vec::new();
        for origin in origins {
            let keys = keys.iter().filter(|key| key.name() == origin).cloned().collect();
            found.extend(anchor.latest(&Ours { keys, ..Ours::default() }).await?);
        }
        Ok(found)
    };
    let late = |_| Err(AnchorError(format!("no answer within {} s", ANSWER_TIME_MAX.as_secs())));
    let found = tokio::time::timeout(ANSWER_TIME_MAX, asked).await.unwrap_or_else(late)?;
    let witnessed = |Found { note, at }: Found| Witnessed { sink: anchor.name().to_owned(), note: note.to_string(), at };
    Ok(found.into_iter().map(witnessed).collect())
}

/// Has every anchor vouch; one that does not answer is a remark.
pub async fn ask(anchors: &[AnyAnchor], keys: &[VerifierKey], evidence: &mut Evidence) {
    for anchor in anchors {
        match notes(anchor, keys).await {
            Ok(notes) => {
                evidence.asked(anchor.name());
                notes.iter().for_each(|note| evidence.witnessed(note));
            }
            Err(why) => evidence.remark(format!("{} was not asked: {why}", anchor.name())),
        }
    }
}
