//! Identities over the whole set: a backend recognises at most one endpoint by each.
//!
//! Two endpoints that one machine answers to would both be enforced there, or neither.

use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::problem::{Code, Problem, Problems};
use super::scalar::shown;
use crate::model::inventory::Member;
use crate::model::{Place, PolicySet};

/// What can recognise an endpoint: what it is called, and its pointer within the endpoint.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Mark {
    text: &'static str,
    pointer: &'static str,
}

const HOSTNAME: Mark = Mark { text: "host name", pointer: "identity/hostname" };
const MACHINE: Mark = Mark { text: "machineIdSha256", pointer: "identity/machineIdSha256" };
const INTERFACE: Mark = Mark { text: "networkInterfaceId", pointer: "identity/aws/networkInterfaceId" };
const RESOURCE: Mark = Mark { text: "resourceId", pointer: "identity/azure/resourceId" };

/// Reports every identity that a second endpoint has.
pub(super) fn check(set: &PolicySet, problems: &mut Problems) {
    let mut known: BTreeMap<(&str, String), (&Member, bool)> = BTreeMap::new();
    for member in &set.members {
        for (mark, value) in marks(member) {
            // A host without a host name of its own has its name's; two endpoints of one name have been told.
            let by_name = mark == HOSTNAME && member.identity.hostname.is_none();
            match known.entry((mark.text, value)) {
                Entry::Vacant(free) => drop(free.insert((member, by_name))),
                Entry::Occupied(taken) if by_name && taken.get().1 => {}
                Entry::Occupied(taken) => problems.push(twice(member, taken.get().0, mark, by_name, &taken.key().1)),
            }
        }
    }
}

/// By what a member is recognised. Host names and machine ids are those of hosts; Azure compares its ids without regard to case.
fn marks(member: &Member) -> Vec<(Mark, String)> {
    let identity = &member.identity;
    let hostname = member.host.then(|| identity.hostname.clone().unwrap_or_else(|| member.name.to_string()));
    let resource = identity.resource_id.as_ref().map(|id| id.to_ascii_lowercase());
    let all = [
        (HOSTNAME, hostname),
        (MACHINE, identity.machine_id_sha256.clone()),
        (INTERFACE, identity.network_interface_id.clone()),
        (RESOURCE, resource),
    ];
    all.into_iter().filter_map(|(mark, value)| value.map(|value| (mark, value))).collect()
}

fn twice(second: &Member, first: &Member, mark: Mark, by_name: bool, value: &str) -> Problem {
    let place = |member: &Member| member.origin.field(if member.origin.has("identity") { "identity" } else { "name" });
    let Place { file, spot } = &place(first);
    let (at, pointer) = if by_name { (second.origin.field("name"), "name") } else { (place(second), mark.pointer) };
    let message = format!(
        "{} {} of {} is also that of {} at {}:{}:{}",
        mark.text,
        shown(value),
        second.name,
        first.name,
        shown(file),
        spot.line,
        spot.column
    );
    Problem {
        code: Code::DuplicateName,
        place: at,
        path: Some(format!("{}/{pointer}", second.origin.path)),
        policy: None,
        message,
        did_you_mean: None,
        related: [place(first)].into(),
    }
}
