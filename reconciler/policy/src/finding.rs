//! What is wrong with a set, in the words of its authors: a rule, a place, a packet that shows it, and what to do.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::date::Date;
use crate::model::Place;
use crate::net::Service;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The set is not applied.
    Error,
    /// An error with `--strict`.
    Warning,
    /// Never fails anything.
    Info,
}

/// What a rule rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Basis {
    /// The requirement says it.
    D,
    /// Its guidance, notes or definitions say it.
    G,
    /// A house rule.
    H,
}

/// A packet that shows the finding: `verdict` allows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// Where it comes from.
    pub source: Side,
    /// Where it goes.
    pub destination: Side,
    /// What it asks for.
    pub service: Service,
}

/// A Waiver that covers a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Waived {
    /// Its name.
    pub name: Arc<str>,
    /// Why.
    pub reason: String,
    /// Who approved it.
    pub approved_by: String,
    /// Its last day.
    pub expires_at: Date,
}

/// One side of a witness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Side {
    /// An address, and the zone that holds it where zones are known.
    Address {
        /// The address.
        address: IpAddr,
        /// The zone.
        zone: Option<Arc<str>>,
    },
    /// An endpoint of the Inventory.
    Endpoint {
        /// One of its addresses.
        address: IpAddr,
        /// Its name.
        name: Arc<str>,
        /// Its zone.
        zone: Option<Arc<str>>,
    },
    /// Whoever the selector means; without an Inventory nobody has an address.
    Selected(String),
}

impl Side {
    /// The address, or the selector's text.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Address { address, .. } | Self::Endpoint { address, .. } => address.to_string(),
            Self::Selected(labels) => labels.clone(),
        }
    }

    /// The endpoint's name.
    #[must_use]
    pub fn endpoint(&self) -> Option<&Arc<str>> {
        match self {
            Self::Endpoint { name, .. } => Some(name),
            Self::Address { .. } | Self::Selected(_) => None,
        }
    }

    /// The zone's name.
    #[must_use]
    pub fn zone(&self) -> Option<&Arc<str>> {
        match self {
            Self::Address { zone, .. } | Self::Endpoint { zone, .. } => zone.as_ref(),
            Self::Selected(_) => None,
        }
    }
}

impl Serialize for Witness {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (names, side) in [
            (["source", "source_endpoint", "source_zone"], &self.source),
            (["destination", "destination_endpoint", "destination_zone"], &self.destination),
        ] {
            let [key, endpoint, zone] = names;
            map.serialize_entry(key, &side.text())?;
            side.endpoint().map_or(Ok(()), |name| map.serialize_entry(endpoint, &**name))?;
            side.zone().map_or(Ok(()), |name| map.serialize_entry(zone, &**name))?;
        }
        map.serialize_entry("protocol", &self.service.protocol_name())?;
        if self.service.is_icmp() {
            let [kind, code] = self.service.port().to_be_bytes();
            map.serialize_entry("icmp_type", &kind)?;
            map.serialize_entry("icmp_code", &code)?;
        } else {
            map.serialize_entry("port", &self.service.port())?;
        }
        map.end()
    }
}

/// One finding: a problem of the text, or a rule that the set breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule: `PCI-1.3.1-004`.
    pub rule_id: &'static str,
    /// For problems of the text, which: `duplicate-key`. For a rule of several parts that can be broken at one place, which part.
    pub code: Option<&'static str>,
    /// How bad it is.
    pub severity: Severity,
    /// Whether a Waiver may cover it.
    pub waivable: bool,
    /// What the rule rests on.
    pub basis: Basis,
    /// Numbers of PCI DSS v4.0.1.
    pub requirements: &'static [&'static str],
    /// Other rules broken at the same place.
    pub also: Vec<&'static str>,
    /// The policy it is about.
    pub policy: Option<Arc<str>>,
    /// The name of the rule it is about.
    pub rule: Option<Arc<str>>,
    /// The endpoint it is about, if it is about one and no policy.
    pub endpoint: Option<Arc<str>>,
    /// The document it is about, if it is about neither a policy nor an endpoint.
    pub document: Option<Arc<str>>,
    /// A JSON pointer into the document.
    pub path: Option<String>,
    /// Where it stands.
    pub place: Place,
    /// Other places that belong to it.
    pub related: Vec<Place>,
    /// What was surely or probably meant.
    pub did_you_mean: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub remediation: String,
    /// A packet that shows it.
    pub witness: Option<Witness>,
    /// The Waiver that covers it. A finding with one fails nothing, and stays in every output.
    pub waiver: Option<Waived>,
}

impl Finding {
    /// The same for the same finding wherever the file moves: over rule id, policy (else endpoint, else
    /// document), rule name (else index) and the path below it.
    #[must_use]
    pub fn fingerprint(&self) -> crate::digest::Digest {
        let mut out = Vec::with_capacity(128);
        let about = [&self.policy, &self.endpoint, &self.document].into_iter().find_map(|name| name.as_deref()).unwrap_or("");
        let path = self.path.as_deref().unwrap_or("");
        let path = self.rule.as_deref().map_or_else(|| path.to_string(), |name| named_path(path, name));
        for part in [self.rule_id, self.code.unwrap_or(""), about, &path] {
            crate::digest::text(&mut out, part);
        }
        crate::digest::Digest::of(&out)
    }
}

/// `/spec/ingress/3/from/0` with the rule's name for its index.
fn named_path(path: &str, name: &str) -> String {
    let mut parts: Vec<&str> = path.split('/').collect();
    if let Some(index) = parts.get_mut(3) {
        *index = name;
    }
    parts.join("/")
}

impl Serialize for Finding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("rule_id", self.rule_id)?;
        map.serialize_entry("code", &self.code)?;
        map.serialize_entry("severity", &self.severity)?;
        map.serialize_entry("waivable", &self.waivable)?;
        map.serialize_entry("waiver", &self.waiver)?;
        map.serialize_entry("basis", &self.basis)?;
        map.serialize_entry("requirements", self.requirements)?;
        map.serialize_entry("also", &self.also)?;
        map.serialize_entry("policy", &self.policy.as_deref())?;
        map.serialize_entry("rule", &self.rule.as_deref())?;
        map.serialize_entry("endpoint", &self.endpoint.as_deref())?;
        map.serialize_entry("path", &self.path)?;
        map.serialize_entry("file", &*self.place.file)?;
        map.serialize_entry("line", &self.place.spot.line)?;
        map.serialize_entry("column", &self.place.spot.column)?;
        map.serialize_entry("related", &self.related)?;
        map.serialize_entry("did_you_mean", &self.did_you_mean)?;
        map.serialize_entry("fingerprint", &self.fingerprint())?;
        map.serialize_entry("message", &self.message)?;
        map.serialize_entry("remediation", &self.remediation)?;
        map.serialize_entry("witness", &self.witness)?;
        map.end()
    }
}
