//! Entries for live connections, beside those that packets make.
//!
//! What a packet has made is kept where it is good: an entry whose origin the programs saw, that is not over. One among the half-open
//! moves to the open ones, because the kernel's word that a connection stands is worth more than an acknowledgement. One that is over,
//! or denied as if opened by the other end, is replaced.

use std::{io, net::IpAddr, os::fd::AsFd as _};

use aya::maps::MapData;
use enforcer_abi::{Flow, FlowKey4, FlowKey6, ticks};

use super::{diag::Talk, rules::Judged};
use crate::{
    error::Error,
    object,
    pin::Layout,
    sys::{self, Plain},
    table::Direction,
    trial,
};

const TCP: u8 = 6;

/// An entry that saw a packet within this is left alone: none is forgotten sooner.
const FRESH: u32 = ticks(20);

/// The tables of flows, and the generation whose judgement is written.
#[derive(Debug)]
pub(crate) struct Entries {
    v4: Family,
    v6: Family,
    epoch: u32,
}

#[derive(Debug)]
struct Family {
    tcp: MapData,
    half: MapData,
    other: MapData,
}

impl Entries {
    pub(crate) fn open(layout: &Layout, epoch: u32) -> Result<Self, Error> {
        let open = |tcp, half, other| -> Result<Family, Error> {
            Ok(Family { tcp: object::map(layout, tcp)?, half: object::map(layout, half)?, other: object::map(layout, other)? })
        };
        Ok(Self { v4: open("tcp4", "half4", "other4")?, v6: open("tcp6", "half6", "other6")?, epoch })
    }

    /// Sees to it that `talk` has an entry; answers who opened it, and whether it goes on.
    pub(crate) fn take_in(
        &self,
        talk: &Talk,
        listened: bool,
        judge: impl FnOnce(Direction) -> Judged,
    ) -> Result<(Direction, bool), Error> {
        let (local_port, remote_port) = (talk.local.port().to_be(), talk.remote.port().to_be());
        let (proto, zero) = (talk.proto, [0; 3]);
        let done = match (talk.local.ip(), talk.remote.ip()) {
            (IpAddr::V4(local), IpAddr::V4(remote)) => {
                let (local, remote) = (local.octets(), remote.octets());
                let key = FlowKey4 { local, remote, local_port, remote_port, proto, zero };
                self.settle(&self.v4, &key, talk, listened, judge)
            }
            (IpAddr::V6(local), IpAddr::V6(remote)) => {
                let (local, remote) = (local.octets(), remote.octets());
                let key = FlowKey6 { local, remote, local_port, remote_port, proto, zero };
                self.settle(&self.v6, &key, talk, listened, judge)
            }
            _ => Err(io::Error::other("its ends are of two families")),
        };
        done.map_err(|error| Error::kernel(format!("make a flow of the live connection with {}", talk.remote), error))
    }

    fn settle<K: Plain>(
        &self,
        family: &Family,
        key: &K,
        talk: &Talk,
        listened: bool,
        judge: impl FnOnce(Direction) -> Judged,
    ) -> io::Result<(Direction, bool)> {
        let tcp = talk.proto == TCP;
        let table = if tcp { &family.tcp } else { &family.other }.fd().as_fd();
        let settled: Option<Flow> = sys::lookup(table, key)?;
        let half: Option<Flow> = if tcp { sys::lookup(family.half.fd().as_fd(), key)? } else { None };
        // One that is over belonged to an earlier connection, as the kernel lists this one as open.
        let known = [settled, half].into_iter().flatten().find(|flow| !over(flow));
        let now = trial::now();
        let origin = origin(known, tcp, listened);
        let judged = judge(origin);
        let good = known.filter(|flow| flow.origin == origin.number());
        if good.is_some_and(|flow| settled == Some(flow) && now.wrapping_sub(flow.last) < FRESH) {
            return Ok((origin, judged.goes_on));
        }
        let base = good.unwrap_or(Flow { created: now, ..Flow::default() });
        let flow = Flow {
            judged: self.epoch << 1 | u32::from(judged.denied),
            last: now,
            rule: judged.rule,
            origin: origin.number(),
            replied: 1,
            fin_in: base.fin_in | u8::from(talk.fin_in),
            fin_out: base.fin_out | u8::from(talk.fin_out),
            imported: 1,
            ..base
        };
        if settled.is_some() {
            sys::update(table, key, &flow)?;
        } else {
            // If a packet was quicker, its entry is as good.
            sys::insert(table, key, &flow)?;
        }
        if half.is_some() {
            sys::delete(family.half.fd().as_fd(), key).or_else(gone)?;
        }
        Ok((origin, judged.goes_on))
    }
}

/// Who opened a connection of which `known` is known. Packets show it for TCP, and for the rest where rules allowed the first one seen,
/// which may have been an answer.
fn origin(known: Option<Flow>, tcp: bool, listened: bool) -> Direction {
    let told = known.filter(|flow| tcp || flow.judged & 1 == 0);
    if listened || told.is_some_and(|flow| flow.origin == Direction::In.number()) { Direction::In } else { Direction::Out }
}

/// Whether a TCP connection is over.
fn over(flow: &Flow) -> bool {
    flow.reset != 0 || (flow.fin_in != 0 && flow.fin_out != 0)
}

/// That an entry is gone already is as good.
fn gone(error: io::Error) -> io::Result<()> {
    if error.raw_os_error() == Some(libc::ENOENT) { Ok(()) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use enforcer_abi::{Flow, IN, OUT};

    use super::origin;
    use crate::table::Direction;

    #[test]
    fn a_listener_tells_the_origin_and_packets_do_where_nobody_listens() {
        let inbound = Flow { origin: IN, ..Flow::default() };
        let outbound = Flow { origin: OUT, ..Flow::default() };
        assert_eq!(origin(Some(outbound), true, true), Direction::In);
        assert_eq!(origin(Some(inbound), true, false), Direction::In);
        assert_eq!(origin(None, true, false), Direction::Out);
    }

    #[test]
    fn a_denied_answer_over_udp_does_not_make_its_flow_inbound() {
        let denied = Flow { origin: IN, judged: 1, ..Flow::default() };
        assert_eq!(origin(Some(denied), false, false), Direction::Out);
        assert_eq!(origin(Some(denied), true, false), Direction::In, "a denied SYN of a peer was the first packet");
    }
}
