//! Who may import what: walls that Cargo holds are read from `cargo metadata`, walls between modules from their text.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Crates of the workspace.
const OURS: [&str; 6] = ["pci-segment", "policy", "enforcer-abi", "enforcer", "webhook", "tests"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What a crate needs when it is built for use.
fn dependencies(metadata: &Value, name: &str) -> BTreeSet<String> {
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages.iter().find(|package| package["name"] == name).unwrap_or_else(|| panic!("no package {name}"));
    let wanted = package["dependencies"].as_array().unwrap().iter().filter(|dependency| dependency["kind"].is_null());
    wanted.map(|dependency| dependency["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_crate_uses_only_what_it_may() {
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    let output = cargo.args(["metadata", "--format-version=1", "--no-deps", "--offline"]).current_dir(root()).output().unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();

    assert_eq!(
        dependencies(&metadata, "policy"),
        set(&["saphyr-parser", "serde", "sha2"]),
        "the core computes and does nothing else"
    );
    assert_eq!(dependencies(&metadata, "enforcer-abi"), set(&[]), "the kernel's words need nothing");
    let enforcer = dependencies(&metadata, "enforcer");
    assert!(enforcer.contains("aya") && enforcer.contains("enforcer-abi"));
    for (name, ours) in [("enforcer", &["enforcer-abi"][..]), ("webhook", &[]), ("pci-segment", &["enforcer", "policy", "webhook"])]
    {
        let used: BTreeSet<_> = dependencies(&metadata, name).into_iter().filter(|used| OURS.contains(&used.as_str())).collect();
        assert_eq!(used, set(ours), "{name}");
    }
    for name in ["policy", "pci-segment", "webhook"] {
        assert!(
            dependencies(&metadata, name).iter().all(|used| !used.starts_with("aya")),
            "{name}: only the loader speaks to the kernel"
        );
    }
    let lib = std::fs::read_to_string(root().join("reconciler/policy/src/lib.rs")).unwrap();
    assert!(lib.contains("\n#![no_std]\n"), "the core cannot reach the standard library even by mistake");
}

/// The Rust files of a module: `name.rs` and everything below `name/`, without tests.
fn module(name: &str) -> Vec<PathBuf> {
    let source = root().join("reconciler/src");
    let mut files: Vec<PathBuf> = [source.join(format!("{name}.rs"))].into_iter().filter(|file| file.is_file()).collect();
    let mut folders = vec![source.join(name)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            match path.file_name().unwrap().to_str().unwrap() {
                "tests" | "tests.rs" => {}
                _ if path.is_dir() => folders.push(path),
                _ => files.push(path),
            }
        }
    }
    assert!(!files.is_empty(), "no module {name}");
    files
}

/// Lines of code: no comments, and nothing from the tests at the end on.
fn code(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap();
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).map(str::to_owned).collect()
}

/// Every line of a module that holds one of these words as a path or a part of one.
fn offenders(name: &str, words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for file in module(name) {
        for line in code(&file) {
            if words.iter().any(|word| names(&line, word)) {
                found.push(format!("{}: {}", file.display(), line.trim()));
            }
        }
    }
    found
}

/// Whether a line names a path that begins with this word.
fn names(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = &line[at + word.len()..];
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '.' || c == ':') && after.starts_with("::")
            || line.trim_start() == format!("use {word};")
    })
}

#[test]
fn the_edges_of_the_shell_do_not_know_each_other() {
    let edges = ["source", "backend", "forge", "store"];
    for edge in edges {
        let others: Vec<String> = edges.iter().filter(|other| **other != edge).map(|other| format!("crate::{other}")).collect();
        let words: Vec<&str> = others.iter().map(String::as_str).collect();
        assert_eq!(offenders(edge, &words), Vec::<String>::new(), "{edge} uses another edge");
        let loops = ["crate::run", "crate::cli"];
        assert_eq!(offenders(edge, &loops), Vec::<String>::new(), "{edge} uses what is above it");
    }
}

#[test]
fn every_edge_has_one_sdk_of_its_own() {
    for (sdk, owners) in [
        ("gix", &["source", "config", "run"][..]),
        ("reqwest", &["source", "forge", "tls", "backend", "cli"]),
        ("aws_config", &["backend"]),
        ("aws_sdk_ec2", &["backend"]),
        ("azure_core", &["backend"]),
        ("azure_identity", &["backend"]),
        ("sqlx", &["store", "audit"]),
        ("axum", &["run"]),
        ("enforcer", &["backend", "run", "cli"]),
    ] {
        for name in ["source", "backend", "forge", "store", "audit", "config", "converge", "run", "cli", "posture", "tls", "secret"]
        {
            if !owners.contains(&name) {
                assert_eq!(offenders(name, &[sdk]), Vec::<String>::new(), "{name} uses {sdk}");
            }
        }
    }
}

#[test]
fn the_loop_knows_its_seams_and_no_sdk_and_never_reads_a_clock() {
    let foreign = [
        "sqlx",
        "axum",
        "gix",
        "reqwest",
        "aya",
        "enforcer",
        "webhook",
        "crate::source",
        "crate::backend",
        "crate::forge",
        "crate::run",
    ];
    assert_eq!(offenders("converge", &foreign), Vec::<String>::new());
    for file in module("converge") {
        for line in code(&file) {
            for clock in ["Timestamp::now", "SystemTime", "Zoned::now", "Instant::now"] {
                assert!(!line.contains(clock), "{}: {line}", file.display());
            }
        }
    }
}

#[test]
fn the_search_for_offenders_finds_one() {
    assert!(names("use crate::store::Store;", "crate::store"));
    assert!(names("    gix::open(path)", "gix") && names("use sqlx;", "sqlx"));
    assert!(!names("let gix = 1;", "gix") && !names("mygix::open()", "gix") && !names("crate::storehouse::X", "crate::store"));
    assert!(!offenders("source", &["gix"]).is_empty() && !offenders("store", &["crate::converge"]).is_empty());
}

#[test]
fn the_limits_of_the_core_are_those_of_the_kernel() {
    use policy::lower::bpf;
    let size = |n: u32| usize::try_from(n).unwrap();
    assert_eq!(bpf::HOSTS_MAX, size(enforcer_abi::HOSTS_MAX));
    assert_eq!(bpf::NETS_MAX, size(enforcer_abi::NETS_MAX));
    assert_eq!(bpf::INTERVALS_MAX, size(enforcer_abi::INTERVALS_MAX));
    assert_eq!(bpf::SLICE_INTERVALS_MAX, size(enforcer_abi::SLICE_INTERVALS_MAX));
    assert_eq!(bpf::ids::RULE_IDS_MAX, enforcer_abi::RULE_ID_MAX);
    assert_eq!(policy::net::service::SERVICE_MAX, enforcer_abi::SERVICE_MAX);
}
