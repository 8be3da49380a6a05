//! An explanation in words and as JSON.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::{Explanation, Near};
use crate::answers::Answer;
use crate::model::NetworkPolicy;
use crate::phrase;

impl Explanation<'_> {
    /// Why, in a sentence without the nearest rules.
    #[must_use]
    pub fn reason(&self) -> String {
        let way = self.answer.direction.name();
        match (self.answer.policy, self.answer.rule()) {
            (None, _) if self.answer.loopback => "an endpoint always reaches itself".to_string(),
            (None, _) => format!("no policy isolates this workload for {way}, so nothing is filtered"),
            (Some(policy), Some(_)) => format!("rule {} of policy {} allows it", rule_name(&self.answer), policy.name),
            (Some(_), None) => {
                let names: Vec<String> = self.isolating.iter().map(|policy| policy.name.to_string()).collect();
                let (word, verb) = if names.len() == 1 { ("policy", "isolates") } else { ("policies", "isolate") };
                format!("{word} {} {verb} this workload for {way}, and no rule allows the flow", phrase::list(&names))
            }
        }
    }

    /// What the other side says, if it says something else.
    #[must_use]
    pub fn objection(&self) -> Option<String> {
        let (member, other) = self.other.as_ref().filter(|(_, other)| self.answer.allow && !other.allow)?;
        let policy = other.policy.map_or("", |policy| &*policy.name);
        let way = other.direction.name();
        Some(format!("the flow does not pass: the other side is {}, which policy {policy} isolates for {way}", member.name))
    }
}

/// The rule's name, or its pointer.
fn rule_name(answer: &Answer<'_>) -> String {
    let name = answer.rule().and_then(|rule| rule.name.as_deref()).map(String::from);
    name.or_else(|| answer.pointer()).unwrap_or_default()
}

/// The fields of `explain --format json`; those of a verdict come first and are the promised ones.
impl Serialize for Explanation<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let answer = &self.answer;
        map.serialize_entry("verdict", word(answer))?;
        map.serialize_entry("isolated", &answer.isolated())?;
        if let Some(policy) = answer.policy {
            map.serialize_entry("policy", &*policy.name)?;
            map.serialize_entry("rule", &answer.pointer())?;
            map.serialize_entry("direction", &answer.direction)?;
            map.serialize_entry("rule_name", &answer.rule().and_then(|rule| rule.name.as_deref()))?;
        }
        if let Some(place) = answer.place() {
            map.serialize_entry("file", &*place.file)?;
            map.serialize_entry("line", &place.spot.line)?;
        }
        map.serialize_entry("reason", &self.reason())?;
        if !self.isolating.is_empty() {
            map.serialize_entry("isolating", &self.isolating.iter().map(|policy| Isolating(policy)).collect::<Vec<_>>())?;
        }
        if !self.near.is_empty() {
            map.serialize_entry("nearest", &self.near)?;
        }
        if let Some((member, other)) = &self.other {
            map.serialize_entry("peer_endpoint", &*member.name)?;
            map.serialize_entry("peer_verdict", word(other))?;
        }
        map.end()
    }
}

fn word(answer: &Answer<'_>) -> &'static str {
    if answer.allow { "allow" } else { "deny" }
}

struct Isolating<'a>(&'a NetworkPolicy);

impl Serialize for Isolating<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("policy", &*self.0.name)?;
        map.serialize_entry("file", &*self.0.file)?;
        map.serialize_entry("line", &self.0.at.line)?;
        map.end()
    }
}

impl Serialize for Near<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let place = self.place();
        let mut map = serializer.serialize_map(Some(6))?;
        map.serialize_entry("policy", &*self.policy.name)?;
        map.serialize_entry("rule", &self.pointer())?;
        map.serialize_entry("rule_name", &self.rule.name.as_deref())?;
        map.serialize_entry("file", &*place.file)?;
        map.serialize_entry("line", &place.spot.line)?;
        map.serialize_entry("why", &self.text())?;
        map.end()
    }
}
