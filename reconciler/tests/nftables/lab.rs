//! A host that is filtered and everybody else, on a veth pair; no routes are missing, so every address can be spoken to.

use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};

use pci_segment::backend::nftables::firewall::Firewall;
use pci_segment::sandbox::{INTERFACE, Namespace, Sandbox};
use socket2::{Domain, Protocol, Socket, Type};

/// What raw sockets listen to, in both families.
const PROTOCOLS: [i32; 8] = [6, 17, 47, 50, 51, 59, 89, 132];

static NEXT: AtomicU32 = AtomicU32::new(0);

pub(crate) fn root_or_left_out(test: &str) -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{test} needs root, and CI must not leave it out");
    eprintln!("left out: {test} needs root");
    false
}

pub(crate) struct Lab {
    pub(crate) sandbox: Sandbox,
}

impl Lab {
    pub(crate) fn build() -> Self {
        let sandbox = Sandbox::build(&format!("nf{}", NEXT.fetch_add(1, Ordering::Relaxed))).unwrap();
        for (space, mac) in [(&sandbox.host, "02:00:00:00:00:01"), (&sandbox.peers, "02:00:00:00:00:02")] {
            space.ip(&["link", "set", INTERFACE, "address", mac]).unwrap();
        }
        // The host sends to everybody through the pair.
        for (gateway, family) in [("169.254.7.7", "-4"), ("fe80::7", "-6")] {
            let host = &sandbox.host;
            host.ip(&["neigh", "add", gateway, "lladdr", "02:00:00:00:00:02", "dev", INTERFACE, "nud", "permanent"]).unwrap();
            host.ip(&[family, "route", "add", "default", "via", gateway, "dev", INTERFACE, "onlink"]).unwrap();
        }
        // Everybody lives on the other side, but for the host itself.
        let peers = &sandbox.peers;
        for (host, family) in [("10.0.30.11/32", "-4"), ("fd00:30::11/128", "-6")] {
            peers.ip(&[family, "route", "add", host, "dev", INTERFACE]).unwrap();
            let gateway = host.split('/').next().unwrap();
            peers.ip(&["neigh", "add", gateway, "lladdr", "02:00:00:00:00:01", "dev", INTERFACE, "nud", "permanent"]).unwrap();
        }
        for block in ["0.0.0.0/1", "128.0.0.0/2", "192.0.0.0/3"] {
            peers.ip(&["-4", "route", "add", "local", block, "dev", "lo", "table", "main"]).unwrap();
        }
        for block in ["2000::/3", "fc00::/7"] {
            peers.ip(&["-6", "route", "add", "local", block, "dev", "lo", "table", "main"]).unwrap();
        }
        let settings = [
            "net/ipv4/conf/all/rp_filter=0",
            "net/ipv4/conf/eth0/rp_filter=0",
            "net/ipv4/icmp_ratelimit=0",
            "net/ipv6/conf/eth0/accept_ra=0",
        ];
        for space in [&sandbox.host, &sandbox.peers] {
            space
                .run(|| {
                    settings
                        .iter()
                        .filter_map(|line| line.split_once('='))
                        .try_for_each(|(name, value)| std::fs::write(format!("/proc/sys/{name}"), value))
                })
                .unwrap();
        }
        Self { sandbox }
    }

    pub(crate) fn firewall(&self) -> Firewall {
        Firewall::find(&[INTERFACE.to_owned()], true).unwrap()
    }

    pub(crate) fn on_host<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.sandbox.host.run(|| Ok(work())).unwrap()
    }

    /// Runs `nft` on the host, as somebody else would.
    pub(crate) fn nft(&self, script: &str) {
        self.on_host(|| {
            let mut child =
                std::process::Command::new("nft").arg("-f").arg("-").stdin(std::process::Stdio::piped()).spawn().unwrap();
            io::Write::write_all(&mut child.stdin.take().unwrap(), script.as_bytes()).unwrap();
            assert!(child.wait().unwrap().success(), "{script}");
        });
    }
}

/// Raw sockets of one namespace: what is sent from there, and what arrives.
pub(crate) struct Wire {
    send: [Socket; 2],
    receive: Vec<Socket>,
}

impl Wire {
    pub(crate) fn open(space: &Namespace) -> Self {
        space
            .run(|| {
                let raw = |domain, protocol| Socket::new(domain, Type::RAW, Some(Protocol::from(protocol)));
                let send = [raw(Domain::IPV4, 255)?, raw(Domain::IPV6, 255)?];
                let mut receive = Vec::new();
                for (domain, icmp) in [(Domain::IPV4, 1), (Domain::IPV6, 58)] {
                    for protocol in PROTOCOLS.into_iter().chain([icmp]) {
                        let socket = raw(domain, protocol)?;
                        socket.set_nonblocking(true)?;
                        socket.set_recv_buffer_size(4 << 20)?;
                        receive.push(socket);
                    }
                }
                Ok(Self { send, receive })
            })
            .unwrap()
    }

    /// Sends a whole IP packet. What the kernel itself refuses to send counts as not delivered.
    pub(crate) fn send(&self, to: IpAddr, packet: &[u8]) {
        let socket = &self.send[usize::from(to.is_ipv6())];
        let _ = socket.send_to(packet, &SocketAddr::new(to, 0).into());
    }

    /// The last four bytes of everything that has arrived.
    pub(crate) fn arrived(&self) -> Vec<u32> {
        let mut tags = Vec::new();
        for socket in &self.receive {
            let mut bytes = [0; 4096];
            while let Ok(length) = (&mut &*socket).read(&mut bytes) {
                if let Some(tag) = length.checked_sub(4).and_then(|from| bytes[from..length].try_into().ok()) {
                    tags.push(u32::from_be_bytes(tag));
                }
            }
        }
        tags
    }
}
