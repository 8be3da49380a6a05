//! Which namespaces there are. A question about one that is not there would be answered for somebody whom no policy selects.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::model::{Kind, PolicySet};
use crate::phrase;
use crate::read::nearest;

/// The namespaces of a set.
#[derive(Debug, Clone)]
pub struct Namespaces<'a> {
    /// None without an Inventory: nobody says which there are.
    names: Option<BTreeSet<&'a str>>,
}

impl<'a> Namespaces<'a> {
    /// Those of this set.
    #[must_use]
    pub fn new(set: &'a PolicySet) -> Self {
        let declared = set.namespaces.iter().map(|namespace| &*namespace.name);
        let lived_in = set.members.iter().map(|member| &*member.namespace);
        let names = || declared.chain(lived_in).chain(["default"]).collect();
        Self { names: set.kinds.contains(&Kind::Inventory).then(names) }
    }

    /// Whether there is one with this name.
    ///
    /// # Errors
    /// There is none; in words, with the nearest that there is.
    pub fn check(&self, name: &str) -> Result<(), String> {
        let Some(names) = self.names.as_ref().filter(|names| !names.contains(name)) else { return Ok(()) };
        let names: Vec<&str> = names.iter().copied().collect();
        let hint = match nearest(name, &names) {
            Some(meant) => format!("Did you mean {meant}?"),
            None => format!("There are {}.", phrase::list(&names.iter().copied().map(String::from).collect::<Vec<_>>())),
        };
        Err(format!("the Inventory has no namespace {}. {hint}", name.escape_default()))
    }
}
