//! What `validate` and `rules` print, as a person, a pipeline or a code scanning service reads it: the real binary on real files.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test that cannot set itself up has failed")]

mod against;
mod command;
mod expected;
mod github;
mod junit;
mod rules;
mod sarif;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The day that tests judge on.
const DAY: &str = "2026-02-01";

/// A policy that needs nothing else to be compliant; with a warning if `block` is wide.
fn policy(name: &str, block: &str) -> String {
    format!(
        "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}, annotations: {{pci-dss: \"Req 1.3.1\"}}}}\nspec:\n  \
         podSelector: {{matchLabels: {{pci-env: cde}}}}\n  policyTypes: [Ingress, Egress]\n  ingress: [{{from: [{{ipBlock: {{cidr: \
         {block}}}}}], ports: [{{protocol: TCP, port: 443}}]}}]\n"
    )
}

/// Compliant, compliant but for a warning, and refused.
const GOOD: &str = "10.0.1.0/24";
const WIDE: &str = "10.0.0.0/20";
const OPEN: &str = "0.0.0.0/0";

/// A folder of policy files.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Runs `validate` on everything in it.
    fn validate(&self, more: &[&str]) -> Output {
        run(self.path(), &[&["validate", "-f", ".", "--as-of", DAY], more].concat(), "")
    }
}

/// Runs the binary with this on its standard input.
fn run(folder: &Path, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pci-segment"));
    command.args(arguments).current_dir(folder).env_remove("NO_COLOR");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Whoever does not read its input closes it.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
}

/// A case: a folder with policy files and what each format says of them.
fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/validate/cases").join(name)
}
