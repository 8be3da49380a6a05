//! `clouds:`, where rules are enforced beside this host, as people write it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{ConfigError, parse_text, read_text};

/// One entry of `clouds:`; also a file of its own for `cloud-sync` and `cloud-validate`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloudConfig {
    /// Whose cloud.
    pub provider: CloudProvider,
    /// What records and limits call it; by default the provider with the region.
    pub name: Option<String>,
    /// `us-east-1`, `westeurope`.
    pub region: String,
    /// Where its API is, if not where its SDK says: tests, private endpoints.
    pub endpoint_url: Option<String>,
    /// Plans are made and shown, nothing is applied.
    #[serde(default)]
    pub dry_run: bool,
    /// Whether groups are attached to the interfaces that policies select, by the Inventory or by tags.
    #[serde(default)]
    pub attach: bool,
    /// What groups of ours carry beside our own mark.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// What only AWS needs.
    pub aws: Option<AwsConfig>,
    /// What only Azure needs.
    pub azure: Option<AzureConfig>,
}

/// Whose cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CloudProvider {
    /// Security groups.
    Aws,
    /// Network security groups.
    Azure,
}

/// `aws:` of an entry.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwsConfig {
    /// The networks in which groups are kept; each is a target of its own.
    #[serde(default)]
    pub vpc_ids: Vec<String>,
    /// A profile of the shared configuration files; by default the SDK's own chain.
    pub profile: Option<String>,
    /// A role to assume with those credentials.
    pub role_arn: Option<String>,
    /// What that role asks for beside them.
    pub external_id: Option<String>,
    /// Rules of one direction and family in a group, where the quota may not be read.
    pub rules_per_group: Option<usize>,
    /// Where old and new rules do not fit at the same time, removes first: what both allow is cut meanwhile.
    #[serde(default)]
    pub allow_gap: bool,
    /// Whether CloudTrail is asked who changed something.
    #[serde(default)]
    pub cloudtrail: bool,
}

/// `azure:` of an entry.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AzureConfig {
    /// The subscription.
    pub subscription_id: String,
    /// The resource groups in which groups are kept; each is a target of its own.
    #[serde(default)]
    pub resource_groups: Vec<String>,
    /// The tenant, with `client_id` and `client_secret_file`; by default workload identity, managed identity, then the Azure CLI.
    pub tenant_id: Option<String>,
    /// The application.
    pub client_id: Option<String>,
    /// Its secret.
    pub client_secret_file: Option<PathBuf>,
    /// How groups are written.
    #[serde(default)]
    pub target_mode: AzureTargetMode,
    /// Whether health probes of load balancers pass the deny below our rules.
    #[serde(default)]
    pub allow_probes: bool,
    /// Whether the Activity Log is asked who changed something.
    #[serde(default)]
    pub activity_log: bool,
}

/// `azure.target_mode:`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AzureTargetMode {
    /// One rule at a time, ours only.
    #[default]
    Shared,
    /// The whole group at once: what others put there is removed.
    Exclusive,
}

impl CloudProvider {
    /// Its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::Azure => "azure",
        }
    }

    /// Whether this program was built with it.
    const fn built(self) -> bool {
        match self {
            Self::Aws => cfg!(feature = "aws"),
            Self::Azure => cfg!(feature = "azure"),
        }
    }
}

/// So much of a subscription's id is in the name of a target.
const SUBSCRIPTION_CHARS: usize = 8;

/// Fields that other tools read secrets from, and what to write for them.
const INSTEAD: [(&str, &str); 3] = [
    ("access_key_id", "AWS_ACCESS_KEY_ID in the environment, aws.profile, or aws.role_arn"),
    ("secret_access_key", "AWS_SECRET_ACCESS_KEY in the environment, aws.profile, or aws.role_arn"),
    ("client_secret", "azure.client_secret_file with the path of a file that holds it"),
];

/// What to write for an unknown field, if it is a secret: no secret stands in a configuration.
pub(super) fn instead_of(reason: &str) -> Option<String> {
    let named = |field: &str| reason.starts_with(&format!("unknown field `{field}`"));
    let (field, instead) = INSTEAD.iter().find(|(field, _)| named(field))?;
    Some(format!("`{field}` is not read from here: secrets do not stand in a configuration; take the line out and use {instead}"))
}

impl CloudConfig {
    /// A file that holds one entry on its own, for `cloud-sync` and `cloud-validate`.
    ///
    /// # Errors
    /// The file is unreadable, is no such entry, or contradicts itself; each error names the place.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::parse(&read_text(path)?, path)
    }

    /// The same of a text; `path` is for error texts.
    ///
    /// # Errors
    /// As [`CloudConfig::load`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let entry: Self = parse_text(text, path)?;
        entry.check().map_err(|reason| ConfigError::Meaning {
            path: path.to_owned(),
            reason: reason.strip_prefix("clouds: ").map(str::to_owned).unwrap_or(reason),
        })?;
        Ok(entry)
    }

    /// What it is called.
    #[must_use]
    pub fn label(&self) -> String {
        self.name.clone().unwrap_or_else(|| format!("{}/{}", self.provider.word(), self.region))
    }

    /// Under which names records tell of what is enforced there.
    #[must_use]
    pub fn targets(&self) -> Vec<String> {
        let region = &self.region;
        let aws = self.aws.iter().flat_map(|aws| &aws.vpc_ids).map(|vpc| format!("aws/{region}/{vpc}"));
        let of_azure = |azure: &AzureConfig| {
            let subscription: String = azure.subscription_id.chars().take(SUBSCRIPTION_CHARS).collect();
            azure.resource_groups.iter().map(move |group| format!("azure/{subscription}/{group}")).collect::<Vec<_>>()
        };
        aws.chain(self.azure.iter().flat_map(of_azure)).collect()
    }

    /// Whether it says what it has to, and nothing that contradicts it.
    ///
    /// # Errors
    /// What is wrong and what to write.
    pub fn check(&self) -> Result<(), String> {
        let (label, provider) = (self.label(), self.provider.word());
        if !self.provider.built() {
            return Err(format!(
                "clouds: this binary was built without {provider}; build it with `--features {provider}`, or take {label} out"
            ));
        }
        if self.region.is_empty() {
            return Err(format!("clouds: {label}: region is empty; write for example us-east-1"));
        }
        match (self.provider, &self.aws, &self.azure) {
            (CloudProvider::Aws, _, Some(_)) => Err(format!("clouds: {label}: an entry of aws has no azure section")),
            (CloudProvider::Azure, Some(_), _) => Err(format!("clouds: {label}: an entry of azure has no aws section")),
            (CloudProvider::Aws, aws, None) => check_aws(&label, aws.as_ref()),
            (CloudProvider::Azure, None, azure) => check_azure(&label, azure.as_ref()),
        }
    }
}

fn check_aws(label: &str, aws: Option<&AwsConfig>) -> Result<(), String> {
    let Some(aws) = aws.filter(|aws| !aws.vpc_ids.is_empty()) else {
        return Err(format!("clouds: {label}: write the networks, for example aws: {{ vpc_ids: [vpc-0123456789abcdef0] }}"));
    };
    each_once(label, "aws.vpc_ids", &aws.vpc_ids)?;
    if aws.external_id.is_some() && aws.role_arn.is_none() {
        return Err(format!("clouds: {label}: aws.external_id is asked for by a role; write aws.role_arn"));
    }
    match aws.rules_per_group {
        Some(most) if !(1..=1000).contains(&most) => {
            Err(format!("clouds: {label}: aws.rules_per_group is {most}; write 1 to 1000"))
        }
        Some(_) | None => Ok(()),
    }
}

fn check_azure(label: &str, azure: Option<&AzureConfig>) -> Result<(), String> {
    let Some(azure) = azure.filter(|azure| !azure.subscription_id.is_empty() && !azure.resource_groups.is_empty()) else {
        return Err(format!(
            "clouds: {label}: write the subscription and its resource groups, for example azure: {{ subscription_id: …, \
             resource_groups: [pci-cde-rg] }}"
        ));
    };
    each_once(label, "azure.resource_groups", &azure.resource_groups)?;
    let secret = [azure.tenant_id.is_some(), azure.client_id.is_some(), azure.client_secret_file.is_some()];
    if azure.client_secret_file.is_some() && secret.contains(&false) {
        return Err(format!("clouds: {label}: azure.client_secret_file goes with azure.tenant_id and azure.client_id"));
    }
    Ok(())
}

fn each_once(label: &str, key: &str, names: &[String]) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    match names.iter().find(|name| !seen.insert(name.to_lowercase())) {
        Some(twice) => Err(format!("clouds: {label}: {key} names {twice} twice")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
