//! Whose commits are taken: real commits, signed by `git` and `ssh-keygen`, and the real controller.

use std::path::{Path, PathBuf};
use std::process::Command;

use pci_segment::sandbox::Repository;
use tests::{Controller, ForgeStandIn, Options, policy, write_template};

/// A repository, people with keys, and a forge that is told.
struct Office {
    folder: tempfile::TempDir,
    repository: Repository,
    forge: ForgeStandIn,
}

impl Office {
    fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let repository = Repository::create(folder.path()).unwrap();
        let forge = ForgeStandIn::serve(std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let office = Self { folder, repository, forge };
        for name in ["ada", "eve", "old"] {
            office.run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", name, "-f", name]);
        }
        let list = format!("{}{}", office.line("ada", ""), office.line("old", "valid-before=\"20200101\""));
        std::fs::write(office.path("allowed_signers"), list).unwrap();
        office
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let output = Command::new(program).current_dir(self.folder.path()).args(arguments).output().unwrap();
        assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// One line of a list of signers.
    fn line(&self, name: &str, options: &str) -> String {
        let public = std::fs::read_to_string(self.path(&format!("{name}.pub"))).unwrap();
        format!("{name}@example.com {options} {public}")
    }

    fn controller(&self, mode: &str) -> Controller<'static> {
        let file = self.path("allowed_signers");
        let source =
            format!(", verify: {{ mode: {mode}, allowed_signers_file: {}, allowed_signers_path: trust/signers }}", file.display());
        let extra = self.forge.configuration(self.folder.path());
        Controller::configure(self.folder.path(), None, &self.repository, &Options { source, extra, ..Options::default() })
    }

    /// Commits everything, signed by somebody or by nobody.
    fn commit(&self, signer: Option<&str>) -> String {
        self.repository.git(&["add", "--all"]).unwrap();
        let key = signer.map(|name| format!("user.signingkey={}", self.path(name).display()));
        let mut all = vec!["-c", "gpg.format=ssh"];
        all.extend(key.iter().flat_map(|key| ["-c", key.as_str()]));
        all.extend(["commit", "--quiet", "--allow-empty", "--message", "Change"]);
        all.extend(key.as_ref().map(|_| "-S"));
        self.repository.git(&all).unwrap();
        self.repository.git(&["rev-parse", "HEAD"]).unwrap()
    }

    /// Commits everything with a signature of some text, for some purpose.
    fn commit_with(&self, namespace: &str, text: impl Fn(&str) -> String) -> String {
        self.commit(None);
        let object = self.repository.git(&["cat-file", "commit", "HEAD"]).unwrap() + "\n";
        std::fs::write(self.path("text"), text(&object)).unwrap();
        let _ = std::fs::remove_file(self.path("text.sig"));
        self.run("ssh-keygen", &["-q", "-Y", "sign", "-n", namespace, "-f", "ada", "text"]);
        let signature = std::fs::read_to_string(self.path("text.sig")).unwrap().trim_end().replace('\n', "\n ");
        self.replace_head(&object.replacen("\n\n", &format!("\ngpgsig {signature}\n\n"), 1))
    }

    /// Makes the head a commit of these bytes, whatever they are.
    fn replace_head(&self, object: &str) -> String {
        std::fs::write(self.path("object"), object).unwrap();
        let file = self.path("object");
        let made = self.repository.git(&["hash-object", "--literally", "-t", "commit", "-w", file.to_str().unwrap()]).unwrap();
        std::fs::write(self.repository.clone_folder().join(".git/refs/heads/main"), format!("{made}\n")).unwrap();
        made
    }

    fn push(&self) {
        self.repository.git(&["push", "--quiet", "--force", "origin", "HEAD:main"]).unwrap();
    }

    fn write_policy(&self, name: &str) {
        let rules = "  policyTypes: [Ingress]\n  ingress:\n    - from:\n        - ipBlock:\n            cidr: 10.0.9.10/32\n      \
                     ports:\n        - protocol: TCP\n          port: 9100\n";
        self.repository.write(&format!("policies/{name}.yaml"), &policy(name, rules)).unwrap();
    }

    /// Pushes the head, sees it rejected with this text, and goes back to `good`.
    fn refused(&self, controller: &mut Controller<'_>, commit: &str, text: &str, good: &str) {
        self.push();
        controller.wake();
        let reason = controller.wait_for(commit, "rejected")["reason"].as_str().unwrap_or_default().to_owned();
        assert!(reason.starts_with(&format!("signature: {text}")), "{text}: {reason}");
        let said = controller.wait("the refused commit to be red", |_| {
            self.forge.posted(commit).into_iter().find(|posted| posted.state == "failure")
        });
        assert!(said.description.starts_with(&format!("signature: {text}")), "{}", said.description);
        self.repository.git(&["reset", "--quiet", "--hard", good]).unwrap();
    }
}

/// Whether the records of a controller that has ended hold a text.
fn recorded(folder: &Path, text: &str) -> bool {
    let files = ["state.db", "state.db-wal"].map(|name| std::fs::read(folder.join("state").join(name)).unwrap_or_default());
    files.iter().any(|bytes| bytes.windows(text.len()).any(|part| part == text.as_bytes()))
}

#[test]
fn g05_g06_g07_only_commits_signed_by_the_list_in_force_are_taken_and_each_refusal_says_why() {
    let office = Office::open();
    let mut controller = office.controller("every");
    write_template(&office.repository);
    let good = office.commit(Some("ada"));
    office.push();
    controller.start();
    controller.wait_for(&good, "in_force");
    let (code, text, _) = controller.ask(&["doctor"]);
    assert!(text.contains("allowed_signers: 2 keys"), "{code} {text}");

    let commit = office.commit(None);
    office.refused(&mut controller, &commit, "unsigned; author pci-segment demo <demo@localhost>", &good);
    let commit = office.commit(Some("eve"));
    office.refused(&mut controller, &commit, "unknown key SHA256:", &good);
    let commit = office.commit(Some("old"));
    office.refused(&mut controller, &commit, "key expired or not yet valid when the commit was first seen: SHA256:", &good);
    let commit = office.commit_with("file", str::to_owned);
    office.refused(&mut controller, &commit, "wrong namespace: signed for `file`", &good);
    let commit = office.commit_with("git", |object| object.replace("Change", "Another"));
    office.refused(&mut controller, &commit, "signature does not match, key SHA256:", &good);
    let unsigned = office.commit(None);
    let commit = office.commit(Some("ada"));
    office.refused(&mut controller, &commit, &format!("unsigned; commit {} before this one", &unsigned[..12]), &good);
    office.commit(None);
    let object = office.repository.git(&["cat-file", "commit", "HEAD"]).unwrap() + "\n";
    let tree = object.lines().next().unwrap();
    let commit = office.replace_head(&object.replacen(tree, &format!("{tree}\n{tree}"), 1));
    office.refused(&mut controller, &commit, "malformed commit: it has more than one tree", &good);
    // Behind a good head it is red by itself, and the head for it.
    let tree = tree.trim_start_matches("tree ");
    let key = format!("user.signingkey={}", office.path("ada").display());
    let signed = ["-c", "gpg.format=ssh", "-c", &key, "commit-tree", "-S", "-m", "Change", "-p", &commit, tree];
    let behind = office.repository.git(&signed).unwrap();
    office.repository.git(&["update-ref", "refs/heads/main", &behind]).unwrap();
    let other = format!("malformed commit: it has more than one tree, or one in the wrong place; commit {} before", &commit[..12]);
    office.refused(&mut controller, &behind, &other, &good);

    // A commit that brings a list is judged by the old one, and the next by the new one.
    let bring = || {
        office.repository.write("trust/signers", &format!("{}{}", office.line("ada", ""), office.line("eve", ""))).unwrap();
        office.write_policy("scrape");
    };
    bring();
    let commit = office.commit(Some("eve"));
    office.refused(&mut controller, &commit, "unknown key SHA256:", &good);
    office.repository.write("trust/signers", "nobody cert-authority").unwrap();
    let commit = office.commit(Some("ada"));
    office.refused(&mut controller, &commit, "the list of signers this commit brings, trust/signers: line 1", &good);
    bring();
    let commit = office.commit(Some("ada"));
    office.push();
    controller.wake();
    controller.wait_for(&commit, "in_force");
    office.write_policy("scrape-more");
    let commit = office.commit(Some("eve"));
    office.push();
    controller.wake();
    controller.wait_for(&commit, "in_force");

    controller.stop();
    controller.assert_log_verifies();
    for text in ["\"refused\":\"unsigned\"", "\"principal\":\"eve@example.com\"", "\"author\":\"pci-segment demo"] {
        assert!(recorded(office.folder.path(), text), "{text}");
    }
}

#[test]
fn g05_in_mode_head_only_what_is_to_be_enforced_has_to_be_signed() {
    let office = Office::open();
    let mut controller = office.controller("head");
    write_template(&office.repository);
    let good = office.commit(Some("ada"));
    office.push();
    controller.start();
    controller.wait_for(&good, "in_force");
    let unsigned = office.commit(None);
    office.refused(&mut controller, &unsigned, "unsigned", &unsigned);
    office.write_policy("scrape");
    let signed = office.commit(Some("ada"));
    office.push();
    controller.wake();
    controller.wait_for(&signed, "in_force");

    // Nobody can be asked: what is in force stays, and the commit waits.
    std::fs::write(office.path("allowed_signers"), "# nobody\n").unwrap();
    let waits = office.commit(Some("ada"));
    office.push();
    controller.wake();
    controller.wait("the missing list to be said", |me| me.log().contains("names nobody").then_some(()));
    let (code, text, _) = controller.ask(&["doctor"]);
    assert!(code == 1 && text.contains("names nobody"), "{code} {text}");
    std::fs::write(office.path("allowed_signers"), office.line("ada", "")).unwrap();
    controller.wake();
    controller.wait_for(&waits, "in_force");
    controller.stop();
}
