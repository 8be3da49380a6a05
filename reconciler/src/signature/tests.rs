use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::*;

/// A time at which all keys that do not say otherwise may sign.
const SEEN: i64 = 4_000_000_000;

/// A repository and keys, made by the programs people use.
struct Yard {
    folder: tempfile::TempDir,
}

impl Drop for Yard {
    fn drop(&mut self) {
        let _ = self.command("gpgconf").args(["--kill", "gpg-agent"]).output();
    }
}

impl Yard {
    fn new() -> Self {
        let yard = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(yard.path("gnupg")).unwrap();
        yard.run("chmod", &["0700", "gnupg"]);
        yard.git(&["init", "--quiet", "--initial-branch=main", "."]);
        yard
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.folder.path()).env("GNUPGHOME", self.path("gnupg"));
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1").env("HOME", self.folder.path());
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let output = self.command(program).args(arguments).output().unwrap();
        assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    fn git(&self, arguments: &[&str]) -> Vec<u8> {
        let mut all = vec!["-c", "user.name=Ada", "-c", "user.email=ada@example.com"];
        all.extend(arguments);
        self.run("git", &all).stdout
    }

    /// Makes an SSH key; returns its public half.
    fn ssh_key(&self, name: &str, kind: &[&str]) -> String {
        self.run("ssh-keygen", &[&["-q", "-N", "", "-C", name, "-f", name], kind].concat());
        fs::read_to_string(self.path(&format!("{name}.pub"))).unwrap()
    }

    /// A commit, signed with the given settings of Git; its object.
    fn commit(&self, settings: &[&str]) -> Vec<u8> {
        let mut all: Vec<&str> = settings.iter().flat_map(|setting| ["-c", *setting]).collect();
        all.extend(["commit", "--quiet", "--allow-empty", "--message", "A message\n\nof two paragraphs"]);
        all.extend((!settings.is_empty()).then_some("-S"));
        self.git(&all);
        self.git(&["cat-file", "commit", "HEAD"])
    }

    fn ssh_commit(&self, key: &str) -> Vec<u8> {
        self.commit(&["gpg.format=ssh", &format!("user.signingkey={}", self.path(key).display())])
    }

    /// Makes an OpenPGP key; returns its fingerprint.
    fn openpgp_key(&self, user: &str, kind: &str, usage: &str, expire: &str) -> String {
        self.run("gpg", &["--batch", "--quiet", "--passphrase", "", "--quick-generate-key", user, kind, usage, expire]);
        let listed = self.run("gpg", &["--batch", "--with-colons", "--list-keys", user]).stdout;
        let listed = String::from_utf8(listed).unwrap();
        let line = listed.lines().find(|line| line.starts_with("fpr:")).unwrap();
        line.split(':').nth(9).unwrap().to_owned()
    }

    fn armored(&self, user: &str) -> Vec<(String, Vec<u8>)> {
        vec![(format!("{user}.asc"), self.run("gpg", &["--batch", "--armor", "--export", user]).stdout)]
    }
}

fn signers(list: &str) -> Signers {
    Signers::parse(list.as_bytes(), &[]).unwrap()
}

fn check(commit: &[u8], signers: &Signers) -> Result<Signer, Refusal> {
    verify(commit, signers, Timestamp::from_second(SEEN).unwrap())
}

/// The commit with a signature header of this text.
fn with_signature(commit: &[u8], signature: &str) -> Vec<u8> {
    let text = String::from_utf8(commit.to_vec()).unwrap();
    let (header, message) = text.split_once("\n\n").unwrap();
    format!("{header}\ngpgsig {}\n\n{message}", signature.trim_end().replace('\n', "\n ")).into_bytes()
}

fn sign_for(yard: &Yard, namespace: &str, key: &Path, commit: &[u8]) -> String {
    fs::write(yard.path("text"), commit).unwrap();
    let _ = fs::remove_file(yard.path("text.sig"));
    yard.run("ssh-keygen", &["-q", "-Y", "sign", "-n", namespace, "-f", key.to_str().unwrap(), "text"]);
    fs::read_to_string(yard.path("text.sig")).unwrap()
}

#[test]
fn commits_signed_by_git_with_each_kind_of_ssh_key_are_accepted() {
    let yard = Yard::new();
    for (name, kind) in
        [("ed", &["-t", "ed25519"][..]), ("ec", &["-t", "ecdsa", "-b", "256"]), ("rsa", &["-t", "rsa", "-b", "2048"])]
    {
        let public = yard.ssh_key(name, kind);
        let commit = yard.ssh_commit(name);
        let signer = check(&commit, &signers(&format!("# people\n\nada@example.com {public}"))).unwrap();
        assert_eq!((signer.kind, signer.principal.as_str()), ("ssh", "ada@example.com"));
        let print = String::from_utf8(yard.run("ssh-keygen", &["-l", "-f", name]).stdout).unwrap();
        assert!(print.contains(&signer.key), "{print} {}", signer.key);
        for hash in ["sha256", "sha512"] {
            let unsigned = yard.commit(&[]);
            fs::write(yard.path("text"), &unsigned).unwrap();
            let _ = fs::remove_file(yard.path("text.sig"));
            let option = format!("hashalg={hash}");
            yard.run("ssh-keygen", &["-q", "-Y", "sign", "-O", &option, "-n", "git", "-f", name, "text"]);
            let signed = with_signature(&unsigned, &fs::read_to_string(yard.path("text.sig")).unwrap());
            assert!(check(&signed, &signers(&format!("a {public}"))).is_ok(), "{name} {hash}");
        }
    }
}

#[test]
fn g05_each_refusal_of_an_ssh_signature_has_its_own_text() {
    let yard = Yard::new();
    let (ada, eve) = (yard.ssh_key("ada", &["-t", "ed25519"]), yard.ssh_key("eve", &["-t", "ed25519"]));
    let commit = yard.ssh_commit("ada");
    let only = |options: &str| signers(&format!("ada@example.com {options} {ada}"));
    let text = |commit: &[u8], signers: &Signers| check(commit, signers).unwrap_err().to_string();

    assert_eq!(text(&yard.commit(&[]), &only("")), "unsigned");
    assert!(text(&commit, &signers(&format!("eve {eve}"))).starts_with("unknown key SHA256:"));
    for options in ["valid-before=\"20260101\"", "valid-after=20970101", "namespaces=\"git\",valid-before=202001010000Z"] {
        assert!(text(&commit, &only(options)).starts_with("key expired or not yet valid"), "{options}");
    }
    assert!(check(&commit, &only("valid-after=\"20200101\",valid-before=\"20990101120000Z\"")).is_ok());
    assert!(text(&commit, &only("namespaces=\"file,mail\"")).starts_with("signer not allowed: SHA256:"));
    assert!(check(&commit, &only("namespaces=\"file,git\"")).is_ok());

    let unsigned = yard.commit(&[]);
    let for_files = with_signature(&unsigned, &sign_for(&yard, "file", &yard.path("ada"), &unsigned));
    assert!(text(&for_files, &only("")).starts_with("wrong namespace: signed for `file`"));
    let of_another = with_signature(&unsigned, &sign_for(&yard, "git", &yard.path("ada"), &yard.commit(&[])));
    assert!(text(&of_another, &only("")).starts_with("signature does not match, key SHA256:"));
    let changed = String::from_utf8(commit.clone()).unwrap().replace("A message", "B message").into_bytes();
    assert!(text(&changed, &only("")).starts_with("signature does not match"));
    let nonsense = with_signature(&unsigned, "-----BEGIN SIGNED MESSAGE-----\nMII=\n-----END SIGNED MESSAGE-----");
    assert!(text(&nonsense, &only("")).contains("neither an SSH nor an OpenPGP signature"));

    // One key on two lines: the line that is good now counts, whichever comes first.
    let both = signers(&format!("a valid-before=\"20200101\" {ada}b valid-after=\"20200101\" {ada}"));
    assert_eq!(check(&commit, &both).unwrap().principal, "b");
}

#[test]
fn what_counts_is_when_a_commit_was_first_seen_and_not_what_it_claims() {
    let yard = Yard::new();
    let ada = yard.ssh_key("ada", &["-t", "ed25519"]);
    let commit = yard.ssh_commit("ada");
    let until = signers(&format!("ada valid-before=\"20300101\" {ada}"));
    let at = |text: &str| verify(&commit, &until, text.parse().unwrap());
    assert!(at("2029-12-31T23:59:59Z").is_ok());
    assert!(matches!(at("2030-01-01T00:00:00Z"), Err(Refusal::Expired { .. })));
}

#[test]
fn g07_a_commit_that_two_readers_could_read_differently_is_malformed_whatever_it_is_signed_with() {
    let yard = Yard::new();
    let ada = yard.ssh_key("ada", &["-t", "ed25519"]);
    let list = signers(&format!("ada {ada}"));
    let sound = String::from_utf8(yard.commit(&[])).unwrap();
    let tree = sound.lines().next().unwrap().to_owned();
    let (author, committer) = (sound.lines().find(|l| l.starts_with("author")), sound.lines().find(|l| l.starts_with("committer")));
    let doubled = |line: &str| sound.replacen(line, &format!("{line}\n{line}"), 1);
    let cases = [
        doubled(&tree),
        doubled(author.unwrap()),
        doubled(committer.unwrap()),
        sound.replacen("\n\n", &format!("\n{tree}\n\n"), 1),
        sound.replacen(&format!("{tree}\n"), "", 1),
        sound.replacen(author.unwrap(), &format!("{}\n{tree}", author.unwrap()), 1),
        sound.replacen("author Ada", "author Ada\0", 1),
        sound.replacen("author", " author", 1),
        sound.split("\n\n").next().unwrap().to_owned(),
    ];
    for case in cases {
        let signed = with_signature_if_it_can(&case, &sign_for(&yard, "git", &yard.path("ada"), case.as_bytes()));
        let refusal = check(&signed, &list).unwrap_err();
        assert!(matches!(refusal, Refusal::Malformed(_)), "{refusal}: {case}");
        assert!(refusal.to_string().starts_with("malformed commit: "));
        assert!(well_formed(&signed).is_err());
    }
    let once = with_signature(sound.as_bytes(), &sign_for(&yard, "git", &yard.path("ada"), sound.as_bytes()));
    assert!(check(&once, &list).is_ok() && well_formed(&once).is_ok());
    let twice = with_signature(&once, &sign_for(&yard, "git", &yard.path("ada"), &once));
    assert_eq!(check(&twice, &list).unwrap_err().to_string(), "malformed commit: it has more than one signature");
    let both = String::from_utf8(twice).unwrap().replacen("gpgsig ", "gpgsig-sha256 ", 1).into_bytes();
    assert!(matches!(check(&both, &list), Err(Refusal::Malformed(_))));
}

/// Some cases have no end of the header to put a signature before.
fn with_signature_if_it_can(commit: &str, signature: &str) -> Vec<u8> {
    if commit.contains("\n\n") { with_signature(commit.as_bytes(), signature) } else { commit.as_bytes().to_vec() }
}

#[test]
fn lists_that_cannot_be_honoured_are_refused_with_their_line() {
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";
    let problem = |text: &str| Signers::parse(text.as_bytes(), &[]).unwrap_err().to_string();
    assert!(
        problem(&format!("a {key}\n*@example.com cert-authority {key}")).starts_with("line 2: cert-authority is not supported")
    );
    assert!(problem(&format!("a valid-befor=\"20200101\" {key}")).contains("option `valid-befor` is not known"));
    assert!(problem(&format!("a valid-before=\"2020\" {key}")).contains("`2020` is not a time"));
    assert!(problem(&format!("a valid-before=\"20201301\" {key}")).contains("is not a time"));
    assert!(problem(&format!("a namespaces=\"g*\" {key}")).contains("without patterns"));
    assert!(problem("a ssh-ed25519 AAAA").contains("the key cannot be read"));
    assert!(problem("lonely").contains("principals"));
    for empty in ["", "# nobody\n"] {
        assert!(problem(empty).contains("names nobody"));
    }
    assert!(Signers::parse(b"", &[("a.asc".to_owned(), b"text".to_vec())]).unwrap_err().to_string().starts_with("a.asc: "));
    assert_eq!(signers(&format!("\"a b,c\" namespaces=\"git\",valid-after=\"20200101\" {key} some comment")).len(), 1);
}

#[test]
fn commits_signed_by_git_with_openpgp_keys_and_their_subkeys_are_accepted() {
    let yard = Yard::new();
    for (user, kind, usage, subkey) in
        [("grace@example.com", "ed25519", "sign", None), ("hedy@example.com", "rsa2048", "cert", Some("ed25519"))]
    {
        let print = yard.openpgp_key(user, kind, usage, "never");
        if let Some(kind) = subkey {
            yard.run("gpg", &["--batch", "--quiet", "--passphrase", "", "--quick-add-key", &print, kind, "sign", "never"]);
        }
        let commit = yard.commit(&["gpg.format=openpgp", &format!("user.signingkey={user}")]);
        let list = Signers::parse(b"", &yard.armored(user)).unwrap();
        let signer = check(&commit, &list).unwrap();
        assert_eq!((signer.kind, signer.principal.as_str()), ("openpgp", user));
        assert_eq!(signer.key == print, subkey.is_none(), "{} {print}", signer.key);
        let changed = String::from_utf8(commit).unwrap().replace("A message", "B message").into_bytes();
        assert!(matches!(check(&changed, &list), Err(Refusal::Mismatch { .. })));
    }
}

#[test]
fn g05_openpgp_keys_that_are_unknown_expired_or_revoked_are_refused() {
    let yard = Yard::new();
    let short = yard.openpgp_key("short@example.com", "ed25519", "sign", "1d");
    let eve = yard.openpgp_key("eve@example.com", "ed25519", "sign", "never");
    let sign = |user: &str| yard.commit(&["gpg.format=openpgp", &format!("user.signingkey={user}")]);
    let list = Signers::parse(b"", &yard.armored("short@example.com")).unwrap();

    assert_eq!(check(&sign("eve@example.com"), &list), Err(Refusal::UnknownKey { key: eve.clone() }));
    let commit = sign("short@example.com");
    assert_eq!(check(&commit, &list), Err(Refusal::Expired { key: short }));
    assert!(verify(&commit, &list, Timestamp::now()).is_ok());

    let commit = sign("eve@example.com");
    assert!(check(&commit, &Signers::parse(b"", &yard.armored("eve@example.com")).unwrap()).is_ok());
    let file = yard.path("gnupg").join(format!("openpgp-revocs.d/{eve}.rev"));
    let revocation = fs::read_to_string(file).unwrap().replace(":-----BEGIN", "-----BEGIN");
    fs::write(yard.path("revocation"), revocation).unwrap();
    yard.run("gpg", &["--batch", "--import", "revocation"]);
    let revoked = Signers::parse(b"", &yard.armored("eve@example.com")).unwrap();
    assert!(check(&commit, &revoked).unwrap_err().to_string().ends_with("is revoked"));
}

#[test]
fn no_bytes_make_the_verifier_panic_and_none_that_differ_pass() {
    let yard = Yard::new();
    let ada = yard.ssh_key("ada", &["-t", "ed25519"]);
    yard.openpgp_key("grace@example.com", "ed25519", "sign", "never");
    let list = Signers::parse(format!("ada {ada}").as_bytes(), &yard.armored("grace@example.com")).unwrap();
    let commits = [yard.ssh_commit("ada"), yard.commit(&["gpg.format=openpgp", "user.signingkey=grace@example.com"])];
    for commit in commits {
        assert!(check(&commit, &list).is_ok());
        let signature = commit.windows(7).position(|part| part == b"gpgsig ").unwrap();
        let payload = Parsed::from_bytes(&commit).unwrap().payload;
        for at in 0..commit.len() {
            for change in [1, 0x20, 0x80] {
                let mut other = commit.clone();
                other[at] ^= change;
                // A changed envelope may still be read as the same signature; what was signed may not have changed.
                if check(&other, &list).is_ok() {
                    assert!(at > signature && Parsed::from_bytes(&other).unwrap().payload == payload, "byte {at}");
                }
            }
            assert!(check(&commit[..at], &list).is_err(), "cut at {at}");
        }
    }
}

#[test]
fn g05_a_revocation_counts_whichever_copy_of_the_key_holds_it() {
    let yard = Yard::new();
    let eve = yard.openpgp_key("eve@example.com", "ed25519", "sign", "never");
    let commit = yard.commit(&["gpg.format=openpgp", "user.signingkey=eve@example.com"]);
    let before = yard.armored("eve@example.com");
    assert!(check(&commit, &Signers::parse(b"", &[before.clone(), before.clone()].concat()).unwrap()).is_ok());
    let file = yard.path("gnupg").join(format!("openpgp-revocs.d/{eve}.rev"));
    let revocation = fs::read_to_string(file).unwrap().replace(":-----BEGIN", "-----BEGIN");
    fs::write(yard.path("revocation"), revocation).unwrap();
    yard.run("gpg", &["--batch", "--import", "revocation"]);
    let after = yard.armored("eve@example.com");
    for copies in [[after.clone(), before.clone()].concat(), [before, after].concat()] {
        let refusal = check(&commit, &Signers::parse(b"", &copies).unwrap()).unwrap_err();
        assert!(refusal.to_string().contains("is revoked"), "{refusal}");
    }
}

#[test]
fn g05_what_a_key_said_of_itself_last_counts_whichever_copy_holds_it() {
    let yard = Yard::new();
    let eve = yard.openpgp_key("eve@example.com", "ed25519", "sign", "never");
    let commit = yard.commit(&["gpg.format=openpgp", "user.signingkey=eve@example.com"]);
    let before = yard.armored("eve@example.com");
    // A second later, as the times of signatures are whole seconds.
    let made = format!("{}!", Timestamp::now().as_second() + 5);
    yard.run("gpg", &["--batch", "--faked-system-time", &made, "--quick-set-expire", &eve, "2y"]);
    let after = yard.armored("eve@example.com");
    for copies in [[after.clone(), before.clone()].concat(), [before, after].concat()] {
        let refusal = check(&commit, &Signers::parse(b"", &copies).unwrap()).unwrap_err();
        assert!(matches!(refusal, Refusal::Expired { .. }), "{refusal}");
    }
}
