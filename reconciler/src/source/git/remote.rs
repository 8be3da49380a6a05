//! Talking to a Git server: list one ref, and fetch it when it is new.
//!
//! Nothing here chooses an address or a credential; the transports in [`super::http`] and [`super::ssh`] do. The branch is asked
//! for by its full name, without tags, and the answer's id is what the rest of the pass works on.

use std::any::Any;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use gix::protocol::transport::client::blocking_io::Transport;
use gix::remote::Direction;
use gix::remote::fetch::{Status, Tags};
use gix::remote::ref_map::Options;
use gix::{ObjectId, Repository, hash};

use super::fault::{Fault, advice, text_of};
use super::mirror::{self, FOLLOWED};
use crate::converge::SourceError;
use crate::source::failed;

/// A transport that has not spoken yet, and its options.
pub(crate) struct Line<T> {
    pub(crate) transport: T,
    pub(crate) options: Option<Box<dyn Any>>,
    pub(crate) url: String,
}

/// What the server said of the branch.
pub(crate) enum Answer {
    At(ObjectId),
    /// The branch is not there; whether anything else is, has to be asked on another line.
    Missing,
}

/// What is asked for, and where it goes.
pub(crate) struct Ask<'a> {
    pub(crate) mirror: &'a Repository,
    /// `refs/heads/…`
    pub(crate) branch: &'a str,
    pub(crate) pack_bytes_max: u64,
    pub(crate) stop: &'a AtomicBool,
}

/// How a conversation ended that got as far as the list of refs.
enum Heard {
    Answer(Answer),
    OtherFormat(hash::Kind),
    PackTooLarge,
}

/// Lists the branch, and fetches it when the mirror does not follow it yet.
pub(crate) fn look<T: Transport>(ask: &Ask<'_>, line: Line<T>) -> Result<Answer, Fault> {
    let known = mirror::followed(ask.mirror)?;
    let refused = AtomicBool::new(false);
    match converse(ask, line, known, &refused) {
        Ok(Heard::Answer(answer)) => Ok(answer),
        Ok(Heard::OtherFormat(kind)) => Err(Fault::OtherFormat(kind)),
        Ok(Heard::PackTooLarge) => {
            mirror::follow_again(ask.mirror, known)?;
            Err(pack_too_large(ask.pack_bytes_max).into())
        }
        Err(error) => Err(unreachable(&error, &refused)),
    }
}

/// The error for a pack over its limit.
pub(crate) fn pack_too_large(bytes_max: u64) -> SourceError {
    let mib = bytes_max / (1024 * 1024);
    crate::source::refused(format!("pack larger than {mib} MiB; raise source.pack_mib or make the repository smaller"))
}

/// True if the server has any ref at all.
pub(crate) fn has_refs<T: Transport>(mirror: &Repository, line: Line<T>) -> Result<bool, Fault> {
    let refused = AtomicBool::new(false);
    let ask = || {
        let remote = mirror.remote_at_without_url_rewrite(line.url.as_str())?.with_fetch_tags(Tags::None);
        let mut connection = remote.to_connection_with_transport(line.transport).with_credentials(deny(&refused));
        if let Some(options) = line.options {
            connection.set_transport_options(options);
        }
        let everything = Options { prefix_from_spec_as_filter_on_remote: false, ..Options::default() };
        let (map, _) = connection.ref_map(gix::progress::Discard, everything)?;
        Ok(map.remote_refs.iter().any(|found| found.unpack().1.is_some()))
    };
    ask().map_err(|error: gix::Error| unreachable(&error, &refused))
}

fn converse<T: Transport>(ask: &Ask<'_>, line: Line<T>, known: Option<ObjectId>, refused: &AtomicBool) -> gix::Result<Heard> {
    let remote = ask
        .mirror
        .remote_at_without_url_rewrite(line.url.as_str())?
        .with_fetch_tags(Tags::None)
        .with_refspecs([format!("+{}:{FOLLOWED}", ask.branch).as_str()], Direction::Fetch)?;
    let mut connection = remote.to_connection_with_transport(line.transport).with_credentials(deny(refused));
    if let Some(options) = line.options {
        connection.set_transport_options(options);
    }
    let fetch = connection.prepare_fetch(gix::progress::Discard, Options::default())?;
    let map = fetch.ref_map();
    let found = map.remote_refs.iter().map(gix::protocol::handshake::Ref::unpack).find(|(name, ..)| *name == ask.branch);
    let Some(id) = found.and_then(|(_, target, peeled)| peeled.or(target)).map(ToOwned::to_owned) else {
        return Ok(Heard::Answer(Answer::Missing));
    };
    if map.object_hash != ask.mirror.object_hash() {
        return Ok(Heard::OtherFormat(map.object_hash));
    }
    if known != Some(id) {
        let received = fetch.receive(gix::progress::Discard, ask.stop)?;
        if drop_large_pack(received.status, ask.pack_bytes_max) {
            return Ok(Heard::PackTooLarge);
        }
    }
    Ok(Heard::Answer(Answer::At(id)))
}

/// A pack that arrived faster than it is watched is measured when it is here. Our ref has to be moved back then.
fn drop_large_pack(status: Status, bytes_max: u64) -> bool {
    let Status::Change { write_pack_bundle: pack, .. } = status else {
        return false;
    };
    let large = |path: &PathBuf| std::fs::metadata(path).is_ok_and(|found| found.len() > bytes_max);
    if !pack.data_path.as_ref().is_some_and(large) {
        return false;
    }
    for path in [pack.index_path, pack.data_path].into_iter().flatten() {
        // What cannot be removed is found by the next opening of the mirror.
        let _ = std::fs::remove_file(path);
    }
    true
}

/// The credentials were given with the first request; when the server asks again it has refused them.
fn deny(
    refused: &AtomicBool,
) -> impl FnMut(gix::credentials::helper::Action) -> gix::Result<Option<gix::credentials::protocol::Outcome>> + '_ {
    |_| {
        refused.store(true, Ordering::Relaxed);
        Ok(None)
    }
}

fn unreachable(error: &gix::Error, refused: &AtomicBool) -> Fault {
    let causes = text_of(error);
    let advice = if refused.load(Ordering::Relaxed) { advice("HTTP status 401") } else { advice(&causes) };
    failed(format!("cannot read from the remote repository: {advice}"), causes).into()
}
