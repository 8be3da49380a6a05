//! One FlowTest after the other, put to a set.
//!
//! An endpoint's prefix is not asked about address by address: what the other side says of it changes only where one of that side's
//! stretches begins, so the first and the last address and those on both sides of each such bound stand for all.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use crate::answers::{Answers, End, Passage, Subject};
use crate::compile::Endpoint;
use crate::date::Date;
use crate::model::flow_test::{FlowTest, Party};
use crate::model::{Labels, PolicySet};
use crate::net::service::{ICMP, ICMPV6};
use crate::net::{Direction, Family, Service, cidr};

/// Addresses and flows asked about for all tests of a set. An honest set has a few thousand; what is beyond is a finding, not a pass.
const FLOWS_MAX: usize = 5_000_000;
/// Terms of selectors looked at to see which policies select the ends of tests; what is beyond is a finding too.
const STEPS_MAX: usize = 20_000_000;

/// A set, asked about its tests.
pub(super) struct Asker<'a> {
    set: &'a PolicySet,
    answers: Answers,
    members: BTreeMap<&'a str, usize>,
    known: BTreeMap<usize, Arc<Subject>>,
    made_up: BTreeMap<(&'a Labels, &'a str), Arc<Subject>>,
    left: usize,
}

/// What became of a test.
pub(super) enum Told<'a> {
    /// Every flow gets the expected verdict, or reading says already that there is no such endpoint.
    Met,
    /// This one does not.
    Missed(IpAddr, IpAddr, Passage<'a>),
    /// Nobody can say, and why.
    Unjudged(String),
}

/// One side of a test: who it is, and its addresses from first to last.
struct Ends {
    subject: Option<Arc<Subject>>,
    places: Vec<(Family, u128, u128)>,
}

impl<'a> Asker<'a> {
    pub(super) fn new(set: &'a PolicySet, today: Date) -> Self {
        Self {
            set,
            answers: Answers::new(set, today),
            // Of several with one name the first counts.
            members: set.members.iter().enumerate().rev().map(|(number, member)| (&*member.name, number)).collect(),
            known: BTreeMap::new(),
            made_up: BTreeMap::new(),
            left: FLOWS_MAX,
        }
    }

    /// Asks what a test asks.
    pub(super) fn judge(&mut self, test: &'a FlowTest) -> Told<'_> {
        if self.answers.steps() > STEPS_MAX {
            let why = "too many policies insist on no value of a label, for so many ends";
            return Told::Unjudged(format!("{why}: selectors were looked at more than {STEPS_MAX} times"));
        }
        let (Some(from), Some(to)) = (self.ends(&test.from), self.ends(&test.to)) else { return Told::Met };
        let (Some(sources), Some(destinations)) =
            (self.points(&from, &to, Direction::Ingress), self.points(&to, &from, Direction::Egress))
        else {
            return Told::Unjudged("too many rules meet at one of its ends".to_string());
        };
        let (mut met, mut asked) = (false, false);
        for (source, destination) in sources.iter().flat_map(|a| destinations.iter().map(move |b| (a, b))) {
            let Some(left) = self.left.checked_sub(1) else {
                return Told::Unjudged(format!("the FlowTests of this set ask about more than {FLOWS_MAX} flows"));
            };
            self.left = left;
            let family = Family::of(source.address);
            if family != Family::of(destination.address) {
                continue;
            }
            met = true;
            // An address of a prefix that is somebody else's own makes no packet.
            let clash = source.address == destination.address && (sources.len() > 1 || destinations.len() > 1);
            if !carries(family, test.service) || (clash && !same(source, destination)) {
                continue;
            }
            asked = true;
            let passage = self.answers.between(source, destination, test.service);
            if passage.allow() != test.allow {
                return Told::Missed(source.address, destination.address, passage);
            }
        }
        match (asked, met) {
            (true, _) => Told::Met,
            (false, false) => Told::Unjudged("its ends have no addresses of one family".to_string()),
            (false, true) => Told::Unjudged(format!("its ends have no addresses between which there is {}", test.service)),
        }
    }

    /// Who it is; nothing if there is no such endpoint, which reading says already.
    fn ends(&mut self, party: &'a Party) -> Option<Ends> {
        let single = |address| [(Family::of(address), cidr::number(address), cidr::number(address))].into();
        match party {
            Party::Address(address) => {
                let number = self.answers.number_at(*address);
                Some(Ends { subject: number.and_then(|number| self.member(number)), places: single(*address) })
            }
            Party::MadeUp { labels, namespace, address } => {
                let answers = &mut self.answers;
                let make = || {
                    let endpoint = Endpoint { namespace: namespace.to_string(), ..Endpoint::host(labels.clone()) };
                    Arc::new(answers.subject(endpoint))
                };
                let subject = self.made_up.entry((labels, namespace)).or_insert_with(make).clone();
                Some(Ends { subject: Some(subject), places: single(*address) })
            }
            Party::Endpoint(name) => {
                let number = *self.members.get(&**name)?;
                let place = |cidr: cidr::Cidr| (cidr.family(), cidr.bounds().0, cidr.bounds().1);
                let places = self.set.members.get(number)?.addresses.iter().map(|(cidr, _)| place(*cidr)).collect();
                Some(Ends { subject: self.member(number), places })
            }
        }
    }

    fn member(&mut self, number: usize) -> Option<Arc<Subject>> {
        if let Some(subject) = self.known.get(&number) {
            return Some(subject.clone());
        }
        let subject = Arc::new(self.answers.numbered(number)?);
        self.known.insert(number, subject.clone());
        Some(subject)
    }

    /// The addresses that stand for all, as the other side tells them apart in a direction; nothing if that side is tangled.
    fn points(&mut self, own: &Ends, other: &Ends, direction: Direction) -> Option<Vec<End>> {
        let side = other.subject.as_ref().map(|subject| subject.side(direction)).transpose().ok()?;
        let mut points: BTreeSet<(Family, u128)> = BTreeSet::new();
        for (family, first, last) in own.places.iter().copied() {
            points.extend([(family, first), (family, last)]);
            let bounds = side.map_or(&[][..], |side| side.bounds(family));
            let within = bounds.iter().skip(bounds.partition_point(|bound| *bound <= first)).take_while(|bound| **bound <= last);
            for bound in within {
                points.extend([(family, *bound - 1), (family, *bound)]);
            }
        }
        self.left = self.left.saturating_sub(points.len());
        let end = |(family, number): (Family, u128)| End { address: family.address(number), subject: own.subject.clone() };
        Some(points.into_iter().map(end).collect())
    }
}

/// Whether packets of a family can be of this service.
fn carries(family: Family, service: Service) -> bool {
    match service.protocol() {
        ICMP => family == Family::V4,
        ICMPV6 => family == Family::V6,
        _ => true,
    }
}

/// Whether two ends are one endpoint of the Inventory.
fn same(a: &End, b: &End) -> bool {
    a.member().zip(b.member()).is_some_and(|(a, b)| a == b)
}
