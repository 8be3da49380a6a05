//! What both firewalls of a host share: which rules it should have, whatever says them to the kernel.

use enforcer::Direction;
use policy::compile::Ruleset;
use policy::host::HostIdentity;
use policy::lower::bpf::{self, Rule, RuleIds, Table};
use policy::model::Mode;

use crate::converge::{BackendError, Deviation, Difference, NotLowered};

/// The rules of this host; with `audit` nothing is dropped.
pub(super) fn lower(
    identity: &HostIdentity,
    audit: bool,
    ruleset: &Ruleset,
    memory: &RuleIds,
) -> Result<(Table, RuleIds), NotLowered> {
    let endpoint = identity.endpoint(ruleset).map_err(|stranger| {
        let doing = "nobody knows what this host should enforce".to_owned();
        NotLowered::Failed(BackendError { doing, cause: Some(Box::new(stranger)) })
    })?;
    let ids = RuleIds::assign(memory, ruleset);
    let mut rules = bpf::lower(ruleset, &endpoint, &ids).map_err(NotLowered::Unsupported)?;
    if audit {
        for rule in rules.values_mut().filter(|rule| matches!(rule, Rule::Isolation(_))) {
            *rule = Rule::Isolation(Mode::Audit);
        }
    }
    Ok((rules, ids))
}

/// Everything the rules of a host depend on beside the commit.
pub(super) fn setup_text(identity: &HostIdentity, audit: bool, dhcp: bool) -> String {
    let labels: Vec<String> = identity.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let machine = identity.machine_id_sha256.as_deref().unwrap_or_default();
    format!("{} {machine} {} audit={audit} dhcp={dhcp}", identity.hostname, labels.join(","))
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
