//! The few resources we read and write, as the published API description of Microsoft.Network 2024-03-01 names their fields. What is
//! not ours to judge is kept as it came and sent back as it came.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A page of a list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", bound = "T: Deserialize<'de>")]
pub(super) struct Page<T> {
    #[serde(default = "Vec::new")]
    pub(super) value: Vec<T>,
    pub(super) next_link: Option<String>,
}

/// A network security group.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Group {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) id: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) location: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) tags: BTreeMap<String, String>,
    #[serde(default, skip_serializing)]
    pub(super) etag: String,
    #[serde(default)]
    pub(super) properties: GroupProperties,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GroupProperties {
    #[serde(default)]
    pub(super) security_rules: Vec<Rule>,
    #[serde(default, skip_serializing)]
    pub(super) default_security_rules: Vec<Rule>,
    #[serde(default, skip_serializing)]
    pub(super) network_interfaces: Vec<Reference>,
    #[serde(default, skip_serializing)]
    pub(super) subnets: Vec<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) flush_connection: Option<bool>,
}

impl GroupProperties {
    /// Where it is attached.
    pub(super) fn attached(&self) -> impl Iterator<Item = &str> {
        self.network_interfaces.iter().chain(&self.subnets).map(|reference| reference.id.as_str())
    }
}

/// Something else, by its id.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reference {
    pub(super) id: String,
}

/// A rule of a group.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Rule {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default, skip_serializing)]
    pub(super) etag: String,
    pub(super) properties: RuleProperties,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RuleProperties {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<String>,
    pub(super) protocol: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) source_port_range: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) source_port_ranges: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) destination_port_range: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) destination_port_ranges: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) source_address_prefix: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) source_address_prefixes: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) destination_address_prefix: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) destination_address_prefixes: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) source_application_security_groups: Vec<Value>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) destination_application_security_groups: Vec<Value>,
    pub(super) access: String,
    pub(super) priority: u16,
    pub(super) direction: String,
    #[serde(default, skip_serializing)]
    pub(super) provisioning_state: Option<String>,
}

impl RuleProperties {
    /// One value and a list, as one list.
    fn all(one: Option<&String>, many: &[String]) -> Vec<String> {
        let mut all: Vec<String> = one.filter(|one| !one.is_empty()).into_iter().chain(many).cloned().collect();
        all.sort_unstable();
        all
    }

    pub(super) fn source_ports(&self) -> Vec<String> {
        Self::all(self.source_port_range.as_ref(), &self.source_port_ranges)
    }

    pub(super) fn destination_ports(&self) -> Vec<String> {
        Self::all(self.destination_port_range.as_ref(), &self.destination_port_ranges)
    }

    pub(super) fn sources(&self) -> Vec<String> {
        Self::all(self.source_address_prefix.as_ref(), &self.source_address_prefixes)
    }

    pub(super) fn destinations(&self) -> Vec<String> {
        Self::all(self.destination_address_prefix.as_ref(), &self.destination_address_prefixes)
    }

    pub(super) fn allows(&self) -> bool {
        self.access.eq_ignore_ascii_case("allow")
    }

    pub(super) fn inbound(&self) -> bool {
        self.direction.eq_ignore_ascii_case("inbound")
    }

    /// Whether it names members of application security groups, whose addresses are not in it.
    pub(super) fn has_application_groups(&self) -> bool {
        !(self.source_application_security_groups.is_empty() && self.destination_application_security_groups.is_empty())
    }

    /// In one line.
    pub(super) fn text(&self) -> String {
        let list = |values: Vec<String>| values.join(",");
        let asgs = if self.has_application_groups() { " with application security groups" } else { "" };
        format!(
            "{} {} {} {} from {}:{} to {}:{}{asgs}",
            self.priority,
            self.access,
            self.direction,
            self.protocol,
            list(self.sources()),
            list(self.source_ports()),
            list(self.destinations()),
            list(self.destination_ports()),
        )
    }
}

/// An interface or a subnet: only what we look at has a name, all the rest goes back as it came.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Place {
    #[serde(default)]
    pub(super) id: String,
    #[serde(default)]
    pub(super) name: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) tags: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) properties: Map<String, Value>,
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

impl Place {
    fn reference(&self, field: &str) -> Option<&str> {
        self.properties.get(field)?.get("id")?.as_str()
    }

    /// The group it has.
    pub(super) fn group(&self) -> Option<&str> {
        self.reference("networkSecurityGroup")
    }

    /// The machine it belongs to.
    pub(super) fn machine(&self) -> Option<&str> {
        self.reference("virtualMachine")
    }

    pub(super) fn etag(&self) -> Option<&str> {
        self.rest.get("etag")?.as_str()
    }

    /// Its private addresses.
    pub(super) fn addresses(&self) -> Vec<&str> {
        let configurations = self.properties.get("ipConfigurations").and_then(Value::as_array);
        configurations.into_iter().flatten().filter_map(|one| one.get("properties")?.get("privateIPAddress")?.as_str()).collect()
    }

    /// The same with another group, or none.
    pub(super) fn with_group(mut self, group: Option<&str>) -> Self {
        match group {
            Some(id) => drop(self.properties.insert("networkSecurityGroup".to_owned(), serde_json::json!({ "id": id }))),
            None => drop(self.properties.remove("networkSecurityGroup")),
        }
        self
    }
}

/// What an operation that runs says of itself.
#[derive(Debug, Deserialize)]
pub(super) struct Operation {
    pub(super) status: Option<String>,
    pub(super) error: Option<Fault>,
}

/// Why something was refused.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Refusal {
    #[serde(default)]
    pub(super) error: Fault,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Fault {
    #[serde(default)]
    pub(super) code: String,
    #[serde(default)]
    pub(super) message: String,
}

/// An event of the Activity Log.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Event {
    pub(super) caller: Option<String>,
    pub(super) correlation_id: Option<String>,
    pub(super) event_timestamp: Option<String>,
    pub(super) operation_name: Option<Named>,
    pub(super) status: Option<Named>,
    pub(super) resource_id: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Named {
    pub(super) value: String,
}
