//! Policy files named on the command line, as a snapshot. A path keeps the name it was given, so that messages can be clicked.

use std::fs::{self, Metadata};
use std::path::Path;

use anyhow::{Context as _, bail};
use policy::read::limits::{FILE_BYTES_MAX, FILES_MAX};
use policy::snapshot::{Entry, Snapshot};

/// Deeper folders are a loop or a mistake.
const FOLDER_DEPTH_MAX: usize = 16;

/// Reads files, folders and glob patterns.
///
/// # Errors
/// A path that matches nothing or cannot be read, or more files than a policy set may have.
pub fn load(patterns: &[String]) -> anyhow::Result<Snapshot> {
    let mut snapshot = Snapshot::default();
    for pattern in patterns {
        for path in expand(pattern)? {
            let metadata = fs::symlink_metadata(&path).with_context(|| format!("cannot read {path}"))?;
            if metadata.is_dir() {
                add_folder(&mut snapshot, &path, 0)?;
            } else {
                add(&mut snapshot, &path, &follow(&path, metadata)?)?;
            }
        }
    }
    if snapshot.entries.is_empty() {
        bail!("no .yaml or .yml file in {}", patterns.join(", "));
    }
    Ok(snapshot)
}

/// A file somebody names is read even through a link; links inside folders are not followed.
fn follow(path: &str, metadata: Metadata) -> anyhow::Result<Metadata> {
    if metadata.is_symlink() { fs::metadata(path).with_context(|| format!("cannot read {path}")) } else { Ok(metadata) }
}

fn expand(pattern: &str) -> anyhow::Result<Vec<String>> {
    if Path::new(pattern).exists() {
        return Ok(vec![pattern.to_owned()]);
    }
    let found = glob::glob(pattern).with_context(|| format!("`{pattern}` is not a file, folder or pattern"))?;
    let mut paths = Vec::new();
    for path in found {
        let path = path.context("cannot read a folder of the pattern")?;
        paths.push(path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?.to_owned());
    }
    if paths.is_empty() {
        bail!("{pattern}: no such file or folder, and nothing matches it as a pattern");
    }
    Ok(paths)
}

fn add_folder(snapshot: &mut Snapshot, folder: &str, depth: usize) -> anyhow::Result<()> {
    if depth > FOLDER_DEPTH_MAX {
        bail!("{folder} is more than {FOLDER_DEPTH_MAX} folders deep");
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read the folder {folder}"))? {
        let name = entry?.file_name();
        let Some(name) = name.to_str() else { bail!("{folder} holds a name that is not UTF-8: {}", name.display()) };
        names.push(name.to_owned());
    }
    names.sort();
    for name in names.iter().filter(|name| !name.starts_with('.')) {
        let path = if folder == "." { name.clone() } else { format!("{}/{name}", folder.trim_end_matches('/')) };
        let metadata = fs::symlink_metadata(&path).with_context(|| format!("cannot read {path}"))?;
        if metadata.is_dir() {
            add_folder(snapshot, &path, depth + 1)?;
        } else if Path::new(name).extension().is_some_and(|e| e == "yaml" || e == "yml") {
            add(snapshot, &path, &metadata)?;
        }
    }
    Ok(())
}

fn add(snapshot: &mut Snapshot, path: &str, metadata: &Metadata) -> anyhow::Result<()> {
    if snapshot.entries.len() > FILES_MAX {
        bail!("more than {FILES_MAX} files; a policy set has at most that many");
    }
    let entry = if metadata.is_symlink() {
        Entry::Symlink
    } else if !metadata.is_file() {
        bail!("{path} is not a regular file");
    } else if metadata.len() > FILE_BYTES_MAX as u64 {
        Entry::TooLarge { bytes: metadata.len() }
    } else {
        Entry::File(fs::read(path).with_context(|| format!("cannot read {path}"))?)
    };
    snapshot.entries.insert(path.to_owned(), entry);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_matches_nothing_is_named() {
        assert!(load(&["no/such/*.yaml".to_owned()]).unwrap_err().to_string().contains("no/such/*.yaml"));
    }

    #[test]
    fn folders_give_their_yaml_files_and_no_dot_files() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.yaml", "b.yml", "c.txt", ".d.yaml"] {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        let snapshot = load(&[dir.path().to_str().unwrap().to_owned()]).unwrap();
        let names: Vec<_> = snapshot.entries.keys().filter_map(|p| p.rsplit('/').next()).collect();
        assert_eq!(names, ["a.yaml", "b.yml"]);
    }

    #[test]
    fn a_file_over_the_limit_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.yaml"), vec![b'a'; 2 * 1024 * 1024]).unwrap();
        let snapshot = load(&[dir.path().to_str().unwrap().to_owned()]).unwrap();
        assert!(matches!(snapshot.entries.values().next(), Some(Entry::TooLarge { bytes: 2_097_152 })));
    }
}
