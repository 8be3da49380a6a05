//! Rules as text, to be kept over restarts.

use policy::lower::security_group::{Key, Side, Traffic};
use policy::net::{Cidr, Direction};
use serde::{Deserialize, Serialize};

use super::seen::{Rule, Table};

/// A key as it is written.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kept {
    Group(String),
    Member { group: String, id: String },
    Rule { group: String, egress: bool, traffic: KeptTraffic, side: KeptSide },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KeptTraffic {
    All,
    Protocol(u8),
    Ports(u8, u16, u16),
    Icmp(u8, u8, Option<u8>),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KeptSide {
    Prefix(String),
    Group(String),
    Other(String),
}

/// As text.
pub(super) fn keep(table: &Table) -> String {
    let all: Vec<(Kept, &str)> = table.iter().map(|(key, rule)| (kept(key), rule.text.as_str())).collect();
    serde_json::to_string(&all).unwrap_or_default()
}

/// The other way round.
pub(super) fn recall(kept: &str) -> Option<Table> {
    let all: Vec<(Kept, String)> = serde_json::from_str(kept).ok()?;
    all.into_iter().map(|(kept, text)| Some((key(kept)?, Rule { text }))).collect()
}

fn kept(key: &Key) -> Kept {
    match key {
        Key::Group { group } => Kept::Group(group.to_string()),
        Key::Member { group, id } => Kept::Member { group: group.to_string(), id: id.to_string() },
        Key::Rule { group, direction, traffic, side } => Kept::Rule {
            group: group.to_string(),
            egress: *direction == Direction::Egress,
            traffic: match *traffic {
                Traffic::All => KeptTraffic::All,
                Traffic::Protocol(protocol) => KeptTraffic::Protocol(protocol),
                Traffic::Ports { protocol, first, last } => KeptTraffic::Ports(protocol, first, last),
                Traffic::Icmp { protocol, kind, code } => KeptTraffic::Icmp(protocol, kind, code),
            },
            side: match side {
                Side::Prefix(cidr) => KeptSide::Prefix(cidr.to_string()),
                Side::Group(name) => KeptSide::Group(name.to_string()),
                Side::Other(name) => KeptSide::Other(name.to_string()),
            },
        },
    }
}

fn key(kept: Kept) -> Option<Key> {
    Some(match kept {
        Kept::Group(group) => Key::Group { group: group.into() },
        Kept::Member { group, id } => Key::Member { group: group.into(), id: id.into() },
        Kept::Rule { group, egress, traffic, side } => Key::Rule {
            group: group.into(),
            direction: if egress { Direction::Egress } else { Direction::Ingress },
            traffic: match traffic {
                KeptTraffic::All => Traffic::All,
                KeptTraffic::Protocol(protocol) => Traffic::Protocol(protocol),
                KeptTraffic::Ports(protocol, first, last) => Traffic::Ports { protocol, first, last },
                KeptTraffic::Icmp(protocol, kind, code) => Traffic::Icmp { protocol, kind, code },
            },
            side: match side {
                KeptSide::Prefix(cidr) => Side::Prefix(Cidr::parse(&cidr).ok()?),
                KeptSide::Group(name) => Side::Group(name.into()),
                KeptSide::Other(name) => Side::Other(name.into()),
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use policy::net::service::{ICMP, TCP};

    use super::*;

    #[test]
    fn rules_are_read_back_as_they_were_kept() {
        let rule = |direction, traffic, side| Key::Rule { group: "pci-segment-a".into(), direction, traffic, side };
        let keys = [
            Key::Group { group: "pci-segment-a".into() },
            Key::Member { group: "pci-segment-a".into(), id: "eni-1".into() },
            rule(Direction::Ingress, Traffic::All, Side::Prefix(Cidr::parse("10.0.0.0/8").unwrap())),
            rule(Direction::Egress, Traffic::Protocol(50), Side::Prefix(Cidr::parse("2001:db8::/32").unwrap())),
            rule(Direction::Ingress, Traffic::Ports { protocol: TCP, first: 1, last: 9 }, Side::Group("pci-segment-b".into())),
            rule(Direction::Ingress, Traffic::Icmp { protocol: ICMP, kind: 8, code: None }, Side::Other("pl-1".into())),
            rule(Direction::Ingress, Traffic::Icmp { protocol: ICMP, kind: 3, code: Some(4) }, Side::Other("1/sg-1".into())),
        ];
        let table: Table = keys.into_iter().map(|key| (key, Rule { text: "cde/spec/ingress/0".to_owned() })).collect();
        assert_eq!(recall(&keep(&table)), Some(table));
        assert_eq!(recall("[1]"), None);
    }
}
