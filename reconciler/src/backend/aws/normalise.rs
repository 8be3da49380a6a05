//! Rules as AWS writes them, in our words and back: one spelling for each, whatever AWS or somebody else made of it.
//!
//! The table, each with a test: protocols by name or number; `-1` has no ports; ICMP -1 is "all"; host bits are masked; IPv6 as in
//! RFC 5952; a group that names itself; the own account's id says nothing; grants that AWS merged are taken apart; order means nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_sdk_ec2::types::{
    IpPermission, IpRange, Ipv6Range, PrefixListId, SecurityGroupRule, SecurityGroupRuleRequest, UserIdGroupPair,
};
use policy::compile::Ruleset;
use policy::lower::cloud::Why;
use policy::lower::security_group::{Key, Side, Traffic};
use policy::model::PolicyName;
use policy::net::service::{ICMP, ICMPV6, TCP, UDP};
use policy::net::{Cidr, Direction, Family};

/// What our descriptions begin with.
const BEGINS: &str = "pci-segment ";
/// AWS takes no more.
const DESCRIPTION_CHARS_MAX: usize = 255;
/// Beside letters, digits and the space.
const DESCRIPTION_SIGNS: &str = "._-:/()#,@[]+=;{}!$*";

/// The names of our groups by their ids, and whose account it is.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    pub(super) ours: BTreeMap<String, Arc<str>>,
    pub(super) account: Option<String>,
}

/// A rule found: what it is about, what people read beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) key: Key,
    pub(super) description: String,
}

/// One permission of AWS as the rules it stands for; `Err` is one that nobody can read, in its own words.
pub(super) fn grants(
    group: &Arc<str>,
    direction: Direction,
    permission: &IpPermission,
    names: &Names,
) -> Result<Vec<Grant>, String> {
    let protocol = permission.ip_protocol().unwrap_or_default();
    let unread = || format!("{protocol} {:?}-{:?}", permission.from_port(), permission.to_port());
    let traffic = traffic(protocol, permission.from_port(), permission.to_port()).ok_or_else(unread)?;
    let v4 = permission.ip_ranges().iter().map(|one| (one.cidr_ip().and_then(cidr).map(Side::Prefix), one.description()));
    let v6 = permission.ipv6_ranges().iter().map(|one| (one.cidr_ipv6().and_then(cidr).map(Side::Prefix), one.description()));
    let lists = permission.prefix_list_ids().iter().map(|one| (one.prefix_list_id().map(other), one.description()));
    let groups = permission.user_id_group_pairs().iter().map(|one| {
        let side = one.group_id().map(|id| side_of_group(id, one.user_id(), names));
        (side, one.description())
    });
    v4.chain(v6)
        .chain(lists)
        .chain(groups)
        .map(|(side, description)| {
            let side = side.ok_or_else(unread)?;
            let key = Key::Rule { group: group.clone(), direction, traffic, side };
            Ok(Grant { key, description: description.unwrap_or_default().to_owned() })
        })
        .collect()
}

/// The same for a rule that is listed by itself.
pub(super) fn key_of(group: &Arc<str>, rule: &SecurityGroupRule, names: &Names) -> Option<Key> {
    let direction = if rule.is_egress()? { Direction::Egress } else { Direction::Ingress };
    let traffic = traffic(rule.ip_protocol()?, rule.from_port(), rule.to_port())?;
    let referenced = rule.referenced_group_info();
    let side = None
        .or_else(|| rule.cidr_ipv4().and_then(cidr).map(Side::Prefix))
        .or_else(|| rule.cidr_ipv6().and_then(cidr).map(Side::Prefix))
        .or_else(|| rule.prefix_list_id().map(other))
        .or_else(|| referenced.and_then(|info| Some(side_of_group(info.group_id()?, info.user_id(), names))))?;
    Some(Key::Rule { group: group.clone(), direction, traffic, side })
}

fn other(id: &str) -> Side {
    Side::Other(id.into())
}

fn side_of_group(id: &str, account: Option<&str>, names: &Names) -> Side {
    if let Some(name) = names.ours.get(id) {
        return Side::Group(name.clone());
    }
    match account.filter(|account| names.account.as_deref() != Some(*account)) {
        Some(foreign) => Side::Other(format!("{foreign}/{id}").into()),
        None => other(id),
    }
}

/// A prefix with whatever bits and spelling.
fn cidr(text: &str) -> Option<Cidr> {
    Cidr::parse(text).or_else(|wrong| wrong.repaired.ok_or(())).ok().or_else(|| {
        let (address, length) = text.split_once('/')?;
        Cidr::new(address.parse().ok()?, length.parse().ok()?)
    })
}

pub(super) fn traffic(protocol: &str, from: Option<i32>, to: Option<i32>) -> Option<Traffic> {
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "-1" | "all" => return Some(Traffic::All),
        "tcp" => TCP,
        "udp" => UDP,
        "icmp" => ICMP,
        "icmpv6" => ICMPV6,
        number => number.parse().ok()?,
    };
    // -1 is AWS's word for all of them.
    let (from, to) = (from.filter(|from| *from >= 0), to.filter(|to| *to >= 0));
    match (protocol, from) {
        (ICMP | ICMPV6, Some(kind)) => {
            let code = to.map(u8::try_from).transpose().ok()?;
            Some(Traffic::Icmp { protocol, kind: u8::try_from(kind).ok()?, code })
        }
        (TCP | UDP, Some(first)) => {
            let (first, last) = (u16::try_from(first).ok()?, u16::try_from(to?).ok()?);
            let whole = first == 0 && last == u16::MAX;
            Some(if whole { Traffic::Protocol(protocol) } else { Traffic::Ports { protocol, first, last } })
        }
        _ => Some(Traffic::Protocol(protocol)),
    }
}

/// Protocol and ports as AWS wants them written.
fn spelled(traffic: Traffic) -> (String, Option<i32>, Option<i32>) {
    let name = |protocol: u8| match protocol {
        TCP => "tcp".to_owned(),
        UDP => "udp".to_owned(),
        ICMP => "icmp".to_owned(),
        ICMPV6 => "icmpv6".to_owned(),
        number => number.to_string(),
    };
    match traffic {
        Traffic::All => ("-1".to_owned(), None, None),
        Traffic::Protocol(protocol @ (TCP | UDP)) => (name(protocol), Some(0), Some(i32::from(u16::MAX))),
        Traffic::Protocol(protocol @ (ICMP | ICMPV6)) => (name(protocol), Some(-1), Some(-1)),
        Traffic::Protocol(protocol) => (name(protocol), None, None),
        Traffic::Ports { protocol, first, last } => (name(protocol), Some(i32::from(first)), Some(i32::from(last))),
        Traffic::Icmp { protocol, kind, code } => (name(protocol), Some(i32::from(kind)), Some(code.map_or(-1, i32::from))),
    }
}

/// A rule as a permission; `None` for what we never ask for, or whose group is not known.
pub(super) fn permission(
    traffic: Traffic,
    side: &Side,
    description: &str,
    id_of: impl Fn(&str) -> Option<String>,
) -> Option<IpPermission> {
    let (protocol, from, to) = spelled(traffic);
    let all = IpPermission::builder().ip_protocol(protocol).set_from_port(from).set_to_port(to);
    let built = match side {
        Side::Prefix(cidr) if cidr.family() == Family::V4 => {
            all.ip_ranges(IpRange::builder().cidr_ip(cidr.to_string()).description(description).build())
        }
        Side::Prefix(cidr) => all.ipv6_ranges(Ipv6Range::builder().cidr_ipv6(cidr.to_string()).description(description).build()),
        Side::Group(name) => {
            all.user_id_group_pairs(UserIdGroupPair::builder().group_id(id_of(name)?).description(description).build())
        }
        Side::Other(list) if list.starts_with("pl-") => {
            all.prefix_list_ids(PrefixListId::builder().prefix_list_id(&**list).description(description).build())
        }
        Side::Other(_) => return None,
    };
    Some(built.build())
}

/// The same rule with another description.
pub(super) fn described(rule: &SecurityGroupRule, description: &str) -> SecurityGroupRuleRequest {
    let all = rule.ip_protocol() == Some("-1");
    let port = |port: Option<i32>| port.or(all.then_some(-1));
    SecurityGroupRuleRequest::builder()
        .set_ip_protocol(rule.ip_protocol.clone())
        .set_from_port(port(rule.from_port))
        .set_to_port(port(rule.to_port))
        .set_cidr_ipv4(rule.cidr_ipv4.clone())
        .set_cidr_ipv6(rule.cidr_ipv6.clone())
        .set_prefix_list_id(rule.prefix_list_id.clone())
        .set_referenced_group_id(rule.referenced_group_info().and_then(|info| info.group_id.clone()))
        .description(description)
        .build()
}

/// What a rule is for, as its description says it behind our mark: the policy, and the rule if it has a name. Its number would say
/// something else of every rule below one that is put in or taken out.
pub(super) fn reason(why: &Why, ruleset: &Ruleset) -> String {
    let text = match why {
        Why::NotIsolated => "not-isolated".to_owned(),
        Why::Rule { policy, pointer } => {
            let mut parts = pointer.rsplit('/');
            let number = parts.next().and_then(|number| number.parse::<usize>().ok());
            let way = parts.next().unwrap_or_default();
            let name = rule_name(ruleset, policy, way, number);
            format!("{policy}/{}", name.as_deref().unwrap_or(way))
        }
    };
    sayable(&text, DESCRIPTION_CHARS_MAX - BEGINS.len()).replace(' ', "-")
}

fn rule_name(ruleset: &Ruleset, policy: &PolicyName, way: &str, number: Option<usize>) -> Option<String> {
    let policy = ruleset.policies().iter().find(|one| one.name == *policy)?;
    let direction = Direction::BOTH.into_iter().find(|direction| direction.name() == way)?;
    policy.live_rules(direction).get(number?)?.name.as_ref().map(ToString::to_string)
}

/// The description for a reason.
pub(super) fn description(reason: &str) -> String {
    sayable(&format!("{BEGINS}{reason}"), DESCRIPTION_CHARS_MAX)
}

/// The reason a description gives. Behind it may stand a commit, which says nothing about the rule.
pub(super) fn reason_in(description: &str) -> String {
    match description.strip_prefix(BEGINS) {
        Some(reason) => reason.split(' ').next().unwrap_or_default().to_owned(),
        None if description.is_empty() => "no words".to_owned(),
        None => format!("\"{description}\""),
    }
}

/// What AWS takes in a description; the rest becomes dashes.
fn sayable(text: &str, most: usize) -> String {
    let good = |c: char| c.is_ascii_alphanumeric() || c == ' ' || DESCRIPTION_SIGNS.contains(c);
    text.chars().take(most).map(|c| if good(c) { c } else { '-' }).collect()
}

#[cfg(test)]
mod tests;
