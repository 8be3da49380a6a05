//! SSH: the system's client with fixed arguments and an empty environment.
//!
//! No configuration file, agent, forwarding or prompt takes part; the key and the server keys we trust are the configured ones.

use std::io::Read;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gix::protocol::transport::Protocol;
use gix::protocol::transport::client::git::ConnectMode;
use gix::protocol::transport::client::git::blocking_io::Connection;

use super::address::SshAddress;
use super::config::Credentials;
use super::fault::{Fault, one_line};
use super::remote::Line;
use super::watch::{Watch, Watched};
use crate::source::{failed, refused};

/// Enough of what the client says to name the cause.
const STDERR_BYTES_MAX: u64 = 4096;

/// A line through a running client.
pub(crate) type SshLine = Line<Connection<Watched<ChildStdout>, ChildStdin>>;

/// Starts the client, lets `speak` use the line through it, and ends the client. When that fails, the error says what the client
/// had to say.
pub(crate) fn call<T>(
    who: (&SshAddress, &Credentials, &Watch),
    speak: impl FnOnce(SshLine) -> Result<T, Fault>,
) -> Result<T, Fault> {
    call_for("git-upload-pack", who, speak)
}

/// The same, to another service.
pub(crate) fn call_for<T>(
    service: &str,
    (address, credentials, watch): (&SshAddress, &Credentials, &Watch),
    speak: impl FnOnce(SshLine) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let spawned = command(service, address, credentials).spawn();
    let mut child = spawned.map_err(|error| failed("cannot start `ssh`; install the OpenSSH client", error))?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let client = Client(Arc::new(Mutex::new(child)));
    watch.kill_on_stop(Arc::clone(&client.0));
    let (Some(stdin), Some(stdout), Some(stderr)) = (stdin, stdout, stderr) else {
        return Err(refused("cannot talk to `ssh`; we try again").into());
    };
    // Read beside the conversation, so that a talkative server cannot fill the pipe and stop it.
    let said = std::thread::spawn(move || last_words(stderr));
    let answer = speak(line(address, watch.reader(stdout), stdin));
    drop(client);
    watch.forget();
    let said = said.join().unwrap_or_default();
    answer.map_err(|fault| if said.is_empty() { fault } else { explained(fault, said) })
}

fn line(address: &SshAddress, stdout: Watched<ChildStdout>, stdin: ChildStdin) -> SshLine {
    let none: Option<(&str, Option<u16>)> = None;
    let url = format!("ssh://{}/", address.host);
    let transport = Connection::new(stdout, stdin, Protocol::V2, address.path.as_str(), none, ConnectMode::Process, false)
        .custom_url(Some(url.as_str().into()));
    Line { transport, options: None, url }
}

fn explained(fault: Fault, said: String) -> Fault {
    let advice = match &said {
        said if said.contains("Host key verification failed") => {
            "the key of the server is not in known_hosts_file, or is another one"
        }
        said if said.contains("Permission denied") => "the server refuses our key; check ssh_key_file and its rights",
        _ => "the SSH client says why",
    };
    match fault {
        Fault::Failed(_) => failed(format!("cannot read from the remote repository: {advice}"), said).into(),
        Fault::Damaged(_) | Fault::OtherFormat(_) | Fault::TooLarge(_) | Fault::OddHistory(_) | Fault::BrokenPack(_) => fault,
    }
}

/// The beginning of what the client says; the rest is read and dropped.
fn last_words(mut stderr: ChildStderr) -> String {
    let mut said = Vec::new();
    // A broken pipe leaves what was read so far.
    let _ = stderr.by_ref().take(STDERR_BYTES_MAX).read_to_end(&mut said);
    let _ = std::io::copy(&mut stderr, &mut std::io::sink());
    one_line(&String::from_utf8_lossy(&said))
}

/// A running client. It is ended when this is dropped.
struct Client(Arc<Mutex<Child>>);

impl Drop for Client {
    fn drop(&mut self) {
        let mut child = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A client that ends by itself after the conversation gets a moment, so that its last words arrive.
        for _ in 0..10 {
            if !matches!(child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        // It may be gone by now, which is as good.
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn command(service: &str, address: &SshAddress, credentials: &Credentials) -> Command {
    let mut command = Command::new("ssh");
    command.args(["-F", "/dev/null"]);
    for option in [
        "BatchMode=yes",
        "IdentitiesOnly=yes",
        "IdentityAgent=none",
        "StrictHostKeyChecking=yes",
        "GlobalKnownHostsFile=/dev/null",
        "UpdateHostKeys=no",
        "ClearAllForwardings=yes",
        "PermitLocalCommand=no",
        "ConnectTimeout=10",
        "ServerAliveInterval=10",
        "ServerAliveCountMax=2",
        "SendEnv=GIT_PROTOCOL",
    ] {
        command.args(["-o", option]);
    }
    if let Credentials::SshKey { ssh_key_file, known_hosts_file } = credentials {
        command.arg("-o").arg(format!("UserKnownHostsFile=\"{}\"", known_hosts_file.display()));
        command.arg("-i").arg(ssh_key_file);
    }
    if let Some(port) = address.port {
        command.arg("-p").arg(port.to_string());
    }
    if let Some(user) = &address.user {
        command.arg("-l").arg(user);
    }
    command.arg("--").arg(&address.host).arg(format!("{service} {}", quoted(&address.path)));
    command.env_clear().env("GIT_PROTOCOL", "version=2").env("LC_ALL", "C");
    command.env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into()));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// One word for the shell on the server.
fn quoted(path: &str) -> String {
    format!("'{}'", path.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(address: &SshAddress) -> Vec<String> {
        let credentials = Credentials::SshKey { ssh_key_file: "/run/key".into(), known_hosts_file: "/run/known hosts".into() };
        let command = command("git-upload-pack", address, &credentials);
        assert!(command.get_envs().all(|(name, _)| { ["PATH", "GIT_PROTOCOL", "LC_ALL"].iter().any(|known| name == *known) }));
        command.get_args().map(|argument| argument.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn g10_the_client_gets_fixed_options_then_two_dashes_then_host_and_command() {
        let address =
            SshAddress { user: Some("git".into()), host: "example.org".into(), port: Some(2222), path: "/a'; touch x; '".into() };
        let arguments = arguments(&address);
        assert_eq!(arguments[..2], ["-F", "/dev/null"]);
        for option in
            ["BatchMode=yes", "IdentitiesOnly=yes", "StrictHostKeyChecking=yes", "UserKnownHostsFile=\"/run/known hosts\""]
        {
            assert!(arguments.contains(&option.to_owned()), "{option}");
        }
        let tail = ["-i", "/run/key", "-p", "2222", "-l", "git", "--", "example.org", r"git-upload-pack '/a'\''; touch x; '\'''"];
        assert_eq!(arguments[arguments.len() - tail.len()..], tail);
    }
}
