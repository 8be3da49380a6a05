//! Two namespaces joined by a veth pair: a host that is filtered, and its peer.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use enforcer::{ABI_VERSION, Cidr, Direction, Enforcer, Interval, Mode, Table};

/// How long a packet that passes may take; one that is dropped takes all of it.
const PATIENCE: Duration = Duration::from_millis(700);

static NEXT: AtomicU32 = AtomicU32::new(0);

pub(crate) struct Lab {
    pub(crate) host: String,
    pub(crate) peer: String,
    pub(crate) root: PathBuf,
}

pub(crate) const HOST4: &str = "10.7.0.1";
pub(crate) const PEER4: &str = "10.7.0.2";
pub(crate) const HOST6: &str = "fd07::1";
pub(crate) const PEER6: &str = "fd07::2";

/// Whether tests that need root can run here.
pub(crate) fn privileged(what: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    assert!(root || std::env::var("CI").as_deref() != Ok("true"), "{what} needs root, and CI must not leave it out");
    if !root {
        println!("not root: leaving out {what}");
    }
    root
}

pub(crate) fn ip(arguments: &str) {
    let run = Command::new("ip").args(arguments.split_whitespace()).output().expect("ip(8) is installed");
    assert!(run.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&run.stderr));
}

impl Lab {
    pub(crate) fn new(what: &str) -> Option<Self> {
        privileged(what).then(|| {
            let number = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            let (host, peer) = (format!("pcsh{number}"), format!("pcsp{number}"));
            ip(&format!("netns add {host}"));
            ip(&format!("netns add {peer}"));
            let lab = Self { host, peer, root: PathBuf::from(format!("/run/pci-segment-test-{number}")) };
            lab.cable();
            ip(&format!("-n {} link set lo up", lab.host));
            lab.wait_for_links();
            lab
        })
    }

    /// A link that is up has IPv6 only once the kernel has noticed its carrier, up to a second later. Neighbours are forgotten again.
    fn wait_for_links(&self) {
        let carries = || self.on_host(|| ping(PEER6)) && self.on_host(|| ping(PEER4));
        // Where there is no route yet a ping fails at once, so the wait is ours.
        let mut waits = 0;
        while !carries() {
            waits += 1;
            assert!(waits < 100, "the link carries no packets");
            std::thread::sleep(Duration::from_millis(100));
        }
        for (namespace, link) in [(&self.host, "h0"), (&self.peer, "p0")] {
            ip(&format!("-n {namespace} neigh flush dev {link}"));
        }
    }

    /// Lays the veth pair, with addresses.
    pub(crate) fn cable(&self) {
        let (host, peer) = (&self.host, &self.peer);
        ip(&format!("link add h0 netns {host} type veth peer name p0 netns {peer}"));
        for (namespace, link, v4, v6) in [(host, "h0", HOST4, HOST6), (peer, "p0", PEER4, PEER6)] {
            ip(&format!("-n {namespace} addr add {v4}/24 dev {link}"));
            ip(&format!("-n {namespace} addr add {v6}/64 dev {link} nodad"));
            ip(&format!("-n {namespace} link set {link} up"));
        }
    }

    /// Where this version pins.
    pub(crate) fn pins(&self) -> PathBuf {
        self.root.join(format!("abi{ABI_VERSION}"))
    }

    pub(crate) fn open(&self) -> Enforcer {
        open(&self.root).expect("the enforcer opens")
    }

    /// Runs `work` in the filtered namespace.
    pub(crate) fn on_host<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        inside(&self.host, work)
    }

    /// Runs `work` in the peer's namespace.
    pub(crate) fn on_peer<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        inside(&self.peer, work)
    }

    pub(crate) fn attach(&self, enforcer: &mut Enforcer) {
        self.on_host(|| enforcer.attach("h0").expect("h0 is attached"));
    }

    /// An echo server for TCP and UDP on both families, on `port` of the host or the peer, until the test ends.
    pub(crate) fn serve(&self, on_host: bool, port: u16) {
        let addresses = if on_host { [HOST4, HOST6] } else { [PEER4, PEER6] };
        let serve = || {
            for address in addresses {
                let at = SocketAddr::new(address.parse().unwrap(), port);
                let listener = TcpListener::bind(at).unwrap();
                thread::spawn(move || listener.incoming().flatten().for_each(|stream| drop(thread::spawn(|| echo(stream)))));
                let socket = UdpSocket::bind(at).unwrap();
                thread::spawn(move || {
                    let mut bytes = [0; 16];
                    while let Ok((size, from)) = socket.recv_from(&mut bytes) {
                        let _ = socket.send_to(&bytes[..size], from);
                    }
                });
            }
        };
        if on_host { self.on_host(serve) } else { self.on_peer(serve) }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for name in [&self.host, &self.peer] {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
        let _ = Command::new("umount").arg("-l").arg(&self.root).status();
        let _ = std::fs::remove_dir(&self.root);
    }
}

/// The object CI has just built, or the one beside the sources: the embedded one.
pub(crate) fn object() -> Vec<u8> {
    let beside = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/pci_segment.bpf.o"));
    let path = std::env::var_os("PCI_SEGMENT_BPF_OBJECT").map_or_else(beside, PathBuf::from);
    std::fs::read(path).expect("the object can be read")
}

/// [`object`], but its enforcing programs remember a refused TCP flow a little longer: other programs with the same maps, whose
/// verdicts on what tests send are the same.
pub(crate) fn newer_object() -> Vec<u8> {
    /// How long they remember it.
    const LIFE: u32 = enforcer_abi::ticks(1_800);
    /// Instructions that load a constant into a register.
    const LOADS: [u8; 2] = [0xB4, 0xB7];
    let mut bytes = object();
    let mut found = 0;
    for instruction in bytes.chunks_exact_mut(8) {
        if LOADS.contains(&instruction[0]) && instruction[4..] == LIFE.to_le_bytes() {
            instruction[4..].copy_from_slice(&(LIFE + 8).to_le_bytes());
            found += 1;
        }
    }
    assert!(found >= 2, "both directions remember refused flows");
    bytes
}

/// Opens with the embedded object, or with the one CI has just built.
pub(crate) fn open(root: &Path) -> Result<Enforcer, enforcer::Error> {
    match std::env::var_os("PCI_SEGMENT_BPF_OBJECT") {
        Some(path) => Enforcer::open_with_object(root, &std::fs::read(path).expect("the object can be read")),
        None => Enforcer::open(root),
    }
}

fn inside<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        scope
            .spawn(|| {
                let file = std::fs::File::open(format!("/run/netns/{namespace}")).unwrap();
                let kind = Some(rustix::thread::LinkNameSpaceType::Network);
                rustix::thread::move_into_link_name_space(file.as_fd(), kind).unwrap();
                work()
            })
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn echo(mut stream: TcpStream) {
    let mut bytes = [0; 16];
    while let Ok(size @ 1..) = stream.read(&mut bytes) {
        let _ = stream.write_all(&bytes[..size]);
    }
}

pub(crate) fn connect(address: &str, port: u16) -> Option<TcpStream> {
    let at = SocketAddr::new(address.parse::<IpAddr>().unwrap(), port);
    let stream = TcpStream::connect_timeout(&at, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    Some(stream)
}

/// Whether the other end of `stream` still answers.
pub(crate) fn answers(stream: &mut TcpStream) -> bool {
    let mut bytes = [0; 4];
    if stream.write_all(b"ping").is_err() {
        return false;
    }
    match stream.read_exact(&mut bytes) {
        Ok(()) => true,
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
            false
        }
    }
}

pub(crate) fn tcp(address: &str, port: u16) -> bool {
    connect(address, port).is_some_and(|mut stream| answers(&mut stream))
}

pub(crate) fn udp(address: &str, port: u16) -> bool {
    let to = SocketAddr::new(address.parse::<IpAddr>().unwrap(), port);
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect(to).unwrap();
    socket.send(b"ping").is_ok() && socket.recv(&mut [0; 4]).is_ok()
}

/// One echo request, answered or not.
pub(crate) fn ping(address: &str) -> bool {
    ping_with(address, 8)
}

/// One echo request of `bytes` bytes, answered or not.
pub(crate) fn ping_with(address: &str, bytes: usize) -> bool {
    use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, ipproto, recv, sendto, socket};
    // Per namespace; without it no group may open such sockets.
    std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647").unwrap();
    let to = SocketAddr::new(address.parse().unwrap(), 0);
    let (family, protocol, kind) =
        if to.is_ipv4() { (AddressFamily::INET, ipproto::ICMP, 8) } else { (AddressFamily::INET6, ipproto::ICMPV6, 128) };
    let socket = socket(family, SocketType::DGRAM, Some(protocol)).unwrap();
    rustix::net::sockopt::set_socket_timeout(&socket, rustix::net::sockopt::Timeout::Recv, Some(PATIENCE)).unwrap();
    let mut request = vec![0; bytes];
    request[0] = kind;
    sendto(&socket, &request, SendFlags::empty(), &to).is_ok() && recv(&socket, &mut request, RecvFlags::empty()).is_ok()
}

pub(crate) fn cidr(text: &str) -> Cidr {
    let (addr, len) = text.split_once('/').unwrap();
    Cidr::new(addr.parse().unwrap(), len.parse().unwrap()).unwrap()
}

pub(crate) const TCP: u32 = 6;
pub(crate) const UDP: u32 = 17;

pub(crate) fn service(proto: u32, port: u16, rule: u32) -> Interval {
    let service = proto << 16 | u32::from(port);
    Interval { lo: service, hi: service, rule, audit: false }
}

/// Both directions enforced, and only what is listed allowed.
pub(crate) fn table(allowed: &[(Direction, &str, &[Interval])]) -> Table {
    Table {
        isolate_in: Some(Mode::Enforce),
        isolate_out: Some(Mode::Enforce),
        prefixes: allowed.iter().map(|(direction, prefix, list)| (*direction, cidr(prefix), list.to_vec())).collect(),
        ..Table::default()
    }
    .sorted()
}
