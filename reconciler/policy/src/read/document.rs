//! Which kind a document is, and what all kinds share: `apiVersion`, `kind`, `metadata`, `spec`.
//!
//! A further kind is one more entry of [`KINDS`] and one more file beside this one.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;

use alloc::vec::Vec;

use super::cursor::{Cursor, Got};
use super::guess::nearest;
use super::limits::LABELS_PER_OBJECT_MAX;
use super::names::{Names, Noun};
use super::problem::{Code, Problems};
use super::scalar::shown;
use super::tree::{Entry, Node, Value};
use super::{data_flows, flow_test, inventory, network_policy, rule_records, services, standard, waiver, zones};
use crate::model::flow_test::FlowTest;
use crate::model::flows::{DataFlow, ServiceEntry};
use crate::model::inventory::{Member, Namespace};
use crate::model::records::{RuleRecord, Waiver};
use crate::model::standard::Standard;
use crate::model::zones::Zone;
use crate::model::{Kind, Mode, NetworkPolicy, Spot};

const API_VERSION: &str = "pci-segment/v1";

/// What could be read of a document.
#[derive(Debug)]
pub(super) enum Document {
    NetworkPolicy(Box<NetworkPolicy>),
    Zones(Vec<Zone>),
    Inventory(Vec<Namespace>, Vec<Member>),
    DataFlows(Vec<DataFlow>),
    Services(Vec<ServiceEntry>),
    RuleRecords(Vec<RuleRecord>),
    Standard(Box<Standard>),
    Waiver(Box<Waiver>),
    FlowTest(Vec<FlowTest>),
}

/// Reads `spec`; without `metadata` if that could not be read.
type ReadSpec = for<'n> fn(&mut Cursor<'n, '_>, Option<Metadata>, &'n Node<'n>) -> Option<Document>;

/// Every kind of the language, and how to read it.
const KINDS: [(Kind, ReadSpec); 9] = [
    (Kind::NetworkPolicy, network_policy::read),
    (Kind::Zones, zones::read),
    (Kind::Inventory, inventory::read),
    (Kind::DataFlows, data_flows::read),
    (Kind::Services, services::read),
    (Kind::RuleRecords, rule_records::read),
    (Kind::Standard, standard::read),
    (Kind::Waiver, waiver::read),
    (Kind::FlowTest, flow_test::read),
];

/// What `metadata` says.
pub(super) struct Metadata {
    pub(super) name: Arc<str>,
    pub(super) at: Spot,
    pub(super) namespace: Option<Arc<str>>,
    pub(super) requirements: Option<(String, Spot)>,
    pub(super) mode: Mode,
    pub(super) means_deny: bool,
}

/// Reads one document: its kind, if that is one of ours, and what could be read of it.
pub(super) fn read(node: &Node<'_>, problems: &mut Problems, names: &mut Names) -> Option<(Kind, Option<Document>)> {
    let mut cursor = Cursor::new(problems, names);
    if let Value::Scalar { text, plain: true } = &node.value
        && text.is_empty()
    {
        cursor.problem(Code::EmptyDocument, node.at, "no document here; remove the separator or the file".to_string());
        return None;
    }
    let entries = cursor.map(node)?;
    let (kind, read_spec) = kind(&mut cursor, node.at, entries)?;
    let Some(fields) = cursor.fields(node, &["apiVersion", "kind", "metadata", "spec"]) else {
        cursor.lost_document(kind);
        return Some((kind, None));
    };
    let metadata = cursor.required(&fields, "metadata", |cursor, node| metadata(cursor, node, kind));
    let document = cursor.required(&fields, "spec", |cursor, spec| read_spec(cursor, metadata, spec));
    if document.is_none() {
        cursor.lost_document(kind);
    }
    Some((kind, document))
}

/// How to read this document, if it is one of ours.
fn kind<'n>(cursor: &mut Cursor<'n, '_>, at: Spot, entries: &'n [Entry<'n>]) -> Option<(Kind, ReadSpec)> {
    let find = |key: &str| entries.iter().find(|e| e.key == key);
    let known = |name: &str| KINDS.iter().find(|(kind, _)| kind.name() == name);
    let text = |entry: &'n Entry<'n>| match &entry.value.value {
        Value::Scalar { text, .. } => &**text,
        Value::List(_) | Value::Map(_) | Value::Broken => "",
    };
    let Some(version) = find("apiVersion") else {
        cursor.problem(
            Code::UnknownDocument,
            at,
            format!("apiVersion is missing; below the policy root there is only {API_VERSION}"),
        );
        return None;
    };
    if text(version) != API_VERSION {
        let message = format!("apiVersion is {}; below the policy root there is only {API_VERSION}", shown(text(version)));
        cursor.suggest(
            Code::UnknownDocument,
            version.value.at,
            message,
            nearest(text(version), &[API_VERSION]).map(ToString::to_string),
        );
        return None;
    }
    let Some(entry) = find("kind") else {
        cursor.problem(Code::UnknownDocument, at, "kind is missing; write kind: NetworkPolicy".to_string());
        return None;
    };
    let found = text(entry);
    if let Some(known) = known(found) {
        return Some(*known);
    }
    let names = KINDS.map(|(kind, _)| kind.name());
    let meant = nearest(found, &names);
    let hint = meant.map_or_else(|| format!("The kinds are {}.", names.join(", ")), |kind| format!("Did you mean {kind}?"));
    let message = format!("kind {} is not known. {hint}", shown(found));
    cursor.suggest(Code::UnknownDocument, entry.value.at, message, meant.map(ToString::to_string));
    if let Some((kind, _)) = meant.and_then(known) {
        // What it would have said is missing, whatever its kind is called.
        cursor.lost_document(*kind);
    }
    None
}

fn metadata<'n>(cursor: &mut Cursor<'n, '_>, node: &'n Node<'n>, kind: Kind) -> Option<Metadata> {
    let in_namespace = kind == Kind::NetworkPolicy;
    let known: &'static [&'static str] =
        if in_namespace { &["name", "namespace", "labels", "annotations"] } else { &["name", "labels", "annotations"] };
    let fields = cursor.fields(node, known)?;
    let name = cursor.required(&fields, "name", |cursor, node| {
        let name: Arc<str> = cursor.dns_name(node)?.into();
        // A second Standard is one too many, whatever its name.
        if kind != Kind::Standard {
            cursor.define(Noun::Document(kind), &name, node.at);
        }
        Some(name)
    });
    if let Some(name) = name.as_ref().filter(|_| in_namespace) {
        cursor.name(name.clone());
    }
    let namespace = if in_namespace {
        cursor.field(&fields, "namespace", |cursor, node| cursor.label_of(node, Noun::Namespace))
    } else {
        Got::Absent
    };
    cursor.field(&fields, "labels", Cursor::labels);
    let notes = cursor.field(&fields, "annotations", annotations).read().unwrap_or_default();
    let broken_namespace = namespace == Got::Broken;
    let at = fields.value_at("name").unwrap_or(fields.at);
    name.filter(|_| !broken_namespace).map(|name| Metadata {
        name,
        at,
        namespace: namespace.read(),
        requirements: notes.requirements,
        mode: if notes.audit { Mode::Audit } else { Mode::Enforce },
        means_deny: notes.deny,
    })
}

/// Annotations that mean something.
#[derive(Default)]
struct Notes {
    requirements: Option<(String, Spot)>,
    audit: bool,
    deny: bool,
}

fn annotations<'n>(cursor: &mut Cursor<'n, '_>, node: &'n Node<'n>) -> Option<Notes> {
    const KNOWN: [&str; 2] = ["pci-segment/intent", "pci-segment/mode"];
    let entries = cursor.map(node)?;
    cursor.within(node.at, entries.len(), ("LABELS_PER_OBJECT_MAX", LABELS_PER_OBJECT_MAX));
    let mut notes = Notes::default();
    for entry in entries.iter().filter(|e| !e.is_refused()) {
        match &*entry.key {
            "pci-dss" => {
                let text = cursor.entry(entry, |cursor, node| cursor.text(node).map(ToString::to_string));
                notes.requirements = text.read().map(|text| (text, entry.value.at));
            }
            "pci-segment/mode" => {
                let audit = cursor.entry(entry, |cursor, node| cursor.word(node, Code::BadValue, &[("audit", true)]));
                notes.audit = audit.read().unwrap_or(false);
            }
            "pci-segment/intent" => {
                let deny = cursor.entry(entry, |cursor, node| cursor.word(node, Code::BadValue, &[("deny", true)]));
                notes.deny = deny.read().unwrap_or(false);
            }
            key if key.starts_with("pci-segment/") => cursor.unknown(entry, &KNOWN),
            key => {
                cursor.label_key(entry.at, key);
                cursor.entry(entry, |cursor, node| cursor.text(node).map(|_| ()));
            }
        }
    }
    Some(notes)
}
