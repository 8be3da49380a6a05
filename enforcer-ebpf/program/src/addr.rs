//! Addresses as the program compares them: four words in network order, IPv4 in the first.

use enforcer_abi::{V4, V6};

/// An address; which family it is of is known from beside it.
pub type Addr = [u32; 4];

/// The word of network-order bytes `a.b.c.d`, and where its parts lie whatever the machine's byte order.
const fn word(a: u8, b: u8, c: u8, d: u8) -> u32 {
    u32::from_ne_bytes([a, b, c, d])
}

/// The bytes of an address, as they lie.
#[inline(always)]
#[must_use]
pub fn octets(addr: &Addr) -> [u8; 16] {
    let mut octets = [0; 16];
    octets[0..4].copy_from_slice(&addr[0].to_ne_bytes());
    octets[4..8].copy_from_slice(&addr[1].to_ne_bytes());
    octets[8..12].copy_from_slice(&addr[2].to_ne_bytes());
    octets[12..16].copy_from_slice(&addr[3].to_ne_bytes());
    octets
}

/// IPv4 multicast, 224.0.0.0/4.
#[inline(always)]
fn multicast4(addr: u32) -> bool {
    addr & word(0xF0, 0, 0, 0) == word(0xE0, 0, 0, 0)
}

/// Whether every bit of `addr` is zero.
#[inline(always)]
#[must_use]
pub fn unspecified(addr: &Addr) -> bool {
    addr[0] | addr[1] | addr[2] | addr[3] == 0
}

/// Whether an IPv6 address is link-local, `fe80::/10`.
#[inline(always)]
#[must_use]
pub fn link_local6(addr: &Addr) -> bool {
    addr[0] & word(0xFF, 0xC0, 0, 0) == word(0xFE, 0x80, 0, 0)
}

#[inline(always)]
fn loopback6(addr: &Addr) -> bool {
    addr[0] | addr[1] | addr[2] == 0 && addr[3] == word(0, 0, 0, 1)
}

/// Whether no packet on a wire can come from `source` or go to `destination` (PCI DSS v4.0.1 1.4.3). The unspecified
/// source is left to the caller, because a host without an address uses it.
#[inline(always)]
#[must_use]
pub fn spoofed(family: u8, source: &Addr, destination: &Addr) -> bool {
    let loopback4 = |addr: u32| addr & word(0xFF, 0, 0, 0) == word(127, 0, 0, 0);
    match family {
        V4 => {
            let zero = source[0] & word(0xFF, 0, 0, 0) == 0 && source[0] != 0;
            zero || loopback4(source[0]) || loopback4(destination[0]) || multicast4(source[0]) || source[0] == u32::MAX
        }
        V6 => {
            let mapped = source[0] | source[1] == 0 && source[2] == word(0, 0, 0xFF, 0xFF);
            let multicast = source[0] & word(0xFF, 0, 0, 0) == word(0xFF, 0, 0, 0);
            mapped || multicast || loopback6(source) || loopback6(destination)
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use enforcer_abi::{V4, V6};

    use super::{Addr, link_local6, spoofed};

    fn v4(text: &str) -> Addr {
        [u32::from_ne_bytes(text.parse::<Ipv4Addr>().unwrap().octets()), 0, 0, 0]
    }

    fn v6(text: &str) -> Addr {
        let octets = text.parse::<Ipv6Addr>().unwrap().octets();
        core::array::from_fn(|n| u32::from_ne_bytes(octets[n * 4..n * 4 + 4].try_into().unwrap()))
    }

    #[test]
    fn sources_that_cannot_be_on_a_wire_are_spoofed() {
        for source in ["127.0.0.1", "0.0.0.1", "0.255.255.255", "224.0.0.1", "239.1.2.3", "255.255.255.255"] {
            assert!(spoofed(V4, &v4(source), &v4("10.0.0.1")), "{source}");
        }
        for source in ["::1", "ff02::1", "::ffff:10.0.0.1"] {
            assert!(spoofed(V6, &v6(source), &v6("fd00::1")), "{source}");
        }
        assert!(spoofed(V4, &v4("10.0.0.1"), &v4("127.0.0.1")));
        assert!(spoofed(V6, &v6("fd00::1"), &v6("::1")));
    }

    #[test]
    fn ordinary_sources_are_not() {
        for source in ["1.0.0.0", "126.255.255.255", "128.0.0.1", "223.255.255.255", "240.0.0.1", "169.254.1.1"] {
            assert!(!spoofed(V4, &v4(source), &v4("224.0.0.1")), "{source}");
        }
        for source in ["fe80::1", "fd00::1", "2001:db8::1", "::2", "::ffff"] {
            assert!(!spoofed(V6, &v6(source), &v6("ff02::1")), "{source}");
        }
    }

    #[test]
    fn link_local_ends_with_febf() {
        assert!(link_local6(&v6("febf:ffff::")));
        assert!(!link_local6(&v6("fec0::")));
    }
}
