//! The clock that programs read. The coarse one costs a nanosecond or two and came with kernel 5.11; before that the exact one is
//! called in its place, which costs some 25 more and reads the same time. Both helpers take nothing and answer nanoseconds, so
//! that exchanging one for the other is a change of one number in each call.

use std::borrow::Cow;

use aya_obj::generated::{
    bpf_func_id::{BPF_FUNC_ktime_get_coarse_ns, BPF_FUNC_ktime_get_ns},
    bpf_prog_type::BPF_PROG_TYPE_SCHED_CLS,
};

use crate::sys::tc::{Small, load};

/// Code of an instruction that calls.
const CALL: u8 = 0x85;

/// `object` for this kernel's clock.
pub(super) fn suited(object: &[u8]) -> Cow<'_, [u8]> {
    match load(BPF_PROG_TYPE_SCHED_CLS as u32, Small::ReadsCoarseClock) {
        // What the verifier says of a helper it does not know. Anything else is told when the programs are loaded.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            tracing::info!("this kernel has no coarse clock for programs; they read the exact one, which is slower");
            Cow::Owned(exact(object))
        }
        Ok(_) | Err(_) => Cow::Borrowed(object),
    }
}

/// `object` with each call of the coarse clock made one of the exact clock.
fn exact(object: &[u8]) -> Vec<u8> {
    let call = |helper: u32| {
        let [a, b, c, d] = helper.to_le_bytes();
        [CALL, 0, 0, 0, a, b, c, d]
    };
    let (coarse, exact) = (call(BPF_FUNC_ktime_get_coarse_ns as u32), call(BPF_FUNC_ktime_get_ns as u32));
    let mut object = object.to_vec();
    for instruction in object.chunks_exact_mut(coarse.len()) {
        if instruction == coarse {
            instruction.copy_from_slice(&exact);
        }
    }
    object
}

#[cfg(test)]
mod tests {
    use aya::EbpfLoader;

    use super::exact;
    use crate::object::{embedded, verify};

    #[test]
    fn h03_programs_for_kernels_without_a_coarse_clock_differ_in_their_calls_only_and_are_verified() {
        let object = exact(embedded());
        let differ = embedded().iter().zip(&object).filter(|(coarse, exact)| coarse != exact);
        let differ: Vec<_> = differ.map(|(coarse, exact)| (*coarse, *exact)).collect();
        assert!(differ.len() >= 2 && differ.iter().all(|own| *own == (160, 5)), "{differ:?}");
        let root = rustix::process::geteuid().is_root();
        assert!(root || std::env::var("CI").as_deref() != Ok("true"), "this needs root, and CI must not leave it out");
        if root {
            let mut loaded = EbpfLoader::new().load(&object).unwrap();
            verify(loaded.program_mut("tc_in_ether").unwrap()).unwrap();
        }
    }
}
