//! `pci-segment init`: the template that ships inside the binary, written to a folder.
//!
//! The template's approvals and reviews are all of one day, `TEMPLATE_DAY`, and reviews age. What is written carries the day of
//! writing instead, so that a new repository is compliant on its first day and its owners have the full half year.

mod args;

use std::borrow::Cow;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use include_dir::{Dir, File, include_dir};
use inquire::{Select, Text};
use policy::date::Date;

use super::output::{Output, Tone};
use super::{Exit, validate};

pub use args::{Forge, InitArgs};

static TEMPLATE: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../policies-template");

/// The day that stands in the template wherever the day of writing belongs.
const TEMPLATE_DAY: &str = "2026-01-12";

/// Writes the template. Nothing is overwritten unless asked: either all files are written, or none.
///
/// # Errors
/// A file exists already, or cannot be written; the terminal's answers cannot be read.
pub fn init(args: &InitArgs, out: Output) -> anyhow::Result<Exit> {
    let (directory, forge) = ask(args)?;
    let files = files(forge);
    let taken: Vec<_> = files.iter().map(|f| f.path()).filter(|path| directory.join(path).exists()).collect();
    if let (Some(first), false) = (taken.first(), args.force) {
        let others = if taken.len() > 1 { format!(" and {} more of these files", taken.len() - 1) } else { String::new() };
        let (folder, first) = (directory.display(), first.display());
        anyhow::bail!("{folder} already has {first}{others}; choose another folder, or overwrite with --force");
    }
    write(&directory, forge, validate::today()?)?;
    for file in files {
        out.line(format!("{} {}", out.paint(Tone::Good, "wrote"), directory.join(file.path()).display()));
    }
    out.note(format!("next: pci-segment validate -f {}", directory.join("policies").display()));
    Ok(Exit::Done)
}

/// Writes every file of the template below `directory`, except the pipelines of other forges, with `day` for its dates.
///
/// # Errors
/// A file or folder cannot be written.
pub fn write(directory: &Path, forge: Forge, day: Date) -> anyhow::Result<()> {
    for file in files(forge) {
        let path = directory.join(file.path());
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).with_context(|| format!("cannot make the folder {}", parent.display()))?;
        }
        std::fs::write(&path, dated(file, day).as_ref()).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// What no flag says is asked on a terminal, and has its default elsewhere.
fn ask(args: &InitArgs) -> anyhow::Result<(PathBuf, Forge)> {
    let asking = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let directory = match &args.directory {
        Some(directory) => directory.clone(),
        None if asking => Text::new("Folder to write to:").with_default(".").prompt().context("no folder was chosen")?.into(),
        None => PathBuf::from("."),
    };
    let forge = match args.forge {
        Some(forge) => forge,
        None if asking => {
            let forges = vec![Forge::Github, Forge::Gitlab, Forge::Both];
            Select::new("Where will the repository live?", forges).prompt().context("no forge was chosen")?
        }
        None => Forge::Both,
    };
    Ok((directory, forge))
}

fn files(forge: Forge) -> Vec<&'static File<'static>> {
    let mut all = below(&TEMPLATE);
    all.retain(|file| match forge {
        Forge::Github => !file.path().starts_with(".gitlab-ci.yml"),
        Forge::Gitlab => !file.path().starts_with(".github"),
        Forge::Both => true,
    });
    all
}

fn below(dir: &'static Dir<'static>) -> Vec<&'static File<'static>> {
    let mut all: Vec<_> = dir.files().collect();
    all.extend(dir.dirs().flat_map(below));
    all
}

fn dated(file: &'static File<'static>, day: Date) -> Cow<'static, [u8]> {
    match file.contents_utf8() {
        Some(text) if text.contains(TEMPLATE_DAY) => Cow::Owned(text.replace(TEMPLATE_DAY, &day.to_string()).into_bytes()),
        _ => Cow::Borrowed(file.contents()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(forge: Forge) -> (tempfile::TempDir, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), forge, Date::parse("2031-05-06").unwrap()).unwrap();
        let names = files(forge).iter().map(|file| file.path().display().to_string()).collect();
        (folder, names)
    }

    #[test]
    fn every_file_is_written_and_those_that_begin_with_a_dot_too() {
        let (folder, names) = written(Forge::Both);
        for name in [".github/workflows/pci-segment.yml", ".gitlab-ci.yml", "CODEOWNERS", "policies/network/inventory.yaml"] {
            assert!(names.iter().any(|n| n == name), "{name}: {names:?}");
        }
        assert!(names.iter().all(|name| folder.path().join(name).is_file()));
    }

    #[test]
    fn a_forge_gets_its_own_pipeline_only() {
        let (_, github) = written(Forge::Github);
        assert!(github.iter().any(|n| n.starts_with(".github/")) && !github.iter().any(|n| n == ".gitlab-ci.yml"));
        let (_, gitlab) = written(Forge::Gitlab);
        assert!(!gitlab.iter().any(|n| n.starts_with(".github/")) && gitlab.iter().any(|n| n == ".gitlab-ci.yml"));
    }

    #[test]
    fn what_is_written_carries_the_day_of_writing_and_no_other_approval() {
        let (folder, names) = written(Forge::Both);
        let mut dates = 0;
        for name in names {
            let text = std::fs::read_to_string(folder.path().join(&name)).unwrap();
            assert!(!text.contains(TEMPLATE_DAY), "{name}");
            for line in text.lines().filter(|line| line.contains("edAt: 2") || line.contains("doneAt: 2")) {
                assert!(line.contains("At: 2031-05-06"), "{name}: {line}");
                dates += 1;
            }
        }
        assert!(dates > 100, "{dates}");
    }
}
