//! Talking to a Git server: list refs, and fetch one when it is new.
//!
//! Nothing here chooses an address or a credential; the transports in [`super::http`] and [`super::ssh`] do. Refs are asked
//! for by their full names, without tags, and the answer's id is what the rest of the pass works on.

use std::any::Any;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use gix::protocol::transport::client::blocking_io::Transport;
use gix::remote::Direction;
use gix::remote::fetch::{Status, Tags};
use gix::remote::ref_map::Options;
use gix::{ObjectId, Repository, hash};

use super::config::GitConfig;
use super::fault::{BROKEN_PACK, Fault, OBJECT_TOO_LARGE, advice, text_of};
use super::mirror;
use crate::converge::SourceError;
use crate::source::failed;

/// A transport that has not spoken yet, and its options.
pub(crate) struct Line<T> {
    pub(crate) transport: T,
    pub(crate) options: Option<Box<dyn Any>>,
    pub(crate) url: String,
}

/// What the server said of the ref.
pub(crate) enum Answer {
    At(ObjectId),
    /// It is not there; whether anything else is, has to be asked on another line.
    Missing,
}

/// What is asked for, and where it goes.
pub(crate) struct Ask<'a> {
    pub(crate) mirror: &'a Repository,
    /// The ref on the server, by its full name.
    pub(crate) theirs: &'a str,
    /// Where the mirror notes it.
    pub(crate) ours: &'a str,
    pub(crate) limits: PackLimits,
    pub(crate) stop: &'a AtomicBool,
}

/// What a pack may hold.
#[derive(Clone, Copy)]
pub(crate) struct PackLimits {
    pub(crate) bytes: u64,
    pub(crate) objects: u64,
}

impl PackLimits {
    /// The configured ones.
    pub(crate) fn of(config: &GitConfig) -> Self {
        Self { bytes: config.pack_bytes_max, objects: config.pack_objects_max }
    }
}

/// How a conversation ended that got as far as the list of refs.
enum Heard {
    Answer(Answer),
    OtherFormat(hash::Kind),
    PackTooLarge,
    TooManyObjects(u64),
}

/// What the library says when it comes upon a malformed commit while it tells the server what we have.
const UNDECODED: &str = "could not be decoded during traversal";

/// One conversation, over whatever transport there is.
pub(crate) trait Talk {
    /// What is learnt from it.
    type Answer;
    /// Has it.
    fn over<T: Transport>(&self, line: Line<T>) -> Result<Self::Answer, Fault>;
}

/// Lists the ref, and fetches it when the mirror does not follow it yet.
impl Talk for Ask<'_> {
    type Answer = Answer;

    fn over<T: Transport>(&self, line: Line<T>) -> Result<Answer, Fault> {
        let known = mirror::pointed(self.mirror, self.ours)?.filter(|id| self.mirror.has_object(id));
        let refused = AtomicBool::new(false);
        let heard = match converse(self, line, known, &refused) {
            Ok(heard) => heard,
            Err(error) if text_of(&error).contains(UNDECODED) => {
                return Err(Fault::OddHistory(unreachable(&error, &refused).into_error()));
            }
            Err(error) => return Err(unreachable(&error, &refused)),
        };
        match heard {
            Heard::Answer(Answer::At(id)) if known != Some(id) => {
                if !self.mirror.has_object(id) {
                    return Err(
                        crate::source::refused(format!("the server did not send {id}, which it names; we try again")).into()
                    );
                }
                mirror::point(self.mirror, self.ours, id)?;
                Ok(Answer::At(id))
            }
            Heard::Answer(answer) => Ok(answer),
            Heard::OtherFormat(kind) => Err(Fault::OtherFormat(kind)),
            Heard::PackTooLarge => Err(Fault::TooLarge(pack_too_large(self.limits.bytes))),
            Heard::TooManyObjects(objects) => Err(Fault::TooLarge(too_many_objects(objects, self.limits.objects))),
        }
    }
}

/// Where refs of the server point, by their full names; those that do not exist are left out. All that have an id if none is named.
pub(crate) struct List<'a> {
    pub(crate) mirror: &'a Repository,
    pub(crate) names: &'a [String],
}

impl Talk for List<'_> {
    type Answer = HashMap<String, ObjectId>;

    fn over<T: Transport>(&self, line: Line<T>) -> Result<Self::Answer, Fault> {
        let refused = AtomicBool::new(false);
        let ask = || {
            let remote = self.mirror.remote_at_without_url_rewrite(line.url.as_str())?.with_fetch_tags(Tags::None);
            let remote = remote.with_refspecs(self.names.iter().map(String::as_str), Direction::Fetch)?;
            let mut connection = remote.to_connection_with_transport(line.transport).with_credentials(deny(&refused));
            if let Some(options) = line.options {
                connection.set_transport_options(options);
            }
            let all = self.names.is_empty();
            let options = Options { prefix_from_spec_as_filter_on_remote: !all, ..Options::default() };
            let (map, _) = connection.ref_map(gix::progress::Discard, options)?;
            let found = map.remote_refs.iter().map(gix::protocol::handshake::Ref::unpack);
            let found = found.filter_map(|(name, target, peeled)| Some((name.to_string(), peeled.or(target)?.to_owned())));
            Ok(found.filter(|(name, _)| all || self.names.contains(name)).collect())
        };
        ask().map_err(|error: gix::Error| unreachable(&error, &refused))
    }
}

/// The error for a pack over its limit.
pub(crate) fn pack_too_large(bytes_max: u64) -> SourceError {
    let mib = bytes_max / (1024 * 1024);
    crate::source::refused(format!("pack larger than {mib} MiB; raise source.pack_mib or make the repository smaller"))
}

/// The error for a pack of too many objects.
pub(crate) fn too_many_objects(objects: u64, most: u64) -> SourceError {
    crate::source::refused(format!("the pack has {objects} objects; the limit is {most}; make the repository smaller"))
}

fn converse<T: Transport>(ask: &Ask<'_>, line: Line<T>, known: Option<ObjectId>, refused: &AtomicBool) -> gix::Result<Heard> {
    let remote = ask
        .mirror
        .remote_at_without_url_rewrite(line.url.as_str())?
        .with_fetch_tags(Tags::None)
        .with_refspecs([ask.theirs], Direction::Fetch)?;
    let mut connection = remote.to_connection_with_transport(line.transport).with_credentials(deny(refused));
    if let Some(options) = line.options {
        connection.set_transport_options(options);
    }
    let fetch = connection.prepare_fetch(gix::progress::Discard, Options::default())?;
    let map = fetch.ref_map();
    let found = map.remote_refs.iter().map(gix::protocol::handshake::Ref::unpack).find(|(name, ..)| *name == ask.theirs);
    let Some(id) = found.and_then(|(_, target, peeled)| peeled.or(target)).map(ToOwned::to_owned) else {
        return Ok(Heard::Answer(Answer::Missing));
    };
    if map.object_hash != ask.mirror.object_hash() {
        return Ok(Heard::OtherFormat(map.object_hash));
    }
    if known != Some(id) {
        let received = fetch.receive(gix::progress::Discard, ask.stop)?;
        if let Some(limit) = over_limit(received.status, ask.limits) {
            return Ok(limit);
        }
    }
    Ok(Heard::Answer(Answer::At(id)))
}

/// A pack that arrived faster than it is watched is measured when it is here, and removed when it is over a limit.
fn over_limit(status: Status, limits: PackLimits) -> Option<Heard> {
    let Status::Change { write_pack_bundle: pack, .. } = status else {
        return None;
    };
    let objects = u64::from(pack.index.num_objects);
    let large = |path: &PathBuf| std::fs::metadata(path).is_ok_and(|found| found.len() > limits.bytes);
    let over = match pack.data_path.as_ref().is_some_and(large) {
        true => Some(Heard::PackTooLarge),
        false => (objects > limits.objects).then_some(Heard::TooManyObjects(objects)),
    };
    let gone = if over.is_some() { [pack.index_path, pack.data_path, pack.keep_path] } else { [None, None, pack.keep_path] };
    for path in gone.into_iter().flatten() {
        // What cannot be removed is found by the next opening of the mirror.
        let _ = std::fs::remove_file(path);
    }
    over
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
    let error = failed(format!("cannot read from the remote repository: {advice}"), causes);
    match advice {
        OBJECT_TOO_LARGE => Fault::TooLarge(error),
        BROKEN_PACK => Fault::BrokenPack(error),
        _ => error.into(),
    }
}
