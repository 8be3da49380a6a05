//! The difference as JSON.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::{Change, Difference, Flows, Who};
use crate::phrase;

impl fmt::Display for Who {
    /// The name; for a selector its text, with the namespace before it unless that is `default`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint(name) => f.write_str(name),
            Self::Selected { namespace, selector } if &**namespace == "default" => f.write_str(selector),
            Self::Selected { namespace, selector } => write!(f, "{namespace}/{selector}"),
        }
    }
}

impl Flows {
    /// The other side in words, one block each.
    #[must_use]
    pub fn peers_text(&self) -> Vec<String> {
        self.peers.iter().map(|(first, last)| phrase::span(*first, *last)).collect()
    }

    /// The services in words.
    #[must_use]
    pub fn services_text(&self) -> Vec<String> {
        phrase::all_services(&self.services)
    }
}

impl Serialize for Who {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self {
            Self::Endpoint(name) => map.serialize_entry("endpoint", &**name)?,
            Self::Selected { namespace, selector } => {
                map.serialize_entry("namespace", &**namespace)?;
                map.serialize_entry("selector", selector)?;
            }
        }
        map.end()
    }
}

impl Serialize for Flows {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("peers", &self.peers_text())?;
        map.serialize_entry("services", &self.services_text())?;
        map.serialize_entry("crosses_cde_boundary", &self.crosses)?;
        map.end()
    }
}

impl Serialize for Change {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(6))?;
        map.serialize_entry("who", &self.who)?;
        map.serialize_entry("cde", &self.cde)?;
        map.serialize_entry("direction", &self.direction)?;
        map.serialize_entry("isolation", &self.isolation)?;
        map.serialize_entry("newly_allowed", &self.allowed)?;
        map.serialize_entry("newly_denied", &self.denied)?;
        map.end()
    }
}

impl Serialize for Difference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(6))?;
        map.serialize_entry("different", &!self.is_empty())?;
        map.serialize_entry("cde_boundary_changed", &self.moves_boundary())?;
        map.serialize_entry("changes", &self.changes)?;
        map.serialize_entry("scope", &self.scope)?;
        map.serialize_entry("more", &self.more)?;
        map.serialize_entry("not_compared", &self.not_compared)?;
        map.end()
    }
}
