//! Only for benchmarks, never attached and not part of the product's object: makes frames differ before they enter the stack.
//!
//! Run with live frames (`BPF_F_TEST_XDP_LIVE_FRAMES`), `draw` writes the next of up to 65,536 prepared headers over the frame and
//! hands it on, so that the hooks of a real interface see as many flows as a benchmark wants.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod hooks {
    use aya_ebpf::{
        bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS},
        btf_maps::Array,
        macros::{btf_map, xdp},
        programs::XdpContext,
    };

    /// Prepared headers.
    const HEADERS: usize = 65_536;
    /// EtherType, IP header and the first 20 bytes of what it carries.
    const BYTES: usize = 42;
    /// Where they belong in a frame.
    const AT: usize = 12;

    #[btf_map(name = "headers")]
    static PREPARED: Array<[u8; 64], HEADERS> = Array::new();
    /// How many headers are used, less one (a mask); the next; and whether frames end here, which is what the generator itself costs.
    #[btf_map(name = "drawing")]
    static DRAWING: Array<u64, 3> = Array::new();

    /// Writes the next header over the frame.
    #[xdp]
    pub(crate) fn draw(ctx: XdpContext) -> u32 {
        write(&ctx).unwrap_or(XDP_ABORTED)
    }

    /// Lets everything pass: an interface takes live frames only while it has an XDP program.
    #[xdp]
    pub(crate) fn pass(_ctx: XdpContext) -> u32 {
        XDP_PASS
    }

    #[inline(always)]
    fn write(ctx: &XdpContext) -> Option<u32> {
        let mask = *DRAWING.get(0)?;
        let next = DRAWING.get_ptr_mut(1)?;
        let ends = *DRAWING.get(2)?;
        // SAFETY: a map value; benchmarks run on one CPU.
        let number = unsafe {
            *next += 1;
            *next & mask
        };
        let header = PREPARED.get(number as u32)?;
        let (start, end) = (ctx.data(), ctx.data_end());
        if start + AT + BYTES > end {
            return None;
        }
        for (index, byte) in header.iter().take(BYTES).enumerate() {
            // SAFETY: within the frame, as was just checked.
            unsafe { *((start + AT + index) as *mut u8) = *byte }
        }
        Some(if ends == 0 { XDP_PASS } else { XDP_DROP })
    }

    #[panic_handler]
    fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
        loop {}
    }
}

/// The kernel programs are built for the BPF target only.
#[cfg(not(target_arch = "bpf"))]
fn main() {}

#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"MIT\0";
