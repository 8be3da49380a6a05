//! The controller's own reach: Git, the forge and the resolvers stay reachable whatever a commit says, or the controller could
//! enforce a commit that keeps it from ever seeing the next one.
//!
//! Names are resolved at start; `status` and the evidence list the result beside the configured failsafe.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::Context as _;
use enforcer::{Cidr, Direction, FailsafeEntry};

use crate::config::{Config, FailsafePeer, ForgeName};

const TCP: u8 = 6;
const UDP: u8 = 17;
/// More resolvers than libc ever asks.
const RESOLVERS_MAX: usize = 3;

/// Everything that always passes, numbered.
pub(super) async fn failsafe(config: &Config) -> anyhow::Result<Vec<FailsafeEntry>> {
    let mut wanted: Vec<(Direction, u8, u16, Cidr)> = Vec::new();
    wanted.extend(configured(Direction::In, &config.host.failsafe.inbound)?);
    wanted.extend(configured(Direction::Out, &config.host.failsafe.outbound)?);
    for resolver in resolvers() {
        wanted.extend([UDP, TCP].map(|proto| (Direction::Out, proto, 53, Cidr::host(resolver))));
    }
    for (host, port) in remotes(config) {
        match tokio::net::lookup_host((host.as_str(), port)).await {
            Ok(found) => wanted.extend(found.map(|address| (Direction::Out, TCP, port, Cidr::host(address.ip())))),
            Err(error) => tracing::warn!(host, "cannot be resolved, so it is not on the failsafe list: {error}"),
        }
    }
    let unique: BTreeSet<_> = wanted.into_iter().filter(|(_, _, _, peer)| !peer.addr().is_loopback()).collect();
    let entry = |(id, (direction, proto, port, peer))| FailsafeEntry { id, direction, proto, port, peer };
    Ok((1..).zip(unique).map(entry).collect())
}

fn configured(direction: Direction, peers: &[FailsafePeer]) -> anyhow::Result<Vec<(Direction, u8, u16, Cidr)>> {
    let mut out = Vec::new();
    for entry in peers {
        for (address, length) in &entry.peers {
            let peer =
                Cidr::new(*address, *length).with_context(|| format!("host.failsafe: {address}/{length} has host bits set"))?;
            out.push((direction, entry.protocol, entry.port, peer));
        }
    }
    Ok(out)
}

/// The entries of a failsafe list given on the command line.
///
/// # Errors
/// A block with host bits.
pub fn entries(inbound: &[FailsafePeer]) -> anyhow::Result<Vec<FailsafeEntry>> {
    let list = configured(Direction::In, inbound)?;
    Ok((1..).zip(list).map(|(id, (direction, proto, port, peer))| FailsafeEntry { id, direction, proto, port, peer }).collect())
}

fn resolvers() -> Vec<IpAddr> {
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let named = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    named.filter_map(|rest| rest.trim().parse().ok()).take(RESOLVERS_MAX).collect()
}

/// Host and port of the Git remote and of the forge.
fn remotes(config: &Config) -> Vec<(String, u16)> {
    let mut list: Vec<(String, u16)> = host_of(&config.source.url).into_iter().collect();
    if config.status.forge != ForgeName::None {
        list.extend(host_of(&config.status.api_url));
    }
    list
}

/// Host and port of a Git address; none for a local one.
fn host_of(url: &str) -> Option<(String, u16)> {
    let url = gix::url::parse(gix::bstr::BStr::new(url)).ok()?;
    let host = url.host()?.to_owned();
    let default = match url.scheme {
        gix::url::Scheme::Https => 443,
        gix::url::Scheme::Http => 80,
        gix::url::Scheme::Ssh => 22,
        gix::url::Scheme::Git => 9418,
        gix::url::Scheme::File | gix::url::Scheme::Ext | gix::url::Scheme::Helper(_) | gix::url::Scheme::HelperUrl(_) => {
            return None;
        }
    };
    Some((host, url.port.unwrap_or(default)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remote_gives_its_host_and_port() {
        assert_eq!(host_of("https://git.example/a.git"), Some(("git.example".to_owned(), 443)));
        assert_eq!(host_of("ssh://git@git.example:2222/a.git"), Some(("git.example".to_owned(), 2222)));
        assert_eq!(host_of("git@git.example:a.git"), Some(("git.example".to_owned(), 22)));
        assert_eq!(host_of("file:///srv/a.git"), None);
    }
}
