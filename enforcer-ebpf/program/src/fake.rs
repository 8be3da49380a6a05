//! A world and packets in plain memory.

use core::cell::{Cell, RefCell};
use std::{collections::HashMap, rc::Rc};

use enforcer_abi::{Control, Event, Flow, Generation, Hook, IN, Interval, Reason, Refusal, RefusalKey, Slice, TICK_SHIFT, Verdict};

use crate::{
    Headers, Link, Packet, Place, Why, World,
    addr::Addr,
    flow::{Ends, Live},
    parse::{Carried, Veil, carried, network4, network6, transport},
    rules::{Allowed, search},
    tell::{Purse, Tally},
};

/// Bytes with an Ethernet header.
pub(crate) struct Bytes {
    pub(crate) bytes: Vec<u8>,
    pub(crate) tags: u32,
    pub(crate) segmented: bool,
}

impl Packet for Bytes {
    fn length(&self) -> u32 {
        self.bytes.len() as u32
    }

    fn segmented(&self) -> bool {
        self.segmented
    }

    fn link(&self) -> Link {
        Link::Ethernet { tags: self.tags }
    }

    fn interface(&self) -> u32 {
        7
    }

    fn bytes<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        self.bytes.get(at as usize..at as usize + N)?.try_into().ok()
    }
}

/// The headers of a whole packet; none if it carries no IP.
pub(crate) fn parse(packet: &Bytes) -> Result<Option<Headers>, Reason> {
    let veil = Veil::new(1);
    let network = match carried(packet, veil)? {
        Carried::V4(at) => network4(packet, at, veil)?,
        Carried::V6(at) => network6(packet, at, veil)?,
        Carried::Other => return Ok(None),
    };
    transport(packet, network, veil).map(Some)
}

/// An Ethernet frame around an IPv4 packet.
pub(crate) fn ipv4(source: [u8; 4], destination: [u8; 4], proto: u8, payload: &[u8]) -> Bytes {
    let length = (20 + payload.len() as u16).to_be_bytes();
    let mut bytes = vec![0; 12];
    bytes.extend([8, 0, 0x45, 0, length[0], length[1], 0, 7, 0, 0, 64, proto, 0, 0]);
    bytes.extend(source);
    bytes.extend(destination);
    bytes.extend(payload);
    Bytes { bytes, tags: 0, segmented: false }
}

/// An Ethernet frame around an IPv6 packet.
pub(crate) fn ipv6(source: [u8; 16], destination: [u8; 16], next: u8, hops: u8, payload: &[u8]) -> Bytes {
    let length = (payload.len() as u16).to_be_bytes();
    let mut bytes = vec![0; 12];
    bytes.extend([0x86, 0xDD, 0x60, 0, 0, 0, length[0], length[1], next, hops]);
    bytes.extend(source);
    bytes.extend(destination);
    bytes.extend(payload);
    Bytes { bytes, tags: 0, segmented: false }
}

/// A TCP header.
pub(crate) fn tcp(source: u16, destination: u16, flags: u8, seq: u32, ack: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(source.to_be_bytes());
    bytes.extend(destination.to_be_bytes());
    bytes.extend(seq.to_be_bytes());
    bytes.extend(ack.to_be_bytes());
    bytes.extend([0x50, flags, 0, 0, 0, 0, 0, 0]);
    bytes
}

/// A UDP header and four bytes.
pub(crate) fn udp(source: u16, destination: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(source.to_be_bytes());
    bytes.extend(destination.to_be_bytes());
    bytes.extend([0, 12, 0, 0, 1, 2, 3, 4]);
    bytes
}

/// One generation whose rules are open to every peer, and flows.
pub(crate) struct Memory {
    pub(crate) word: Cell<Control>,
    pub(crate) now: Cell<u32>,
    pub(crate) generations: [Generation; 2],
    pub(crate) intervals: Vec<Interval>,
    pub(crate) failsafe: Vec<(u8, u8, u16)>,
    /// What the ring buffer was given, and how much more it takes.
    pub(crate) events: RefCell<Vec<Event>>,
    pub(crate) room: Cell<usize>,
    pub(crate) wakes: Cell<u32>,
    pub(crate) tallies: RefCell<HashMap<RefusalKey, &'static Tally>>,
    /// Whether the table of refusals takes new keys.
    pub(crate) tallying: Cell<bool>,
    pub(crate) purse: Purse,
    flows: RefCell<HashMap<(Place, Ends), &'static Live>>,
    fragments: RefCell<Vec<(u32, u8, u32, u32)>>,
    counts: RefCell<Vec<(Verdict, Reason)>>,
}

impl Memory {
    /// Both directions enforced; `allowed` are (direction, service) open to every IPv4 peer, in their order.
    pub(crate) fn new(allowed: &[(u8, u32)]) -> Rc<Self> {
        let mut own = Self {
            word: Cell::default(),
            now: Cell::new(1000),
            generations: [Generation::default(); 2],
            intervals: Vec::new(),
            failsafe: Vec::new(),
            events: RefCell::default(),
            room: Cell::new(usize::MAX),
            wakes: Cell::default(),
            tallies: RefCell::default(),
            tallying: Cell::new(true),
            purse: Purse::default(),
            flows: RefCell::default(),
            fragments: RefCell::default(),
            counts: RefCell::default(),
        };
        own.generations[0].epoch = 1;
        own.generations[1].epoch = 2;
        for generation in &mut own.generations {
            generation.flags = Generation::ENFORCE_IN | Generation::ENFORCE_OUT;
        }
        for dir in 0..2 {
            let first = own.intervals.len() as u32;
            let mine = allowed.iter().filter(|(other, _)| *other == dir);
            own.intervals.extend(mine.map(|(_, service)| Interval { lo: *service, hi: *service, rule: 5, mode: 0 }));
            own.generations[0].any[usize::from(dir)] = Slice { first, len: own.intervals.len() as u32 - first };
        }
        Rc::new(own)
    }

    /// The one verdict and reason counted since the last call.
    pub(crate) fn last(&self) -> (Verdict, Reason) {
        self.counts.borrow_mut().drain(..).next_back().unwrap()
    }

    pub(crate) fn places(&self) -> Vec<Place> {
        self.flows.borrow().keys().map(|(place, _)| *place).collect()
    }
}

impl World for Memory {
    fn control(&self) -> Control {
        self.word.get()
    }

    fn clock(&self) -> u64 {
        u64::from(self.now.get()) << TICK_SHIFT
    }

    fn generation(&self, slot: u32) -> Option<&Generation> {
        self.generations.get(slot as usize)
    }

    fn slice(&self, _slot: u32, _family: u8, _dir: u8, _peer: &Addr) -> Option<Slice> {
        None
    }

    fn any(&self, generation: &Generation, index: usize) -> Slice {
        generation.any[index]
    }

    fn search(&self, _slot: u32, slice: Slice, service: u32) -> Allowed {
        let answer = search(|index| self.intervals.get(index as usize), slice, service);
        assert_eq!(Allowed::unpacked(answer.packed()), answer);
        answer
    }

    fn flow(&self, place: Place, ends: &Ends) -> Option<&Live> {
        self.flows.borrow().get(&(place, *ends)).copied()
    }

    fn keep(&self, place: Place, ends: &Ends, flow: &Flow) -> bool {
        self.flows.borrow_mut().insert((place, *ends), Box::leak(Box::new(Live::from(*flow))));
        true
    }

    fn forget(&self, place: Place, ends: &Ends) {
        self.flows.borrow_mut().remove(&(place, *ends));
    }

    fn fragment_passed(&self, headers: &Headers, dir: u8, epoch: u32, now: u32) -> bool {
        let kept = self.fragments.borrow();
        kept.iter().any(|(id, d, e, last)| (*id, *d, *e) == (headers.fragment_id, dir, epoch) && now - last < 223)
    }

    fn keep_fragment(&self, headers: &Headers, dir: u8, epoch: u32, now: u32) {
        self.fragments.borrow_mut().push((headers.fragment_id, dir, epoch, now));
    }

    fn failsafe(&self, ends: &Ends, origin: u8) -> bool {
        let port = if origin == IN { ends.local_port } else { ends.remote_port };
        self.failsafe.contains(&(origin, ends.proto, u16::from_be(port)))
    }

    fn count(&self, _family: u8, verdict: Verdict, why: Why) {
        self.counts.borrow_mut().push((verdict, Reason::ALL[usize::from(why.number())]));
    }

    fn count_rule(&self, _rule: u32) {}

    fn hook(&self) -> Hook {
        Hook::TcOut
    }

    fn tally(&self, key: &RefusalKey) -> Option<&Tally> {
        self.tallies.borrow().get(key).copied()
    }

    fn keep_tally(&self, key: &RefusalKey, fresh: &Refusal) {
        if self.tallying.get() {
            self.tallies.borrow_mut().entry(*key).or_insert_with(|| Box::leak(Box::new(Tally::from(*fresh))));
        }
    }

    fn add(&self, count: &Cell<u64>) {
        count.set(count.get() + 1);
    }

    fn purse(&self) -> Option<&Purse> {
        Some(&self.purse)
    }

    fn publish(&self, event: &Event, wake: bool) -> bool {
        let Some(room) = self.room.get().checked_sub(1) else { return false };
        self.room.set(room);
        self.events.borrow_mut().push(*event);
        self.wakes.set(self.wakes.get() + u32::from(wake));
        true
    }
}

/// Our address and a peer's.
pub(crate) const HERE: [u8; 4] = [10, 0, 0, 1];
pub(crate) const THERE: [u8; 4] = [10, 0, 0, 2];

/// A packet between [`HERE`] and [`THERE`] in direction `dir`.
pub(crate) fn between(dir: u8, proto: u8, payload: &[u8]) -> Bytes {
    if dir == IN { ipv4(THERE, HERE, proto, payload) } else { ipv4(HERE, THERE, proto, payload) }
}
