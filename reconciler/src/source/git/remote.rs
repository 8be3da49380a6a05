//! Talking to a Git server: list one ref, and fetch it when it is new.
//!
//! Nothing here chooses an address or a credential; the transports in [`super::http`] and [`super::ssh`] do. The branch is asked
//! for by its full name, without tags, and the answer's id is what the rest of the pass works on.

use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};

use gix::protocol::transport::client::blocking_io::Transport;
use gix::remote::Direction;
use gix::remote::fetch::Tags;
use gix::remote::ref_map::Options;
use gix::{ObjectId, Repository, hash};

use super::fault::{Fault, advice, text_of};
use super::mirror::{self, FOLLOWED};
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

/// Lists the branch, and fetches it when the mirror does not follow it yet.
pub(crate) fn look<T: Transport>(
    mirror: &Repository,
    line: Line<T>,
    branch: &str,
    stop: &AtomicBool,
) -> Result<Answer, Fault> {
    let known = mirror::followed(mirror)?;
    let mut format = None;
    let refused = AtomicBool::new(false);
    let answer = converse(mirror, line, branch, known, &mut format, &refused, stop);
    match (answer, format) {
        (_, Some(kind)) => Err(Fault::OtherFormat(kind)),
        (Ok(answer), None) => Ok(answer),
        (Err(error), None) => Err(unreachable(&error, &refused)),
    }
}

/// True if the server has any ref at all.
pub(crate) fn has_refs<T: Transport>(mirror: &Repository, line: Line<T>) -> Result<bool, Fault> {
    let refused = AtomicBool::new(false);
    let ask = || {
        let remote = mirror
            .remote_at_without_url_rewrite(line.url.as_str())?
            .with_fetch_tags(Tags::None);
        let mut connection = remote
            .to_connection_with_transport(line.transport)
            .with_credentials(deny(&refused));
        if let Some(options) = line.options {
            connection.set_transport_options(options);
        }
        let everything = Options {
            prefix_from_spec_as_filter_on_remote: false,
            ..Options::default()
        };
        let (map, _) = connection.ref_map(gix::progress::Discard, everything)?;
        Ok(map
            .remote_refs
            .iter()
            .any(|found| found.unpack().1.is_some()))
    };
    ask().map_err(|error: gix::Error| unreachable(&error, &refused))
}

fn converse<T: Transport>(
    mirror: &Repository,
    line: Line<T>,
    branch: &str,
    known: Option<ObjectId>,
    format: &mut Option<hash::Kind>,
    refused: &AtomicBool,
    stop: &AtomicBool,
) -> gix::Result<Answer> {
    let remote = mirror
        .remote_at_without_url_rewrite(line.url.as_str())?
        .with_fetch_tags(Tags::None)
        .with_refspecs([format!("+{branch}:{FOLLOWED}").as_str()], Direction::Fetch)?;
    let mut connection = remote
        .to_connection_with_transport(line.transport)
        .with_credentials(deny(refused));
    if let Some(options) = line.options {
        connection.set_transport_options(options);
    }
    let fetch = connection.prepare_fetch(gix::progress::Discard, Options::default())?;
    let map = fetch.ref_map();
    let found = map
        .remote_refs
        .iter()
        .map(gix::protocol::handshake::Ref::unpack)
        .find(|(name, ..)| *name == branch);
    let Some(id) = found
        .and_then(|(_, target, peeled)| peeled.or(target))
        .map(ToOwned::to_owned)
    else {
        return Ok(Answer::Missing);
    };
    if map.object_hash != mirror.object_hash() {
        *format = Some(map.object_hash);
    } else if known != Some(id) {
        fetch.receive(gix::progress::Discard, stop)?;
    }
    Ok(Answer::At(id))
}

/// The credentials were given with the first request; when the server asks again it has refused them.
fn deny(
    refused: &AtomicBool,
) -> impl FnMut(
    gix::credentials::helper::Action,
) -> gix::Result<Option<gix::credentials::protocol::Outcome>>
+ '_ {
    |_| {
        refused.store(true, Ordering::Relaxed);
        Ok(None)
    }
}

fn unreachable(error: &gix::Error, refused: &AtomicBool) -> Fault {
    let causes = text_of(error);
    let advice = if refused.load(Ordering::Relaxed) {
        advice("HTTP status 401")
    } else {
        advice(&causes)
    };
    failed(
        format!("cannot read from the remote repository: {advice}"),
        causes,
    )
    .into()
}
