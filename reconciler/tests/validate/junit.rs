//! JUnit: read back with a real XML parser.

use std::collections::{BTreeMap, BTreeSet};

use policy::rules::catalogue;
use roxmltree::{Document, Node};

use super::{DAY, Folder, GOOD, WIDE, case, json, policy, run, stdout};

fn of(name: &str) -> String {
    let output = run(&case(name), &["validate", "-f", ".", "--as-of", DAY, "--format", "junit"], "");
    stdout(&output).to_owned()
}

fn children<'a>(node: Node<'a, 'a>, name: &'static str) -> Vec<Node<'a, 'a>> {
    node.children().filter(|child| child.has_tag_name(name)).collect()
}

/// The case of a rule over a document.
fn testcase<'a>(document: &'a Document<'a>, suite: &str, rule: &str, class: &str) -> Node<'a, 'a> {
    let name = format!("PCI DSS v4.0.1 {suite}");
    let suites = children(document.root_element(), "testsuite");
    let suite = suites.into_iter().find(|node| node.attribute("name") == Some(&name)).unwrap();
    let cases = children(suite, "testcase");
    let found = cases.into_iter().find(|case| (case.attribute("name"), case.attribute("classname")) == (Some(rule), Some(class)));
    found.unwrap_or_else(|| panic!("{name} {rule} {class}"))
}

fn number(node: Node<'_, '_>, attribute: &str) -> usize {
    node.attribute(attribute).unwrap().parse().unwrap()
}

#[test]
fn each_requirement_is_a_suite_and_its_numbers_are_right() {
    let text = of("text");
    let document = Document::parse(&text).unwrap();
    let suites = children(document.root_element(), "testsuite");
    let names: BTreeSet<&str> = suites.iter().filter_map(|suite| suite.attribute("name")).collect();
    for item in catalogue() {
        for number in item.requirements {
            assert!(names.contains(format!("PCI DSS v4.0.1 {number}").as_str()), "{number}: {names:?}");
        }
    }
    for suite in suites {
        let cases = children(suite, "testcase");
        let with = |name| cases.iter().filter(|case| !children(**case, name).is_empty()).count();
        assert_eq!(
            (number(suite, "tests"), number(suite, "failures"), number(suite, "skipped")),
            (cases.len(), with("failure"), with("skipped")),
            "{suite:?}"
        );
    }
}

#[test]
fn each_rule_has_a_case_for_each_document() {
    let text = of("text");
    let document = Document::parse(&text).unwrap();
    for class in ["empty.yaml", "names.yaml:1", "names.yaml:10", "steering.yaml"] {
        testcase(&document, "1.3.1", "PCI-1.3.1-004", class);
    }
    let failed = |class| !children(testcase(&document, "1.2.8", "PCI-1.2.8-001", class), "failure").is_empty();
    assert!(failed("empty.yaml") && failed("names.yaml:1") && failed("steering.yaml"));
    assert!(!failed("names.yaml:10"));
}

#[test]
fn every_error_of_the_json_output_is_a_failure_with_its_place() {
    let arguments = ["validate", "-f", ".", "--as-of", DAY, "--format", "json"];
    let report = json(&run(&case("open"), &arguments, ""));
    let text = of("open");
    let document = Document::parse(&text).unwrap();
    let mut seen = BTreeMap::new();
    for finding in report["findings"].as_array().unwrap().iter().filter(|finding| finding["severity"] == "error") {
        let (id, file) = (finding["rule_id"].as_str().unwrap(), finding["file"].as_str().unwrap());
        let case = testcase(&document, finding["requirements"][0].as_str().unwrap(), id, file);
        let failure = children(case, "failure")[0];
        let place = format!("{file}:{}:{}", finding["line"], finding["column"]);
        assert!(failure.text().unwrap().contains(&place), "{place}: {failure:?}");
        seen.insert(id, place);
    }
    assert!(seen.len() > 1, "{seen:?}");
}

#[test]
fn a_rule_that_another_one_hides_fails_for_its_own_requirement() {
    let text = of("open");
    let document = Document::parse(&text).unwrap();
    let case = testcase(&document, "1.3.2", "PCI-1.3.1-008", "halves.yaml");
    let failure = children(case, "failure")[0].text().unwrap();
    assert!(failure.contains("breaks PCI-1.3.1-008 at the same place"), "{failure}");
}

#[test]
fn a_warning_fails_only_when_it_counts() {
    let folder = Folder::new(&[("a.yaml", &policy("cde-a", WIDE))]);
    let shape = |more: &[&str]| {
        let output = folder.validate(&[&["--format", "junit"], more].concat());
        let document = Document::parse(stdout(&output)).unwrap();
        let case = testcase(&document, "1.3.1", "PCI-1.3.1-008", "a.yaml");
        (children(case, "failure").len(), children(case, "system-out").len())
    };
    assert_eq!((shape(&[]), shape(&["--strict"])), ((0, 1), (1, 0)));
}

#[test]
fn a_rule_that_did_not_run_is_skipped_with_what_it_needs() {
    let folder = Folder::new(&[("a.yaml", &policy("cde-a", GOOD))]);
    let output = folder.validate(&["--format", "junit"]);
    let document = Document::parse(stdout(&output)).unwrap();
    let skipped = document.descendants().filter(|node| node.has_tag_name("skipped"));
    let reasons: Vec<&str> = skipped.filter_map(|node| node.attribute("message")).collect();
    assert!(reasons.iter().any(|reason| reason.starts_with("not run: needs backends")), "{reasons:?}");
}
