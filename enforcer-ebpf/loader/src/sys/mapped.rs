//! Arrays through memory: one copy instead of a call per element.

use std::{io, os::fd::BorrowedFd, ptr::NonNull};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::Plain;

/// The elements of an array map whose flags include `BPF_F_MMAPABLE`, as memory shared with the kernel.
#[derive(Debug)]
pub(crate) struct Mapped<V> {
    start: NonNull<V>,
    count: usize,
}

impl<V: Plain> Mapped<V> {
    /// The kernel rounds the size of an element up to this.
    const FITS: () = assert!(size_of::<V>().is_multiple_of(8) && size_of::<V>() > 0);

    /// Maps all `count` elements of `map`.
    pub(crate) fn of(map: BorrowedFd<'_>, count: usize) -> io::Result<Self> {
        let () = Self::FITS;
        let size = count.checked_mul(size_of::<V>()).ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: a new mapping at an address of the kernel's choice, which refuses more than the map has.
        let start = unsafe { mmap(std::ptr::null_mut(), size, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, map, 0)? };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { start, count })
    }

    /// A copy of all elements.
    pub(crate) fn read(&self) -> Vec<V> {
        // SAFETY: within the mapping, aligned to a page; any bytes are a value of a plain type. Volatile, as others may write.
        (0..self.count).map(|index| unsafe { self.start.add(index).read_volatile() }).collect()
    }

    /// Writes `values` from element `first` on; an error, and nothing is written, if they reach beyond the last.
    pub(crate) fn write(&self, first: usize, values: &[V]) -> io::Result<()> {
        if first.checked_add(values.len()).is_none_or(|end| end > self.count) {
            return Err(io::Error::from_raw_os_error(libc::E2BIG));
        }
        for (index, value) in (first..).zip(values) {
            // SAFETY: within the mapping, as has just been checked.
            unsafe { self.start.add(index).write_volatile(*value) };
        }
        Ok(())
    }
}

impl<V> Drop for Mapped<V> {
    fn drop(&mut self) {
        // SAFETY: the mapping made by `of`, which nothing refers to any more. It cannot fail for valid arguments.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.count * size_of::<V>()) };
    }
}
