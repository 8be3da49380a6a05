//! What Azure takes as a rule, and what it refuses.

use std::collections::BTreeSet;

use policy::net::Cidr;
use serde_json::Value;

const RULES_MAX: usize = 1_000;
const PREFIXES_MAX: usize = 4_000;

/// Against the published description.
pub(crate) fn described(definition: &str, value: &Value) -> Result<(), String> {
    let mut schema: Value = serde_json::from_str(include_str!("../../data/openapi/azure.json")).unwrap();
    schema["$ref"] = format!("#/definitions/{definition}").into();
    let validator = jsonschema::validator_for(&schema).unwrap();
    match validator.iter_errors(value).next() {
        Some(error) => Err(format!("{definition} {}: {error}", error.instance_path())),
        None => Ok(()),
    }
}

/// Up to 80 characters; a letter or digit first, a letter, digit or `_` last.
pub(crate) fn named(name: &str) -> bool {
    let all = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    let last = name.bytes().last().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    all && first && last && name.len() <= 80
}

fn list(properties: &Value, one: &str, many: &str) -> Vec<String> {
    let texts = properties[many].as_array().into_iter().flatten();
    properties[one].as_str().into_iter().chain(texts.map(|text| text.as_str().unwrap())).map(str::to_owned).collect()
}

/// All rules of a group together: a code and a message for the first thing that is wrong.
pub(crate) fn judged(rules: &[Value]) -> Result<(), (&'static str, String)> {
    if rules.len() > RULES_MAX {
        return Err(("NetworkSecurityGroupRulesLimitReached", format!("{} rules", rules.len())));
    }
    let (mut numbers, mut names, mut prefixes) = (BTreeSet::new(), BTreeSet::new(), 0);
    for rule in rules {
        let (name, properties) = (rule["name"].as_str().unwrap_or_default(), &rule["properties"]);
        if !named(name) || !names.insert(name.to_lowercase()) {
            return Err(("InvalidResourceName", name.to_owned()));
        }
        let number = properties["priority"].as_u64().unwrap();
        if !(100..=4096).contains(&number) {
            return Err(("SecurityRuleInvalidPriority", format!("{name}: {number}")));
        }
        if !numbers.insert((properties["direction"].as_str().unwrap().to_owned(), number)) {
            return Err(("SecurityRuleConflict", format!("{name}: priority {number} is taken")));
        }
        for (one, many) in
            [("sourceAddressPrefix", "sourceAddressPrefixes"), ("destinationAddressPrefix", "destinationAddressPrefixes")]
        {
            let sides = list(properties, one, many);
            prefixes += sides.len();
            side(name, &sides)?;
        }
        for (one, many) in [("sourcePortRange", "sourcePortRanges"), ("destinationPortRange", "destinationPortRanges")] {
            if list(properties, one, many).is_empty() {
                return Err(("SecurityRuleParameterNotSpecified", format!("{name}: {one}")));
            }
        }
    }
    if prefixes > PREFIXES_MAX * 2 {
        return Err(("NetworkSecurityGroupAddressPrefixLimitReached", format!("{prefixes} prefixes")));
    }
    Ok(())
}

/// Addresses, or one word; no overlaps, no two families.
fn side(name: &str, sides: &[String]) -> Result<(), (&'static str, String)> {
    if sides.is_empty() {
        return Err(("SecurityRuleParameterNotSpecified", format!("{name}: address prefix")));
    }
    let cidrs: Vec<Cidr> = sides.iter().filter_map(|side| Cidr::parse(side).ok()).collect();
    let words = sides.len() - cidrs.len();
    let families: BTreeSet<_> = cidrs.iter().map(|cidr| cidr.family()).collect();
    if families.len() > 1 || (words > 0 && sides.len() > 1) {
        return Err(("SecurityRuleInvalidAddressPrefix", format!("{name}: {sides:?}")));
    }
    let overlap = cidrs.iter().enumerate().any(|(i, a)| cidrs.iter().skip(i + 1).any(|b| a.covers(*b) || b.covers(*a)));
    if overlap { Err(("SecurityRuleOverlappingAddressPrefixes", format!("{name}: {sides:?}"))) } else { Ok(()) }
}
