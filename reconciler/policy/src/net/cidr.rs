//! Canonical prefixes of both families.

use alloc::string::{String, ToString};
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Serialize, Serializer};

/// IPv4 or IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both, IPv4 first.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// Bits of an address: 32 or 128.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    /// The highest address as a number.
    #[must_use]
    pub const fn last(self) -> u128 {
        match self {
            Self::V4 => u32::MAX as u128,
            Self::V6 => u128::MAX,
        }
    }

    /// The family of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// `IPv4` or `IPv6`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// The address with this number; IPv4 keeps the low 32 bits.
    #[must_use]
    pub fn address(self, number: u128) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::from(u32::try_from(number & u128::from(u32::MAX)).unwrap_or(u32::MAX))),
            Self::V6 => IpAddr::V6(Ipv6Addr::from(number)),
        }
    }
}

/// An address as a number.
#[must_use]
pub fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

/// A prefix without host bits. Ordered by family, address, length: a prefix stands directly before those inside it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    family: Family,
    address: u128,
    length: u8,
}

/// Why a text is not a canonical prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotACidr {
    /// What is wrong, in words.
    pub why: String,
    /// What was surely meant, if that is certain: write this.
    pub repaired: Option<Cidr>,
}

impl Cidr {
    /// The prefix of this length around an address; `None` if the length is beyond the family's.
    #[must_use]
    pub fn new(address: IpAddr, length: u8) -> Option<Self> {
        let family = Family::of(address);
        (length <= family.bits()).then(|| Self { family, address: number(address) & mask(family, length), length })
    }

    /// All of one family.
    #[must_use]
    pub const fn all(family: Family) -> Self {
        Self { family, address: 0, length: 0 }
    }

    /// Reads the canonical form only: no host bits, no leading zeros, IPv6 as in RFC 5952, no IPv4-mapped IPv6, length always
    /// written.
    ///
    /// # Errors
    /// Any other text, with the repaired prefix where there is exactly one reading.
    pub fn parse(text: &str) -> Result<Self, NotACidr> {
        let never = |why: &str| NotACidr { why: why.to_string(), repaired: None };
        let Some((address_text, length_text)) = text.split_once('/') else {
            return Err(match text.parse().ok().filter(not_mapped).and_then(|a| Self::new(a, Family::of(a).bits())) {
                Some(host) => NotACidr { why: "the prefix length is missing".to_string(), repaired: Some(host) },
                None => never("not an address and prefix length"),
            });
        };
        let Ok(address) = address_text.parse::<IpAddr>() else {
            return Err(never(if leading_zero(address_text) {
                "a number has a leading zero"
            } else {
                "not an IPv4 or IPv6 address"
            }));
        };
        if !not_mapped(&address) {
            return Err(never("an IPv4 address inside IPv6; write it as IPv4"));
        }
        let bits = Family::of(address).bits();
        let digits = !length_text.is_empty() && length_text.len() <= 3 && length_text.bytes().all(|b| b.is_ascii_digit());
        let Some(cidr) = digits.then(|| length_text.parse().ok()).flatten().and_then(|length| Self::new(address, length)) else {
            return Err(never(if bits == 32 { "the prefix length is 0 to 32" } else { "the prefix length is 0 to 128" }));
        };
        let wrong = |why: &str| Err(NotACidr { why: why.to_string(), repaired: Some(cidr) });
        if cidr.first() != address {
            return wrong(&alloc::format!("{text} has host bits set"));
        }
        let leading_zero = length_text.len() > 1 && length_text.starts_with('0');
        if leading_zero || !is_canonical(&address, address_text) {
            return wrong("the same prefix in its canonical form (RFC 5952)");
        }
        Ok(cidr)
    }

    /// Its family.
    #[must_use]
    pub fn family(self) -> Family {
        self.family
    }

    /// Its length in bits.
    #[must_use]
    pub fn length(self) -> u8 {
        self.length
    }

    /// Its lowest address.
    #[must_use]
    pub fn first(self) -> IpAddr {
        self.family.address(self.address)
    }

    /// Its highest address.
    #[must_use]
    pub fn last(self) -> IpAddr {
        self.family.address(self.bounds().1)
    }

    /// Its lowest and highest address as numbers.
    #[must_use]
    pub fn bounds(self) -> (u128, u128) {
        (self.address, self.address | (self.family.last() & !mask(self.family, self.length)))
    }

    /// Whether the address is in it.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        Family::of(address) == self.family && number(address) & mask(self.family, self.length) == self.address
    }

    /// Whether the other prefix lies in it, or is the same.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self.length <= other.length && self.contains(other.first())
    }
}

fn mask(family: Family, length: u8) -> u128 {
    let host_bits = u32::from(family.bits() - length);
    u128::MAX.checked_shl(host_bits).unwrap_or(0) & family.last()
}

fn not_mapped(address: &IpAddr) -> bool {
    !matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some())
}

/// Whether the text is the one way to write the address. An IPv4 address that parses has no other.
fn is_canonical(address: &IpAddr, text: &str) -> bool {
    address.is_ipv4() || address.to_string() == text
}

fn leading_zero(text: &str) -> bool {
    let octets = text.split('.').filter(|o| o.len() > 1 && o.starts_with('0') && o.bytes().all(|b| b.is_ascii_digit()));
    text.split('.').count() == 4 && octets.count() > 0
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first(), self.length)
    }
}

impl fmt::Debug for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Cidr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_text_is_a_prefix() {
        for text in ["0.0.0.0/0", "10.1.0.0/16", "10.1.2.3/32", "::/0", "2001:db8::/32", "fd00:30::11/128", "2001:db8:0:1::/64"] {
            assert_eq!(Cidr::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_repairable_text_names_the_repair() {
        for (text, repaired) in [
            ("10.1.2.3/16", "10.1.0.0/16"),
            ("10.0.0.0/0", "0.0.0.0/0"),
            ("::0/0", "::/0"),
            ("2001:DB8::/32", "2001:db8::/32"),
            ("2001:db8:0:0::/64", "2001:db8::/64"),
            ("10.0.0.1", "10.0.0.1/32"),
            ("10.0.0.0/08", "10.0.0.0/8"),
        ] {
            assert_eq!(Cidr::parse(text).unwrap_err().repaired, Some(Cidr::parse(repaired).unwrap()), "{text}");
        }
    }

    #[test]
    fn an_unclear_text_is_not_repaired() {
        for text in [
            "",
            "/",
            "10.0.0.0/33",
            "::/129",
            "010.0.0.1/32",
            "::ffff:10.0.0.0/104",
            "10.0.0/8",
            "1.2.3.4/-1",
            "1.2.3.4/+8",
            "a/8",
            "::/",
            "fe80::1%eth0/64",
        ] {
            assert_eq!(Cidr::parse(text).unwrap_err().repaired, None, "{text}");
        }
    }

    #[test]
    fn bounds_reach_the_last_address() {
        let all = Cidr::all(Family::V6);
        assert_eq!(all.bounds(), (0, u128::MAX));
        assert_eq!(Cidr::parse("10.0.0.0/8").unwrap().last().to_string(), "10.255.255.255");
        assert!(!Cidr::all(Family::V4).contains("::1".parse().unwrap()));
    }
}
