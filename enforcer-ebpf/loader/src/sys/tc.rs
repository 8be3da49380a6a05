//! What runs in the hooks of an interface, in the order it runs: TCX programs, then clsact filters; and what XDP runs.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use aya_obj::generated::{
    XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE,
    bpf_attach_type::{BPF_TCX_EGRESS, BPF_TCX_INGRESS, BPF_XDP},
    bpf_cmd,
};

use super::{
    attr, bpf, made,
    netlink::{Netlink, attribute, attributes, text, u32_at},
    number,
};
use crate::table::Direction;

const RTM_GETTFILTER: u16 = 46;
const RTM_GETLINK: u16 = 18;
/// Size of `struct tcmsg`: its interface, handle, parent and information are at 4, 8, 12 and 16.
const TCMSG_BYTES: usize = 20;
const IFINFO_BYTES: usize = 16;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_CHAIN: u16 = 11;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_ID: u16 = 11;
const IFLA_XDP: u16 = 43;
const IFLA_XDP_PROG_ID: u16 = 4;
/// The hooks of the clsact qdisc, as parents of filters.
const CLSACT_INGRESS: u32 = 0xFFFF_FFF2;
const CLSACT_EGRESS: u32 = 0xFFFF_FFF3;

/// More programs than anybody attaches to one hook.
const PROGRAMS_MAX: usize = 64;

/// One filter of a hook's first chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) priority: u32,
    pub(crate) handle: u32,
    /// `bpf`, or the name of another classifier.
    pub(crate) kind: String,
    pub(crate) name: String,
    /// The number of its program, if it is one of `bpf` kind.
    pub(crate) program: Option<u32>,
}

/// Numbers of the TCX programs of a hook, in the order they run; none where the kernel has no TCX, or the calling thread's
/// network namespace no such interface.
pub(crate) fn tcx_programs(ifindex: u32, direction: Direction) -> io::Result<Vec<u32>> {
    let mut ids = [0_u32; PROGRAMS_MAX];
    let mut attr = attr();
    // SAFETY: plain integers are written to the fields the command reads; the array outlives the call.
    let query = unsafe { &mut attr.query };
    query.__bindgen_anon_1.target_ifindex = ifindex;
    query.attach_type = match direction {
        Direction::In => BPF_TCX_INGRESS,
        Direction::Out => BPF_TCX_EGRESS,
    } as u32;
    query.prog_ids = ids.as_mut_ptr() as u64;
    #[expect(clippy::cast_possible_truncation, reason = "it is 64")]
    {
        query.__bindgen_anon_2.prog_cnt = PROGRAMS_MAX as u32;
    }
    match bpf(bpf_cmd::BPF_PROG_QUERY, &mut attr) {
        // SAFETY: an integer the kernel has written.
        Ok(_) => Ok(ids.into_iter().take(unsafe { attr.query.__bindgen_anon_2.prog_cnt } as usize).collect()),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV | libc::EINVAL)) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Ends what `link` does, at once; its descriptors and pins stay, for nothing.
pub(crate) fn detach_link(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = attr();
    attr.link_detach.link_fd = number(link.as_fd());
    bpf(bpf_cmd::BPF_LINK_DETACH, &mut attr).map(drop)
}

/// The filters of a hook in the order they run; none where there is no clsact qdisc, or no such interface.
pub(crate) fn filters(ifindex: u32, direction: Direction) -> io::Result<Vec<Filter>> {
    let parent = match direction {
        Direction::In => CLSACT_INGRESS,
        Direction::Out => CLSACT_EGRESS,
    };
    let mut body = [0; TCMSG_BYTES];
    for (at, value) in [(4, ifindex), (12, parent)] {
        if let Some(to) = body.get_mut(at..at + 4) {
            to.copy_from_slice(&value.to_ne_bytes());
        }
    }
    let messages = match Netlink::open(0)?.dump(RTM_GETTFILTER, &body) {
        Ok(messages) => messages,
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::EINVAL)) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let ours = |body: &[u8]| u32_at(body, 4) == Some(ifindex) && u32_at(body, 12) == Some(parent);
    Ok(messages.iter().filter(|message| ours(&message.body)).filter_map(|message| filter(&message.body)).collect())
}

/// None for what only announces a priority, and for chains a filter would have to jump to.
fn filter(body: &[u8]) -> Option<Filter> {
    let (handle, info) = (u32_at(body, 8)?, u32_at(body, 16)?);
    let all = attributes(body.get(TCMSG_BYTES..)?);
    let chain = attribute(&all, TCA_CHAIN).and_then(|bytes| u32_at(bytes, 0)).unwrap_or_default();
    if handle == 0 || chain != 0 {
        return None;
    }
    let kind = attribute(&all, TCA_KIND).map(text).unwrap_or_default();
    let options = if kind == "bpf" { attributes(attribute(&all, TCA_OPTIONS).unwrap_or_default()) } else { Vec::new() };
    let name = attribute(&options, TCA_BPF_NAME).map(text).unwrap_or_default();
    let program = attribute(&options, TCA_BPF_ID).and_then(|bytes| u32_at(bytes, 0));
    Some(Filter { priority: info >> 16, handle, kind, name, program })
}

/// Has `link` run `program` from the next packet on.
pub(crate) fn update_link(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = attr();
    attr.link_update.link_fd = number(link);
    attr.link_update.__bindgen_anon_1.new_prog_fd = number(program);
    bpf(bpf_cmd::BPF_LINK_UPDATE, &mut attr).map(drop)
}

/// Attaches `program` to the XDP hook of an interface, in native mode.
pub(crate) fn attach_xdp(program: BorrowedFd<'_>, ifindex: u32) -> io::Result<OwnedFd> {
    link_xdp(program, ifindex, XDP_FLAGS_DRV_MODE)
}

/// Attaches `program` to the XDP hook of an interface, where any interface can run it, but late.
pub(crate) fn attach_xdp_generic(program: BorrowedFd<'_>, ifindex: u32) -> io::Result<OwnedFd> {
    link_xdp(program, ifindex, XDP_FLAGS_SKB_MODE)
}

fn link_xdp(program: BorrowedFd<'_>, ifindex: u32, mode: u32) -> io::Result<OwnedFd> {
    let mut attr = attr();
    attr.link_create.__bindgen_anon_1.prog_fd = number(program);
    attr.link_create.__bindgen_anon_2.target_ifindex = ifindex;
    attr.link_create.attach_type = BPF_XDP as u32;
    attr.link_create.flags = mode;
    Ok(made(bpf(bpf_cmd::BPF_LINK_CREATE, &mut attr)?))
}

/// The number of the program on an interface's XDP hook, whatever its mode.
pub(crate) fn xdp_program(ifindex: u32) -> io::Result<Option<u32>> {
    for message in Netlink::open(0)?.dump(RTM_GETLINK, &[0; IFINFO_BYTES])? {
        if u32_at(&message.body, 4) != Some(ifindex) {
            continue;
        }
        let all = attributes(message.body.get(IFINFO_BYTES..).unwrap_or_default());
        let xdp = attributes(attribute(&all, IFLA_XDP).unwrap_or_default());
        return Ok(attribute(&xdp, IFLA_XDP_PROG_ID).and_then(|bytes| u32_at(bytes, 0)).filter(|id| *id != 0));
    }
    Ok(None)
}

/// Programs of two or three instructions, to try out what the kernel takes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Small {
    /// Calls `bpf_ktime_get_coarse_ns`, and answers 0.
    ReadsCoarseClock,
    /// Answers `XDP_PASS`.
    PassesXdp,
}

impl Small {
    const fn instructions(self) -> &'static [[u8; 8]] {
        const EXIT: [u8; 8] = [0x95, 0, 0, 0, 0, 0, 0, 0];
        const ANSWER_0: [u8; 8] = [0xB7, 0, 0, 0, 0, 0, 0, 0];
        const ANSWER_2: [u8; 8] = [0xB7, 0, 0, 0, 2, 0, 0, 0];
        const CALL_160: [u8; 8] = [0x85, 0, 0, 0, 160, 0, 0, 0];
        match self {
            Self::ReadsCoarseClock => &[CALL_160, ANSWER_0, EXIT],
            Self::PassesXdp => &[ANSWER_2, EXIT],
        }
    }
}

/// Loads a small program of that type.
pub(crate) fn load(kind: u32, program: Small) -> io::Result<OwnedFd> {
    let instructions = program.instructions();
    let mut attr = attr();
    // SAFETY: plain integers are written to the fields the command reads; what they point to lives for ever.
    let wanted = unsafe { &mut attr.__bindgen_anon_3 };
    wanted.prog_type = kind;
    wanted.insns = instructions.as_ptr() as u64;
    #[expect(clippy::cast_possible_truncation, reason = "there are two or three")]
    {
        wanted.insn_cnt = instructions.len() as u32;
    }
    wanted.license = c"MIT".as_ptr() as u64;
    Ok(made(bpf(bpf_cmd::BPF_PROG_LOAD, &mut attr)?))
}
