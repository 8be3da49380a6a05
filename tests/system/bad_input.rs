//! What is broken is refused in one line that says where and what next; the last good commit stays in force, and a row says so.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use pci_segment::sandbox::Repository;
use serde_json::Value;
use tests::{Controller, ForgeStandIn, Options, Scene, binary, policy, root_or_left_out, run, write_template};

/// A folder and a repository; nothing is enforced, so nobody has to be root.
struct Desk {
    folder: tempfile::TempDir,
    repository: Repository,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let repository = Repository::create(folder.path()).unwrap();
        Self { folder, repository }
    }

    fn controller(&self, options: &Options) -> Controller<'static> {
        Controller::configure(self.folder.path(), None, &self.repository, options)
    }

    /// The template, pushed and in force.
    fn begin(&self, controller: &Controller<'_>) -> String {
        write_template(&self.repository);
        let good = self.repository.push("Segment").unwrap();
        assert_eq!(ended(&controller.once()).0, 0);
        good
    }

    /// Changes the configuration.
    fn replace(&self, from: &str, to: &str) {
        let file = self.folder.path().join("pci-segment.yaml");
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(file, text.replace(from, to)).unwrap();
    }
}

/// Exit code, standard output, and the last line of standard error: the log stands above it.
fn ended(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    let last = text(&output.stderr).lines().last().unwrap_or_default().to_owned();
    (output.status.code().unwrap(), text(&output.stdout), last)
}

fn newest(controller: &Controller<'_>) -> Value {
    controller.rows("history").first().cloned().expect("a row")
}

/// The newest commit that was in force.
fn in_force(controller: &Controller<'_>) -> String {
    let rows = controller.rows("history");
    rows.iter().find(|row| row["outcome"] == "in_force").unwrap()["commit"].as_str().unwrap().to_owned()
}

/// Puts a broken file into a clone.
type Break = fn(&Path);

/// Name of the case, how to break, and where the finding must point.
const BROKEN: &[(&str, Break, &str)] = &[
    ("y06_an_unknown_field", |folder| file(folder, &fields("  ingres: []\n")), "broken.yaml:12"),
    ("y03_a_duplicate_key", |folder| file(folder, &fields("  ingress: []\n  ingress: []\n")), "broken.yaml:13"),
    ("y04_a_tab", |folder| file(folder, &fields("\tingress: []\n")), "broken.yaml:12"),
    ("y01_an_anchor_bomb", |folder| file(folder, &bomb()), "broken.yaml:1"),
    ("y02_a_file_of_two_mebibytes", |folder| file(folder, &format!("# {}\n", "x".repeat(2 << 20))), "broken.yaml:1"),
    (
        "y04_bytes_that_are_not_utf8",
        |folder| std::fs::write(folder.join("broken.yaml"), b"kind: \xff\xfe\n").unwrap(),
        "broken.yaml:1",
    ),
    ("g01_a_symlink", |folder| std::os::unix::fs::symlink("/etc/shadow", folder.join("broken.yaml")).unwrap(), "broken.yaml:1"),
];

fn file(folder: &Path, text: &str) {
    std::fs::write(folder.join("broken.yaml"), text).unwrap();
}

fn fields(lines: &str) -> String {
    policy("broken", lines)
}

/// Would be 10^9 words if it were expanded.
fn bomb() -> String {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..9 {
        let inside = vec![format!("*a{}", n - 1); 10].join(", ");
        text.push_str(&format!("a{n}: &a{n} [{inside}]\n"));
    }
    text
}

#[test]
fn a_broken_file_is_rejected_with_its_place_and_the_last_good_commit_stays() {
    let desk = Desk::new();
    let controller = desk.controller(&Options::default());
    let good = desk.begin(&controller);
    for (name, break_it, place) in BROKEN {
        desk.repository.git(&["reset", "--quiet", "--hard", &good]).unwrap();
        break_it(&desk.repository.clone_folder().join("policies"));
        let bad = desk.repository.push(name).unwrap();
        assert_rejected(&controller, name, &bad, place);
        assert_eq!(in_force(&controller), good, "{name}");
    }
    controller.assert_log_verifies();
}

fn assert_rejected(controller: &Controller<'_>, name: &str, bad: &str, place: &str) {
    let start = std::time::Instant::now();
    let (code, out, _) = ended(&controller.once());
    assert!(start.elapsed() < std::time::Duration::from_secs(10), "{name} took {:?}", start.elapsed());
    assert_eq!((code, out.lines().count()), (1, 1), "{name}: {out}");
    assert!(out.starts_with(&format!("rejected: {bad}: ")) && out.contains(place), "{name}: {out}");
    let row = newest(controller);
    assert_eq!((&row["commit"], &row["outcome"]), (&bad.into(), &"rejected".into()), "{name}: {row}");
    assert!(row["rule_ids"].to_string().contains("PCI-1.2.8-001"), "{name}: {row}");
}

#[test]
fn g01_a_submodule_is_rejected_by_its_path() {
    let desk = Desk::new();
    let controller = desk.controller(&Options::default());
    let good = desk.begin(&controller);
    let link = format!("160000,{good},policies/vendor.yaml");
    for arguments in [
        &["update-index", "--add", "--cacheinfo", link.as_str()][..],
        &["commit", "--quiet", "--message", "Vendor"],
        &["push", "--quiet", "origin", "HEAD:main"],
    ] {
        desk.repository.git(arguments).unwrap();
    }
    let bad = desk.repository.git(&["rev-parse", "HEAD"]).unwrap();
    assert_rejected(&controller, "submodule", &bad, "vendor.yaml:1");
    assert_eq!(in_force(&controller), good);
}

#[test]
fn g11_an_empty_repository_and_a_missing_branch_are_held_with_what_to_do() {
    let desk = Desk::new();
    let controller = desk.controller(&Options::default());
    let (code, out, _) = ended(&controller.once());
    assert_eq!((code, out.as_str()), (1, "held: the repository is empty: push a first commit"));
    let row = newest(&controller);
    assert_eq!((&row["commit"], &row["outcome"]), (&Value::Null, &"held".into()), "{row}");

    let good = desk.begin(&controller);
    let remote = desk.repository.remote().to_str().unwrap().to_owned();
    desk.repository.git(&["push", "--quiet", "origin", "HEAD:other"]).unwrap();
    desk.repository.git(&["--git-dir", &remote, "update-ref", "-d", "refs/heads/main"]).unwrap();
    let (code, out, _) = ended(&controller.once());
    assert_eq!(code, 1, "{out}");
    assert!(out.starts_with("held: refs/heads/main is gone"), "{out}");
    assert_eq!(newest(&controller)["outcome"], "held");
    assert_eq!(in_force(&controller), good);
}

#[test]
fn y09_a_commit_without_any_policy_is_held_and_an_emptied_file_is_a_finding() {
    let desk = Desk::new();
    let controller = desk.controller(&Options::default());
    let good = desk.begin(&controller);
    std::fs::remove_dir_all(desk.repository.clone_folder().join("policies")).unwrap();
    desk.repository.write("README.md", "Nothing is left.\n").unwrap();
    let nothing = desk.repository.push("Delete everything").unwrap();
    let (code, out, _) = ended(&controller.once());
    assert_eq!((code, out.as_str()), (1, "held: empty state: the commit has no policy document"));
    let row = newest(&controller);
    assert_eq!((&row["commit"], &row["outcome"]), (&nothing.as_str().into(), &"held".into()), "{row}");
    assert_eq!(in_force(&controller), good);

    write_template(&desk.repository);
    desk.repository.write("policies/floor.yaml", "").unwrap();
    let emptied = desk.repository.push("Empty a file").unwrap();
    let (code, out, _) = ended(&controller.once());
    assert_eq!(code, 1, "{out}");
    assert!(out.starts_with(&format!("rejected: {emptied}: ")) && out.contains("floor.yaml:1"), "{out}");
    assert_eq!(in_force(&controller), good);
}

#[test]
fn y09_a_pinned_profile_is_not_left_by_deleting_the_document_that_names_it() {
    let desk = Desk::new();
    let controller = desk.controller(&Options::default());
    let good = desk.begin(&controller);
    let file = desk.folder.path().join("pci-segment.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}policy: {{ profile: pci-dss-4.0.1 }}\n")).unwrap();
    let weaker = {
        desk.repository.write("policies/more.yaml", &policy("more", "  policyTypes: [Ingress]\n")).unwrap();
        desk.repository.push("Without a Standard").unwrap()
    };
    let (code, out, _) = ended(&controller.once());
    assert_eq!(code, 1, "{out}");
    let row = newest(&controller);
    assert_eq!((&row["commit"], &row["outcome"]), (&weaker.as_str().into(), &"rejected".into()), "{row}");
    assert!(row["rule_ids"].to_string().contains("PCI-1.2.1-002"), "{row}");
    assert_eq!(in_force(&controller), good);
}

#[test]
fn g09_an_unreachable_remote_fails_with_its_cause_and_changes_nothing() {
    let desk = Desk::new();
    let controller = desk.controller(&Options::default());
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    desk.replace(&desk.repository.url(), &format!("http://{closed}/policies.git"));
    let (code, _, error) = ended(&controller.once());
    assert_eq!(code, 2, "{error}");
    assert!(error.contains("what was enforced stays enforced") && error.contains(&closed.to_string()), "names the remote: {error}");
    let row = newest(&controller);
    assert_eq!(row["outcome"], "failed", "{row}");
    assert!(row["reason"].as_str().unwrap().contains(&closed.to_string()), "{row}");
    controller.assert_log_verifies();
}

#[test]
fn g09_a_remote_that_goes_away_changes_nothing_and_one_that_comes_back_is_followed_again() {
    let desk = Desk::new();
    let controller = desk.controller(&Options::default());
    let good = desk.begin(&controller);
    let (here, away) = (desk.repository.remote().to_owned(), desk.folder.path().join("away.git"));
    std::fs::rename(&here, &away).unwrap();
    let (code, _, error) = ended(&controller.once());
    assert_eq!(code, 2, "{error}");
    assert!(error.contains("what was enforced stays enforced"), "{error}");
    assert_eq!(newest(&controller)["outcome"], "failed");
    assert_eq!(in_force(&controller), good);
    std::fs::rename(&away, &here).unwrap();
    assert_eq!(ended(&controller.once()).0, 0);
    controller.assert_log_verifies();
}

#[test]
fn f_a_wrong_forge_token_keeps_the_status_waiting_and_enforcement_going() {
    let desk = Desk::new();
    let forge = ForgeStandIn::serve(std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let extra = forge.configuration(desk.folder.path());
    std::fs::write(desk.folder.path().join("forge-token"), "not-the-token-of-this-forge\n").unwrap();
    let controller = desk.controller(&Options { extra, ..Options::default() });
    let good = desk.begin(&controller);
    assert_eq!(in_force(&controller), good);
    assert!(forge.posted(&good).is_empty());
    let (_, text, _) = controller.ask(&["status", "--format", "json"]);
    let status: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&status["outbox"]["queued"], &status["outbox"]["dead"]), (&1.into(), &0.into()), "{status}");
    controller.assert_log_verifies();
}

#[test]
fn a_database_folder_that_is_missing_or_no_folder_is_named_with_what_to_do() {
    let desk = Desk::new();
    let controller = desk.controller(&Options::default());
    let state = desk.folder.path().join("state");
    std::fs::remove_dir_all(&state).unwrap();
    let (code, _, error) = ended(&controller.once());
    assert_eq!(code, 2, "{error}");
    assert!(error.contains(state.to_str().unwrap()) && error.contains("does not exist") && error.contains("install -d"), "{error}");
    std::fs::write(&state, "a file").unwrap();
    let (code, _, error) = ended(&controller.once());
    assert_eq!(code, 2, "{error}");
    assert!(error.contains(state.to_str().unwrap()), "{error}");
    assert_eq!(std::fs::read(&state).unwrap(), b"a file", "untouched");
}

#[test]
fn d10_a_second_controller_on_the_same_database_is_refused_and_the_first_notices_nothing() {
    let desk = Desk::new();
    let mut first = desk.controller(&Options::default());
    write_template(&desk.repository);
    let good = desk.repository.push("Segment").unwrap();
    first.start();
    first.wait_for(&good, "in_force");
    let (code, _, error) = ended(&first.once());
    assert_eq!(code, 2, "{error}");
    assert!(error.contains(&format!("in use by process {}", first.pid())), "{error}");
    desk.repository.write("policies/note.yaml", &policy("note", "  policyTypes: [Ingress]\n")).unwrap();
    let next = desk.repository.push("Go on").unwrap();
    first.wake();
    first.wait_for(&next, "in_force");
    first.stop();
    first.assert_log_verifies();
}

#[test]
fn w03_a_webhook_secret_that_is_too_short_refuses_the_start() {
    let desk = Desk::new();
    let secret = desk.folder.path().join("secret");
    std::fs::write(&secret, "fifteen bytes..").unwrap();
    let extra = format!("webhooks: {{ github: {{ secret_file: {} }} }}\n", secret.display());
    let _ = desk.controller(&Options { extra, ..Options::default() });
    let (code, _, error) = ended(&run(desk.folder.path(), &["run", "-c", "pci-segment.yaml"]));
    assert_eq!(code, 2, "{error}");
    assert!(error.contains("webhooks.github.secret_file") && error.contains("line 1 is shorter than 16 bytes"), "{error}");
    assert!(!error.contains("fifteen"), "the secret is in no error");
}

#[test]
fn an_interface_that_does_not_exist_is_named_and_is_not_said_to_be_guarded() {
    if !root_or_left_out("an_interface_that_does_not_exist_is_named_and_is_not_said_to_be_guarded") {
        return;
    }
    let scene = Scene::build("noif");
    let controller = scene.controller(&Options { interfaces: Some("[nope0]".to_owned()), ..Options::default() });
    let _ = scene.push_template();
    let (code, text, _) = ended(&controller.once());
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("2 differences"), "{text}");
    let row = newest(&controller);
    assert!(row["reason"].as_str().unwrap().contains("not guarded before it appears: hook nope0 in"), "{row}");
    let (_, text, _) = controller.ask(&["status"]);
    assert!(text.contains("NOT ENFORCED"), "{text}");
    controller.assert_log_verifies();
}

#[test]
fn without_rights_the_start_says_which_are_missing() {
    let name = "without_rights_the_start_says_which_are_missing";
    let Ok(true) = Command::new("setpriv").arg("--version").output().map(|output| output.status.success()) else {
        eprintln!("left out: {name} needs setpriv (package util-linux)");
        return;
    };
    if !root_or_left_out(name) {
        return;
    }
    let desk = Desk::new();
    write_template(&desk.repository);
    desk.repository.push("Segment").unwrap();
    let _ = desk.controller(&Options { interfaces: Some("[eth0]".to_owned()), ..Options::default() });
    let as_nobody = || {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(binary());
        command.args(["run", "--once", "-c", "pci-segment.yaml"]).current_dir(desk.folder.path());
        ended(&command.output().unwrap())
    };
    let state = desk.folder.path().join("state");
    let (code, _, error) = as_nobody();
    assert_eq!(code, 2, "{error}");
    assert!(error.contains("cannot write in") && error.contains(state.to_str().unwrap()), "{error}");

    std::os::unix::fs::chown(&state, Some(65534), Some(65534)).unwrap();
    let (code, _, error) = as_nobody();
    assert_eq!(code, 2, "{error}");
    assert!(error.contains("cannot use") || error.contains("capability"), "{error}");
}
