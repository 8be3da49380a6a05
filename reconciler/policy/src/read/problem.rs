//! What is wrong with a text. A problem is a value, not an error: reading goes on.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::model::Place;

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
    /// Not a canonical prefix.
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
