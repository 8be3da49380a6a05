//! Nothing is ignored: the whole set again, with each key, each value, each character broken in turn.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::reading;
use super::whole::WHOLE;
use crate::read::Reading;

/// Keys that people choose: labels and annotations.
const FREE: [&str; 3] = ["pci-env", "tier", "pci-dss"];

/// The set, and a record and a Standard with every field there is.
fn everything() -> String {
    let record = "reviewResult: keep, reviewedDigest: \"sha256:0000000000000000000000000000000000000000000000000000000000000000\", \
        missedReview: {dueAt: 2026-01-01, doneAt: 2026-01-12, reason: Illness, recordedBy: me}, temporary: true, expiresAt: 2026-03-01, \
        insecureMitigation: a, wirelessPurpose: b, accessReason: c";
    let standard = "version: \"2026.1\", cdeLabels: {pci-env: [cde]}, reservedLabels: [pci-env], serviceProvider: true, \
        segmentationTest: {doneAt: 2026-01-12, id: ST-1}, scopeConfirmation: {doneAt: 2026-01-12, id: SC-1}, fixtures: false, \
        severities: {PCI-1.3.1-008: error}, ports: {admin: {add: [{protocol: TCP, port: 1, endPort: 2}], remove: [{protocol: ICMP, icmpType: 8, icmpCode: 0}]}}";
    let text = WHOLE
        .replace("reviewResult: keep", record)
        .replace("version: \"2026.1\"", standard)
        .replace("classes: [secure, datastore]", "classes: [insecure, dns], mitigation: Tunnel, servers: [10.0.9.53/32]")
        .replace("purpose: \"Authorisation", "diagram: wiki, purpose: \"Authorisation")
        .replace("function: \"Payment API\"", "function: \"Payment API\", namespace: web, publicServices: [postgres], identity: {hostname: a, machineIdSha256: \"0000000000000000000000000000000000000000000000000000000000000000\", azure: {resourceId: /subscriptions/1}}")
        .replace("spec: {\n  workloads", "spec: {namespaces: [{name: web, labels: {pci-env: x}}],\n  workloads")
        .replace("metadata: {name: cde-database}\nspec:", "metadata: {name: cde-database, namespace: default, labels: {tier: a}, annotations: {pci-dss: \"Req 1.3\", pci-segment/mode: audit, pci-segment/intent: deny}}\nspec:\n  policyTypes: [Ingress]")
        .replace("egress: []", "egress: [{to: [{podSelector: {matchExpressions: [{key: tier, operator: In, values: [app]}]}, namespaceSelector: {}}], ports: [{port: 1, endPort: 2}, {protocol: ICMP, icmpType: 8, icmpCode: 0}]}]")
        .replace("cidr: 10.0.1.0/24", "cidr: 10.0.1.0/24, except: [10.0.1.0/25]")
        .replace("namespace: web, publicServices", "publicServices");
    assert!(reading(&text).problems.is_empty(), "{:#?}", reading(&text).problems);
    text
}

/// Where keys stand, and their names.
fn keys(text: &str) -> Vec<(usize, String)> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '/' | '.');
    let mut found = Vec::new();
    for (at, _) in text.match_indices(':') {
        let rest = &text[at + 1..];
        let begin = text[..at].rfind(|c| !is_name(c)).map_or(0, |i| i + 1);
        let before = text[..begin].chars().last();
        if rest.starts_with([' ', '\n']) && begin < at && matches!(before, None | Some(' ' | '{' | '\n')) {
            found.push((begin, text[begin..at].to_string()));
        }
    }
    found
}

fn told(found: &Reading, what: &str) {
    assert!(!found.problems.is_empty(), "{what} is ignored");
    for problem in &found.problems {
        let line = problem.place.spot.line;
        assert!(line >= 1 && problem.place.spot.column >= 1 && !problem.message.is_empty(), "{what}: {problem:?}");
    }
}

#[test]
fn every_key_counts() {
    let text = everything();
    let keys = keys(&text);
    assert!(keys.len() > 150, "{}", keys.len());
    for (at, key) in keys.iter().filter(|(_, key)| !FREE.contains(&&**key)) {
        let misspelt = format!("{}{key}x{}", &text[..*at], &text[at + key.len()..]);
        told(&reading(&misspelt), &format!("{key} at {at}"));
    }
}

#[test]
fn every_value_counts() {
    let text = everything();
    for (at, key) in keys(&text) {
        let from = at + key.len() + 1;
        let value = text[from..].trim_start_matches([' ', '\n']);
        let begin = text.len() - value.len();
        // The value ends where its brackets close, or at the next comma, bracket or line.
        let mut depth = 0_i32;
        let mut quoted = false;
        let end = value.char_indices().find(|(_, c)| {
            quoted ^= *c == '"';
            depth += i32::from(!quoted && matches!(c, '[' | '{')) - i32::from(!quoted && matches!(c, ']' | '}'));
            depth < 0 || (depth == 0 && !quoted && matches!(c, ',' | '\n'))
        });
        let Some((length, _)) = end.filter(|(length, _)| *length > 0) else { continue };
        for other in ["~", "[[]]", "{zzz: 1}", "\"\\u00e9\\u00e9 \""] {
            // Labels and values that are already what they are replaced by.
            let broken = format!("{}{other}{}", &text[..begin], &text[begin + length..]);
            if other.starts_with('"') && takes_text(&key) {
                continue;
            }
            told(&reading(&broken), &format!("{key}: {other} at {at}"));
        }
    }
}

/// Fields for people, which take any text.
fn takes_text(key: &str) -> bool {
    [
        "purpose",
        "diagram",
        "mitigation",
        "function",
        "reason",
        "riskAcceptance",
        "justification",
        "changeTicket",
        "outOfScopeReason",
    ]
    .contains(&key)
        || ["insecureMitigation", "wirelessPurpose", "accessReason", "id", "pci-dss", "version"].contains(&key)
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 48, ..Default::default() })]

    #[test]
    fn no_set_makes_the_reader_panic(cuts in proptest::collection::vec((0_usize..8_000, 0_usize..12, "[ -~é\n]{0,8}"), 1..6)) {
        let mut text = everything();
        for (at, length, insert) in cuts {
            let (at, end) = (at.min(text.len()), (at + length).min(text.len()));
            if text.is_char_boundary(at) && text.is_char_boundary(end) {
                text.replace_range(at..end, &insert);
            }
        }
        let found = reading(&text);
        let lines = text.lines().count() + 1;
        for problem in &found.problems {
            let spot = problem.place.spot;
            proptest::prop_assert!(spot.line >= 1 && spot.column >= 1 && usize::try_from(spot.line).unwrap() <= lines, "{problem:?}");
            proptest::prop_assert!(!problem.message.is_empty() && problem.related.len() <= 1);
        }
        proptest::prop_assert!(found.problems.is_sorted_by_key(|p| p.place.clone()));
        // A set is only what it seems: whatever was not told reads the same again.
        proptest::prop_assert_eq!(found, reading(&text));
    }
}
