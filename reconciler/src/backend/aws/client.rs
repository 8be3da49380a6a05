//! The connection of an entry: credentials, region, the clients, and how often they may be used.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_http_client::{Builder, tls};
use rand::RngExt as _;
use tokio::sync::Semaphore;

use super::actions::Action;
use super::fault::{Fault, Kind};
use super::pace::Pace;
use crate::config::{AwsConfig, CloudConfig};
use crate::converge::BackendError;

/// What we call ourselves in the log of an account.
pub(super) const APP_NAME: &str = "pci-segment";
/// Until a connection stands.
const CONNECT_SECONDS_MAX: u64 = 5;
/// Until a call that changes something is answered; what is slower is looked up.
const WRITE_SECONDS_MAX: u64 = 5;
/// Until a page is answered: a thousand groups are some megabytes.
const READ_SECONDS_MAX: u64 = 30;
/// So often a reading is sent by the SDK; what changes something is sent once.
const READ_ATTEMPTS_MAX: u32 = 3;
/// The first pause after "later" lies between nothing and this; the next ones double it.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
/// The longest.
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// What all pauses of one call come to at most; a target stops then, and the next pass begins by looking.
const PATIENCE: Duration = Duration::from_secs(1800);
/// How long a group that was just made may be unknown to AWS itself.
const LAG_MAX: Duration = Duration::from_secs(60);

/// The clients of an entry, shared by its networks.
#[derive(Debug)]
pub(super) struct Connection {
    /// For what reads.
    pub(super) reads: aws_sdk_ec2::Client,
    /// For what changes something: nothing is sent twice by itself.
    pub(super) writes: aws_sdk_ec2::Client,
    pub(super) quotas: aws_sdk_servicequotas::Client,
    pub(super) trail: aws_sdk_cloudtrail::Client,
    pace: Arc<Pace>,
    /// One scan at a time.
    pub(super) scan: Semaphore,
}

/// A call that failed for good, or whose patience is over.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) fault: Fault,
    pub(super) error: BackendError,
}

impl From<Failed> for BackendError {
    fn from(failed: Failed) -> Self {
        failed.error
    }
}

impl Connection {
    /// Nothing is asked yet, but for files and the environment.
    pub(super) async fn open(config: &CloudConfig) -> Result<Arc<Self>, BackendError> {
        let aws = config.aws.clone().unwrap_or_default();
        let sdk = sdk(config, &aws).await?;
        let once = sdk.to_builder().retry_config(RetryConfig::disabled()).timeout_config(timeouts(WRITE_SECONDS_MAX)).build();
        let who = |text: &Option<String>| text.clone().unwrap_or_default();
        let endpoint = who(&config.endpoint_url);
        let place = format!("{}\0{}\0{}\0{endpoint}", config.region, who(&aws.profile), who(&aws.role_arn));
        let unbound = ["http://127.0.0.1:", "http://[::1]:"].iter().any(|local| endpoint.starts_with(local));
        Ok(Arc::new(Self {
            reads: aws_sdk_ec2::Client::new(&sdk),
            writes: aws_sdk_ec2::Client::new(&once),
            quotas: aws_sdk_servicequotas::Client::new(&sdk),
            trail: aws_sdk_cloudtrail::Client::new(&sdk),
            pace: Pace::shared(&place, unbound),
            scan: Semaphore::new(1),
        }))
    }

    /// Sends a request until it is answered with more than "later". `fresh` says that its resource was made just now, so that AWS
    /// itself may not know it yet.
    pub(super) async fn call<T, E, F>(&self, action: Action, resource: &str, fresh: bool, send: impl Fn() -> F) -> Result<T, Failed>
    where
        F: Future<Output = Result<T, SdkError<E>>>,
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let (mut ceiling, mut waited) = (PAUSE_FIRST, Duration::ZERO);
        loop {
            self.pace.take(action).await;
            let fault = match send().await {
                Ok(answer) => return Ok(answer),
                Err(error) => Fault::of(&error),
            };
            let lags = fresh && fault.is(&["InvalidGroup.NotFound", "InvalidGroupId.NotFound"]);
            let patience = match fault.kind {
                Kind::Later => PATIENCE,
                Kind::Refused if lags => LAG_MAX,
                Kind::Refused | Kind::Unknown | Kind::Unsent => Duration::ZERO,
            };
            if waited >= patience {
                let error = fault.words(action, resource);
                return Err(Failed { fault, error });
            }
            // Full jitter: whoever was turned away at the same time does not come back at the same time.
            let pause = ceiling.mul_f64(rand::rng().random_range(0.0..1.0));
            tracing::debug!(action = action.name, resource, code = fault.code.as_deref(), "AWS asks for patience");
            tokio::time::sleep(pause).await;
            waited += ceiling / 2;
            ceiling = (ceiling * 2).min(PAUSE_MAX);
        }
    }
}

fn timeouts(attempt_seconds: u64) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(CONNECT_SECONDS_MAX))
        .operation_attempt_timeout(Duration::from_secs(attempt_seconds))
        .build()
}

/// The SDK's own chain: environment, profile, single sign-on, web identity, container and instance roles; then the role that is
/// configured, with those.
async fn sdk(config: &CloudConfig, aws: &AwsConfig) -> Result<SdkConfig, BackendError> {
    let http = Builder::new().tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring)).build_https();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .region(Region::new(config.region.clone()))
        .retry_config(RetryConfig::adaptive().with_max_attempts(READ_ATTEMPTS_MAX))
        .timeout_config(timeouts(READ_SECONDS_MAX));
    if let Ok(name) = AppName::new(APP_NAME) {
        loader = loader.app_name(name);
    }
    if let Some(profile) = &aws.profile {
        loader = loader.profile_name(profile);
    }
    if let Some(url) = &config.endpoint_url {
        check_url(url)?;
        loader = loader.endpoint_url(url);
    }
    let sdk = loader.load().await;
    let Some(role) = &aws.role_arn else { return Ok(sdk) };
    let mut provider = aws_config::sts::AssumeRoleProvider::builder(role).configure(&sdk).session_name(APP_NAME);
    if let Some(id) = &aws.external_id {
        provider = provider.external_id(id);
    }
    let provider = aws_sdk_ec2::config::SharedCredentialsProvider::new(provider.build().await);
    Ok(sdk.to_builder().credentials_provider(provider).build())
}

fn check_url(url: &str) -> Result<(), BackendError> {
    let good =
        url.parse::<hyper::Uri>().is_ok_and(|uri| uri.host().is_some() && matches!(uri.scheme_str(), Some("http" | "https")));
    let doing = format!("endpoint_url {url:?} is not an address; write for example https://ec2.us-east-1.amazonaws.com");
    if good { Ok(()) } else { Err(BackendError { doing, cause: None }) }
}
