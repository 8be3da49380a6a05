//! From bytes to headers. Whatever cannot be read is refused with the reason; nothing is guessed.
//!
//! Checksums are not checked: offload leaves them open on the way out. IPv4 options are refused as a whole, so there is
//! no option walker.

mod transport;
mod v4;
mod v6;

use enforcer_abi::{Reason, V4};

use crate::addr::Addr;

pub use transport::Kind;
pub(crate) use transport::icmp_ends;

/// IP protocol numbers the program treats by name.
pub mod proto {
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMP for IPv6.
    pub const ICMP6: u8 = 58;
    /// SCTP.
    pub const SCTP: u8 = 132;
}

const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const VLAN: u16 = 0x8100;
const SERVICE_VLAN: u16 = 0x88A8;
const IPV6: u16 = 0x86DD;
const SLOW: u16 = 0x8809;
const EAPOL: u16 = 0x888E;
const LLDP: u16 = 0x88CC;

/// VLAN tags that are skipped, in packet metadata and inline together.
const TAGS_MAX: u32 = 2;

/// No offset of a network or a transport header has other bits than these; the verifier is told so.
const LINK_MASK: u32 = 31;
const TRANSPORT_MASK: u32 = 511;

/// What carries the packet.
#[derive(Clone, Copy, Debug)]
pub enum Link {
    /// An Ethernet header; `tags` VLAN tags are in the metadata rather than in the bytes.
    Ethernet {
        /// Tags in the metadata.
        tags: u32,
    },
    /// No link-layer header; the type comes from the metadata.
    None {
        /// Ethernet type of the payload, host order.
        ethertype: u16,
    },
}

/// Bytes of one packet.
pub trait Packet {
    /// Its length in bytes, link-layer header included.
    fn length(&self) -> u32;

    /// Whether it stands for several segments (`gso_size > 0`), whose length field may be 0 (BIG TCP).
    fn segmented(&self) -> bool;

    /// What carries it.
    fn link(&self) -> Link;

    /// The interface it crosses.
    fn interface(&self) -> u32;

    /// `N` bytes from offset `at`, or none if the packet ends before.
    fn bytes<const N: usize>(&self, at: u32) -> Option<[u8; N]>;
}

/// Which part of a datagram a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part(u8);

impl Part {
    /// All of it.
    pub const WHOLE: Self = Self(0);
    /// All of it, behind an IPv6 fragment header (RFC 6946).
    pub const ATOMIC: Self = Self(1);
    /// The first fragment.
    pub const FIRST: Self = Self(2);
    /// A later fragment: it has no transport header.
    pub const LATER: Self = Self(3);
    /// Something whose headers cannot be read.
    pub const UNREAD: Self = Self(4);

    #[inline(always)]
    pub(crate) fn forget(self, veil: Veil) -> Self {
        Self(veil.byte(self.0))
    }
}

/// Headers up to the transport header, which is still to be read.
#[derive(Clone, Copy, Debug)]
pub struct Network {
    /// What is known so far.
    pub headers: Headers,
    /// Where the datagram ends.
    pub end: u32,
}

impl Network {
    /// Whether a TCP header follows.
    #[inline(always)]
    #[must_use]
    pub fn is_tcp(&self) -> bool {
        self.headers.proto == proto::TCP && self.headers.part != Part::LATER
    }
}

/// Headers of one packet. Ports are in network order; see [`Kind`] for what ICMP has in their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// [`V4`](enforcer_abi::V4) or [`V6`](enforcer_abi::V6).
    pub family: u8,
    /// Protocol of the transport header.
    pub proto: u8,
    /// Hop limit or time to live.
    pub hops: u8,
    /// What the transport header is.
    pub kind: Kind,
    /// Source address.
    pub source: Addr,
    /// Destination address.
    pub destination: Addr,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// TCP flags.
    pub flags: u8,
    /// TCP sequence number.
    pub seq: u32,
    /// TCP acknowledgement number.
    pub ack: u32,
    /// ICMP `type << 8 | code`, host order.
    pub icmp: u16,
    /// Offset of the transport header.
    pub transport: u32,
    /// Which part of the datagram this is.
    pub part: Part,
    /// Identification of a fragmented datagram, network order.
    pub fragment_id: u32,
    /// Protocol the fragments agree on.
    pub fragment_proto: u8,
}

impl Headers {
    /// Those of a packet that cannot be read: nothing is known of it. It counts as IPv4.
    #[inline(always)]
    #[must_use]
    pub fn unread() -> Self {
        Self { part: Part::UNREAD, ..Self::new(V4, 0, 0, [0; 4], [0; 4]) }
    }

    /// The same headers, of which the verifier knows nothing any more.
    #[inline(always)]
    #[must_use]
    pub fn forget(self, veil: Veil) -> Self {
        let addr = |own: Addr| [veil.word(own[0]), veil.word(own[1]), veil.word(own[2]), veil.word(own[3])];
        Self {
            family: veil.byte(self.family) & 1,
            proto: veil.byte(self.proto),
            hops: veil.byte(self.hops),
            kind: self.kind.forget(veil),
            source: addr(self.source),
            destination: addr(self.destination),
            source_port: veil.short(self.source_port),
            destination_port: veil.short(self.destination_port),
            flags: veil.byte(self.flags),
            seq: veil.word(self.seq),
            ack: veil.word(self.ack),
            icmp: veil.short(self.icmp),
            transport: veil.offset::<TRANSPORT_MASK>(self.transport),
            part: self.part.forget(veil),
            fragment_id: veil.word(self.fragment_id),
            fragment_proto: veil.byte(self.fragment_proto),
        }
    }

    #[inline(always)]
    fn new(family: u8, proto: u8, hops: u8, source: Addr, destination: Addr) -> Self {
        Self {
            family,
            proto,
            hops,
            kind: Kind::PLAIN,
            source,
            destination,
            source_port: 0,
            destination_port: 0,
            flags: 0,
            seq: 0,
            ack: 0,
            icmp: 0,
            transport: 0,
            part: Part::WHOLE,
            fragment_id: 0,
            fragment_proto: proto,
        }
    }
}

/// Zero, made from the clock in a way whose result the verifier does not see: the top bit of nanoseconds since boot is
/// clear for 292 years.
///
/// Each way through the parser leaves the verifier with other knowledge (this is TCP behind two options), and it would
/// follow everything after once per way: more than the million instructions it is willing to look at. A value combined
/// with the veil is one of which it knows nothing any more, so that the ways meet.
#[derive(Clone, Copy, Debug)]
pub struct Veil(u64);

impl Veil {
    /// A veil from the clock's nanoseconds.
    #[inline(always)]
    #[must_use]
    pub fn new(clock: u64) -> Self {
        Self((clock >> 63).wrapping_neg())
    }

    #[inline(always)]
    pub(crate) fn byte(self, value: u8) -> u8 {
        value ^ self.0 as u8
    }

    #[inline(always)]
    pub(crate) fn short(self, value: u16) -> u16 {
        value ^ self.0 as u16
    }

    #[inline(always)]
    pub(crate) fn word(self, value: u32) -> u32 {
        value ^ self.0 as u32
    }

    /// An offset, of which the verifier then knows that it is at most `LIMIT`, one less than a power of two.
    #[inline(always)]
    fn offset<const LIMIT: u32>(self, at: u32) -> u32 {
        (at ^ self.0 as u32) & LIMIT
    }
}

/// What a frame carries, and where that begins.
#[derive(Clone, Copy, Debug)]
pub enum Carried {
    /// An IPv4 packet at this offset.
    V4(u32),
    /// An IPv6 packet at this offset.
    V6(u32),
    /// No IP, and it must pass for the link to work.
    Other,
}

/// Finds the IP packet in a frame.
///
/// # Errors
/// The reason to refuse it.
#[inline(always)]
pub fn carried<P: Packet>(packet: &P, veil: Veil) -> Result<Carried, Reason> {
    let (ethertype, at) = match packet.link() {
        Link::Ethernet { tags } => ethernet(packet, tags)?,
        Link::None { ethertype } => (ethertype, 0),
    };
    let at = veil.offset::<LINK_MASK>(at);
    match ethertype {
        IPV4 => Ok(Carried::V4(at)),
        IPV6 => Ok(Carried::V6(at)),
        ARP | LLDP | EAPOL | SLOW => Ok(Carried::Other),
        _ => Err(Reason::Ethertype),
    }
}

/// Reads an IPv4 header up to the transport header.
///
/// # Errors
/// The reason to refuse it.
#[inline(always)]
pub fn network4<P: Packet>(packet: &P, at: u32, veil: Veil) -> Result<Network, Reason> {
    v4::parse(packet, at, veil)
}

/// Reads IPv6 headers up to the transport header.
///
/// # Errors
/// The reason to refuse it.
#[inline(always)]
pub fn network6<P: Packet>(packet: &P, at: u32, veil: Veil) -> Result<Network, Reason> {
    v6::parse(packet, at, veil)
}

/// Reads the transport header, if the packet has one.
///
/// # Errors
/// The reason to refuse it.
#[inline(always)]
pub fn transport<P: Packet>(packet: &P, network: Network, veil: Veil) -> Result<Headers, Reason> {
    transport::parse(packet, network, veil)
}

/// The type behind the Ethernet header and its VLAN tags, and where its payload begins.
#[inline(always)]
fn ethernet<P: Packet>(packet: &P, tags: u32) -> Result<(u16, u32), Reason> {
    let mut at = 12;
    for inline in 0..=TAGS_MAX {
        let ethertype = u16::from_be_bytes(packet.bytes(at).ok_or(Reason::Truncated)?);
        at += 2;
        if ethertype != VLAN && ethertype != SERVICE_VLAN {
            return if tags + inline > TAGS_MAX { Err(Reason::Malformed) } else { Ok((ethertype, at)) };
        }
        at += 2;
    }
    Err(Reason::Malformed)
}

/// Sixteen bits in host order at constant offset `at` of `bytes`.
#[inline(always)]
fn be16<const N: usize>(bytes: &[u8; N], at: usize) -> u16 {
    u16::from_be(ne16(bytes, at))
}

/// Sixteen bits as they lie at constant offset `at` of `bytes`.
#[inline(always)]
pub(crate) fn ne16<const N: usize>(bytes: &[u8; N], at: usize) -> u16 {
    let mut out = [0; 2];
    out.copy_from_slice(&bytes[at..at + 2]);
    u16::from_ne_bytes(out)
}

/// Thirty-two bits as they lie at constant offset `at` of `bytes`.
#[inline(always)]
pub(crate) fn ne32<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    let mut out = [0; 4];
    out.copy_from_slice(&bytes[at..at + 4]);
    u32::from_ne_bytes(out)
}

#[cfg(test)]
mod tests;
