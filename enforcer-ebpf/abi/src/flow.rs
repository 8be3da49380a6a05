//! What the program remembers about packets it passed.

/// Key of an IPv4 flow, the same for both directions because the hook tells which end is local.
///
/// An ICMP query we send has its identifier as local port and `type << 8 | code` of the request as remote port;
/// one we receive has them the other way round. Protocols without ports use 0.
#[repr(C, align(4))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FlowKey4 {
    /// Our end.
    pub local: [u8; 4],
    /// The peer.
    pub remote: [u8; 4],
    /// Network order.
    pub local_port: u16,
    /// Network order.
    pub remote_port: u16,
    /// IP protocol.
    pub proto: u8,
    /// Zero.
    pub zero: [u8; 3],
}

/// Key of an IPv6 flow; see [`FlowKey4`].
#[repr(C, align(4))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FlowKey6 {
    /// Our end.
    pub local: [u8; 16],
    /// The peer.
    pub remote: [u8; 16],
    /// Network order.
    pub local_port: u16,
    /// Network order.
    pub remote_port: u16,
    /// IP protocol.
    pub proto: u8,
    /// Zero.
    pub zero: [u8; 3],
}

/// A flow. Each fact is a byte of its own that is only ever set, and epoch and denial share a word, so that two CPUs
/// writing at once lose nothing.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// `epoch << 1 | denied`: under which generation, and with what result, it was last judged.
    pub judged: u32,
    /// Tick of its last packet, written once a second at most.
    pub last: u32,
    /// Tick of its first packet.
    pub created: u32,
    /// The rule that allowed it; 0 for none.
    pub rule: u32,
    /// First sequence number the opener must acknowledge to prove that it sees replies.
    pub proof: u32,
    /// Who opened it: [`IN`](crate::IN) a peer, [`OUT`](crate::OUT) this host.
    pub origin: u8,
    /// The other end has answered.
    pub replied: u8,
    /// FIN seen from the peer.
    pub fin_in: u8,
    /// FIN seen from this host.
    pub fin_out: u8,
    /// RST seen from either end.
    pub reset: u8,
    /// Found by listing sockets rather than by a packet.
    pub imported: u8,
    /// Zero.
    pub zero: [u8; 2],
}

/// Key of an IPv4 datagram in fragments (RFC 791).
#[repr(C, align(4))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FragKey4 {
    /// Source.
    pub src: [u8; 4],
    /// Destination.
    pub dst: [u8; 4],
    /// Identification, network order.
    pub id: u16,
    /// IP protocol.
    pub proto: u8,
    /// Direction.
    pub dir: u8,
}

/// Key of an IPv6 datagram in fragments (RFC 8200 §4.5).
#[repr(C, align(4))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FragKey6 {
    /// Source.
    pub src: [u8; 16],
    /// Destination.
    pub dst: [u8; 16],
    /// Identification, network order.
    pub id: u32,
    /// Next header of the fragment header.
    pub proto: u8,
    /// Direction.
    pub dir: u8,
    /// Zero.
    pub zero: [u8; 2],
}

/// A datagram whose first fragment passed.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frag {
    /// Generation it passed under.
    pub epoch: u32,
    /// Tick at which it passed.
    pub last: u32,
}

const _: () = assert!(size_of::<FlowKey4>() == 16 && size_of::<FlowKey6>() == 40);
const _: () = assert!(size_of::<Flow>() == 28 && align_of::<Flow>() == 4);
const _: () = assert!(size_of::<FragKey4>() == 12 && size_of::<FragKey6>() == 40);
const _: () = assert!(size_of::<Frag>() == 8 && align_of::<Frag>() == 4);
