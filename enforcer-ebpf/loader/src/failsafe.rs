//! Traffic no generation can cut.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::AsFd as _,
};

use aya::maps::MapData;
use enforcer_abi::{FAILSAFE_MAX, Failsafe, V4, V6};

use crate::{
    api::FailsafeEntry,
    error::Error,
    sys,
    table::{Cidr, Direction},
};

/// Bits of a key before the peer: side, protocol and port, which must match.
const BEFORE_PEER: u32 = 32;

/// Makes `map` hold exactly `entries`: adds first, then removes, so that what stays is never missing.
pub(crate) fn set(map: &MapData, entries: &[FailsafeEntry]) -> Result<(), Error> {
    let wanted = entries.iter().map(|entry| Ok((key(entry)?, entry.id))).collect::<Result<Vec<_>, Error>>()?;
    let distinct: BTreeSet<_> = wanted.iter().map(|(key, _)| order(key)).collect();
    if distinct.len() > FAILSAFE_MAX as usize {
        return Err(Error::FailsafeFull { count: distinct.len(), max: FAILSAFE_MAX as usize });
    }
    let fd = map.fd().as_fd();
    let failed = |error| Error::kernel("change the failsafe entries", error);
    let present: Vec<(Failsafe, u32)> = sys::entries(fd).map_err(failed)?;
    let stale = present.iter().filter(|(key, _)| !wanted.iter().any(|(other, _)| other == key));
    // Adding first must fit beside what goes; over the limit together, room is made first.
    let total = distinct.len() + stale.clone().count();
    let room_first = total > FAILSAFE_MAX as usize;
    if room_first {
        stale.clone().try_for_each(|(key, _)| sys::delete(fd, key)).map_err(failed)?;
    }
    // A full trie refuses even to replace an entry, on kernels before 6.13.
    let changed = wanted.iter().filter(|entry| !present.contains(entry));
    changed.into_iter().try_for_each(|(key, id)| sys::update(fd, key, id)).map_err(failed)?;
    if !room_first {
        stale.clone().try_for_each(|(key, _)| sys::delete(fd, key)).map_err(failed)?;
    }
    Ok(())
}

/// What `map` holds, in order of number.
pub(crate) fn read(map: &MapData) -> Result<Vec<FailsafeEntry>, Error> {
    let present: Vec<(Failsafe, u32)> =
        sys::entries(map.fd().as_fd()).map_err(|error| Error::kernel("read the failsafe entries", error))?;
    let mut entries = present.iter().map(|(key, id)| entry(key, *id)).collect::<Result<Vec<_>, Error>>()?;
    entries.sort_by_key(|entry| (entry.id, entry.direction, entry.proto, entry.port, entry.peer));
    Ok(entries)
}

/// Keys as what can be put in order.
fn order(key: &Failsafe) -> (u32, u8, u8, u16, [u8; 16]) {
    (key.prefix_len, key.side, key.proto, key.port, key.addr)
}

fn entry(key: &Failsafe, id: u32) -> Result<FailsafeEntry, Error> {
    let foreign = || Error::ReadBack(format!("failsafe entry {id} is none of ours ({key:?}); set the failsafe entries again"));
    let direction = Direction::ALL.into_iter().find(|own| own.number() == key.side & 1).ok_or_else(foreign)?;
    let len = key.prefix_len.checked_sub(BEFORE_PEER).and_then(|len| u8::try_from(len).ok()).ok_or_else(foreign)?;
    let [a, b, c, d, ..] = key.addr;
    let addr = match key.side >> 1 {
        V4 => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
        V6 => IpAddr::V6(Ipv6Addr::from(key.addr)),
        _ => return Err(foreign()),
    };
    let peer = Cidr::new(addr, len).ok_or_else(foreign)?;
    Ok(FailsafeEntry { id, direction, proto: key.proto, port: u16::from_be(key.port), peer })
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
    let prefix_len = BEFORE_PEER + u32::from(entry.peer.prefix_len());
    let side = entry.direction.number() | family << 1;
    Ok(Failsafe { prefix_len, side, proto: entry.proto, port: entry.port.to_be(), addr })
}
