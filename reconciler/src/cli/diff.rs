//! `pci-segment diff`: what two sets, or two revisions of one, mean differently.
//!
//! The core says what differs; here the two sets are found and read. Sets that would not be admitted are compared all the same, and a
//! note says so: policies that could not be read isolate nobody, and their rules allow nothing.

mod args;
mod show;

use std::path::Path;

use anyhow::{Context as _, bail};
use policy::difference::difference;
use policy::model::PolicySet;
use policy::read::Reading;

use super::output::Output;
use super::plan::Scratch;
use super::{Exit, Format, files, run, validate};
use crate::config::Config;
use crate::converge::{Head, Source as _};
use crate::reading::{read, read_named};
use crate::run::git_config;
use crate::source::git::{GitSource, Revisions};

pub use args::DiffArgs;

/// Compares, prints.
///
/// # Errors
/// Wrong usage, or a set that cannot be found.
pub fn diff(args: &DiffArgs, out: Output) -> anyhow::Result<Exit> {
    let today = validate::day(args.as_of.as_deref())?;
    let [old, new] = sets(args, out)?;
    let difference = difference(&old, &new, today);
    match args.format {
        Format::Json => out.json(&difference),
        Format::Human => show::show(&difference, out),
    }
    Ok(if args.exit_code && !difference.is_empty() { Exit::Violations } else { Exit::Done })
}

fn sets(args: &DiffArgs, out: Output) -> anyhow::Result<[PolicySet; 2]> {
    let Some(range) = &args.range else {
        let read = |patterns: &[String], name| anyhow::Ok(noted(read_named(&files::load(patterns)?), name, out));
        return Ok([read(&args.files, "the old set")?, read(&args.to, "the new set")?]);
    };
    let (old, new) = revisions(range)?;
    match &args.config {
        Some(config) => followed(config, old, new, out),
        None => both(&Revisions::around(args.repo.as_deref().unwrap_or(Path::new(".")))?, old, new, out),
    }
}

/// `A..B`, or `A` for `A..HEAD`.
fn revisions(range: &str) -> anyhow::Result<(&str, &str)> {
    if range.contains("...") {
        bail!("{range}: write A..B; a merge base is not looked for");
    }
    let (old, new) = range.split_once("..").unwrap_or((range, "HEAD"));
    let or_head = |name| if str::is_empty(name) { "HEAD" } else { name };
    Ok((or_head(old), or_head(new)))
}

fn both(revisions: &Revisions, old: &str, new: &str, out: Output) -> anyhow::Result<[PolicySet; 2]> {
    let of = |name: &str| anyhow::Ok(noted(read(&revisions.snapshot(name)?.1), name, out));
    Ok([of(old)?, of(new)?])
}

/// Revisions of the repository that a configuration follows, read through a mirror of our own.
fn followed(config: &Path, old: &str, new: &str, out: Output) -> anyhow::Result<[PolicySet; 2]> {
    let config = Config::load(config)?;
    let mut git = git_config(&config)?;
    let scratch = Scratch::make()?;
    let mirror = scratch.0.join("mirror.git");
    git.mirror.clone_from(&mirror);
    let below = git.path.clone();
    let source = GitSource::new(git)?;
    match run::runtime()?.block_on(source.head())? {
        Head::At(_) => {}
        Head::EmptyRepository => bail!("the repository is empty: push a first commit"),
        Head::BranchMissing => bail!("the branch {} does not exist", config.source.branch.as_str()),
    }
    let revisions = Revisions::open(&mirror, Path::new(&below))?;
    both(&revisions, old, new, out).context("only the branch that is followed is looked at; HEAD is its head")
}

/// The set, and a note if it cannot be the whole truth.
fn noted(reading: Reading, name: &str, out: Output) -> PolicySet {
    let problems = reading.problems.len() + reading.more_problems;
    if problems > 0 {
        out.note(format!(
            "note: {name} has {problems} problems; policies that could not be read isolate nobody here; the set would be refused; see pci-segment validate"
        ));
    }
    reading.set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_two_revisions_and_head_where_one_is_left_out() {
        assert_eq!(revisions("HEAD~1..main").unwrap(), ("HEAD~1", "main"));
        assert_eq!(revisions("v1").unwrap(), ("v1", "HEAD"));
        assert_eq!(revisions("v1..").unwrap(), ("v1", "HEAD"));
        assert_eq!(revisions("..v2").unwrap(), ("HEAD", "v2"));
        assert!(revisions("a...b").is_err());
    }
}
