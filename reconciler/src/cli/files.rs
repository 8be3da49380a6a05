//! Policy files named on the command line, as a snapshot. A path keeps the name it was given, so that messages can be clicked.
//!
//! `-` is standard input. What cannot be read does not end the reading: it stands in the snapshot as refused, so that a set is never
//! judged as if the file were not part of it, and its error is kept for the exit code.

use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use policy::read::limits::{FILE_BYTES_MAX, FILES_MAX};
use policy::snapshot::{Entry, Snapshot};

use super::output::escape;

/// Deeper folders are a loop or a mistake.
const FOLDER_DEPTH_MAX: usize = 16;
/// Who asks for standard input.
const STDIN: &str = "-";
/// What messages call it; no path of a repository looks like this.
pub const STDIN_NAME: &str = "<stdin>";

/// What to read: the files that were named, or a whole policy repository's folder.
///
/// # Errors
/// The folder's path is not UTF-8.
pub fn named(files: &[String], repo: Option<&Path>) -> anyhow::Result<Vec<String>> {
    match repo {
        Some(folder) => Ok(vec![folder.to_str().context("--repo is not UTF-8")?.to_owned()]),
        None => Ok(files.to_vec()),
    }
}

/// Reads files, folders and glob patterns.
///
/// # Errors
/// A path that matches nothing or cannot be read, or more files than a policy set may have.
pub fn load(patterns: &[String]) -> anyhow::Result<Snapshot> {
    let Loaded { snapshot, mut errors, .. } = load_readable(patterns)?;
    if errors.is_empty() { Ok(snapshot) } else { Err(errors.swap_remove(0)) }
}

/// What was found.
#[derive(Debug)]
pub struct Loaded {
    /// The files.
    pub snapshot: Snapshot,
    /// Names in folders that begin with a dot, and so were left out.
    pub hidden: usize,
    /// Paths that could not be read; each stands in the snapshot as refused.
    pub errors: Vec<anyhow::Error>,
}

/// The same, but goes on after a path that cannot be read: such a path is refused in the snapshot, and its error returned.
///
/// # Errors
/// Nothing at all could be read, or there are more files than a policy set may have.
pub fn load_readable(patterns: &[String]) -> anyhow::Result<Loaded> {
    let mut loader = Loader::default();
    for pattern in patterns {
        loader.pattern(pattern)?;
    }
    let Loader { snapshot, hidden, mut errors } = loader;
    if snapshot.entries.len() == errors.len() && !errors.is_empty() {
        return Err(errors.swap_remove(0));
    }
    if snapshot.entries.is_empty() {
        bail!("no .yaml or .yml file in {}", patterns.join(", "));
    }
    Ok(Loaded { snapshot, hidden, errors })
}

#[derive(Default)]
struct Loader {
    snapshot: Snapshot,
    hidden: usize,
    errors: Vec<anyhow::Error>,
}

impl Loader {
    fn pattern(&mut self, pattern: &str) -> anyhow::Result<()> {
        if pattern == STDIN {
            let entry = standard_input();
            return self.keep(STDIN_NAME, entry);
        }
        let paths = match expand(pattern) {
            Ok(paths) => paths,
            Err(error) => return self.keep(pattern, Err(error)),
        };
        for path in paths {
            match fs::metadata(&path) {
                // What somebody names is read even through a link; links inside folders are not followed.
                Ok(metadata) if metadata.is_dir() => self.folder(&path, 0)?,
                Ok(metadata) => self.keep(&path, read(&path, &metadata))?,
                Err(error) => self.keep(&path, Err(unreadable(&path, error)))?,
            }
        }
        Ok(())
    }

    fn folder(&mut self, folder: &str, depth: usize) -> anyhow::Result<()> {
        if depth > FOLDER_DEPTH_MAX {
            bail!("{folder} is more than {FOLDER_DEPTH_MAX} folders deep");
        }
        let names = match names(folder) {
            Ok(names) => names,
            Err(error) => return self.keep(folder, Err(error)),
        };
        self.hidden += names.iter().filter(|name| name.starts_with('.') && *name != ".git").count();
        for name in names.iter().filter(|name| !name.starts_with('.')) {
            let path = if folder == "." { name.clone() } else { format!("{}/{name}", folder.trim_end_matches('/')) };
            let document = Path::new(name).extension().is_some_and(|e| e == "yaml" || e == "yml");
            match fs::symlink_metadata(&path) {
                Ok(metadata) if metadata.is_dir() => self.folder(&path, depth + 1)?,
                // A commit that holds it so would be refused.
                Ok(metadata) if document && is_executable(&metadata) => self.keep(&path, Ok(Entry::Executable))?,
                Ok(metadata) if document => self.keep(&path, read(&path, &metadata))?,
                Ok(_) => {}
                Err(error) => self.keep(&path, Err(unreadable(&path, error)))?,
            }
        }
        Ok(())
    }

    fn keep(&mut self, path: &str, entry: anyhow::Result<Entry>) -> anyhow::Result<()> {
        if self.snapshot.entries.len() > FILES_MAX {
            bail!("more than {FILES_MAX} files; a policy set has at most that many");
        }
        let entry = entry.unwrap_or_else(|error| {
            let cause = error.root_cause().to_string();
            // The finding names the path itself.
            let reason = escape(cause.trim_start_matches(path).trim_start_matches(": "));
            self.errors.push(error);
            Entry::Refused { reason }
        });
        self.snapshot.entries.insert(path.to_owned(), entry);
        Ok(())
    }
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

fn names(folder: &str) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read the folder {folder}"))? {
        let name = entry.with_context(|| format!("cannot read the folder {folder}"))?.file_name();
        let Some(name) = name.to_str() else { bail!("{folder} holds a name that is not UTF-8: {}", name.display()) };
        names.push(name.to_owned());
    }
    names.sort();
    Ok(names)
}

/// Marked as a program. A file system without modes marks everything for everybody.
fn is_executable(metadata: &Metadata) -> bool {
    let mode = metadata.permissions().mode() & 0o777;
    metadata.is_file() && mode & 0o111 != 0 && mode != 0o777
}

fn read(path: &str, metadata: &Metadata) -> anyhow::Result<Entry> {
    if metadata.is_symlink() {
        return Ok(Entry::Symlink);
    }
    if !metadata.is_file() {
        bail!("{path} is not a regular file");
    }
    if metadata.len() > FILE_BYTES_MAX as u64 {
        return Ok(Entry::TooLarge { bytes: metadata.len() });
    }
    let file = File::open(path).map_err(|error| unreadable(path, error))?;
    // The size may be another one by now, or none as in /proc.
    bounded(file, path)?.map(Entry::File).with_context(|| format!("{path} grew past {FILE_BYTES_MAX} bytes while it was read"))
}

fn standard_input() -> anyhow::Result<Entry> {
    bounded(std::io::stdin().lock(), "standard input")?
        .map(Entry::File)
        .with_context(|| format!("standard input has more than {FILE_BYTES_MAX} bytes; a policy file has at most that many"))
}

/// All bytes, or `None` if there are more than a policy file may have.
fn bounded(source: impl Read, name: &str) -> anyhow::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    source.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(|error| unreadable(name, error))?;
    Ok((bytes.len() <= FILE_BYTES_MAX).then_some(bytes))
}

fn unreadable(path: &str, error: std::io::Error) -> anyhow::Error {
    anyhow::Error::new(error).context(format!("cannot read {path}"))
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
    fn g01_a_policy_file_that_is_a_program_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        for (name, mode) in [("a.yaml", 0o755), ("b.yaml", 0o644), ("c.yaml", 0o777)] {
            fs::write(dir.path().join(name), "x").unwrap();
            fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        let snapshot = load(&[dir.path().to_str().unwrap().to_owned()]).unwrap();
        let programs = snapshot.entries.values().filter(|entry| **entry == Entry::Executable).count();
        assert_eq!((programs, snapshot.entries.len()), (1, 3));
    }

    #[test]
    fn a_file_over_the_limit_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.yaml"), vec![b'a'; 2 * 1024 * 1024]).unwrap();
        let snapshot = load(&[dir.path().to_str().unwrap().to_owned()]).unwrap();
        assert!(matches!(snapshot.entries.values().next(), Some(Entry::TooLarge { bytes: 2_097_152 })));
    }

    #[test]
    fn what_cannot_be_read_is_refused_and_the_rest_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let good = dir.path().join("a.yaml");
        fs::write(&good, "x").unwrap();
        let paths = [good.to_str().unwrap().to_owned(), "no/such.yaml".to_owned()];
        let Loaded { snapshot, errors, .. } = load_readable(&paths).unwrap();
        assert_eq!(errors.len(), 1);
        assert!(matches!(snapshot.entries["no/such.yaml"], Entry::Refused { .. }));
        assert_eq!(snapshot.entries[&paths[0]], Entry::File(b"x".to_vec()));
        assert!(load(&paths).unwrap_err().to_string().contains("no/such.yaml"));
    }

    #[test]
    fn a_stream_is_read_up_to_the_limit_and_no_further() {
        assert_eq!(bounded(std::io::repeat(b'a'), "endless").unwrap(), None);
        assert_eq!(bounded(&b"abc"[..], "short").unwrap().as_deref(), Some(&b"abc"[..]));
    }
}
