//! The few kernel calls that aya does not offer: maps by bytes, link details, the mapped control word, interfaces.
//!
//! All `unsafe` of the crate is in this module and those below it.
#![expect(unsafe_code, reason = "bpf(2), mmap(2) and ioctl(2) take addresses; each call says why its addresses hold")]

mod interface;
mod many;
mod mapped;
pub(crate) mod netlink;
pub(crate) mod tc;

use std::{
    ffi::CString,
    io,
    mem::{MaybeUninit, zeroed},
    os::{
        fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use aya_obj::generated::{BPF_ANY, BPF_NOEXIST, bpf_attr, bpf_cmd, bpf_link_info, bpf_map_type, bpf_prog_info};
use enforcer_abi::{
    Control, Count, Event, Failsafe, Flow, FlowKey4, FlowKey6, Frag, FragKey4, FragKey6, Generation, HostKey4, HostKey6, Interval,
    NetKey4, NetKey6, Refusal, RefusalKey, Slice,
};

pub(crate) use interface::{Interface, interface, interface_name, interface_names};
pub(crate) use many::{count, entries, fill, fill_singly, some_entries};
pub(crate) use mapped::Mapped;

/// Types that are plain bytes: any bytes are a value, and no byte is padding.
///
/// # Safety
/// The implementor has neither padding nor invalid values.
pub(crate) unsafe trait Plain: Copy + PartialEq + 'static {}

macro_rules! plain {
    ($($name:ty),*) => { $(
        // SAFETY: integers, or a struct whose size `enforcer-abi` asserts to be the sum of its integers.
        unsafe impl Plain for $name {}
    )* };
}

plain!(
    u32, u64, [u64; 4], Count, Event, Failsafe, Flow, FlowKey4, FlowKey6, Frag, FragKey4, FragKey6, Generation, HostKey4, HostKey6,
    Interval, NetKey4, NetKey6, Refusal, RefusalKey, Slice
);

fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<libc::c_long> {
    // SAFETY: `attr` is a valid attribute of its full size; what its addresses point to is the caller's concern.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command as libc::c_long, std::ptr::from_mut(attr), size_of::<bpf_attr>()) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

fn attr() -> bpf_attr {
    // SAFETY: every field of the union is integers, for which zero is a value.
    unsafe { zeroed() }
}

#[expect(clippy::cast_sign_loss, reason = "an open file descriptor is not negative")]
fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd() as u32
}

fn address<T>(value: &T) -> u64 {
    std::ptr::from_ref(value) as u64
}

/// The value of `key`, if there is one.
pub(crate) fn lookup<K: Plain, V: Plain>(map: BorrowedFd<'_>, key: &K) -> io::Result<Option<V>> {
    let mut value = MaybeUninit::<V>::zeroed();
    let mut attr = attr();
    // SAFETY: plain integers are written to the field the command reads.
    let element = unsafe { &mut attr.__bindgen_anon_2 };
    element.map_fd = number(map);
    element.key = address(key);
    element.__bindgen_anon_1.value = value.as_mut_ptr() as u64;
    match bpf(bpf_cmd::BPF_MAP_LOOKUP_ELEM, &mut attr) {
        // SAFETY: any bytes are a value of a plain type.
        Ok(_) => Ok(Some(unsafe { value.assume_init() })),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sets the value of `key`.
pub(crate) fn update<K: Plain, V: Plain>(map: BorrowedFd<'_>, key: &K, value: &V) -> io::Result<()> {
    set(map, key, value, BPF_ANY)
}

/// Sets the value of `key` unless it has one; whether it had none.
pub(crate) fn insert<K: Plain, V: Plain>(map: BorrowedFd<'_>, key: &K, value: &V) -> io::Result<bool> {
    match set(map, key, value, BPF_NOEXIST) {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(false),
        done => done.map(|()| true),
    }
}

fn set<K: Plain, V: Plain>(map: BorrowedFd<'_>, key: &K, value: &V, flags: u32) -> io::Result<()> {
    let mut attr = attr();
    // SAFETY: as in `lookup`.
    let element = unsafe { &mut attr.__bindgen_anon_2 };
    element.map_fd = number(map);
    element.key = address(key);
    element.__bindgen_anon_1.value = address(value);
    element.flags = u64::from(flags);
    bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attr).map(drop)
}

/// An array of `entries` maps like `template`, which the kernel lists as `name`.
pub(crate) fn array_of_maps(name: &str, template: BorrowedFd<'_>, entries: u32) -> io::Result<OwnedFd> {
    let mut attr = attr();
    // SAFETY: plain integers are written to the fields the command reads.
    let wanted = unsafe { &mut attr.__bindgen_anon_1 };
    wanted.map_type = bpf_map_type::BPF_MAP_TYPE_ARRAY_OF_MAPS as u32;
    (wanted.key_size, wanted.value_size, wanted.max_entries) = (4, 4, entries);
    wanted.inner_map_fd = number(template);
    let (_, room) = wanted.map_name.split_last_mut().unwrap_or((&mut 0, &mut []));
    for (room, byte) in room.iter_mut().zip(name.bytes()) {
        *room = libc::c_char::from_ne_bytes([byte]);
    }
    bpf(bpf_cmd::BPF_MAP_CREATE, &mut attr).map(made)
}

/// Removes `key`.
pub(crate) fn delete<K: Plain>(map: BorrowedFd<'_>, key: &K) -> io::Result<()> {
    let mut attr = attr();
    // SAFETY: as in `lookup`.
    let element = unsafe { &mut attr.__bindgen_anon_2 };
    element.map_fd = number(map);
    element.key = address(key);
    bpf(bpf_cmd::BPF_MAP_DELETE_ELEM, &mut attr).map(drop)
}

/// The value that `bytes` begin with; none if there are too few.
pub(crate) fn read<T: Plain>(bytes: &[u8]) -> Option<T> {
    // SAFETY: as many bytes as a value has are there, at whatever alignment; any bytes are a value of a plain type.
    (bytes.len() >= size_of::<T>()).then(|| unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// What the kernel says about a TCX or XDP link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LinkDetails {
    pub(crate) program: u32,
    /// 0 once the interface is gone or the link was detached.
    pub(crate) ifindex: u32,
}

/// Opens the pinned link at `path` and asks what it links.
pub(crate) fn link_details(path: &Path) -> io::Result<LinkDetails> {
    let link = open_pin(path)?;
    // SAFETY: zero is a value of every integer in it.
    let mut info: bpf_link_info = unsafe { zeroed() };
    let mut attr = attr();
    attr.info.bpf_fd = number(link.as_fd());
    #[expect(clippy::cast_possible_truncation, reason = "the size of a struct of a few words")]
    {
        attr.info.info_len = size_of::<bpf_link_info>() as u32;
    }
    attr.info.info = std::ptr::from_mut(&mut info) as u64;
    bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    // SAFETY: integers whatever the link's type; the loader pins TCX and XDP links, where the interface is in the same place.
    let ifindex = unsafe { info.__bindgen_anon_1.tcx.ifindex };
    Ok(LinkDetails { program: info.prog_id, ifindex })
}

/// More maps than any of our programs uses.
const PROGRAM_MAPS_MAX: usize = 64;

/// Numbers of the maps a program uses, in order. Asked of a descriptor: by number it takes CAP_SYS_ADMIN.
pub(crate) fn program_maps(program: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut ids = [0_u32; PROGRAM_MAPS_MAX];
    // SAFETY: zero is a value of every integer in it.
    let mut info: bpf_prog_info = unsafe { zeroed() };
    info.map_ids = ids.as_mut_ptr() as u64;
    let mut attr = attr();
    attr.info.bpf_fd = number(program);
    #[expect(clippy::cast_possible_truncation, reason = "sizes of a small struct and array")]
    {
        info.nr_map_ids = ids.len() as u32;
        attr.info.info_len = size_of::<bpf_prog_info>() as u32;
    }
    attr.info.info = std::ptr::from_mut(&mut info) as u64;
    bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    let mut used: Vec<u32> = ids.into_iter().take(info.nr_map_ids as usize).collect();
    used.sort_unstable();
    Ok(used)
}

/// Numbers of the maps that the program pinned at `path` uses, in order.
pub(crate) fn pinned_program_maps(path: &Path) -> io::Result<Vec<u32>> {
    program_maps(open_pin(path)?.as_fd())
}

/// Opens a pinned object.
pub(crate) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = attr();
    // SAFETY: as in `lookup`; the string outlives the call.
    let object = unsafe { &mut attr.__bindgen_anon_4 };
    object.pathname = path.as_ptr() as u64;
    Ok(made(bpf(bpf_cmd::BPF_OBJ_GET, &mut attr)?))
}

/// Pins an object.
pub(crate) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = attr();
    // SAFETY: as in `lookup`; the string outlives the call.
    let pinned = unsafe { &mut attr.__bindgen_anon_4 };
    pinned.pathname = path.as_ptr() as u64;
    pinned.bpf_fd = number(object);
    bpf(bpf_cmd::BPF_OBJ_PIN, &mut attr).map(drop)
}

/// What the kernel answered to a command that makes a descriptor.
fn made(answer: libc::c_long) -> OwnedFd {
    #[expect(clippy::cast_possible_truncation, reason = "the kernel returns a file descriptor")]
    // SAFETY: the kernel has just made this descriptor for us.
    unsafe {
        OwnedFd::from_raw_fd(answer as i32)
    }
}

/// The control word, mapped. Loads and stores are single instructions, so no packet sees half a word.
#[derive(Debug)]
pub(crate) struct ControlWord {
    word: std::ptr::NonNull<AtomicU64>,
}

// SAFETY: the mapping is shared memory that is only accessed atomically.
unsafe impl Send for ControlWord {}
// SAFETY: as above.
unsafe impl Sync for ControlWord {}

const PAGE: usize = 4096;

impl ControlWord {
    pub(crate) fn map(control: BorrowedFd<'_>) -> io::Result<Self> {
        use rustix::mm::{MapFlags, ProtFlags, mmap};
        // SAFETY: a new mapping at an address of the kernel's choice; the map's one value lies at its start.
        let start = unsafe { mmap(std::ptr::null_mut(), PAGE, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, control, 0)? };
        let word = std::ptr::NonNull::new(start.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { word })
    }

    fn word(&self) -> &AtomicU64 {
        // SAFETY: mapped until drop, aligned to a page.
        unsafe { self.word.as_ref() }
    }

    pub(crate) fn load(&self) -> Control {
        Control(self.word().load(Ordering::Acquire))
    }

    pub(crate) fn store(&self, word: Control) {
        self.word().store(word.0, Ordering::Release);
    }
}

impl Drop for ControlWord {
    fn drop(&mut self) {
        // SAFETY: the mapping made by `map`, which nothing refers to any more. It cannot fail for valid arguments.
        let _ = unsafe { rustix::mm::munmap(self.word.as_ptr().cast(), PAGE) };
    }
}

/// A descriptor as the value that updates of an outer map take.
pub(crate) fn descriptor(fd: BorrowedFd<'_>) -> u32 {
    number(fd)
}

/// Moves the calling thread into a network namespace of its own, with nothing but a loopback interface.
pub(crate) fn own_network() -> io::Result<()> {
    // SAFETY: of what a thread can stop sharing, only the network changes; no file descriptor is affected.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }.map_err(io::Error::from)
}

/// The coarse monotonic clock in nanoseconds, as the programs read it.
pub(crate) fn coarse_clock() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    now.tv_sec.cast_unsigned().saturating_mul(1_000_000_000).saturating_add(now.tv_nsec.cast_unsigned())
}
