//! The id of a rule as an argument: shells complete it, and a wrong one is answered with the nearest.

use std::ffi::OsStr;

use clap::builder::{PossibleValue, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Arg, Command, Error};
use policy::rules::catalogue;

/// Parses an id in any case, with or without `PCI-` in front.
#[derive(Debug, Clone, Copy)]
pub struct IdParser;

impl TypedValueParser for IdParser {
    type Value = &'static str;

    fn parse_ref(&self, command: &Command, _arg: Option<&Arg>, value: &OsStr) -> Result<Self::Value, Error> {
        let asked = value.to_string_lossy();
        find(&asked).ok_or_else(|| {
            let hint = nearest(&asked).map_or(String::new(), |id| format!("did you mean {id}? "));
            let message =
                format!("no rule has the id {}; {hint}`pci-segment rules` lists all\n", super::super::output::escape(&asked));
            Error::raw(ErrorKind::InvalidValue, message).with_cmd(command)
        })
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(catalogue().map(|item| PossibleValue::new(item.id).help(item.condition))))
    }
}

fn find(asked: &str) -> Option<&'static str> {
    let same = |id: &str| id.eq_ignore_ascii_case(asked) || id.strip_prefix("PCI-").is_some_and(|rest| rest == asked);
    catalogue().map(|item| item.id).find(|id| same(id))
}

/// The id that was probably meant; none for what looks like no id at all.
fn nearest(asked: &str) -> Option<&'static str> {
    /// Longer texts are no ids.
    const ASKED_BYTES_MAX: usize = 64;
    /// Of one: half of the characters are right.
    const LIKENESS_MIN: f64 = 0.5;
    if asked.len() > ASKED_BYTES_MAX {
        return None;
    }
    let asked = asked.to_ascii_uppercase();
    let likeness = |id: &str| strsim::normalized_damerau_levenshtein(id, &asked);
    let best = catalogue().map(|item| (likeness(item.id), item.id)).max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(a.1)))?;
    (best.0 >= LIKENESS_MIN).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_found_in_any_case_and_without_its_prefix() {
        for asked in ["PCI-1.3.1-004", "pci-1.3.1-004", "1.3.1-004"] {
            assert_eq!(find(asked), Some("PCI-1.3.1-004"));
        }
        assert_eq!(find("PCI-1.3.1"), None);
    }

    #[test]
    fn a_wrong_id_is_answered_with_the_nearest() {
        assert_eq!(nearest("PCI-1.3.1-04"), Some("PCI-1.3.1-004"));
        assert_eq!(nearest("PCI-1.31-004"), Some("PCI-1.3.1-004"));
        assert_eq!(nearest("banana"), None);
        assert_eq!(nearest(&"PCI-1.3.1-004".repeat(1_000)), None);
    }
}
