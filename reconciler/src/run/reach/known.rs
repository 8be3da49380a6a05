//! Which addresses the names of the remotes have and had.

use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// An address that is answered no more stays this long: a connection may be on its way to it, and answers rotate.
pub(super) const KEPT_FOR: SignedDuration = SignedDuration::from_hours(1);

/// One address of one remote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Resolved {
    /// Its name, or the address itself where no name is configured.
    pub host: String,
    /// The port of the remote.
    pub port: u16,
    /// What it resolved to.
    pub address: IpAddr,
    /// When it last did.
    pub seen: Timestamp,
}

/// All of them; kept in the store as JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    addresses: Vec<Resolved>,
}

impl Known {
    #[cfg(test)]
    pub(super) fn of(addresses: Vec<Resolved>) -> Self {
        Self { addresses }
    }

    /// Takes an answer in. A remote without an answer keeps what it had, however old: that is all there is. What is no remote any
    /// more goes.
    pub(super) fn take(&mut self, answer: Vec<Resolved>, remotes: &[(String, u16)], now: Timestamp) {
        let same = |a: &Resolved, b: &Resolved| a.host == b.host && a.port == b.port;
        self.addresses.retain(|old| {
            let wanted = remotes.iter().any(|(host, port)| *host == old.host && *port == old.port);
            let answered = answer.iter().any(|new| same(new, old));
            let again = answer.iter().any(|new| same(new, old) && new.address == old.address);
            wanted && !again && (!answered || now.duration_since(old.seen) < KEPT_FOR)
        });
        self.addresses.extend(answer);
    }

    /// Whether every remote has an address.
    pub(super) fn covers(&self, remotes: &[(String, u16)]) -> bool {
        remotes.iter().all(|(host, port)| self.addresses.iter().any(|one| one.host == *host && one.port == *port))
    }

    /// What was answered last comes first.
    pub(super) fn newest_first(&self) -> Vec<&Resolved> {
        let mut list: Vec<&Resolved> = self.addresses.iter().collect();
        list.sort_by_key(|one| std::cmp::Reverse(one.seen));
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + minute * 60).unwrap()
    }

    fn found(last: u8, minute: i64) -> Resolved {
        Resolved { host: "git.example".to_owned(), port: 443, address: [192, 0, 2, last].into(), seen: at(minute) }
    }

    fn remotes() -> Vec<(String, u16)> {
        vec![("git.example".to_owned(), 443)]
    }

    #[test]
    fn an_address_stays_for_an_hour_after_it_was_last_answered() {
        let mut known = Known::of(vec![found(1, 0)]);
        known.take(vec![found(2, 59)], &remotes(), at(59));
        assert_eq!(known, Known::of(vec![found(1, 0), found(2, 59)]));
        known.take(vec![found(2, 60)], &remotes(), at(60));
        assert_eq!(known, Known::of(vec![found(2, 60)]));
    }

    #[test]
    fn without_an_answer_nothing_is_forgotten() {
        let mut known = Known::of(vec![found(1, 0)]);
        known.take(Vec::new(), &remotes(), at(100_000));
        assert_eq!(known, Known::of(vec![found(1, 0)]));
        assert!(known.covers(&remotes()));
    }

    #[test]
    fn what_is_no_remote_any_more_goes() {
        let mut known = Known::of(vec![found(1, 0)]);
        known.take(Vec::new(), &[("other.example".to_owned(), 443)], at(1));
        assert_eq!(known, Known::default());
    }
}
