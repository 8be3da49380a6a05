//! Refused packets in words: what a row of the table, a line of the stream and a line for people say.
//!
//! The kernel's numbers come from the `enforcer` crate; names of rules from what is kept beside the commit in force. What cannot be
//! read of a packet is left out rather than shown as zeros.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::SystemTime;

use enforcer::{DropEvent, Losses};
use jiff::Timestamp;
use policy::lower::bpf::RuleIds;
use policy::net::{Direction, Service};
use serde::{Deserialize, Serialize};

use crate::converge::{Kept, kept_name};
use crate::store::Store;

/// One line of the stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Told {
    /// Packets that were refused, or would have been.
    Refused(Box<Refusal>),
    /// Records that were left out since the last such line; the packets are counted all the same.
    LeftOut {
        /// Because a processor had written as many as it may.
        suppressed: u64,
        /// Because the buffer was full.
        lost: u64,
    },
    /// The stream ends.
    Ended {
        /// Why.
        why: String,
    },
}

/// Packets of one peer, service, direction and reason since they were told of last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// When the last of them came.
    pub at: Timestamp,
    /// `drop` or `would_drop`.
    pub verdict: String,
    /// `ingress` or `egress`: who opened the flow.
    pub direction: String,
    /// The peer, where it could be read.
    pub peer: Option<IpAddr>,
    /// Its port.
    pub peer_port: u16,
    /// Our end, where it could be read.
    pub local: Option<IpAddr>,
    /// Our port.
    pub local_port: u16,
    /// In words: `TCP 22`.
    pub service: String,
    /// A label of the metrics.
    pub reason: String,
    /// How many.
    pub count: u32,
    /// The interface it crossed.
    pub interface: String,
    /// The generation that judged.
    pub generation: u32,
    /// The number of the rule that allowed the flow before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule_number: Option<u32>,
    /// The policy it stood in, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Its name or index there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
}

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The peer, where it could be read.
    pub peer: Option<IpAddr>,
    /// In words: `TCP 22`.
    pub service: String,
    /// `ingress` or `egress`: who opened the flow.
    pub direction: &'static str,
    /// A label of the metrics.
    pub reason: &'static str,
    /// What it means.
    pub explanation: &'static str,
    /// How many packets.
    pub count: u64,
    /// When the first came.
    pub first: Timestamp,
    /// When the last came.
    pub last: Timestamp,
}

/// Names of rules by their numbers.
#[derive(Debug, Clone, Default)]
pub struct Names(BTreeMap<u32, (String, String)>);

impl Names {
    /// Those of the rules in force on `target`; none where they are not on record.
    pub async fn read(store: &Store, target: &str) -> Self {
        let kept = store.meta_get(&kept_name(target)).await.ok().flatten();
        let kept = kept.and_then(|text| serde_json::from_str::<Kept>(&text).ok());
        let ids = kept.and_then(|kept| serde_json::from_str::<RuleIds>(&kept.memory).ok()).unwrap_or_default();
        Self(ids.iter().map(|(name, id)| (id, (name.policy.clone(), name.rule.clone()))).collect())
    }

    /// Whether this number has no name here although it should have one.
    #[must_use]
    pub fn lacks(&self, rule: u32) -> bool {
        rule != 0 && !self.0.contains_key(&rule)
    }
}

impl Refusal {
    /// A record in words.
    #[must_use]
    pub fn of(event: &DropEvent, names: &Names) -> Self {
        let name = names.0.get(&event.rule);
        Self {
            at: timestamp(event.at),
            verdict: event.verdict.to_owned(),
            direction: direction(event.direction).to_owned(),
            peer: known(event.remote),
            peer_port: event.remote_port,
            local: known(event.local),
            local_port: event.local_port,
            service: service(event.proto, event.port(), event.remote),
            reason: event.reason.to_owned(),
            count: event.count,
            interface: interface(event.ifindex),
            generation: event.epoch,
            rule_number: (event.rule != 0).then_some(event.rule),
            policy: name.map(|(policy, _)| policy.clone()),
            rule: name.map(|(_, rule)| rule.clone()).filter(|rule| !rule.is_empty()),
        }
    }

    /// One line for people; columns line up as long as addresses are of IPv4.
    #[must_use]
    pub fn line(&self) -> String {
        let end = |address: Option<IpAddr>| address.map_or_else(|| "?".to_owned(), |address| address.to_string());
        let arrow = if self.direction == Direction::Ingress.name() { "from" } else { "to" };
        let named = match (&self.policy, &self.rule, self.rule_number) {
            (Some(policy), Some(rule), _) => format!(" (was allowed by {policy}, rule {rule})"),
            (Some(policy), None, _) => format!(" (was allowed by {policy})"),
            (None, _, Some(number)) => format!(" (was allowed by rule number {number})"),
            (None, _, None) => String::new(),
        };
        format!(
            "{}  {:<10}  {:<7}  {:<4} {:<15}  {:<14} {:>6} x  {:<9} {}{named}",
            self.at.strftime("%H:%M:%S%.3f"),
            self.verdict,
            self.direction,
            arrow,
            end(self.peer),
            self.service,
            self.count,
            self.interface,
            explanation(&self.reason),
        )
    }
}

/// Everything added up, most refused first.
#[must_use]
pub fn rows(mut refused: Vec<enforcer::Refused>) -> Vec<Row> {
    refused.sort_by(|a, b| b.count.cmp(&a.count).then(b.last.cmp(&a.last)));
    let row = |own: enforcer::Refused| Row {
        peer: known(own.remote),
        service: service(own.proto, own.port, own.remote),
        direction: direction(own.direction),
        reason: own.reason,
        explanation: explanation(own.reason),
        count: own.count,
        first: timestamp(own.first),
        last: timestamp(own.last),
    };
    refused.into_iter().map(row).collect()
}

/// What was left out since `before`; nothing if that has not grown.
#[must_use]
pub fn left_out(before: Losses, now: Losses) -> Option<Told> {
    let suppressed = now.suppressed.saturating_sub(before.suppressed);
    let lost = now.lost.saturating_sub(before.lost);
    (suppressed + lost > 0).then_some(Told::LeftOut { suppressed, lost })
}

/// [`Told::LeftOut`] for people.
#[must_use]
pub fn left_out_line(suppressed: u64, lost: u64) -> String {
    format!("left out of this list: {suppressed} records over the rate, {lost} for want of room; the packets are counted")
}

/// What a label of the metrics means.
#[must_use]
pub fn explanation(reason: &str) -> &'static str {
    match reason {
        "no_rule" => "no rule allows it",
        "midflow" => "TCP of no known connection",
        "revoked" => "its connection is no longer allowed",
        "no_flow" => "ICMP about no allowed flow",
        "tcp_flags" => "TCP flags no connection has",
        "fragment" => "fragment of a datagram whose first did not pass",
        "malformed" => "header fields contradict the packet",
        "truncated" => "cut off within a header",
        "ethertype" => "an Ethernet type that could carry IP around the filter",
        "ip_options" => "IPv4 options",
        "extension_header" => "IPv6 extension headers that are not allowed",
        "spoofed" => "an address that cannot be on the wire",
        "table_full" => "no room to remember the connection",
        _ => "an unexpected state",
    }
}

fn direction(direction: enforcer::Direction) -> &'static str {
    match direction {
        enforcer::Direction::In => Direction::Ingress.name(),
        enforcer::Direction::Out => Direction::Egress.name(),
    }
}

/// `TCP 22`, `ICMP 8/0`, `protocol 47`, or that nobody can tell.
fn service(proto: u8, port: u16, remote: IpAddr) -> String {
    match proto {
        0 if remote.is_unspecified() => "unreadable".to_owned(),
        1 | 6 | 17 | 58 | 132 => Service::new(proto, port).to_string(),
        other => format!("protocol {other}"),
    }
}

fn known(address: IpAddr) -> Option<IpAddr> {
    (!address.is_unspecified()).then_some(address)
}

fn timestamp(at: SystemTime) -> Timestamp {
    Timestamp::try_from(at).unwrap_or_default()
}

/// The interface's name in this network namespace, else its number.
fn interface(index: u32) -> String {
    use rustix::net::{AddressFamily, SocketType, netdevice::index_to_name, socket};
    let asked = socket(AddressFamily::UNIX, SocketType::DGRAM, None).and_then(|asking| index_to_name(asking, index));
    asked.unwrap_or_else(|_| format!("#{index}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn event() -> DropEvent {
        DropEvent {
            at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_500),
            count: 3,
            verdict: "drop",
            reason: "revoked",
            hook: "tc_in",
            ifindex: u32::MAX,
            direction: enforcer::Direction::In,
            local: "10.0.0.1".parse().unwrap(),
            remote: "10.0.0.2".parse().unwrap(),
            local_port: 5432,
            remote_port: 4000,
            proto: 6,
            rule: 7,
            epoch: 2,
        }
    }

    #[test]
    fn a_record_names_the_service_and_the_rule_that_allowed_it_before() {
        let names = Names(BTreeMap::from([(7, ("cde-database".to_owned(), "#0".to_owned()))]));
        let refusal = Refusal::of(&event(), &names);
        assert_eq!(
            refusal.line(),
            "00:00:01.500  drop        ingress  from 10.0.0.2         TCP 5432            3 x  #4294967295 \
             its connection is no longer allowed (was allowed by cde-database, rule #0)"
        );
        let text = serde_json::to_string(&Told::Refused(Box::new(refusal.clone()))).unwrap();
        assert!(text.starts_with("{\"kind\":\"refused\",\"at\":\"1970-01-01T00:00:01.5Z\""), "{text}");
        assert_eq!(serde_json::from_str::<Told>(&text).unwrap(), Told::Refused(Box::new(refusal)));
        assert!(Refusal::of(&event(), &Names::default()).line().ends_with("(was allowed by rule number 7)"));
        assert!(Names::default().lacks(7) && !names.lacks(7) && !Names::default().lacks(0));
    }

    #[test]
    fn what_could_not_be_read_is_not_shown_as_zeros() {
        let unspecified: IpAddr = "0.0.0.0".parse().unwrap();
        let event = DropEvent { remote: unspecified, local: unspecified, proto: 0, rule: 0, reason: "malformed", ..event() };
        let refusal = Refusal::of(&event, &Names::default());
        assert_eq!((refusal.peer, refusal.service.as_str(), refusal.rule_number), (None, "unreadable", None));
        assert_eq!(service(1, 0x0800, "10.0.0.2".parse().unwrap()), "ICMP 8/0");
        assert_eq!(service(47, 0, "10.0.0.2".parse().unwrap()), "protocol 47");
    }

    #[test]
    fn what_is_left_out_is_told_only_when_it_grows() {
        let (before, after) = (Losses { suppressed: 5, lost: 1 }, Losses { suppressed: 9, lost: 1 });
        assert_eq!(left_out(before, after), Some(Told::LeftOut { suppressed: 4, lost: 0 }));
        assert_eq!(left_out(after, after), None);
    }
}
