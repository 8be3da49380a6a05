//! `explain` and `diff` as people run them.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot set itself up has failed")]

mod diff;
mod explain;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use std::io::Write as _;

use serde_json::Value;
use tempfile::TempDir;

/// A network with one database, and one policy for it; `{ports}` is what it lets in.
const SET: &str = "apiVersion: pci-segment/v1
kind: Inventory
metadata: {name: all}
spec:
  workloads:
    - {name: db-01, labels: {pci-env: cde, tier: db}, addresses: [10.0.30.11]}
    - {name: app-01, labels: {pci-env: cde, tier: app}, addresses: [10.0.1.10]}
---
apiVersion: pci-segment/v1
kind: NetworkPolicy
metadata: {name: database}
spec:
  podSelector: {matchLabels: {tier: db}}
  ingress:
    - name: from-app
      from: [{ipBlock: {cidr: 10.0.1.0/24}}]
      ports: [{port: PORT}]
";

fn set(port: u16) -> String {
    SET.replace("PORT", &port.to_string())
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn run(folder: &Path, args: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pci-segment"));
    command.args(args).current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
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
    serde_json::from_slice(&output.stdout).unwrap()
}
