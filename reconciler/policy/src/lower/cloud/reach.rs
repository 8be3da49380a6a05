//! The controller's own reach. A cloud has no list of what always passes, so a commit that would keep the controller from Git, its
//! forge, names or the cloud's own API is refused before anything is planned: it could never be taken back by a push.

use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::net::IpAddr;

use super::Found;
use crate::compile::{Flow, Ruleset};
use crate::lower::Unsupported;
use crate::net::{Direction, Service};

/// A flow that the controller needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needed {
    /// Its own address on the way there.
    pub from: IpAddr,
    /// Where it goes.
    pub to: IpAddr,
    /// With what.
    pub service: Service,
    /// What it is for: `git.example.org`.
    pub name: String,
}

/// The flows that would be lost; none where the controller is none of these endpoints.
#[must_use]
pub fn lost(ruleset: &Ruleset, found: &[Found], needed: &[Needed], backend: &'static str) -> Vec<Unsupported> {
    needed.iter().filter_map(|flow| is_lost(ruleset, found, flow, backend)).collect()
}

fn is_lost(ruleset: &Ruleset, found: &[Found], flow: &Needed, backend: &'static str) -> Option<Unsupported> {
    let itself = found.iter().find(|one| one.addresses.iter().any(|cidr| cidr.contains(flow.from)))?;
    let (endpoint, direction) = (itself.endpoint.clone(), Direction::Egress);
    let verdict = ruleset.verdict(&Flow { endpoint, direction, peer: flow.to, service: flow.service });
    if verdict.allow {
        return None;
    }
    let policy = ruleset.policies().iter().find(|policy| Some(&policy.name) == verdict.policy.as_ref());
    let message = format!(
        "this controller is {} and would lose {} ({} {}): allow it in egress, or the next commit can never be fetched",
        itself.id,
        flow.name,
        flow.to,
        service(flow.service),
    );
    let place = policy.map(|policy| policy.place(policy.selector_at));
    Some(Unsupported { backend, policy: verdict.policy, rule: None, place, message })
}

fn service(service: Service) -> String {
    let (protocol, port) = (service.protocol_name(), service.port().to_string());
    format!("{protocol} {port}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::Endpoint;
    use crate::net::Cidr;
    use crate::read::read;

    use crate::rules::tests::{day, snapshot};

    const POLICY: &str = "{apiVersion: pci-segment/v1, kind: NetworkPolicy, metadata: {name: tools}, spec: {podSelector: {matchLabels: \
        {tier: tools}}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.0.0.5/32}}], ports: [{protocol: TCP, port: 443}]}]}}";

    fn ruleset() -> Ruleset {
        Ruleset::of(&read(&snapshot(POLICY)).set, day())
    }

    fn controller(tier: &str) -> Found {
        let labels = [("tier".to_string(), tier.to_string())].into();
        let addresses = [Cidr::parse("10.0.9.9/32").unwrap()].into();
        Found { id: "eni-1".into(), endpoint: Endpoint::host(labels), addresses }
    }

    fn needed(to: &str, port: u16) -> Needed {
        let (from, to) = ("10.0.9.9".parse().unwrap(), to.parse().unwrap());
        Needed { from, to, service: Service::new(6, port), name: "git.example".to_string() }
    }

    #[test]
    fn y10_a_commit_that_cuts_the_controller_off_names_the_flow_that_would_be_lost() {
        let ruleset = ruleset();
        let ask = |tier, to, port| lost(&ruleset, &[controller(tier)], &[needed(to, port)], "aws");
        assert!(ask("tools", "10.0.0.5", 443).is_empty(), "what a rule allows is not lost");
        assert!(ask("web", "10.0.0.6", 443).is_empty(), "whom no policy isolates loses nothing");
        let refused = ask("tools", "10.0.0.6", 22);
        assert_eq!(refused.len(), 1);
        assert_eq!(refused[0].policy.as_deref(), Some("tools"));
        assert!(refused[0].message.contains("eni-1 and would lose git.example (10.0.0.6 TCP 22)"), "{}", refused[0].message);
    }

    #[test]
    fn whoever_is_not_among_the_endpoints_loses_nothing() {
        let ruleset = ruleset();
        let elsewhere = Needed { from: "10.1.1.1".parse().unwrap(), ..needed("10.0.0.6", 22) };
        assert!(lost(&ruleset, &[controller("tools")], &[elsewhere], "aws").is_empty());
    }
}
