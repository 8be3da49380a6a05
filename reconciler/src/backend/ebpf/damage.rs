//! What is wrong beside the rules, in words.

use std::collections::BTreeSet;

use enforcer::{AttachmentState, Direction as KernelDirection, FailsafeEntry, TamperingKind, XdpState};

use crate::converge::{Deviation, Difference};

/// Hooks that are gone or replaced, and everything else that is not as it was left.
///
/// Only of `interfaces` that are there: through one that is gone nothing passes, and it cannot be mended.
pub(super) fn damage(seen: &enforcer::Observed, interfaces: &[String]) -> Vec<Difference> {
    let ours = seen.attachments.iter().filter(|hook| interfaces.contains(&hook.ifname));
    let hooks = ours.clone().filter_map(|hook| {
        let kind = match hook.state {
            AttachmentState::Attached => return None,
            AttachmentState::Detached => Deviation::Detached,
            AttachmentState::Replaced => Deviation::Changed,
        };
        let key = format!("hook {} {}", hook.ifname, hook.direction.label());
        Some(Difference {
            key,
            kind,
            expected: "our program".to_owned(),
            observed: format!("{:?}", hook.state).to_lowercase(),
            ..Difference::default()
        })
    });
    let tampering = seen.tampering.iter().filter_map(|found| {
        let (name, kind) = match found.kind {
            // Hooks are reported above, one by one; edited content by the diff, rule by rule, as long as it can be read.
            TamperingKind::Detached | TamperingKind::Replaced | TamperingKind::Preceded | TamperingKind::Foreign => return None,
            TamperingKind::Edited if seen.table.is_some() => return None,
            TamperingKind::Edited => ("maps", Deviation::Changed),
            TamperingKind::Rewired => ("wiring", Deviation::Changed),
            TamperingKind::Control => ("control word", Deviation::Changed),
        };
        Some(Difference {
            key: name.to_owned(),
            kind,
            expected: "as it was left".to_owned(),
            observed: found.detail.clone(),
            ..Difference::default()
        })
    });
    let preceded = ours.clone().filter(|hook| !hook.before.is_empty()).map(|hook| Difference {
        key: format!("hook {} {}", hook.ifname, hook.direction.label()),
        kind: Deviation::Changed,
        expected: "our program first".to_owned(),
        observed: format!("{} before it", hook.before.join(", ")),
        ..Difference::default()
    });
    let xdp = seen.xdp.iter().filter(|hook| hook.wanted && interfaces.contains(&hook.ifname)).filter_map(|hook| {
        let (kind, observed) = match &hook.state {
            XdpState::Native | XdpState::Unsupported { .. } => return None,
            XdpState::Busy { by } => (Deviation::Changed, by.clone()),
            XdpState::Detached | XdpState::Off => (Deviation::Detached, "nothing".to_owned()),
        };
        Some(Difference {
            key: format!("hook {} xdp", hook.ifname),
            kind,
            expected: "our program".to_owned(),
            observed,
            ..Difference::default()
        })
    });
    hooks.chain(preceded).chain(xdp).chain(tampering).chain(way_back(seen)).collect()
}

/// On trial the way back cannot be written anew; it is seen to once that is over.
fn way_back(seen: &enforcer::Observed) -> Option<Difference> {
    (seen.way_back_edited && seen.table.is_some() && seen.trial.is_none()).then(|| Difference {
        key: "way back".to_owned(),
        kind: Deviation::Changed,
        expected: "as it was left".to_owned(),
        observed: "changed after it was installed".to_owned(),
        ..Difference::default()
    })
}

/// Configured hooks, one by one, where nothing of ours is attached, not even broken.
pub(super) fn unattached(seen: &enforcer::Observed, interfaces: &[String]) -> Vec<Difference> {
    let known: BTreeSet<(&str, KernelDirection)> =
        seen.attachments.iter().map(|hook| (hook.ifname.as_str(), hook.direction)).collect();
    let wanted = interfaces.iter().flat_map(|name| KernelDirection::ALL.map(|direction| (name.as_str(), direction)));
    let difference = |(name, direction): (&str, KernelDirection)| Difference {
        key: format!("hook {name} {}", direction.label()),
        kind: Deviation::Detached,
        expected: "our program".to_owned(),
        observed: "not attached".to_owned(),
        ..Difference::default()
    };
    wanted.filter(|hook| !known.contains(hook)).map(difference).collect()
}

/// Whether DHCP passes is configuration too, and part of each generation.
pub(super) fn dhcp_damage(seen: &enforcer::Observed, wanted: bool) -> Option<Difference> {
    let found = !seen.table.as_ref()?.no_dhcp;
    let text = |passes| if passes { "passes" } else { "needs a rule" }.to_owned();
    (found != wanted).then(|| Difference {
        key: "dhcp".to_owned(),
        kind: Deviation::Changed,
        expected: text(wanted),
        observed: text(found),
        ..Difference::default()
    })
}

/// The failsafe list is configuration, but it opens traffic: what is not on the configured list was put there by somebody else.
pub(super) fn failsafe_damage(found: &[FailsafeEntry], wanted: &[FailsafeEntry]) -> Vec<Difference> {
    let text =
        |entry: &FailsafeEntry| format!("{} protocol {} port {} {}", entry.direction.label(), entry.proto, entry.port, entry.peer);
    let (found, wanted): (BTreeSet<String>, BTreeSet<String>) =
        (found.iter().map(text).collect(), wanted.iter().map(text).collect());
    let extra = found.difference(&wanted).map(|entry| Difference {
        key: format!("failsafe {entry}"),
        kind: Deviation::Extra,
        expected: String::new(),
        observed: "always passes".to_owned(),
        ..Difference::default()
    });
    let missing = wanted.difference(&found).map(|entry| Difference {
        key: format!("failsafe {entry}"),
        kind: Deviation::Missing,
        expected: "always passes".to_owned(),
        observed: String::new(),
        ..Difference::default()
    });
    extra.chain(missing).collect()
}
