//! How long it takes to get rules into force: `cargo run --release -p enforcer --example swap_speed -- 100000`, as root.
//!
//! For hosts, nets and both mixed: encoding, building, reading back, golden packets, the switch; a change of ten rules; reading
//! everything back from the kernel; and the kernel memory of two generations with the flow tables. Each time is the least of some
//! runs, in milliseconds. Memory is what the kernel says of each map; of a trie it leaves the inner nodes out, so there it is
//! 64 bytes × (2n − 1).
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "a measurement for people to read; what fails ends it"
)]

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsFd as _, AsRawFd as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use aya::maps::MapData;
use enforcer::{Built, Cidr, Direction, Enforcer, Installed, Interval, Mode, Table};

/// Runs of each measurement.
const RUNS: usize = 7;
/// Rules a small change touches.
const CHANGE: usize = 10;

fn main() {
    let count = std::env::args().nth(1).map_or(100_000, |count| count.parse().unwrap());
    let root = PathBuf::from(format!("/run/pci-segment-swap-{}", std::process::id()));
    println!("{count} rules, {}; the least of {RUNS} runs, in ms", kernel());
    println!(
        "{:<6} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7} | {:>7} {:>7} {:>7} {:>7} | {:>7} {:>8}",
        "", "encode", "build", "verify", "golden", "flip", "whole", "p.build", "p.verif", "p.flip", "patch", "observe", "MiB"
    );
    for kind in [Kind::Hosts, Kind::Nets, Kind::Mixed] {
        let mut enforcer = Enforcer::open(&root).unwrap();
        measure(&mut enforcer, &root, kind, count);
        enforcer.remove_all().unwrap();
    }
    let _ = std::process::Command::new("umount").arg("-l").arg(&root).status();
    let _ = std::fs::remove_dir(&root);
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Hosts,
    Nets,
    Mixed,
}

/// `count` prefixes, each with a service of its own rule, like what many small policies flatten to.
fn table(kind: Kind, count: usize, offset: usize) -> Table {
    let prefixes = (0..count).map(|n| {
        let number = n as u32;
        let scattered = number.wrapping_mul(2_654_435_761);
        let v6 = matches!(kind, Kind::Mixed) && n % 4 == 3;
        let host = matches!(kind, Kind::Hosts) || matches!(kind, Kind::Mixed) && n % 2 == 0;
        let addr: IpAddr = if v6 {
            let high = 0x2001_0db8_u128 << 96 | u128::from(scattered) << 64;
            Ipv6Addr::from(if host { high | 7 } else { high }).into()
        } else {
            Ipv4Addr::from(if host { scattered } else { scattered & !0xFF }).into()
        };
        let len = match (host, v6) {
            (true, false) => 32,
            (true, true) => 128,
            (false, false) => 24 + (number % 8) as u8,
            (false, true) => 64,
        };
        let service = 0x06_0000 | (1 + number % 40_000);
        let rule = ((n + if n < CHANGE { offset } else { 0 }) % 16_384) as u32 + 1;
        let direction = if n % 2 == 0 { Direction::In } else { Direction::Out };
        (direction, Cidr::new(addr, len).unwrap(), vec![Interval { lo: service, hi: service, rule, audit: false }])
    });
    let (isolate_in, isolate_out) = (Some(Mode::Enforce), Some(Mode::Enforce));
    let mut table = Table { isolate_in, isolate_out, prefixes: prefixes.collect(), ..Table::default() }.sorted();
    table.prefixes.dedup_by_key(|(direction, cidr, _)| (*direction, *cidr));
    table
}

fn measure(enforcer: &mut Enforcer, root: &Path, kind: Kind, count: usize) {
    let [one, other] = [0, 5_000].map(|offset| table(kind, count, offset));
    // Nothing of a whole rebuild can be changed in place when there is next to nothing.
    let nothing = Table::default();
    let mut whole: Vec<(Installed, Duration)> = Vec::new();
    for _ in 0..RUNS {
        install(enforcer, &nothing);
        install(enforcer, &nothing);
        let done = install(enforcer, &one);
        assert_eq!(done.0.how, Built::Whole);
        whole.push(done);
    }
    let mut patches = Vec::new();
    install(enforcer, &one);
    for turn in 0..RUNS * 2 + 2 {
        let done = install(enforcer, if turn % 2 == 0 { &other } else { &one });
        if turn >= 2 {
            assert!(matches!(done.0.how, Built::Patched { changes } if changes <= CHANGE), "{:?}", done.0.how);
            patches.push(done);
        }
    }
    let observe = (0..RUNS).map(|_| {
        let began = Instant::now();
        let observed = enforcer.observe().unwrap();
        assert_eq!(observed.table.as_ref(), Some(&one));
        began.elapsed()
    });
    let observe = observe.min().unwrap();
    let least =
        |of: &[(Installed, Duration)], what: &dyn Fn(&Installed) -> Duration| of.iter().map(|(own, _)| what(own)).min().unwrap();
    // To the switch: after it only seals are written and memory is given back.
    let to_flip = |own: &Installed| own.took.build + own.took.verify + own.took.flip;
    let total = |of: &[(Installed, Duration)]| least(of, &to_flip);
    println!(
        "{:<6} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7} | {:>7} {:>7} {:>7} {:>7} | {:>7} {:>8.1}",
        format!("{kind:?}").to_lowercase(),
        ms(least(&whole, &|own| own.took.encode)),
        ms(least(&whole, &|own| own.took.build)),
        ms(least(&whole, &|own| own.took.verify)),
        ms(least(&whole, &|own| own.took.golden)),
        ms(least(&whole, &|own| own.took.flip)),
        ms(total(&whole)),
        ms(least(&patches, &|own| own.took.build)),
        ms(least(&patches, &|own| own.took.verify)),
        ms(least(&patches, &|own| own.took.flip)),
        ms(total(&patches)),
        ms(observe),
        memory(root, &one) as f64 / f64::from(1 << 20)
    );
}

fn install(enforcer: &mut Enforcer, table: &Table) -> (Installed, Duration) {
    let began = Instant::now();
    let installed = enforcer.install(table, [1; 32], 0).unwrap();
    (installed, began.elapsed())
}

fn ms(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64() * 1000.0)
}

/// Bytes of all pinned maps.
fn memory(root: &Path, table: &Table) -> u64 {
    let base = root.join(format!("abi{}", enforcer::ABI_VERSION));
    let slots = (0..4).map(|slot| base.join("inner").join(slot.to_string()));
    let mut total = 0;
    for directory in slots.chain([base.join("maps")]) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let v6 = name.ends_with('6');
            let prefixes =
                table.prefixes.iter().filter(|(_, cidr, _)| !cidr.is_host() && cidr.addr().is_ipv6() == v6).count() as u64;
            total += if name.starts_with("nets") && path.starts_with(base.join("inner")) {
                64 * (2 * prefixes).saturating_sub(1)
            } else {
                memlock(&path)
            };
        }
    }
    total
}

fn memlock(path: &Path) -> u64 {
    let map = MapData::from_pin(path).unwrap();
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", map.fd().as_fd().as_raw_fd())).unwrap();
    let line = info.lines().find_map(|line| line.strip_prefix("memlock:"));
    line.unwrap().trim().parse().unwrap()
}

fn kernel() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("Linux {}, {} CPUs", release.trim(), std::thread::available_parallelism().map_or(1, usize::from))
}
