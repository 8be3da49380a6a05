//! What tests of Azure share.

use std::collections::BTreeMap;

use pci_segment::backend::cloud;
use pci_segment::config::{AzureConfig, AzureTargetMode, CloudConfig, CloudProvider};
use pci_segment::converge::{BackendError, Target};
use serde_json::Value;

use crate::arm::{GROUP, SUBSCRIPTION, StandIn};

pub(crate) const MARK: &str = "mine";
pub(crate) const ALLOW: &str = "pci-segment-in-tcp-5432-v4";
pub(crate) const APP: (&str, u16) = ("10.0.1.0/24", 5432);

/// Runs a test with a stand-in of its own.
pub(crate) fn with_azure<F: Future<Output = ()>>(body: impl FnOnce(StandIn) -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async { body(StandIn::start().await).await });
}

pub(crate) fn config(stand_in: &StandIn) -> CloudConfig {
    CloudConfig {
        provider: CloudProvider::Azure,
        name: None,
        region: "westeurope".to_owned(),
        endpoint_url: Some(stand_in.url.clone()),
        dry_run: false,
        attach: false,
        tags: BTreeMap::from([("Environment".to_owned(), "production".to_owned())]),
        aws: None,
        azure: Some(AzureConfig {
            subscription_id: SUBSCRIPTION.to_owned(),
            resource_groups: vec![GROUP.to_owned()],
            ..AzureConfig::default()
        }),
    }
}

pub(crate) fn exclusive(mut config: CloudConfig) -> CloudConfig {
    config.azure.as_mut().unwrap().target_mode = AzureTargetMode::Exclusive;
    config
}

pub(crate) fn attaching(mut config: CloudConfig) -> CloudConfig {
    config.attach = true;
    config
}

pub(crate) async fn open(config: &CloudConfig) -> Box<dyn Target> {
    cloud::open(config, &cloud::Opening::of(MARK)).await.unwrap().into_iter().next().unwrap()
}

/// Everything that stopped, as people read it.
pub(crate) fn words(error: &BackendError) -> String {
    error.to_string()
}

/// The name of the only group.
pub(crate) fn only(stand_in: &StandIn) -> String {
    let arm = stand_in.arm.lock().unwrap();
    assert_eq!(arm.groups.len(), 1, "{:?}", arm.groups.keys());
    arm.groups.values().next().unwrap()["name"].as_str().unwrap().to_owned()
}

/// The rules of a group, by name: number, access and addresses on the other side.
pub(crate) fn rules(stand_in: &StandIn, group: &str) -> BTreeMap<String, (u64, String, Vec<String>)> {
    let arm = stand_in.arm.lock().unwrap();
    let all = arm.groups[&group.to_lowercase()]["properties"]["securityRules"].as_array().unwrap();
    let one = |rule: &Value| {
        let p = &rule["properties"];
        let side = if p["direction"] == "Inbound" { "source" } else { "destination" };
        let many = p[format!("{side}AddressPrefixes")].as_array().into_iter().flatten();
        let sides = p[format!("{side}AddressPrefix")].as_str().into_iter().chain(many.map(|text| text.as_str().unwrap()));
        let sides = sides.map(str::to_owned).collect();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&rule["name"]), (p["priority"].as_u64().unwrap(), text(&p["access"]), sides))
    };
    all.iter().map(one).collect()
}
