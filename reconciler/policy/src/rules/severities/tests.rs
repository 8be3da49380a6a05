use alloc::string::ToString;

use super::*;
use crate::model::standard::Standard;
use crate::model::{Place, Spot};
use crate::rules::catalogue;
use crate::rules::found::Found;
use crate::rules::recorded::tests::{POLICY, of as found_of, standard, today};

const ALL: [Severity; 3] = [Severity::Error, Severity::Warning, Severity::Info];

/// What the Standard's word makes of a finding.
fn of(own: Severity, basis: Basis, waivable: bool, wanted: Severity) -> Severity {
    let item = catalogue().find(|item| item.id == "PCI-1.3.1-006").unwrap();
    let place = Place { file: "p.yaml".into(), spot: Spot::START };
    let finding = Finding { severity: own, basis, waivable, ..item.finding(place, "".to_string()) };
    severity(&[(item.id.to_string(), wanted)].into(), &finding)
}

#[test]
fn every_rule_can_be_raised() {
    for basis in [Basis::D, Basis::G, Basis::H] {
        for waivable in [true, false] {
            assert_eq!(of(Severity::Warning, basis, waivable, Severity::Error), Severity::Error);
            assert_eq!(of(Severity::Info, basis, waivable, Severity::Error), Severity::Error);
            assert_eq!(of(Severity::Info, basis, waivable, Severity::Warning), Severity::Warning);
        }
    }
}

#[test]
fn only_house_rules_are_lowered_and_only_to_a_warning() {
    assert_eq!(of(Severity::Error, Basis::H, true, Severity::Warning), Severity::Warning);
    assert_eq!(of(Severity::Error, Basis::H, true, Severity::Info), Severity::Warning);
    assert_eq!(of(Severity::Warning, Basis::H, true, Severity::Info), Severity::Warning);
    assert_eq!(of(Severity::Info, Basis::H, true, Severity::Info), Severity::Info);
}

#[test]
fn nothing_else_is_ever_lowered() {
    for (basis, waivable) in [(Basis::D, true), (Basis::G, true), (Basis::H, false), (Basis::D, false), (Basis::G, false)] {
        for own in ALL {
            for wanted in ALL {
                assert!(of(own, basis, waivable, wanted) <= own, "{basis:?} {waivable} {own:?} {wanted:?}");
            }
        }
    }
}

#[test]
fn other_rules_stay_as_they_are() {
    let item = catalogue().find(|item| item.id == "PCI-1.3.1-006").unwrap();
    let finding = item.finding(Place { file: "p.yaml".into(), spot: Spot::START }, "".to_string());
    assert_eq!(severity(&[("PCI-1.3.1-005".to_string(), Severity::Warning)].into(), &finding), Severity::Error);
}

#[test]
fn a_standard_document_raises_and_lowers() {
    let wide = POLICY.replace("10.0.1.0/24", "10.0.0.0/12");
    let with = |severity: &str| today(&alloc::format!("{}{wide}", standard(&alloc::format!("severities: {{{severity}}}"))));
    let lowered = with("PCI-1.3.1-008: warning");
    assert!(lowered.compliant(), "{:?}", lowered.findings);
    assert_eq!(found_of(&lowered, "PCI-1.3.1-008")[0].severity, Severity::Warning);
    let raised = with("PCI-1.3.1-008: warning, PCI-1.3.2-002: error");
    assert!(!raised.compliant() && found_of(&raised, "PCI-1.3.2-002")[0].severity == Severity::Error, "{:?}", raised.findings);
}

#[test]
fn a_raised_rule_is_counted_as_an_error_beyond_the_limit_too() {
    let item = catalogue().find(|item| item.id == "PCI-1.3.2-002").unwrap();
    let standard = Standard { severities: [(item.id.to_string(), Severity::Error)].into(), ..Standard::default() };
    let mut found = Found::under(&standard);
    for line in 1..=10_001 {
        found.add(item.finding(Place { file: "p.yaml".into(), spot: Spot::new(line, 1) }, "".to_string()));
    }
    let (list, more) = found.finish();
    assert_eq!((list.len(), more.errors, more.others), (10_000, 1, 0));
}
