//! Who is at the other end when a proxy stands between.
//!
//! Anybody can write `X-Forwarded-For`. It is believed only as far as proxies we trust wrote it: read from its end, the first address
//! that is not one of them is the sender's. The proxy itself is nobody's sender and is never counted or blocked.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use axum::http::HeaderMap;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// Addresses and blocks of the proxies we trust.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies(Vec<Block>);

/// An address and how many of its bits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Block(IpAddr, u8);

/// Why a text does not name a proxy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// Neither an address nor a block.
    #[error("`{0}` is not an address or a block of them; write for example 10.0.9.4 or 10.0.9.0/28")]
    Form(String),
    /// Everybody would be trusted.
    #[error("`{0}` is everybody; name the proxies that stand before this controller")]
    Everybody(String),
}

impl Proxies {
    /// From addresses (`10.0.9.4`) and blocks (`10.0.9.0/28`).
    ///
    /// # Errors
    /// A text is neither, or is everybody.
    pub fn parse(texts: &[String]) -> Result<Self, ProxyError> {
        texts.iter().map(|text| text.parse()).collect::<Result<_, _>>().map(Self)
    }

    /// Whether this address is one of them.
    #[must_use]
    pub fn contain(&self, address: IpAddr) -> bool {
        self.0.iter().any(|block| block.contains(address.to_canonical()))
    }

    /// Whom to count a request for; nobody when only trusted proxies are known.
    pub(crate) fn sender(&self, socket: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
        if !self.contain(socket) {
            return Some(socket);
        }
        let lines: Vec<_> = headers.get_all(FORWARDED_FOR).iter().map(|line| line.to_str().ok()).collect();
        let written = lines.into_iter().rev().flat_map(|line| line.unwrap_or("?").rsplit(','));
        // What cannot be read ends the chain: who wrote it, and all before it, is not known.
        written.map(|text| read(text.trim())).find(|address| address.is_none_or(|address| !self.contain(address))).flatten()
    }
}

/// An address as proxies write it, with or without a port.
fn read(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()))
}

impl FromStr for Block {
    type Err = ProxyError;

    fn from_str(text: &str) -> Result<Self, ProxyError> {
        let form = || ProxyError::Form(text.to_owned());
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| form())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        match bits.map_or(Ok(most), str::parse) {
            Ok(0) => Err(ProxyError::Everybody(text.to_owned())),
            Ok(bits) if bits <= most => Ok(Self(address, bits)),
            _ => Err(form()),
        }
    }
}

impl Block {
    fn contains(self, address: IpAddr) -> bool {
        let Self(of, bits) = self;
        match (of, address) {
            (IpAddr::V4(of), IpAddr::V4(address)) => (of.to_bits() ^ address.to_bits()).leading_zeros() >= u32::from(bits),
            (IpAddr::V6(of), IpAddr::V6(address)) => (of.to_bits() ^ address.to_bits()).leading_zeros() >= u32::from(bits),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(texts: &[&str]) -> Result<Proxies, ProxyError> {
        Proxies::parse(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    }

    fn sender(trusted: &[&str], socket: &str, forwarded: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append(FORWARDED_FOR, line.parse().unwrap());
        }
        proxies(trusted).unwrap().sender(socket.parse().unwrap(), &headers).map(|address| address.to_string())
    }

    #[test]
    fn w10_a_header_of_a_stranger_changes_nothing() {
        assert_eq!(sender(&[], "203.0.113.1", &["10.0.0.1"]).as_deref(), Some("203.0.113.1"));
        assert_eq!(sender(&["10.0.9.4"], "203.0.113.1", &["10.0.9.4"]).as_deref(), Some("203.0.113.1"));
    }

    #[test]
    fn w10_behind_proxies_the_last_address_that_is_not_one_of_them_counts() {
        let trusted = ["10.0.9.0/28", "2001:db8::4"];
        let from = |forwarded: &[&str]| sender(&trusted, "10.0.9.4", forwarded);
        assert_eq!(from(&["198.51.100.9, 203.0.113.7"]).as_deref(), Some("203.0.113.7"));
        assert_eq!(from(&["198.51.100.9, 203.0.113.7, 10.0.9.5,2001:db8::4"]).as_deref(), Some("203.0.113.7"));
        assert_eq!(from(&["198.51.100.9", "203.0.113.7:4711"]).as_deref(), Some("203.0.113.7"));
        assert_eq!(from(&["[2001:db8::9]:80"]).as_deref(), Some("2001:db8::9"));
        assert_eq!(sender(&trusted, "::ffff:10.0.9.4", &["203.0.113.7"]).as_deref(), Some("203.0.113.7"));
    }

    #[test]
    fn w10_the_proxy_itself_is_nobodys_sender() {
        for forwarded in [&[][..], &["10.0.9.5"], &["203.0.113.7, unknown"], &[""], &["203.0.113.7,"]] {
            assert_eq!(sender(&["10.0.9.0/28"], "10.0.9.4", forwarded), None, "{forwarded:?}");
        }
    }

    #[test]
    fn what_is_no_proxy_is_refused_and_so_is_everybody() {
        for text in ["proxy.example", "10.0.9.4/33", "10.0.9.4/", "/8", "", "10.0.9.4/-1"] {
            assert_eq!(proxies(&[text]), Err(ProxyError::Form(text.to_owned())));
        }
        assert_eq!(proxies(&["::/0"]), Err(ProxyError::Everybody("::/0".to_owned())));
        assert!(!proxies(&["10.0.9.0/31"]).unwrap().contain("10.0.9.2".parse().unwrap()));
    }
}
