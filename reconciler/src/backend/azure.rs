//! Azure: network security groups, by the Resource Manager's own interface.
//!
//! Credentials come from `azure_identity`. The calls do not come from `azure_mgmt_network`: its last release, 0.21, is generated for
//! `azure_core` 0.21, whose credentials are another trait than those of today, so it would bring a second SDK into the tree; and
//! `azure_core`'s pipeline sends a write again after a lost answer, where nothing may be sent again before somebody has looked. The
//! few resources we need are typed in `models`, with the names of the same published API description, version 2024-03-01.
//!
//! A resource group is a target. Groups carry our mark as a tag. In shared mode one rule is written at a time, beside which the
//! rules of others stay what they are; in exclusive mode the whole group at once.

mod act;
mod activity;
mod attach;
mod client;
mod credentials;
mod errors;
mod found;
mod kept;
mod limits;
mod models;
mod observe;
mod provider;
mod survey;
mod wait;
mod words;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use self::client::{API_VERSION, Arm};
use self::models::Group;
use self::provider::{Network, READ_GROUPS};
use super::cloud::{FoundGroup, Opening, entry};
use crate::config::{AzureConfig, CloudConfig};
use crate::converge::{BackendError, Stepped, Target};

/// The targets of an entry: one for each resource group.
///
/// # Errors
/// What is configured cannot be used.
pub async fn open(config: &CloudConfig, opening: &Opening) -> Result<Vec<Box<dyn Target>>, BackendError> {
    let azure = section(config)?;
    let arm = Arc::new(Arm::new(config, azure)?);
    let target = |group: &String| {
        let network = Network::new(arm.clone(), config, azure, group, opening);
        Box::new(Stepped::new(network, entry(config))) as Box<dyn Target>
    };
    std::future::ready(Ok(azure.resource_groups.iter().map(target).collect())).await
}

/// Every group of its resource groups, whoever made it.
///
/// # Errors
/// The provider does not answer, or refuses.
pub async fn groups(config: &CloudConfig, installation: &str) -> Result<Vec<FoundGroup>, BackendError> {
    let azure = section(config)?;
    let arm = Arm::new(config, azure)?;
    let mut all = Vec::new();
    for name in &azure.resource_groups {
        let subscription = &azure.subscription_id;
        let path = format!("/subscriptions/{subscription}/resourceGroups/{name}/providers/Microsoft.Network/networkSecurityGroups");
        let groups: Vec<Group> = arm.list(READ_GROUPS, &path, API_VERSION, &[]).await?;
        all.extend(groups.iter().map(|group| found::found(group, name, installation)));
    }
    Ok(all)
}

fn section(config: &CloudConfig) -> Result<&AzureConfig, BackendError> {
    config.azure.as_ref().ok_or_else(|| BackendError {
        doing: format!("{}: write the subscription and its resource groups under azure", config.label()),
        cause: None,
    })
}
