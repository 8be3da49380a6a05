//! Addresses that send bad signatures are turned away before their bodies are read.
//!
//! The table is bounded: when it is full, the entries that matter least make room, several at a time, because looking for them takes
//! the whole table and each request may come from another address. IPv6 addresses are counted by their /64, which is what one sender
//! usually has.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Bad signatures within [`WINDOW`] that block an address.
const BAD_MAX: u32 = 20;
/// Over which they are counted.
const WINDOW: Duration = Duration::from_secs(60);
/// How long an address is turned away.
const BLOCKED_FOR: Duration = Duration::from_secs(600);
/// Addresses remembered at once; about 200 KiB.
const ADDRESSES_MAX: usize = 4096;
/// Forgotten together when there are more.
const MAKE_ROOM: usize = 256;

/// Bad signatures by address.
#[derive(Default)]
pub(crate) struct Blocklist(HashMap<IpAddr, Counted>);

struct Counted {
    since: Instant,
    bad: u32,
    blocked_until: Option<Instant>,
}

impl Blocklist {
    /// How long `address` stays blocked, if it is.
    pub(crate) fn blocked(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let until = self.0.get(&sender(address))?.blocked_until?;
        until.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    /// Counts a bad signature.
    pub(crate) fn count(&mut self, address: IpAddr, now: Instant) {
        let sender = sender(address);
        if !self.0.contains_key(&sender) && self.0.len() >= ADDRESSES_MAX {
            self.make_room(now);
        }
        let fresh = Counted { since: now, bad: 0, blocked_until: None };
        let counted = self.0.entry(sender).or_insert(fresh);
        if counted.over(now) {
            *counted = Counted { since: now, bad: 0, blocked_until: None };
        }
        counted.bad += 1;
        if counted.bad >= BAD_MAX && counted.blocked_until.is_none() {
            counted.blocked_until = Some(now + BLOCKED_FOR);
        }
    }

    fn make_room(&mut self, now: Instant) {
        self.0.retain(|_, counted| !counted.over(now));
        let surplus = (self.0.len() + MAKE_ROOM).saturating_sub(ADDRESSES_MAX);
        let mut all: Vec<_> = self.0.iter().map(|(sender, counted)| (counted.weight(), *sender)).collect();
        if let Some(last) = surplus.checked_sub(1).filter(|last| *last < all.len()) {
            all.select_nth_unstable(last);
        }
        for (_, sender) in all.iter().take(surplus) {
            self.0.remove(sender);
        }
    }
}

impl Counted {
    /// Least is forgotten first: who is not blocked, has sent few, and that long ago.
    fn weight(&self) -> (Option<Instant>, u32, Instant) {
        (self.blocked_until, self.bad, self.since)
    }

    /// Neither blocked nor within its window any more.
    fn over(&self, now: Instant) -> bool {
        self.blocked_until.map_or(now.duration_since(self.since) >= WINDOW, |until| now >= until)
    }
}

fn sender(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn w10_twenty_in_a_minute_block_for_ten_minutes() {
        let (mut list, start, bad) = (Blocklist::default(), Instant::now(), address("192.0.2.1"));
        for _ in 0..19 {
            list.count(bad, start);
        }
        assert_eq!(list.blocked(bad, start), None);
        list.count(bad, start);
        assert_eq!(list.blocked(bad, start), Some(BLOCKED_FOR));
        assert_eq!(list.blocked(address("::ffff:192.0.2.1"), start), Some(BLOCKED_FOR));
        assert_eq!(list.blocked(address("192.0.2.2"), start), None);
        assert_eq!(list.blocked(bad, start + BLOCKED_FOR), None);
    }

    #[test]
    fn a_few_a_minute_never_block() {
        let (mut list, mut now, bad) = (Blocklist::default(), Instant::now(), address("192.0.2.1"));
        for _ in 0..10 {
            for _ in 0..19 {
                list.count(bad, now);
            }
            now += WINDOW;
        }
        assert_eq!(list.blocked(bad, now), None);
    }

    #[test]
    fn one_ipv6_network_is_one_sender() {
        let (mut list, now) = (Blocklist::default(), Instant::now());
        for host in 0..20 {
            list.count(address(&format!("2001:db8::{host:x}")), now);
        }
        assert!(list.blocked(address("2001:db8::ffff"), now).is_some());
        assert!(list.blocked(address("2001:db8:0:1::1"), now).is_none());
    }

    #[test]
    fn w10_the_table_is_bounded_and_keeps_those_that_are_blocked() {
        let (mut list, now, bad) = (Blocklist::default(), Instant::now(), address("192.0.2.1"));
        for _ in 0..20 {
            list.count(bad, now);
        }
        let other = |number: u32| IpAddr::V4((0x0a00_0000 + number).into());
        for sender in 0..5_000u32 {
            list.count(other(sender), now + Duration::from_millis(sender.into()));
            assert!(list.0.len() <= ADDRESSES_MAX);
        }
        assert!(list.0.len() > ADDRESSES_MAX - MAKE_ROOM);
        assert!(list.blocked(bad, now).is_some());
        assert!(!list.0.contains_key(&other(0)) && list.0.contains_key(&other(4_999)), "the oldest made room");
    }
}
