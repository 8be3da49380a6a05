//! What only clouds have: defaults that nobody wrote, groups nobody uses, members that reach each other, addresses kept elsewhere.

use std::sync::Arc;

use policy::finding::{Basis, Finding, Severity};
use policy::model::inventory::Enforcer;
use policy::net::{Direction, ServiceRange};

use super::document::{can_be_said, is_all};
use super::effective::{OWN_FROM, Piece, pieces};
use super::{place, pointer, requirement, rule_name};
use crate::backend::cloud::{FoundGroup, FoundRule, FoundSide};

/// The tag of Azure's probes; a host behind a load balancer needs them.
const PROBES: &str = "AzureLoadBalancer";

/// Everything about one group. Of one that is not judged only what every network should do without.
pub(super) fn findings(group: &FoundGroup, file: &Arc<str>, judged: bool) -> Vec<Finding> {
    let about = About { group, file, judged };
    let mut found: Vec<Finding> = about.default_group().into_iter().chain(about.unused()).collect();
    if judged {
        for direction in Direction::BOTH {
            let pieces = pieces(group, direction);
            found.extend(about.defaults(&pieces));
            for piece in &pieces {
                found.extend(about.named(piece));
                found.extend(about.unsaid(piece));
            }
        }
    }
    found
}

struct About<'a> {
    group: &'a FoundGroup,
    file: &'a Arc<str>,
    judged: bool,
}

/// What a finding says, beside where.
struct Said {
    rule_id: &'static str,
    code: &'static str,
    severity: Severity,
    requirements: &'static [&'static str],
    message: String,
    remediation: &'static str,
}

impl About<'_> {
    fn finding(&self, rule: Option<usize>, said: Said) -> Finding {
        let Said { rule_id, code, severity, requirements, message, remediation } = said;
        Finding {
            rule_id,
            code: Some(code),
            severity,
            waivable: false,
            basis: Basis::D,
            requirements,
            also: Vec::new(),
            policy: None,
            rule: rule.and_then(|index| rule_name(self.group, index)).map(Into::into),
            endpoint: None,
            document: Some(self.file.clone()),
            path: rule.and_then(|index| pointer(self.group, index)),
            place: place(self.file, rule),
            related: Vec::new(),
            did_you_mean: None,
            message,
            remediation: remediation.to_owned(),
            witness: None,
            waiver: None,
        }
    }

    fn rule(&self, index: usize) -> Option<&FoundRule> {
        self.group.rules.get(index)
    }

    /// The default group of a network: whoever names no group is in it.
    fn default_group(&self) -> Option<Finding> {
        let rules = self.group.rules.len();
        let said = Said {
            rule_id: "RT-1.3.1-001",
            code: "default-group",
            severity: Severity::Warning,
            requirements: &["1.3.1", "1.3.2"],
            message: format!(
                "the default group {} has {rules} rules: whatever is started without a group gets them",
                self.group.name
            ),
            remediation: "Remove all rules of the default group, and give every interface a group of its own.",
        };
        (self.group.default && rules > 0).then(|| self.finding(None, said))
    }

    fn unused(&self) -> Option<Finding> {
        let unused = !self.group.default && self.group.attached.as_ref().is_some_and(Vec::is_empty);
        let said = Said {
            rule_id: "PCI-1.2.7-008",
            code: "unused-group",
            severity: if self.judged { Severity::Warning } else { Severity::Info },
            requirements: &["1.2.7"],
            message: format!("group {} is attached to nothing", self.group.name),
            remediation: "Attach it where it belongs, or delete it: its rules come alive with whatever is put into it.",
        };
        unused.then(|| self.finding(None, said))
    }

    /// What the provider lets through where nobody said so.
    fn defaults(&self, pieces: &[Piece]) -> Vec<Finding> {
        pieces.iter().filter_map(|piece| self.default_of(piece)).collect()
    }

    fn default_of(&self, piece: &Piece) -> Option<Finding> {
        let rule = self.rule(piece.rule)?;
        let everything = piece.services.contains(&ServiceRange::ALL) && piece.addresses.iter().any(|cidr| is_all(*cidr));
        let (code, message) = match self.group.cloud {
            Enforcer::Azure if rule.priority >= Some(OWN_FROM) => {
                let probes = |side: &FoundSide| *side == FoundSide::ServiceTag(PROBES.to_owned());
                if piece.addresses.is_empty() && piece.named.iter().all(probes) {
                    return None;
                }
                ("default-rule", format!("Azure's own rule still lets through: {}", rule.text))
            }
            Enforcer::Aws if rule.direction == Direction::Egress && everything => {
                ("default-egress", format!("the rule that AWS gives a new group still lets everything out: {}", rule.text))
            }
            Enforcer::Aws | Enforcer::Azure | Enforcer::Ebpf | Enforcer::Nftables => return None,
        };
        let remediation = match self.group.cloud {
            Enforcer::Azure => "Deny everything else in this direction with a rule of your own, below what you allow.",
            Enforcer::Aws | Enforcer::Ebpf | Enforcer::Nftables => "Allow what is needed, then remove the rule.",
        };
        let (severity, requirements) = (Severity::Error, requirement(rule.direction));
        Some(self.finding(Some(piece.rule), Said { rule_id: "RT-1.3.1-001", code, severity, requirements, message, remediation }))
    }

    /// Whoever is allowed by a name.
    fn named(&self, piece: &Piece) -> Vec<Finding> {
        let Some(rule) = self.rule(piece.rule).filter(|rule| rule.priority < Some(OWN_FROM)) else { return Vec::new() };
        let of = |side: &FoundSide| {
            let said = match side {
                FoundSide::Group { id } if *id == self.group.id => Said {
                    rule_id: "PCI-1.3.1-009",
                    code: "self",
                    severity: Severity::Warning,
                    requirements: &["1.3.1", "1.3.2"],
                    message: format!("members of {} reach each other: {}", self.group.name, rule.text),
                    remediation: "Allow the members that need it to each other by a group of their own, or remove the rule.",
                },
                FoundSide::PrefixList { id, entries: None } => Said {
                    rule_id: if rule.direction == Direction::Ingress { "PCI-1.3.1-004" } else { "PCI-1.3.2-004" },
                    code: "prefix-list-unreadable",
                    severity: Severity::Warning,
                    requirements: requirement(rule.direction),
                    message: format!("nobody can say how wide {id} is: its entries may not be read"),
                    remediation: "Allow reading the list (ec2:GetManagedPrefixListEntries), or write its addresses.",
                },
                FoundSide::ServiceTag(tag) if tag != PROBES => Said {
                    rule_id: "PCI-1.3.1-008",
                    code: "service-tag",
                    severity: Severity::Warning,
                    requirements: requirement(rule.direction),
                    message: format!("{tag} stands for addresses that the provider chooses and changes"),
                    remediation: "Write the addresses or the group that is meant, or use a private endpoint.",
                },
                FoundSide::Group { .. } | FoundSide::PrefixList { .. } | FoundSide::ServiceTag(_) | FoundSide::Prefix(_) => {
                    return None;
                }
            };
            Some(self.finding(Some(piece.rule), said))
        };
        piece.named.iter().filter_map(of).collect()
    }

    /// Protocols that policies have no word for.
    fn unsaid(&self, piece: &Piece) -> Option<Finding> {
        let rule = self.rule(piece.rule).filter(|rule| rule.priority < Some(OWN_FROM))?;
        let unsaid = piece.services.iter().any(|range| !can_be_said(*range));
        let said = Said {
            rule_id: "PCI-1.3.1-005",
            code: "protocol",
            severity: Severity::Error,
            requirements: &["1.3.1", "1.3.2"],
            message: format!("a protocol is allowed that has no ports to name: {}", rule.text),
            remediation: "Allow TCP, UDP, SCTP or ICMP with the ports in use.",
        };
        unsaid.then(|| self.finding(Some(piece.rule), said))
    }
}
