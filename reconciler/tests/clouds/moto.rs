//! moto's server: the query interface of EC2 with its validation, in a process of its own for every test.
//!
//! It is installed once, into a folder of this user's cache, with its own interpreter's packages.

use std::fs::File;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// What is installed; what it does differs from version to version.
const VERSION: &str = "5.2.5";
/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(120);
/// So often another port is tried where somebody was quicker.
const PORTS_MAX: usize = 5;

/// A server; it ends with this value.
pub(crate) struct Moto {
    child: Child,
    address: SocketAddr,
}

impl Moto {
    /// Starts one. `None`, said on the terminal, where it cannot be installed; in CI that is a failure.
    pub(crate) fn start() -> Option<Self> {
        let server = installed()?;
        (0..PORTS_MAX).find_map(|_| Self::on_a_port(server)).or_else(|| panic!("moto's server does not answer on any port"))
    }

    fn on_a_port(server: &Path) -> Option<Self> {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut child = Command::new(server)
            .args(["-H", "127.0.0.1", "-p", &address.port().to_string()])
            .env("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let start = Instant::now();
        while TcpStream::connect(address).is_err() {
            if child.try_wait().unwrap().is_some() {
                return None;
            }
            assert!(start.elapsed() < PATIENCE, "moto's server does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(Self { child, address })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same for an SDK.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program, installed if it is not.
fn installed() -> Option<&'static Path> {
    static SERVER: OnceLock<Option<PathBuf>> = OnceLock::new();
    SERVER
        .get_or_init(|| match install() {
            Ok(server) => Some(server),
            Err(why) => {
                assert!(std::env::var("CI").as_deref() != Ok("true"), "moto is not there, and CI must not go without it: {why}");
                eprintln!("left out: moto cannot be installed: {why}");
                None
            }
        })
        .as_deref()
}

fn install() -> Result<PathBuf, String> {
    let home = std::env::var_os("HOME").ok_or("HOME is not set")?;
    let cache = Path::new(&home).join(".cache/pci-segment");
    std::fs::create_dir_all(&cache).map_err(|error| error.to_string())?;
    let lock = File::create(cache.join("moto.lock")).map_err(|error| error.to_string())?;
    lock.lock().map_err(|error| error.to_string())?;
    let folder = cache.join(format!("moto-{VERSION}"));
    let (server, done) = (folder.join("bin/moto_server"), folder.join("installed"));
    if done.is_file() && server.is_file() {
        return Ok(server);
    }
    run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    run(Command::new(folder.join("bin/pip")).args(["install", "--quiet", &format!("moto[server,ec2]=={VERSION}")]))?;
    File::create(done).and_then(|mut file| file.write_all(VERSION.as_bytes())).map_err(|error| error.to_string())?;
    Ok(server)
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr))),
    }
}

#[test]
fn motos_server_answers_and_ends_with_its_test() {
    let Some(moto) = Moto::start() else { return };
    let address = moto.address();
    assert_eq!(moto.url(), format!("http://{address}"));
    drop(moto);
    assert!(TcpStream::connect(address).is_err(), "it is gone");
}
