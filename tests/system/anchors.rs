//! Logs that are not what was signed: cut, put back, written anew. A start on one is refused before anything is written, with both sizes
//! and the place that knows better; there is a way out, and it leaves a trace.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use pci_segment::audit::{Note, NoteSigner};
use pci_segment::sandbox::Repository;
use serde_json::Value;
use tests::{Controller, Measured, Options, write_template};

const PORT: u16 = 8111;

struct Place {
    folder: tempfile::TempDir,
    repository: Repository,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let repository = Repository::create(folder.path()).unwrap();
        write_template(&repository);
        Self { folder, repository }
    }

    fn controller(&self, audit: &str, port: u16) -> Controller<'static> {
        let extra =
            format!("audit: {{ domain: example.com, {} }}\n", audit.replace("HERE", &self.folder.path().display().to_string()));
        Controller::configure(self.folder.path(), None, &self.repository, &Options { extra, port, ..Options::default() })
    }

    fn state(&self, name: &str) -> PathBuf {
        self.folder.path().join("state").join(name)
    }

    /// What lies in the state folder of the database itself.
    fn files(&self) -> BTreeMap<&'static str, Vec<u8>> {
        let read = |name| Some((name, std::fs::read(self.state(name)).ok()?));
        ["state.db", "state.db-wal", "state.db-shm", "audit.head"].into_iter().filter_map(read).collect()
    }

    /// All that was ever written in the state folder; readers of the database leave an empty log and an index of it.
    fn written(&self) -> BTreeMap<std::ffi::OsString, Vec<u8>> {
        let plain = std::fs::read_dir(self.state("")).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file());
        let index = |name: &std::ffi::OsString| name == "state.db-shm";
        let all = plain.map(|entry| (entry.file_name(), std::fs::read(entry.path()).unwrap()));
        all.filter(|(name, bytes)| !index(name) && !bytes.is_empty()).collect()
    }

    fn put_back(&self, files: &BTreeMap<&'static str, Vec<u8>>) {
        for name in ["state.db", "state.db-wal", "state.db-shm", "audit.head"] {
            let _ = std::fs::remove_file(self.state(name));
        }
        for (name, bytes) in files {
            std::fs::write(self.state(name), bytes).unwrap();
        }
    }

    /// Rows of the note beside the database.
    fn signed(&self) -> u64 {
        Note::parse(&std::fs::read_to_string(self.state("audit.head")).unwrap()).unwrap().checkpoint.size
    }
}

/// A newer note than there was, by order.
fn checkpoint(controller: &Controller<'_>) -> Note {
    let (code, note, error) = controller.ask(&["audit", "checkpoint"]);
    assert_eq!(code, 0, "{error}");
    Note::parse(&note).unwrap()
}

fn get(path: &str) -> String {
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", PORT)).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: here\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    page.split_once("\r\n\r\n").unwrap().1.to_owned()
}

fn write_rows(controller: &Controller<'_>) {
    assert_eq!(controller.ask(&["suspend", "--reason", "quarter end"]).0, 0);
    assert_eq!(controller.ask(&["resume", "--reason", "over"]).0, 0);
}

/// The start is refused with exit 2, and the database is as it was.
fn assert_refused(place: &Place, controller: &Controller<'_>, said: &[&str]) {
    let before = place.written();
    let output = controller.once();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    for part in said {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(place.written() == before, "nothing is written: {:?}, {:?}", before.keys(), place.written().keys());
}

/// What `audit verify` answers with these arguments.
fn assert_verifies(controller: &Controller<'_>, arguments: &[&str], exit: i32, part: &str) {
    let (code, said, error) = controller.ask(&[&["audit", "verify"], arguments].concat());
    assert!(code == exit && (said.contains(part) || error.contains(part)), "{arguments:?}: {code} {said}{error}");
}

/// What was noted beside a database waits for a start that is allowed, and no command writes to it meanwhile.
fn assert_nothing_is_added(place: &Place, controller: &Controller<'_>, yesterday: &BTreeMap<&'static str, Vec<u8>>, newest: &Note) {
    let shorter = "audit log is shorter than its anchor: database has ";
    place.put_back(yesterday);
    let copy = place.folder.path().join("yesterday.db").display().to_string();
    assert_eq!(controller.ask(&["backup", &copy]).0, 0);
    let (code, said, error) = controller.ask(&["restore", &copy]);
    assert_eq!(code, 0, "{said}{error}");
    std::fs::write(place.state("audit.head"), newest.to_string()).unwrap();
    let (code, _, error) = controller.ask(&["backup", &format!("{copy}.new")]);
    assert!(code == 2 && error.contains(shorter), "{error}");
    assert_refused(place, controller, &[shorter, "audit.head has "]);
}

fn rows_of(controller: &Controller<'_>, place: &Place, kind: &str) -> Vec<String> {
    let script = "import sqlite3,sys\nc=sqlite3.connect(sys.argv[1])\n\
                  for (leaf,) in c.execute('SELECT leaf FROM audit_log WHERE kind=? ORDER BY seq',(sys.argv[2],)): print(leaf.hex())";
    let output = Command::new("python3").args(["-c", script]).arg(place.state("state.db")).arg(kind).output().unwrap();
    assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stderr), controller.log());
    let bytes = |line: &str| -> Vec<u8> {
        line.as_bytes().chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
    };
    String::from_utf8(output.stdout).unwrap().lines().map(|line| String::from_utf8_lossy(&bytes(line)).into_owned()).collect()
}

/// A reader who stays, so that what is written from now on stands in the write-ahead log alone.
struct Reader(Child);

impl Reader {
    fn stay(database: &Path) -> Self {
        let script = "import sqlite3,sys\nc=sqlite3.connect(sys.argv[1],isolation_level=None)\nc.execute('BEGIN')\n\
                      c.execute('SELECT count(*) FROM audit_log').fetchone()\nprint('here',flush=True)\nsys.stdin.readline()";
        let mut child = Command::new("python3")
            .args(["-c", script])
            .arg(database)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "here\n");
        Self(child)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn d06_a_write_ahead_log_that_is_deleted_cut_or_replaced_by_an_older_one_refuses_the_start_with_both_sizes() {
    let place = Place::new();
    let mut controller = place.controller("", 0);
    let commit = place.repository.push("Segment the cardholder data environment").unwrap();
    controller.start();
    controller.wait_for(&commit, "in_force");
    let reader = Reader::stay(&place.state("state.db"));
    write_rows(&controller);
    let older = std::fs::read(place.state("state.db-wal")).unwrap();
    write_rows(&controller);
    write_rows(&controller);
    let signed = checkpoint(&controller).checkpoint.size;
    controller.kill();
    drop(reader);
    let files = place.files();
    assert_eq!(place.signed(), signed);
    assert!(files["state.db-wal"].len() > older.len());

    let has = format!("audit.head has {signed} signed at 20");
    let said = ["audit log is shorter than its anchor: database has ", &has, "pci-segment audit fork --reason"];
    for wal in [None, Some(older), Some(files["state.db-wal"][..files["state.db-wal"].len() / 2].to_vec())] {
        let mut damaged = files.clone();
        damaged.remove("state.db-shm");
        match wal {
            None => damaged.remove("state.db-wal"),
            Some(bytes) => damaged.insert("state.db-wal", bytes),
        };
        place.put_back(&damaged);
        assert_refused(&place, &controller, &said);
    }
    let gone = files.iter().filter(|(name, _)| **name == "audit.head").map(|(name, bytes)| (*name, bytes.clone())).collect();
    place.put_back(&gone);
    assert_refused(&place, &controller, &["database has 0 rows", &has]);
    assert!(!place.state("state.db").exists(), "nothing is made in its place");
    place.put_back(&files);
    assert!(controller.once().status.success(), "what was signed is good");
    controller.assert_log_verifies();
}

#[test]
fn d08_yesterdays_backup_refuses_the_start_and_a_fork_with_a_reason_is_the_way_out_that_names_the_old_log() {
    let place = Place::new();
    let audit = "anchors: [{ file: HERE/anchors }, { git: refs/notes/pci-segment }]";
    let mut controller = place.controller(audit, 0);
    let commit = place.repository.push("Segment the cardholder data environment").unwrap();
    controller.start();
    controller.wait_for(&commit, "in_force");
    controller.stop();
    let yesterday = place.files();
    controller.start();
    controller.wait("the operators' door", |_| place.state("control.sock").exists().then_some(()));
    write_rows(&controller);
    let newest = checkpoint(&controller);
    let size = newest.checkpoint.size;
    let remote = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(place.repository.remote()).args(arguments).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    controller.wait("the note on the commit in force", |_| {
        let note = remote(&["notes", "--ref=refs/notes/pci-segment", "show", &commit]);
        Note::parse(&note).ok().filter(|note| note.checkpoint.size >= size)
    });
    controller.stop();
    let today = place.signed();
    let (code, key, _) = controller.ask(&["audit", "checkpoint", "--key"]);
    assert!(code == 0 && key.starts_with("example.com/pci-segment/"), "{key}");
    let (old_origin, _) = key.split_once('+').unwrap();

    let (in_file, in_ref) = (format!("file:{}/anchors", place.folder.path().display()), "git:refs/notes/pci-segment");
    assert_verifies(&controller, &[], 0, "newest anchor ");
    assert_verifies(&controller, &["--anchor", in_ref], 0, &format!("newest anchor {in_ref} at {today}"));
    assert_verifies(&controller, &["--anchor", "git:notes"], 2, "not the full name of a ref");

    // With its note, and without: then only what lies elsewhere tells.
    place.put_back(&yesterday);
    for anchors in [&[][..], &["--anchor", in_ref], &["--anchor", &in_file]] {
        assert_verifies(&controller, anchors, 13, " rows are missing");
    }
    assert_verifies(&controller, &["--no-anchors"], 0, "newest anchor audit.head");
    let shorter = "audit log is shorter than its anchor: database has ";
    let file = format!("file:{}/anchors has {today} signed at 20", place.folder.path().display());
    assert_refused(&place, &controller, &[shorter, &file]);
    std::fs::rename(place.folder.path().join("anchors"), place.folder.path().join("away")).unwrap();
    assert_refused(&place, &controller, &[shorter, &format!("git:refs/notes/pci-segment has {today} signed at 20")]);
    std::fs::rename(place.folder.path().join("away"), place.folder.path().join("anchors")).unwrap();

    assert_nothing_is_added(&place, &controller, &yesterday, &newest);

    let (code, _, error) = controller.ask(&["audit", "fork", "--reason", " "]);
    assert!(code == 2 && error.contains("reason"), "{error}");
    let (code, said, error) = controller.ask(&["audit", "fork", "--reason", "the disk of yesterday died"]);
    assert!(code == 0 && said.contains(old_origin) && said.contains("begins"), "{said}{error}");
    let row = rows_of(&controller, &place, "log.forked").pop().unwrap();
    for part in [old_origin, "the disk of yesterday died", "uid:", "git:refs/notes/pci-segment", &format!("\"size\":{today}")] {
        assert!(row.contains(part), "{part}: {row}");
    }
    controller.start();
    controller.wait("the new log to be anchored", |me| {
        let (_, text, _) = me.ask(&["status", "--format", "json"]);
        let status: Value = serde_json::from_str(&text).ok()?;
        let anchors = status["signed"]["anchors"].as_array()?;
        (anchors.len() == 2 && anchors.iter().all(|anchor| anchor["size"].is_u64())).then_some(())
    });
    assert_eq!(rows_of(&controller, &place, "backup.restored").len(), 1, "noted by the first start that was allowed");
    let (code, _, error) = controller.ask(&["audit", "fork", "--reason", "again"]);
    assert!(code == 2 && error.contains("in use by process"), "{error}");
    controller.stop();
    let (_, new_key, _) = controller.ask(&["audit", "checkpoint", "--key"]);
    assert_ne!(new_key.split_once('+').unwrap().0, old_origin);
    let (_, keys, _) = controller.ask(&["audit", "checkpoint", "--key", "--format", "json"]);
    let keys: Value = serde_json::from_str(&keys).unwrap();
    assert_eq!(keys["all"].as_array().unwrap().len(), 2, "{keys}");
    assert!(controller.once().status.success(), "old notes are not held against the new log");
    controller.assert_log_verifies();
    assert!(remote(&["fsck", "--strict"]).is_empty());
}

#[test]
fn d12_an_anchor_with_another_root_for_a_size_we_signed_stops_changes_at_once() {
    let place = Place::new();
    let mut controller = place.controller("anchors: [{ file: HERE/anchors }]", PORT);
    let commit = place.repository.push("Segment the cardholder data environment").unwrap();
    controller.start();
    controller.wait_for(&commit, "in_force");
    let note = checkpoint(&controller);
    let anchors = place.folder.path().join("anchors");
    controller.wait("the anchor to have it", |_| {
        let text = std::fs::read_to_string(&anchors).ok()?;
        let newest: Value = serde_json::from_str(text.lines().last()?).ok()?;
        (Note::parse(newest["note"].as_str()?).ok()?.checkpoint.size >= note.checkpoint.size).then_some(())
    });

    let key = pci_segment::signing::read(&place.state("audit.key")).unwrap().unwrap();
    let forged = NoteSigner::new(&note.checkpoint.origin, key).unwrap().sign(note.checkpoint.size, [9; 32]);
    let line = serde_json::json!({ "put_at": "2126-01-01T00:00:00Z", "note": forged.to_string() });
    let mut file = std::fs::OpenOptions::new().append(true).open(&anchors).unwrap();
    writeln!(file, "{line}").unwrap();
    let whole = std::fs::read_to_string(&anchors).unwrap();
    // Only the other note, so that no later one of ours is the newest.
    std::fs::write(&anchors, whole.lines().last().map(|line| format!("{line}\n")).unwrap()).unwrap();
    write_rows(&controller);
    checkpoint(&controller);
    controller.wait("changes to be held", |me| {
        let (_, text, _) = me.ask(&["status"]);
        text.contains("changes are held: the audit log cannot vouch for them").then_some(())
    });
    let ready = get("/readyz");
    assert!(ready.starts_with("changes are held, the audit log cannot vouch for them: file:"), "{ready}");
    let measured = Measured::read(&get("/metrics")).unwrap();
    assert_eq!(measured.value("pci_segment_audit_anchor_disagrees"), Some(1.0));
    assert!(measured.value("pci_segment_audit_checkpoint_size").unwrap() >= 1.0);
    place.repository.write("policies/note.txt", "a new commit\n").unwrap();
    let more = place.repository.push("Something new").unwrap();
    controller.wake();
    let row = controller.wait_for(&more, "held");
    assert!(row["reason"].as_str().unwrap().contains("the audit log cannot vouch for changes"), "{row}");
    assert_eq!(rows_of(&controller, &place, "anchor.disagrees").len(), 1);

    // That the note is gone is no agreement, and a start is refused, too.
    std::fs::write(&anchors, "").unwrap();
    write_rows(&controller);
    checkpoint(&controller);
    controller.wait("what is gone to be told", |me| {
        rows_of(me, &place, "anchor.disagrees").iter().any(|row| row.contains("has no note of it now")).then_some(())
    });
    let (_, text, _) = controller.ask(&["status"]);
    assert!(text.contains("changes are held: the audit log cannot vouch for them"), "{text}");
    // Everything it had, but for the other note.
    let ours: String = whole.lines().filter(|known| **known != *line.to_string()).map(|known| format!("{known}\n")).collect();
    std::fs::write(&anchors, ours).unwrap();
    controller.wait_for(&more, "in_force");
    controller.stop();
    controller.assert_log_verifies();
}

#[test]
fn d16_a_key_that_others_may_read_or_that_is_gone_refuses_the_start_and_a_new_one_is_on_record() {
    let place = Place::new();
    let controller = place.controller("", 0);
    place.repository.push("Segment the cardholder data environment").unwrap();
    assert!(controller.once().status.success());
    let key = place.state("audit.key");
    let mode = |mode: u32| std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
    mode(0o644);
    assert_refused(&place, &controller, &["has mode 0644, and 0600 is wanted"]);
    let (_, text, _) = controller.ask(&["doctor"]);
    assert!(text.contains("audit key") && text.contains("0644"), "{text}");
    mode(0o600);
    assert!(controller.once().status.success());
    std::fs::remove_file(&key).unwrap();
    assert_refused(&place, &controller, &["audit.key that signs the audit log is gone"]);
    let made = Command::new("openssl").args(["genpkey", "-algorithm", "ed25519", "-out"]).arg(&key).status().unwrap();
    assert!(made.success());
    mode(0o600);
    assert!(controller.once().status.success());
    let rows = rows_of(&controller, &place, "key.rotated");
    assert!(rows.len() == 1 && rows[0].contains("\"covered_by_old\":false"), "{rows:?}");
    controller.assert_log_verifies();
}
