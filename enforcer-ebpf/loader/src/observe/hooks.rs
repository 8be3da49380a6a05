//! Every hook that was attached, by this process or an earlier one: whether our program runs there, and what runs before it.
//!
//! A program that runs before ours may end the chain, and then no packet of that chain is judged. So one before ours is always
//! told, whatever it does.

use std::{collections::BTreeSet, io, sync::PoisonError};

use aya::programs::ProgramInfo;

use crate::{
    api::{Attachment, AttachmentState, Tampering, TamperingKind},
    enforcer::Enforcer,
    error::Error,
    hook::{self, order},
    sys,
    table::Direction,
};

pub(crate) fn attachments(enforcer: &Enforcer, tampering: &mut Vec<Tampering>) -> Result<Vec<Attachment>, Error> {
    let pinned = enforcer.layout.hooks()?;
    let known = enforcer.attached.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let name =
        |ifindex, direction| sys::interface_name(ifindex).or_else(|| known.get(&(ifindex, direction)).cloned()).unwrap_or_default();
    let mut attachments = Vec::new();
    for (ifindex, direction, filter) in pinned.iter().copied() {
        let seen = if filter { filter_state(enforcer, ifindex, direction)? } else { link_state(enforcer, ifindex, direction)? };
        let (state, before) = seen;
        attachments.push(Attachment { ifname: name(ifindex, direction), ifindex, direction, state, before });
    }
    let pinned: BTreeSet<_> = pinned.iter().map(|(ifindex, direction, _)| (*ifindex, *direction)).collect();
    for (ifindex, direction) in known.keys().copied().filter(|own| !pinned.contains(own)) {
        let (ifname, state) = (name(ifindex, direction), AttachmentState::Detached);
        attachments.push(Attachment { ifname, ifindex, direction, state, before: Vec::new() });
    }
    tampering.extend(attachments.iter().flat_map(told));
    Ok(attachments)
}

fn told(own: &Attachment) -> Vec<Tampering> {
    let place = format!("interface {} ({}), direction {}", own.ifname, own.ifindex, own.direction.label());
    let state = match own.state {
        AttachmentState::Attached => None,
        AttachmentState::Detached => Some(TamperingKind::Detached),
        AttachmentState::Replaced => Some(TamperingKind::Replaced),
    };
    let mut found: Vec<Tampering> = state.map(|kind| Tampering { kind, detail: place.clone() }).into_iter().collect();
    if !own.before.is_empty() {
        let detail = format!("{place}: before our program runs {}", own.before.join(", "));
        found.push(Tampering { kind: TamperingKind::Preceded, detail });
    }
    found
}

type Seen = (AttachmentState, Vec<String>);

fn link_state(enforcer: &Enforcer, ifindex: u32, direction: Direction) -> Result<Seen, Error> {
    let path = enforcer.layout.link(ifindex, direction);
    let link = match sys::link_details(&path) {
        Ok(link) => link,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((AttachmentState::Detached, Vec::new())),
        Err(error) => return Err(Error::kernel(format!("open the link {}", path.display()), error)),
    };
    if link.ifindex != ifindex {
        return Ok((AttachmentState::Detached, Vec::new()));
    }
    let state = if ours(enforcer, direction, link.program) { AttachmentState::Attached } else { AttachmentState::Replaced };
    Ok((state, order::before_link(ifindex, direction, link.program)?))
}

fn filter_state(enforcer: &Enforcer, ifindex: u32, direction: Direction) -> Result<Seen, Error> {
    let Some(order::Own { program, before }) = order::filter(ifindex, direction)? else {
        return Ok((AttachmentState::Detached, Vec::new()));
    };
    let pinned = ProgramInfo::from_pin(enforcer.layout.filter(ifindex, direction)).ok().map(|info| info.id());
    let own = program.is_some_and(|program| pinned == Some(program) && ours(enforcer, direction, program));
    Ok((if own { AttachmentState::Attached } else { AttachmentState::Replaced }, before))
}

/// Whether that is the number of a pinned program for this direction.
fn ours(enforcer: &Enforcer, direction: Direction, program: u32) -> bool {
    let pinned = |name| ProgramInfo::from_pin(enforcer.layout.prog(name)).is_ok_and(|pinned| pinned.id() == program);
    hook::programs(direction).into_iter().any(pinned)
}
