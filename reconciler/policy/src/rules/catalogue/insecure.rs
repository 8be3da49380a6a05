//! Insecure services (PCI DSS v4.0.1 1.2.6, 2.2.5, 2.2.7). Decided per item of `ports`; which peers a rule has matters only where
//! untrusted networks are among them.

#[cfg(test)]
mod tests;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::super::facts::Facts;
use super::super::filler::says_something;
use super::super::found::{Found, Here, with_severity};
use super::super::reach::{first_shared, grants, named};
use super::{Check, Column, Item};
use crate::finding::{Basis, Finding, Severity};
use crate::model::flows::ServiceClass;
use crate::model::{Kind, Spot, Whom};
use crate::net::service::TCP;
use crate::net::{Direction, Service, ServiceRange, ServiceSet};

pub(super) static ITEMS: [Item; 3] = [
    Item {
        id: "PCI-1.2.6-001",
        requirements: &["1.2.6", "2.2.5"],
        severity: Severity::Error,
        waivable: true,
        basis: Basis::D,
        condition: "CDE policy, an insecure port whose record has no `insecureMitigation` that says something; a warning where there are no RuleRecords. Also a warning: the Standard takes a service off the list of insecure ones or of administration that belongs there",
        remediation: "Use the encrypted service, or document the protection; it stays in the register.",
        violating: "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 1.3.1\"}}\nspec: {podSelector: {matchLabels: {pci-env: cde}}, ingress: [{name: ftp, from: [{ipBlock: {cidr: 10.0.1.0/24}}], ports: [{port: 21}]}]}\n---\napiVersion: pci-segment/v1\nkind: RuleRecords\nmetadata: {name: example}\nspec: {records: [{policy: example, rule: ftp, owner: payments, requestedBy: payments, changeTicket: CHG-1041,\n  justification: \"The acquirer fetches the settlement file; settlement stops without it.\", approvedBy: network-security, approvedAt: 2026-01-12,\n  reviewedAt: 2026-01-12, reviewedBy: network-security, reviewResult: keep}]}\n",
        repaired: "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 1.3.1\"}}\nspec: {podSelector: {matchLabels: {pci-env: cde}}, ingress: [{name: ftp, from: [{ipBlock: {cidr: 10.0.1.0/24}}], ports: [{port: 21}]}]}\n---\napiVersion: pci-segment/v1\nkind: RuleRecords\nmetadata: {name: example}\nspec: {records: [{policy: example, rule: ftp, owner: payments, requestedBy: payments, changeTicket: CHG-1041,\n  justification: \"The acquirer fetches the settlement file; settlement stops without it.\", approvedBy: network-security, approvedAt: 2026-01-12,\n  reviewedAt: 2026-01-12, reviewedBy: network-security, reviewResult: keep, insecureMitigation: \"Inside an IPsec tunnel.\"}]}\n",
        profile: Column::Baseline,
        needs: &[],
        wants: &[],
        check: Check::Set(unprotected),
    },
    Item {
        id: "PCI-1.2.6-002",
        requirements: &["1.2.6"],
        severity: Severity::Error,
        waivable: false,
        basis: Basis::H,
        condition: "CDE policy, an insecure port and an untrusted peer",
        remediation: "Remove it.",
        violating: "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 1.3.1\"}}\nspec: {podSelector: {matchLabels: {pci-env: cde}}, ingress: [{from: [{ipBlock: {cidr: 45.60.7.0/28}}], ports: [{port: 23}]}]}\n",
        repaired: "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 1.3.1\"}}\nspec: {podSelector: {matchLabels: {pci-env: cde}}, ingress: []}\n",
        profile: Column::Baseline,
        needs: &[],
        wants: &[],
        check: Check::Set(untrusted),
    },
    Item {
        id: "PCI-2.2.7-001",
        requirements: &["2.2.7"],
        severity: Severity::Error,
        waivable: true,
        basis: Basis::D,
        condition: "CDE policy, administration in clear: TCP 23, 512-514, 5985, 5900-5909, or a service that is both `admin` and `insecure`",
        remediation: "Use SSH, TLS, 5986.",
        violating: "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 1.3.1\"}}\nspec: {podSelector: {matchLabels: {pci-env: cde}}, ingress: [{from: [{ipBlock: {cidr: 10.0.1.0/24}}], ports: [{port: 5985}]}]}\n",
        repaired: "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 1.3.1\"}}\nspec: {podSelector: {matchLabels: {pci-env: cde}}, ingress: [{from: [{ipBlock: {cidr: 10.0.1.0/24}}], ports: [{port: 5986}]}]}\n",
        profile: Column::Baseline,
        needs: &[],
        wants: &["Services"],
        check: Check::Set(in_clear),
    },
];

/// Administration without encryption: Telnet, the r-commands, WinRM over HTTP, VNC.
const IN_CLEAR: [(u16, u16); 4] = [(23, 23), (512, 514), (5985, 5985), (5900, 5909)];

fn unprotected(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    for hit in hits(facts, &facts.lists.insecure) {
        let record = facts.record(hit.here.policy, hit.here.rule);
        if record.is_some_and(|record| says_something(record.insecure_mitigation.as_deref())) {
            continue;
        }
        let why = if facts.has(Kind::RuleRecords) { "; its record names no protection" } else { "" };
        let finding = hit.finding(item, facts, None, format!("{} is an insecure service{why}", hit.service));
        found.add(with_severity(finding, if facts.has(Kind::RuleRecords) { Severity::Error } else { Severity::Warning }));
    }
    for (list, services) in facts.lists.dropped() {
        let (Some(first), Some(origin)) = (services.first_in(ServiceRange::ALL), &facts.standard.origin) else { continue };
        let message = format!("the Standard takes {first} off the list {list}: rules about such services no longer see it");
        found.add(Finding {
            code: Some(list),
            severity: Severity::Warning,
            basis: Basis::H,
            remediation: "Leave it on the list, and document the protection of each rule that needs it.".into(),
            ..item.about_item(origin, "ports", message)
        });
    }
}

fn untrusted(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    for hit in hits(facts, &facts.lists.insecure) {
        if let Some((address, service)) = hit.untrusted(facts, &facts.lists.insecure) {
            let reach = if hit.here.direction == Direction::Ingress { "from" } else { "to" };
            let message = format!("{service}, an insecure service, is open {reach} {address}, which is untrusted");
            // A named port stands for another service at each who declares it.
            let hit = Hit { service, ..hit };
            found.add(hit.finding(item, facts, Some(address), message));
        }
    }
}

fn in_clear(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    let both = |class| move |entry: &&crate::model::flows::ServiceEntry| entry.is(class);
    let entries = facts.set.services.iter().filter(both(ServiceClass::Admin)).filter(both(ServiceClass::Insecure));
    let house = IN_CLEAR.into_iter().map(|(first, last)| ServiceRange::ports(TCP, first, last));
    let list = ServiceSet::of(house.chain(entries.flat_map(|entry| entry.ports.iter().copied())));
    for hit in hits(facts, &list) {
        found.add(hit.finding(item, facts, None, format!("{} is administration in clear", hit.service)));
    }
}

/// An item of `ports` that holds a service of a list; or a rule without ports, which holds all.
struct Hit<'a> {
    here: Here<'a>,
    /// The item's number, and where it stands.
    item: Option<usize>,
    at: Spot,
    /// The lowest service of the list in it.
    service: Service,
}

fn hits<'a>(facts: &Facts<'a>, list: &ServiceSet) -> Vec<Hit<'a>> {
    let mut hits = Vec::new();
    for here in facts.cde_policies().flat_map(Here::all).filter(names_somebody) {
        if here.rule.ports.is_empty()
            && let Some(service) = list.first_in(ServiceRange::ALL)
        {
            hits.push(Hit { here, item: None, at: here.rule.ports_at.unwrap_or(here.rule.at), service });
        }
        for (number, port) in here.rule.ports.iter().enumerate() {
            if let Some(service) = port.port.services().find_map(|services| list.first_in(services)) {
                hits.push(Hit { here, item: Some(number), at: port.at, service });
            }
        }
    }
    hits
}

/// A rule for nobody allows nothing.
fn names_somebody(here: &Here<'_>) -> bool {
    here.rule.peers.is_empty() || here.rule.peers.iter().any(|peer| peer.parts().next().is_some())
}

impl Hit<'_> {
    /// An untrusted address that may use a service of the list by this item, and the lowest such service.
    fn untrusted(&self, facts: &Facts<'_>, list: &ServiceSet) -> Option<(IpAddr, Service)> {
        let list = match self.item.and_then(|number| self.here.rule.ports.get(number)) {
            Some(port) => list.intersection(&ServiceSet::of(port.port.services())),
            None => list.clone(),
        };
        grants(&self.here).into_iter().find_map(|grant| {
            let service = grant.services.iter().find_map(|services| list.first_in(*services))?;
            let address = named(&self.here, grant.whom).into_iter().find_map(|one| {
                let family = one.part.cidr.family();
                first_shared(one.part, facts.untrusted(family)).map(|address| family.address(address))
            })?;
            Some((address, service))
        })
    }

    fn finding(&self, item: &Item, facts: &Facts<'_>, address: Option<IpAddr>, message: String) -> Finding {
        let below = match (self.item, self.here.rule.ports_at) {
            (Some(number), _) => format!("/ports/{number}"),
            (None, Some(_)) => String::from("/ports"),
            (None, None) => String::new(),
        };
        let witness = || {
            let port = self.item.and_then(|number| self.here.rule.ports.get(number));
            match port.and_then(|port| port.port.name()) {
                // Only some of those it selects declare the port.
                Some(_) if self.here.direction == Direction::Ingress => None,
                Some(_) => self.destination(facts, address),
                None => self.here.witness(facts, address, service_range(self.service)),
            }
        };
        Finding { witness: witness(), ..item.about_rule(&self.here, self.at, &below, message) }
    }

    /// Towards somebody who declares the named port.
    fn destination(&self, facts: &Facts<'_>, address: Option<IpAddr>) -> Option<crate::finding::Witness> {
        if let Some(address) = address {
            return facts.witness_of(self.here.policy, self.here.direction, address, self.service);
        }
        let own = grants(&self.here).into_iter().find(|grant| grant.services.iter().any(|s| s.contains(self.service)))?;
        let Whom::Members(members) = own.whom else { return None };
        facts.witness_of(self.here.policy, self.here.direction, members.first()?.first(), self.service)
    }
}

fn service_range(service: Service) -> Option<ServiceRange> {
    ServiceRange::from_numbers(service.number(), service.number())
}
