//! PCI-1.2.7-006: an exception that another rule undoes (S17).

use alloc::format;
use alloc::string::String;

use super::super::super::allowed::{Allowed, Owner};
use super::super::super::facts::Facts;
use super::super::super::found::{Found, with_severity};
use super::super::super::patches::{Patch, Work};
use super::super::super::reach::below;
use super::super::{Check, Column, Item};
use crate::finding::{Basis, Finding, Severity};
use crate::model::{Block, Mode, Peer};
use crate::net::{Cidr, Service};

/// Steps of searching; an honest set of 100,000 rules needs two million.
const STEPS_MAX: usize = 10_000_000;
/// Endpoints asked whether they declare a port, for one exception.
const LOOKED_MAX: usize = 1_000_000;

pub(super) const ITEM: Item = Item {
    id: "PCI-1.2.7-006",
    requirements: &["1.2.7"],
    severity: Severity::Error,
    waivable: true,
    basis: Basis::H,
    condition: "an excepted address is allowed by another peer, rule or covering policy, on the same port; outside the CDE a warning",
    remediation: "Rules only add up; narrow the other one.",
    violating: "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 1.3.1\"}}\nspec: {podSelector: {matchLabels: {pci-env: cde}}, ingress: [{from: [{ipBlock: {cidr: 10.1.0.0/16, except: [10.1.2.0/24]}}], ports: [{port: 443}]}, {from: [{ipBlock: {cidr: 10.1.2.0/25}}], ports: [{port: 443}]}]}\n",
    repaired: "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 1.3.1\"}}\nspec: {podSelector: {matchLabels: {pci-env: cde}}, ingress: [{from: [{ipBlock: {cidr: 10.1.0.0/16, except: [10.1.2.0/24]}}], ports: [{port: 443}]}, {from: [{ipBlock: {cidr: 10.1.2.0/25}}], ports: [{port: 8443}]}]}\n",
    profile: Column::Baseline,
    needs: &[],
    wants: &[],
    check: Check::Set(defeated),
};

fn defeated(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    let rules = facts.set.policies.iter().flat_map(|policy| policy.ingress.list.iter().chain(&policy.egress.list));
    let mut blocks = rules.flat_map(|rule| rule.peers.iter().filter_map(Peer::block));
    if blocks.all(|block| block.except.is_empty()) {
        return;
    }
    let allowed = Allowed::new(facts);
    let mut work = Work::new(STEPS_MAX);
    for (selection, (from, to)) in allowed.of_selection.iter().enumerate() {
        for (number, owner) in allowed.owners.iter().enumerate().take(*to).skip(*from) {
            let peers = owner.here.rule.peers.iter().enumerate().filter_map(|(peer, whole)| Some((peer, whole.block()?)));
            for (peer, block) in peers.filter(|(_, block)| !block.except.is_empty()) {
                let mut ask = Ask { facts, allowed: &allowed, work: &mut work, selection, number, owner };
                let undone = block.except.iter().find_map(|except| Some((except, ask.undoing(peer, *except)?)));
                if let Some((except, undoing)) = undone {
                    found.add(finding(item, facts, &allowed, owner, (peer, block), *except, &undoing));
                }
            }
        }
    }
    if work.is_done() || allowed.overfull {
        let message = "the rules are too entangled: not every exception was looked at";
        found.add(item.whole_set(facts, "limit", message.into()));
    }
}

/// A rectangle of another rule, cut down to what was excepted.
struct Undoing {
    patch: Patch,
    service: Service,
    /// For whom, where it takes an endpoint that declares a port by its name.
    endpoint: Option<usize>,
}

struct Ask<'q, 'a> {
    facts: &'q Facts<'a>,
    allowed: &'q Allowed<'a>,
    work: &'q mut Work,
    selection: usize,
    number: usize,
    owner: &'q Owner<'a>,
}

impl Ask<'_, '_> {
    /// What else lets in, or out, something of this exception on one of the rule's services.
    fn undoing(&mut self, peer: usize, except: Cidr) -> Option<Undoing> {
        let (first, last) = except.bounds();
        let meaning = self.allowed.again(self.number);
        // The block's own rectangles say which services.
        let own = |patch: &&Patch| usize::from(patch.peer) == peer && patch.family() == except.family();
        meaning.numbers().filter(own).find_map(|patch| self.meeting(Patch { first, last, ..*patch }))
    }

    fn meeting(&mut self, asked: Patch) -> Option<Undoing> {
        let (facts, owner) = (self.facts, self.owner);
        let (mut looked, mut endpoint) = (0, None);
        let meets = |other: &Patch, whose: &Owner<'_>| {
            if other.owner == asked.owner && other.peer == asked.peer {
                return false;
            }
            if !owner.by_name && !whose.by_name {
                return true;
            }
            looked += facts.endpoints.len();
            endpoint = service(&asked, other).filter(|_| looked <= LOOKED_MAX).and_then(|s| agreeing(facts, owner, whose, s));
            endpoint.is_some()
        };
        let other = self.allowed.find(facts, self.selection, &asked, self.work, meets);
        self.work.spend(if looked > LOOKED_MAX { STEPS_MAX } else { looked });
        let other = other?;
        let service = service(&asked, &other)?;
        let (first, last) = (asked.first.max(other.first), asked.last.min(other.last));
        Some(Undoing { patch: Patch { first, last, ..other }, service, endpoint })
    }
}

/// The lowest service that two rectangles share.
fn service(a: &Patch, b: &Patch) -> Option<Service> {
    let (a, b) = (a.services()?, b.services()?);
    Service::from_number(a.lo().max(b.lo()))
}

/// An endpoint for which both rules name this service: each resolves the names for itself.
fn agreeing(facts: &Facts<'_>, one: &Owner<'_>, other: &Owner<'_>, service: Service) -> Option<usize> {
    facts.endpoints.iter().position(|known| {
        let selected = known.numbers.binary_search(&one.policy).is_ok();
        selected
            && [one, other].into_iter().all(|owner| {
                let grants = owner.here.rule.grants(owner.here.direction, &known.member.ports);
                grants.iter().any(|grant| grant.services.iter().any(|services| services.contains(service)))
            })
    })
}

fn finding(
    item: &Item,
    facts: &Facts<'_>,
    allowed: &Allowed<'_>,
    owner: &Owner<'_>,
    (peer, block): (usize, &Block),
    except: Cidr,
    undoing: &Undoing,
) -> Finding {
    let here = &owner.here;
    let family = except.family();
    let address = family.address(undoing.patch.first);
    let other = allowed.owner(&undoing.patch).map(|owner| owner.here);
    let whose = other.map_or_else(String::new, |other| other.in_words());
    let message = format!("{except} is taken out of {}, yet {whose} allows {address} on {}", block.cidr, undoing.service);
    let enforced = other.is_some_and(|other| other.policy.mode == Mode::Enforce);
    // The other policy allows it, to everybody whom this one selects or to the one who declares the port.
    let witness = || match undoing.endpoint.and_then(|number| facts.endpoints.get(number)) {
        Some(known) => facts.witness_for(known, here.direction, address, undoing.service),
        None => facts.witness_of(here.policy, here.direction, address, undoing.service),
    };
    let finding = Finding {
        related: other.map(|other| other.policy.place(other.rule.at)).into_iter().collect(),
        witness: if enforced { witness() } else { None },
        ..item.about_rule(here, block.at, &below(here, Some(peer)), message)
    };
    with_severity(finding, if facts.is_cde(here.policy) { Severity::Error } else { Severity::Warning })
}
