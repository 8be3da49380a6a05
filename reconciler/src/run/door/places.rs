//! Places for connections. There are only so many; when they are all taken, whoever has gone without an answer for longest makes room, so
//! that those who drip, from however many addresses, keep nobody out: a sender that has something to say is done in milliseconds.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

/// All of them.
#[derive(Debug, Clone)]
pub(super) struct Places {
    most: usize,
    taken: Arc<Mutex<Taken>>,
}

/// By when they were last of use: the first is the one that was not for longest.
#[derive(Debug, Default)]
struct Taken {
    next: u64,
    places: BTreeMap<u64, CancellationToken>,
}

impl Taken {
    fn enter(&mut self, lost: CancellationToken) -> u64 {
        self.next += 1;
        self.places.insert(self.next, lost);
        self.next
    }
}

/// One, until it is dropped or lost.
#[derive(Debug)]
pub(super) struct Place {
    all: Places,
    number: Mutex<u64>,
    lost: CancellationToken,
}

impl Places {
    pub(super) fn new(most: usize) -> Self {
        Self { most, taken: Arc::default() }
    }

    /// A place; somebody else loses theirs if none was free.
    pub(super) fn take(&self) -> Place {
        let lost = CancellationToken::new();
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        while taken.places.len() >= self.most.max(1) {
            let Some((_, other)) = taken.places.pop_first() else { break };
            other.cancel();
        }
        let number = Mutex::new(taken.enter(lost.clone()));
        Place { all: self.clone(), number, lost }
    }
}

impl Place {
    /// An answer was given here just now.
    pub(super) fn was_of_use(&self) {
        let mut number = self.number.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = self.all.taken.lock().unwrap_or_else(PoisonError::into_inner);
        // A place that is lost stays lost.
        if taken.places.remove(&number).is_some() {
            *number = taken.enter(self.lost.clone());
        }
    }

    /// When it is lost.
    pub(super) fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let number = *self.number.lock().unwrap_or_else(PoisonError::into_inner);
        self.all.taken.lock().unwrap_or_else(PoisonError::into_inner).places.remove(&number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_was_of_no_use_for_longest_makes_room_and_a_place_is_given_back_once() {
        let places = Places::new(2);
        let (first, second) = (places.take(), places.take());
        first.was_of_use();
        let third = places.take();
        assert!(second.lost.is_cancelled() && !first.lost.is_cancelled());
        second.was_of_use();
        drop(second);
        assert_eq!(places.taken.lock().unwrap().places.len(), 2, "what was lost is not given back a second time");
        drop((first, third));
        assert!(places.taken.lock().unwrap().places.is_empty());
    }
}
