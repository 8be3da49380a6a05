//! What `diff` can be asked.

use std::path::PathBuf;

use clap::Args;

use crate::cli::Format;

/// `diff`
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// Two revisions of a Git repository, as `A..B`; `A` alone is `A..HEAD`
    #[arg(value_name = "REV..REV", required_unless_present = "files", conflicts_with_all = ["files", "to"])]
    pub range: Option<String>,
    /// The old set: files, folders or glob patterns
    #[arg(short, long = "file", num_args = 1.., value_name = "OLD", requires = "to")]
    pub files: Vec<String>,
    /// The new set: files, folders or glob patterns
    #[arg(long, num_args = 1.., value_name = "NEW", requires = "files")]
    pub to: Vec<String>,
    /// The repository that this configuration follows; HEAD is the head of its branch
    #[arg(short, long, value_name = "FILE", requires = "range")]
    pub config: Option<PathBuf>,
    /// A repository on this machine, or a folder in one (default: this folder)
    #[arg(long, value_name = "DIR", requires = "range", conflicts_with = "config")]
    pub repo: Option<PathBuf>,
    /// Compares as of this day (YYYY-MM-DD; default: today, UTC)
    #[arg(long, value_name = "DATE")]
    pub as_of: Option<String>,
    /// Exits 1 if the two differ
    #[arg(long)]
    pub exit_code: bool,
    /// How to show the difference
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub format: Format,
}
