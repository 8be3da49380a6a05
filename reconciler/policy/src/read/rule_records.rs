//! `kind: RuleRecords`.

use alloc::sync::Arc;

use super::cursor::Cursor;
use super::document::{Document, Metadata};
use super::limits::ITEMS;
use super::names::Noun;
use super::problem::Code;
use super::tree::Node;
use crate::model::records::{MissedReview, ReviewResult, RuleRecord};

const FIELDS: &[&str] = &[
    "policy",
    "rule",
    "owner",
    "requestedBy",
    "justification",
    "approvedBy",
    "approvedAt",
    "changeTicket",
    "dataFlows",
    "reviewedAt",
    "reviewedBy",
    "reviewResult",
    "reviewedDigest",
    "missedReview",
    "temporary",
    "expiresAt",
    "insecureMitigation",
    "wirelessPurpose",
    "accessReason",
];

/// Reads `spec`.
pub(super) fn read<'n>(cursor: &mut Cursor<'n, '_>, _: Option<Metadata>, node: &'n Node<'n>) -> Option<Document> {
    let fields = cursor.fields(node, &["records"])?;
    Some(Document::RuleRecords(cursor.each(&fields, "records", ITEMS, Noun::Record, record)))
}

fn record<'n>(cursor: &mut Cursor<'n, '_>, node: &'n Node<'n>) -> Option<RuleRecord> {
    let fields = cursor.fields(node, FIELDS)?;
    let policy =
        cursor.required(&fields, "policy", |cursor, node| cursor.name_of(node, Noun::Document(crate::model::Kind::NetworkPolicy)));
    let rule = cursor.required(&fields, "rule", |cursor, node| {
        let rule: Arc<str> = cursor.dns_label(node)?.into();
        if let Some(policy) = &policy {
            cursor.define_of(Noun::Record, policy, &rule, node.at);
            cursor.refer_of(Noun::Rule, policy, &rule, node.at);
        }
        Some(rule)
    });
    let owner = cursor.required(&fields, "owner", Cursor::who);
    let requested_by = cursor.optional(&fields, "requestedBy", Cursor::who);
    let justification = cursor.required(&fields, "justification", Cursor::words_for_people);
    let approved_by = cursor.optional(&fields, "approvedBy", Cursor::who);
    let approved_at = cursor.optional(&fields, "approvedAt", Cursor::date);
    let change_ticket = cursor.optional(&fields, "changeTicket", Cursor::words_for_people);
    let data_flows = cursor.optional(&fields, "dataFlows", |cursor, node| {
        cursor.list(node, ITEMS, |cursor, node| {
            let id = cursor.id(node)?;
            cursor.refer(Noun::Flow, &id, node.at);
            Some(id)
        })
    });
    let reviewed_at = cursor.optional(&fields, "reviewedAt", Cursor::date);
    let reviewed_by = cursor.optional(&fields, "reviewedBy", Cursor::who);
    let review_result =
        cursor.optional(&fields, "reviewResult", |cursor, node| cursor.word(node, Code::BadValue, &ReviewResult::WORDS));
    let reviewed_digest = cursor.optional(&fields, "reviewedDigest", Cursor::digest);
    let missed_review = cursor.optional(&fields, "missedReview", missed);
    let temporary = cursor.optional(&fields, "temporary", Cursor::bool);
    let expires_at = cursor.optional(&fields, "expiresAt", Cursor::date);
    let insecure_mitigation = cursor.optional(&fields, "insecureMitigation", Cursor::words_for_people);
    let wireless_purpose = cursor.optional(&fields, "wirelessPurpose", Cursor::words_for_people);
    let access_reason = cursor.optional(&fields, "accessReason", Cursor::words_for_people);
    if temporary == Some(Some(true)) {
        cursor.needs(&fields, "expiresAt", "the rule is temporary", "temporary")?;
    }
    Some(RuleRecord {
        origin: cursor.origin(&fields),
        policy: policy?,
        rule: rule?,
        owner: owner?,
        requested_by: requested_by?,
        justification: justification?,
        approved_by: approved_by?,
        approved_at: approved_at?,
        change_ticket: change_ticket?,
        data_flows: data_flows?.unwrap_or_default(),
        reviewed_at: reviewed_at?,
        reviewed_by: reviewed_by?,
        review_result: review_result?,
        reviewed_digest: reviewed_digest?,
        missed_review: missed_review?,
        temporary: temporary?.unwrap_or(false),
        expires_at: expires_at?,
        insecure_mitigation: insecure_mitigation?,
        wireless_purpose: wireless_purpose?,
        access_reason: access_reason?,
    })
}

fn missed<'n>(cursor: &mut Cursor<'n, '_>, node: &'n Node<'n>) -> Option<MissedReview> {
    let fields = cursor.fields(node, &["dueAt", "doneAt", "reason", "recordedBy"])?;
    let due_at = cursor.required(&fields, "dueAt", Cursor::date);
    let done_at = cursor.required(&fields, "doneAt", Cursor::date);
    let reason = cursor.required(&fields, "reason", Cursor::words_for_people);
    let recorded_by = cursor.required(&fields, "recordedBy", Cursor::who);
    Some(MissedReview { due_at: due_at?, done_at: done_at?, reason: reason?, recorded_by: recorded_by? })
}
