//! Groups: made with our mark from their first moment on, and empty.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_ec2::types::{ResourceType, Tag, TagSpecification};
use policy::lower::security_group::Key;

use super::super::actions::{CREATE_GROUP, CREATE_TAGS, DELETE_GROUP, REVOKE_EGRESS};
use super::super::client::Failed;
use super::super::fault::Kind;
use super::super::normalise::description;
use super::super::provider::Aws;
use super::super::seen::tag;
use super::{one, stopped, unknown_group, unread};
use crate::backend::cloud::MARK;
use crate::converge::{Acted, BackendError, StepState};

/// What AWS answers where a group is not there.
const GONE: [&str; 2] = ["InvalidGroup.NotFound", "InvalidGroupId.NotFound"];
/// So often the rules that AWS put into a new group are looked for.
const LOOKS_MAX: usize = 10;
/// Between two such looks.
const LOOK_PAUSE: Duration = Duration::from_millis(500);

impl Aws {
    /// Our mark and the tags that are configured.
    pub(super) fn marks(&self, of: ResourceType) -> TagSpecification {
        TagSpecification::builder().resource_type(of).set_tags(Some(self.all_tags())).build()
    }

    fn all_tags(&self) -> Vec<Tag> {
        let mark = Tag::builder().key(MARK).value(&self.installation).build();
        let configured = self.tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build());
        [mark].into_iter().chain(configured).collect()
    }

    pub(super) async fn create_group(&mut self, key: &Key, name: &Arc<str>) -> Acted<Key> {
        let connection = self.connection.clone();
        let send = || {
            let request = connection.writes.create_security_group().group_name(&**name).vpc_id(&self.vpc);
            request.description(description("group")).tag_specifications(self.marks(ResourceType::SecurityGroup)).send()
        };
        match connection.call(CREATE_GROUP, name, false, send).await {
            Ok(answer) => self.made(key, name, answer.group_id.unwrap_or_default(), (StepState::Done, None)).await,
            Err(failed) if failed.fault.is(&["InvalidGroup.Duplicate"]) || failed.fault.kind == Kind::Unknown => {
                self.made_after_all(key, name, failed).await
            }
            Err(failed) => stopped([key].into_iter(), failed),
        }
    }

    /// A group of ours that is there although nobody vouched for it: our own call may have made it, or an earlier one.
    async fn made_after_all(&mut self, key: &Key, name: &Arc<str>, failed: Failed) -> Acted<Key> {
        let id = match self.ours_soon(name).await {
            Ok(Some(id)) => id,
            Ok(None) if failed.fault.kind == Kind::Unknown => return stopped([key].into_iter(), failed),
            Ok(None) => return stopped([key].into_iter(), self.not_ours(name, failed)),
            Err(unseen) => return unread(unseen),
        };
        match self.connection.is_used(&id).await {
            Ok(false) => self.made(key, name, id, (StepState::Already, failed.fault.code)).await,
            // It has members: what it holds is for the next look to judge.
            Ok(true) => {
                self.seen.made(name, &id);
                one(key, StepState::Already, failed.fault.code.as_deref(), None)
            }
            Err(unseen) => unread(unseen),
        }
    }

    /// Takes a group that nobody belongs to up as ours, without what AWS put into it.
    async fn made(&mut self, key: &Key, name: &Arc<str>, id: String, (state, code): (StepState, Option<String>)) -> Acted<Key> {
        self.seen.made(name, &id);
        self.fresh.insert(id.clone());
        let failed = self.empty(&id).await.err().map(BackendError::from);
        one(key, state, code.as_deref(), failed)
    }

    /// Takes away what AWS put into a group that was just made. Nobody belongs to it yet, so nothing is cut.
    async fn empty(&self, id: &str) -> Result<(), Failed> {
        for _ in 0..LOOKS_MAX {
            let rules = self.connection.rules(id).await?;
            let egress = rules.iter().filter(|rule| rule.is_egress() == Some(true));
            let ids: Vec<String> = egress.filter_map(|rule| rule.security_group_rule_id.clone()).collect();
            if ids.is_empty() {
                // A reading may lag behind.
                tokio::time::sleep(LOOK_PAUSE).await;
                continue;
            }
            let send = || {
                let request = self.connection.writes.revoke_security_group_egress().group_id(id);
                request.set_security_group_rule_ids(Some(ids.clone())).send()
            };
            return self.connection.call(REVOKE_EGRESS, id, true, send).await.map(drop);
        }
        Ok(())
    }

    /// The same, however long a reading lags behind.
    async fn ours_soon(&self, name: &str) -> Result<Option<String>, Failed> {
        for _ in 1..LOOKS_MAX {
            if let Some(id) = self.ours_called(name).await? {
                return Ok(Some(id));
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        self.ours_called(name).await
    }

    /// The id of the group with this name, if it carries our mark.
    async fn ours_called(&self, name: &str) -> Result<Option<String>, Failed> {
        let found = self.connection.groups(&self.vpc, Some(name)).await?;
        let ours = found.into_iter().find(|group| tag(group.tags(), MARK) == Some(&*self.installation));
        Ok(ours.and_then(|group| group.group_id))
    }

    fn not_ours(&self, name: &str, failed: Failed) -> Failed {
        let doing = format!("{}; {name} is somebody else's: delete or rename it", failed.error.doing);
        Failed { error: BackendError { doing, cause: None }, ..failed }
    }

    pub(super) async fn tag_group(&mut self, key: &Key, name: &Arc<str>) -> Acted<Key> {
        let Some(id) = self.seen.ids.get(name).cloned() else {
            return one(key, StepState::Failed, None, Some(unknown_group(name)));
        };
        let send = || self.connection.writes.create_tags().resources(&id).set_tags(Some(self.all_tags())).send();
        match self.connection.call(CREATE_TAGS, &id, false, send).await {
            Ok(_) => one(key, StepState::Done, None, None),
            Err(failed) => stopped([key].into_iter(), failed),
        }
    }

    pub(super) async fn delete_group(&mut self, key: &Key, name: &Arc<str>) -> Acted<Key> {
        let Some(id) = self.seen.ids.get(name).cloned() else { return one(key, StepState::Already, None, None) };
        let send = || self.connection.writes.delete_security_group().group_id(&id).send();
        match self.connection.call(DELETE_GROUP, &id, false, send).await {
            Ok(_) => one(key, StepState::Done, None, None),
            Err(failed) if failed.fault.is(&GONE) => match self.ours_called(name).await {
                Ok(None) => one(key, StepState::Already, failed.fault.code.as_deref(), None),
                Ok(Some(_)) => stopped([key].into_iter(), failed),
                Err(unseen) => unread(unseen),
            },
            Err(mut failed) => {
                if failed.fault.is(&["DependencyViolation"]) {
                    failed.error.doing.push_str("; take it off the interfaces and out of the rules that name it");
                }
                stopped([key].into_iter(), failed)
            }
        }
    }
}
