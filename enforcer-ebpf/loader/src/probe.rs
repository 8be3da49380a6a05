//! What enforcement needs, tried out rather than guessed from a version: each map type, the programs themselves, the ways to
//! attach, in a network namespace of its own. Each answer says which kernel brought what is missing. The floor is 5.10.
#![expect(clippy::wildcard_enum_match_arm, reason = "which errors a dependency has is not ours to list")]

use std::{io, os::fd::AsFd as _, thread};

use aya::{
    EbpfLoader,
    maps::{MapData, MapError},
    programs::{
        LinkOrder, ProgramError, SchedClassifier, TcAttachType,
        tc::{TcAttachOptions, qdisc_add_clsact},
    },
};
use aya_obj::generated::{
    bpf_map_type::{
        self, BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_LPM_TRIE, BPF_MAP_TYPE_LRU_HASH, BPF_MAP_TYPE_PERCPU_ARRAY,
        BPF_MAP_TYPE_RINGBUF,
    },
    bpf_prog_type::{BPF_PROG_TYPE_SCHED_CLS, BPF_PROG_TYPE_XDP},
};
use enforcer_abi::{BPF_F_INNER_MAP, BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, Interval};

use crate::{
    api::Capability,
    object::{self, EMPTY},
    sys::{self, Mapped, tc::Small},
};

const PRIVILEGE: &str = "run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON; in a container these must be added";
const FLOOR: &str = "use a kernel of version 5.10 or later with CONFIG_BPF_SYSCALL, CONFIG_BPF_JIT and CONFIG_NET_CLS_BPF; \
                     until then nftables enforces the same rules, where the backend is left to the host";

/// A map type: its name with the kernel that brought it, the type, the sizes of key and value, entries, flags.
type Wanted = (&'static str, bpf_map_type, u32, u32, u32, u32);

const MAPS: [Wanted; 7] = [
    ("array map (kernel 3.19)", BPF_MAP_TYPE_ARRAY, 4, 8, 8, 0),
    ("hash map (kernel 3.19)", BPF_MAP_TYPE_HASH, 8, 8, 8, 0),
    ("per-CPU array map (kernel 4.6)", BPF_MAP_TYPE_PERCPU_ARRAY, 4, 16, 8, 0),
    ("LRU hash map (kernel 4.10)", BPF_MAP_TYPE_LRU_HASH, 16, 28, 8, 0),
    ("LPM trie map (kernel 4.11)", BPF_MAP_TYPE_LPM_TRIE, 12, 8, 8, BPF_F_NO_PREALLOC),
    ("mappable array map (kernel 5.5)", BPF_MAP_TYPE_ARRAY, 4, 8, 8, BPF_F_MMAPABLE),
    ("ring buffer map (kernel 5.8)", BPF_MAP_TYPE_RINGBUF, 0, 0, 65_536, 0),
];

const INNER: &str = "inner array maps of any size, as memory (kernel 5.10)";
const TCX: &str = "TCX links (kernel 6.6)";
const XDP: &str = "XDP links (kernel 5.9)";
const CLOCK: &str = "coarse clock (kernel 5.11)";
const CLSACT: &str = "clsact filters (kernel 4.5)";

pub(crate) fn probe() -> Vec<Capability> {
    let try_map =
        |(name, kind, key, value, entries, flags)| answer(name, false, create(kind, key, value, entries, flags).map(drop));
    let mut found: Vec<Capability> = MAPS.into_iter().map(try_map).collect();
    found.push(answer(INNER, false, inner()));
    let clock = sys::tc::load(BPF_PROG_TYPE_SCHED_CLS as u32, Small::ReadsCoarseClock).map(drop);
    found.push(answer(CLOCK, true, clock));
    // A namespace of its own ends with its thread, and what was attached in it too.
    let attached = thread::spawn(programs).join().unwrap_or_else(|_| Vec::new());
    found.extend(attached);
    found
}

fn create(kind: bpf_map_type, key: u32, value: u32, entries: u32, flags: u32) -> io::Result<MapData> {
    let wanted = aya_obj::Map::new_from_params(kind as u32, key, value, entries, flags);
    match MapData::create(wanted, "probe", None) {
        Ok(map) => Ok(map),
        Err(MapError::CreateError { io_error, .. }) => Err(io_error),
        Err(other) => Err(io::Error::other(other)),
    }
}

/// What intervals are kept in: one array of maps takes arrays of every size, and each is written as memory.
fn inner() -> io::Result<()> {
    const COUNT: u32 = 1_000;
    let array = |entries| create(BPF_MAP_TYPE_ARRAY, 4, 16, entries, BPF_F_INNER_MAP | BPF_F_MMAPABLE);
    let (template, larger) = (array(1)?, array(COUNT)?);
    let outer = sys::array_of_maps("probe", template.fd().as_fd(), 1)?;
    sys::update(outer.as_fd(), &0_u32, &sys::descriptor(larger.fd().as_fd()))?;
    let memory = Mapped::<Interval>::of(larger.fd().as_fd(), COUNT as usize)?;
    let (last, written) = (COUNT as usize - 1, Interval { lo: 1, hi: 2, rule: 3, mode: 0 });
    memory.write(last, &[written])?;
    let found = sys::lookup(larger.fd().as_fd(), &(COUNT - 1))?;
    if found == Some(written) { Ok(()) } else { Err(io::Error::other("what is written as memory is not in the map")) }
}

fn programs() -> Vec<Capability> {
    if let Err(error) = sys::own_network() {
        return vec![answer("network namespace to try attaching in", true, Err(error))];
    }
    let mut loaded = match EbpfLoader::new().load(&object::suited(object::embedded())) {
        Ok(loaded) => loaded,
        Err(error) => return vec![answer("maps of the program", false, Err(io::Error::other(error)))],
    };
    let mut found = vec![answer("maps of the program", false, Ok(()))];
    let mut verified = Ok(());
    for (_, program) in loaded.programs_mut() {
        let result = object::verify(program);
        if verified.is_ok() {
            verified = result.map_err(io_error);
        }
    }
    found.push(answer("verifier accepts the programs", false, verified));
    let Some(Ok(empty)) = loaded.program_mut(EMPTY).map(<&mut SchedClassifier>::try_from) else { return found };
    let first = TcAttachOptions::TcxOrder(LinkOrder::first());
    let tcx = empty.attach_with_options("lo", TcAttachType::Ingress, first).map(drop).map_err(io_error);
    let lacks_tcx = tcx.is_err();
    found.push(answer(TCX, true, tcx));
    let clsact = qdisc_add_clsact("lo").map_err(io::Error::other);
    found.push(answer(CLSACT, !lacks_tcx, clsact));
    found.push(answer(XDP, true, xdp()));
    found
}

/// In generic mode, as loopback has no other; whether a driver has the native one is asked by interface, when it is attached.
fn xdp() -> io::Result<()> {
    let program = sys::tc::load(BPF_PROG_TYPE_XDP as u32, Small::PassesXdp)?;
    let loopback = sys::interface("lo")?.ok_or(io::ErrorKind::NotFound)?;
    sys::tc::attach_xdp_generic(program.as_fd(), loopback.index).map(drop)
}

fn io_error(error: ProgramError) -> io::Error {
    match error {
        ProgramError::LoadError { io_error, .. } => io_error,
        ProgramError::SyscallError(error) => error.io_error,
        other => io::Error::other(other),
    }
}

fn answer(name: &'static str, optional: bool, result: Result<(), io::Error>) -> Capability {
    let (ok, detail) = (result.is_ok(), result.as_ref().map_or_else(ToString::to_string, |()| "works".to_owned()));
    let remedy = match result {
        Ok(()) => "",
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => PRIVILEGE,
        Err(_) => match name {
            CLSACT => "load the kernel module sch_ingress (CONFIG_NET_SCH_INGRESS)",
            TCX => "nothing to do: filters on the clsact qdisc are used in its place",
            XDP => "nothing to do: what would be dropped there is dropped by TC",
            CLOCK => "nothing to do: a slower clock is used in its place",
            _ => FLOOR,
        },
    };
    Capability { name, ok, optional, detail, remedy: remedy.to_owned() }
}
