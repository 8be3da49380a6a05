//! Packet bytes by whole words: left to itself the compiler, which does not know how a packet is aligned, reads each byte
//! alone.

/// A buffer that a helper fills, read by words too.
#[repr(C, align(8))]
pub(crate) struct Buffer<const N: usize>(pub(crate) [u8; N]);

/// The `N` bytes at `start`.
///
/// # Safety
/// All of them are within the packet. IP headers need not lie on a word's boundary; kernels that run this program (x86-64,
/// arm64) load words from anywhere in a packet.
#[inline(always)]
pub(crate) unsafe fn read<const N: usize>(start: usize) -> [u8; N] {
    let mut bytes = [0; N];
    let (words, rest) = bytes.as_chunks_mut::<4>();
    for (n, word) in words.iter_mut().enumerate() {
        // SAFETY: as promised by the caller.
        *word = unsafe { ((start + n * 4) as *const u32).read() }.to_ne_bytes();
    }
    let (halves, _) = rest.as_chunks_mut::<2>();
    for half in halves {
        // SAFETY: as above; no header has an odd number of bytes.
        *half = unsafe { ((start + N / 4 * 4) as *const u16).read() }.to_ne_bytes();
    }
    const { assert!(N % 2 == 0) };
    bytes
}
