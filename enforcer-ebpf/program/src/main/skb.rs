//! `__sk_buff` as a [`Packet`].

use aya_ebpf::{EbpfContext as _, helpers::bpf_skb_load_bytes, programs::TcContext};
use enforcer_program::{Link, Packet};

use crate::words::{self, Buffer};

/// A packet at a TC hook; `ETHERNET` tells whether its bytes begin with an Ethernet header.
pub(crate) struct Skb<'a, const ETHERNET: bool>(pub(crate) &'a TcContext);

impl<const ETHERNET: bool> Skb<'_, ETHERNET> {
    /// `skb->mark`.
    #[inline(always)]
    pub(crate) fn mark(&self) -> u32 {
        // SAFETY: the context pointer is valid while the program runs.
        unsafe { (*self.0.skb.skb).mark }
    }
}

impl<const ETHERNET: bool> Packet for Skb<'_, ETHERNET> {
    #[inline(always)]
    fn length(&self) -> u32 {
        self.0.len()
    }

    #[inline(always)]
    fn segmented(&self) -> bool {
        // SAFETY: the context pointer is valid while the program runs.
        unsafe { (*self.0.skb.skb).gso_size > 0 }
    }

    #[inline(always)]
    fn link(&self) -> Link {
        // SAFETY: the context pointer is valid while the program runs.
        unsafe {
            if ETHERNET {
                Link::Ethernet { tags: (*self.0.skb.skb).vlan_present & 1 }
            } else {
                Link::None { ethertype: u16::from_be((*self.0.skb.skb).protocol as u16) }
            }
        }
    }

    #[inline(always)]
    fn interface(&self) -> u32 {
        // SAFETY: the context pointer is valid while the program runs.
        unsafe { (*self.0.skb.skb).ifindex }
    }

    #[inline(always)]
    fn bytes<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        let start = self.0.data() + at as usize;
        if start + N <= self.0.data_end() {
            // SAFETY: N bytes from there are within the packet, as the verifier sees too.
            return Some(unsafe { words::read(start) });
        }
        // What lies beyond the linear part, if anything does.
        let mut buffer = core::mem::MaybeUninit::<Buffer<N>>::uninit();
        // SAFETY: the helper writes N bytes, or fails.
        unsafe {
            let failed = bpf_skb_load_bytes(self.0.as_ptr(), at, buffer.as_mut_ptr().cast(), N as u32);
            if failed == 0 { Some(buffer.assume_init().0) } else { None }
        }
    }
}
