//! A small network on this machine: two namespaces joined by a veth pair, with the addresses that `policies-template` speaks of.
//!
//! `pci-segment demo` shows the product in it, and the system tests prove the product in it. Nothing outside the two namespaces
//! is touched; dropping a [`Sandbox`] removes them. It needs root and iproute2's `ip`.

mod namespace;
mod repository;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use self::namespace::Namespace;
pub use self::repository::Repository;

/// The database host: labels `pci-env: cde, tier: database`.
pub const DATABASE4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 30, 11));
/// The database host, IPv6.
pub const DATABASE6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0x30, 0, 0, 0, 0, 0, 0x11));
/// A host of the application tier, which the template lets in.
pub const APP4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 1, 10));
/// The same, IPv6.
pub const APP6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 0x10));
/// A host in the offices, which nobody lets in.
pub const OFFICE4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 20, 0, 7));
/// The same, IPv6.
pub const OFFICE6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0x20, 0, 0, 0, 0, 0, 7));
/// The interface's name on both sides.
pub const INTERFACE: &str = "eth0";

/// How long an unanswered connection attempt is waited for.
const SILENCE: Duration = Duration::from_millis(600);

/// Two namespaces, a veth pair, and a folder for files.
#[derive(Debug)]
pub struct Sandbox {
    /// Where the database host lives: the controller's host.
    pub host: Namespace,
    /// Where everybody else lives.
    pub peers: Namespace,
    folder: PathBuf,
    pins: PathBuf,
    keep: bool,
}

impl Sandbox {
    /// Builds the network. `tag` keeps sandboxes of one process apart.
    ///
    /// # Errors
    /// Not root, no `ip` command, or the kernel refuses.
    pub fn build(tag: &str) -> io::Result<Self> {
        let id = format!("{tag}{}", std::process::id());
        let folder = std::env::temp_dir().join(format!("pci-segment-{id}"));
        std::fs::create_dir_all(&folder)?;
        let sandbox = Self {
            host: Namespace::create(&format!("pcis-{id}-h"))?,
            peers: Namespace::create(&format!("pcis-{id}-p"))?,
            pins: PathBuf::from(format!("/sys/fs/bpf/pci-segment-{id}")),
            folder,
            keep: false,
        };
        sandbox.connect()?;
        Ok(sandbox)
    }

    /// A folder for the sandbox's files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where a controller in this sandbox pins its maps.
    #[must_use]
    pub fn pins(&self) -> &Path {
        &self.pins
    }

    /// Leaves everything in place when dropped.
    pub fn keep(&mut self) {
        self.keep = true;
        self.host.keep();
        self.peers.keep();
    }

    /// Joins the namespaces: at the start, and again when somebody has deleted the pair. Services go on listening.
    ///
    /// # Errors
    /// They are joined already, or the kernel refuses.
    pub fn connect(&self) -> io::Result<()> {
        let (host, peers) = (self.host.name(), self.peers.name());
        namespace::ip(&["link", "add", INTERFACE, "netns", host, "type", "veth", "peer", "name", INTERFACE, "netns", peers])?;
        for space in [&self.host, &self.peers] {
            space.ip(&["link", "set", "lo", "up"])?;
            space.ip(&["link", "set", INTERFACE, "up"])?;
        }
        for (space, addresses) in [(&self.host, &[DATABASE4, DATABASE6][..]), (&self.peers, &[APP4, APP6, OFFICE4, OFFICE6])] {
            for address in addresses {
                space.address(*address)?;
            }
        }
        for route in ["10.0.1.0/24", "10.20.0.0/16", "fd00:1::/64", "fd00:20::/64"] {
            self.host.route(route)?;
        }
        for route in ["10.0.30.0/24", "fd00:30::/64"] {
            self.peers.route(route)?;
        }
        Ok(())
    }

    /// Starts an echo service on the host, on both families.
    ///
    /// # Errors
    /// The port is taken.
    pub fn serve(&self, port: u16) -> io::Result<()> {
        serve(&self.host, &[DATABASE4, DATABASE6], port)
    }

    /// Starts an echo service among the peers, on all their addresses.
    ///
    /// # Errors
    /// The port is taken.
    pub fn serve_among_peers(&self, port: u16) -> io::Result<()> {
        serve(&self.peers, &[APP4, APP6, OFFICE4, OFFICE6], port)
    }

    /// Opens a connection from a peer's address to the host.
    ///
    /// # Errors
    /// Nobody answers.
    pub fn connect_in(&self, from: IpAddr, port: u16) -> io::Result<TcpStream> {
        let to = if from.is_ipv4() { DATABASE4 } else { DATABASE6 };
        self.peers.run(move || connect(from, SocketAddr::new(to, port)))
    }

    /// Opens a connection from the host to a peer.
    ///
    /// # Errors
    /// Nobody answers.
    pub fn connect_out(&self, to: IpAddr, port: u16) -> io::Result<TcpStream> {
        let from = if to.is_ipv4() { DATABASE4 } else { DATABASE6 };
        self.host.run(move || connect(from, SocketAddr::new(to, port)))
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if !self.keep {
            let _ = std::fs::remove_dir_all(&self.folder);
            let _ = remove_pins(&self.pins);
        }
    }
}

/// Unpins everything below a folder of a bpf file system: programs detach when nothing holds them.
fn remove_pins(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_pins(&entry.path())?;
        } else {
            std::fs::remove_file(entry.path())?;
        }
    }
    std::fs::remove_dir(folder)
}

fn connect(from: IpAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(to), socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
    socket.bind(&SocketAddr::new(from, 0).into())?;
    socket.connect_timeout(&to.into(), SILENCE)?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(SILENCE))?;
    Ok(stream)
}

/// Echoes whatever arrives, one thread a connection, until the process ends.
fn serve(space: &Namespace, addresses: &[IpAddr], port: u16) -> io::Result<()> {
    for address in addresses {
        let address = SocketAddr::new(*address, port);
        let listener = space.run(move || TcpListener::bind(address))?;
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || io::copy(&mut &stream, &mut &stream));
            }
        });
    }
    Ok(())
}
