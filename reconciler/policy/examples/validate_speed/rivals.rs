//! The peers, on the same files and in the same run.
//!
//! Checkov is the one that people put beside Kubernetes policies. None of its checks is about our documents, so its time is what it
//! takes to parse them, build its graph and find nothing. PyYAML with libyaml is what any checker in Python pays only to parse.

use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The release that is compared with.
pub(crate) const CHECKOV: &str = "checkov==3.3.30";

/// Runs a command without its output and prints the memory of its largest process, in KiB.
const WITH_PEAK: &str = "import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)";

const PARSE_ALL: &str = "import os, sys, yaml
for folder, _, names in os.walk(sys.argv[1]):
    for name in names:
        with open(os.path.join(folder, name), 'rb') as file:
            list(yaml.load_all(file, Loader=yaml.CSafeLoader))";

/// What a peer took, or why it was not run.
pub(crate) enum Rival {
    Ran { took: Duration, peak: u64 },
    Missing(String),
}

/// Checkov: `CHECKOV` in the environment, or on the `PATH`.
pub(crate) fn checkov(directory: &Path) -> Result<Rival, Box<dyn Error>> {
    let Some(program) = env::var_os("CHECKOV").map(PathBuf::from).or_else(|| on_path("checkov")) else {
        return Ok(Rival::Missing(format!("not installed: pip install {CHECKOV}")));
    };
    let mut command = Command::new(python(Some(&program)));
    command.args(["-c", WITH_PEAK]).arg(&program).arg("--directory").arg(directory);
    timed(command.args(["--framework", "kubernetes", "--quiet", "--compact"]))
}

/// PyYAML's loader in C; the interpreter of checkov has it.
pub(crate) fn pyyaml(directory: &Path) -> Result<Rival, Box<dyn Error>> {
    let program = env::var_os("CHECKOV").map(PathBuf::from).or_else(|| on_path("checkov"));
    let python = python(program.as_deref());
    let has = Command::new(&python).args(["-c", "from yaml import CSafeLoader"]).stderr(Stdio::null()).status();
    if !has.is_ok_and(|status| status.success()) {
        return Ok(Rival::Missing("not installed: pip install pyyaml".to_string()));
    }
    timed(Command::new(&python).args(["-c", WITH_PEAK]).arg(&python).args(["-c", PARSE_ALL]).arg(directory))
}

fn timed(command: &mut Command) -> Result<Rival, Box<dyn Error>> {
    let start = Instant::now();
    let output = command.output()?;
    let took = start.elapsed();
    let said = String::from_utf8(output.stdout)?;
    match said.trim().parse() {
        Ok(peak) => Ok(Rival::Ran { took, peak }),
        Err(_) => Ok(Rival::Missing(format!("did not run: {}", String::from_utf8_lossy(&output.stderr).trim()))),
    }
}

/// The interpreter beside a program of a virtual environment, else any.
fn python(beside: Option<&Path>) -> PathBuf {
    let sibling = beside.and_then(Path::parent).map(|folder| folder.join("python3")).filter(|python| python.exists());
    sibling.unwrap_or_else(|| PathBuf::from("python3"))
}

fn on_path(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(name)).find(|path| path.is_file())
}
