//! What a source reads at most. The sizes of policy files are those the policy reader itself states.

/// One policy file, checked before it is inflated.
pub(crate) const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// All policy files of a commit together.
pub(crate) const SET_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Policy files of a commit.
pub(crate) const FILES_MAX: usize = 10_000;
/// Folders below each other; deeper than any layout people use, shallow enough for every stack.
pub(crate) const DEPTH_MAX: usize = 16;
/// Names looked at in one commit, whether or not they are policy files.
pub(crate) const ENTRIES_VISITED_MAX: usize = 50_000;
/// Bytes of a path below the policy root.
pub(crate) const PATH_BYTES_MAX: usize = 1024;
/// Bytes of one name; what common file systems take.
pub(crate) const NAME_BYTES_MAX: usize = 255;
/// One folder as Git stores it: room for every entry we would visit, with long names.
pub(crate) const TREE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// One object of any kind, inflated; also bounds what a delta may build.
pub(crate) const OBJECT_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Commits walked between the enforced commit and the head.
pub(crate) const COMMITS_WALKED_MAX: usize = 10_000;
/// Commits handed out for judging, the newest ones.
pub(crate) const COMMITS_JUDGED_MAX: usize = 200;
/// Commits of a history that is walked as a whole, which only a malformed commit makes necessary.
pub(crate) const COMMITS_REACHED_MAX: usize = 1_000_000;
