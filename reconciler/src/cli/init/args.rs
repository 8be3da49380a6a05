//! What `init` can be asked.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// `init`
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Where to write (default: asked for on a terminal, else here)
    pub directory: Option<PathBuf>,
    /// Whose pipeline to write (default: asked for on a terminal, else both)
    #[arg(long, value_enum)]
    pub forge: Option<Forge>,
    /// Overwrites files that are already there
    #[arg(long)]
    pub force: bool,
}

/// Where a policy repository lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Forge {
    /// GitHub: a workflow.
    Github,
    /// GitLab: a CI file.
    Gitlab,
    /// Files for both.
    Both,
}

impl std::fmt::Display for Forge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Github => "GitHub",
            Self::Gitlab => "GitLab",
            Self::Both => "both, or not decided yet",
        })
    }
}
