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

/// Deletes one prefix from the tables in force below `root`; answers which. The host is stricter afterwards, never more open.
///
/// # Errors
/// If nothing is in force there, or the kernel refuses.
pub fn forget_one_prefix(root: &Path) -> Result<String, Error> {
    let layout = Layout::new(root);
    let slot = Generations::open(&layout)?.control.load().active();
    let map = |name: &str| {
        MapData::from_pin(layout.inner(slot, name)).map_err(|error| map_error(format!("open the pinned map {name}"), error))
    };
    let gone = forget(&map("nets4")?, |key: &NetKey4| format!("{}/{}", Ipv4Addr::from(key.host.addr), key.prefix_len.saturating_sub(32)))?
        .or(forget(&map("hosts4")?, |key: &HostKey4| format!("{}/32", Ipv4Addr::from(key.addr)))?)
        .or(forget(&map("nets6")?, |key: &NetKey6| format!("{}/{}", Ipv6Addr::from(key.host.addr), key.prefix_len.saturating_sub(32)))?)
        .or(forget(&map("hosts6")?, |key: &HostKey6| format!("{}/128", Ipv6Addr::from(key.addr)))?);
    gone.ok_or_else(|| Error::ReadBack("no prefix is in force".to_owned()))
}

fn forget<K: Plain>(map: &MapData, name: impl Fn(&K) -> String) -> Result<Option<String>, Error> {
    let kernel = |error| Error::kernel("tamper with a table", error);
    let entries: Vec<(K, Slice)> = sys::entries(map.fd().as_fd()).map_err(kernel)?;
    let Some((key, _)) = entries.first() else { return Ok(None) };
    sys::delete(map.fd().as_fd(), key).map_err(kernel)?;
    Ok(Some(name(key)))
}
