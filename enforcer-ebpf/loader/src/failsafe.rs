//! Traffic no generation can cut.

use std::{net::IpAddr, os::fd::AsFd as _};

use aya::maps::MapData;
use enforcer_abi::{FAILSAFE_MAX, Failsafe, V4, V6};

use crate::{api::FailsafeEntry, error::Error, sys};

/// Makes `map` hold exactly `entries`: adds first, then removes, so that what stays is never missing.
pub(crate) fn set(map: &MapData, entries: &[FailsafeEntry]) -> Result<(), Error> {
    let wanted = entries.iter().map(|entry| Ok((key(entry)?, entry.id))).collect::<Result<Vec<_>, Error>>()?;
    let fd = map.fd().as_fd();
    let failed = |error| Error::kernel("change the failsafe entries", error);
    let present: Vec<(Failsafe, u32)> = sys::entries(fd).map_err(failed)?;
    let stale = present.iter().filter(|(key, _)| !wanted.iter().any(|(other, _)| other == key));
    // Adding first must fit beside what goes; over the limit together, room is made first.
    let total = wanted.len() + stale.clone().count();
    let room_first = total > FAILSAFE_MAX as usize;
    if room_first {
        stale.clone().try_for_each(|(key, _)| sys::delete(fd, key)).map_err(failed)?;
    }
    wanted.iter().try_for_each(|(key, id)| sys::update(fd, key, id)).map_err(failed)?;
    if !room_first {
        stale.clone().try_for_each(|(key, _)| sys::delete(fd, key)).map_err(failed)?;
    }
    Ok(())
}

fn key(entry: &FailsafeEntry) -> Result<Failsafe, Error> {
    if entry.peer.prefix_len() == 0 {
        return Err(Error::Failsafe { id: entry.id, why: "it names every peer, so it would open the service to all" });
    }
    let mut addr = [0; 16];
    let family = match entry.peer.addr() {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            addr = [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            V4
        }
        IpAddr::V6(v6) => {
            addr.copy_from_slice(&v6.octets());
            V6
        }
    };
    let prefix_len = 32 + u32::from(entry.peer.prefix_len());
    let side = entry.direction.number() | family << 1;
    Ok(Failsafe { prefix_len, side, proto: entry.proto, port: entry.port.to_be(), addr })
}
