//! What becomes of a packet and what is remembered of its flow, slowly and obviously.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use enforcer::{Direction, Interval, Mode, Table};

/// Ages closer than this to an end are not compared: the kernel's clock is coarse, and entries are refreshed once a second.
const UNSURE: Duration = Duration::from_secs(3);

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const SCTP: u8 = 132;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;
const URG: u8 = 32;

/// The ends of a flow, seen from the host. For an ICMP query the port of who asks is the identifier, the other's is type and code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ends {
    pub(crate) peer: IpAddr,
    pub(crate) proto: u8,
    pub(crate) local_port: u16,
    pub(crate) remote_port: u16,
}

impl Ends {
    fn service(self, origin: Direction) -> u32 {
        let port = if origin == Direction::In { self.local_port } else { self.remote_port };
        u32::from(self.proto) << 16 | u32::from(port)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Tcp {
        flags: u8,
        seq: u32,
        ack: u32,
    },
    Plain,
    Query,
    /// An ICMP reply of this type and code.
    Reply(u16),
    /// ICMP of this type and code that belongs to no flow.
    Notice(u16),
    /// An ICMP error about a packet of these ends that went the other way.
    Error,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) dir: Direction,
    pub(crate) ends: Ends,
    pub(crate) what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    Tcp,
    Half,
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flow {
    pub(crate) epoch: u32,
    pub(crate) denied: bool,
    pub(crate) rule: u32,
    pub(crate) origin: Direction,
    pub(crate) replied: bool,
    pub(crate) proof: u32,
    pub(crate) fin_in: bool,
    pub(crate) fin_out: bool,
    pub(crate) reset: bool,
    pub(crate) last: Duration,
}

impl Flow {
    fn closed(&self) -> bool {
        self.reset || (self.fin_in && self.fin_out)
    }

    fn life(&self, place: Place, proto: u8) -> Duration {
        let seconds = match (self.denied, place, proto) {
            (true, _, TCP) => 1800,
            (true, ..) => 30,
            (_, Place::Tcp | Place::Half, _) if self.reset => 10,
            (_, Place::Half, _) => [20, 60][usize::from(self.replied)],
            (_, Place::Tcp, _) => [8100, 300, 60][usize::from(self.fin_in) + usize::from(self.fin_out)],
            (_, Place::Other, 1 | 58) => 30,
            (_, Place::Other, UDP) => [60, 180][usize::from(self.replied)],
            (_, Place::Other, SCTP) => [60, 300][usize::from(self.replied)],
            (_, Place::Other, _) => [60, 600][usize::from(self.replied)],
        };
        Duration::from_secs(seconds)
    }
}

/// How a packet ends: verdict and reason, and whether it would have passed by an audited rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct End {
    pub(crate) verdict: &'static str,
    pub(crate) reason: &'static str,
    pub(crate) would_pass: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Conntrack {
    pub(crate) table: Table,
    pub(crate) epoch: u32,
    pub(crate) audit: bool,
    pub(crate) learning: bool,
    pub(crate) now: Duration,
    pub(crate) flows: HashMap<(Place, Ends), Flow>,
}

fn other(dir: Direction) -> Direction {
    if dir == Direction::In { Direction::Out } else { Direction::In }
}

fn pass(reason: &'static str) -> End {
    End { verdict: "pass", reason, would_pass: false }
}

impl Conntrack {
    /// Whether a flow between `ends` may or may not have ended by now.
    pub(crate) fn unsure(&self, ends: Ends) -> bool {
        [Place::Tcp, Place::Half, Place::Other].into_iter().any(|place| {
            let flow = self.flows.get(&(place, ends));
            flow.is_some_and(|own| (self.now - own.last).abs_diff(own.life(place, ends.proto)) < UNSURE)
        })
    }

    pub(crate) fn judge(&mut self, packet: &Packet) -> End {
        let Packet { dir, ends, what } = *packet;
        if self.table.isolate_in.is_none() && self.table.isolate_out.is_none() {
            return pass("unselected");
        }
        if what == What::Error {
            let flow = self.find(ends, false).map(|place| self.flows[&(place, ends)]);
            let approved = flow.is_some_and(|own| own.epoch == self.epoch && !(own.denied && self.drops(own.origin)));
            return if approved { pass("related") } else { self.refuse(dir, "no_flow") };
        }
        let flags = if let What::Tcp { flags, .. } = what { flags } else { 0 };
        if ends.proto == TCP && !valid(flags) {
            return self.refuse(dir, "tcp_flags");
        }
        let syn = flags & (SYN | ACK) == SYN;
        match self.find(ends, syn).filter(|_| !matches!(what, What::Notice(_))) {
            Some(place) if syn && self.flows[&(place, ends)].origin != dir => self.refuse(dir, "midflow"),
            Some(place) => self.follow(packet, place),
            None => self.open(packet, flags),
        }
    }

    fn stays(&self, flow: &Flow, place: Place, proto: u8, syn: bool) -> bool {
        self.now - flow.last <= flow.life(place, proto) && !(syn && (flow.closed() || flow.denied))
    }

    fn find(&self, ends: Ends, syn: bool) -> Option<Place> {
        let places: &[Place] = if ends.proto == TCP { &[Place::Tcp, Place::Half] } else { &[Place::Other] };
        let stays = |place: Place| self.flows.get(&(place, ends)).is_some_and(|own| self.stays(own, place, ends.proto, syn));
        places.iter().copied().find(|place| stays(*place))
    }

    fn follow(&mut self, packet: &Packet, place: Place) -> End {
        let Packet { dir, ends, what } = *packet;
        let mut flow = self.flows[&(place, ends)];
        if flow.epoch != self.epoch {
            let rule = self.allowed(flow.origin, ends, ends.service(flow.origin));
            flow.denied = !self.permits(flow.origin, rule);
            flow.epoch = self.epoch;
            if !flow.denied {
                flow.rule = rule.map_or(0, |own| own.rule);
            }
        }
        if flow.denied {
            self.flows.insert((place, ends), flow);
            let verdict = if self.drops(flow.origin) { "drop" } else { "would_drop" };
            return End { verdict, reason: "revoked", would_pass: false };
        }
        flow.last = self.now;
        let answer = dir != flow.origin;
        let mut next = place;
        if let What::Tcp { flags, seq, ack } = what {
            flow.reset |= flags & RST != 0;
            flow.fin_in |= flags & FIN != 0 && dir == Direction::In;
            flow.fin_out |= flags & FIN != 0 && dir == Direction::Out;
            if place == Place::Half && flags & RST == 0 {
                if answer && !flow.replied {
                    (flow.replied, flow.proof) = (true, seq.wrapping_add(u32::from(flags & SYN != 0)));
                } else if !answer
                    && flow.replied
                    && !flow.reset
                    && flags & (SYN | ACK) == ACK
                    && ack.wrapping_sub(flow.proof) < 1 << 20
                {
                    next = Place::Tcp;
                    self.flows.remove(&(Place::Half, ends));
                }
            }
        } else {
            flow.replied |= answer;
        }
        self.flows.insert((next, ends), flow);
        pass("flow")
    }

    fn open(&mut self, packet: &Packet, flags: u8) -> End {
        let Packet { dir, ends, what } = *packet;
        let tcp = ends.proto == TCP;
        let syn = flags & (SYN | ACK) == SYN;
        if tcp && (flags & (SYN | ACK) == SYN | ACK || flags & RST != 0) {
            return self.refuse(dir, "midflow");
        }
        let origins = if self.learning && tcp && !syn { vec![dir, other(dir)] } else { vec![dir] };
        let mut audited = false;
        for origin in origins {
            let service = match what {
                What::Reply(own) | What::Notice(own) => u32::from(ends.proto) << 16 | u32::from(own),
                What::Tcp { .. } | What::Plain | What::Query | What::Error => ends.service(origin),
            };
            let rule = self.allowed(origin, ends, service);
            if self.permits(origin, rule) {
                if !matches!(what, What::Reply(_) | What::Notice(_)) {
                    self.remember(ends, origin, false, rule.map_or(0, |own| own.rule));
                }
                return pass(if rule.is_some_and(|own| own.audit) { "audit_rule" } else { "new" });
            }
            audited |= rule.is_some();
        }
        let reason = match what {
            What::Tcp { .. } if !syn => "midflow",
            What::Reply(_) => "no_flow",
            What::Tcp { .. } | What::Plain | What::Query | What::Notice(_) | What::Error => "no_rule",
        };
        let end = End { would_pass: audited, ..self.refuse(dir, reason) };
        if end.verdict != "drop" && (syn || matches!(what, What::Plain | What::Query)) {
            self.remember(ends, dir, true, 0);
        }
        end
    }

    fn remember(&mut self, ends: Ends, origin: Direction, denied: bool, rule: u32) {
        let (epoch, last) = (self.epoch, self.now);
        let facts = (false, 0, false, false, false);
        let (replied, proof, fin_in, fin_out, reset) = facts;
        let flow = Flow { epoch, denied, rule, origin, replied, proof, fin_in, fin_out, reset, last };
        self.flows.remove(&(Place::Tcp, ends));
        self.flows.insert((if ends.proto == TCP { Place::Half } else { Place::Other }, ends), flow);
    }

    fn drops(&self, origin: Direction) -> bool {
        self.table.isolation(origin) == Some(Mode::Enforce) && !self.audit
    }

    fn refuse(&self, dir: Direction, reason: &'static str) -> End {
        let verdict = match self.table.isolation(dir) {
            _ if self.drops(dir) => "drop",
            Some(_) => "would_drop",
            None => "pass",
        };
        End { verdict, reason, would_pass: false }
    }

    /// The rule that names a service: of the longest prefix first, of everybody's then, an enforced one before an audited one.
    fn allowed(&self, origin: Direction, ends: Ends, service: u32) -> Option<Interval> {
        let covering = |list: &[Interval]| list.iter().copied().find(|own| (own.lo..=own.hi).contains(&service));
        let holding = self.table.prefixes.iter().filter(|(dir, cidr, _)| *dir == origin && cidr.contains(ends.peer));
        let own = holding.max_by_key(|(_, cidr, _)| cidr.prefix_len()).and_then(|(_, _, list)| covering(list));
        let family = if ends.peer.is_ipv6() { 2 } else { 0 };
        let any = covering(&self.table.any[family + usize::from(origin == Direction::Out)]);
        let by = |audit| [own, any].into_iter().flatten().find(|rule| rule.audit == audit);
        self.table.isolation(origin)?;
        by(false).or_else(|| by(true))
    }

    fn permits(&self, origin: Direction, rule: Option<Interval>) -> bool {
        match self.table.isolation(origin) {
            None => true,
            Some(Mode::Enforce) => rule.is_some_and(|own| !own.audit),
            Some(Mode::Audit) => rule.is_some(),
        }
    }
}

/// The combinations a connection can have; PSH, ECE and CWR do not count.
fn valid(flags: u8) -> bool {
    let own = flags & (FIN | SYN | RST | ACK | URG);
    [SYN, SYN | URG, SYN | ACK, ACK, ACK | URG, FIN | ACK, FIN | ACK | URG, RST, RST | ACK].contains(&own)
}
