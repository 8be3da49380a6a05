//! What `doctor` looks at on the host beside the kernel's features: rights, the BPF file system, and settings of the network
//! stack that complete what the firewall does.

use enforcer::{Enforcer, Observed};

use super::Check;
use crate::chain::chain;
use crate::cli::early::Early;
use crate::config::{Config, HostXdp};

/// Where the BPF file system belongs.
const BPFFS: &str = "/sys/fs/bpf";

/// What is the same for every configuration.
pub(super) fn host() -> Vec<Check> {
    vec![capabilities(), bpffs()]
}

/// Capabilities by number, and what each is for.
const NEEDED: [(u32, &str); 3] = [(39, "CAP_BPF"), (12, "CAP_NET_ADMIN"), (38, "CAP_PERFMON")];
/// Has all of the above in it for older kernels.
const SYS_ADMIN: u32 = 21;

fn capabilities() -> Check {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let Some(held) = effective(&status) else {
        return Check::bad("capabilities", "cannot be read from /proc/self/status", "mount /proc").or_optional();
    };
    let missing = missing(held);
    if missing.is_empty() {
        return Check::good("capabilities", "all that are needed");
    }
    let remedy = "run as root, or with these capabilities (AmbientCapabilities= in the unit); in a container they must be added";
    Check::bad("capabilities", format!("without {}", missing.join(", ")), remedy)
}

fn effective(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn missing(held: u64) -> Vec<&'static str> {
    let has = |number: u32| held >> number & 1 == 1;
    let bpf = |number: &u32| *number != 12;
    NEEDED.iter().filter(|(number, _)| !(has(*number) || bpf(number) && has(SYS_ADMIN))).map(|(_, name)| *name).collect()
}

fn bpffs() -> Check {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mounted = mounts.lines().filter_map(|line| line.split(' ').nth(1).zip(line.split(' ').nth(2)));
    if mounted.into_iter().any(|(place, kind)| place == BPFFS && kind == "bpf") {
        return Check::good("BPF file system", format!("mounted at {BPFFS}"));
    }
    let remedy = "nothing to do with the right to mount: the start mounts it; else: mount -t bpf bpf /sys/fs/bpf";
    Check::bad("BPF file system", format!("not mounted at {BPFFS}"), remedy).or_optional()
}

/// What goes with this configuration.
pub(super) fn configured(config: &Config) -> Vec<Check> {
    let mut checks: Vec<Check> = config.host.interfaces.iter().filter_map(|name| reverse_path(name)).collect();
    if config.host.xdp != HostXdp::Off {
        let seen = Enforcer::open_existing(&config.host.pin_dir).and_then(|pinned| pinned.map(|own| own.glance()).transpose());
        checks.extend(match seen {
            Ok(seen) => config.host.interfaces.iter().map(|name| early_drop(config.host.xdp, seen.as_ref(), name)).collect(),
            Err(error) => {
                vec![Check::bad("host.xdp", format!("cannot be looked at: {}", chain(&error)), "run as root").or_optional()]
            }
        });
    }
    checks
}

/// Nothing depends on early drop, but whoever asked for it wants to know.
fn early_drop(asked: HostXdp, seen: Option<&Observed>, interface: &str) -> Check {
    let name = format!("host.xdp {interface}");
    match Early::of(asked, seen, interface) {
        Early::Off | Early::Native => Check::good(&name, "native: dropped early, in the driver"),
        Early::Otherwise(why) => {
            let remedy = "everything is dropped by TC, as without it; read the controller's log, or set host.xdp: off";
            Check::bad(&name, why, remedy).or_optional()
        }
    }
}

/// PCI DSS v4.0.1 1.4.3: forged source addresses. The firewall refuses those that are never right; whether an address of our own
/// network comes in by the wrong interface is for the kernel's reverse path filter.
fn reverse_path(interface: &str) -> Option<Check> {
    let value = |place: &str| -> Option<u8> {
        std::fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{place}/rp_filter")).ok()?.trim().parse().ok()
    };
    // The kernel takes the stricter of the two.
    let own = value(interface)?;
    Some(judged(interface, own.max(value("all")?)))
}

fn judged(interface: &str, value: u8) -> Check {
    let name = format!("rp_filter {interface}");
    match value {
        1 => Check::good(&name, "1: forged source addresses are refused (PCI DSS 1.4.3)"),
        2 => {
            Check::good(&name, "2: sources without any route are refused; 1 is stricter where routes are symmetric (PCI DSS 1.4.3)")
        }
        _ => {
            let remedy = format!("sysctl -w net.ipv4.conf.{interface}.rp_filter=1, or 2 where routes are asymmetric");
            Check::bad(&name, "0: addresses of our own network are taken from any interface (PCI DSS 1.4.3)", &remedy).or_optional()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_right_to_administer_the_system_has_the_newer_rights_in_it_but_not_that_to_the_network() {
        assert_eq!(missing(u64::MAX), [""; 0]);
        assert_eq!(missing(0), ["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"]);
        assert_eq!(missing(1 << SYS_ADMIN), ["CAP_NET_ADMIN"]);
        assert_eq!(missing(1 << 39 | 1 << 12 | 1 << 38), [""; 0]);
        assert_eq!(effective("Name:\tx\nCapEff:\t000001ffffffffff\n"), Some(0x1ff_ffff_ffff));
    }

    #[test]
    fn a_host_that_believes_every_source_address_is_told_what_to_set() {
        assert!(judged("eth0", 1).ok && judged("eth0", 2).ok);
        let open = judged("eth0", 0);
        assert!(!open.ok && open.optional && open.remedy.contains("net.ipv4.conf.eth0.rp_filter=1"), "{open:?}");
    }
}
