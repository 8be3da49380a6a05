//! What AWS allows: rules in a group, groups on an interface; and whether old and new fit into it at the same time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aws_sdk_servicequotas::types::ServiceQuota;
use policy::lower::Unsupported;
use policy::lower::security_group::{BACKEND, Key, RULES_PER_GROUP, Side};
use policy::net::{Direction, Family};

use super::actions::GET_QUOTA;
use super::client::Connection;
use super::seen::{Seen, Table};

/// Quotas of the VPC service <https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html>.
const SERVICE: &str = "vpc";
/// Rules of one direction and family in a group.
const RULES: &str = "L-0EA8095F";
/// Groups on an interface.
const GROUPS: &str = "L-2AFB9258";
/// What it is if nobody raised it.
const GROUPS_PER_INTERFACE: usize = 5;
/// Rules in a group times groups on an interface; AWS raises neither beyond that.
const PRODUCT_MAX: usize = 1000;

/// What is allowed here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quota {
    pub(super) rules_per_group: usize,
    pub(super) groups_per_interface: usize,
}

impl Quota {
    /// What is assumed where it may not be read.
    pub(super) fn assumed(rules_per_group: Option<usize>) -> Self {
        Self { rules_per_group: rules_per_group.unwrap_or(RULES_PER_GROUP), groups_per_interface: GROUPS_PER_INTERFACE }
    }

    /// Reads it where that is permitted.
    pub(super) async fn read(connection: &Connection, assumed: Self) -> Self {
        let rules = value(connection, RULES).await.unwrap_or(assumed.rules_per_group);
        let groups = value(connection, GROUPS).await.unwrap_or(assumed.groups_per_interface);
        Self { rules_per_group: rules, groups_per_interface: groups.min(PRODUCT_MAX / rules.max(1)).max(1) }
    }
}

async fn value(connection: &Connection, code: &str) -> Option<usize> {
    let send = || connection.quotas.get_service_quota().service_code(SERVICE).quota_code(code).send();
    // Once: where it is not answered, what is assumed is on the safe side.
    match send().await {
        Ok(answer) => answer.quota().and_then(ServiceQuota::value).and_then(whole),
        Err(error) => {
            let fault = super::fault::Fault::of(&error);
            tracing::debug!("{}; {RULES_PER_GROUP} rules are assumed or what is configured", fault.words(GET_QUOTA, code).doing);
            None
        }
    }
}

/// A count that AWS writes as a fraction.
fn whole(value: f64) -> Option<usize> {
    (1..=PRODUCT_MAX).rev().find(|count| u32::try_from(*count).is_ok_and(|count| f64::from(count) <= value))
}

/// What quotas count in a table: rules of a group, direction and family.
type Counts = BTreeMap<(Arc<str>, Direction, Family), usize>;

fn counts<'a>(keys: impl Iterator<Item = &'a Key>, sizes: &BTreeMap<Arc<str>, usize>) -> Counts {
    let mut counts = Counts::new();
    for key in keys {
        let Key::Rule { group, direction, side, .. } = key else { continue };
        let size = match side {
            Side::Other(id) => sizes.get(id).copied().unwrap_or(1),
            Side::Prefix(_) | Side::Group(_) => 1,
        };
        for family in Family::BOTH.into_iter().filter(|family| key.counts_for(*family)) {
            *counts.entry((group.clone(), *direction, family)).or_default() += size;
        }
    }
    counts
}

/// What does not fit.
#[derive(Debug, Default)]
pub(super) struct Tight {
    /// Groups where only the old and the new together are too much.
    pub(super) gaps: BTreeSet<Arc<str>>,
    /// Whether removing first is no way out of all of it.
    pub(super) hopeless: bool,
    /// Each in words.
    pub(super) problems: Vec<Unsupported>,
}

/// Whether old and new fit at the same time.
pub(super) fn tight(quota: Quota, seen: &Seen, sizes: &BTreeMap<Arc<str>, usize>, observed: &Table, desired: &Table) -> Tight {
    let both: BTreeSet<&Key> = observed.keys().chain(desired.keys()).collect();
    let (widest, after) = (counts(both.iter().copied(), sizes), counts(desired.keys(), sizes));
    let now = counts(observed.keys(), sizes);
    let most = quota.rules_per_group;
    let mut tight = Tight::default();
    for ((group, direction, family), needed) in &widest {
        let of = |counts: &Counts| counts.get(&(group.clone(), *direction, *family)).copied().unwrap_or_default();
        // What only takes away always fits.
        if *needed <= most || *needed == of(&now) {
            continue;
        }
        if of(&after) <= most {
            tight.gaps.insert(group.clone());
        } else {
            tight.hopeless = true;
        }
        let id = seen.ids.get(group).map_or(&**group, String::as_str);
        tight.problems.push(refused(format!(
            "{id} allows {most}, the change needs {needed} at its widest ({group}, {} rules for {}); change it in two commits, have \
             the quota raised, or set aws.allow_gap",
            direction.name(),
            family.name(),
        )));
    }
    let crowded = crowded(quota, seen, &both);
    tight.hopeless |= !crowded.is_empty();
    tight.problems.extend(crowded);
    tight
}

/// Interfaces that would be in more groups than AWS allows.
fn crowded(quota: Quota, seen: &Seen, keys: &BTreeSet<&Key>) -> Vec<Unsupported> {
    let mut groups: BTreeMap<&Arc<str>, usize> = BTreeMap::new();
    for key in keys {
        if let Key::Member { id, .. } = key {
            *groups.entry(id).or_insert_with(|| seen.others.get(id).copied().unwrap_or_default()) += 1;
        }
    }
    let most = quota.groups_per_interface;
    let beyond = groups.into_iter().filter(|(_, needed)| *needed > most);
    beyond
        .map(|(id, needed)| {
            refused(format!(
                "{id} can be in {most} security groups, the change needs {needed} at its widest; take it out of another"
            ))
        })
        .collect()
}

pub(super) fn refused(message: String) -> Unsupported {
    Unsupported { backend: BACKEND, policy: None, rule: None, place: None, message }
}

#[cfg(test)]
mod tests;
