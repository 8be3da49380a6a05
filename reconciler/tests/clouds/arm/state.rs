//! What is there, and how calls change it.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, Uri};
use serde_json::{Value, json};

use super::rules::{described, judged};
use super::{Answered, Fate, GROUP, Judge, SUBSCRIPTION, no, ok};

const PAGE: usize = 3;

/// One subscription.
pub(crate) struct Arm {
    url: String,
    /// Groups by name in small letters.
    pub(crate) groups: BTreeMap<String, Value>,
    /// Interfaces and subnets by id in small letters.
    pub(crate) places: BTreeMap<String, Value>,
    pub(crate) events: Vec<Value>,
    /// Action and path of each call.
    pub(crate) calls: Vec<(String, String)>,
    pub(crate) judge: Option<Judge>,
    /// How often an operation says that it runs before it is done.
    pub(crate) polls: usize,
    /// How an operation ends.
    pub(crate) end: &'static str,
    /// A rule that goes with the next write of another one.
    pub(crate) loses: Option<&'static str>,
    /// So many reads after a write show what was there before.
    pub(crate) lag: usize,
    lagging: usize,
    before: BTreeMap<String, Value>,
    operations: BTreeMap<String, usize>,
    busy: BTreeMap<String, String>,
    count: usize,
}

impl Arm {
    pub(crate) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            groups: BTreeMap::new(),
            places: BTreeMap::new(),
            events: Vec::new(),
            calls: Vec::new(),
            judge: None,
            polls: 2,
            end: "Succeeded",
            loses: None,
            lag: 0,
            lagging: 0,
            before: BTreeMap::new(),
            operations: BTreeMap::new(),
            busy: BTreeMap::new(),
            count: 0,
        }
    }

    pub(crate) fn root() -> String {
        format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/Microsoft.Network")
    }

    /// An interface with tags.
    pub(crate) fn interface(&mut self, name: &str, tags: &Value) -> String {
        let id = format!("{}/networkInterfaces/{name}", Self::root());
        let configurations = json!([{"name": "ipconfig1", "properties": {"privateIPAddress": "10.0.9.4"}}]);
        let place = json!({"id": id, "name": name, "location": "westeurope", "tags": tags, "etag": "W/\"n0\"",
            "properties": {"enableAcceleratedNetworking": true, "ipConfigurations": configurations}});
        self.places.insert(id.to_lowercase(), place);
        id
    }

    /// Somebody writes a rule past all that is ours.
    pub(crate) fn by_hand(&mut self, group: &str, name: &str, change: impl FnOnce(&mut Value)) {
        let etag = self.etag();
        let group = self.groups.get_mut(&group.to_lowercase()).unwrap();
        let rules = group["properties"]["securityRules"].as_array_mut().unwrap();
        let at = rules.iter().position(|rule| rule["name"] == name);
        let at = at.unwrap_or_else(|| {
            rules.push(json!({"name": name, "etag": etag, "properties": {"protocol": "Tcp", "access": "Allow", "priority": 200,
                "direction": "Inbound", "sourcePortRange": "*", "destinationPortRange": "22", "sourceAddressPrefix": "Internet",
                "destinationAddressPrefix": "*", "provisioningState": "Succeeded"}}));
            rules.len() - 1
        });
        rules[at]["etag"] = json!(etag);
        change(&mut rules[at]);
        group["etag"] = json!(etag);
    }

    pub(crate) fn lose(&mut self, group: &str, name: &str) {
        let etag = self.etag();
        let group = self.groups.get_mut(&group.to_lowercase()).unwrap();
        group["properties"]["securityRules"].as_array_mut().unwrap().retain(|rule| rule["name"] != name);
        group["etag"] = json!(etag);
    }

    fn etag(&mut self) -> String {
        self.count += 1;
        format!("W/\"{}\"", self.count)
    }

    pub(crate) fn answer(&mut self, method: &str, uri: &Uri, headers: &HeaderMap, body: &Value) -> Answered {
        let path = uri.path().to_owned();
        let query = uri.query().unwrap_or_default().to_owned();
        assert!(query.contains("api-version="), "{uri}");
        assert!(!headers.contains_key("authorization"), "no token over plain http");
        if let Some((_, id)) = path.split_once("/operations/") {
            return self.poll(id);
        }
        let action = action(method, &path);
        self.calls.push((action.clone(), path.clone()));
        let fate = self.judge.as_mut().map_or(Fate::Pass, |judge| judge(&action, &path));
        if let Fate::Refuse(status, code, wait) = fate {
            let mut refused = no(status, code, "as the test wants it");
            refused.headers.extend(wait.map(|seconds| ("retry-after", seconds.to_string())));
            return refused;
        }
        let answered = match method {
            "GET" => self.get(&path, &query),
            _ => self.write(method, &path, headers, body),
        };
        if matches!(fate, Fate::DoneButLost) { no(504, "GatewayTimeout", "nobody knows") } else { answered }
    }

    fn poll(&mut self, id: &str) -> Answered {
        let left = self.operations.get_mut(id).unwrap();
        if *left > 0 {
            *left -= usize::from(*left != usize::MAX);
            let mut runs = ok(json!({"status": "InProgress"}));
            runs.headers.push(("retry-after", "0".to_owned()));
            return runs;
        }
        self.busy.retain(|_, operation| operation != id);
        match self.end {
            "Succeeded" => ok(json!({"status": "Succeeded"})),
            end => ok(json!({"status": end, "error": {"code": "InternalServerError", "message": "as the test wants it"}})),
        }
    }

    fn get(&mut self, path: &str, query: &str) -> Answered {
        let lower = path.to_lowercase();
        if lower.contains("microsoft.insights") {
            return ok(json!({"value": self.events}));
        }
        if lower.ends_with("/networksecuritygroups") {
            return self.page(path, query);
        }
        if lower.ends_with("/networkinterfaces") {
            let all: Vec<&Value> =
                self.places.iter().filter(|(id, _)| id.contains("/networkinterfaces/")).map(|(_, v)| v).collect();
            return ok(json!({"value": all}));
        }
        if let Some(place) = self.places.get(&lower) {
            return ok(place.clone());
        }
        let name = lower.rsplit('/').next().unwrap().to_owned();
        match self.seen().get(&name).filter(|_| lower.contains("/networksecuritygroups/")) {
            Some(group) => ok(self.complete(group)),
            None => no(404, "ResourceNotFound", "there is no such resource"),
        }
    }

    /// What reads show now.
    fn seen(&mut self) -> BTreeMap<String, Value> {
        if self.lagging == 0 {
            return self.groups.clone();
        }
        self.lagging -= 1;
        self.before.clone()
    }

    /// A group with what Azure adds to it.
    fn complete(&self, group: &Value) -> Value {
        let mut group = group.clone();
        let id = group["id"].as_str().unwrap().to_lowercase();
        let has =
            |place: &&Value| place["properties"]["networkSecurityGroup"]["id"].as_str().is_some_and(|of| of.to_lowercase() == id);
        let of = |kind: &str| -> Vec<Value> {
            let all = self.places.values().filter(|place| place["id"].as_str().unwrap().contains(kind));
            all.filter(has).map(|place| json!({"id": place["id"]})).collect()
        };
        group["properties"]["networkInterfaces"] = of("/networkInterfaces/").into();
        group["properties"]["subnets"] = of("/subnets/").into();
        let built_in = |name: &str, priority: u32, access: &str, direction: &str, side: &str| {
            json!({"name": name, "properties": {"protocol": "*", "access": access, "priority": priority, "direction": direction,
                "sourcePortRange": "*", "destinationPortRange": "*", "sourceAddressPrefix": side, "destinationAddressPrefix": "*"}})
        };
        group["properties"]["defaultSecurityRules"] = json!([
            built_in("AllowVnetInBound", 65000, "Allow", "Inbound", "VirtualNetwork"),
            built_in("AllowAzureLoadBalancerInBound", 65001, "Allow", "Inbound", "AzureLoadBalancer"),
            built_in("DenyAllInBound", 65500, "Deny", "Inbound", "*"),
            built_in("AllowInternetOutBound", 65001, "Allow", "Outbound", "*"),
        ]);
        described("NetworkSecurityGroup", &group).unwrap();
        group
    }

    fn page(&mut self, path: &str, query: &str) -> Answered {
        let skip: usize = query.split("skip=").nth(1).map_or(0, |text| text.parse().unwrap());
        let groups = self.seen();
        let value: Vec<Value> = groups.values().skip(skip).take(PAGE).map(|group| self.complete(group)).collect();
        let mut page = json!({"value": value});
        if groups.len() > skip + PAGE {
            page["nextLink"] = format!("{}{path}?api-version=2024-03-01&skip={}", self.url, skip + PAGE).into();
        }
        described("NetworkSecurityGroupListResult", &page).unwrap();
        ok(page)
    }

    fn write(&mut self, method: &str, path: &str, headers: &HeaderMap, body: &Value) -> Answered {
        let lower = path.to_lowercase();
        let wanted = headers.get("if-match").map(|value| value.to_str().unwrap().to_owned());
        if self.places.contains_key(&lower) {
            return self.place(&lower, wanted.as_deref(), body);
        }
        let rest = lower.split_once("/networksecuritygroups/").unwrap().1.to_owned();
        let (group, rule) = rest.split_once("/securityrules/").map_or((rest.as_str(), None), |(group, rule)| (group, Some(rule)));
        if let Some(operation) = self.busy.get(group).cloned() {
            self.poll(&operation);
            return no(409, "AnotherOperationInProgress", "another operation on this resource is in progress");
        }
        let before = self.groups.clone();
        let tag = self.etag();
        let none = headers.contains_key("if-none-match");
        let changed = match rule {
            None => self.write_group(method, group, path, (wanted.as_deref(), none), body, &tag),
            Some(rule) => self.write_rule(method, group, (rule, path), wanted.as_deref(), body, &tag),
        };
        match changed {
            Err(refused) => {
                self.groups = before;
                refused
            }
            Ok(status) => {
                (self.before, self.lagging) = (before, self.lag);
                self.begin(group, status)
            }
        }
    }

    fn begin(&mut self, group: &str, status: u16) -> Answered {
        let id = format!("op{}", self.count);
        self.operations.insert(id.clone(), self.polls);
        self.busy.insert(group.to_owned(), id.clone());
        let url = format!(
            "{}/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Network/locations/westeurope/operations/{id}?api-version=2024-03-01",
            self.url
        );
        let headers = vec![("azure-asyncoperation", url), ("retry-after", "0".to_owned())];
        Answered { status, body: json!({}), headers }
    }

    fn write_group(
        &mut self,
        method: &str,
        name: &str,
        path: &str,
        (wanted, none): (Option<&str>, bool),
        body: &Value,
        tag: &str,
    ) -> Result<u16, Answered> {
        let there = self.groups.get(name).cloned();
        if wanted.is_some_and(|wanted| there.as_ref().is_none_or(|there| there["etag"] != wanted)) || (none && there.is_some()) {
            return Err(no(412, "PreconditionFailed", "the etag has changed"));
        }
        if method == "DELETE" {
            let Some(there) = there else { return Ok(204) };
            let attached = self.complete(&there)["properties"]["networkInterfaces"].as_array().unwrap().len();
            if attached > 0 {
                return Err(no(400, "InUseNetworkSecurityGroupCannotBeDeleted", "it is in use"));
            }
            self.groups.remove(name);
            return Ok(202);
        }
        described("NetworkSecurityGroup", body).map_err(|why| no(400, "InvalidRequestFormat", &why))?;
        let mut group = body.clone();
        let rules = group["properties"]["securityRules"].as_array_mut().unwrap();
        judged(rules).map_err(|(code, why)| no(400, code, &why))?;
        rules.iter_mut().for_each(|rule| {
            rule["etag"] = tag.into();
            rule["properties"]["provisioningState"] = "Succeeded".into();
        });
        group["id"] = path.into();
        group["name"] = path.rsplit('/').next().unwrap().into();
        group["etag"] = tag.into();
        group["properties"]["provisioningState"] = "Succeeded".into();
        self.groups.insert(name.to_owned(), group);
        Ok(if there.is_some() { 200 } else { 201 })
    }

    fn write_rule(
        &mut self,
        method: &str,
        group: &str,
        (name, path): (&str, &str),
        wanted: Option<&str>,
        body: &Value,
        tag: &str,
    ) -> Result<u16, Answered> {
        let Some(group) = self.groups.get_mut(group) else { return Err(no(404, "ResourceNotFound", "there is no such group")) };
        let rules = group["properties"]["securityRules"].as_array_mut().unwrap();
        let at = rules.iter().position(|rule| rule["name"].as_str().unwrap().to_lowercase() == name);
        if wanted.is_some_and(|wanted| at.is_none_or(|at| rules[at]["etag"] != wanted)) {
            return Err(no(412, "PreconditionFailed", "the etag has changed"));
        }
        match (method, at) {
            ("DELETE", None) => return Ok(204),
            ("DELETE", Some(at)) => drop(rules.remove(at)),
            (_, at) => {
                described("SecurityRule", body).map_err(|why| no(400, "InvalidRequestFormat", &why))?;
                let mut rule = body.clone();
                rule["name"] = path.rsplit('/').next().unwrap().into();
                rule["etag"] = tag.into();
                rule["properties"]["provisioningState"] = self.end.into();
                match at {
                    Some(at) => rules[at] = rule,
                    None => rules.push(rule),
                }
                if let Some(lost) = self.loses.take() {
                    rules.retain(|rule| rule["name"] != lost);
                }
                judged(rules).map_err(|(code, why)| no(400, code, &why))?;
            }
        }
        group["etag"] = tag.into();
        Ok(if method == "DELETE" {
            202
        } else if at.is_some() {
            200
        } else {
            201
        })
    }

    fn place(&mut self, id: &str, wanted: Option<&str>, body: &Value) -> Answered {
        let tag = self.etag();
        let there = self.places.get_mut(id).unwrap();
        if wanted.is_some_and(|wanted| there["etag"] != wanted) {
            return no(412, "PreconditionFailed", "the etag has changed");
        }
        assert_eq!(body["properties"]["ipConfigurations"], there["properties"]["ipConfigurations"], "nothing else may change");
        assert_eq!(body["location"], there["location"], "nothing else may change");
        *there = body.clone();
        there["etag"] = tag.into();
        self.begin(id, 200)
    }
}

/// The permission a call needs.
fn action(method: &str, path: &str) -> String {
    let verb = match method {
        "GET" => "read",
        "DELETE" => "delete",
        _ => "write",
    };
    let lower = path.to_lowercase();
    let kind = match () {
        () if lower.contains("/securityrules/") => "Microsoft.Network/networkSecurityGroups/securityRules",
        () if lower.contains("/networksecuritygroups") => "Microsoft.Network/networkSecurityGroups",
        () if lower.contains("/networkinterfaces") => "Microsoft.Network/networkInterfaces",
        () if lower.contains("/subnets/") => "Microsoft.Network/virtualNetworks/subnets",
        () if lower.contains("microsoft.insights") => "Microsoft.Insights/eventtypes/values",
        () => panic!("nobody asks for {path}"),
    };
    format!("{kind}/{verb}")
}
