//! The table: what somebody does to the template, and which rule says so.

mod governance;
mod inbound;
mod insecure;
mod outbound;
mod text;
mod trust;

use policy::admit::Circumstances;

/// One way to break the template.
pub(crate) struct Break {
    /// The rule that fires.
    pub(crate) rule: &'static str,
    /// What somebody did.
    pub(crate) story: &'static str,
    /// To the text.
    pub(crate) edits: &'static [Edit],
    /// To the world.
    pub(crate) world: fn(&mut Circumstances),
    /// Rules that win places of their own, because they state another side of the same fact.
    pub(crate) beside: &'static [&'static str],
    /// The rule that wins the place, where a graver one says the same; `rule` then stands beside it.
    pub(crate) under: Option<&'static str>,
    /// Whether somebody has reviewed what the rules say after the edit.
    pub(crate) reviewed: bool,
}

/// An edit: the first `old` at or behind the first `after` becomes `new`.
pub(crate) struct Edit {
    pub(crate) file: &'static str,
    pub(crate) after: &'static str,
    pub(crate) old: &'static str,
    pub(crate) new: &'static str,
}

/// What most breaks have in common.
const PLAIN: Break = Break { rule: "", story: "", edits: &[], world: |_| {}, beside: &[], under: None, reviewed: true };

/// The first `old` in the file becomes `new`.
const fn replace(file: &'static str, old: &'static str, new: &'static str) -> Edit {
    Edit { file, after: "", old, new }
}

/// The first `old` at or behind `after` becomes `new`.
const fn replace_after(file: &'static str, after: &'static str, old: &'static str, new: &'static str) -> Edit {
    Edit { file, after, old, new }
}

/// What a rule allows lies outside of the flows that its record cites.
const UNCITED: &str = "PCI-1.2.4-001";
/// What a rule allows is no service approved between these zones.
const UNAPPROVED: &str = "PCI-1.2.5-004";
/// A flow test of the template expects otherwise.
const TESTED: &str = "FLOWTEST-001";

const APP: &str = "cde-app.yaml";
const CONNECTED: &str = "connected.yaml";
const DATABASE: &str = "cde-database.yaml";
const FLOOR: &str = "floor.yaml";
const FLOWS: &str = "network/data-flows.yaml";
const INVENTORY: &str = "network/inventory.yaml";
const PROXY: &str = "dmz-proxy.yaml";
const RECORDS: &str = "governance/records/cde.yaml";
const SERVICES: &str = "network/services.yaml";
const STANDARD: &str = "governance/standard.yaml";
const TESTS: &str = "tests/flow-tests.yaml";
const ZONES: &str = "network/zones.yaml";

/// Every break.
pub(crate) fn all() -> impl Iterator<Item = &'static Break> {
    let families: [&'static [Break]; 6] =
        [text::BREAKS, inbound::BREAKS, outbound::BREAKS, governance::BREAKS, trust::BREAKS, insecure::BREAKS];
    families.into_iter().flatten()
}

/// Rules that no edit and no state of the world can break today, and why.
pub(crate) fn unbreakable() -> &'static [(&'static str, &'static str)] {
    &[("PCI-1.4.2-003", "every backend there is keeps connection state")]
}
