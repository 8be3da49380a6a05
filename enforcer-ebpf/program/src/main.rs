//! The hooks, and the maps behind [`enforcer_program::World`].
//!
//! Each enforcing TC hook exists for links with an Ethernet header and for links without (tun, WireGuard). `check_in` and
//! `check_out` are never attached: they judge one packet by the slot named in `skb->mark`.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
// The target has no type for atomic addition, only the instruction.
#![cfg_attr(target_arch = "bpf", expect(internal_features, reason = "`AtomicU64::fetch_add` does not exist for this target"))]
#![cfg_attr(target_arch = "bpf", feature(core_intrinsics, asm_experimental_arch))]

#[cfg(target_arch = "bpf")]
#[path = "main/frame.rs"]
mod frame;
#[cfg(target_arch = "bpf")]
#[path = "main/maps.rs"]
mod maps;
#[cfg(target_arch = "bpf")]
#[path = "main/skb.rs"]
mod skb;
#[cfg(target_arch = "bpf")]
#[path = "main/words.rs"]
mod words;

#[cfg(target_arch = "bpf")]
mod hooks {
    use aya_ebpf::{
        bindings::xdp_action,
        macros::{classifier, xdp},
        programs::{TcContext, XdpContext},
    };
    use enforcer_abi::{Hook, IN, OUT};
    use enforcer_program::{Packet as _, check::check, judge, xdp::goes_on};

    use crate::{frame::Frame, maps::Maps, skb::Skb};

    /// Go on to whatever else is attached (`TCX_NEXT`, `TC_ACT_UNSPEC`).
    const NEXT: i32 = -1;
    /// Drop (`TCX_DROP`, `TC_ACT_SHOT`).
    const DROP: i32 = 2;

    #[inline(always)]
    fn enforce<const ETHERNET: bool>(ctx: &TcContext, dir: u8, hook: Hook) -> i32 {
        let packet = Skb::<ETHERNET>(ctx);
        let maps = Maps { hook, bytes: ctx.len() };
        if judge(&maps, &packet, dir) { NEXT } else { DROP }
    }

    #[inline(always)]
    fn try_out(ctx: &TcContext, dir: u8) -> i32 {
        let packet = Skb::<true>(ctx);
        let maps = Maps { hook: Hook::TcIn, bytes: 0 };
        check(&maps, &packet, dir, packet.mark()) as i32
    }

    /// Ingress of links with an Ethernet header.
    #[classifier]
    #[inline(always)]
    pub(crate) fn tc_in_ether(ctx: TcContext) -> i32 {
        enforce::<true>(&ctx, IN, Hook::TcIn)
    }

    /// Egress of links with an Ethernet header.
    #[classifier]
    #[inline(always)]
    pub(crate) fn tc_out_ether(ctx: TcContext) -> i32 {
        enforce::<true>(&ctx, OUT, Hook::TcOut)
    }

    /// Ingress of links without.
    #[classifier]
    #[inline(always)]
    pub(crate) fn tc_in_plain(ctx: TcContext) -> i32 {
        enforce::<false>(&ctx, IN, Hook::TcIn)
    }

    /// Egress of links without.
    #[classifier]
    #[inline(always)]
    pub(crate) fn tc_out_plain(ctx: TcContext) -> i32 {
        enforce::<false>(&ctx, OUT, Hook::TcOut)
    }

    /// Before TC, on links with an Ethernet header: what TC would drop anyway.
    #[xdp]
    #[inline(always)]
    pub(crate) fn xdp_in(ctx: XdpContext) -> u32 {
        let frame = Frame(&ctx);
        let maps = Maps { hook: Hook::Xdp, bytes: frame.length() };
        if goes_on(&maps, &frame) { xdp_action::XDP_PASS } else { xdp_action::XDP_DROP }
    }

    /// Inbound, by the slot in the mark.
    #[classifier]
    #[inline(always)]
    pub(crate) fn check_in(ctx: TcContext) -> i32 {
        try_out(&ctx, IN)
    }

    /// Outbound, by the slot in the mark.
    #[classifier]
    #[inline(always)]
    pub(crate) fn check_out(ctx: TcContext) -> i32 {
        try_out(&ctx, OUT)
    }

    /// Nothing: what benchmarks subtract.
    #[classifier]
    #[inline(always)]
    pub(crate) fn empty(_ctx: TcContext) -> i32 {
        NEXT
    }

    #[panic_handler]
    fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
        loop {}
    }
}

/// The kernel programs are built for the BPF target only.
#[cfg(not(target_arch = "bpf"))]
fn main() {}

/// No helper the program calls is reserved to programs under the GPL.
#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"MIT\0";
