//! Names that a document gives and uses, noted for the end of the reading.

use alloc::sync::Arc;

use super::super::names::{Name, Noun};
use super::Cursor;
use crate::model::{Kind, Place, Spot};

impl Cursor<'_, '_> {
    /// Something of this noun could not be read, except perhaps its name.
    pub(in crate::read) fn lost(&mut self, noun: Noun) {
        self.names.lost.insert(noun);
    }

    /// Something of this noun could not be read, not even its name: whatever is not known may be it.
    pub(in crate::read) fn unnamed(&mut self, noun: Noun) {
        self.names.lost.insert(noun);
        self.names.unnamed.insert(noun);
    }

    /// How many names have been defined so far.
    pub(super) fn named_so_far(&self) -> usize {
        self.names.defined.len()
    }

    /// Nothing could be read of a document of this kind, except perhaps the policy's name.
    pub(in crate::read) fn lost_document(&mut self, kind: Kind) {
        for noun in Noun::of(kind) {
            if self.policy.is_some() { self.lost(noun) } else { self.unnamed(noun) }
        }
    }

    /// Something of this name is defined here.
    pub(in crate::read) fn define(&mut self, noun: Noun, name: &Arc<str>, at: Spot) {
        let name = self.named(noun, None, name, at);
        self.names.defined.push(name);
    }

    /// The same for something whose name means something only together with another.
    pub(in crate::read) fn define_of(&mut self, noun: Noun, of: &Arc<str>, name: &Arc<str>, at: Spot) {
        let name = self.named(noun, Some(of), name, at);
        self.names.defined.push(name);
    }

    /// Something of this name must be defined somewhere in the set.
    pub(in crate::read) fn refer(&mut self, noun: Noun, name: &Arc<str>, at: Spot) {
        let name = self.named(noun, None, name, at);
        self.names.used.push(name);
    }

    /// The rule of a policy must be defined somewhere in the set.
    pub(in crate::read) fn refer_of(&mut self, noun: Noun, of: &Arc<str>, name: &Arc<str>, at: Spot) {
        let name = self.named(noun, Some(of), name, at);
        self.names.used.push(name);
    }

    fn named(&self, noun: Noun, of: Option<&Arc<str>>, name: &Arc<str>, at: Spot) -> Name {
        let place = Place { file: self.problems.file(), spot: at };
        Name { noun, of: of.cloned(), name: name.clone(), place, path: self.pointer() }
    }
}
