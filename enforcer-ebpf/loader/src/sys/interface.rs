//! Network interfaces by name and index, in the network namespace of the calling thread.

use std::{ffi::CStr, io, mem::zeroed, os::fd::AsRawFd as _};

/// A network interface, in the network namespace of the calling thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interface {
    pub(crate) index: u32,
    pub(crate) loopback: bool,
    /// It is set up: packets may pass it as soon as there is a carrier.
    pub(crate) up: bool,
    /// ARPHRD number.
    pub(crate) link_type: u32,
}

/// Link type of interfaces whose packets begin with an Ethernet header.
const ETHERNET: u32 = 1;

impl Interface {
    /// Whether its packets begin with an Ethernet header.
    pub(crate) fn is_ethernet(&self) -> bool {
        self.link_type == ETHERNET
    }
}

/// Looks up an interface by name; none if there is no such interface.
pub(crate) fn interface(name: &str) -> io::Result<Option<Interface>> {
    // SAFETY: zero is a value of every integer in it.
    let mut request: libc::ifreq = unsafe { zeroed() };
    if name.is_empty() || name.len() >= request.ifr_name.len() || name.contains('\0') {
        return Ok(None);
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    let socket = rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::DGRAM, None)?;
    let mut ask = |what| {
        // SAFETY: the request is a valid `ifreq` with a terminated name.
        let answer = unsafe { libc::ioctl(socket.as_raw_fd(), what, std::ptr::from_mut(&mut request)) };
        if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(request.ifr_ifru) }
    };
    let index = match ask(libc::SIOCGIFINDEX) {
        // SAFETY: the kernel has filled in this member.
        Ok(answer) => unsafe { answer.ifru_ifindex }.cast_unsigned(),
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return Ok(None),
        Err(error) => return Err(error),
    };
    // SAFETY: the kernel has filled in this member.
    let flags = i32::from(unsafe { ask(libc::SIOCGIFFLAGS)?.ifru_flags });
    // SAFETY: the kernel has filled in this member.
    let link_type = u32::from(unsafe { ask(libc::SIOCGIFHWADDR)?.ifru_hwaddr.sa_family });
    Ok(Some(Interface { index, loopback: flags & libc::IFF_LOOPBACK != 0, up: flags & libc::IFF_UP != 0, link_type }))
}

/// The name of the interface with this index, in the network namespace of the calling thread.
pub(crate) fn interface_name(index: u32) -> Option<String> {
    let mut name = [0_u8; libc::IF_NAMESIZE];
    // SAFETY: the buffer has the size the call demands.
    let found = unsafe { libc::if_indextoname(index, name.as_mut_ptr().cast()) };
    if found.is_null() {
        return None;
    }
    CStr::from_bytes_until_nul(&name).ok().map(|name| name.to_string_lossy().into_owned())
}

/// Names of every interface but loopback ones, sorted, in the network namespace of the calling thread.
pub(crate) fn interface_names() -> io::Result<Vec<String>> {
    // SAFETY: no precondition; the answer ends with an entry of index 0 and is freed below, once.
    let list = unsafe { libc::if_nameindex() };
    if list.is_null() {
        return Err(io::Error::last_os_error());
    }
    let mut names = Vec::new();
    let mut at = list;
    loop {
        // SAFETY: every entry up to the last, which is recognised below, is within the array.
        let entry = unsafe { &*at };
        if entry.if_index == 0 || entry.if_name.is_null() {
            break;
        }
        // SAFETY: a terminated string that lives until the array is freed.
        names.push(unsafe { CStr::from_ptr(entry.if_name) }.to_string_lossy().into_owned());
        // SAFETY: this entry was not the last.
        at = unsafe { at.add(1) };
    }
    // SAFETY: made by `if_nameindex`, and nothing refers to it any more.
    unsafe { libc::if_freenameindex(list) };
    names.retain(|name| interface(name).is_ok_and(|found| found.is_some_and(|own| !own.loopback)));
    names.sort();
    Ok(names)
}
