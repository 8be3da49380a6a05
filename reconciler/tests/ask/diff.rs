//! `diff`: two sets of files, or two revisions.

use std::path::Path;
use std::process::Command;

use crate::{code, folder, json, run, set, stderr, stdout};

fn files(old: &str, new: &str, more: &[&str]) -> std::process::Output {
    let folder = folder(&[("old.yaml", old), ("new.yaml", new)]);
    run(folder.path(), &[&["diff", "-f", "old.yaml", "--to", "new.yaml"], more].concat(), "")
}

const CHANGED: &str = "db-01 (CDE), ingress
  + TCP 5433 from 10.0.1.0-10.0.1.9, 10.0.1.11-10.0.1.255  [crosses the CDE boundary]
  + TCP 5433 from 10.0.1.10/32
  - TCP 5432 from 10.0.1.0-10.0.1.9, 10.0.1.11-10.0.1.255  [crosses the CDE boundary]
  - TCP 5432 from 10.0.1.10/32
flows across the boundary of the CDE changed: segmentation is to be tested again (PCI DSS v4.0.1 11.4.5)
";

#[test]
fn what_passes_now_and_what_no_longer_does_is_said_in_flows() {
    let found = files(&set(5432), &set(5433), &[]);
    assert_eq!((stdout(&found), stderr(&found), code(&found)), (CHANGED, "", 0));
}

#[test]
fn the_exit_code_tells_of_a_difference_only_if_asked() {
    let renamed = set(5432).replace("from-app", "from-the-app");
    for (new, more, expected) in
        [(set(5433), &[][..], 0), (set(5433), &["--exit-code"], 1), (renamed.clone(), &["--exit-code"], 0), (renamed, &[], 0)]
    {
        assert_eq!(code(&files(&set(5432), &new, more)), expected, "{more:?}");
    }
    assert_eq!(stdout(&files(&set(5432), &set(5432), &[])), "no flow and no scope differs\n");
}

#[test]
fn scope_that_comes_or_goes_is_said() {
    let more =
        set(5432).replace("  workloads:\n", "  workloads:\n    - {name: db-02, labels: {pci-env: cde}, addresses: [10.0.30.12]}\n");
    let report = json(&files(&set(5432), &more, &["--format", "json"]));
    assert_eq!((&report["different"], &report["changes"]), (&true.into(), &serde_json::json!([])));
    let kinds: Vec<&str> = report["scope"].as_array().unwrap().iter().map(|change| change["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["cde-addresses", "endpoint"]);
}

#[test]
fn a_set_with_problems_is_compared_with_a_note() {
    let found = files(&set(5432), &set(5432).replace("port: 5432", "port: 0"), &[]);
    assert!(stderr(&found).starts_with("note: the new set has 1 problems"), "{found:?}");
    assert!(stdout(&found).contains("  - TCP 5432 from"), "{found:?}");
}

fn git(folder: &Path, args: &[&str]) {
    let mut command = Command::new("git");
    command.args(["-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"]).args(args);
    command.current_dir(folder).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
    assert!(command.output().unwrap().status.success(), "{args:?}");
}

#[test]
fn two_revisions_of_a_repository_are_compared_from_anywhere_in_it() {
    let folder = folder(&[("outside.yaml", "not a document")]);
    let policies = folder.path().join("policies");
    std::fs::create_dir(&policies).unwrap();
    git(folder.path(), &["init", "-q", "-b", "main"]);
    for port in [5432, 5433] {
        std::fs::write(policies.join("all.yaml"), set(port)).unwrap();
        git(folder.path(), &["add", "-A"]);
        git(folder.path(), &["commit", "-q", "-m", &port.to_string()]);
    }
    // What is not committed is not compared.
    std::fs::write(policies.join("all.yaml"), set(1)).unwrap();
    for range in ["HEAD~1..HEAD", "HEAD~1", "main~1..main"] {
        let found = run(&policies, &["diff", range], "");
        assert_eq!((stdout(&found), stderr(&found), code(&found)), (CHANGED, "", 0), "{range}");
    }
    let found = run(folder.path(), &["diff", "HEAD~1..HEAD", "--repo", "policies"], "");
    assert_eq!(stdout(&found), CHANGED);
    let whole = run(folder.path(), &["diff", "HEAD~1..HEAD", "--exit-code"], "");
    assert!(stderr(&whole).starts_with("note: HEAD~1 has") && code(&whole) == 1, "{whole:?}");
}

#[test]
fn the_revisions_of_a_followed_branch_are_compared() {
    let folder = folder(&[("all.yaml", &set(5432))]);
    git(folder.path(), &["init", "-q", "-b", "main"]);
    git(folder.path(), &["add", "-A"]);
    git(folder.path(), &["commit", "-q", "-m", "one"]);
    std::fs::write(folder.path().join("all.yaml"), set(5433)).unwrap();
    git(folder.path(), &["commit", "-q", "-a", "-m", "two"]);
    let config = format!(
        "source: {{url: \"file://{0}\", branch: main}}\ndatabase: \"sqlite://{0}/state.db\"\naudit: {{signing_key_file: \"{0}/audit.key\"}}\n",
        folder.path().display()
    );
    std::fs::write(folder.path().join("pci-segment.yml.conf"), config).unwrap();
    let found = run(folder.path(), &["diff", "HEAD~1..HEAD", "-c", "pci-segment.yml.conf"], "");
    assert_eq!((stdout(&found), stderr(&found), code(&found)), (CHANGED, "", 0));
}

#[test]
fn what_is_no_revision_or_no_repository_is_an_error() {
    let folder = folder(&[("all.yaml", &set(5432))]);
    let found = run(folder.path(), &["diff", "HEAD~1..HEAD", "--repo", "."], "");
    assert!(code(&found) == 2 && stderr(&found).contains("is not in a Git repository"), "{found:?}");
    git(folder.path(), &["init", "-q", "-b", "main"]);
    git(folder.path(), &["add", "-A"]);
    git(folder.path(), &["commit", "-q", "-m", "one"]);
    let found = run(folder.path(), &["diff", "nowhere..HEAD"], "");
    assert!(code(&found) == 2 && stderr(&found).starts_with("error: no commit is called nowhere here"), "{found:?}");
    assert_eq!(code(&run(folder.path(), &["diff", "a...b"], "")), 2);
}
