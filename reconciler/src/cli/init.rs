//! `pci-segment init`: the template that ships inside the binary, written to a folder.

use std::path::Path;

use anyhow::Context as _;
use include_dir::{Dir, File, include_dir};

use super::output::{Output, Tone};
use super::{Exit, InitArgs};

static TEMPLATE: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../policies-template");

/// Writes the template. Nothing is overwritten unless asked: either all files are written, or none.
///
/// # Errors
/// A file exists already, or cannot be written.
pub fn init(args: &InitArgs, out: Output) -> anyhow::Result<Exit> {
    let files = files(&TEMPLATE);
    let taken: Vec<String> =
        files.iter().filter(|f| args.directory.join(f.path()).exists()).map(|f| f.path().display().to_string()).collect();
    if !taken.is_empty() && !args.force {
        anyhow::bail!(
            "{} already has {}; choose another folder, or overwrite with --force",
            args.directory.display(),
            taken.join(", ")
        );
    }
    write(&args.directory)?;
    for file in files {
        out.line(format!("{} {}", out.paint(Tone::Good, "wrote"), args.directory.join(file.path()).display()));
    }
    out.note(format!("next: pci-segment validate -f {}", args.directory.join("policies").display()));
    Ok(Exit::Done)
}

/// Writes every file of the template below `directory`.
///
/// # Errors
/// A file or folder cannot be written.
pub fn write(directory: &Path) -> anyhow::Result<()> {
    for file in files(&TEMPLATE) {
        let path = directory.join(file.path());
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).with_context(|| format!("cannot make the folder {}", parent.display()))?;
        }
        std::fs::write(&path, file.contents()).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn files(dir: &'static Dir<'static>) -> Vec<&'static File<'static>> {
    let mut all: Vec<_> = dir.files().collect();
    all.extend(dir.dirs().flat_map(files));
    all
}
