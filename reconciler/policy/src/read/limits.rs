//! Limits of what is read, unit last. A set beyond them is not a policy somebody reviewed; it is an accident or an attack.

/// Bytes of one file: 1 MiB.
pub const FILE_BYTES_MAX: usize = 1 << 20;
/// Files of one set.
pub const FILES_MAX: usize = 10_000;
/// Bytes of one set: 64 MiB.
pub const SET_BYTES_MAX: usize = 64 << 20;
/// Levels of nesting.
pub const DEPTH_MAX: usize = 32;
/// Problems listed; the rest is counted.
pub const PROBLEMS_MAX: usize = 1_000;
/// Documents of one file.
pub const DOCUMENTS_PER_FILE_MAX: usize = 1_000;
/// Scalars, lists and mappings of one file.
pub const NODES_PER_FILE_MAX: usize = 200_000;
/// Bytes of one scalar: 8 KiB.
pub const SCALAR_BYTES_MAX: usize = 8 << 10;
/// Policies of one set.
pub const POLICIES_MAX: usize = 10_000;
/// Rules of one direction of a policy.
pub const RULES_PER_DIRECTION_MAX: usize = 1_000;
/// Peers of one rule.
pub const PEERS_PER_RULE_MAX: usize = 1_000;
/// Ports of one rule.
pub const PORTS_PER_RULE_MAX: usize = 256;
/// Exceptions of one block.
pub const EXCEPTS_PER_BLOCK_MAX: usize = 256;
/// Labels of one object.
pub const LABELS_PER_OBJECT_MAX: usize = 64;
/// Conditions of one selector.
pub const TERMS_PER_SELECTOR_MAX: usize = 64;
/// Values of one selector condition.
pub const VALUES_PER_TERM_MAX: usize = 256;
/// Endpoints of one set.
pub const ENDPOINTS_MAX: usize = 50_000;
/// Items of any list that has no limit of its own.
pub const ITEMS_PER_LIST_MAX: usize = 10_000;
/// Prefixes of one zone.
pub const CIDRS_PER_ZONE_MAX: usize = 4_096;
/// Classes of one zone or service.
pub const CLASSES_MAX: usize = 4;
/// Addresses of one endpoint.
pub const ADDRESSES_PER_ENDPOINT_MAX: usize = 64;
/// Ports that one endpoint declares, or one service has.
pub const PORTS_PER_LIST_MAX: usize = 256;
/// Prefixes of endpoints that all selector peers of a set stand for, each different answer counted once: what is kept.
pub const RESOLVED_PREFIXES_MAX: usize = 2_000_000;
/// Addresses and declared ports looked at while selector peers and port names are resolved.
pub const RESOLVE_STEPS_MAX: usize = 20_000_000;
/// Names compared to find out which was meant. Beyond it a problem goes without a suggestion.
pub const GUESS_STEPS_MAX: usize = 200_000;

/// A limit by its name.
pub(super) const ITEMS: (&str, usize) = ("ITEMS_PER_LIST_MAX", ITEMS_PER_LIST_MAX);
/// A limit by its name.
pub(super) const CLASSES: (&str, usize) = ("CLASSES_MAX", CLASSES_MAX);
