//! Why a packet passed or not, and where that is counted.

/// Where a packet met the program.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// TC ingress.
    TcIn = 0,
    /// TC egress.
    TcOut = 1,
    /// XDP.
    Xdp = 2,
}

/// What happened to a packet, or would have.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It went on.
    Pass = 0,
    /// It was dropped.
    Drop = 1,
    /// It went on because the policy, or the host, is only audited.
    WouldDrop = 2,
    /// An audited policy would have let it pass.
    WouldPass = 3,
}

impl Verdict {
    /// Its metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Drop => "drop",
            Self::WouldDrop => "would_drop",
            Self::WouldPass => "would_pass",
        }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $number:literal $label:literal,)*) => {
        /// Why. The order is part of the ABI; at most 32.
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason { $($(#[$doc])* $name = $number,)* }

        impl Reason {
            /// Every reason, in ABI order.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Its metric label.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }
        }
    };
}

reasons! {
    /// Part of a flow that was allowed.
    Flow = 0 "flow",
    /// First packet of a flow a rule allows.
    New = 1 "new",
    /// ICMP error about an allowed flow.
    Related = 2 "related",
    /// Matches the host's failsafe.
    Failsafe = 3 "failsafe",
    /// Neighbour discovery or multicast listener discovery.
    Neighbour = 4 "neighbour",
    /// DHCP client traffic.
    Dhcp = 5 "dhcp",
    /// ARP, LLDP, EAPOL or a slow protocol.
    NotIp = 6 "not_ip",
    /// No policy selects this host.
    Unselected = 7 "unselected",
    /// Later fragment of a datagram whose first fragment passed.
    LaterFragment = 8 "fragment",
    /// Allowed by an audited policy, where only audited ones isolate.
    AuditRule = 9 "audit_rule",
    /// No rule allows it.
    NoRule = 10 "no_rule",
    /// TCP that belongs to no flow and opens none.
    Midflow = 11 "midflow",
    /// Part of a flow the rules no longer allow.
    Revoked = 12 "revoked",
    /// ICMP error, or reply to a query, about no allowed flow.
    NoFlow = 13 "no_flow",
    /// TCP flags no connection has.
    TcpFlags = 14 "tcp_flags",
    /// Fragment of a datagram whose first fragment did not pass.
    Fragment = 15 "fragment",
    /// Header fields that contradict the packet.
    Malformed = 16 "malformed",
    /// Cut off before the end of a header.
    Truncated = 17 "truncated",
    /// Ethernet type outside the few that carry no IP.
    Ethertype = 18 "ethertype",
    /// IPv4 options.
    IpOptions = 19 "ip_options",
    /// IPv6 extension headers beyond those that are walked.
    ExtensionHeader = 20 "extension_header",
    /// Address that cannot be on the wire.
    Spoofed = 21 "spoofed",
    /// The flow table took no entry.
    TableFull = 22 "table_full",
    /// The program met a state that cannot be.
    Internal = 23 "internal",
}

/// Index into `counts`; `reason` is the number of a [`Reason`].
#[inline(always)]
#[must_use]
pub const fn count_index(hook: Hook, family: u8, verdict: Verdict, reason: u8) -> u32 {
    ((hook as u32 * 2 + (family & 1) as u32) * 4 + verdict as u32) * 32 + (reason & 31) as u32
}

const _: () = assert!(Reason::ALL.len() <= 32);

#[cfg(test)]
mod tests {
    use super::{Hook, Reason, Verdict, count_index};

    #[test]
    fn reasons_are_numbered_in_their_order() {
        for (number, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, number, "{}", reason.label());
        }
    }

    #[test]
    fn every_count_has_an_index_of_its_own() {
        assert_eq!(count_index(Hook::TcIn, 0, Verdict::Pass, Reason::Flow as u8), 0);
        assert!(count_index(Hook::Xdp, 1, Verdict::WouldPass, Reason::Internal as u8) < crate::COUNTS);
    }
}
