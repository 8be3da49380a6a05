//! Which kind a document is, and what all kinds share: `apiVersion`, `kind`, `metadata`, `spec`.
//!
//! A further kind is one more entry of [`KINDS`] and one more file beside `network_policy`.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;

use super::cursor::{Cursor, Got};
use super::guess::nearest;
use super::limits::LABELS_PER_OBJECT_MAX;
use super::network_policy;
use super::problem::{Code, Problems};
use super::scalar::shown;
use super::tree::{Entry, Node, Value};
use crate::model::{Mode, NetworkPolicy, Spot};

const API_VERSION: &str = "pci-segment/v1";

/// A document of a kind that is read.
pub(super) enum Document {
    NetworkPolicy(NetworkPolicy),
}

type ReadSpec = for<'n> fn(&mut Cursor<'n, '_>, Metadata, &'n Node<'n>) -> Option<Document>;

/// Every kind of the language, and how to read it if this version does.
const KINDS: [(&str, Option<ReadSpec>); 9] = [
    ("NetworkPolicy", Some(network_policy::read)),
    ("Zones", None),
    ("Inventory", None),
    ("DataFlows", None),
    ("Services", None),
    ("RuleRecords", None),
    ("Standard", None),
    ("Waiver", None),
    ("FlowTest", None),
];

/// What `metadata` says.
pub(super) struct Metadata {
    pub(super) name: Arc<str>,
    pub(super) at: Spot,
    pub(super) namespace: Option<String>,
    pub(super) requirements: Option<(String, Spot)>,
    pub(super) mode: Mode,
    pub(super) means_deny: bool,
}

/// Reads one document.
pub(super) fn read(node: &Node<'_>, problems: &mut Problems) -> Option<Document> {
    let mut cursor = Cursor::new(problems);
    if let Value::Scalar { text, plain: true } = &node.value
        && text.is_empty()
    {
        cursor.problem(Code::EmptyDocument, node.at, "no document here; remove the separator or the file".to_string());
        return None;
    }
    let entries = cursor.map(node)?;
    let read_spec = kind(&mut cursor, node.at, entries)?;
    let fields = cursor.fields(node, &["apiVersion", "kind", "metadata", "spec"])?;
    let metadata = cursor.required(&fields, "metadata", metadata);
    cursor.required(&fields, "spec", |cursor, spec| match metadata {
        Some(metadata) => read_spec(cursor, metadata, spec),
        // The spec is read for its problems, under a name that nothing can refer to.
        None => read_spec(cursor, Metadata::unnamed(spec.at), spec).and(None),
    })
}

/// How to read this document, if it is one of ours.
fn kind<'n>(cursor: &mut Cursor<'n, '_>, at: Spot, entries: &'n [Entry<'n>]) -> Option<ReadSpec> {
    let find = |key: &str| entries.iter().find(|e| e.key == key);
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
    match KINDS.iter().find(|(kind, _)| *kind == found) {
        Some((_, Some(read))) => return Some(*read),
        Some((_, None)) => {
            let message = format!("this version does not read the kind {found} yet; it reads {}", kinds_read());
            cursor.problem(Code::UnknownDocument, entry.value.at, message);
        }
        None => {
            let meant = nearest(found, &KINDS.map(|(kind, _)| kind));
            let hint =
                meant.map_or_else(|| format!("This version reads {}.", kinds_read()), |kind| format!("Did you mean {kind}?"));
            let message = format!("kind {} is not known. {hint}", shown(found));
            cursor.suggest(Code::UnknownDocument, entry.value.at, message, meant.map(ToString::to_string));
        }
    }
    None
}

fn kinds_read() -> String {
    let read: alloc::vec::Vec<&str> = KINDS.iter().filter(|(_, read)| read.is_some()).map(|(kind, _)| *kind).collect();
    read.join(", ")
}

impl Metadata {
    fn unnamed(at: Spot) -> Self {
        Self { name: "".into(), at, namespace: None, requirements: None, mode: Mode::Enforce, means_deny: false }
    }
}

fn metadata<'n>(cursor: &mut Cursor<'n, '_>, node: &'n Node<'n>) -> Option<Metadata> {
    let fields = cursor.fields(node, &["name", "namespace", "labels", "annotations"])?;
    let name = cursor.required(&fields, "name", |cursor, node| cursor.dns_name(node).map(Arc::<str>::from));
    if let Some(name) = &name {
        cursor.name(name.clone());
    }
    let namespace = cursor.field(&fields, "namespace", |cursor, node| cursor.dns_label(node).map(ToString::to_string));
    cursor.field(&fields, "labels", |cursor, node| {
        let entries = cursor.map(node)?;
        cursor.within(node.at, entries.len(), ("LABELS_PER_OBJECT_MAX", LABELS_PER_OBJECT_MAX));
        for entry in entries.iter().filter(|e| !e.is_refused()) {
            cursor.label_key(entry.at, &entry.key);
            cursor.entry(entry, Cursor::label_value);
        }
        Some(())
    });
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
