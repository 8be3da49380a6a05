//! What most system tests play on: the sandbox network, a policy repository that begins as the template, services on both sides.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use enforcer::{Enforcer, Observed};
use pci_segment::sandbox::{INTERFACE, Repository, Sandbox};

use crate::{Controller, ForgeStandIn, Options, binary};

/// The template's one open port on the database host.
pub const DATABASE_PORT: u16 = 5432;
/// A port that answers and that no policy of the template names.
pub const OTHER_PORT: u16 = 8080;
/// A host of the template's bastion block, which is also the failsafe block of every controller in tests.
pub const BASTION: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 9, 17));
/// The template's monitoring host.
pub const MONITOR: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 9, 10));
/// A host beside it that no policy names.
pub const NEIGHBOUR: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 9, 11));

/// A network, a repository, and services that answer.
#[derive(Debug)]
pub struct Scene {
    /// What people push to.
    pub repository: Repository,
    /// Two namespaces.
    pub sandbox: Sandbox,
    /// Opening has the verifier look at every program, and holds the lock meanwhile: once is enough.
    kernel: OnceLock<Enforcer>,
}

impl Scene {
    /// Builds it: the database host answers on its database port, on another one and on 22.
    #[must_use]
    pub fn build(tag: &str) -> Self {
        let sandbox = Sandbox::build(tag).unwrap();
        let peers = &sandbox.peers;
        for address in [BASTION, MONITOR, NEIGHBOUR] {
            peers.ip(&["address", "add", &format!("{address}/32"), "dev", INTERFACE]).unwrap();
        }
        sandbox.host.ip(&["route", "add", "10.0.9.0/24", "dev", INTERFACE]).unwrap();
        for port in [22, DATABASE_PORT, OTHER_PORT] {
            sandbox.serve(port).unwrap();
        }
        let repository = Repository::create(sandbox.folder()).unwrap();
        Self { repository, sandbox, kernel: OnceLock::new() }
    }

    /// A controller on the database host.
    #[must_use]
    pub fn controller(&self, options: &Options) -> Controller<'_> {
        Controller::configure(self.sandbox.folder(), Some(&self.sandbox), &self.repository, options)
    }

    /// A forge that the controller can reach, and the configuration that names it.
    #[must_use]
    pub fn forge(&self) -> (ForgeStandIn, String) {
        let forge = ForgeStandIn::serve(self.sandbox.host.run(|| std::net::TcpListener::bind("127.0.0.1:0")).unwrap());
        let extra = forge.configuration(self.sandbox.folder());
        (forge, extra)
    }

    /// A command of ours on the database host, to its end; its exit code, output and errors.
    #[must_use]
    pub fn on_host(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(binary());
        command.args(arguments).current_dir(self.sandbox.folder()).stdin(Stdio::null());
        let output = self.sandbox.host.run(move || command.output()).unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    }

    /// Runs `nft` on the database host, as somebody else would; whether it did what it was told, and what it said.
    #[must_use]
    pub fn nft(&self, script: &str) -> (bool, String) {
        let mut command = Command::new("nft");
        command.arg(script);
        let output = self.sandbox.host.run(move || command.output()).unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Pushes the template; returns the commit.
    #[must_use]
    pub fn push_template(&self) -> String {
        write_template(&self.repository);
        self.repository.push("Segment the cardholder data environment").unwrap()
    }

    /// Pushes one more policy for this host, or another text of it; returns the commit.
    #[must_use]
    pub fn push_policy(&self, name: &str, rules: &str) -> String {
        self.repository.write(&format!("policies/{name}.yaml"), &policy(name, rules)).unwrap();
        self.repository.push(&format!("Write {name}")).unwrap()
    }

    /// What the kernel enforces.
    #[must_use]
    pub fn observe(&self) -> Observed {
        self.kernel.get_or_init(|| Enforcer::open(self.sandbox.pins()).unwrap()).observe().unwrap()
    }

    /// Whether the database host answers a peer.
    #[must_use]
    pub fn answers(&self, from: IpAddr, port: u16) -> bool {
        self.sandbox.connect_in(from, port).is_ok_and(|stream| echoes(&stream))
    }

    /// Whether a peer answers the database host.
    #[must_use]
    pub fn reaches(&self, to: IpAddr, port: u16) -> bool {
        self.sandbox.connect_out(to, port).is_ok_and(|stream| echoes(&stream))
    }

    /// Tries every flow into the host: from, port, whether it must be answered.
    pub fn assert_inbound(&self, flows: &[(IpAddr, u16, bool)]) {
        for (from, port, expected) in flows {
            assert_eq!(self.answers(*from, *port), *expected, "{from} to port {port}");
        }
    }

    /// Tries every flow out of the host: to, port, whether it must be answered.
    pub fn assert_outbound(&self, flows: &[(IpAddr, u16, bool)]) {
        for (to, port, expected) in flows {
            assert_eq!(self.reaches(*to, *port), *expected, "the host to {to} port {port}");
        }
    }

    /// What the template means on the database host.
    pub fn assert_template_holds(&self) {
        use pci_segment::sandbox::{APP4, APP6, OFFICE4, OFFICE6};
        self.assert_inbound(&[
            (APP4, DATABASE_PORT, true),
            (APP6, DATABASE_PORT, true),
            (OFFICE4, DATABASE_PORT, false),
            (OFFICE6, DATABASE_PORT, false),
            (APP4, OTHER_PORT, false),
            (APP6, OTHER_PORT, false),
        ]);
    }
}

/// The template's policies that need no other document: tests add rules of their own beside them, without a record for each.
const STANDALONE: [&str; 5] = ["floor", "cde-database", "cde-app", "cde-administration", "cde-monitoring"];

/// Puts the template's policies for the database host into a repository's clone.
pub fn write_template(repository: &Repository) {
    let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies-template/policies");
    for name in STANDALONE {
        let text = std::fs::read_to_string(template.join(format!("{name}.yaml"))).unwrap();
        repository.write(&format!("policies/{name}.yaml"), &text).unwrap();
    }
}

/// A policy for hosts with the labels of the database host; `rules` are lines of `spec` with two spaces before them.
#[must_use]
pub fn policy(name: &str, rules: &str) -> String {
    format!(
        "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata:\n  name: {name}\n  annotations:\n    pci-dss: \"Req 1.3.1\"\n\
         spec:\n  podSelector:\n    matchLabels:\n      pci-env: cde\n      tier: database\n{rules}"
    )
}

/// Whether what is written comes back.
#[must_use]
pub fn echoes(mut stream: &TcpStream) -> bool {
    let mut back = [0; 4];
    stream.write_all(b"ping").is_ok() && stream.read_exact(&mut back).is_ok() && back == *b"ping"
}
