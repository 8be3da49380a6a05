//! `kind: Standard`.
//!
//! A field that cannot be read keeps its default, and a broken profile is the strict one: a mistake in the Standard never makes the
//! rules milder.

mod severities;
mod thresholds;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::cursor::Cursor;
use super::document::{Document, Metadata};
use super::limits::{ITEMS, LABELS_PER_OBJECT_MAX, VALUES_PER_TERM_MAX};
use super::names::Noun;
use super::ports;
use super::problem::Code;
use super::tree::Node;
use crate::model::Profile;
use crate::model::standard::{Area, Done, Forbidden, PortChange, PortLists, Standard};
use crate::model::zones::Class;

const FIELDS: &[&str] = &[
    "profile",
    "version",
    "cdeLabels",
    "reservedLabels",
    "approvers",
    "serviceProvider",
    "segmentationTest",
    "scopeConfirmation",
    "ports",
    "forbidden",
    "severities",
    "fixtures",
    "thresholds",
];
const PROFILES: [(&str, Profile); 2] = [("baseline", Profile::Baseline), ("pci-dss-4.0.1", Profile::PciDss401)];
const VERSION_BYTES_MAX: usize = 32;

/// Reads `spec`.
pub(super) fn read<'n>(cursor: &mut Cursor<'n, '_>, _: Option<Metadata>, node: &'n Node<'n>) -> Option<Document> {
    let fields = cursor.fields(node, FIELDS)?;
    let profile = cursor.required(&fields, "profile", |cursor, node| cursor.word(node, Code::BadValue, &PROFILES));
    let version = cursor.required(&fields, "version", version);
    let default = Standard::default();
    let fixtures = cursor.or_default(&fields, "fixtures", Cursor::bool, false);
    if fixtures && profile == Some(Profile::PciDss401) {
        let message = "documentation addresses pass in tests only; not with profile pci-dss-4.0.1";
        cursor.contradiction(&fields, "fixtures", "profile", message.to_string());
    }
    Some(Document::Standard(Box::new(Standard {
        origin: Some(cursor.origin(&fields)),
        profile: profile.unwrap_or(Profile::PciDss401),
        version: version.unwrap_or_default(),
        cde_labels: cursor.or_default(&fields, "cdeLabels", cde_labels, default.cde_labels),
        reserved_labels: cursor.or_default(&fields, "reservedLabels", reserved_labels, default.reserved_labels),
        approvers: cursor.or_default(&fields, "approvers", |c, n| c.list(n, ITEMS, Cursor::who), default.approvers),
        service_provider: cursor.or_default(&fields, "serviceProvider", Cursor::bool, default.service_provider),
        segmentation_test: cursor.field(&fields, "segmentationTest", done).read(),
        scope_confirmation: cursor.field(&fields, "scopeConfirmation", done).read(),
        ports: cursor.or_default(&fields, "ports", port_lists, default.ports),
        forbidden: cursor.or_default(&fields, "forbidden", forbidden, default.forbidden),
        severities: cursor.or_default(&fields, "severities", severities::read, default.severities),
        fixtures,
        thresholds: cursor.or_default(&fields, "thresholds", thresholds::read, default.thresholds),
    })))
}

fn version<'n>(cursor: &mut Cursor<'n, '_>, node: &'n Node<'n>) -> Option<String> {
    let text = cursor.text(node)?;
    if text.len() > VERSION_BYTES_MAX {
        let message = alloc::format!("a version of {} bytes; at most {VERSION_BYTES_MAX}", text.len());
        cursor.problem(Code::BadValue, node.at, message);
        return None;
    }
    Some(text.to_string())
}

/// Key → values. Something must mark the CDE, or nothing would be judged as part of it.
fn cde_labels<'n>(cursor: &mut Cursor<'n, '_>, node: &'n Node<'n>) -> Option<BTreeMap<String, Vec<String>>> {
    let entries = cursor.map(node)?;
    cursor.within(node.at, entries.len(), ("LABELS_PER_OBJECT_MAX", LABELS_PER_OBJECT_MAX));
    if entries.is_empty() {
        cursor.problem(Code::BadValue, node.at, "no label would mark the CDE; leave the field out".to_string());
        return None;
    }
    let mut labels = BTreeMap::new();
    let mut whole = entries.len() <= LABELS_PER_OBJECT_MAX;
    for entry in entries {
        let key = if entry.is_refused() { None } else { cursor.label_key(entry.at, &entry.key) };
        let max = ("VALUES_PER_TERM_MAX", VALUES_PER_TERM_MAX);
        let values = cursor.entry(entry, |cursor, node| cursor.filled(node, max, Cursor::label_value)).read();
        match key.zip(values) {
            Some((key, values)) => drop(labels.insert(key, values)),
            None => whole = false,
        }
    }
    whole.then_some(labels)
}

fn reserved_labels<'n>(cursor: &mut Cursor<'n, '_>, node: &'n Node<'n>) -> Option<Vec<String>> {
    cursor.list(node, ITEMS, |cursor, node| {
        let text = cursor.ascii(node)?;
        cursor.label_key(node.at, text)
    })
}

fn done<'n>(cursor: &mut Cursor<'n, '_>, node: &'n Node<'n>) -> Option<Done> {
    let fields = cursor.fields(node, &["doneAt", "id"])?;
    let done_at = cursor.required(&fields, "doneAt", Cursor::date);
    let id = cursor.required(&fields, "id", Cursor::words_for_people);
    Some(Done { done_at: done_at?, id: id? })
}

fn port_lists<'n>(cursor: &mut Cursor<'n, '_>, node: &'n Node<'n>) -> Option<PortLists> {
    let fields = cursor.fields(node, &["insecure", "admin", "datastore", "discovery"])?;
    let mut list = |key| cursor.or_default(&fields, key, port_change, PortChange::default());
    Some(PortLists { insecure: list("insecure"), admin: list("admin"), datastore: list("datastore"), discovery: list("discovery") })
}

fn port_change<'n>(cursor: &mut Cursor<'n, '_>, node: &'n Node<'n>) -> Option<PortChange> {
    let fields = cursor.fields(node, &["add", "remove"])?;
    let add = cursor.optional(&fields, "add", ports::numbers);
    let remove = cursor.optional(&fields, "remove", ports::numbers);
    Some(PortChange { add: add?.unwrap_or_default(), remove: remove?.unwrap_or_default() })
}

fn forbidden<'n>(cursor: &mut Cursor<'n, '_>, node: &'n Node<'n>) -> Option<Vec<Forbidden>> {
    let items = cursor.items(node, ITEMS, |cursor, node| {
        let fields = cursor.fields(node, &["from", "to", "services"])?;
        let from = cursor.required(&fields, "from", area);
        let to = cursor.required(&fields, "to", area);
        // A list that cannot be read must not become "none of them".
        let services = cursor.optional(&fields, "services", |cursor, node| {
            cursor.filled(node, ITEMS, |cursor, node| cursor.label_of(node, Noun::Service))
        });
        let origin = cursor.origin(&fields);
        let services: Vec<Arc<str>> = services.flatten().unwrap_or_default();
        Some(Forbidden { origin, from: from?, to: to?, services })
    })?;
    Some(items.into_iter().flatten().collect())
}

/// A zone, or `class:` and a class.
fn area<'n>(cursor: &mut Cursor<'n, '_>, node: &'n Node<'n>) -> Option<Area> {
    const CLASSES: [(&str, Class); 8] = [
        ("class:cde", Class::Cde),
        ("class:connected", Class::Connected),
        ("class:security-services", Class::SecurityServices),
        ("class:dmz", Class::Dmz),
        ("class:preprod", Class::Preprod),
        ("class:corporate", Class::Corporate),
        ("class:wireless", Class::Wireless),
        ("class:third-party", Class::ThirdParty),
    ];
    let text = cursor.ascii(node)?;
    if text.contains(':') {
        return cursor.word(node, Code::BadValue, &CLASSES).map(Area::Class);
    }
    cursor.label_of(node, Noun::Zone).map(Area::Zone)
}
