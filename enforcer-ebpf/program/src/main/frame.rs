//! `xdp_md` as a [`Packet`].

use aya_ebpf::programs::XdpContext;
use enforcer_program::{Link, Packet};

use crate::words;

/// A frame at the XDP hook: all of it lies in one piece, and tags the card took off are not seen.
pub(crate) struct Frame<'a>(pub(crate) &'a XdpContext);

impl Packet for Frame<'_> {
    #[inline(always)]
    fn length(&self) -> u32 {
        (self.0.data_end() - self.0.data()) as u32
    }

    #[inline(always)]
    fn segmented(&self) -> bool {
        false
    }

    #[inline(always)]
    fn link(&self) -> Link {
        Link::Ethernet { tags: 0 }
    }

    #[inline(always)]
    fn interface(&self) -> u32 {
        self.0.ingress_ifindex() as u32
    }

    #[inline(always)]
    fn bytes<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        let start = self.0.data() + at as usize;
        if start + N > self.0.data_end() {
            return None;
        }
        // SAFETY: N bytes from there are within the frame, as the verifier sees too.
        Some(unsafe { words::read(start) })
    }
}
