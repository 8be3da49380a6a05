//! Which generation judges: settled, on trial with a way back, or rehearsed, read from the two rules that say so.
//!
//! A trial is a set that holds both families until the kernel's own timer empties it. As long as a packet's family is in it, the
//! generation on trial judges; after that the older one, or, where nothing was enforced before, none. No process is needed. Enforcement
//! that is off for a time is the same the other way round: nobody judges as long as the set holds them, then the generation does.

use std::time::Duration;

use policy::net::Direction;
use serde_json::{Value, json};

use super::names::{TRIAL, dispatch, epoch_of, generation};
use super::present::{Line, Present};
use super::script::{Judges, WayBack};

/// Which generation judges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// We have no table.
    Absent,
    /// Nobody can say: the rules that should are not ours.
    Broken,
    /// This one.
    Settled(u64),
    /// The new one as long as there is time left, then the old one, or none.
    Trial { new: u64, old: Option<u64>, left: Duration },
    /// None; this one is in place, and connections are followed.
    Rehearsed(u64),
    /// None as long as there is time left, then this one.
    Off { epoch: u64, left: Duration },
}

impl State {
    /// Reads it.
    pub(super) fn of(present: &Present) -> Self {
        if !present.exists {
            return Self::Absent;
        }
        let [inbound, outbound] = Direction::BOTH.map(|direction| turn(present, direction));
        match (inbound, outbound) {
            (Some(inbound), Some(outbound)) if inbound == outbound => match inbound {
                Turn::Only(epoch) => Self::Settled(epoch),
                Turn::Nobody => Self::Rehearsed(present.newest()),
                Turn::OnTrial(new, old) => Self::Trial { new, old, left: left(present) },
                Turn::Off(epoch) => Self::Off { epoch, left: left(present) },
            },
            _ => Self::Broken,
        }
    }

    /// The generation whose rules are in place, and whether nothing is dropped all the same; `safe` is [`Present::safe`].
    pub(super) fn judging(self, safe: u64) -> Option<(u64, bool)> {
        match self {
            Self::Absent => None,
            Self::Broken => (safe > 0).then_some((safe, false)),
            Self::Settled(epoch) => Some((epoch, false)),
            Self::Trial { new, left, .. } if !left.is_zero() => Some((new, false)),
            Self::Trial { old: Some(old), .. } => Some((old, false)),
            Self::Trial { new, old: None, .. } => Some((new, true)),
            Self::Rehearsed(epoch) => Some((epoch, true)),
            Self::Off { epoch, left } => Some((epoch, !left.is_zero())),
        }
    }

    /// Who judges where the same is loaded anew; `audited` is what [`State::judging`] says.
    pub(super) fn judges(self, audited: bool) -> Judges {
        match self {
            Self::Trial { old, left, .. } if !left.is_zero() => Judges::At(Some(WayBack { within: left, to: old })),
            // The end that somebody set stays, whatever becomes of this process.
            Self::Off { left, .. } if !left.is_zero() => Judges::Later(left),
            Self::Trial { .. } | Self::Off { .. } | Self::Absent | Self::Broken | Self::Settled(_) | Self::Rehearsed(_) => {
                if audited {
                    Judges::Nobody
                } else {
                    Judges::At(None)
                }
            }
        }
    }

    /// What a trial that begins now can go back to.
    pub(super) fn way_back(self, safe: u64) -> Option<u64> {
        match self {
            Self::Absent | Self::Rehearsed(_) => None,
            // Somebody has changed which one judges: better an older generation than none.
            Self::Broken => (safe > 0).then_some(safe),
            Self::Settled(epoch) | Self::Off { epoch, .. } => Some(epoch),
            Self::Trial { old, .. } => old,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Only(u64),
    OnTrial(u64, Option<u64>),
    Off(u64),
    Nobody,
}

fn turn(present: &Present, direction: Direction) -> Option<Turn> {
    let rules = present.rules(&dispatch(direction));
    match rules {
        [only] if only.statements == [json!({ "accept": null })] => Some(Turn::Nobody),
        [only] => target(&only.statements, direction).map(Turn::Only),
        [trial, back] => {
            let (guard, rest) = trial.statements.split_first()?;
            let asks = *guard == json!({"match": {"op": "==", "left": {"meta": {"key": "nfproto"}}, "right": format!("@{TRIAL}")}});
            if asks && rest == [json!({ "accept": null })] {
                return target(&back.statements, direction).map(Turn::Off);
            }
            let new = target(rest, direction).filter(|_| asks)?;
            if back.statements == [json!({ "accept": null })] {
                return Some(Turn::OnTrial(new, None));
            }
            Some(Turn::OnTrial(new, Some(target(&back.statements, direction)?)))
        }
        _ => None,
    }
}

fn target(statements: &[Value], direction: Direction) -> Option<u64> {
    let [only] = statements else { return None };
    let name = only.get("goto")?.get("target")?.as_str()?;
    let epoch = epoch_of(name)?;
    (name == generation(epoch, direction)).then_some(epoch)
}

/// The shorter of what both families have left; nothing if one is gone.
fn left(present: &Present) -> Duration {
    let elements = present.sets.get(TRIAL).map_or(&[][..], Vec::as_slice);
    let seconds = |element: &Value| {
        let inner = element.get("elem");
        // Without a timer it would never end; nft shows whole seconds, so the last one counts as one.
        inner.and_then(|inner| inner.get("expires")).and_then(Value::as_u64).map(|left| left.max(1))
    };
    let all: Vec<u64> = elements.iter().filter_map(seconds).collect();
    match all.as_slice() {
        [a, b] => Duration::from_secs(*a.min(b)),
        _ => Duration::ZERO,
    }
}

/// What a generation says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct About {
    pub(super) digest: String,
    pub(super) isolation: [Option<String>; 2],
    pub(super) seal: Option<String>,
}

impl About {
    pub(super) fn read(rules: &[Line]) -> Self {
        let mut about = Self::default();
        for word in rules.iter().flat_map(|line| line.comment.split(' ')) {
            let isolation = |value: &str| Some(value.to_owned()).filter(|value| value != "none");
            match word.split_once('=') {
                Some(("digest", value)) => value.clone_into(&mut about.digest),
                Some(("in", value)) => about.isolation[0] = isolation(value),
                Some(("out", value)) => about.isolation[1] = isolation(value),
                Some(("seal", value)) => about.seal = Some(value.to_owned()),
                _ => {}
            }
        }
        about
    }
}
