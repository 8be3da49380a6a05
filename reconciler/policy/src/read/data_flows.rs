//! `kind: DataFlows`.

use super::cursor::Cursor;
use super::document::{Document, Metadata};
use super::limits::ITEMS;
use super::names::Noun;
use super::tree::Node;
use crate::model::flows::DataFlow;

const FIELDS: &[&str] =
    &["id", "from", "to", "services", "accountData", "purpose", "diagram", "updatedAt", "approvedBy", "approvedAt"];

/// Reads `spec`.
pub(super) fn read<'n>(cursor: &mut Cursor<'n, '_>, _: Option<Metadata>, node: &'n Node<'n>) -> Option<Document> {
    let fields = cursor.fields(node, &["flows"])?;
    Some(Document::DataFlows(cursor.each(&fields, "flows", ITEMS, Noun::Flow, flow)))
}

fn flow<'n>(cursor: &mut Cursor<'n, '_>, node: &'n Node<'n>) -> Option<DataFlow> {
    let fields = cursor.fields(node, FIELDS)?;
    let id = cursor.required(&fields, "id", |cursor, node| {
        let id = cursor.id(node)?;
        cursor.define(Noun::Flow, &id, node.at);
        Some(id)
    });
    let from = cursor.required(&fields, "from", |cursor, node| cursor.label_of(node, Noun::Zone));
    let to = cursor.required(&fields, "to", |cursor, node| cursor.label_of(node, Noun::Zone));
    let services = cursor.required(&fields, "services", |cursor, node| {
        cursor.filled(node, ITEMS, |cursor, node| cursor.label_of(node, Noun::Service))
    });
    let account_data = cursor.required(&fields, "accountData", Cursor::bool);
    let purpose = cursor.required(&fields, "purpose", Cursor::words_for_people);
    let diagram = cursor.optional(&fields, "diagram", Cursor::words_for_people);
    let updated_at = cursor.required(&fields, "updatedAt", Cursor::date);
    let approved_by = cursor.required(&fields, "approvedBy", Cursor::who);
    let approved_at = cursor.required(&fields, "approvedAt", Cursor::date);
    Some(DataFlow {
        origin: cursor.origin(&fields),
        id: id?,
        from: from?,
        to: to?,
        services: services?,
        account_data: account_data?,
        purpose: purpose?,
        diagram: diagram?,
        updated_at: updated_at?,
        approved_by: approved_by?,
        approved_at: approved_at?,
    })
}
