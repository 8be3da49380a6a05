//! Many entries of a map at once.
//!
//! A batch saves a call per entry, not the work in the kernel. Which maps take batches depends on the kernel (hashes and arrays since
//! 5.6, tries later), so whatever a batch answers but success means starting over one entry at a time, and callers read back what they
//! wrote. Tries are always filled singly: bursts of batched updates run into `ENOMEM` that is none.

use std::{io, mem::MaybeUninit, os::fd::BorrowedFd, thread, time::Duration};

use aya_obj::generated::bpf_cmd;

use super::{Plain, address, attr, bpf, lookup, number, update};

/// Entries of one batched call. The kernel wants room for the fullest bucket of a hash.
const BATCH: usize = 8_192;
/// Bytes the kernel keeps its place in: a bucket's number, or a key, none of which is longer.
const CURSOR: usize = 4;
/// Tries for one entry while the kernel says it has no memory, which it says to bursts of updates too.
const MEMORY_TRIES: u32 = 6;

/// Every key and value. What others change meanwhile may be missing or seen twice.
pub(crate) fn entries<K: Plain, V: Plain>(map: BorrowedFd<'_>) -> io::Result<Vec<(K, V)>> {
    match entries_by_batch(map) {
        Ok(found) => Ok(found),
        // Not offered for this map, a bucket that is too full, or somebody who writes meanwhile.
        Err(_) => some_entries(map, usize::MAX),
    }
}

fn entries_by_batch<K: Plain, V: Plain>(map: BorrowedFd<'_>) -> io::Result<Vec<(K, V)>> {
    let mut keys = vec![MaybeUninit::<K>::zeroed(); BATCH];
    let mut values = vec![MaybeUninit::<V>::zeroed(); BATCH];
    let mut cursors = [[0_u64; CURSOR]; 2];
    let mut found = Vec::new();
    let mut begun = false;
    loop {
        let [from, to] = &mut cursors;
        let mut attr = attr();
        attr.batch.map_fd = number(map);
        attr.batch.in_batch = if begun { address(from) } else { 0 };
        attr.batch.out_batch = std::ptr::from_mut(to) as u64;
        attr.batch.keys = keys.as_mut_ptr() as u64;
        attr.batch.values = values.as_mut_ptr() as u64;
        #[expect(clippy::cast_possible_truncation, reason = "a small constant")]
        {
            attr.batch.count = BATCH as u32;
        }
        let answer = bpf(bpf_cmd::BPF_MAP_LOOKUP_BATCH, &mut attr);
        let last = match answer {
            Ok(_) => false,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
            Err(error) => return Err(error),
        };
        // SAFETY: an integer the kernel has set to how many it wrote.
        let count = unsafe { attr.batch.count } as usize;
        let pairs = keys.iter().zip(&values).take(count);
        // SAFETY: any bytes are a value of a plain type, and all were zeroed.
        found.extend(pairs.map(|(key, value)| unsafe { (key.assume_init(), value.assume_init()) }));
        if last {
            return Ok(found);
        }
        cursors.swap(0, 1);
        begun = true;
    }
}

/// [`entries`] one by one, but no more than `most`: a table that others delete from all the time may never come to its end.
pub(crate) fn some_entries<K: Plain, V: Plain>(map: BorrowedFd<'_>, most: usize) -> io::Result<Vec<(K, V)>> {
    let mut found = Vec::new();
    let mut previous: Option<K> = None;
    for _ in 0..most {
        let Some(key) = next_key(map, previous.as_ref())? else { break };
        if let Some(value) = lookup(map, &key)? {
            found.push((key, value));
        }
        previous = Some(key);
    }
    Ok(found)
}

/// More than any of our keys.
const KEY_BYTES_MAX: usize = 64;

/// How many entries a map has, at most `max`: one that changes meanwhile is not followed for ever.
pub(crate) fn count(map: BorrowedFd<'_>, key_size: u32, max: u32) -> io::Result<u64> {
    if key_size as usize > KEY_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let (mut key, mut next) = ([0_u8; KEY_BYTES_MAX], [0_u8; KEY_BYTES_MAX]);
    for entries in 0..max {
        let mut attr = attr();
        // SAFETY: plain integers are written to the field the command reads; both buffers hold a key, as checked above.
        let element = unsafe { &mut attr.__bindgen_anon_2 };
        element.map_fd = number(map);
        element.key = if entries == 0 { 0 } else { address(&key) };
        element.__bindgen_anon_1.next_key = next.as_mut_ptr() as u64;
        match bpf(bpf_cmd::BPF_MAP_GET_NEXT_KEY, &mut attr) {
            Ok(_) => key = next,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(u64::from(entries)),
            Err(error) => return Err(error),
        }
    }
    Ok(u64::from(max))
}

fn next_key<K: Plain>(map: BorrowedFd<'_>, previous: Option<&K>) -> io::Result<Option<K>> {
    let mut next = MaybeUninit::<K>::zeroed();
    let mut attr = attr();
    // SAFETY: plain integers are written to the field the command reads.
    let element = unsafe { &mut attr.__bindgen_anon_2 };
    element.map_fd = number(map);
    element.key = previous.map_or(0, address);
    element.__bindgen_anon_1.next_key = next.as_mut_ptr() as u64;
    match bpf(bpf_cmd::BPF_MAP_GET_NEXT_KEY, &mut attr) {
        // SAFETY: any bytes are a value of a plain type.
        Ok(_) => Ok(Some(unsafe { next.assume_init() })),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sets every one of `keys` to its value: in batches, and singly from where a batch ends early.
pub(crate) fn fill<K: Plain, V: Plain>(map: BorrowedFd<'_>, keys: &[K], values: &[V]) -> io::Result<()> {
    let mut rest = (keys, values);
    while !rest.0.is_empty() {
        let part = BATCH.min(rest.0.len());
        let ((keys, more_keys), (values, more_values)) = (rest.0.split_at(part), rest.1.split_at(part.min(rest.1.len())));
        if fill_batch(map, keys, values).is_err() {
            fill_singly(map, keys, values)?;
        }
        rest = (more_keys, more_values);
    }
    Ok(())
}

fn fill_batch<K: Plain, V: Plain>(map: BorrowedFd<'_>, keys: &[K], values: &[V]) -> io::Result<()> {
    let mut attr = attr();
    attr.batch.map_fd = number(map);
    attr.batch.keys = keys.as_ptr() as u64;
    attr.batch.values = values.as_ptr() as u64;
    #[expect(clippy::cast_possible_truncation, reason = "at most BATCH")]
    {
        attr.batch.count = keys.len().min(values.len()) as u32;
    }
    bpf(bpf_cmd::BPF_MAP_UPDATE_BATCH, &mut attr).map(drop)
}

/// Sets every one of `keys` to its value, one call each; waits a little where the kernel has no memory at once.
pub(crate) fn fill_singly<K: Plain, V: Plain>(map: BorrowedFd<'_>, keys: &[K], values: &[V]) -> io::Result<()> {
    keys.iter().zip(values).try_for_each(|(key, value)| patiently(|| update(map, key, value)))
}

/// Tries again, ever more slowly, while there is no memory.
fn patiently(mut work: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    let mut tries = 0;
    loop {
        match work() {
            Err(error) if error.kind() == io::ErrorKind::OutOfMemory && tries < MEMORY_TRIES => {
                thread::sleep(Duration::from_millis(1 << tries));
                tries += 1;
            }
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, io};

    use super::{MEMORY_TRIES, patiently};

    fn failing(times: u32, errno: i32) -> (io::Result<()>, u32) {
        let calls = Cell::new(0);
        let result = patiently(|| {
            calls.set(calls.get() + 1);
            if calls.get() > times { Ok(()) } else { Err(io::Error::from_raw_os_error(errno)) }
        });
        (result, calls.get())
    }

    #[test]
    fn h02_an_entry_without_memory_is_tried_again_a_few_times() {
        assert!(matches!(failing(3, libc::ENOMEM), (Ok(()), 4)));
        assert!(matches!(failing(u32::MAX, libc::ENOMEM), (Err(_), calls) if calls == MEMORY_TRIES + 1));
    }

    #[test]
    fn h02_any_other_refusal_is_final() {
        assert!(matches!(failing(1, libc::ENOSPC), (Err(_), 1)));
        assert!(matches!(failing(1, libc::E2BIG), (Err(_), 1)));
    }
}
