//! Reads a set on every processor. The core can, but has no threads; here they are.

use std::sync::{Mutex, PoisonError};
use std::thread;

use policy::read::{Batch, Reading, Which, read_with};
use policy::snapshot::Snapshot;

/// Reads what [`Which::Found`] says.
#[must_use]
pub fn read(snapshot: &Snapshot) -> Reading {
    read_with(snapshot, Which::Found, on_all_processors)
}

/// Reads what [`Which::Named`] says.
#[must_use]
pub fn read_named(snapshot: &Snapshot) -> Reading {
    read_with(snapshot, Which::Named, on_all_processors)
}

/// A small set is one batch and needs no further thread.
fn on_all_processors(batches: &mut [Batch<'_>]) {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(batches.len());
    let queue = Mutex::new(batches.iter_mut());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        while let Some(batch) = next() {
            batch.run();
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            // Where no thread can be had, those there are do its part.
            drop(thread::Builder::new().name("read".to_owned()).spawn_scoped(scope, work));
        }
        work();
    });
}

#[cfg(test)]
mod tests {
    use policy::snapshot::Entry;

    use super::*;

    #[test]
    fn many_files_read_on_all_processors_say_what_they_say_one_after_another() {
        let file = |i: usize| Entry::File(format!("# {i}\nkind: {i}\n").into_bytes());
        let snapshot = Snapshot { entries: (0..3_000).map(|i| (format!("{i}.yaml"), file(i))).collect() };
        assert_eq!(read(&snapshot), policy::read::read(&snapshot));
        assert_eq!(read_named(&snapshot), policy::read::read_named(&snapshot));
    }
}
