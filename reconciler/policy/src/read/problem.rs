//! What is wrong with a text. A problem is a value, not an error: reading goes on.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::limits::PROBLEMS_MAX;
use crate::model::{Place, Spot};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $rule:literal;)*) => {
        /// The kinds of problems. Each belongs to one rule of the catalogue.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// As the output names it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The rule that a problem of this kind breaks.
            #[must_use]
            pub const fn rule_id(self) -> &'static str {
                match self { $(Self::$name => concat!("PCI-1.2.8-", $rule),)* }
            }
        }
    };
}

codes! {
    /// A symlink, submodule or executable where a YAML file is expected.
    NotAFile = "not-a-file", "001";
    /// A limit is passed.
    Limit = "limit", "001";
    /// Not UTF-8.
    NotUtf8 = "not-utf8", "001";
    /// A byte order mark.
    ByteOrderMark = "byte-order-mark", "001";
    /// A control character, or one that shows nothing or turns text round.
    ControlCharacter = "control-character", "001";
    /// A tab outside a comment.
    Tab = "tab", "001";
    /// A letter that only looks like one of ours.
    NotAscii = "not-ascii", "001";
    /// Not YAML 1.2.
    YamlSyntax = "yaml-syntax", "001";
    /// A part of YAML that is not part of the language.
    YamlFeature = "yaml-feature", "001";
    /// A key twice in one mapping.
    DuplicateKey = "duplicate-key", "001";
    /// Nothing where a document is expected.
    EmptyDocument = "empty-document", "001";
    /// A key without a value.
    NullValue = "null-value", "001";
    /// A key that is not in the schema.
    UnknownField = "unknown-field", "001";
    /// A required key is absent.
    MissingField = "missing-field", "001";
    /// A list for a mapping, a string for a number, …
    WrongType = "wrong-type", "001";
    /// A plain scalar that YAML may read as something else.
    NeedsQuotes = "needs-quotes", "001";
    /// Outside an enumeration, a range or a grammar.
    BadValue = "bad-value", "001";
    /// A selector condition that says nothing.
    BadSelector = "bad-selector", "001";
    /// `apiVersion` or `kind` is not ours.
    UnknownDocument = "unknown-document", "002";
    /// Outside the grammar of names.
    BadName = "bad-name", "003";
    /// A name twice.
    DuplicateName = "duplicate-name", "003";
    /// A reference to nothing.
    UnknownReference = "unknown-reference", "003";
    /// Two facts that exclude each other.
    Contradiction = "contradiction", "003";
    /// Not a canonical prefix or address.
    BadCidr = "bad-cidr", "004";
    /// An exception that is not strictly inside its block, or leaves nothing.
    BadExcept = "bad-except", "005";
    /// A port, range, protocol or ICMP type that no packet has.
    BadPort = "bad-port", "006";
    /// A peer that names nobody.
    BadPeer = "bad-peer", "007";
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Which kind.
    pub code: Code,
    /// Where.
    pub place: Place,
    /// A JSON pointer into the document, if it is about a field.
    pub path: Option<String>,
    /// The policy, if its name was read.
    pub policy: Option<Arc<str>>,
    /// What is wrong.
    pub message: String,
    /// What was surely or probably meant.
    pub did_you_mean: Option<String>,
    /// Other places that belong to it.
    pub related: Vec<Place>,
}

/// Everything found so far: at most [`PROBLEMS_MAX`] in full, the rest counted.
#[derive(Debug, Default)]
pub(super) struct Problems {
    list: Vec<Problem>,
    more: usize,
    file: Arc<str>,
}

impl Problems {
    /// What follows is about this file.
    pub(super) fn begin(&mut self, file: Arc<str>) {
        self.file = file;
    }

    pub(super) fn file(&self) -> Arc<str> {
        self.file.clone()
    }

    /// A problem of the file as text.
    pub(super) fn add(&mut self, code: Code, spot: Spot, message: String) {
        let place = Place { file: self.file.clone(), spot };
        self.push(Problem { code, place, path: None, policy: None, message, did_you_mean: None, related: Vec::new() });
    }

    /// Whether further problems are only counted.
    pub(super) fn is_full(&self) -> bool {
        self.list.len() >= PROBLEMS_MAX
    }

    /// Counts one that is not worth writing down.
    pub(super) fn one_more(&mut self) {
        self.more += 1;
    }

    pub(super) fn push(&mut self, problem: Problem) {
        if self.is_full() {
            self.one_more();
        } else {
            self.list.push(problem);
        }
    }

    /// Takes over what was found elsewhere, after what was found here.
    pub(super) fn append(&mut self, other: Self) {
        self.more += other.more;
        other.list.into_iter().for_each(|problem| self.push(problem));
    }

    /// Sorted by place, and how many more there were.
    pub(super) fn finish(mut self) -> (Vec<Problem>, usize) {
        self.list.sort_by(|a, b| (&a.place, a.code).cmp(&(&b.place, b.code)));
        (self.list, self.more)
    }
}
