//! Packets and bytes by what happened to them, and why.

use aya::maps::{Map, MapData, MapError, PerCpuArray};
use enforcer_abi::{COUNTS, Hook, Reason, V4, V6, Verdict, count_index};

use crate::{error::Error, object::map_error, pin::Layout};

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

const HOOKS: [(Hook, &str); 3] = [(Hook::TcIn, "tc_in"), (Hook::TcOut, "tc_out"), (Hook::Xdp, "xdp")];
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
