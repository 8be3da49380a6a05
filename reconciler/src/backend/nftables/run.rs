//! The `nft` program: found, asked and given scripts, never through a shell.
//!
//! A script is one file on standard input, so the kernel takes all of it or nothing. `nft` runs in the network namespace of the
//! thread that calls.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The longest one call of `nft` may take; 100,000 prefixes take a few seconds.
const NFT_TIME_MAX: Duration = Duration::from_secs(60);
/// How often a running `nft` is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// Where `nft` may be when PATH is that of a service.
const USUAL_FOLDERS: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/usr/local/sbin"];

/// What `nft` could not do.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// It is nowhere.
    #[error("the nft program is not installed; install the package nftables")]
    Missing,
    /// It does not start.
    #[error("{} cannot be run", program.display())]
    Start {
        /// Which file.
        program: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// It does not end.
    #[error("nft did not end within {} s and was stopped", NFT_TIME_MAX.as_secs())]
    TooSlow,
    /// It says no.
    #[error("nft refused: {said}{}", remedy(said))]
    Refused {
        /// Its first complaint.
        said: String,
    },
    /// What it shows is not what it should show.
    #[error("the output of nft is not understood: {0}")]
    Unreadable(String),
}

/// What to do about a complaint.
fn remedy(said: &str) -> &'static str {
    if said.contains("Operation not permitted") {
        "; run as root, or give the service CAP_NET_ADMIN"
    } else if said.contains("No buffer space") || said.contains("Message too long") {
        "; the policy is larger than one netlink transaction may be here: raise net.core.wmem_max, or allow fewer prefixes"
    } else if said.contains("Operation not supported") || said.contains("No such file or directory") {
        "; the kernel needs CONFIG_NF_TABLES_INET, CONFIG_NFT_CT and CONFIG_NF_CONNTRACK (modules nf_tables, nft_ct, nf_conntrack)"
    } else {
        ""
    }
}

/// The program.
#[derive(Debug, Clone)]
pub struct Nft {
    program: PathBuf,
}

impl Nft {
    /// Looks in PATH, then where system tools usually are.
    ///
    /// # Errors
    /// It is nowhere.
    pub fn find() -> Result<Self, NftError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&path).chain(USUAL_FOLDERS.iter().map(PathBuf::from));
        let program = folders.filter(|folder| folder.is_absolute()).map(|folder| folder.join("nft")).find(|file| file.is_file());
        program.map(|program| Self { program }).ok_or(NftError::Missing)
    }

    /// A certain file.
    #[must_use]
    pub fn at(program: PathBuf) -> Self {
        Self { program }
    }

    /// Which file.
    #[must_use]
    pub fn program(&self) -> &std::path::Path {
        &self.program
    }

    /// What it calls itself: `nftables v1.0.6 (Lester Gooch #5)`.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn version(&self) -> Result<String, NftError> {
        Ok(self.call(&["--version"], "")?.trim().to_owned())
    }

    /// Puts a whole script in force, or nothing of it.
    ///
    /// # Errors
    /// `nft` or the kernel refuses; nothing has changed.
    pub fn load(&self, script: &str) -> Result<(), NftError> {
        self.call(&["-f", "-"], script).map(drop)
    }

    /// Whether a script could be put in force.
    ///
    /// # Errors
    /// `nft` or the kernel would refuse.
    pub fn check(&self, script: &str) -> Result<(), NftError> {
        self.call(&["--check", "-f", "-"], script).map(drop)
    }

    /// What `list` shows, as JSON with every name that has a number as its number.
    ///
    /// # Errors
    /// `nft` refuses.
    pub fn list(&self, what: &[&str], with_elements: bool) -> Result<String, NftError> {
        let mut arguments = vec!["-n", "-j"];
        arguments.extend((!with_elements).then_some("-t"));
        arguments.push("list");
        arguments.extend(what);
        self.call(&arguments, "")
    }

    fn call(&self, arguments: &[&str], input: &str) -> Result<String, NftError> {
        let start = |cause| NftError::Start { program: self.program.clone(), cause };
        let mut command = Command::new(&self.program);
        command.args(arguments).env("LC_ALL", "C").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(start)?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        // All three at once: a pipe that nobody empties stops the program.
        std::thread::scope(|scope| {
            let writer = scope.spawn(move || stdin.map(|mut pipe| pipe.write_all(input.as_bytes())));
            let out = scope.spawn(move || read_all(stdout));
            let err = scope.spawn(move || read_all(stderr));
            let status = wait(&mut child)?.map_err(start)?;
            // It may close its input before the end; what it says about that counts.
            let _ = writer.join();
            let (out, err) = (out.join().unwrap_or_default(), err.join().unwrap_or_default());
            if status.success() { Ok(out) } else { Err(NftError::Refused { said: first_complaint(&err) }) }
        })
    }
}

fn wait(child: &mut Child) -> Result<std::io::Result<std::process::ExitStatus>, NftError> {
    let until = Instant::now() + NFT_TIME_MAX;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(Ok(status)),
            Ok(None) if Instant::now() < until => std::thread::sleep(LOOK_EVERY),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(NftError::TooSlow);
            }
            Err(error) => return Ok(Err(error)),
        }
    }
}

fn read_all(pipe: Option<impl std::io::Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        let _ = pipe.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The first line, without the place in the script, which nobody else has.
fn first_complaint(text: &str) -> String {
    let line = text.lines().find(|line| line.contains("rror")).or_else(|| text.lines().next()).unwrap_or("without a word").trim();
    line.split_once("Error: ").map_or(line, |(_, said)| said).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_one_line_with_what_to_do() {
        let said = first_complaint("/dev/stdin:3:1-2: Error: Could not process rule: Operation not permitted\nadd\n^^\n");
        let text = NftError::Refused { said }.to_string();
        assert_eq!(
            text,
            "nft refused: Could not process rule: Operation not permitted; run as root, or give the service CAP_NET_ADMIN"
        );
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let missing = Nft::at(PathBuf::from("/nowhere/nft")).version().unwrap_err();
        assert_eq!(missing.to_string(), "/nowhere/nft cannot be run");
    }
}
