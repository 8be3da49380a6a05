//! Who we are to Azure: what is configured, else whatever this machine has, asked in a fixed order.

use std::sync::Arc;

use azure_core::credentials::{Secret as AzureSecret, TokenCredential};
use azure_identity::{
    AzureCliCredential, AzureCliCredentialOptions, ClientSecretCredential, ManagedIdentityCredential,
    ManagedIdentityCredentialOptions, UserAssignedId, WorkloadIdentityCredential, WorkloadIdentityCredentialOptions,
};
use reqwest::header::HeaderValue;

use crate::config::AzureConfig;
use crate::converge::BackendError;
use crate::secret::Secret;

const SCOPE: &str = "https://management.azure.com/.default";

/// Ways to a token, each with its name, in the order in which they are tried.
#[derive(Debug)]
pub(super) struct Credentials {
    ways: Vec<(&'static str, Arc<dyn TokenCredential>)>,
}

impl Credentials {
    /// A client secret where one is configured; else workload identity, managed identity and the Azure CLI.
    pub(super) fn new(config: &AzureConfig) -> Result<Self, BackendError> {
        if let (Some(file), Some(tenant), Some(client)) = (&config.client_secret_file, &config.tenant_id, &config.client_id) {
            let secret = Secret::read(file).map_err(|cause| wrong("azure.client_secret_file cannot be used", cause))?;
            let secret = AzureSecret::new(secret.expose().to_owned());
            let way = ClientSecretCredential::new(tenant, client.clone(), secret, None)
                .map_err(|cause| wrong("azure.tenant_id or azure.client_id cannot be used", cause))?;
            return Ok(Self { ways: vec![("client secret", way)] });
        }
        let mut ways: Vec<(&'static str, Arc<dyn TokenCredential>)> = Vec::new();
        let options = WorkloadIdentityCredentialOptions {
            client_id: config.client_id.clone(),
            tenant_id: config.tenant_id.clone(),
            ..WorkloadIdentityCredentialOptions::default()
        };
        // Without the variables of a workload this is none, which is no fault.
        if let Ok(way) = WorkloadIdentityCredential::new(Some(options)) {
            ways.push(("workload identity", way));
        }
        let options = ManagedIdentityCredentialOptions {
            user_assigned_id: config.client_id.clone().map(UserAssignedId::ClientId),
            ..ManagedIdentityCredentialOptions::default()
        };
        if let Ok(way) = ManagedIdentityCredential::new(Some(options)) {
            ways.push(("managed identity", way));
        }
        let options = AzureCliCredentialOptions { tenant_id: config.tenant_id.clone(), ..AzureCliCredentialOptions::default() };
        if let Ok(way) = AzureCliCredential::new(Some(options)) {
            ways.push(("Azure CLI", way));
        }
        Ok(Self { ways })
    }

    /// A token as the value of a header that no log shows. The SDK keeps it and asks for the next one before it expires.
    pub(super) async fn header(&self) -> Result<HeaderValue, BackendError> {
        let mut last = None;
        for (name, way) in &self.ways {
            match way.get_token(&[SCOPE], None).await {
                Ok(token) => return bearer(token.token.secret()),
                Err(error) => last = Some((*name, error)),
            }
        }
        let tried: Vec<&str> = self.ways.iter().map(|(name, _)| *name).collect();
        let doing = format!(
            "no credentials for Azure: tried {}; renew what has expired, set azure.client_secret_file, or run `az login`",
            tried.join(", ")
        );
        let cause = last.map(|(_, error)| Box::new(error) as Box<dyn std::error::Error + Send + Sync>);
        Err(BackendError { doing, cause })
    }
}

fn bearer(token: &str) -> Result<HeaderValue, BackendError> {
    let text = zeroize::Zeroizing::new(format!("Bearer {token}"));
    let mut value = HeaderValue::from_str(&text)
        .map_err(|cause| wrong("Azure's token holds characters a header cannot have; look at who answers for it", cause))?;
    value.set_sensitive(true);
    Ok(value)
}

fn wrong(doing: &str, cause: impl std::error::Error + Send + Sync + 'static) -> BackendError {
    BackendError { doing: doing.to_owned(), cause: Some(Box::new(cause)) }
}
