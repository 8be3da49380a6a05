//! What enforcement needs, tried out rather than guessed from a version: each map type, the programs themselves, both
//! ways to attach, in a network namespace of its own.
#![expect(clippy::wildcard_enum_match_arm, reason = "which errors a dependency has is not ours to list")]

use std::{io, thread};

use aya::{
    EbpfLoader,
    maps::{MapData, MapError},
    programs::{
        LinkOrder, ProgramError, SchedClassifier, TcAttachType,
        tc::{TcAttachOptions, qdisc_add_clsact},
    },
};
use aya_obj::generated::bpf_map_type::{
    self, BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_LPM_TRIE, BPF_MAP_TYPE_LRU_HASH, BPF_MAP_TYPE_PERCPU_ARRAY,
};
use enforcer_abi::{BPF_F_INNER_MAP, BPF_F_MMAPABLE, BPF_F_NO_PREALLOC};

use crate::{
    api::Capability,
    object::{self, EMPTY},
    sys,
};

const PRIVILEGE: &str = "run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON; in a container these must be added";
const KERNEL: &str = "use a kernel of version 5.11 or later with CONFIG_BPF_SYSCALL";

pub(crate) fn probe() -> Vec<Capability> {
    let maps: [(&'static str, bpf_map_type, u32, u32, u32); 7] = [
        ("array map", BPF_MAP_TYPE_ARRAY, 4, 8, 0),
        ("mappable array map", BPF_MAP_TYPE_ARRAY, 4, 8, BPF_F_MMAPABLE),
        ("inner array map of any size", BPF_MAP_TYPE_ARRAY, 4, 16, BPF_F_INNER_MAP),
        ("hash map", BPF_MAP_TYPE_HASH, 8, 8, 0),
        ("LPM trie map", BPF_MAP_TYPE_LPM_TRIE, 12, 8, BPF_F_NO_PREALLOC),
        ("LRU hash map", BPF_MAP_TYPE_LRU_HASH, 16, 28, 0),
        ("per-CPU array map", BPF_MAP_TYPE_PERCPU_ARRAY, 4, 16, 0),
    ];
    let mut found: Vec<Capability> =
        maps.into_iter().map(|(name, kind, key, value, flags)| answer(name, false, create(kind, key, value, flags))).collect();
    // A namespace of its own ends with its thread, and what was attached in it too.
    let attached = thread::spawn(programs).join().unwrap_or_else(|_| Vec::new());
    found.extend(attached);
    found
}

fn create(kind: bpf_map_type, key: u32, value: u32, flags: u32) -> Result<(), io::Error> {
    let wanted = aya_obj::Map::new_from_params(kind as u32, key, value, 8, flags);
    match MapData::create(wanted, "probe", None) {
        Ok(_) => Ok(()),
        Err(MapError::CreateError { io_error, .. }) => Err(io_error),
        Err(other) => Err(io::Error::other(other)),
    }
}

fn programs() -> Vec<Capability> {
    if let Err(error) = sys::own_network() {
        return vec![answer("network namespace to try attaching in", true, Err(error))];
    }
    let mut loaded = match EbpfLoader::new().load(object::embedded()) {
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
    found.push(answer("TCX links (kernel 6.6)", true, tcx));
    let clsact = qdisc_add_clsact("lo").map_err(io::Error::other);
    found.push(answer("clsact filters", !lacks_tcx, clsact));
    found
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
        Err(_) if name == "clsact filters" => "load the kernel module sch_ingress (CONFIG_NET_SCH_INGRESS)",
        Err(_) if optional => "nothing to do: filters on the clsact qdisc are used in its place",
        Err(_) => KERNEL,
    };
    Capability { name, ok, optional, detail, remedy: remedy.to_owned() }
}
