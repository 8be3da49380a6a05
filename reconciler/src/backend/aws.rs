//! AWS: security groups of a network, through the EC2 API.
//!
//! Ours is what carries our mark as a tag and a name of ours; such a group is wholly ours, and nothing else is ever changed, but for
//! the list of groups of an interface where `attach` says so. Types of the SDK stay in here. What AWS writes in many ways is brought
//! to one before it is compared; every call has a bucket, a timeout and an end.

mod act;
mod actions;
mod client;
mod describe;
mod fault;
mod kept;
mod lists;
mod normalise;
mod pace;
mod provider;
mod quota;
mod seen;
mod survey;
mod trail;

pub use self::actions::{ACTIONS, Action};
use self::client::Connection;
use self::provider::Aws;
pub use self::seen::Rule;
use super::cloud::{FoundGroup, Opening, entry};
use crate::config::CloudConfig;
use crate::converge::{BackendError, Stepped, Target};

/// The targets of an entry: each of its networks is one. Nothing is asked of AWS yet.
///
/// # Errors
/// `endpoint_url` is no address.
pub async fn open(config: &CloudConfig, opening: &Opening) -> Result<Vec<Box<dyn Target>>, BackendError> {
    let connection = Connection::open(config).await?;
    let networks = config.aws.iter().flat_map(|aws| &aws.vpc_ids);
    let target = |vpc: &String| -> Box<dyn Target> {
        Box::new(Stepped::new(Aws::new(connection.clone(), config, vpc, opening), entry(config)))
    };
    Ok(networks.map(target).collect())
}

/// Every group of its networks, whoever made it.
///
/// # Errors
/// AWS does not answer, or refuses.
pub async fn groups(config: &CloudConfig, installation: &str) -> Result<Vec<FoundGroup>, BackendError> {
    let connection = Connection::open(config).await?;
    let mut found = Vec::new();
    for vpc in config.aws.iter().flat_map(|aws| &aws.vpc_ids) {
        found.extend(describe::groups(&connection, vpc, installation).await?);
    }
    Ok(found)
}
