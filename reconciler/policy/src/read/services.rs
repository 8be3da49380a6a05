//! `kind: Services`.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::cursor::Cursor;
use super::document::{Document, Metadata};
use super::limits::ITEMS;
use super::names::Noun;
use super::ports;
use super::problem::Code;
use super::tree::Node;
use super::zones::classes;
use crate::model::flows::{ServiceClass, ServiceEntry};
use crate::net::ServiceRange;

const FIELDS: &[&str] = &["name", "classes", "ports", "zones", "mitigation", "servers", "approvedBy", "approvedAt"];

/// Reads `spec`.
pub(super) fn read<'n>(cursor: &mut Cursor<'n, '_>, _: Option<Metadata>, node: &'n Node<'n>) -> Option<Document> {
    let fields = cursor.fields(node, &["services"])?;
    Some(Document::Services(cursor.each(&fields, "services", ITEMS, Noun::Service, service)))
}

fn service<'n>(cursor: &mut Cursor<'n, '_>, node: &'n Node<'n>) -> Option<ServiceEntry> {
    let fields = cursor.fields(node, FIELDS)?;
    let name = cursor.required(&fields, "name", |cursor, node| {
        let name: Arc<str> = cursor.dns_label(node)?.into();
        cursor.define(Noun::Service, &name, node.at);
        Some(name)
    });
    let classes = cursor.required(&fields, "classes", |cursor, node| classes(cursor, node, &ServiceClass::WORDS));
    let ports = cursor.required(&fields, "ports", some_ports);
    let zones = cursor.required(&fields, "zones", |cursor, node| cursor.list(node, ITEMS, pair));
    let mitigation = cursor.optional(&fields, "mitigation", Cursor::words_for_people);
    let servers = cursor.optional(&fields, "servers", |cursor, node| cursor.list(node, ITEMS, Cursor::cidr));
    let approved_by = cursor.required(&fields, "approvedBy", Cursor::who);
    let approved_at = cursor.required(&fields, "approvedAt", Cursor::date);
    let is = |class| classes.as_ref().is_some_and(|classes| classes.contains(&class));
    let mut explained = true;
    if is(ServiceClass::Insecure) {
        explained &= cursor.needs(&fields, "mitigation", "the service is insecure", "classes").is_some();
    }
    if is(ServiceClass::Dns) || is(ServiceClass::Time) {
        explained &= cursor.needs(&fields, "servers", "names and time come from designated servers", "classes").is_some();
        if servers.as_ref().is_some_and(|servers| servers.as_ref().is_some_and(Vec::is_empty)) {
            let at = fields.value_at("servers").unwrap_or(node.at);
            cursor.problem(Code::BadValue, at, format!("an empty list; write 1 to {}", ITEMS.1));
            explained = false;
        }
    }
    let entry = ServiceEntry {
        origin: cursor.origin(&fields),
        name: name?,
        classes: classes?,
        ports: ports?,
        zones: zones?,
        mitigation: mitigation?,
        servers: servers?.unwrap_or_default(),
        approved_by: approved_by?,
        approved_at: approved_at?,
    };
    explained.then_some(entry)
}

fn some_ports<'n>(cursor: &mut Cursor<'n, '_>, node: &'n Node<'n>) -> Option<Vec<ServiceRange>> {
    let ports = ports::numbers(cursor, node)?;
    if ports.is_empty() {
        cursor.problem(Code::BadValue, node.at, "a service has at least one port".into());
    }
    (!ports.is_empty()).then_some(ports)
}

fn pair<'n>(cursor: &mut Cursor<'n, '_>, node: &'n Node<'n>) -> Option<(Arc<str>, Arc<str>)> {
    let fields = cursor.fields(node, &["from", "to"])?;
    let from = cursor.required(&fields, "from", |cursor, node| cursor.label_of(node, Noun::Zone));
    let to = cursor.required(&fields, "to", |cursor, node| cursor.label_of(node, Noun::Zone));
    from.zip(to)
}
