//! Netlink as far as connection tracking and routes need it: one request, its answers, attributes.
//!
//! Messages are laid out by hand because each of the few that are sent has a handful of fields; what is received is only ever sliced
//! with checks, since a length in it is not trusted.

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with};

/// Asks for something; with [`DUMP`], for all there is.
pub(super) const REQUEST: u16 = 0x1;
/// Wants to be told whether it was done.
pub(super) const ACK: u16 = 0x4;
/// All entries.
pub(super) const DUMP: u16 = 0x300;

const HEADER: usize = 16;
const MESSAGE_ERROR: u16 = 2;
const MESSAGE_DONE: u16 = 3;
const NESTED_AND_ORDER: u16 = 0xC000;
/// More than the kernel puts into one answer of a dump.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// A connection to one part of the kernel, in the namespace of the thread that made it.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Netlink {
    /// Without a protocol: routes.
    pub(super) fn open(protocol: Option<Protocol>) -> io::Result<Self> {
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        bind(&socket, &SocketAddrNetlink::new(0, 0))?;
        Ok(Self { socket, sequence: 0, buffer: vec![0; ANSWER_BYTES_MAX] })
    }

    /// Sends one request and hands over each answer's body until the kernel says that this was all.
    pub(super) fn ask(&mut self, kind: u16, flags: u16, body: &[u8], mut take: impl FnMut(u16, &[u8])) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let length = u32::try_from(HEADER + body.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut message = Vec::with_capacity(HEADER + body.len());
        message.extend(length.to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.extend(self.sequence.to_ne_bytes());
        message.extend([0; 4]);
        message.extend(body);
        send(&self.socket, &message, SendFlags::empty())?;
        let several = flags & (DUMP | ACK) != 0;
        loop {
            let (length, _) = recv(&self.socket, self.buffer.as_mut_slice(), RecvFlags::empty())?;
            let mut rest = self.buffer.get(..length).unwrap_or_default();
            while let Some((kind, sequence, body, next)) = split(rest) {
                rest = next;
                if sequence != self.sequence {
                    continue;
                }
                match kind {
                    MESSAGE_DONE => return Ok(()),
                    MESSAGE_ERROR => return outcome(body),
                    other => take(other, body),
                }
                if !several {
                    return Ok(());
                }
            }
        }
    }
}

/// The first message: kind, sequence, body, and what follows it.
fn split(bytes: &[u8]) -> Option<(u16, u32, &[u8], &[u8])> {
    let length = usize::try_from(u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?)).ok()?;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let sequence = u32::from_ne_bytes(bytes.get(8..12)?.try_into().ok()?);
    let body = bytes.get(HEADER..length)?;
    Some((kind, sequence, body, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

fn outcome(body: &[u8]) -> io::Result<()> {
    let code = body.get(..4).and_then(|code| code.try_into().ok()).map(i32::from_ne_bytes);
    match code {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(code.saturating_neg())),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Attributes in a row: their kind and what is in them.
pub(super) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?) & !NESTED_AND_ORDER;
        let body = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, body))
    })
}

/// Appends an attribute.
pub(super) fn put(out: &mut Vec<u8>, kind: u16, body: &[u8]) {
    let length = u16::try_from(4 + body.len()).unwrap_or(u16::MAX);
    out.extend(length.to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(body);
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_come_back_as_they_were_put() {
        let mut bytes = Vec::new();
        put(&mut bytes, 1, b"abc");
        put(&mut bytes, 0x8002, &[9; 8]);
        assert_eq!(bytes.len(), 20);
        assert_eq!(attributes(&bytes).collect::<Vec<_>>(), [(1, &b"abc"[..]), (2, &[9; 8][..])]);
    }

    #[test]
    fn a_length_beyond_the_bytes_ends_the_row() {
        let mut bytes = Vec::new();
        put(&mut bytes, 1, b"abcd");
        for cut in 0..bytes.len() {
            assert_eq!(attributes(&bytes[..cut]).count(), 0, "{cut}");
            assert!(split(&bytes[..cut]).is_none());
        }
    }
}
