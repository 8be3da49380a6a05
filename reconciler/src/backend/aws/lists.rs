//! What is read, page by page.

use std::future::Future;

use aws_sdk_ec2::types::{Filter, Instance, ManagedPrefixList, NetworkInterface, SecurityGroup, SecurityGroupRule};

use super::actions::{
    Action, DESCRIBE_GROUPS, DESCRIBE_INSTANCES, DESCRIBE_INTERFACES, DESCRIBE_LISTS, DESCRIBE_RULES, DESCRIBE_VPCS,
    PREFIX_LIST_ENTRIES,
};
use super::client::{Connection, Failed};
use super::fault::Fault;

/// As many as AWS gives at once: one call for the groups of most networks.
const PAGE: i32 = 1000;
/// A hundred thousand of anything in one network is more than AWS allows.
const PAGES_MAX: usize = 100;

/// What one page holds, and where the next one begins.
type Page<T> = (Vec<T>, Option<String>);

async fn pages<T, F>(action: Action, resource: &str, mut page: impl FnMut(Option<String>) -> F) -> Result<Vec<T>, Failed>
where
    F: Future<Output = Result<Page<T>, Failed>>,
{
    let (mut all, mut token) = (Vec::new(), None);
    for _ in 0..PAGES_MAX {
        let (some, next) = page(token).await?;
        all.extend(some);
        match next.filter(|next| !next.is_empty()) {
            Some(next) => token = Some(next),
            None => return Ok(all),
        }
    }
    let fault = Fault::endless(PAGES_MAX);
    let error = fault.words(action, resource);
    Err(Failed { fault, error })
}

fn filter(name: &str, value: &str) -> Filter {
    Filter::builder().name(name).values(value).build()
}

impl Connection {
    /// Whether the network is there; what it is answers an account's or a region's being the wrong one.
    pub(super) async fn network(&self, vpc: &str) -> Result<(), Failed> {
        self.call(DESCRIBE_VPCS, vpc, false, || self.reads.describe_vpcs().vpc_ids(vpc).send()).await.map(drop)
    }

    /// All groups of a network, or the one with a name.
    pub(super) async fn groups(&self, vpc: &str, name: Option<&str>) -> Result<Vec<SecurityGroup>, Failed> {
        let filters: Vec<Filter> = [filter("vpc-id", vpc)].into_iter().chain(name.map(|name| filter("group-name", name))).collect();
        pages(DESCRIBE_GROUPS, vpc, async |token| {
            let send = || {
                let request = self.reads.describe_security_groups().set_filters(Some(filters.clone()));
                request.max_results(PAGE).set_next_token(token.clone()).send()
            };
            let answer = self.call(DESCRIBE_GROUPS, vpc, false, send).await?;
            Ok((answer.security_groups.unwrap_or_default(), answer.next_token))
        })
        .await
    }

    /// The rules of a group by themselves, with their ids.
    pub(super) async fn rules(&self, group: &str) -> Result<Vec<SecurityGroupRule>, Failed> {
        pages(DESCRIBE_RULES, group, async |token| {
            let send = || {
                let request = self.reads.describe_security_group_rules().filters(filter("group-id", group));
                request.max_results(PAGE).set_next_token(token.clone()).send()
            };
            let answer = self.call(DESCRIBE_RULES, group, false, send).await?;
            Ok((answer.security_group_rules.unwrap_or_default(), answer.next_token))
        })
        .await
    }

    /// The interfaces of a network.
    pub(super) async fn interfaces(&self, vpc: &str) -> Result<Vec<NetworkInterface>, Failed> {
        pages(DESCRIBE_INTERFACES, vpc, async |token| {
            let send = || {
                let request = self.reads.describe_network_interfaces().filters(filter("vpc-id", vpc));
                request.max_results(PAGE).set_next_token(token.clone()).send()
            };
            let answer = self.call(DESCRIBE_INTERFACES, vpc, false, send).await?;
            Ok((answer.network_interfaces.unwrap_or_default(), answer.next_token))
        })
        .await
    }

    /// Whether anybody is in a group.
    pub(super) async fn is_used(&self, group: &str) -> Result<bool, Failed> {
        let send = || self.reads.describe_network_interfaces().filters(filter("group-id", group)).send();
        let found = self.call(DESCRIBE_INTERFACES, group, false, send).await?;
        Ok(!found.network_interfaces().is_empty() || found.next_token().is_some())
    }

    /// One interface as it is now.
    pub(super) async fn interface(&self, id: &str) -> Result<Option<NetworkInterface>, Failed> {
        let send = || self.reads.describe_network_interfaces().filters(filter("network-interface-id", id)).send();
        let answer = self.call(DESCRIBE_INTERFACES, id, false, send).await?;
        Ok(answer.network_interfaces.unwrap_or_default().into_iter().next())
    }

    /// The instances of a network.
    pub(super) async fn instances(&self, vpc: &str) -> Result<Vec<Instance>, Failed> {
        pages(DESCRIBE_INSTANCES, vpc, async |token| {
            let send = || {
                let request = self.reads.describe_instances().filters(filter("vpc-id", vpc));
                request.max_results(PAGE).set_next_token(token.clone()).send()
            };
            let answer = self.call(DESCRIBE_INSTANCES, vpc, false, send).await?;
            let reservations = answer.reservations.unwrap_or_default().into_iter();
            Ok((reservations.flat_map(|one| one.instances.unwrap_or_default()).collect(), answer.next_token))
        })
        .await
    }

    /// How many entries a list of prefixes may hold: that is how quotas count it.
    pub(super) async fn list_size(&self, id: &str) -> Result<Option<usize>, Failed> {
        let send = || self.reads.describe_managed_prefix_lists().prefix_list_ids(id).send();
        let answer = self.call(DESCRIBE_LISTS, id, false, send).await?;
        let most = answer.prefix_lists().first().and_then(ManagedPrefixList::max_entries);
        Ok(most.and_then(|most| usize::try_from(most).ok()))
    }

    /// What is in a list of prefixes.
    pub(super) async fn list_entries(&self, id: &str) -> Result<Vec<String>, Failed> {
        pages(PREFIX_LIST_ENTRIES, id, async |token| {
            let send = || {
                let request = self.reads.get_managed_prefix_list_entries().prefix_list_id(id);
                request.set_next_token(token.clone()).send()
            };
            let answer = self.call(PREFIX_LIST_ENTRIES, id, false, send).await?;
            Ok((answer.entries.unwrap_or_default().into_iter().filter_map(|entry| entry.cidr).collect(), answer.next_token))
        })
        .await
    }
}
