//! Two namespaces joined by a veth pair: the filtered host, and the peer.

use std::{
    io::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::AsFd as _,
    path::PathBuf,
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use enforcer::Enforcer;

pub(crate) const HOST4: IpAddr = IpAddr::V4(Ipv4Addr::new(172, 20, 0, 1));
pub(crate) const PEER4: IpAddr = IpAddr::V4(Ipv4Addr::new(172, 20, 0, 2));
/// A neighbour of the host that nobody has: what is for it goes through every hook and ends at routing.
pub(crate) const NOBODY4: IpAddr = IpAddr::V4(Ipv4Addr::new(172, 20, 0, 99));
pub(crate) const HOST6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xFDAC, 0, 0, 0, 0, 0, 0, 1));

pub(crate) struct Lab {
    pub(crate) host: String,
    pub(crate) peer: String,
    root: PathBuf,
}

/// Runs a program to its end; its standard output.
pub(crate) fn run(line: &str) -> String {
    run_with(line, "")
}

/// [`run`] with something on standard input.
pub(crate) fn run_with(line: &str, input: &str) -> String {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap());
    let started = command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = started.unwrap_or_else(|error| panic!("{line}: {error}; is it installed?"));
    let mut stdin = child.stdin.take().unwrap();
    let done = thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input.as_bytes()));
        child.wait_with_output().unwrap()
    });
    assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

impl Lab {
    pub(crate) fn build() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let (host, peer) = (format!("pcsbh{number}"), format!("pcsbp{number}"));
        run(&format!("ip netns add {host}"));
        run(&format!("ip netns add {peer}"));
        let lab = Self { host, peer, root: PathBuf::from(format!("/run/pci-segment-bench-{number}")) };
        run(&format!("ip link add h0 netns {} type veth peer name p0 netns {}", lab.host, lab.peer));
        for (namespace, link, v4, v6) in [(&lab.host, "h0", HOST4, "fdac::1"), (&lab.peer, "p0", PEER4, "fdac::2")] {
            run(&format!("ip -n {namespace} addr add {v4}/24 dev {link}"));
            run(&format!("ip -n {namespace} addr add {v6}/64 dev {link} nodad"));
            run(&format!("ip -n {namespace} link set {link} up"));
            run(&format!("ip -n {namespace} link set lo up"));
        }
        lab
    }

    /// Hardware addresses of a frame the host takes for its own.
    pub(crate) fn hardware(&self) -> [u8; 12] {
        let text = run(&format!("ip netns exec {} cat /sys/class/net/h0/address", self.host));
        let mut bytes = [2; 12];
        for (to, part) in bytes.iter_mut().zip(text.trim().split(':')) {
            *to = u8::from_str_radix(part, 16).unwrap();
        }
        bytes
    }

    /// The firewall, nothing attached, nothing in force.
    pub(crate) fn firewall(&self) -> Enforcer {
        Enforcer::open(&self.root).unwrap()
    }

    /// Where its maps are pinned.
    pub(crate) fn map(&self, name: &str) -> PathBuf {
        self.root.join(format!("abi{}/maps/{name}", enforcer::ABI_VERSION))
    }

    /// Where its programs are pinned.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.root.join(format!("abi{}/progs/{name}", enforcer::ABI_VERSION))
    }

    /// Runs `work` in the host's namespace, on the second processor if there is one.
    pub(crate) fn in_host<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            scope
                .spawn(|| {
                    let file = std::fs::File::open(format!("/run/netns/{}", self.host)).unwrap();
                    let kind = Some(rustix::thread::LinkNameSpaceType::Network);
                    rustix::thread::move_into_link_name_space(file.as_fd(), kind).unwrap();
                    let mut cpus = rustix::thread::CpuSet::new();
                    cpus.set(1);
                    let _ = rustix::thread::sched_setaffinity(None, &cpus);
                    work()
                })
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// What the kernel calls `h0`.
    pub(crate) fn index(&self) -> u32 {
        let shown = run(&format!("ip -n {} -o link show dev h0", self.host));
        shown.split(':').next().and_then(|text| text.trim().parse().ok()).unwrap()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for name in [&self.host, &self.peer] {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
        let _ = Command::new("umount").arg("-l").arg(&self.root).stderr(Stdio::null()).status();
        let _ = std::fs::remove_dir(&self.root);
    }
}
