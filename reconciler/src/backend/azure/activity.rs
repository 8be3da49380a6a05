//! Who changed something, by the Activity Log: exactly one operation that matches, or nobody.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::models::Event;
use super::provider::Network;
use crate::converge::Actor;

pub(super) const READ_EVENTS: &str = "Microsoft.Insights/eventtypes/values/read";
const VERSION: &str = "2015-04-01";
/// What is older explains nothing that is found now.
const BACK: SignedDuration = SignedDuration::from_hours(24);

impl Network {
    /// By a key in words.
    pub(super) async fn who(&self, key: &str) -> Option<Actor> {
        let resource = self.resource(key)?;
        let now = Timestamp::now();
        let from = now.checked_sub(BACK).ok()?.max(self.wrote.unwrap_or(Timestamp::MIN));
        let filter = format!("eventTimestamp ge '{from}' and eventTimestamp le '{now}' and resourceUri eq '{resource}'");
        let subscription = &self.azure.subscription_id;
        let path = format!("/subscriptions/{subscription}/providers/Microsoft.Insights/eventtypes/management/values");
        let found = self.arm.list::<Event>(READ_EVENTS, &path, VERSION, &[("$filter", &filter)]).await;
        match found {
            Ok(events) => only(events, &resource),
            Err(failure) => {
                tracing::warn!(reason = %failure.doing, "the Activity Log cannot be asked");
                None
            }
        }
    }

    /// The id of what a key is about.
    fn resource(&self, key: &str) -> Option<String> {
        if let Some(group) = key.strip_prefix("group ") {
            return Some(self.group_path(group));
        }
        if let Some((group, rule)) = key.split_once(" rule ") {
            return Some(format!("{}/securityRules/{rule}", self.group_path(group)));
        }
        key.split_once(" on ").map(|(_, id)| id.to_owned())
    }
}

/// One operation is several events with one correlation id: begun, accepted, done.
fn only(events: Vec<Event>, resource: &str) -> Option<Actor> {
    let mut operations: BTreeMap<String, Actor> = BTreeMap::new();
    for event in events {
        let about = event.resource_id.as_deref().unwrap_or_default();
        let operation = event.operation_name.map(|name| name.value).unwrap_or_default();
        let changes = ["/write", "/delete"].iter().any(|end| operation.to_ascii_lowercase().ends_with(end));
        let done = event.status.is_some_and(|status| matches!(status.value.as_str(), "Succeeded" | "Success"));
        if !(about.eq_ignore_ascii_case(resource) && changes && done) {
            continue;
        }
        let (who, id) = (event.caller?, event.correlation_id?);
        let when = event.event_timestamp.unwrap_or_default();
        let evidence = format!("Activity Log: {operation} at {when}, correlation id {id}");
        operations.insert(id, Actor { who, evidence });
    }
    let mut actors = operations.into_values();
    actors.next().filter(|_| actors.next().is_none())
}
