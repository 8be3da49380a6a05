//! `kind: Inventory`.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::cursor::{Cursor, Fields};
use super::document::{Document, Metadata};
use super::limits::{ADDRESSES_PER_ENDPOINT_MAX, ENDPOINTS_MAX, ITEMS, PORTS_PER_LIST_MAX};
use super::names::Noun;
use super::ports;
use super::problem::Code;
use super::scalar::shown;
use super::tree::Node;
use crate::model::inventory::{Enforcer, Identity, Member, NamedPort, Namespace};
use crate::net::ServiceRange;
use crate::roster::NAMESPACE_NAME;

const ENDPOINTS: (&str, usize) = ("ENDPOINTS_MAX", ENDPOINTS_MAX);
const MEMBER: &[&str] = &[
    "name",
    "namespace",
    "labels",
    "addresses",
    "zone",
    "storesChd",
    "publicServices",
    "ports",
    "function",
    "enforcedBy",
    "identity",
];

/// Reads `spec`.
pub(super) fn read<'n>(cursor: &mut Cursor<'n, '_>, _: Option<Metadata>, node: &'n Node<'n>) -> Option<Document> {
    let fields = cursor.fields(node, &["namespaces", "workloads", "hosts"])?;
    let namespaces = cursor.any(&fields, "namespaces", ITEMS, Noun::Namespace, namespace);
    let mut members = Vec::new();
    for (key, host) in [("workloads", false), ("hosts", true)] {
        members.extend(cursor.any(&fields, key, ENDPOINTS, Noun::Endpoint, |cursor, node| member(cursor, node, host)));
    }
    Some(Document::Inventory(namespaces, members))
}

fn namespace<'n>(cursor: &mut Cursor<'n, '_>, node: &'n Node<'n>) -> Option<Namespace> {
    let fields = cursor.fields(node, &["name", "labels"])?;
    let name = cursor.required(&fields, "name", |cursor, node| {
        let name: Arc<str> = cursor.dns_label(node)?.into();
        cursor.define(Noun::Namespace, &name, node.at);
        Some(name)
    });
    let labels = cursor.optional(&fields, "labels", Cursor::labels);
    let (name, labels) = (name?, labels?.unwrap_or_default());
    if labels.get(NAMESPACE_NAME).is_some_and(|label| **label != *name) {
        let message = format!("the label {NAMESPACE_NAME} of namespace {name} is always {name}; leave it out");
        cursor.contradiction(&fields, "labels", "name", message);
    }
    Some(Namespace { origin: cursor.origin(&fields), name, labels })
}

fn member<'n>(cursor: &mut Cursor<'n, '_>, node: &'n Node<'n>, host: bool) -> Option<Member> {
    let fields = cursor.fields(node, MEMBER)?;
    let name = cursor.required(&fields, "name", |cursor, node| {
        let name: Arc<str> = cursor.dns_name(node)?.into();
        cursor.define(Noun::Endpoint, &name, node.at);
        Some(name)
    });
    let namespace = cursor.optional(&fields, "namespace", |cursor, node| cursor.dns_label(node).map(Arc::<str>::from));
    let labels = cursor.required(&fields, "labels", Cursor::labels);
    let addresses = cursor.required(&fields, "addresses", |cursor, node| {
        let max = ("ADDRESSES_PER_ENDPOINT_MAX", ADDRESSES_PER_ENDPOINT_MAX);
        cursor.filled(node, max, |cursor, node| cursor.address_or_cidr(node).map(|cidr| (cidr, node.at)))
    });
    let zone = cursor.optional(&fields, "zone", |cursor, node| cursor.label_of(node, Noun::Zone));
    let stores_chd = cursor.optional(&fields, "storesChd", Cursor::bool);
    let public_services = cursor.optional(&fields, "publicServices", |cursor, node| {
        cursor.list(node, ITEMS, |cursor, node| cursor.label_of(node, Noun::Service))
    });
    let ports = cursor.optional(&fields, "ports", named_ports);
    let function = cursor.optional(&fields, "function", Cursor::words_for_people);
    let enforced_by = cursor.optional(&fields, "enforcedBy", |cursor, node| enforcers(cursor, node, host));
    let identity = cursor.optional(&fields, "identity", |cursor, node| identity(cursor, node, host));
    let by_default = || if host { [Enforcer::Ebpf].into() } else { Vec::new() };
    Some(Member {
        origin: cursor.origin(&fields),
        host,
        name: name?,
        namespace: namespace?.unwrap_or_else(|| "default".into()),
        labels: labels?,
        addresses: addresses?,
        zone: zone?,
        stores_chd: stores_chd?.unwrap_or(false),
        public_services: public_services?.unwrap_or_default(),
        ports: ports?.unwrap_or_default(),
        function: function?,
        enforced_by: enforced_by?.unwrap_or_else(by_default),
        identity: identity?.unwrap_or_default(),
    })
}

/// Names are unique per protocol: one name means one port.
fn named_ports<'n>(cursor: &mut Cursor<'n, '_>, node: &'n Node<'n>) -> Option<Vec<NamedPort>> {
    let mut seen: Vec<(Arc<str>, u8)> = Vec::new();
    cursor.list(node, ("PORTS_PER_LIST_MAX", PORTS_PER_LIST_MAX), |cursor, node| {
        let fields = cursor.fields(node, &["name", "protocol", "port"])?;
        let name = cursor.required(&fields, "name", ports::port_name);
        let protocol = cursor.required(&fields, "protocol", ports::protocol);
        let port = cursor.required(&fields, "port", ports::number);
        let (name, protocol, port) = (name?, protocol?, port?);
        if ports::is_icmp(protocol) {
            let at = fields.value_at("protocol").unwrap_or(node.at);
            cursor.problem(Code::BadPort, at, "ICMP has no ports".to_string());
            return None;
        }
        let key = (name.clone(), protocol);
        if seen.contains(&key) {
            cursor.problem(Code::DuplicateName, node.at, format!("the port {name} is declared twice for one protocol"));
            return None;
        }
        seen.push(key);
        Some(NamedPort { name, service: ServiceRange::ports(protocol, port, port) })
    })
}

/// What runs on the host itself enforces hosts only.
fn enforcers<'n>(cursor: &mut Cursor<'n, '_>, node: &'n Node<'n>, host: bool) -> Option<Vec<Enforcer>> {
    if host {
        return cursor.words(node, ITEMS, &Enforcer::WORDS);
    }
    let mut good = true;
    cursor.items(node, ITEMS, |cursor, node| {
        let (text, _) = cursor.scalar(node, "a word")?;
        if matches!(text, "ebpf" | "nftables") {
            cursor.problem(Code::BadValue, node.at, format!("{text} runs on a host and enforces hosts only"));
            good = false;
        }
        Some(())
    });
    good.then(|| cursor.words(node, ITEMS, &Enforcer::WORDS)).flatten()
}

fn identity<'n>(cursor: &mut Cursor<'n, '_>, node: &'n Node<'n>, host: bool) -> Option<Identity> {
    let known: &'static [&'static str] = if host { &["hostname", "machineIdSha256", "aws", "azure"] } else { &["aws", "azure"] };
    let fields = cursor.fields(node, known)?;
    let hostname = cursor.optional(&fields, "hostname", Cursor::foreign_name);
    let machine = cursor.optional(&fields, "machineIdSha256", sha256);
    let interface = cursor.optional(&fields, "aws", |cursor, node| one(cursor, node, &["networkInterfaceId"], "eni-"));
    let resource = cursor.optional(&fields, "azure", |cursor, node| one(cursor, node, &["resourceId"], "/subscriptions/"));
    Some(Identity { hostname: hostname?, machine_id_sha256: machine?, network_interface_id: interface?, resource_id: resource? })
}

/// A mapping with one required field, whose value begins in a certain way.
fn one<'n>(cursor: &mut Cursor<'n, '_>, node: &'n Node<'n>, known: &'static [&'static str; 1], prefix: &str) -> Option<String> {
    let [key] = *known;
    let fields: Fields<'n> = cursor.fields(node, known)?;
    cursor.required(&fields, key, |cursor, node| {
        let name = cursor.foreign_name(node)?;
        let good = name.len() > prefix.len() && name.starts_with(prefix);
        if !good {
            cursor.problem(Code::BadValue, node.at, format!("{} is no {key}: it begins with {prefix}", shown(&name)));
        }
        good.then_some(name)
    })
}

fn sha256<'n>(cursor: &mut Cursor<'n, '_>, node: &'n Node<'n>) -> Option<String> {
    let text = cursor.foreign_name(node)?;
    let good = text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if !good {
        cursor.problem(Code::BadValue, node.at, format!("{} is not 64 lower-case hexadecimal digits", shown(&text)));
    }
    good.then_some(text)
}
