//! The maps, and [`World`] on top of them.

use core::{arch::asm, cell::Cell, intrinsics::AtomicOrdering};

use aya_ebpf::{
    bindings::{BPF_NOEXIST, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    btf_maps::{Array, ArrayOfMaps, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf, lpm_trie},
    helpers::bpf_ktime_get_coarse_ns,
    macros::btf_map,
};
use enforcer_abi::{
    BPF_F_INNER_MAP, BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, Bucket, COUNTS, Control, Count, EVENTS_BYTES, Event, FAILSAFE_MAX, Flow,
    Frag, Generation, Hook, Interval, REFUSALS_MAX, RULE_ID_MAX, Refusal, RefusalKey, SLOTS, Slice, V4, Verdict, count_index,
    ticks,
};
use enforcer_program::{
    Headers, Place, Why, World,
    addr::Addr,
    flow::{Ends, Live},
    keys,
    rules::{Allowed, search},
    tell::{Purse, Tally},
};

const ANY: u64 = 0;
const NO_PREALLOC: usize = BPF_F_NO_PREALLOC as usize;
const FOUR: usize = SLOTS as usize;

type Hosts4 = HashMap<keys::Host4, Slice, 1>;
type Hosts6 = HashMap<keys::Host6, Slice, 1>;
type Nets4 = LpmTrie<keys::Host4, Slice, 1, NO_PREALLOC>;
type Nets6 = LpmTrie<keys::Host6, Slice, 1, NO_PREALLOC>;
type Intervals = Array<Interval, 1, { (BPF_F_INNER_MAP | BPF_F_MMAPABLE) as usize }>;

#[btf_map(name = "control")]
static CONTROL: Array<u64, 1, { BPF_F_MMAPABLE as usize }> = Array::new();
#[btf_map(name = "generations")]
static GENERATIONS: Array<Generation, FOUR> = Array::new();
#[btf_map(name = "hosts4")]
static HOSTS4: ArrayOfMaps<Hosts4, FOUR> = ArrayOfMaps::new();
#[btf_map(name = "hosts6")]
static HOSTS6: ArrayOfMaps<Hosts6, FOUR> = ArrayOfMaps::new();
#[btf_map(name = "nets4")]
static NETS4: ArrayOfMaps<Nets4, FOUR> = ArrayOfMaps::new();
#[btf_map(name = "nets6")]
static NETS6: ArrayOfMaps<Nets6, FOUR> = ArrayOfMaps::new();
#[btf_map(name = "intervals")]
static INTERVALS: ArrayOfMaps<Intervals, FOUR> = ArrayOfMaps::new();
#[btf_map(name = "tcp4")]
static TCP4: LruHashMap<keys::Flow4, Flow, 131_072> = LruHashMap::new();
#[btf_map(name = "tcp6")]
static TCP6: LruHashMap<keys::Flow6, Flow, 32_768> = LruHashMap::new();
#[btf_map(name = "half4")]
static HALF4: LruHashMap<keys::Flow4, Flow, 32_768> = LruHashMap::new();
#[btf_map(name = "half6")]
static HALF6: LruHashMap<keys::Flow6, Flow, 16_384> = LruHashMap::new();
#[btf_map(name = "other4")]
static OTHER4: LruHashMap<keys::Flow4, Flow, 32_768> = LruHashMap::new();
#[btf_map(name = "other6")]
static OTHER6: LruHashMap<keys::Flow6, Flow, 16_384> = LruHashMap::new();
#[btf_map(name = "frags4")]
static FRAGS4: LruHashMap<keys::Frag4, Frag, 8_192> = LruHashMap::new();
#[btf_map(name = "frags6")]
static FRAGS6: LruHashMap<keys::Frag6, Frag, 4_096> = LruHashMap::new();
#[btf_map(name = "failsafe")]
static FAILSAFE: LpmTrie<keys::Failsafe, u32, { FAILSAFE_MAX as usize }, NO_PREALLOC> = LpmTrie::new();
#[btf_map(name = "counts")]
static COUNTERS: PerCpuArray<Count, { COUNTS as usize }> = PerCpuArray::new();
#[btf_map(name = "rule_flows")]
static RULE_FLOWS: PerCpuArray<u64, { RULE_ID_MAX as usize + 1 }> = PerCpuArray::new();

#[btf_map(name = "refusals")]
static REFUSALS: LruHashMap<RefusalKey, Refusal, { REFUSALS_MAX as usize }> = LruHashMap::new();
#[btf_map(name = "bucket")]
static BUCKET: PerCpuArray<Bucket, 1> = PerCpuArray::new();
#[btf_map(name = "events")]
static EVENTS: RingBuf<Event, { EVENTS_BYTES as usize }> = RingBuf::new();

/// A datagram's fragments arrive within this, or not at all (RFC 791, RFC 8200 allow 60 s; Linux keeps 30).
const FRAGMENTS_LIFE: u32 = ticks(30);

/// The maps, as one packet of `bytes` bytes sees them from `hook`.
pub(crate) struct Maps {
    pub(crate) hook: Hook,
    pub(crate) bytes: u32,
}

/// The search, as a function that stays one: the verifier looks at a global function once and believes it of any arguments, while
/// inlined it was most of what there was to look at, once for each way that leads here. Arguments can only be numbers.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn search_intervals(slot: u64, first: u64, len: u64, service: u64) -> u64 {
    let Some(intervals) = INTERVALS.get(slot as u32) else { return Allowed::no().packed() };
    let slice = Slice { first: first as u32, len: len as u32 };
    search(|index| intervals.get(index), slice, service as u32).packed()
}

impl World for Maps {
    #[inline(always)]
    fn control(&self) -> Control {
        // SAFETY: the pointer is to a map value, which outlives the program run. Volatile, because userspace stores to
        // it at any time.
        Control(CONTROL.get_ptr(0).map_or(0, |word| unsafe { word.read_volatile() }))
    }

    #[inline(always)]
    fn clock(&self) -> u64 {
        // SAFETY: the helper has no precondition.
        unsafe { bpf_ktime_get_coarse_ns() }
    }

    #[inline(always)]
    fn generation(&self, slot: u32) -> Option<&Generation> {
        GENERATIONS.get(slot)
    }

    #[inline(always)]
    fn slice(&self, slot: u32, family: u8, dir: u8, peer: &Addr) -> Option<Slice> {
        if family == V4 {
            let key = keys::host4(dir, peer);
            // SAFETY: hosts of a slot are written only while no packet is judged by it.
            if let Some(slice) = HOSTS4.get(slot).and_then(|hosts| unsafe { hosts.get(&key) }) {
                return Some(*slice);
            }
            NETS4.get(slot)?.get(&lpm_trie::Key::new(32 + 32, key)).copied()
        } else {
            let key = keys::host6(dir, peer);
            // SAFETY: as above.
            if let Some(slice) = HOSTS6.get(slot).and_then(|hosts| unsafe { hosts.get(&key) }) {
                return Some(*slice);
            }
            NETS6.get(slot)?.get(&lpm_trie::Key::new(32 + 128, key)).copied()
        }
    }

    #[inline(always)]
    fn any(&self, generation: &Generation, index: usize) -> Slice {
        // The compiler knows that the index is within bounds, and would leave out the mask by which the verifier knows it. No
        // arithmetic hides it: verifiers before 5.11 know nothing of bounds behind an exclusive or, which is what it made of it.
        let mut index = index as u64;
        // SAFETY: one instruction, on its own operand.
        unsafe { asm!("{0} &= 3", inout(reg) index, options(pure, nomem, nostack)) };
        // SAFETY: masked to the four there are.
        unsafe { *generation.any.get_unchecked(index as usize) }
    }

    #[inline(always)]
    fn search(&self, slot: u32, slice: Slice, service: u32) -> Allowed {
        let Slice { first, len } = slice;
        Allowed::unpacked(search_intervals(slot.into(), first.into(), len.into(), service.into()))
    }

    #[inline(always)]
    fn flow(&self, place: Place, ends: &Ends) -> Option<&Live> {
        let found = if ends.family == V4 {
            let key = keys::flow4(ends);
            match place {
                Place::Tcp => TCP4.get_ptr(&key),
                Place::Half => HALF4.get_ptr(&key),
                Place::Other => OTHER4.get_ptr(&key),
            }
        } else {
            let key = keys::flow6(ends);
            match place {
                Place::Tcp => TCP6.get_ptr(&key),
                Place::Half => HALF6.get_ptr(&key),
                Place::Other => OTHER6.get_ptr(&key),
            }
        };
        // SAFETY: `Live` has the layout of `Flow`, asserted where it is defined, and every access to it is one load or
        // store. An entry evicted meanwhile stays readable until the program returns.
        found.map(|flow| unsafe { &*flow.cast::<Live>() })
    }

    #[inline(always)]
    fn keep(&self, place: Place, ends: &Ends, flow: &Flow) -> bool {
        let kept = if ends.family == V4 {
            let key = keys::flow4(ends);
            match place {
                Place::Tcp => TCP4.insert(&key, flow, ANY),
                Place::Half => HALF4.insert(&key, flow, ANY),
                Place::Other => OTHER4.insert(&key, flow, ANY),
            }
        } else {
            let key = keys::flow6(ends);
            match place {
                Place::Tcp => TCP6.insert(&key, flow, ANY),
                Place::Half => HALF6.insert(&key, flow, ANY),
                Place::Other => OTHER6.insert(&key, flow, ANY),
            }
        };
        kept.is_ok()
    }

    #[inline(always)]
    fn forget(&self, place: Place, ends: &Ends) {
        // That there was nothing to forget is as good.
        let _ = if ends.family == V4 {
            let key = keys::flow4(ends);
            match place {
                Place::Tcp => TCP4.remove(&key),
                Place::Half => HALF4.remove(&key),
                Place::Other => OTHER4.remove(&key),
            }
        } else {
            let key = keys::flow6(ends);
            match place {
                Place::Tcp => TCP6.remove(&key),
                Place::Half => HALF6.remove(&key),
                Place::Other => OTHER6.remove(&key),
            }
        };
    }

    #[inline(always)]
    fn fragment_passed(&self, headers: &Headers, dir: u8, epoch: u32, now: u32) -> bool {
        let found = if headers.family == V4 {
            FRAGS4.get_ptr(&keys::frag4(headers, dir))
        } else {
            FRAGS6.get_ptr(&keys::frag6(headers, dir))
        };
        // SAFETY: a map value, readable until the program returns.
        found.is_some_and(|frag| unsafe { (*frag).epoch == epoch && now.wrapping_sub((*frag).last) < FRAGMENTS_LIFE })
    }

    #[inline(always)]
    fn keep_fragment(&self, headers: &Headers, dir: u8, epoch: u32, now: u32) {
        let frag = Frag { epoch, last: now };
        // Without an entry the rest of the datagram is refused, which is the safe side.
        let _ = if headers.family == V4 {
            FRAGS4.insert(&keys::frag4(headers, dir), &frag, ANY)
        } else {
            FRAGS6.insert(&keys::frag6(headers, dir), &frag, ANY)
        };
    }

    #[inline(always)]
    fn failsafe(&self, ends: &Ends, origin: u8) -> bool {
        let width = if ends.family == V4 { 32 } else { 128 };
        FAILSAFE.get(&lpm_trie::Key::new(32 + width, keys::failsafe(ends, origin))).is_some()
    }

    #[inline(always)]
    fn count(&self, family: u8, verdict: Verdict, why: Why) {
        if let Some(count) = COUNTERS.get_ptr_mut(count_index(self.hook, family, verdict, why.number())) {
            // SAFETY: this CPU's own value; a hook never interrupts itself on one CPU.
            unsafe {
                (*count).packets += 1;
                (*count).bytes += u64::from(self.bytes);
            }
        }
    }

    #[inline(always)]
    fn count_rule(&self, rule: u32) {
        if let Some(count) = RULE_FLOWS.get_ptr_mut(rule) {
            // SAFETY: this CPU's own value.
            unsafe { *count += 1 }
        }
    }

    #[inline(always)]
    fn hook(&self) -> Hook {
        self.hook
    }

    #[inline(always)]
    fn tally(&self, key: &RefusalKey) -> Option<&Tally> {
        // SAFETY: `Tally` has the layout of `Refusal`, asserted where it is defined, and every access to it is one load, store
        // or atomic addition. An entry evicted meanwhile stays readable until the program returns.
        REFUSALS.get_ptr(key).map(|refusal| unsafe { &*refusal.cast::<Tally>() })
    }

    #[inline(always)]
    fn keep_tally(&self, key: &RefusalKey, fresh: &Refusal) {
        // Whether another CPU was faster, or the table took none, shows when it is looked up.
        let _ = REFUSALS.insert(key, fresh, u64::from(BPF_NOEXIST));
    }

    #[inline(always)]
    fn add(&self, count: &Cell<u64>) {
        // SAFETY: a map value, aligned to 8 bytes, that other CPUs too only add to.
        unsafe { core::intrinsics::atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(count.as_ptr(), 1) };
    }

    #[inline(always)]
    fn purse(&self) -> Option<&Purse> {
        // SAFETY: `Purse` has the layout of `Bucket`, asserted where it is defined; this CPU's own value.
        BUCKET.get_ptr(0).map(|bucket| unsafe { &*bucket.cast::<Purse>() })
    }

    #[inline(always)]
    fn publish(&self, event: &Event, wake: bool) -> bool {
        let Some(mut record) = EVENTS.reserve(0) else { return false };
        record.write(*event);
        record.submit(u64::from(if wake { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP }));
        true
    }
}
