//! Damage on purpose, as somebody with root could do it: for drills, demonstrations and tests of what notices it.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    os::fd::AsFd as _,
    path::Path,
};

use aya::maps::MapData;
use enforcer_abi::{HostKey4, HostKey6, NetKey4, NetKey6, Slice};

use crate::{
    error::Error,
    generation::Generations,
    object::map_error,
    pin::Layout,
    sys::{self, Plain},
};

/// Deletes one prefix from the tables in force below `root`; answers which. A shorter prefix around it, if there is one, decides
/// for its addresses from then on.
///
/// # Errors
/// If nothing is in force there, or the kernel refuses.
pub fn forget_one_prefix(root: &Path) -> Result<String, Error> {
    let layout = Layout::new(root);
    let slot = Generations::open(&layout)?.judging().0;
    let map = |name: &str| {
        MapData::from_pin(layout.inner(slot, name)).map_err(|error| map_error(format!("open the pinned map {name}"), error))
    };
    if let Some(gone) = forget(&map("nets4")?, |key: &NetKey4| prefix(Ipv4Addr::from(key.host.addr), key.prefix_len))? {
        return Ok(gone);
    }
    if let Some(gone) = forget(&map("hosts4")?, |key: &HostKey4| Ipv4Addr::from(key.addr).to_string())? {
        return Ok(gone);
    }
    if let Some(gone) = forget(&map("nets6")?, |key: &NetKey6| prefix(Ipv6Addr::from(key.host.addr), key.prefix_len))? {
        return Ok(gone);
    }
    let gone = forget(&map("hosts6")?, |key: &HostKey6| Ipv6Addr::from(key.addr).to_string())?;
    gone.ok_or_else(|| Error::ReadBack("no prefix is in force".to_owned()))
}

/// The first 32 bits of a key are the direction.
fn prefix(addr: impl std::fmt::Display, prefix_len: u32) -> String {
    format!("{addr}/{}", prefix_len.saturating_sub(32))
}

fn forget<K: Plain>(map: &MapData, name: impl Fn(&K) -> String) -> Result<Option<String>, Error> {
    let kernel = |error| Error::kernel("tamper with a table", error);
    let entries: Vec<(K, Slice)> = sys::entries(map.fd().as_fd()).map_err(kernel)?;
    let Some((key, _)) = entries.first() else { return Ok(None) };
    sys::delete(map.fd().as_fd(), key).map_err(kernel)?;
    Ok(Some(name(key)))
}
