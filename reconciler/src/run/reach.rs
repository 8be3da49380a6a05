//! The controller's own reach: Git, the forge, clouds and the resolvers stay reachable whatever a commit says, or the controller could
//! enforce a commit that keeps it from ever seeing the next one.
//!
//! Names are resolved at start, for at most [`START_TIME_MAX`], and again in the background ([`keep`]). The addresses are kept in the
//! store, so that a start without a resolver has those of the last time; an address that is no longer answered stays for
//! [`known::KEPT_FOR`], because a connection may still be on its way to it.

mod known;
mod needed;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use enforcer::{Cidr, Direction, FailsafeEntry};
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use self::known::{Known, Resolved};
pub(super) use self::needed::needed;
use crate::backend::{FailsafeList, View};
use crate::chain::chain;
use crate::config::{Config, FailsafePeer, ForgeName};
use crate::store::Store;

const TCP: u8 = 6;
const UDP: u8 = 17;
/// Resolvers on the list; libc asks three, systemd-resolved may have more.
const RESOLVERS_MAX: usize = 6;
/// The kernel's list has 64 places; what does not fit after the configured entries is left out.
const ENTRIES_MAX: usize = 64;
/// A start waits this long for names.
const START_TIME_MAX: Duration = Duration::from_secs(2);
/// A look in the background waits this long.
const LOOK_TIME_MAX: Duration = Duration::from_secs(30);
/// Names are resolved again this often.
const REFRESH: Duration = Duration::from_secs(300);
/// The same while a name has no address yet.
const RETRY: Duration = Duration::from_secs(15);
/// The name under which addresses are kept in the store.
const MEMORY: &str = "reach";

/// What always passes, before names are resolved.
#[derive(Debug, Clone)]
pub(super) struct Reach {
    configured: Vec<Passing>,
    resolvers: Vec<IpAddr>,
    remotes: Vec<(String, u16)>,
}

/// What keeping the list current needs while the controller runs.
#[derive(Clone)]
pub struct Keeping {
    /// Where addresses are kept.
    pub(super) store: Store,
    /// A fetch did not go through: the remote may have moved.
    pub(super) failed: Arc<Notify>,
    /// Where the firewall is shown to others than the loop.
    pub(super) view: Arc<OnceLock<View>>,
    /// When to end.
    pub(super) stop: CancellationToken,
}

type Passing = (Direction, u8, u16, Cidr);

impl Reach {
    /// From a configuration.
    ///
    /// # Errors
    /// A block with host bits.
    pub(super) fn new(config: &Config) -> anyhow::Result<Self> {
        let mut list = configured(Direction::In, &config.host.failsafe.inbound)?;
        list.extend(configured(Direction::Out, &config.host.failsafe.outbound)?);
        Ok(Self { configured: list, resolvers: resolvers(), remotes: remotes(config) })
    }

    /// Everything that always passes, numbered. What is configured is never cut: too much of it is for the kernel to refuse, aloud.
    fn entries(&self, known: &Known) -> Vec<FailsafeEntry> {
        let resolver = |address: &IpAddr| [UDP, TCP].map(|proto| (Direction::Out, proto, 53, Cidr::host(*address)));
        let remote = |found: &Resolved| (Direction::Out, TCP, found.port, Cidr::host(found.address));
        let derived = self.resolvers.iter().flat_map(resolver).chain(known.newest_first().into_iter().map(remote));
        let mut seen = BTreeSet::new();
        let all = self.configured.iter().copied().chain(derived);
        let unique = all.filter(|one| !one.3.addr().is_loopback() && seen.insert(*one));
        let kept: BTreeSet<Passing> = unique.take(ENTRIES_MAX.max(self.configured.len())).collect();
        let entry = |(id, (direction, proto, port, peer))| FailsafeEntry { id, direction, proto, port, peer };
        (1..).zip(kept).map(entry).collect()
    }

    /// Asks for each name once, all at the same time; answers what came within `longest`.
    async fn look(&self, longest: Duration, now: Timestamp) -> Vec<Resolved> {
        let mut asked = tokio::task::JoinSet::new();
        for (host, port) in self.remotes.clone() {
            asked.spawn(async move {
                let answer = tokio::net::lookup_host((host.clone(), port)).await;
                (host, port, answer.map(|found| found.map(|one| one.ip()).collect::<BTreeSet<IpAddr>>()))
            });
        }
        let mut out = Vec::new();
        let collecting = async {
            while let Some(answered) = asked.join_next().await {
                let Ok((host, port, answer)) = answered else { continue };
                match answer {
                    Ok(found) => {
                        out.extend(found.into_iter().map(|address| Resolved { host: host.clone(), port, address, seen: now }));
                    }
                    Err(error) => tracing::warn!(host, "cannot be resolved; addresses known before stay: {error}"),
                }
            }
        };
        if tokio::time::timeout(longest, collecting).await.is_err() {
            tracing::warn!("the resolver is slow; what was known stays on the failsafe list");
        }
        out
    }

    async fn recall(&self, store: &Store) -> Known {
        let kept = store.meta_get(MEMORY).await.unwrap_or_else(|error| {
            tracing::warn!("cannot read which addresses were known: {}", chain(&error));
            None
        });
        kept.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
    }

    async fn refreshed(&self, mut known: Known, store: &Store, longest: Duration, now: Timestamp) -> Known {
        let before = known.clone();
        known.take(self.look(longest, now).await, &self.remotes, now);
        if known != before
            && let Ok(text) = serde_json::to_string(&known)
            && let Err(error) = store.meta_set(MEMORY.to_owned(), text, now).await
        {
            tracing::warn!("cannot keep which addresses are known: {}", chain(&error));
        }
        known
    }
}

/// Everything that always passes, for the start: waits at most [`START_TIME_MAX`] for names, then goes on with what is known.
/// Without a store, for a plan, nothing was known before.
///
/// # Errors
/// A configured block with host bits.
pub(super) async fn failsafe(config: &Config, store: Option<&Store>, now: Timestamp) -> anyhow::Result<Vec<FailsafeEntry>> {
    let reach = Reach::new(config)?;
    let Some(store) = store else {
        let mut known = Known::default();
        known.take(reach.look(START_TIME_MAX, now).await, &reach.remotes, now);
        return Ok(reach.entries(&known));
    };
    let known = reach.refreshed(reach.recall(store).await, store, START_TIME_MAX, now).await;
    Ok(reach.entries(&known))
}

/// Everything that always passes, without asking for any name: before the network is up there is nobody to ask.
///
/// # Errors
/// A configured block with host bits.
pub(super) async fn remembered(config: &Config, store: Option<&Store>) -> anyhow::Result<Vec<FailsafeEntry>> {
    let reach = Reach::new(config)?;
    let known = match store {
        Some(store) => reach.recall(store).await,
        None => Known::default(),
    };
    Ok(reach.entries(&known))
}

/// Keeps the list current until told to stop: looks every [`REFRESH`], every [`RETRY`] while a name has no address, and after a
/// fetch that did not go through.
pub(super) async fn keep(reach: Reach, keeping: Keeping, list: FailsafeList) {
    let Keeping { store, failed, stop, .. } = keeping;
    let mut known = reach.recall(&store).await;
    let mut in_place = reach.entries(&known);
    loop {
        let pause = if known.covers(&reach.remotes) { REFRESH } else { RETRY };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
            () = failed.notified() => {}
        }
        known = tokio::select! {
            () = stop.cancelled() => return,
            known = reach.refreshed(known.clone(), &store, LOOK_TIME_MAX, Timestamp::now()) => known,
        };
        let entries = reach.entries(&known);
        if entries == in_place {
            continue;
        }
        match list.put(entries.clone()).await {
            Ok(()) => in_place = entries,
            Err(error) => tracing::error!("{}", chain(&error)),
        }
    }
}

fn configured(direction: Direction, peers: &[FailsafePeer]) -> anyhow::Result<Vec<Passing>> {
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

/// The resolvers this host asks. Where that is one on the host itself (systemd-resolved), the ones it asks in turn.
fn resolvers() -> Vec<IpAddr> {
    let read = |file: &str| nameservers(&std::fs::read_to_string(file).unwrap_or_default());
    let mut found = read("/etc/resolv.conf");
    if found.iter().any(IpAddr::is_loopback) {
        found.extend(read("/run/systemd/resolve/resolv.conf"));
        found.retain(|address| !address.is_loopback());
    }
    found.truncate(RESOLVERS_MAX);
    found
}

/// A link-local address may name its interface after `%`.
fn nameservers(text: &str) -> Vec<IpAddr> {
    let named = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    named.filter_map(|rest| rest.split(['%', '#']).next()?.trim().parse().ok()).collect()
}

/// Host and port of the Git remote, of the forge and of clouds.
pub(super) fn remotes(config: &Config) -> Vec<(String, u16)> {
    let mut list: Vec<(String, u16)> = host_of(&config.source.url).into_iter().collect();
    if config.status.forge != ForgeName::None {
        list.extend(config.status.api_url().and_then(host_of));
    }
    list.extend(needed::cloud_remotes(&config.clouds));
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

    #[test]
    fn resolvers_are_read_with_and_without_an_interface() {
        let text = "search a\nnameserver 192.0.2.53\n nameserver fe80::1%eth0\nnameserver 127.0.0.53 # stub\n";
        let found: Vec<String> = nameservers(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["192.0.2.53", "fe80::1", "127.0.0.53"]);
    }

    #[tokio::test]
    async fn a_start_without_a_resolver_has_the_addresses_of_the_last_time() {
        let folder = tempfile::tempdir().unwrap();
        let now = Timestamp::now();
        let store = Store::open(&folder.path().join("state.db"), "host:test", now).await.unwrap();
        let text = "source: {url: 'https://git.invalid/a.git'}";
        let config = Config::parse(text, std::path::Path::new("c.yaml")).unwrap();
        let found = Resolved { host: "git.invalid".to_owned(), port: 443, address: [192, 0, 2, 1].into(), seen: now };
        let known = serde_json::to_string(&Known::of(vec![found])).unwrap();
        store.meta_set(MEMORY.to_owned(), known, now).await.unwrap();
        let list = failsafe(&config, Some(&store), now).await.unwrap();
        let peer = Cidr::host([192, 0, 2, 1].into());
        assert!(list.iter().any(|entry| entry.peer == peer && entry.port == 443), "{list:?}");
        store.close().await;
    }
}
