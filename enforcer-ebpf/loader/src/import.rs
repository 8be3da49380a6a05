//! Live connections of a host that is about to be enforced for the first time: without this their replies would be dropped.
//!
//! Sockets are listed as the kernel knows them. One whose local port is listened on was opened by the peer, any other by this host;
//! an entry that packets have already made for a flow knows better, unless somebody listens. Each becomes an entry like those the
//! programs make: judged by the generation in force, and again by every later one. It stands for this one flow between these ends, so
//! a peer cannot open anything with it.
//!
//! Deliberately absent: sockets without a peer (a UDP server's flows are learnt from packets) and handshakes (their next packet is judged
//! as any that opens a flow).

mod diag;
mod entries;
mod process;
mod rules;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
};

use crate::{enforcer::Enforcer, error::Error, table::Direction};
use diag::{Sockets, Talk};
use entries::Entries;
use rules::Rules;

/// A connection that was open when [`Enforcer::import`] looked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveFlow {
    /// This host's end.
    pub local: SocketAddr,
    /// The peer's end.
    pub remote: SocketAddr,
    /// IP protocol.
    pub proto: u8,
    /// Who opened it.
    pub origin: Direction,
    /// Whether it goes on once nothing is audited on the host as a whole: a rule or the failsafe allows it, or its direction is not
    /// enforced.
    pub allowed: bool,
    /// Name and number of a process that holds it, where this process may see that.
    pub process: Option<String>,
}

impl Enforcer {
    /// Makes flows of the live TCP connections and connected UDP sockets of the calling thread's network namespace, so that enforcement
    /// knows them; answers all of them, in order, with what the generation that judges now says. What a host says to itself is left
    /// out. May be repeated.
    ///
    /// # Errors
    /// If the kernel does not list its sockets, its tables cannot be read, or it takes no entries; then some may have been made.
    pub fn import(&mut self) -> Result<Vec<LiveFlow>, Error> {
        let observed = self.observe()?;
        if observed.table.is_none() && observed.epoch != 0 {
            return Err(Error::ReadBack(format!("generation {}, by which live connections are judged", observed.epoch)));
        }
        let (table, failsafe) = (observed.table.unwrap_or_default(), self.failsafe()?);
        let rules = Rules::new(&table, &failsafe);
        let _lock = self.layout.lock()?;
        let sockets = diag::sockets().map_err(|error| Error::kernel("list the live connections of this host", error))?;
        let entries = Entries::open(&self.layout, observed.epoch)?;
        let mut flows = BTreeMap::new();
        for talk in leaving(&sockets) {
            let judge = |origin| rules.judge(origin, talk.proto, talk.local, talk.remote);
            let (origin, allowed) = entries.take_in(talk, listened(&sockets, talk), judge)?;
            flows.insert((talk.proto, talk.local, talk.remote), (talk.inode, origin, allowed));
        }
        let inodes = flows.values().map(|(inode, ..)| *inode).filter(|inode| *inode != 0).collect::<HashSet<_>>();
        let names = if inodes.is_empty() { HashMap::new() } else { process::names(&inodes) };
        let named = flows.into_iter().map(|((proto, local, remote), (inode, origin, allowed))| {
            let process = names.get(&inode).cloned();
            LiveFlow { local, remote, proto, origin, allowed, process }
        });
        Ok(named.collect())
    }
}

/// Sockets whose packets leave the host: neither end is loopback, and the other end is not here too.
fn leaving(sockets: &Sockets) -> impl Iterator<Item = &Talk> {
    let here: HashSet<_> = sockets.talks.iter().map(|own| (own.proto, own.local, own.remote)).collect();
    sockets.talks.iter().filter(move |own| {
        let (local, remote) = (own.local.ip(), own.remote.ip());
        let inside = local == remote || here.contains(&(own.proto, own.remote, own.local));
        !(local.is_loopback() || remote.is_loopback() || inside)
    })
}

/// Whether somebody waits for peers at the local end of `talk`.
fn listened(sockets: &Sockets, talk: &Talk) -> bool {
    let at = |ip| sockets.listeners.contains(&(talk.proto, SocketAddr::new(ip, talk.local.port())));
    // A listener on every IPv6 address takes IPv4 too, unless told not to.
    let everywhere4 = talk.local.is_ipv4() && at(Ipv4Addr::UNSPECIFIED.into());
    everywhere4 || at(Ipv6Addr::UNSPECIFIED.into()) || at(talk.local.ip())
}

#[cfg(test)]
mod tests {
    use super::{Sockets, Talk, leaving, listened};

    fn talk(local: &str, remote: &str) -> Talk {
        let (local, remote) = (local.parse().unwrap(), remote.parse().unwrap());
        Talk { proto: 6, local, remote, fin_in: false, fin_out: false, inode: 0 }
    }

    #[test]
    fn a_connection_is_inbound_where_its_port_is_listened_on_at_its_address_or_at_every_one() {
        let on = |at: &str| Sockets { listeners: [(6, at.parse().unwrap())].into(), ..Sockets::default() };
        let (v4, v6) = (talk("192.0.2.1:443", "192.0.2.9:5000"), talk("[2001:db8::1]:443", "[2001:db8::9]:5000"));
        for at in ["192.0.2.1:443", "0.0.0.0:443", "[::]:443"] {
            assert!(listened(&on(at), &v4), "{at}");
        }
        for at in ["192.0.2.2:443", "0.0.0.0:444"] {
            assert!(!listened(&on(at), &v4), "{at}");
        }
        assert!(listened(&on("[::]:443"), &v6) && !listened(&on("0.0.0.0:443"), &v6));
        let udp = Sockets { listeners: [(17, "0.0.0.0:443".parse().unwrap())].into(), ..Sockets::default() };
        assert!(!listened(&udp, &v4), "another protocol");
    }

    #[test]
    fn what_a_host_says_to_itself_does_not_leave_it() {
        let talks = vec![
            talk("127.0.0.1:5000", "127.0.0.1:80"),
            talk("[::1]:5000", "[::1]:80"),
            talk("192.0.2.1:5000", "192.0.2.1:80"),
            talk("192.0.2.1:5001", "192.0.2.2:80"),
            talk("192.0.2.2:80", "192.0.2.1:5001"),
            talk("192.0.2.1:5002", "192.0.2.2:80"),
        ];
        let sockets = Sockets { talks, ..Sockets::default() };
        assert_eq!(leaving(&sockets).collect::<Vec<_>>(), [&talk("192.0.2.1:5002", "192.0.2.2:80")]);
    }
}
