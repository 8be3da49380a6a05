//! Routing netlink: dumps, and what the kernel tells a group of listeners. A message is a header of 16 bytes and a body; a body
//! is a fixed struct and attributes, each with its length, its type and its content, padded to four bytes (RFC 3549).

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{Errno, retry_on_intr},
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, netlink::SocketAddrNetlink, recv, send, socket_with,
    },
};

const HEADER: usize = 16;
/// The kernel fills at most half of it with one part of a dump.
const BUFFER_BYTES: usize = 64 * 1024;
/// Dumps that were interrupted by changes are asked for again this often.
const DUMP_TRIES: u32 = 5;
/// A dump that stalls is a kernel that does not answer.
const DUMP_PATIENCE: Duration = Duration::from_secs(5);

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_DUMP_INTR: u16 = 0x10;
/// Bits of an attribute's type that are not its number.
const NLA_FLAGS: u16 = 0xC000;

/// One message: its type, its flags and its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) kind: u16,
    flags: u16,
    pub(crate) body: Vec<u8>,
}

/// A socket of the calling thread's network namespace.
#[derive(Debug)]
pub(crate) struct Netlink {
    pub(crate) socket: OwnedFd,
}

/// What a read brought.
pub(crate) enum Heard {
    /// These messages.
    Messages(Vec<Message>),
    /// More than the socket could hold: some are lost.
    Lost,
    /// Nothing within the time.
    Nothing,
}

impl Netlink {
    /// Opens a socket that hears `groups` (a mask of the first 32).
    pub(crate) fn open(groups: u32) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        bind(&socket, &SocketAddrNetlink::new(0, groups))?;
        Ok(Self { socket })
    }

    /// What comes within `longest`.
    pub(crate) fn hear(&self, longest: Duration) -> io::Result<Heard> {
        // What does not fit is longer than anybody waits.
        let longest = Timespec::try_from(longest).ok();
        let mut polled = [PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::IN)];
        if retry_on_intr(|| poll(&mut polled, longest.as_ref()))? == 0 {
            return Ok(Heard::Nothing);
        }
        let mut buffer = vec![0_u8; BUFFER_BYTES];
        match recv(&self.socket, buffer.as_mut_slice(), RecvFlags::TRUNC) {
            Ok((_, size)) if size > BUFFER_BYTES => Ok(Heard::Lost),
            Ok((size, _)) => Ok(Heard::Messages(messages(buffer.get(..size).unwrap_or_default()))),
            Err(Errno::NOBUFS) => Ok(Heard::Lost),
            Err(Errno::AGAIN | Errno::INTR) => Ok(Heard::Nothing),
            Err(error) => Err(error.into()),
        }
    }

    /// Asks for everything of `kind` that `body` selects. The socket must hear no group.
    pub(crate) fn dump(&self, kind: u16, body: &[u8]) -> io::Result<Vec<Message>> {
        for _ in 0..DUMP_TRIES {
            if let Some(whole) = self.dump_once(kind, body)? {
                return Ok(whole);
            }
        }
        Err(io::Error::other("what was to be listed changed all the time"))
    }

    /// None if it changed while it was listed.
    fn dump_once(&self, kind: u16, body: &[u8]) -> io::Result<Option<Vec<Message>>> {
        send(&self.socket, &request(kind, body), SendFlags::empty())?;
        let (mut whole, mut interrupted) = (Vec::new(), false);
        loop {
            let parts = match self.hear(DUMP_PATIENCE)? {
                Heard::Messages(parts) => parts,
                Heard::Lost => return Err(io::Error::other("the answer is larger than any the kernel gives")),
                Heard::Nothing => return Err(io::ErrorKind::TimedOut.into()),
            };
            for part in parts {
                interrupted |= part.flags & NLM_F_DUMP_INTR != 0;
                match part.kind {
                    NLMSG_DONE => return Ok((!interrupted).then_some(whole)),
                    NLMSG_ERROR => {
                        let code = part.body.first_chunk().map_or(libc::EIO, |code| i32::from_ne_bytes(*code).saturating_neg());
                        return Err(io::Error::from_raw_os_error(code));
                    }
                    _ => whole.push(part),
                }
            }
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "requests are a few dozen bytes long")]
fn request(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + body.len());
    bytes.extend(((HEADER + body.len()) as u32).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    bytes.extend([1, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend(body);
    bytes
}

/// Cuts what was read into messages; the rest after one that does not fit is left out.
fn messages(mut bytes: &[u8]) -> Vec<Message> {
    let mut found = Vec::new();
    while let (Some(len), Some(kind), Some(flags)) = (u32_at(bytes, 0), u16_at(bytes, 4), u16_at(bytes, 6)) {
        let Ok(len) = usize::try_from(len) else { break };
        let Some(body) = bytes.get(HEADER..len) else { break };
        found.push(Message { kind, flags, body: body.to_vec() });
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// The attributes in `bytes`: number and content.
pub(crate) fn attributes(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    while let (Some(len), Some(kind)) = (u16_at(bytes, 0), u16_at(bytes, 2)) {
        let len = usize::from(len);
        let Some(content) = bytes.get(4..len) else { break };
        found.push((kind & !NLA_FLAGS, content));
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// The content of the first attribute of that number.
pub(crate) fn attribute<'a>(attributes: &[(u16, &'a [u8])], number: u16) -> Option<&'a [u8]> {
    attributes.iter().find(|(own, _)| *own == number).map(|(_, content)| *content)
}

/// An integer of four bytes.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
}

/// A text that ends with a zero byte.
pub(crate) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::{attribute, attributes, messages, request, text};

    #[test]
    fn messages_that_do_not_fit_their_length_are_left_out() {
        let whole = [request(18, &[1, 2, 3, 4]), request(20, &[5])].concat();
        let found = messages(&whole);
        assert_eq!(
            found.iter().map(|own| (own.kind, own.body.as_slice())).collect::<Vec<_>>(),
            [(18, &[1, 2, 3, 4][..]), (20, &[5][..])]
        );
        for cut in 0..whole.len() {
            assert!(messages(&whole[..cut]).len() < 2, "{cut}");
        }
        let mut endless = whole;
        endless[0] = 0;
        assert!(messages(&endless).is_empty());
    }

    #[test]
    fn attributes_are_padded_and_their_flags_are_no_part_of_their_number() {
        let bytes = [9, 0, 3, 0, b'e', b't', b'h', b'0', 0, 0, 0, 0, 8, 0, 43, 0x80, 1, 0, 0, 0, 4, 0];
        let found = attributes(&bytes);
        assert_eq!(found.len(), 2);
        assert_eq!(attribute(&found, 3).map(text).as_deref(), Some("eth0"));
        assert_eq!(attribute(&found, 43), Some(&[1, 0, 0, 0][..]));
        assert!(attributes(&[3, 0, 1, 0]).is_empty(), "a length that does not cover its own header");
    }
}
