//! Who changed something, by CloudTrail: named only where exactly one event can have been it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use aws_sdk_cloudtrail::primitives::DateTime;
use aws_sdk_cloudtrail::types::{Event, LookupAttribute, LookupAttributeKey};
use serde_json::{Value, json};

use super::actions::LOOKUP_EVENTS;
use super::client::{APP_NAME, Connection};
use crate::converge::Actor;

/// Events of one group between two looks; with more of them nobody can be named anyway.
const EVENTS_MAX: i32 = 50;
/// Of what an event holds, this is evidence; the rest may hold what nobody should read here.
const EVIDENCE: [&str; 6] = ["eventID", "eventName", "eventTime", "awsRegion", "sourceIPAddress", "userAgent"];

/// What CloudTrail files a key under: the group's or the interface's id.
pub(super) fn resource(key: &str, ids: &BTreeMap<Arc<str>, String>) -> Option<String> {
    let mut words = key.split(' ');
    let first = words.next()?;
    let group = if first == "group" { words.next()? } else { first };
    match key.rsplit_once(" on ") {
        Some((_, interface)) if interface.starts_with("eni-") => Some(interface.to_owned()),
        _ => ids.get(group).cloned(),
    }
}

/// Who it was.
pub(super) async fn actor(connection: &Connection, resource: &str, since: SystemTime) -> Option<Actor> {
    let send = || {
        let built = LookupAttribute::builder().attribute_key(LookupAttributeKey::ResourceName).attribute_value(resource).build();
        let request = connection.trail.lookup_events().set_lookup_attributes(built.ok().map(|one| vec![one]));
        request.start_time(DateTime::from(since)).max_results(EVENTS_MAX).send()
    };
    match connection.call(LOOKUP_EVENTS, resource, false, send).await {
        Ok(answer) if answer.next_token().is_none() => only(answer.events()),
        Ok(_) => None,
        Err(failed) => {
            // Nobody is named, and nothing else depends on it.
            tracing::warn!("{}", failed.error.doing);
            None
        }
    }
}

fn only(events: &[Event]) -> Option<Actor> {
    let mut others = events.iter().filter(|event| event.read_only() != Some("true")).filter(|event| !ours(event));
    let event = others.next().filter(|_| others.next().is_none())?;
    let whole = whole(event);
    let arn = whole.pointer("/userIdentity/arn").and_then(Value::as_str);
    let who = arn.or(event.username())?.to_owned();
    let mut evidence: serde_json::Map<String, Value> =
        EVIDENCE.iter().filter_map(|key| Some(((*key).to_owned(), whole.get(*key)?.clone()))).collect();
    evidence.entry("eventID").or_insert_with(|| json!(event.event_id()));
    evidence.entry("eventName").or_insert_with(|| json!(event.event_name()));
    Some(Actor { who, evidence: Value::Object(evidence).to_string() })
}

fn whole(event: &Event) -> Value {
    event.cloud_trail_event().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// Whether we did it ourselves, or another controller under the same name: that is no answer to who it was.
fn ours(event: &Event) -> bool {
    let agent = whole(event).get("userAgent").and_then(Value::as_str).map(str::to_owned).unwrap_or_default();
    agent.split(' ').any(|word| word.strip_prefix("app/") == Some(APP_NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: &str, read_only: &str, agent: &str) -> Event {
        let whole = json!({"eventID": id, "eventName": "AuthorizeSecurityGroupIngress", "userAgent": agent,
            "userIdentity": {"arn": "arn:aws:iam::1:user/ops", "accessKeyId": "AKIA0"}, "requestParameters": {"groupId": "sg-1"}});
        let built = Event::builder().event_id(id).event_name("AuthorizeSecurityGroupIngress").read_only(read_only).username("ops");
        built.cloud_trail_event(whole.to_string()).build()
    }

    #[test]
    fn a09_an_actor_is_named_only_where_one_event_can_have_been_it() {
        let ours = "aws-sdk-rust/1.3 app/pci-segment lang/rust";
        let (hand, read, own) = (event("1", "false", "console"), event("2", "true", "console"), event("3", "false", ours));
        let actor = only(&[read.clone(), hand.clone(), own.clone()]).expect("one is left");
        assert_eq!(actor.who, "arn:aws:iam::1:user/ops");
        let evidence: Value = serde_json::from_str(&actor.evidence).unwrap();
        assert_eq!(evidence.get("eventID"), Some(&json!("1")));
        assert!(!actor.evidence.contains("AKIA0"), "no more than evidence: {}", actor.evidence);
        assert_eq!(only(&[hand.clone(), event("4", "false", "console")]), None, "two");
        assert_eq!(only(&[read, own]), None, "none");
    }

    #[test]
    fn a_key_is_filed_under_its_group_or_its_interface() {
        let ids = BTreeMap::from([(Arc::from("pci-segment-a"), "sg-1".to_owned())]);
        for (key, expected) in [
            ("group pci-segment-a", Some("sg-1")),
            ("pci-segment-a ingress TCP 1 from 10.0.0.0/8", Some("sg-1")),
            ("pci-segment-a on eni-7", Some("eni-7")),
            ("pci-segment-b on eni", None),
        ] {
            assert_eq!(resource(key, &ids).as_deref(), expected, "{key}");
        }
    }
}
