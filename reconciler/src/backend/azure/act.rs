//! One call: what it takes, what it rests on, and what became of it.

use jiff::Timestamp;
use policy::diff::Change;
use policy::lower::network_security_group as nsg;
use reqwest::Method;

use super::client::{Condition, Waits};
use super::errors::{Failure, Kind};
use super::models::{Group, Rule as Seen};
use super::provider::{Network, READ_GROUPS};
use super::words::{DENY, Key, PROBES, Rule};
use crate::backend::cloud::MARK;
use crate::config::AzureTargetMode;
use crate::converge::{Acted, BackendError, Ended, StepState};

pub(super) const WRITE_GROUP: &str = "Microsoft.Network/networkSecurityGroups/write";
pub(super) const DELETE_GROUP: &str = "Microsoft.Network/networkSecurityGroups/delete";
pub(super) const WRITE_RULE: &str = "Microsoft.Network/networkSecurityGroups/securityRules/write";
pub(super) const DELETE_RULE: &str = "Microsoft.Network/networkSecurityGroups/securityRules/delete";
/// So often one write is tried where Azure answered that it could not.
const TRIES_MAX: usize = 5;

pub(super) type ChangeOf = Change<Key, Rule>;

/// How one call ended.
pub(super) type Outcome = Result<(StepState, Option<String>), Failure>;

impl Network {
    /// Makes the first of these changes, with what goes with it.
    pub(super) async fn make(&mut self, changes: &[ChangeOf]) -> Acted<Key> {
        let Some(first) = changes.first() else { return Acted { ended: Vec::new(), failed: None } };
        let group = first.key().group().clone();
        let of_group = |change: &&ChangeOf| *change.key().group() == group;
        let is_member = |change: &&ChangeOf| matches!(change.key(), Key::Lowered(nsg::Key::Member { .. }));
        let whole =
            matches!(first.key(), Key::Lowered(nsg::Key::Group { .. })) || self.azure.target_mode == AzureTargetMode::Exclusive;
        let (taken, outcome): (Vec<&ChangeOf>, Outcome) = match first {
            Change::Create { key: Key::Lowered(nsg::Key::Member { id, .. }), .. }
            | Change::Delete { key: Key::Lowered(nsg::Key::Member { id, .. }), .. } => {
                let same = |change: &&ChangeOf| matches!(change.key(), Key::Lowered(nsg::Key::Member { id: of, .. }) if of == id);
                let taken: Vec<&ChangeOf> = changes.iter().filter(same).collect();
                let outcome = self.attach(id, &taken).await;
                (taken, outcome)
            }
            Change::Delete { key: Key::Lowered(nsg::Key::Group { .. }), .. } => {
                let taken = changes.iter().filter(of_group).collect();
                (taken, self.delete_group(&group).await)
            }
            _ if whole => {
                let taken: Vec<&ChangeOf> = changes.iter().filter(of_group).filter(|change| !is_member(change)).collect();
                let outcome = self.put_group(&group, &taken).await;
                (taken, outcome)
            }
            Change::Create { .. } | Change::Replace { .. } | Change::Delete { .. } => {
                (vec![first], self.one_rule(&group, first).await)
            }
        };
        self.wrote = Some(Timestamp::now());
        ended(&taken, outcome)
    }

    /// Reads a group; `None` if it is not there.
    pub(super) async fn read_group(&self, name: &str) -> Result<Option<Group>, Failure> {
        match self.arm.read::<Group>(READ_GROUPS, &self.group_path(name)).await {
            Ok(group) if self.manner().is_ours(&group) => Ok(Some(group)),
            Ok(group) => Err(Failure {
                kind: Kind::Refused,
                code: "NotOurs".to_owned(),
                doing: format!(
                    "network security group {name} ({}) has lost our mark; put its tag {MARK} back or rename it",
                    group.id
                ),
                cause: None,
            }),
            Err(failure) if failure.kind == Kind::Absent => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// The whole group at once: a new one, or in exclusive mode.
    async fn put_group(&mut self, name: &str, changes: &[&ChangeOf]) -> Outcome {
        let before = self.read_group(name).await?;
        let known = self.look.ours.get(name);
        // What was planned rests on what was looked at.
        let condition = match (&before, known) {
            (None, _) => Condition::Absent,
            (Some(before), Some(known)) if before.etag == known.etag => Condition::Match(before.etag.clone()),
            (Some(_), _) => return Err(changed(name)),
        };
        let mut group = before.unwrap_or_else(|| Group {
            location: self.config.region.clone(),
            tags: self.config.tags.clone().into_iter().chain([(MARK.to_owned(), self.installation.clone())]).collect(),
            name: name.to_owned(),
            ..Group::default()
        });
        for change in changes {
            self.put_into(&mut group, change)?;
        }
        let path = self.group_path(name);
        let sent = self.arm.write_and_wait(WRITE_GROUP, Method::PUT, &path, Some(&group), &condition).await;
        let state = match sent {
            Ok(()) => (StepState::Done, None),
            Err(failure) => {
                self.settled(name, failure, |after| {
                    after.is_some_and(|after| group.properties.security_rules.iter().all(|rule| has(after, rule)))
                })
                .await?
            }
        };
        // The next call to this group rests on what this one left.
        if let Some(after) = self.read_group(name).await? {
            self.look.ours.insert(name.into(), after);
        }
        Ok(state)
    }

    /// A change made in a group that is about to be written.
    fn put_into(&mut self, group: &mut Group, change: &ChangeOf) -> Result<(), Failure> {
        let Some(name) = change.key().rule_name() else { return Ok(()) };
        let (Change::Create { key, rule } | Change::Replace { key, new: rule, .. }) = change else {
            group.properties.security_rules.retain(|seen| seen.name != name);
            return Ok(());
        };
        let number = self.number(group, key)?;
        group.properties.security_rules.retain(|seen| seen.name != name);
        group.properties.security_rules.extend(key.body(rule, number));
        Ok(())
    }

    /// The priority of a rule: the one it has, else a free one.
    fn number(&mut self, group: &Group, key: &Key) -> Result<u16, Failure> {
        let Key::Lowered(key @ nsg::Key::Allow { .. }) = key else {
            return Ok(if matches!(key, Key::Probes { .. }) { PROBES } else { DENY });
        };
        let (mut own, mut taken) = self.manner().numbers(&[group]);
        let given: Vec<_> = self.numbers.iter().filter(|(given, _)| given.group() == key.group()).collect();
        if own.get(key).is_none() {
            for (given, number) in given {
                if let nsg::Key::Allow { group, direction, .. } = given {
                    taken.entry((group.clone(), *direction)).or_default().insert(*number);
                }
            }
        }
        own = own.assign([key], &taken).map_err(|full| Failure {
            kind: Kind::Refused,
            code: "PrioritiesFull".to_owned(),
            doing: full.into_iter().map(|one| one.message).collect::<Vec<_>>().join("; "),
            cause: None,
        })?;
        let number = own.get(key).unwrap_or(nsg::LAST);
        self.numbers.insert(key.clone(), number);
        Ok(number)
    }

    async fn delete_group(&mut self, name: &str) -> Outcome {
        let Some(before) = self.read_group(name).await? else { return Ok((StepState::Already, None)) };
        let manner = self.manner();
        if let Some(foreign) = before.properties.security_rules.iter().find(|seen| manner.is_foreign(seen)) {
            return Err(Failure {
                kind: Kind::Refused,
                code: "HoldsOthers".to_owned(),
                doing: format!(
                    "network security group {name} is not wanted any more but holds rule {} of others; move that first",
                    foreign.name
                ),
                cause: None,
            });
        }
        let path = self.group_path(name);
        let sent = self.arm.write_and_wait(DELETE_GROUP, Method::DELETE, &path, NOTHING, &Condition::Match(before.etag)).await;
        match sent {
            Ok(()) => Ok((StepState::Done, None)),
            Err(failure) => self.settled(name, failure, |after| after.is_none()).await,
        }
    }

    /// One rule, beside which rules of others stay what they are.
    async fn one_rule(&mut self, name: &str, change: &ChangeOf) -> Outcome {
        let mut waits = Waits::default();
        for _ in 1..TRIES_MAX {
            match self.try_rule(name, change).await {
                Err(failure) if worth_another(&failure) => {
                    waits.wait(None).await;
                }
                outcome => return outcome,
            }
        }
        self.try_rule(name, change).await
    }

    async fn try_rule(&mut self, name: &str, change: &ChangeOf) -> Outcome {
        let Some(rule_name) = change.key().rule_name() else { return Ok((StepState::Already, None)) };
        let Some(before) = self.read_group(name).await? else {
            let done = matches!(change, Change::Delete { .. });
            return if done { Ok((StepState::Already, None)) } else { Err(changed(name)) };
        };
        let find = |group: &Group| group.properties.security_rules.iter().find(|seen| seen.name == rule_name).cloned();
        let there = find(&before);
        let wanted = match change {
            Change::Create { key, rule } | Change::Replace { key, new: rule, .. } => {
                let number = self.number(&before, key)?;
                key.body(rule, number)
            }
            Change::Delete { .. } => None,
        };
        if wanted.as_ref().map_or(there.is_none(), |wanted| has(&before, wanted)) {
            return Ok((StepState::Already, None));
        }
        // Another state than the one the plan was made from is somebody else's doing.
        let expected = match change {
            Change::Create { .. } => None,
            Change::Replace { old, .. } | Change::Delete { rule: old, .. } => Some(old),
        };
        let now = there.as_ref().map(|seen| Key::seen(change.key().group(), seen).1);
        if now.as_ref() != expected {
            return Err(changed(name));
        }
        let condition = there.map_or(Condition::Anything, |there| Condition::Match(there.etag));
        let path = format!("{}/securityRules/{rule_name}", self.group_path(name));
        let sent = match &wanted {
            Some(rule) => self.arm.write_and_wait(WRITE_RULE, Method::PUT, &path, Some(rule), &condition).await,
            None => self.arm.write_and_wait(DELETE_RULE, Method::DELETE, &path, NOTHING, &condition).await,
        };
        let state = match sent {
            Ok(()) => (StepState::Done, None),
            Err(failure) => {
                let made = |after: Option<&Group>| match &wanted {
                    Some(rule) => after.is_some_and(|after| has(after, rule)),
                    None => after.is_none_or(|after| find(after).is_none()),
                };
                self.settled(name, failure, made).await?
            }
        };
        self.keep_others(name, &before, &rule_name).await?;
        Ok(state)
    }

    /// What is unknown is looked at: done after all, or still unknown.
    pub(super) async fn settled(&self, name: &str, failure: Failure, made: impl Fn(Option<&Group>) -> bool + Send) -> Outcome {
        if !failure.is_open() {
            return Err(failure);
        }
        match self.read_group(name).await {
            Ok(after) if made(after.as_ref()) => Ok((StepState::Already, Some(failure.code))),
            Ok(_) | Err(_) => Err(failure),
        }
    }

    /// Rules of others that are gone after our write are put back, and said aloud.
    async fn keep_others(&mut self, name: &str, before: &Group, written: &str) -> Result<(), Failure> {
        let lost = |after: &Group| -> Vec<Seen> {
            let foreign = before.properties.security_rules.iter().filter(|seen| self.manner().is_foreign(seen));
            foreign.filter(|seen| !after.properties.security_rules.iter().any(|other| other.name == seen.name)).cloned().collect()
        };
        let mut gone = Vec::new();
        let mut waits = Waits::default();
        // Reads may lag behind: it takes three that agree.
        for _ in 0..3 {
            let Some(after) = self.read_group(name).await? else { return Err(changed(name)) };
            if let Some(failed) = after.properties.security_rules.iter().find(|seen| seen.name == written && is_failed(seen)) {
                let doing = format!(
                    "rule {} of network security group {name} is in provisioning state Failed; the next pass looks",
                    failed.name
                );
                return Err(Failure { kind: Kind::Unknown, code: "ProvisioningFailed".to_owned(), doing, cause: None });
            }
            gone = lost(&after);
            if gone.is_empty() {
                return Ok(());
            }
            waits.wait(None).await;
        }
        for rule in gone {
            tracing::error!(group = name, rule = %rule.name, "a rule of others was lost beside a write of ours; it is put back");
            let path = format!("{}/securityRules/{}", self.group_path(name), rule.name);
            self.arm.write_and_wait(WRITE_RULE, Method::PUT, &path, Some(&rule), &Condition::Anything).await?;
        }
        Ok(())
    }
}

/// No body.
pub(super) const NOTHING: Option<&()> = None;

fn is_failed(seen: &Seen) -> bool {
    seen.properties.provisioning_state.as_deref() == Some("Failed")
}

/// Whether a group shows a rule as it was written; its number may be any other that allows the same.
fn has(group: &Group, wanted: &Seen) -> bool {
    let name = group.name.as_str().into();
    let shown = group.properties.security_rules.iter().find(|seen| seen.name == wanted.name);
    shown.is_some_and(|shown| !is_failed(shown) && Key::seen(&name, shown) == Key::seen(&name, wanted))
}

/// Azure answered and did not do it, or gave the number to another rule meanwhile: reading again and writing again is safe.
fn worth_another(failure: &Failure) -> bool {
    failure.code == "SecurityRuleConflict" || failure.kind == Kind::Ailing
}

pub(super) fn changed(name: &str) -> Failure {
    Failure {
        kind: Kind::Changed,
        code: "ChangedMeanwhile".to_owned(),
        doing: format!("network security group {name} was changed by somebody else since it was looked at; it is planned again"),
        cause: None,
    }
}

/// What became of all changes of a call.
fn ended(taken: &[&ChangeOf], outcome: Outcome) -> Acted<Key> {
    let (state, code, failed) = match outcome {
        Ok((state, code)) => (state, code, None),
        Err(failure) => {
            // What may still be running is not settled by looking: nothing more is sent to it.
            let state = if failure.is_open() { StepState::Unknown } else { StepState::Failed };
            (state, Some(failure.code.clone()), Some(BackendError::from(failure)))
        }
    };
    let ended = taken.iter().map(|change| Ended { key: change.key().clone(), state, code: code.clone() }).collect();
    Acted { ended, failed }
}
