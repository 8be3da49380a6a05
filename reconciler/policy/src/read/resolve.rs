//! Whom selector peers mean, and which ports names stand for, in the Inventory of the same commit (S18 to S29).
//!
//! Policies are looked at twice: first every selector and name is answered, each different one once, then the answers are put where
//! they belong. What has no answer becomes nobody, or no port.

mod answers;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::names::{Names, Noun};
use super::problem::{Code, Problem, Problems};
use crate::model::{Kind, Named, NetworkPolicy, Peer, PolicySet, Port, Rule, Spot};
use crate::net::{Cidr, Direction};
use answers::{Answers, Declared, TooMuch};

/// Gives each selector peer its members and each port name its numbers.
pub(super) fn resolve(set: &mut PolicySet, names: &Names, problems: &mut Problems) {
    if !set.policies.iter().any(|policy| rules(policy).next().is_some()) {
        return;
    }
    let mut policies = core::mem::take(&mut set.policies);
    let whole = !names.lost.contains(&Noun::Endpoint);
    let mut answers = set.kinds.contains(&Kind::Inventory).then(|| Answers::new(set, whole));
    let mut found = Vec::new();
    for policy in &policies {
        if let Err(TooMuch(what)) = ask(policy, answers.as_mut(), &mut found, problems) {
            problems.push(problem(policy, policy.selector_at, "/spec".to_string(), Code::Limit, what));
            break;
        }
    }
    let mut found = found.into_iter();
    for policy in &mut policies {
        let rules = policy.ingress.list.iter_mut().chain(&mut policy.egress.list);
        rules.filter(|rule| has_questions(rule)).for_each(|rule| put(rule, &mut found));
    }
    set.policies = policies;
}

fn selects(rule: &Rule) -> bool {
    rule.peers.iter().any(|peer| matches!(peer, Peer::Selected(_)))
}

fn has_names(rule: &Rule) -> bool {
    rule.ports.iter().any(|item| matches!(item.port, Port::Named(_)))
}

fn has_questions(rule: &Rule) -> bool {
    selects(rule) || has_names(rule)
}

/// The rules of a policy that need answers, in the order in which they get them.
fn rules(policy: &NetworkPolicy) -> impl Iterator<Item = (Direction, usize, &Rule)> {
    let each = |direction| policy.rules(direction).list.iter().enumerate().map(move |(index, rule)| (direction, index, rule));
    Direction::BOTH.into_iter().flat_map(each).filter(|(.., rule)| has_questions(rule))
}

/// What a selector peer or a port name stands for, if it has an answer.
enum Found {
    Members(Option<Arc<[Cidr]>>),
    Ports(Option<Declared>),
}

/// One answer per selector peer and per port name, rule by rule, peers first.
fn ask<'a>(
    policy: &'a NetworkPolicy,
    mut answers: Option<&mut Answers<'a>>,
    found: &mut Vec<Found>,
    problems: &mut Problems,
) -> Result<(), TooMuch> {
    for (direction, index, rule) in rules(policy) {
        let pointer = |list: &str, number: usize| format!("/spec/{}/{index}/{list}/{number}", direction.name());
        let mut asked = Vec::new();
        for (number, peer) in rule.peers.iter().enumerate() {
            let Peer::Selected(selected) = peer else { continue };
            let Some(answers) = answers.as_deref_mut() else {
                let message = "no Inventory resolves this selector; write ipBlock, or list the endpoints in an Inventory";
                problems.push(problem(policy, peer.at(), pointer(direction.peers(), number), Code::BadPeer, message.to_string()));
                found.push(Found::Members(None));
                continue;
            };
            let answer = answers.of_peer(policy, selected)?;
            asked.push(answer);
            found.push(Found::Members(Some(answers.prefixes(answer)?)));
        }
        if direction == Direction::Ingress {
            asked.clear();
            if let Some(answers) = answers.as_deref_mut().filter(|_| has_names(rule)) {
                asked.push(answers.of_policy(policy)?);
            }
        }
        for (number, item) in rule.ports.iter().enumerate() {
            let Port::Named(named) = &item.port else { continue };
            let declared = match answers.as_deref_mut() {
                Some(answers) => answers.declared(&asked, named)?,
                None => Declared::default(),
            };
            // A peer or an endpoint that could not be read might have declared it.
            let peers_read = direction == Direction::Ingress || !rule.peers.iter().any(|peer| matches!(peer, Peer::Nobody { .. }));
            let whole = answers.as_deref().is_none_or(|answers| answers.whole);
            if declared.is_empty() && peers_read && whole {
                let message = undeclared(named, direction, answers.is_some());
                problems.push(problem(policy, item.at, pointer("ports", number), Code::BadPort, message));
            }
            found.push(Found::Ports((!declared.is_empty()).then_some(declared)));
        }
    }
    Ok(())
}

fn undeclared(named: &Named, direction: Direction, inventory: bool) -> String {
    let name = &named.name;
    match (inventory, direction) {
        (false, _) => format!("no Inventory resolves the port name {name}; write the number"),
        (true, Direction::Ingress) => {
            format!("the port name {name} is unresolved: no endpoint that this policy selects declares it")
        }
        (true, Direction::Egress) => format!("the port name {name} is unresolved: no endpoint among these peers declares it"),
    }
}

/// Puts the answers of a rule where they belong.
fn put(rule: &mut Rule, found: &mut impl Iterator<Item = Found>) {
    for peer in &mut rule.peers {
        if let Peer::Selected(selected) = peer {
            match found.next() {
                Some(Found::Members(Some(members))) => selected.members = members,
                Some(Found::Members(None) | Found::Ports(_)) | None => *peer = Peer::Nobody { at: selected.at },
            }
        }
    }
    for item in &mut rule.ports {
        if let Port::Named(named) = &mut item.port {
            match found.next() {
                Some(Found::Ports(Some(declared))) => named.found = declared,
                Some(Found::Ports(None) | Found::Members(_)) | None => item.port = Port::Unreadable,
            }
        }
    }
}

fn problem(policy: &NetworkPolicy, at: Spot, path: String, code: Code, message: String) -> Problem {
    let name = Some(policy.name.clone());
    Problem { code, place: policy.place(at), path: Some(path), policy: name, message, did_you_mean: None, related: Vec::new() }
}
