//! Many questions about one set.
//!
//! [`Ruleset::verdict`] looks at every policy for every flow. Here each endpoint's rules are arranged once (`side`), endpoints with
//! the same policies share that, and a flow is answered by two binary searches. The answer is that of `verdict`, policy and rule
//! included; a set made to be tangled is answered by `verdict` itself.
//!
//! Questions may be about a set that was not admitted. Nothing of it can be enforced: there is no way from here to a [`Ruleset`].

mod index;
mod side;
mod steps;

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use crate::compile::{Endpoint, Flow, Party, Ruleset, Verdict};
use crate::date::Date;
use crate::model::inventory::{Member, NamedPort};
use crate::model::{NetworkPolicy, Place, PolicySet, Rule};
use crate::net::{Direction, Service, ServiceRange};
use index::Index;
use side::Budget;

pub(crate) use side::{Side, Tangled};

/// Steps of arranging one endpoint's rules.
const SIDE_STEPS_MAX: usize = 20_000_000;
/// Steps of arranging all of them; beyond, `verdict` answers.
const STEPS_MAX: usize = 400_000_000;
/// Arranged endpoints that are remembered; a stream of made-up ones must not fill the memory.
const REMEMBERED_MAX: usize = 65_536;

/// A set, ready to be asked.
#[derive(Debug)]
pub struct Answers {
    ruleset: Ruleset,
    index: Index,
    arranged: BTreeMap<Alike, Arc<Sides>>,
    arrangements: usize,
    budget: usize,
    steps: usize,
}

/// What must be the same for two endpoints to have the same rules: the policies that select them, and the ports they declare.
type Alike = (Vec<usize>, Vec<(Arc<str>, ServiceRange)>);

/// The rules of an endpoint, ingress, then egress; and a number of their own.
#[derive(Debug)]
struct Sides(usize, [Result<Side, Tangled>; 2]);

/// An endpoint, ready to be asked about.
#[derive(Debug, Clone)]
pub struct Subject {
    endpoint: Endpoint,
    /// Its number in the Inventory, if it is there.
    member: Option<usize>,
    selecting: Vec<usize>,
    sides: Arc<Sides>,
}

impl Subject {
    /// The endpoint.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Its number in the Inventory, if it is there.
    pub(crate) fn member(&self) -> Option<usize> {
        self.member
    }

    /// The numbers of the policies that select it, audited ones included.
    pub(crate) fn selecting(&self) -> &[usize] {
        &self.selecting
    }

    /// Its rules in one direction.
    pub(crate) fn side(&self, direction: Direction) -> Result<&Side, Tangled> {
        let [ingress, egress] = &self.sides.1;
        (if direction == Direction::Ingress { ingress } else { egress }).as_ref().map_err(|tangled| *tangled)
    }

    /// The same for two endpoints of one set exactly if they share their arranged rules.
    pub(crate) fn arrangement(&self) -> usize {
        self.sides.0
    }
}

/// What the set says of a flow.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// It passes on this side.
    pub allow: bool,
    /// The direction asked about.
    pub direction: Direction,
    /// The other side is the endpoint itself (S37): nothing is filtered.
    pub loopback: bool,
    /// The policy that allows it, or the first that isolates; none where nothing isolates.
    pub policy: Option<&'a NetworkPolicy>,
    /// The rule that allows it, by its place in the policy.
    pub rule: Option<usize>,
}

impl<'a> Answer<'a> {
    /// Whether a policy isolates the endpoint in this direction.
    #[must_use]
    pub fn isolated(&self) -> bool {
        self.policy.is_some()
    }

    /// The rule that allows it, as a pointer into its document: `/spec/ingress/0`.
    #[must_use]
    pub fn pointer(&self) -> Option<String> {
        self.rule.map(|number| format!("/spec/{}/{number}", self.direction.name()))
    }

    /// The rule that allows it.
    #[must_use]
    pub fn rule(&self) -> Option<&'a Rule> {
        self.policy?.rules(self.direction).list.get(self.rule?)
    }

    /// Where the rule, or else the policy, stands.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        let policy = self.policy?;
        Some(policy.place(self.rule().map_or(policy.at, |rule| rule.at)))
    }

    /// In the words of [`Ruleset::verdict`].
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        Verdict {
            allow: self.allow,
            isolated: self.isolated(),
            direction: self.direction,
            policy: self.policy.map(|policy| policy.name.clone()),
            rule: self.pointer(),
        }
    }
}

/// What both sides say of a flow between two parties (S34).
#[derive(Debug, Clone, Copy)]
pub struct Passage<'a> {
    /// The source's side; none where the source is no endpoint.
    pub egress: Option<Answer<'a>>,
    /// The destination's side; none where the destination is no endpoint.
    pub ingress: Option<Answer<'a>>,
}

impl Passage<'_> {
    /// Whether both sides agree.
    #[must_use]
    pub fn allow(&self) -> bool {
        self.egress.is_none_or(|side| side.allow) && self.ingress.is_none_or(|side| side.allow)
    }
}

impl Answers {
    /// For a set as it is on a day, admitted or not. What could not be read of it allows nothing and
    /// isolates nobody.
    #[must_use]
    pub fn new(set: &PolicySet, today: Date) -> Self {
        Self::of(Ruleset::of(set, today))
    }

    /// For a compiled set.
    #[must_use]
    pub fn of(ruleset: Ruleset) -> Self {
        let index = Index::new(&ruleset);
        Self { ruleset, index, arranged: BTreeMap::new(), arrangements: 0, budget: STEPS_MAX, steps: 0 }
    }

    /// The endpoints of the Inventory.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        self.ruleset.members()
    }

    /// Terms of selectors that were looked at to see who selects whom: whoever asks about many endpoints has a limit.
    pub(crate) fn steps(&self) -> usize {
        self.steps
    }

    /// The policies, in order of file and place.
    pub(crate) fn policies(&self) -> &[NetworkPolicy] {
        self.ruleset.policies()
    }

    /// Whether the set has an Inventory.
    #[must_use]
    pub fn has_inventory(&self) -> bool {
        self.ruleset.has_inventory()
    }

    /// The entry in the Inventory of an address.
    #[must_use]
    pub fn member_at(&self, address: IpAddr) -> Option<&Member> {
        self.members().get(self.number_at(address)?)
    }

    /// An endpoint of the Inventory by its name.
    #[must_use]
    pub fn named(&mut self, name: &str) -> Option<Subject> {
        let number = self.index.named(name)?;
        self.numbered(number)
    }

    /// The endpoint of the Inventory with this address.
    #[must_use]
    pub fn at(&mut self, address: IpAddr) -> Option<Subject> {
        let number = self.number_at(address)?;
        self.numbered(number)
    }

    /// The number of the endpoint of the Inventory with this address.
    pub(crate) fn number_at(&self, address: IpAddr) -> Option<usize> {
        self.index.at(address)
    }

    /// An endpoint of the Inventory by its number.
    pub(crate) fn numbered(&mut self, number: usize) -> Option<Subject> {
        let endpoint = Endpoint::from(self.ruleset.members().get(number)?);
        Some(Subject { member: Some(number), ..self.subject(endpoint) })
    }

    /// Any endpoint, made up or that of this host.
    #[must_use]
    pub fn subject(&mut self, endpoint: Endpoint) -> Subject {
        let selecting = self.index.selecting(&self.ruleset, &endpoint, &mut self.steps);
        let mut ports: Vec<_> = endpoint.ports.iter().map(|port: &NamedPort| (port.name.clone(), port.service)).collect();
        ports.sort_unstable();
        let alike = (selecting.clone(), ports);
        let sides = match self.arranged.get(&alike) {
            Some(sides) => sides.clone(),
            None => {
                let both = Direction::BOTH.map(|direction| self.arrange(&selecting, direction, &endpoint.ports));
                self.arrangements += 1;
                let sides = Arc::new(Sides(self.arrangements, both));
                if self.arranged.len() >= REMEMBERED_MAX {
                    self.arranged.clear();
                }
                self.arranged.insert(alike, sides.clone());
                sides
            }
        };
        Subject { endpoint, member: None, selecting, sides }
    }

    fn arrange(&mut self, selecting: &[usize], direction: Direction, declared: &[NamedPort]) -> Result<Side, Tangled> {
        let allowed = self.budget.min(SIDE_STEPS_MAX);
        let mut budget = Budget(allowed);
        let side = Side::new(self.ruleset.policies(), selecting, direction, declared, &mut budget);
        self.budget -= allowed - budget.0.min(allowed);
        side
    }

    /// What the set says of a flow into or out of an endpoint, on that endpoint's side.
    #[must_use]
    pub fn ask(&self, subject: &Subject, direction: Direction, peer: IpAddr, service: Service) -> Answer<'_> {
        let own = subject.member.and_then(|number| self.members().get(number));
        if own.is_some_and(|own| own.addresses.iter().any(|(cidr, _)| cidr.contains(peer))) {
            return Answer { allow: true, direction, loopback: true, policy: None, rule: None };
        }
        self.filtered(subject, direction, peer, service)
    }

    /// The same, but of somebody else whatever the address.
    fn filtered(&self, subject: &Subject, direction: Direction, peer: IpAddr, service: Service) -> Answer<'_> {
        let open = Answer { allow: true, direction, loopback: false, policy: None, rule: None };
        let policy = |number: usize| self.policies().get(number);
        let Ok(side) = subject.side(direction) else {
            return self.slowly(subject, direction, peer, service);
        };
        match (side.ask(peer, service), side.isolating()) {
            (Some((number, rule)), _) => Answer { policy: policy(number), rule: Some(rule), ..open },
            (None, Some(number)) => Answer { allow: false, policy: policy(number), ..open },
            (None, None) => open,
        }
    }

    /// The same by way of `verdict`.
    fn slowly(&self, subject: &Subject, direction: Direction, peer: IpAddr, service: Service) -> Answer<'_> {
        let verdict = self.ruleset.verdict(&Flow { endpoint: subject.endpoint.clone(), direction, peer, service });
        let named = |policy: &&NetworkPolicy| Some(&policy.name) == verdict.policy.as_ref();
        let rule = verdict.rule.as_deref().and_then(|pointer| pointer.rsplit('/').next()?.parse().ok());
        Answer { allow: verdict.allow, direction, loopback: false, policy: self.policies().iter().find(named), rule }
    }

    /// What both sides say of a flow between two parties: an address of the Inventory is its endpoint, and an endpoint always reaches
    /// itself (S34, S37).
    #[must_use]
    pub fn passage(&mut self, source: &Party, destination: &Party, service: Service) -> Passage<'_> {
        let (from, to) = (self.end(source), self.end(destination));
        self.between(&from, &to, service)
    }

    /// One end of a flow, ready to be asked about.
    pub(crate) fn end(&mut self, party: &Party) -> End {
        let subject = match &party.endpoint {
            Some(endpoint) => Some(self.subject(endpoint.clone())),
            None => self.at(party.address),
        };
        End { address: party.address, subject: subject.map(Arc::new) }
    }

    /// What both sides say of a flow between two ends.
    pub(crate) fn between(&self, from: &End, to: &End, service: Service) -> Passage<'_> {
        let same = from.member().zip(to.member()).is_some_and(|(a, b)| a == b);
        if same || from.address == to.address {
            return Passage { egress: None, ingress: None };
        }
        let side = |end: &End, direction, peer| end.subject.as_ref().map(|own| self.filtered(own, direction, peer, service));
        Passage { egress: side(from, Direction::Egress, to.address), ingress: side(to, Direction::Ingress, from.address) }
    }
}

/// One end of a flow.
#[derive(Debug, Clone)]
pub(crate) struct End {
    pub(crate) address: IpAddr,
    /// The endpoint it is, if it is one.
    pub(crate) subject: Option<Arc<Subject>>,
}

impl End {
    /// The endpoint's number in the Inventory, if it is there.
    pub(crate) fn member(&self) -> Option<usize> {
        self.subject.as_ref()?.member
    }
}

#[cfg(test)]
mod tests;
