//! Azure: to be filled.

use super::cloud::{FoundGroup, Opening};
use crate::config::CloudConfig;
use crate::converge::{BackendError, Target};

/// The targets of an entry.
///
/// # Errors
/// What is configured cannot be used.
pub async fn open(config: &CloudConfig, _opening: &Opening) -> Result<Vec<Box<dyn Target>>, BackendError> {
    std::future::ready(Err(BackendError { doing: format!("{} is not there yet", config.label()), cause: None })).await
}

/// Every group of its networks.
///
/// # Errors
/// The provider does not answer.
pub async fn groups(config: &CloudConfig, _installation: &str) -> Result<Vec<FoundGroup>, BackendError> {
    std::future::ready(Err(BackendError { doing: format!("{} is not there yet", config.label()), cause: None })).await
}
