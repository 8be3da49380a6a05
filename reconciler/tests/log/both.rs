//! Runs both verifiers on the same arguments.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use clap::Parser as _;
use pci_segment::cli::{AuditCommand, Cli, Command as Asked};
use serde_json::Value;

/// Imports the verifier once and answers a list of arguments on each line.
const DRIVER: &str = r#"
import contextlib, importlib.util, io, json, sys, traceback
sys.dont_write_bytecode = True
spec = importlib.util.spec_from_file_location("verify_audit", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
for line in sys.stdin:
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            answer = module.verify(json.loads(line))
    except SystemExit as exit:
        answer = exit.code, said.getvalue()
    except BaseException:
        answer = 99, traceback.format_exc()
    print(json.dumps(answer), flush=True)
"#;

/// Both verifiers.
pub(crate) struct Both {
    python: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Both {
    pub(crate) fn new() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/verify_audit.py");
        let mut python = Command::new("python3")
            .args(["-c", DRIVER, script.to_str().unwrap()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("python3 is needed for this test: {error}"));
        let (asks, answers) = (python.stdin.take().unwrap(), BufReader::new(python.stdout.take().unwrap()));
        Self { python, asks, answers }
    }

    /// Exit codes and messages: ours, then Python's.
    pub(crate) fn ask(&mut self, args: &[String]) -> [(u8, String); 2] {
        self.ask_each(args, args)
    }

    /// The same for two copies: opening a database with a journal changes what lies beside it.
    pub(crate) fn ask_each(&mut self, args: &[String], copied: &[String]) -> [(u8, String); 2] {
        writeln!(self.asks, "{}", serde_json::to_string(copied).unwrap()).unwrap();
        let ours = ours(args);
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let theirs = (u8::try_from(said[0].as_u64().unwrap()).unwrap(), said[1].as_str().unwrap().to_owned());
        [ours, theirs]
    }

    /// Both end with this code, and our message holds this text.
    pub(crate) fn expect(&mut self, what: &str, args: &[&str], code: u8, text: &str) {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let [ours, theirs] = self.ask(&args);
        assert_eq!(ours.0, code, "{what}: {} (Python: {})", ours.1, theirs.1);
        assert_eq!(theirs.0, code, "{what}, in Python: {} (ours: {})", theirs.1, ours.1);
        assert!(ours.1.contains(text), "{what}: {}", ours.1);
        assert!(!ours.1.contains('\n'), "{what}: more than one line: {}", ours.1);
    }
}

impl Drop for Both {
    fn drop(&mut self) {
        let _ = self.python.kill();
        let _ = self.python.wait();
    }
}

fn ours(args: &[String]) -> (u8, String) {
    let words = ["pci-segment", "audit", "verify"].into_iter().map(str::to_owned).chain(args.iter().cloned());
    match Cli::try_parse_from(words) {
        Ok(Cli { command: Asked::Audit(AuditCommand::Verify(args)), .. }) => {
            let report = pci_segment::cli::audit::report(&args).unwrap();
            (report.exit, report.message)
        }
        Ok(_) => panic!("another command"),
        Err(usage) => (2, usage.to_string().lines().next().unwrap_or_default().to_owned()),
    }
}
