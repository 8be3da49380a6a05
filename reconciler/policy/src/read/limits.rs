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
