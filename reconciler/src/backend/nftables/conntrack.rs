//! Connection tracking: which flows there are, and the end of those that the policy denies now.
//!
//! Packets in the original direction are judged one by one, so a tighter policy stops them at once; replies pass as long as their
//! entry lives. So after every change the entries whose original direction is denied are deleted. An entry does not say which
//! interface it belongs to; the route to its peer does, and entries of other interfaces are left alone, since deleting one would cut
//! what is translated there.

mod entry;
mod netlink;
mod verdicts;

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use enforcer::{Direction as Opens, FailsafeEntry};
use policy::lower::bpf::Table;
use policy::net::{Direction, Service};
use rustix::net::netlink::NETFILTER;

use self::entry::{Entry, Tuple, head};
use self::netlink::{ACK, DUMP, Netlink, REQUEST, attributes, put};
pub(crate) use self::verdicts::Verdicts;

/// Subsystem 1 of nfnetlink, messages 1 and 2.
const CONNTRACK_GET: u16 = 0x0101;
const CONNTRACK_DELETE: u16 = 0x0102;
const ROUTE_GET: u16 = 26;
const ROUTE_DESTINATION: u16 = 1;
const ROUTE_INTERFACE: u16 = 4;
/// A packet judged by the rules before may be on its way while the entries are listed; it has arrived by then.
const SECOND_LOOK_AFTER: Duration = Duration::from_millis(50);

/// What may live on, and where it matters.
#[derive(Debug)]
pub(super) struct Judge<'a> {
    verdicts: Verdicts,
    failsafe: &'a [FailsafeEntry],
    interfaces: BTreeSet<u32>,
}

/// A flow that the policy denies.
struct Denied {
    direction: Direction,
    peer: IpAddr,
    service: u32,
}

impl<'a> Judge<'a> {
    pub(super) fn new(table: &Table, failsafe: &'a [FailsafeEntry], interfaces: &[String]) -> io::Result<Self> {
        let index = interfaces.iter().filter_map(|name| interface_index(name)).collect();
        Ok(Self { verdicts: Verdicts::of(table), failsafe, interfaces: index })
    }

    /// Both ways a flow may cross the host: towards it from its origin, away from it to whoever answers.
    fn denied(&self, entry: &Entry, routes: &mut Routes) -> Option<Denied> {
        let (orig, reply) = (&entry.original, &entry.reply);
        let out_port = if matches!(orig.protocol, 1 | 58) { orig.destination_port } else { reply.source_port };
        let ways = [
            (Direction::Ingress, orig.source, orig.service(orig.destination_port)),
            (Direction::Egress, reply.source, orig.service(out_port)),
        ];
        ways.into_iter().find_map(|(direction, peer, service)| {
            let passes = self.verdicts.permits(direction, peer, service) || self.is_failsafe(direction, peer, orig, service);
            let ours = !passes && routes.interface(peer).is_some_and(|index| self.interfaces.contains(&index));
            ours.then_some(Denied { direction, peer, service })
        })
    }

    fn is_failsafe(&self, direction: Direction, peer: IpAddr, tuple: &Tuple, service: u32) -> bool {
        let opens = if direction == Direction::Ingress { Opens::In } else { Opens::Out };
        self.failsafe.iter().any(|entry| {
            let port = u32::from(entry.proto) << 16 | u32::from(entry.port);
            entry.direction == opens && entry.proto == tuple.protocol && port == service && entry.peer.contains(peer)
        })
    }
}

/// Deletes every entry that is denied; says how many.
pub(super) fn cut(judge: &Judge<'_>) -> io::Result<usize> {
    let first = cut_once(judge)?;
    std::thread::sleep(SECOND_LOOK_AFTER);
    Ok(first + cut_once(judge)?)
}

fn cut_once(judge: &Judge<'_>) -> io::Result<usize> {
    let mut routes = Routes::open()?;
    let mut kernel = Netlink::open(Some(NETFILTER))?;
    let mut cut = 0;
    for entry in entries(&mut kernel)? {
        if judge.denied(&entry, &mut routes).is_none() {
            continue;
        }
        match kernel.ask(CONNTRACK_DELETE, REQUEST | ACK, &entry.request, |_, _| {}) {
            Ok(()) => cut += 1,
            // It ended by itself.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(cut)
}

/// Every flow that would be cut, in words, each once.
pub(super) fn would_cut(judge: &Judge<'_>) -> io::Result<BTreeSet<String>> {
    let mut routes = Routes::open()?;
    let found = entries(&mut Netlink::open(Some(NETFILTER))?)?;
    Ok(found.iter().filter_map(|entry| judge.denied(entry, &mut routes)).map(|denied| words(&denied)).collect())
}

fn words(denied: &Denied) -> String {
    let service = Service::from_number(denied.service).map_or_else(String::new, |service| service.to_string());
    match denied.direction {
        Direction::Ingress => format!("{service} from {}", denied.peer),
        Direction::Egress => format!("{service} to {}", denied.peer),
    }
}

fn entries(kernel: &mut Netlink) -> io::Result<Vec<Entry>> {
    let mut found = Vec::new();
    kernel.ask(CONNTRACK_GET, REQUEST | DUMP, &head(0), |_, body| found.extend(Entry::read(body)))?;
    Ok(found)
}

/// Through which interface addresses are reached, asked once each.
struct Routes {
    kernel: Netlink,
    known: HashMap<IpAddr, Option<u32>>,
}

impl Routes {
    fn open() -> io::Result<Self> {
        Ok(Self { kernel: Netlink::open(None)?, known: HashMap::new() })
    }

    fn interface(&mut self, address: IpAddr) -> Option<u32> {
        if let Some(known) = self.known.get(&address) {
            return *known;
        }
        let (family, bytes, length) = match address {
            IpAddr::V4(v4) => (2, v4.octets().to_vec(), 32),
            IpAddr::V6(v6) => (10, v6.octets().to_vec(), 128),
        };
        // Family, destination length, then fields that a question leaves zero.
        let mut body = vec![family, length, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        put(&mut body, ROUTE_DESTINATION, &bytes);
        let mut found = None;
        let asked = self.kernel.ask(ROUTE_GET, REQUEST, &body, |_, answer| {
            let rows = answer.get(12..).unwrap_or_default();
            let oif = attributes(rows).find(|(kind, _)| *kind == ROUTE_INTERFACE);
            found = oif.and_then(|(_, index)| <[u8; 4]>::try_from(index).ok()).map(u32::from_ne_bytes);
        });
        let found = asked.ok().and(found);
        self.known.insert(address, found);
        found
    }
}

/// The number of an interface in the namespace of this thread.
pub(super) fn interface_index(name: &str) -> Option<u32> {
    use rustix::net::{AddressFamily, SocketType, netdevice::name_to_index, socket};
    let any = socket(AddressFamily::UNIX, SocketType::DGRAM, None).ok()?;
    name_to_index(any, name).ok()
}
