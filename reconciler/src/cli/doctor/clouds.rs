//! Whether each cloud answers: credentials, networks, permissions to read.

use super::Check;
use crate::backend::cloud;
use crate::chain::chain;
use crate::config::{CloudConfig, CloudProvider, Config};
use crate::converge::Target;

/// Marks nothing: `doctor` only looks.
const INSTALLATION: &str = "doctor";

/// A check for each network of each entry.
pub(super) async fn checks(config: &Config) -> Vec<Check> {
    let mut checks = Vec::new();
    for entry in &config.clouds {
        match cloud::open(entry, &cloud::Opening::of(INSTALLATION)).await {
            Ok(targets) => {
                for mut target in targets {
                    checks.push(network(entry, target.as_mut()).await);
                }
            }
            Err(error) => checks.push(Check::bad(&format!("cloud {}", entry.label()), chain(&error), remedy(entry))),
        }
    }
    checks
}

async fn network(entry: &CloudConfig, target: &mut dyn Target) -> Check {
    let name = format!("cloud {}", target.name());
    let what = if entry.dry_run { "answers; dry_run: plans are made, nothing is applied" } else { "answers" };
    match target.survey().await {
        Ok(()) => Check::good(&name, what),
        Err(error) => Check::bad(&name, chain(&error), remedy(entry)),
    }
}

fn remedy(entry: &CloudConfig) -> &'static str {
    match entry.provider {
        CloudProvider::Aws => "credentials: environment, aws.profile or aws.role_arn; permissions: deploy/aws-iam-policy.json",
        CloudProvider::Azure => {
            "credentials: workload or managed identity, az login, or azure.client_secret_file; role: deploy/azure-role.json"
        }
    }
}
