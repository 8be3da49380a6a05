//! Interfaces: they join and leave a group of ours and keep everybody else's.

use policy::lower::security_group::Key;

use super::super::actions::MODIFY_INTERFACE;
use super::super::provider::Aws;
use super::{one, stopped, unknown_group, unread};
use crate::converge::{Acted, BackendError, StepState};

impl Aws {
    /// Puts an interface into a group, or takes it out. AWS only knows the whole list, so it is read just before.
    pub(super) async fn join(&self, key: &Key, group: &str, id: &str, joins: bool) -> Acted<Key> {
        let Some(group_id) = self.seen.ids.get(group) else {
            return one(key, StepState::Failed, None, Some(unknown_group(group)));
        };
        let found = match self.connection.interface(id).await {
            Ok(found) => found,
            Err(failed) => return unread(failed),
        };
        let Some(found) = found else {
            let doing = format!("{id} is gone; the next pass looks who is there");
            return if joins {
                one(key, StepState::Failed, None, Some(wrong(doing)))
            } else {
                one(key, StepState::Already, None, None)
            };
        };
        let mut groups: Vec<String> = found.groups().iter().filter_map(|group| group.group_id.clone()).collect();
        if groups.contains(group_id) == joins {
            return one(key, StepState::Already, None, None);
        }
        if joins {
            groups.push(group_id.clone());
        } else {
            groups.retain(|one| one != group_id);
        }
        if groups.is_empty() {
            let doing = format!("{id} would be in no security group without {group_id} ({group}); put it into another one");
            return one(key, StepState::Failed, None, Some(wrong(doing)));
        }
        let send = || {
            let request = self.connection.writes.modify_network_interface_attribute().network_interface_id(id);
            request.set_groups(Some(groups.clone())).send()
        };
        let fresh = self.fresh.contains(group_id);
        match self.connection.call(MODIFY_INTERFACE, id, fresh, send).await {
            Ok(_) => one(key, StepState::Done, None, None),
            Err(failed) => stopped([key].into_iter(), failed),
        }
    }
}

fn wrong(doing: String) -> BackendError {
    BackendError { doing, cause: None }
}
