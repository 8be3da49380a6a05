//! The table of the policy language, row by row, and `verdict` against an evaluation written from the table a second time.

pub(crate) mod generate;
mod inventory;
pub(crate) mod naive;
pub(crate) mod property;
mod table;
pub(crate) mod world;

use alloc::format;
use alloc::string::{String, ToString};

use super::{Endpoint, Flow, Ruleset, Verdict};
use crate::model::Labels;
use crate::net::{Direction, Service};
use crate::read::read;
use crate::rules::tests::{day, snapshot};

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
}

fn policy(name: &str, spec: &str) -> String {
    format!("apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n---\n")
}

fn ruleset(documents: &str) -> Ruleset {
    let reading = read(&snapshot(documents.trim_end_matches("---\n")));
    assert!(reading.problems.is_empty(), "{:?}", reading.problems);
    Ruleset::of(&reading.set, day())
}

fn ask(rules: &Ruleset, own: &[(&str, &str)], direction: Direction, peer: &str, service: Service) -> Verdict {
    rules.verdict(&Flow { endpoint: Endpoint::host(labels(own)), direction, peer: peer.parse().unwrap(), service })
}
