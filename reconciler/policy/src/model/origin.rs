//! Where an item of a document stands, so that a finding can point at it and at each of its fields.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;

use super::{Place, Spot};

/// The place of an item (a zone, an endpoint, a record, …) and of its fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Where the item begins.
    pub place: Place,
    /// The name of its document.
    pub document: Arc<str>,
    /// A pointer into its document: `/spec/zones/0`.
    pub path: String,
    /// Where the values of its fields stand.
    pub fields: Box<[(&'static str, Spot)]>,
}

impl Origin {
    /// Where a field's value stands; the item itself if the field is absent.
    #[must_use]
    pub fn field(&self, name: &str) -> Place {
        let spot = self.fields.iter().find(|(field, _)| *field == name).map(|(_, spot)| *spot);
        Place { file: self.place.file.clone(), spot: spot.unwrap_or(self.place.spot) }
    }

    /// Whether the field is written.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(field, _)| *field == name)
    }
}
