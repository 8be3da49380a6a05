//! Connections tried before and after rules change: what the controller itself needs, and whatever else it is asked to try.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;

use super::reach;
use crate::config::Config;
use crate::converge::{Boxed, Errand, Prober, Tried};

/// A slow resolver must not hold up a pass: what has no address in this time is not tried.
const NAMES_TIME_MAX: Duration = Duration::from_secs(1);

/// Tries TCP connections from this host.
#[derive(Debug)]
pub(super) struct Connections {
    remotes: Vec<(String, u16)>,
}

impl Connections {
    /// Those of a configuration: the Git remote and the forge.
    pub(super) fn new(config: &Config) -> Self {
        Self { remotes: reach::remotes(config) }
    }

    async fn resolve(&self) -> Vec<Errand> {
        let mut asked = JoinSet::new();
        for (host, port) in self.remotes.clone() {
            asked.spawn(async move {
                let found = lookup_host((host.as_str(), port)).await.map(Iterator::collect::<BTreeSet<SocketAddr>>);
                (host, found.unwrap_or_default())
            });
        }
        let mut errands = Vec::new();
        let collecting = async {
            while let Some(answered) = asked.join_next().await {
                let Ok((host, found)) = answered else { continue };
                let judged = found.into_iter().filter(|to| !to.ip().is_loopback());
                errands.extend(judged.map(|to| Errand { what: format!("the controller's way to {host}"), to }));
            }
        };
        let _ = tokio::time::timeout(NAMES_TIME_MAX, collecting).await;
        errands
    }
}

impl Prober for Connections {
    fn own(&self) -> Boxed<'_, Vec<Errand>> {
        Box::pin(self.resolve())
    }

    fn attempt<'a>(&'a self, errands: &'a [Errand], longest: Duration) -> Boxed<'a, Vec<Tried>> {
        Box::pin(async move {
            let mut running = JoinSet::new();
            for (number, to) in errands.iter().map(|errand| errand.to).enumerate() {
                running.spawn(async move { (number, attempt(to, longest).await) });
            }
            let mut tried = vec![Tried::Silent; errands.len()];
            while let Some(ended) = running.join_next().await {
                if let Ok((number, how)) = ended
                    && let Some(place) = tried.get_mut(number)
                {
                    *place = how;
                }
            }
            tried
        })
    }
}

async fn attempt(to: SocketAddr, longest: Duration) -> Tried {
    match tokio::time::timeout(longest, TcpStream::connect(to)).await {
        Ok(Ok(_)) => Tried::Connected,
        Ok(Err(error)) if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset) => Tried::Refused,
        Ok(Err(_)) | Err(_) => Tried::Silent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errand(to: SocketAddr) -> Errand {
        Errand { what: "a test".to_owned(), to }
    }

    #[tokio::test]
    async fn a_peer_that_refuses_was_reached_and_one_that_says_nothing_was_not() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap();
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let full = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        rustix::net::listen(&full, 0).unwrap();
        // A queue that is full lets the next one wait without a word.
        let silent = full.local_addr().unwrap();
        let short = Duration::from_millis(100);
        let _waiting: Vec<_> = (0..2).map(|_| std::net::TcpStream::connect_timeout(&silent, short)).collect();
        let probes = Connections { remotes: Vec::new() };
        let tried = probes.attempt(&[errand(open), errand(closed), errand(silent)], Duration::from_millis(300)).await;
        assert_eq!(tried, [Tried::Connected, Tried::Refused, Tried::Silent]);
    }

    #[tokio::test]
    async fn a_remote_on_this_host_is_not_judged_by_rules_and_not_tried() {
        let probes = Connections { remotes: vec![("127.0.0.1".to_owned(), 80), ("192.0.2.1".to_owned(), 443)] };
        let own: Vec<String> = probes.own().await.into_iter().map(|errand| errand.to.to_string()).collect();
        assert_eq!(own, ["192.0.2.1:443"]);
    }
}
