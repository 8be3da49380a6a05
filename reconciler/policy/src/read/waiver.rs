//! `kind: Waiver`.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::cursor::{Cursor, Fields};
use super::document::{Document, Metadata};
use super::guess::nearest;
use super::names::Noun;
use super::problem::Code;
use super::scalar::shown;
use super::tree::Node;
use crate::model::records::Waiver;
use crate::model::{Kind, Spot};
use crate::rules::{Item, catalogue};

const FIELDS: &[&str] =
    &["rule", "policy", "ruleName", "endpoint", "reason", "riskAcceptance", "requestedBy", "approvedBy", "approvedAt", "expiresAt"];

/// Reads `spec`. A Waiver of which anything is wrong waives nothing.
pub(super) fn read<'n>(cursor: &mut Cursor<'n, '_>, metadata: Option<Metadata>, node: &'n Node<'n>) -> Option<Document> {
    let fields = cursor.fields(node, FIELDS)?;
    let rule = cursor.required(&fields, "rule", waivable);
    let policy = cursor.optional(&fields, "policy", |cursor, node| cursor.name_of(node, Noun::Document(Kind::NetworkPolicy)));
    let rule_name = cursor.optional(&fields, "ruleName", |cursor, node| {
        let rule: Arc<str> = cursor.dns_label(node)?.into();
        if let Some(Some(policy)) = &policy {
            cursor.refer_of(Noun::Rule, policy, &rule, node.at);
        }
        Some(rule)
    });
    let endpoint = cursor.optional(&fields, "endpoint", |cursor, node| cursor.name_of(node, Noun::Endpoint));
    let reason = cursor.required(&fields, "reason", Cursor::words_for_people);
    let risk_acceptance = cursor.required(&fields, "riskAcceptance", Cursor::words_for_people);
    let requested_by = cursor.required(&fields, "requestedBy", Cursor::who);
    let approved_by = cursor.required(&fields, "approvedBy", Cursor::who);
    let approved_at = cursor.required(&fields, "approvedAt", Cursor::date);
    let expires_at = cursor.required(&fields, "expiresAt", Cursor::date);
    let about_one = about_one_thing(cursor, &fields);
    let by_two = by_two_people(cursor, &fields, requested_by.as_deref(), approved_by.as_deref());
    let waiver = Waiver {
        origin: cursor.origin(&fields),
        name: metadata?.name,
        rule: rule?,
        policy: policy?,
        rule_name: rule_name?,
        endpoint: endpoint?,
        reason: reason?,
        risk_acceptance: risk_acceptance?,
        requested_by: requested_by?,
        approved_by: approved_by?,
        approved_at: approved_at?,
        expires_at: expires_at?,
    };
    (about_one && by_two).then(|| Document::Waiver(Box::new(waiver)))
}

/// The id of a rule that may be waived.
fn waivable<'n>(cursor: &mut Cursor<'n, '_>, node: &'n Node<'n>) -> Option<String> {
    let text = cursor.ascii(node)?;
    let item = rule_id(cursor, node.at, text)?;
    if !item.waivable {
        cursor.problem(Code::BadValue, node.at, format!("{} is an error that nobody may waive", item.id));
        return None;
    }
    Some(item.id.to_string())
}

/// A rule of the catalogue.
pub(super) fn rule_id(cursor: &mut Cursor<'_, '_>, at: Spot, text: &str) -> Option<&'static Item> {
    let found = catalogue().find(|item| item.id == text);
    if found.is_none() {
        let ids: Vec<&str> = catalogue().map(|item| item.id).collect();
        let meant = nearest(text, &ids);
        let hint = meant.map_or(String::new(), |id| format!(" Did you mean {id}?"));
        let message = format!("no rule is called {}.{hint}", shown(text));
        cursor.suggest(Code::UnknownReference, at, message, meant.map(ToString::to_string));
    }
    found
}

/// A finding is about a policy, or about an endpoint, or about the whole set.
fn about_one_thing<'n>(cursor: &mut Cursor<'n, '_>, fields: &Fields<'n>) -> bool {
    if fields.entry("policy").is_some() && fields.entry("endpoint").is_some() {
        let message = "a finding is about a policy or about an endpoint; write one of the two";
        cursor.contradiction(fields, "endpoint", "policy", message.to_string());
        return false;
    }
    fields.entry("ruleName").is_none()
        || cursor.needs(fields, "policy", "ruleName is the name of one of its rules", "ruleName").is_some()
}

/// Nobody approves what they asked for.
fn by_two_people<'n>(cursor: &mut Cursor<'n, '_>, fields: &Fields<'n>, requested: Option<&str>, approved: Option<&str>) -> bool {
    let same = requested.is_some() && requested == approved;
    if same {
        let message = format!("{} asked for it and cannot approve it", requested.unwrap_or_default());
        cursor.contradiction(fields, "approvedBy", "requestedBy", message);
    }
    !same
}
