//! The catalogue as `reportingDescriptor`s.

use policy::finding::Severity;
use policy::rules::{Item, catalogue};
use serde_json::{Value, json};

use super::level;
use super::model::{Configuration, Descriptor, Help, Text};

/// Every rule, in the catalogue's order: `ruleIndex` counts in it.
pub(super) fn all() -> Vec<Descriptor> {
    catalogue().map(descriptor).collect()
}

/// A kind of notification.
pub(super) fn notification(id: &'static str, text: &str) -> Descriptor {
    Descriptor {
        id,
        short_description: Text::new(text),
        full_description: None,
        help: None,
        default_configuration: None,
        properties: None,
    }
}

fn descriptor(item: &Item) -> Descriptor {
    let condition = sentence(item.condition);
    let requirements = item.requirements.join(", ");
    Descriptor {
        id: item.id,
        short_description: Text::new(condition.clone()),
        full_description: Some(Text::new(format!("{condition} ({} {requirements})", policy::admit::STANDARD))),
        help: Some(Help { text: item.remediation.to_owned(), markdown: markdown(item, &condition, &requirements) }),
        default_configuration: Some(Configuration { level: level(item.severity) }),
        properties: Some(json!({
            "tags": tags(item),
            "security-severity": security_severity(item),
            "precision": "very-high",
            "waivable": item.waivable,
            "basis": item.basis,
        })),
    }
}

/// The requirements; and `security`, without which code scanning services do not look at `security-severity`.
fn tags(item: &Item) -> Vec<Value> {
    item.requirements.iter().map(|number| json!(number)).chain([json!("security")]).collect()
}

/// Of ten, by the highest severity the rule has. A score is a text in this property.
fn security_severity(item: &Item) -> &'static str {
    match (item.severity, item.waivable) {
        (Severity::Error, false) => "9.0",
        (Severity::Error, true) => "7.0",
        (Severity::Warning, _) => "4.0",
        (Severity::Info, _) => "2.0",
    }
}

fn markdown(item: &Item, condition: &str, requirements: &str) -> String {
    let head = format!("**{} {requirements}**: {condition}\n\n{}\n", policy::admit::STANDARD, item.remediation);
    let example = |title: &str, text: &str| {
        if text.is_empty() { String::new() } else { format!("\n{title}:\n\n```yaml\n{}\n```\n", text.trim_end()) }
    };
    format!("{head}{}{}", example("Breaks it", item.violating), example("The same, mended", item.repaired))
}

/// With a capital and a full stop, as descriptions are written.
fn sentence(condition: &str) -> String {
    let mut chars = condition.chars();
    let first: String = chars.next().map(|c| c.to_uppercase().collect()).unwrap_or_default();
    format!("{first}{}.", chars.as_str().trim_end_matches('.'))
}
