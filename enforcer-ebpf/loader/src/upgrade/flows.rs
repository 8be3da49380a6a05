//! Copying what is remembered about live traffic.

use std::os::fd::{AsFd as _, BorrowedFd};

use enforcer_abi::{Flow, FlowKey4, FlowKey6, Frag, FragKey4, FragKey6};

use crate::{
    error::Error,
    object,
    pin::Layout,
    sys::{self, Plain},
};

/// Names, and sizes of keys and values.
pub(super) const SIZES: [(&str, u32, u32); 8] = [
    ("tcp4", 16, 28),
    ("half4", 16, 28),
    ("other4", 16, 28),
    ("tcp6", 40, 28),
    ("half6", 40, 28),
    ("other6", 40, 28),
    ("frags4", 12, 8),
    ("frags6", 40, 8),
];

/// Which entries are copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copy {
    /// Those that differ: while nothing but the copy is written.
    Newer,
    /// Those that are not there: while the new program writes its own.
    Missing,
}

/// Copies the entries of every table from `old` to `new`.
pub(super) fn copy(old: &Layout, new: &Layout, which: Copy) -> Result<(), Error> {
    for (name, key, value) in SIZES {
        let (from, to) = (object::map(old, name)?, object::map(new, name)?);
        let (from, to) = (from.fd().as_fd(), to.fd().as_fd());
        let copied = match (key, value) {
            (16, _) => entries::<FlowKey4, Flow>(from, to, which),
            (40, 28) => entries::<FlowKey6, Flow>(from, to, which),
            (12, _) => entries::<FragKey4, Frag>(from, to, which),
            _ => entries::<FragKey6, Frag>(from, to, which),
        };
        copied.map_err(|error| Error::kernel(format!("copy the entries of {name}"), error))?;
    }
    Ok(())
}

fn entries<K: Plain, V: Plain>(from: BorrowedFd<'_>, to: BorrowedFd<'_>, which: Copy) -> std::io::Result<()> {
    for (key, value) in sys::entries::<K, V>(from)? {
        match which {
            Copy::Newer if sys::lookup(to, &key)? == Some(value) => {}
            Copy::Newer => sys::update(to, &key, &value)?,
            Copy::Missing => drop(sys::insert(to, &key, &value)?),
        }
    }
    Ok(())
}
