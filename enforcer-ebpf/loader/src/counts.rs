//! Counters: packets and bytes by what happened to them and why, and what the programs cost.

use std::{io, os::fd::OwnedFd, time::Duration};

use aya::{
    maps::{Map, MapData, MapError, MapInfo, PerCpuArray},
    programs::ProgramInfo,
    sys::{Stats, enable_stats},
};
use enforcer_abi::{COUNTS, Hook, Reason, V4, V6, Verdict, count_index};

use crate::{error::Error, hook, object::map_error, pin::Layout, table::Direction};

/// What happened to some packets since the maps were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Where: `tc_in`, `tc_out` or `xdp`.
    pub hook: &'static str,
    /// Whether they were IPv6; what carries no IP counts as IPv4.
    pub ipv6: bool,
    /// What: `pass`, `drop`, `would_drop` or `would_pass`.
    pub verdict: &'static str,
    /// Why.
    pub reason: &'static str,
    /// How many, over all CPUs; a segmented packet counts once.
    pub packets: u64,
    /// Their bytes, link-layer header included.
    pub bytes: u64,
}

/// What the programs of one hook have cost while the kernel measured it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramRuns {
    /// Where: `tc_in` or `tc_out`.
    pub hook: &'static str,
    /// How often they ran.
    pub runs: u64,
    /// How long that took.
    pub time: Duration,
}

const HOOKS: [(Hook, &str); 3] = [(Hook::TcIn, "tc_in"), (Hook::TcOut, "tc_out"), (Hook::Xdp, "xdp")];
const RULE_FLOWS: &str = "rule_flows";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const VERDICTS: [Verdict; 4] = [Verdict::Pass, Verdict::Drop, Verdict::WouldDrop, Verdict::WouldPass];

/// Every count that is not zero.
pub(crate) fn read(layout: &Layout) -> Result<Vec<Counted>, Error> {
    let failed = |error: MapError| map_error("read the packet counts", error);
    let map = MapData::from_pin(layout.map("counts")).map_err(failed)?;
    let counts = PerCpuArray::<_, [u64; 2]>::try_from(Map::PerCpuArray(map)).map_err(failed)?;
    let mut found = Vec::new();
    for (hook, name) in HOOKS {
        for family in [V4, V6] {
            for verdict in VERDICTS {
                for reason in Reason::ALL {
                    let index = count_index(hook, family, verdict, *reason as u8).min(COUNTS - 1);
                    let per_cpu = counts.get(&index, 0).map_err(failed)?;
                    let sum = |field: usize| per_cpu.iter().filter_map(|count| count.get(field)).sum();
                    let (packets, bytes) = (sum(0), sum(1));
                    if packets > 0 {
                        let (verdict, reason) = (verdict.label(), reason.label());
                        found.push(Counted { hook: name, ipv6: family == V6, verdict, reason, packets, bytes });
                    }
                }
            }
        }
    }
    Ok(found)
}

/// The boot, and the number of the map in it.
pub(crate) fn world(layout: &Layout) -> Result<String, Error> {
    let info = MapInfo::from_pin(layout.map(RULE_FLOWS)).map_err(|error| map_error("ask for the number of a map", error))?;
    let boot = std::fs::read_to_string(BOOT_ID).map_err(|error| Error::kernel(format!("read {BOOT_ID}"), error))?;
    Ok(format!("{}/{}", boot.trim(), info.id()))
}

/// Has the kernel measure how often and how long every BPF program of this machine runs, until the answer is dropped. It costs
/// each run some 20 ns.
///
/// # Errors
/// If the kernel refuses: it takes CAP_SYS_ADMIN, and Linux 5.8.
pub fn measure_runs() -> Result<OwnedFd, Error> {
    enable_stats(Stats::RunTime).map_err(|error| Error::kernel("measure how long programs run", error.io_error))
}

pub(crate) fn program_runs(layout: &Layout) -> Result<Vec<ProgramRuns>, Error> {
    let mut found = Vec::new();
    for (direction, hook) in [(Direction::In, "tc_in"), (Direction::Out, "tc_out")] {
        let mut all = ProgramRuns { hook, runs: 0, time: Duration::ZERO };
        for path in hook::programs(direction).map(|name| layout.prog(name)) {
            if !path.exists() {
                continue;
            }
            let info = ProgramInfo::from_pin(&path)
                .map_err(|error| Error::kernel(format!("ask for {}", path.display()), io::Error::other(error)))?;
            all.runs += info.run_count();
            all.time += info.run_time();
        }
        if all.runs > 0 {
            found.push(all);
        }
    }
    Ok(found)
}
