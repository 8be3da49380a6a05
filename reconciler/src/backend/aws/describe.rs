//! Every group of a network as it is found, for questions about posture.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_sdk_ec2::types::{IpPermission, NetworkInterface, SecurityGroup};
use policy::lower::security_group::{Key, Side};
use policy::model::inventory::Enforcer;
use policy::net::{Cidr, Direction, ServiceRange};

use super::client::{Connection, Failed};
use super::normalise::{Grant, Names, grants};
use super::seen::tag;
use crate::backend::cloud::{FoundGroup, FoundRule, FoundSide, MARK};
use crate::converge::BackendError;

/// The group that AWS makes with each network.
const DEFAULT_NAME: &str = "default";

/// What is in lists of prefixes, by id; `None` where it may not be read.
type Lists = BTreeMap<String, Option<Vec<Cidr>>>;

/// All groups of a network.
pub(super) async fn groups(connection: &Connection, vpc: &str, installation: &str) -> Result<Vec<FoundGroup>, BackendError> {
    connection.network(vpc).await?;
    let _one_scan = connection.scan.acquire().await;
    let found = connection.groups(vpc, None).await?;
    let attached = match connection.interfaces(vpc).await {
        Ok(interfaces) => Some(attached(&interfaces)),
        Err(Failed { fault, .. }) if fault.denied() => None,
        Err(failed) => return Err(failed.error),
    };
    let lists = lists(connection, &found).await?;
    Ok(found.iter().filter_map(|group| described(group, vpc, installation, attached.as_ref(), &lists)).collect())
}

/// Interfaces by the groups they are in.
fn attached(interfaces: &[NetworkInterface]) -> BTreeMap<String, Vec<String>> {
    let mut by_group: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for interface in interfaces {
        let Some(id) = interface.network_interface_id() else { continue };
        for group in interface.groups().iter().filter_map(|group| group.group_id()) {
            by_group.entry(group.to_owned()).or_default().push(id.to_owned());
        }
    }
    by_group
}

async fn lists(connection: &Connection, groups: &[SecurityGroup]) -> Result<Lists, BackendError> {
    let permissions = groups.iter().flat_map(|group| group.ip_permissions().iter().chain(group.ip_permissions_egress()));
    let mut lists = Lists::new();
    for id in permissions.flat_map(IpPermission::prefix_list_ids).filter_map(|list| list.prefix_list_id()) {
        if lists.contains_key(id) {
            continue;
        }
        let entries = match connection.list_entries(id).await {
            Ok(entries) => Some(entries.iter().filter_map(|text| Cidr::parse(text).ok()).collect()),
            Err(Failed { fault, .. }) if fault.denied() => None,
            Err(failed) => return Err(failed.error),
        };
        lists.insert(id.to_owned(), entries);
    }
    Ok(lists)
}

fn described(
    group: &SecurityGroup,
    vpc: &str,
    installation: &str,
    attached: Option<&BTreeMap<String, Vec<String>>>,
    lists: &Lists,
) -> Option<FoundGroup> {
    let (id, name) = (group.group_id()?, group.group_name()?);
    let names = Names { ours: BTreeMap::new(), account: group.owner_id().map(str::to_owned) };
    let ingress = group.ip_permissions().iter().map(|one| (Direction::Ingress, one));
    let egress = group.ip_permissions_egress().iter().map(|one| (Direction::Egress, one));
    let rules = ingress.chain(egress).flat_map(|(direction, one)| rules(direction, one, &names, lists));
    let tags = group.tags().iter().filter_map(|tag| Some((tag.key()?.to_owned(), tag.value()?.to_owned())));
    Some(FoundGroup {
        cloud: Enforcer::Aws,
        id: id.to_owned(),
        name: name.to_owned(),
        network: vpc.to_owned(),
        ours: tag(group.tags(), MARK) == Some(installation),
        default: name == DEFAULT_NAME,
        attached: attached.map(|all| all.get(id).cloned().unwrap_or_default()),
        tags: tags.collect(),
        rules: rules.collect(),
    })
}

fn rules(direction: Direction, permission: &IpPermission, names: &Names, lists: &Lists) -> Vec<FoundRule> {
    let nameless: Arc<str> = Arc::from("");
    match grants(&nameless, direction, permission, names) {
        Ok(grants) => grants.into_iter().filter_map(|grant| found(direction, grant, lists)).collect(),
        // Nobody knows what it lets pass: everything is the safe answer.
        Err(text) => vec![rule(direction, ServiceRange::ALL, Vec::new(), text, String::new())],
    }
}

fn found(direction: Direction, grant: Grant, lists: &Lists) -> Option<FoundRule> {
    let Key::Rule { traffic, side, .. } = grant.key else { return None };
    let way = if direction == Direction::Ingress { "from" } else { "to" };
    let text = format!("{} {traffic} {way} {side}", direction.name());
    let side = match side {
        Side::Prefix(cidr) => FoundSide::Prefix(cidr),
        Side::Other(id) if id.starts_with("pl-") => {
            FoundSide::PrefixList { entries: lists.get(&*id).cloned().flatten(), id: id.to_string() }
        }
        Side::Other(id) | Side::Group(id) => FoundSide::Group { id: id.to_string() },
    };
    Some(rule(direction, traffic.services(), vec![side], text, grant.description))
}

fn rule(direction: Direction, services: ServiceRange, sides: Vec<FoundSide>, text: String, description: String) -> FoundRule {
    FoundRule { id: None, direction, allows: true, priority: None, services: vec![services], sides, text, description }
}
