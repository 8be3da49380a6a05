//! What both firewalls of a host share: which rules it should have, whatever says them to the kernel.

use std::error::Error;

use enforcer::Direction;
use policy::compile::Ruleset;
use policy::host::HostIdentity;
use policy::lower::bpf::{self, Key, Rule, RuleIds};
use policy::model::Mode;

use crate::converge::{Backend, BackendError, Deviation, Difference, Lowered, NotLowered};

/// Which host a firewall guards, and how.
#[derive(Debug)]
pub(super) struct Guarded {
    identity: HostIdentity,
    /// Under which name records are kept.
    pub(super) target: String,
    audit: bool,
    /// A lease is renewed whatever the rules say.
    pub(super) dhcp: bool,
}

impl Guarded {
    pub(super) fn new(identity: HostIdentity, interfaces: &[String], audit: bool, dhcp: bool) -> Self {
        Self { identity, target: format!("host/{}", interfaces.join(",")), audit, dhcp }
    }

    /// The rules of this host; with `audit` nothing is dropped.
    pub(super) fn lower<B>(&self, ruleset: &Ruleset, memory: &RuleIds) -> Result<Lowered<B>, NotLowered>
    where
        B: Backend<Key = Key, Rule = Rule, Memory = RuleIds>,
    {
        let endpoint = self.identity.endpoint(ruleset).map_err(|stranger| {
            let doing = "nobody knows what this host should enforce".to_owned();
            NotLowered::Failed(BackendError { doing, cause: Some(Box::new(stranger)) })
        })?;
        let memory = RuleIds::assign(memory, ruleset);
        let mut rules = bpf::lower(ruleset, &endpoint, &memory).map_err(NotLowered::Unsupported)?;
        if self.audit {
            for rule in rules.values_mut().filter(|rule| matches!(rule, Rule::Isolation(_))) {
                *rule = Rule::Isolation(Mode::Audit);
            }
        }
        Ok(Lowered { rules, memory })
    }

    /// Everything the rules of a host depend on beside the commit.
    pub(super) fn setup_text(&self) -> String {
        let Self { identity, audit, dhcp, .. } = self;
        let labels: Vec<String> = identity.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let machine = identity.machine_id_sha256.as_deref().unwrap_or_default();
        format!("{} {machine} {} audit={audit} dhcp={dhcp}", identity.hostname, labels.join(","))
    }
}

/// An error of the kernel's side as one line that says what to do, its cause kept.
pub(super) fn refused(doing: &str, error: impl Error + Send + Sync + 'static) -> BackendError {
    BackendError { doing: doing.to_owned(), cause: Some(Box::new(error)) }
}

/// Runs work on a thread that may block.
pub(super) async fn blocking<T, E>(
    doing: &'static str,
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, BackendError>
where
    T: Send + 'static,
    E: Error + Send + Sync + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(answer) => answer.map_err(|error| refused(doing, error)),
        Err(cause) => Err(refused(doing, cause)),
    }
}

/// Both hooks of each interface that does not exist.
pub(super) fn absent(interfaces: &[String]) -> Vec<Difference> {
    let wanted = interfaces.iter().flat_map(|name| Direction::ALL.map(|direction| (name, direction)));
    wanted
        .map(|(name, direction)| Difference {
            key: format!("hook {name} {}", direction.label()),
            kind: Deviation::Detached,
            expected: "our program".to_owned(),
            observed: "the interface does not exist".to_owned(),
            ..Difference::default()
        })
        .collect()
}
