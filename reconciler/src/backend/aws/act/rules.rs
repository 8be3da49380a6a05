//! Rules: put in by what they say, described and taken out by their ids.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::{IpPermission, ResourceType, SecurityGroupRule, SecurityGroupRuleUpdate};
use policy::diff::Change;
use policy::lower::security_group::Key;
use policy::net::Direction;

use super::super::actions::{AUTHORIZE_EGRESS, AUTHORIZE_INGRESS, MODIFY_RULES, REVOKE_EGRESS, REVOKE_INGRESS};
use super::super::client::Failed;
use super::super::normalise::{described, description, key_of, permission, reason_in};
use super::super::provider::Aws;
use super::super::seen::Rule;
use super::{One, ended, one, stopped, unknown_group, unread};
use crate::converge::{Acted, BackendError, Ended, StepState};

/// Rules in one call: one that is refused takes all of them with it.
pub(super) const RULES_MAX: usize = 50;
/// AWS has such a rule.
const DUPLICATE: [&str; 1] = ["InvalidPermission.Duplicate"];
/// AWS has no such rule.
const GONE: [&str; 2] = ["InvalidPermission.NotFound", "InvalidSecurityGroupRuleId.NotFound"];

/// Rules of a group as they are now.
type Present = BTreeMap<Key, Vec<SecurityGroupRule>>;

impl Aws {
    /// Where these rules are.
    fn place(&self, batch: &[&One]) -> Option<(String, Direction)> {
        let Key::Rule { group, direction, .. } = batch.first()?.key() else { return None };
        Some((self.seen.ids.get(group)?.clone(), *direction))
    }

    async fn present(&self, id: &str) -> Result<Present, Failed> {
        let Some(name) = self.seen.names.ours.get(id) else { return Ok(Present::new()) };
        let mut present = Present::new();
        for rule in self.connection.rules(id).await? {
            if let Some(key) = key_of(name, &rule, &self.seen.names) {
                present.entry(key).or_default().push(rule);
            }
        }
        Ok(present)
    }

    fn permission_for(&self, change: &One) -> Option<IpPermission> {
        let (Key::Rule { traffic, side, .. }, Some(rule)) = (change.key(), wanted(change)) else { return None };
        permission(*traffic, side, &description(&rule.text), |name| self.seen.ids.get(name).cloned())
    }

    /// Puts rules in. A refused batch is halved until the rule that is refused stands alone and can be named.
    pub(super) async fn authorize(&mut self, batch: &[&One]) -> Acted<Key> {
        let Some((first, (id, direction))) = batch.first().zip(self.place(batch)) else { return nowhere(batch) };
        let mut size = batch.len();
        loop {
            let chunk = batch.get(..size).unwrap_or_default();
            let permissions: Option<Vec<IpPermission>> = chunk.iter().map(|change| self.permission_for(change)).collect();
            let failed = match permissions {
                Some(permissions) => match self.put_in(&id, direction, &permissions).await {
                    Ok(()) => return done(chunk, StepState::Done),
                    Err(failed) => failed,
                },
                None if size == 1 => return one(first.key(), StepState::Failed, None, Some(unsayable(first.key()))),
                None => {
                    size /= 2;
                    continue;
                }
            };
            if failed.fault.is(&DUPLICATE) {
                match self.already(&id, chunk, &failed).await {
                    Ok(acted) if !acted.ended.is_empty() => return acted,
                    Ok(_) if size == 1 => return stopped(keys(chunk), named(failed, first.key())),
                    Ok(_) => {}
                    Err(unseen) => return unread(unseen),
                }
            } else if failed.fault.of_the_caller() {
                return stopped(keys(chunk), failed);
            } else if size == 1 {
                return stopped(keys(chunk), named(failed, first.key()));
            }
            size = (size / 2).max(1);
        }
    }

    async fn put_in(&self, id: &str, direction: Direction, permissions: &[IpPermission]) -> Result<(), Failed> {
        let (connection, fresh) = (&self.connection, self.any_fresh());
        let (permissions, marks) = (Some(permissions.to_vec()), self.marks(ResourceType::SecurityGroupRule));
        match direction {
            Direction::Ingress => {
                let send = || {
                    let request = connection.writes.authorize_security_group_ingress().group_id(id);
                    request.set_ip_permissions(permissions.clone()).tag_specifications(marks.clone()).send()
                };
                connection.call(AUTHORIZE_INGRESS, id, fresh, send).await.map(drop)
            }
            Direction::Egress => {
                let send = || {
                    let request = connection.writes.authorize_security_group_egress().group_id(id);
                    request.set_ip_permissions(permissions.clone()).tag_specifications(marks.clone()).send()
                };
                connection.call(AUTHORIZE_EGRESS, id, fresh, send).await.map(drop)
            }
        }
    }

    /// A group may be named by a rule before AWS knows it everywhere.
    fn any_fresh(&self) -> bool {
        !self.fresh.is_empty()
    }

    /// Which of these are there, whoever put them in; what is written beside them is made ours.
    async fn already(&self, id: &str, chunk: &[&One], failed: &Failed) -> Result<Acted<Key>, Failed> {
        let present = self.present(id).await?;
        let found: Vec<&One> = chunk.iter().copied().filter(|change| present.contains_key(change.key())).collect();
        if let Err(undescribed) = self.write_beside(id, &found, &present).await {
            return Ok(stopped(keys(&found), undescribed));
        }
        let code = failed.fault.code.as_deref();
        let ended = found.iter().map(|change| ended(change.key(), StepState::Already, code)).collect();
        Ok(Acted { ended, failed: None })
    }

    /// Gives rules other words.
    pub(super) async fn describe(&mut self, batch: &[&One]) -> Acted<Key> {
        let Some((id, _)) = self.place(batch) else { return nowhere(batch) };
        let present = match self.present(&id).await {
            Ok(present) => present,
            Err(failed) => return unread(failed),
        };
        if let Some(gone) = batch.iter().find(|change| !present.contains_key(change.key())) {
            let doing = format!("{}: it is not there any more; the next pass puts it in again", gone.key());
            return one(gone.key(), StepState::Failed, None, Some(BackendError { doing, cause: None }));
        }
        match self.write_beside(&id, batch, &present).await {
            Ok(()) => done(batch, StepState::Done),
            Err(failed) => stopped(keys(batch), failed),
        }
    }

    async fn write_beside(&self, id: &str, changes: &[&One], present: &Present) -> Result<(), Failed> {
        let mut updates = Vec::new();
        for (change, rule) in changes.iter().filter_map(|change| Some((change, wanted(change)?))) {
            let other = |found: &&SecurityGroupRule| reason_in(found.description().unwrap_or_default()) != rule.text;
            for found in present.get(change.key()).into_iter().flatten().filter(other) {
                let said = described(found, &description(&rule.text));
                let update = SecurityGroupRuleUpdate::builder().set_security_group_rule_id(found.security_group_rule_id.clone());
                updates.push(update.security_group_rule(said).build());
            }
        }
        if updates.is_empty() {
            return Ok(());
        }
        let send = || {
            let request = self.connection.writes.modify_security_group_rules().group_id(id);
            request.set_security_group_rules(Some(updates.clone())).send()
        };
        self.connection.call(MODIFY_RULES, id, false, send).await.map(drop)
    }

    /// Takes rules out, by their ids.
    pub(super) async fn revoke(&mut self, batch: &[&One]) -> Acted<Key> {
        let Some((id, direction)) = self.place(batch) else { return done(batch, StepState::Already) };
        let present = match self.present(&id).await {
            Ok(present) => present,
            Err(failed) => return unread(failed),
        };
        let (there, gone): (Vec<&One>, Vec<&One>) = batch.iter().copied().partition(|change| present.contains_key(change.key()));
        let mut acted = done(&gone, StepState::Already);
        let rules = there.iter().filter_map(|change| present.get(change.key())).flatten();
        let ids: Vec<String> = rules.filter_map(|rule| rule.security_group_rule_id.clone()).collect();
        if ids.is_empty() {
            return acted;
        }
        let (state, failed) = match self.take_out(&id, direction, &ids).await {
            Ok(()) => (done(&there, StepState::Done).ended, None),
            Err(failed) if failed.fault.is(&GONE) => match self.present(&id).await {
                Ok(now) => gone_since(&there, &now, failed),
                Err(unseen) => (Vec::new(), Some(unseen.error)),
            },
            Err(failed) => {
                let stopped = stopped(keys(&there), failed);
                (stopped.ended, stopped.failed)
            }
        };
        acted.ended.extend(state);
        acted.failed = failed;
        acted
    }

    async fn take_out(&self, id: &str, direction: Direction, ids: &[String]) -> Result<(), Failed> {
        let (connection, ids) = (&self.connection, Some(ids.to_vec()));
        match direction {
            Direction::Ingress => {
                let send = || {
                    let request = connection.writes.revoke_security_group_ingress().group_id(id);
                    request.set_security_group_rule_ids(ids.clone()).send()
                };
                connection.call(REVOKE_INGRESS, id, false, send).await.map(drop)
            }
            Direction::Egress => {
                let send = || {
                    let request = connection.writes.revoke_security_group_egress().group_id(id);
                    request.set_security_group_rule_ids(ids.clone()).send()
                };
                connection.call(REVOKE_EGRESS, id, false, send).await.map(drop)
            }
        }
    }
}

/// What a change asks for.
fn wanted(change: &One) -> Option<&Rule> {
    match change {
        Change::Create { rule, .. } | Change::Replace { new: rule, .. } => Some(rule),
        Change::Delete { .. } => None,
    }
}

fn keys<'a>(batch: &'a [&One]) -> impl Iterator<Item = &'a Key> {
    batch.iter().map(|change| change.key())
}

fn done(batch: &[&One], state: StepState) -> Acted<Key> {
    Acted { ended: keys(batch).map(|key| ended(key, state, None)).collect(), failed: None }
}

/// After another look, because AWS knew one of them no more: those that are gone are gone, the others are tried again unless none is.
fn gone_since(there: &[&One], now: &Present, failed: Failed) -> (Vec<Ended<Key>>, Option<BackendError>) {
    let code = failed.fault.code.clone();
    let gone = there.iter().filter(|change| !now.contains_key(change.key()));
    let gone: Vec<_> = gone.map(|change| ended(change.key(), StepState::Already, code.as_deref())).collect();
    if gone.is_empty() {
        let stopped = stopped(keys(there), failed);
        return (stopped.ended, stopped.failed);
    }
    (gone, None)
}

/// The rule that is refused, by name.
fn named(mut failed: Failed, key: &Key) -> Failed {
    failed.error.doing = format!("{key}: {}", failed.error.doing);
    failed
}

fn nowhere(batch: &[&One]) -> Acted<Key> {
    let Some(first) = batch.first() else { return Acted { ended: Vec::new(), failed: None } };
    one(first.key(), StepState::Failed, None, Some(unknown_group(first.key().group())))
}

fn unsayable(key: &Key) -> BackendError {
    BackendError { doing: format!("{key}: the group it names is not there; the next pass makes it"), cause: None }
}
