//! What the demo plays on: sandbox, repository, and the controller as a child process.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::{DATABASE_PORT, OTHER_PORT};
use crate::cli::output::{Output, Tone, escape};
use crate::sandbox::{Repository, Sandbox};

/// Whether a connection attempt is expected to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is.
    Yes,
    /// It is not.
    No,
}

/// The demo's world; dropping it ends the controller and removes everything.
pub(super) struct Stage {
    pub(super) repository: Repository,
    sandbox: Option<Sandbox>,
    folder: PathBuf,
    controller: Option<Child>,
    out: Output,
    number: std::cell::Cell<u32>,
    keep: bool,
}

impl Stage {
    pub(super) fn build(root: bool, out: Output) -> anyhow::Result<Self> {
        let sandbox = if root {
            Some(Sandbox::build("demo").context("cannot build the sandbox network; needed: root and iproute2")?)
        } else {
            None
        };
        let folder = match &sandbox {
            Some(sandbox) => sandbox.folder().to_owned(),
            None => std::env::temp_dir().join(format!("pci-segment-demo{}", std::process::id())),
        };
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let repository = Repository::create(&folder).context("cannot make the demo repository")?;
        if let Some(sandbox) = &sandbox {
            for port in [DATABASE_PORT, OTHER_PORT] {
                sandbox.serve(port).context("cannot start a service in the sandbox")?;
            }
        }
        let stage = Self { repository, sandbox, folder, controller: None, out, number: std::cell::Cell::new(0), keep: false };
        stage.configure()?;
        Ok(stage)
    }

    fn configure(&self) -> anyhow::Result<()> {
        let (interfaces, pins) = match &self.sandbox {
            Some(sandbox) => ("[eth0]", sandbox.pins().display().to_string()),
            None => ("[]", "/sys/fs/bpf/pci-segment".to_owned()),
        };
        let text = format!(
            "source: {{ url: \"{url}\", path: policies, poll_interval: 10s }}\n\
             database: sqlite://{folder}/state/state.db\n\
             listen: 127.0.0.1:0\n\
             host:\n  name: db-01\n  labels: {{ pci-env: cde, tier: database }}\n  interfaces: {interfaces}\n  pin_dir: {pins}\n  learning: 0s\n\
             \x20 failsafe: {{ inbound: [{{ protocol: TCP, port: 22, from: [10.0.9.16/30] }}] }}\n\
             drift: {{ schedule: \"* * * * * *\", mode: heal }}\n",
            url = self.repository.url(),
            folder = self.folder.display(),
        );
        std::fs::create_dir_all(self.folder.join("state"))?;
        std::fs::write(self.config(), text).context("cannot write the demo's configuration")
    }

    fn config(&self) -> PathBuf {
        self.folder.join("pci-segment.yaml")
    }

    pub(super) fn sandbox(&self) -> Option<&Sandbox> {
        self.sandbox.as_ref()
    }

    pub(super) fn heading(&self, text: &str) {
        self.number.set(self.number.get() + 1);
        self.out.line("");
        self.out.line(self.out.paint(Tone::Strong, &format!("{}. {text}", self.number.get())));
    }

    /// Tries each flow, shows what happened, and fails if it is not what was expected.
    pub(super) fn show_flows(&self, flows: &[(&str, IpAddr, u16, Answer)]) -> anyhow::Result<()> {
        let Some(sandbox) = &self.sandbox else { return Ok(()) };
        for (who, from, port, expected) in flows {
            let answered = match sandbox.connect_in(*from, *port) {
                Ok(_) => Answer::Yes,
                Err(e) if matches!(e.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock) => Answer::No,
                Err(e) => return Err(e).with_context(|| format!("cannot try {from} to port {port}")),
            };
            let word =
                if answered == Answer::Yes { self.out.paint(Tone::Good, "answers") } else { self.out.paint(Tone::Bad, "blocked") };
            self.out.line(format!("   {who:<23} {:<12} -> TCP {port:<5} {word}", from.to_string()));
            if answered != *expected {
                bail!("that is not what the policies say: {from} to TCP {port} should be {expected:?}");
            }
        }
        Ok(())
    }

    pub(super) fn start_controller(&mut self) -> anyhow::Result<()> {
        let log = std::fs::File::create(self.folder.join("controller.log"))?;
        let mut command = self.command(&["run", "-c", "pci-segment.yaml"])?;
        command.stdout(Stdio::null()).stderr(log).stdin(Stdio::null());
        let child = match &self.sandbox {
            Some(sandbox) => sandbox.host.run(move || command.spawn()),
            None => command.spawn(),
        };
        self.controller = Some(child.context("cannot start the controller")?);
        Ok(())
    }

    /// `kill -HUP`: look now.
    pub(super) fn wake(&self) -> anyhow::Result<()> {
        self.signal(rustix::process::Signal::HUP)
    }

    pub(super) fn stop_controller(&mut self) -> anyhow::Result<()> {
        self.signal(rustix::process::Signal::TERM)?;
        if let Some(mut child) = self.controller.take() {
            let status = child.wait()?;
            if !status.success() {
                bail!("the controller ended with {status}: {}", self.log_tail());
            }
        }
        Ok(())
    }

    fn signal(&self, signal: rustix::process::Signal) -> anyhow::Result<()> {
        let Some(child) = &self.controller else { return Ok(()) };
        rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).context("cannot signal the controller")
    }

    /// Waits until `history` says this of the commit.
    pub(super) fn wait_for(&mut self, commit: &str, outcome: &str, patience: Duration) -> anyhow::Result<Value> {
        self.wait(patience, &format!("history to say that {commit} is {outcome}"), |stage| {
            let rows = stage.json(&["history", "-c", "pci-segment.yaml", "--format", "json"])?;
            let found = rows.as_array().into_iter().flatten().find(|row| row.get("commit").and_then(Value::as_str) == Some(commit));
            Ok(found.filter(|row| row.get("outcome").and_then(Value::as_str) == Some(outcome)).cloned())
        })
    }

    pub(super) fn wait_for_drift(&mut self, patience: Duration) -> anyhow::Result<Value> {
        self.wait(patience, "drift to be found", |stage| Ok(stage.drift()?.first().cloned()))
    }

    pub(super) fn wait_for_healing(&mut self, patience: Duration) -> anyhow::Result<String> {
        self.wait(patience, "drift to be healed", |stage| {
            let rows = stage.drift()?;
            let resolution = rows.first().and_then(|row| row.get("resolution")).and_then(Value::as_str);
            Ok(resolution.map(str::to_owned))
        })
    }

    fn drift(&self) -> anyhow::Result<Vec<Value>> {
        let rows = self.json(&["drift", "-c", "pci-segment.yaml", "--format", "json"])?;
        Ok(rows.as_array().cloned().unwrap_or_default())
    }

    fn wait<T>(
        &mut self,
        patience: Duration,
        what: &str,
        mut look: impl FnMut(&Self) -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<T> {
        let start = Instant::now();
        loop {
            // The database may not be there yet; that is not an answer.
            if let Ok(Some(found)) = look(self) {
                return Ok(found);
            }
            if let Some(child) = &mut self.controller
                && let Some(status) = child.try_wait()?
            {
                bail!("the controller ended with {status}: {}", self.log_tail());
            }
            if start.elapsed() > patience {
                bail!("waited {} s for {what}; the controller's log ends with: {}", patience.as_secs(), self.log_tail());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Runs one of our own commands and shows it with its output.
    pub(super) fn run_shown(&self, arguments: &[&str], expected: Option<i32>) -> anyhow::Result<()> {
        let mut command = self.command(arguments)?;
        if arguments.first() == Some(&"validate") {
            command.current_dir(self.repository.clone_folder());
        }
        let output = command.output().context("cannot run our own binary")?;
        self.out.line(format!("   $ pci-segment {}", arguments.join(" ")));
        for line in String::from_utf8_lossy(&output.stdout).lines().chain(String::from_utf8_lossy(&output.stderr).lines()) {
            self.out.line(format!("     {line}"));
        }
        match expected {
            Some(code) if output.status.code() != Some(code) => bail!("it ended with {}, not {code}", output.status),
            _ => Ok(()),
        }
    }

    fn json(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let output = self.command(arguments)?.output()?;
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    fn command(&self, arguments: &[&str]) -> anyhow::Result<Command> {
        let mut command = Command::new(std::env::current_exe().context("cannot find our own binary")?);
        command.args(arguments).current_dir(&self.folder);
        if self.out.colour() {
            command.args(["--color", "always"]);
        }
        Ok(command)
    }

    fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(self.folder.join("controller.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        escape(&lines.get(lines.len().saturating_sub(5)..).unwrap_or_default().join(" | "))
    }

    /// Leaves the sandbox and says how to look around.
    pub(super) fn keep(&mut self, out: Output) {
        self.keep = true;
        let Some(sandbox) = &mut self.sandbox else { return };
        sandbox.keep();
        out.line("");
        out.line(format!("kept: {}", self.folder.display()));
        out.line(format!("      sudo nsenter --net=/run/netns/{} bash", sandbox.host.name()));
        out.line(format!(
            "      remove it with: sudo ip netns delete {}; sudo ip netns delete {}",
            sandbox.host.name(),
            sandbox.peers.name()
        ));
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(mut child) = self.controller.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if self.sandbox.is_none() && !self.keep && self.folder.starts_with(std::env::temp_dir()) {
            let _ = std::fs::remove_dir_all(Path::new(&self.folder));
        }
    }
}
