//! The real binary, as people run it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use pci_segment::sandbox::{Repository, Sandbox};
use serde_json::Value;

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(120);

/// The product's binary, built if it is not.
#[must_use]
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let me = std::env::current_exe().unwrap();
        let profile =
            me.ancestors().find(|folder| folder.join("deps").is_dir()).expect("test binaries lie below a profile's folder");
        let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
        cargo.args(["build", "--quiet", "--package", "pci-segment", "--bin", "pci-segment"]);
        cargo.arg("--target-dir").arg(profile.parent().unwrap()).current_dir(env!("CARGO_MANIFEST_DIR"));
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        // What cargo tells a test of its package is no business of this build: some build scripts are run again if it changes, and all
        // that depends on them, back and forth with each run of the tests.
        let told =
            |name: &str| ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"].iter().any(|own| name.starts_with(own));
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        for name in names.filter(|name| told(name)) {
            cargo.env_remove(name);
        }
        assert!(cargo.status().unwrap().success(), "the product does not build");
        profile.join("pci-segment")
    })
}

/// Runs the product to its end.
#[must_use]
pub fn run(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(binary()).args(arguments).current_dir(folder).output().unwrap()
}

/// What differs from the plainest configuration; each is YAML.
#[derive(Debug, Default, Clone)]
pub struct Options {
    /// Keys below `source` beside `url`, `path` and `poll_interval`.
    pub source: String,
    /// Further keys below `host`, each ended by a comma; `learning: 0s,` unless said otherwise.
    pub host: Option<String>,
    /// `[eth0]` unless said otherwise.
    pub interfaces: Option<String>,
    /// Top-level keys.
    pub extra: String,
    /// Value of `drift`.
    pub drift: Option<String>,
    /// A fixed port for the HTTP door.
    pub port: u16,
}

/// A controller's folder, configuration and process.
pub struct Controller<'a> {
    folder: PathBuf,
    sandbox: Option<&'a Sandbox>,
    child: Option<Child>,
}

impl<'a> Controller<'a> {
    /// Writes a configuration that follows `repository`; nothing runs yet.
    #[must_use]
    pub fn configure(folder: &Path, sandbox: Option<&'a Sandbox>, repository: &Repository, options: &Options) -> Self {
        let interfaces = options.interfaces.as_deref().unwrap_or(if sandbox.is_some() { "[eth0]" } else { "[]" });
        let pins = sandbox.map_or("/sys/fs/bpf/pci-segment-tests".to_owned(), |s| s.pins().display().to_string());
        let config = format!(
            "source: {{ url: \"{}\", path: policies, poll_interval: 600s{} }}\n\
             database: sqlite://{}/state/state.db\nlisten: 127.0.0.1:{}\n\
             host: {{ name: db-01, labels: {{ pci-env: cde, tier: database }}, interfaces: {interfaces}, pin_dir: {pins}, {} \
             failsafe: {{ inbound: [{{ protocol: TCP, port: 22, from: [10.0.9.16/30] }}] }} }}\n\
             drift: {}\n{}\n",
            repository.url(),
            options.source,
            folder.display(),
            options.port,
            options.host.as_deref().unwrap_or("learning: 0s,"),
            options.drift.as_deref().unwrap_or("{ schedule: \"0 0 0 1 1 *\" }"),
            options.extra,
        );
        std::fs::create_dir_all(folder.join("state")).unwrap();
        std::fs::write(folder.join("pci-segment.yaml"), config).unwrap();
        Self { folder: folder.to_owned(), sandbox, child: None }
    }

    /// Starts `run`.
    pub fn start(&mut self) {
        self.start_with(&[]);
    }

    /// The same with more in its environment.
    pub fn start_with(&mut self, environment: &[(&str, &str)]) {
        self.start_under(&[], environment);
    }

    /// The same below another program, which must become it or keep its process id.
    pub fn start_under(&mut self, wrapper: &[&str], environment: &[(&str, &str)]) {
        let log = File::options().create(true).append(true).open(self.folder.join("controller.log")).unwrap();
        let mut words = wrapper.iter().map(std::ffi::OsStr::new).chain([binary().as_os_str()]);
        let mut command = Command::new(words.next().unwrap());
        command
            .args(words)
            .args(["run", "-c", "pci-segment.yaml"])
            .envs(environment.iter().copied())
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        self.child = Some(match self.sandbox {
            Some(sandbox) => sandbox.host.run(move || command.spawn()).unwrap(),
            None => command.spawn().unwrap(),
        });
    }

    /// `run --once`, to its end.
    #[must_use]
    pub fn once(&self) -> Output {
        self.once_with(&[])
    }

    /// The same with more in its environment.
    #[must_use]
    pub fn once_with(&self, environment: &[(&str, &str)]) -> Output {
        let mut command = Command::new(binary());
        command.args(["run", "--once", "-c", "pci-segment.yaml"]).current_dir(&self.folder).envs(environment.iter().copied());
        match self.sandbox {
            Some(sandbox) => sandbox.host.run(move || command.output()).unwrap(),
            None => command.output().unwrap(),
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Waits until it has ended by itself, not well; its exit code, if a signal was not the end.
    pub fn wait_for_its_end(&mut self) -> Option<i32> {
        let mut child = self.child.take().expect("it runs");
        let start = Instant::now();
        let ended = loop {
            if let Some(ended) = child.try_wait().unwrap() {
                break ended;
            }
            if start.elapsed() > PATIENCE {
                let _ = child.kill();
                panic!("it goes on:\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        assert!(!ended.success(), "it ended well:\n{}", self.log());
        ended.code()
    }

    /// Its exit code, if it has ended.
    pub fn ended(&mut self) -> Option<i32> {
        let status = self.child.as_mut()?.try_wait().unwrap()?;
        self.child = None;
        status.code()
    }

    /// `kill -HUP`: look now.
    pub fn wake(&self) {
        self.signal(rustix::process::Signal::HUP);
    }

    /// `kill -TERM`, and waits for a good end.
    pub fn stop(&mut self) {
        self.signal(rustix::process::Signal::TERM);
        let mut child = self.child.take().expect("it runs");
        let ended = child.wait().unwrap();
        assert!(ended.success(), "{ended}\n{}", self.log());
    }

    /// The process, while it runs.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let child = self.child.as_ref().expect("it runs");
        rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).unwrap();
    }

    /// Its log so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("controller.log")).unwrap_or_default()
    }

    /// A command of ours on this configuration; its exit code, output and errors.
    #[must_use]
    pub fn ask(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut all = arguments.to_vec();
        all.extend(["-c", "pci-segment.yaml"]);
        let output = run(&self.folder, &all);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    }

    /// The rows of a command that answers with a JSON array; none while there is no database.
    #[must_use]
    pub fn rows(&self, command: &str) -> Vec<Value> {
        let (_, text, _) = self.ask(&[command, "--format", "json"]);
        serde_json::from_str::<Value>(&text).ok().and_then(|v| v.as_array().cloned()).unwrap_or_default()
    }

    /// Waits until `history` says this of a commit; `-` is a row without a commit.
    pub fn wait_for(&mut self, commit: &str, outcome: &str) -> Value {
        self.wait(&format!("{commit} to be {outcome}"), |me| {
            let rows = me.rows("history");
            let text = |row: &Value, key: &str| row.get(key).and_then(Value::as_str).unwrap_or("-").to_owned();
            rows.iter().find(|row| text(row, "commit") == commit && text(row, "outcome") == outcome).cloned()
        })
    }

    /// Waits until something is so.
    pub fn wait<T>(&mut self, what: &str, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().unwrap()) {
                panic!("the controller ended with {status} while waiting for {what}:\n{}", self.log());
            }
            assert!(start.elapsed() < PATIENCE, "waited in vain for {what}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// `audit verify` says the log is good.
    pub fn assert_log_verifies(&self) {
        let (code, out, err) = self.ask(&["audit", "verify"]);
        assert_eq!(code, 0, "{out}{err}");
    }
}

impl Drop for Controller<'_> {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
