//! `kind: Zones`.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::cursor::{Cursor, Fields};
use super::document::{Document, Metadata};
use super::limits::{CIDRS_PER_ZONE_MAX, CLASSES, ITEMS};
use super::names::Noun;
use super::problem::Code;
use super::tree::Node;
use crate::model::zones::{Class, INTERNET, Scope, Zone};
use crate::net::{AddressSet, Family};
use crate::rules::public;

const FIELDS: &[&str] = &["name", "cidrs", "classes", "trust", "pciScope", "outOfScopeReason"];
/// A trusted zone holds fewer addresses of the Internet than these: a /8 of IPv4, a /32 of IPv6. Nobody's own network is larger, and
/// no Standard may say otherwise.
const TRUSTED_PUBLIC_MAX: [(Family, u128); 2] = [(Family::V4, 1 << 24), (Family::V6, 1 << 96)];
const TRUST: [(&str, bool); 2] = [("trusted", true), ("untrusted", false)];

/// Reads `spec`.
pub(super) fn read<'n>(cursor: &mut Cursor<'n, '_>, _: Option<Metadata>, node: &'n Node<'n>) -> Option<Document> {
    let fields = cursor.fields(node, &["zones"])?;
    Some(Document::Zones(cursor.each(&fields, "zones", ITEMS, Noun::Zone, zone)))
}

fn zone<'n>(cursor: &mut Cursor<'n, '_>, node: &'n Node<'n>) -> Option<Zone> {
    let fields = cursor.fields(node, FIELDS)?;
    let name = cursor.required(&fields, "name", name);
    let cidrs = cursor.required(&fields, "cidrs", |cursor, node| {
        let max = ("CIDRS_PER_ZONE_MAX", CIDRS_PER_ZONE_MAX);
        cursor.filled(node, max, |cursor, node| cursor.cidr(node).map(|cidr| (cidr, node.at)))
    });
    let classes = cursor.required(&fields, "classes", |cursor, node| classes(cursor, node, &Class::WORDS));
    let trusted = cursor.optional(&fields, "trust", |cursor, node| cursor.word(node, Code::BadValue, &TRUST));
    let scope = cursor.required(&fields, "pciScope", |cursor, node| cursor.word(node, Code::BadValue, &Scope::WORDS));
    let reason = cursor.optional(&fields, "outOfScopeReason", Cursor::words_for_people);
    let explained = match scope {
        Some(Scope::Out) => cursor.needs(&fields, "outOfScopeReason", "pciScope is out", "pciScope"),
        Some(Scope::In | Scope::Connected) | None => Some(()),
    };
    let zone = Zone {
        origin: cursor.origin(&fields),
        name: name?,
        cidrs: cidrs?,
        classes: classes?,
        trusted: trusted?.unwrap_or(false),
        scope: scope?,
        out_of_scope_reason: reason?,
    };
    contradictions(cursor, &fields, &zone);
    is_not_the_internet(cursor, &fields, &zone);
    explained.map(|()| zone)
}

fn name<'n>(cursor: &mut Cursor<'n, '_>, node: &'n Node<'n>) -> Option<Arc<str>> {
    let name: Arc<str> = cursor.dns_label(node)?.into();
    if &*name == INTERNET {
        cursor.problem(Code::BadName, node.at, format!("{INTERNET} is reserved: it holds every address that no zone holds"));
        return None;
    }
    cursor.define(Noun::Zone, &name, node.at);
    Some(name)
}

/// One to four words, none twice.
pub(super) fn classes<'n, T: Copy + Ord>(
    cursor: &mut Cursor<'n, '_>,
    node: &'n Node<'n>,
    words: &[(&'static str, T)],
) -> Option<Vec<T>> {
    let classes = cursor.words(node, CLASSES, words)?;
    if classes.is_empty() {
        cursor.problem(Code::BadValue, node.at, format!("an empty list; write 1 to {}", CLASSES.1));
    }
    (!classes.is_empty()).then_some(classes)
}

/// What Requirement 1 counts as untrusted is not trusted, and the CDE is in scope.
fn contradictions<'n>(cursor: &mut Cursor<'n, '_>, fields: &Fields<'n>, zone: &Zone) {
    let mut tell = |field: &'static str, other: &'static str, message: &str| {
        cursor.contradiction(fields, field, other, format!("{message} (zone {})", zone.name));
    };
    if zone.is(Class::Cde) && zone.scope != Scope::In {
        tell("pciScope", "classes", "class cde is always in scope; write pciScope: in");
    }
    if zone.trusted && zone.scope == Scope::Out {
        tell("trust", "pciScope", "what is out of scope is untrusted");
    }
    for (word, class) in Class::WORDS.iter().filter(|(_, class)| matches!(class, Class::Wireless | Class::ThirdParty)) {
        if zone.trusted && zone.is(*class) {
            tell("trust", "classes", &format!("class {word} is untrusted"));
        }
    }
}

/// Whoever is in no zone is on the Internet: a zone that leaves nothing of it abolishes it, and a trusted one hardly touches it.
fn is_not_the_internet<'n>(cursor: &mut Cursor<'n, '_>, fields: &Fields<'n>, zone: &Zone) {
    for (family, max) in TRUSTED_PUBLIC_MAX {
        let held = AddressSet::of(family, zone.cidrs.iter().map(|(cidr, _)| *cidr));
        let (name, all) = (&zone.name, family.name());
        if held.is_all() {
            let message =
                format!("zone {name} holds all of {all}, and leaves nothing of {INTERNET}; write the networks it stands for");
            cursor.contradiction(fields, "cidrs", "name", message);
        } else if zone.trusted && held.size() >= max && held.intersection(&public(family)).size() >= max {
            let message = format!("zone {name} holds {max} public {all} addresses or more; so much of the Internet is untrusted");
            cursor.contradiction(fields, "trust", "cidrs", message);
        }
    }
}
