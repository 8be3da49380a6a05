//! Collects findings while the rules run.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::IpAddr;

use super::catalogue::Item;
use super::facts::Facts;
use super::severities::severity;
use crate::finding::{Finding, Severity, Witness};
use crate::model::inventory::Member;
use crate::model::standard::Standard;
use crate::model::{NetworkPolicy, Origin, Peer, Place, Rule, Spot};
use crate::net::service::{SERVICE_MAX, TCP, UDP};
use crate::net::{Direction, Service, ServiceRange};

/// Errors listed, and as many others; the rest is counted. Nobody reads ten thousand, and a set can break a rule a million times.
const FINDINGS_MAX: usize = 10_000;

/// The code of what was not judged because there is too much of it.
const LIMIT: &str = "limit";

/// Findings of one run: a rule, or a part of it that has a code, at one place once, as severe as it was ever found there.
#[derive(Default)]
pub(super) struct Found {
    errors: Vec<Finding>,
    others: Vec<Finding>,
    worst: BTreeMap<Key, Rank>,
    more: More,
    severities: BTreeMap<String, Severity>,
}

/// A rule, or a part of it, at a place.
type Key = (&'static str, Option<&'static str>, Place);
/// How severe, the most severe first; what no Waiver covers before what one may.
type Rank = (Severity, bool);

fn key(finding: &Finding) -> Key {
    (finding.rule_id, finding.code, finding.place.clone())
}

fn rank(finding: &Finding) -> Rank {
    (finding.severity, finding.waivable)
}

/// Findings that were counted and not listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct More {
    pub(crate) errors: usize,
    pub(crate) others: usize,
}

impl Found {
    /// Nothing yet, under a Standard that may say how severe what is found is.
    pub(super) fn under(standard: &Standard) -> Self {
        Self { severities: standard.severities.clone(), ..Self::default() }
    }

    pub(super) fn add(&mut self, finding: Finding) {
        let finding = Finding { severity: severity(&self.severities, &finding), ..finding };
        let (list, more) = match finding.severity {
            Severity::Error => (&mut self.errors, &mut self.more.errors),
            Severity::Warning | Severity::Info => (&mut self.others, &mut self.more.others),
        };
        if list.len() >= FINDINGS_MAX {
            *more += 1;
            return;
        }
        let (key, rank) = (key(&finding), rank(&finding));
        if self.worst.get(&key).is_none_or(|known| rank < *known) {
            self.worst.insert(key, rank);
            list.push(finding);
        }
    }

    /// What was found, and how much more there was.
    pub(super) fn finish(mut self) -> (Vec<Finding>, More) {
        self.errors.append(&mut self.others);
        let worst = self.worst;
        self.errors.retain(|finding| worst.get(&key(finding)).is_none_or(|known| rank(finding) == *known));
        (self.errors, self.more)
    }
}

impl Item {
    /// A finding of this rule.
    pub(super) fn finding(&self, place: Place, message: String) -> Finding {
        Finding {
            rule_id: self.id,
            code: None,
            severity: self.severity,
            waivable: self.waivable,
            basis: self.basis,
            requirements: self.requirements,
            also: Vec::new(),
            policy: None,
            rule: None,
            endpoint: None,
            document: None,
            path: None,
            place,
            related: Vec::new(),
            did_you_mean: None,
            message,
            remediation: self.remediation.to_string(),
            witness: None,
            waiver: None,
        }
    }

    /// A finding about the whole set, which no place of it shows better than another: at its Standard, else at its first policy. It
    /// stands alone. With the code `limit` it says that a part of the rule was not judged, which nobody can accept.
    pub(super) fn whole_set(&self, facts: &Facts<'_>, code: &'static str, message: String) -> Finding {
        let standard = facts.standard.origin.as_ref().map(|origin| origin.place.clone());
        let place = standard.or_else(|| facts.set.policies.first().map(|policy| policy.place(policy.at)));
        let place = place.unwrap_or(Place { file: ".".into(), spot: Spot::START });
        Finding { code: Some(code), waivable: self.waivable && code != LIMIT, ..self.finding(place, message) }
    }

    /// A finding about an item of a document, or one of its fields.
    pub(super) fn about_item(&self, origin: &Origin, field: &str, message: String) -> Finding {
        let path = if origin.has(field) { format!("{}/{field}", origin.path) } else { origin.path.clone() };
        Finding { path: Some(path), document: Some(origin.document.clone()), ..self.finding(origin.field(field), message) }
    }

    /// A finding about an endpoint, at its entry in the Inventory.
    pub(super) fn about_endpoint(&self, member: &Member, field: &str, message: String) -> Finding {
        Finding { endpoint: Some(member.name.clone()), ..self.about_item(&member.origin, field, message) }
    }

    /// A finding about a policy.
    pub(super) fn about(&self, policy: &NetworkPolicy, spot: Spot, path: &str, message: String) -> Finding {
        Finding { policy: Some(policy.name.clone()), path: Some(path.to_string()), ..self.finding(policy.place(spot), message) }
    }

    /// A finding about a rule of a policy, or something below it.
    pub(super) fn about_rule(&self, here: &Here<'_>, spot: Spot, below: &str, message: String) -> Finding {
        let path = format!("/spec/{}/{}{below}", here.direction.name(), here.index);
        Finding { rule: here.rule.name.clone(), ..self.about(here.policy, spot, &path, message) }
    }
}

/// The same finding, less severe or more.
pub(super) fn with_severity(finding: Finding, severity: Severity) -> Finding {
    Finding { severity, ..finding }
}

/// A rule of a policy.
#[derive(Clone, Copy)]
pub(super) struct Here<'a> {
    pub(super) policy: &'a NetworkPolicy,
    pub(super) direction: Direction,
    pub(super) index: usize,
    pub(super) rule: &'a Rule,
}

impl<'a> Here<'a> {
    /// Every rule of a policy that means something.
    pub(super) fn all(policy: &'a NetworkPolicy) -> impl Iterator<Item = Self> {
        Direction::BOTH.into_iter().flat_map(move |direction| Self::of(policy, direction))
    }

    /// Those of one direction.
    pub(super) fn of(policy: &'a NetworkPolicy, direction: Direction) -> impl Iterator<Item = Self> {
        policy.live_rules(direction).iter().enumerate().map(move |(index, rule)| Self { policy, direction, index, rule })
    }

    /// The rule in a sentence: `rule from-app of cde-database`, `ingress rule 2 of cde-database`.
    pub(super) fn in_words(&self) -> String {
        let policy = &self.policy.name;
        match &self.rule.name {
            Some(name) => format!("rule {name} of {policy}"),
            None => format!("{} rule {} of {policy}", self.direction.name(), self.index + 1),
        }
    }

    /// A packet that this rule lets through: from or to this address, or the lowest of its first peer.
    pub(super) fn witness(&self, facts: &Facts<'_>, address: Option<IpAddr>, services: Option<ServiceRange>) -> Option<Witness> {
        let address = address.or_else(|| self.lowest())?;
        let services = services.or_else(|| self.rule.services().first().copied())?;
        facts.witness_of(self.policy, self.direction, address, sample(services))
    }

    fn lowest(&self) -> Option<IpAddr> {
        if self.rule.peers.is_empty() {
            // The lowest public address there is.
            return Some(IpAddr::from([1, 0, 0, 0]));
        }
        self.rule.peers.iter().flat_map(Peer::parts).find_map(|part| part.addresses(part.cidr.family()).lowest())
    }
}

/// One service of a range, one that people know if there is one.
pub(super) fn sample(range: ServiceRange) -> Service {
    let https = Service::new(TCP, 443);
    if range.contains(https) {
        return https;
    }
    let lowest = Service::from_number(range.lo().min(SERVICE_MAX)).unwrap_or(https);
    let above = Service::from_number(range.lo() + 1).filter(|s| range.contains(*s));
    let zero = lowest.port() == 0 && matches!(lowest.protocol(), TCP | UDP);
    above.filter(|_| zero).unwrap_or(lowest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admit::Circumstances;
    use crate::model::Profile;
    use crate::rules::catalogue;
    use crate::rules::recorded::tests::{POLICY, date, set};

    fn item() -> &'static Item {
        catalogue().find(|item| item.id == "PCI-1.4.5-001").unwrap()
    }

    #[test]
    fn what_is_found_twice_at_one_place_is_as_severe_as_its_worst() {
        let place = Place { file: "p.yaml".into(), spot: Spot::START };
        let with = |severity, waivable| Finding { severity, waivable, ..item().finding(place.clone(), String::new()) };
        let (warning, error, never) = (with(Severity::Warning, true), with(Severity::Error, true), with(Severity::Error, false));
        for order in [[&warning, &error, &never], [&never, &error, &warning], [&error, &never, &warning]] {
            let mut found = Found::default();
            order.into_iter().for_each(|finding| found.add(finding.clone()));
            assert_eq!(found.finish().0, core::slice::from_ref(&never));
        }
    }

    #[test]
    fn what_was_not_judged_is_never_waivable() {
        let set = set(POLICY);
        let circumstances = Circumstances::on(date("2026-02-01"));
        let facts = Facts::new(&set, Profile::Baseline, &circumstances);
        for (code, waivable) in [("limit", false), ("gone", true)] {
            assert_eq!(item().whole_set(&facts, code, String::new()).waivable, waivable, "{code}");
        }
    }
}
