//! What a packet costs, here and in nftables with the same policy: `cargo run --release -p enforcer --example datapath_speed`.
//!
//! Needs root, `ip`, `nft`, `conntrack` and `iperf3`; everything happens in network namespaces that end with it. Three tables:
//!
//! 1. **One program run** (`BPF_PROG_TEST_RUN`), the empty twin subtracted: an established, a new, a refused and a revoked packet.
//! 2. **A packet through an interface** (live frames), the bare interface subtracted, beside nftables with conntrack, as an interval map
//!    of verdicts and as a linear chain: one flow, and 65,536 flows.
//! 3. **iperf3 over the interface**, and the share of a core the programs take at 10 Gbit/s.
//!
//! Rounds of what is compared are interleaved. Shown are minima and, where two things are compared, the ratio of medians with an interval
//! that holds 95 of 100 resamplings. A shared machine is noisy by up to two times: build on ratios.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    reason = "a benchmark ends at what goes wrong, prints what it finds, and is read as text"
)]

mod frames;
mod iperf;
mod lab;
mod live;
mod policy;
mod rival;
mod runs;
mod statistics;

/// What was asked for on the command line.
struct Wanted {
    sizes: Vec<usize>,
    rounds: usize,
    tables: Vec<u32>,
}

impl Wanted {
    fn parse() -> Self {
        let mut wanted = Self { sizes: Vec::new(), rounds: 11, tables: Vec::new() };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut number = || words.next().and_then(|text| text.parse().ok()).expect("a number follows");
            match word.as_str() {
                "--rounds" => wanted.rounds = number(),
                "--table" => wanted.tables.push(number() as u32),
                size => wanted.sizes.push(size.parse().expect("usage: datapath_speed [--rounds N] [--table N]… [RULES]…")),
            }
        }
        if wanted.sizes.is_empty() {
            wanted.sizes = vec![10, 1_000, 10_000, 100_000];
        }
        if wanted.tables.is_empty() {
            wanted.tables = vec![1, 2, 3];
        }
        wanted
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).map_or_else(|_| "?".to_owned(), |text| text.trim().to_owned())
}

fn machine() {
    let cpus = read("/proc/cpuinfo");
    let model =
        cpus.lines().find_map(|line| line.strip_prefix("model name")).map_or("?", |rest| rest.trim_start_matches([' ', '\t', ':']));
    let count = cpus.lines().filter(|line| line.starts_with("processor")).count();
    println!("{count} × {model}, Linux {}, JIT {}", read("/proc/sys/kernel/osrelease"), read("/proc/sys/net/core/bpf_jit_enable"));
    println!("load {}", read("/proc/loadavg"));
    let mut mitigations: Vec<String> = std::fs::read_dir("/sys/devices/system/cpu/vulnerabilities")
        .map(|found| found.flatten().map(|one| (one.file_name(), read(&one.path().to_string_lossy()))).collect::<Vec<_>>())
        .unwrap_or_default()
        .into_iter()
        .filter(|(_, state)| state.starts_with("Mitigation"))
        .map(|(name, _)| name.to_string_lossy().into_owned())
        .collect();
    mitigations.sort();
    println!("mitigations: {}\n", mitigations.join(", "));
}

fn main() {
    assert!(rustix::process::geteuid().is_root(), "this needs root");
    let wanted = Wanted::parse();
    machine();
    for table in &wanted.tables {
        match table {
            1 => runs::table(&wanted.sizes, wanted.rounds),
            2 => live::table(&wanted.sizes, wanted.rounds),
            3 => iperf::table(wanted.rounds),
            other => panic!("there is no table {other}"),
        }
    }
}
