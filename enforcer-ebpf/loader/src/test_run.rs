//! Running programs on packets that are not on any wire (`BPF_PROG_TEST_RUN`).

use aya::{
    TestRun as _,
    programs::{SchedClassifier, TestRunOptions, Xdp},
};
use aya_obj::programs::XdpAttachType;
use enforcer_abi::{Reason, Verdict};

use crate::{
    api::{Checked, Timed},
    error::Error,
    object::{self, CHECK_IN, CHECK_OUT, EMPTY, XDP_IN},
    pin::Layout,
    table::Direction,
};

/// What the programs answer for a packet that goes no further: `TC_ACT_SHOT` and `XDP_DROP`.
const TC_DROP: u32 = 2;
const XDP_DROP: u32 = 1;

/// Size of `__sk_buff`, and where its mark lies.
const CONTEXT_BYTES: usize = 192;
const MARK: usize = 8;

/// The two check programs, opened once.
#[derive(Debug)]
pub struct Checker {
    inbound: SchedClassifier,
    outbound: SchedClassifier,
}

impl Checker {
    pub(crate) fn open(layout: &Layout) -> Result<Self, Error> {
        Ok(Self { inbound: object::program(layout, CHECK_IN)?, outbound: object::program(layout, CHECK_OUT)? })
    }

    /// What the rules of `slot` say about `packet`, which begins with its Ethernet header.
    ///
    /// # Errors
    /// If the kernel refuses to run the program.
    pub fn check(&self, direction: Direction, slot: u32, packet: &[u8]) -> Result<Checked, Error> {
        let program = match direction {
            Direction::In => &self.inbound,
            Direction::Out => &self.outbound,
        };
        let (answer, _) = run(program, slot, packet, 1)?;
        Ok(decode(answer))
    }
}

pub(crate) fn check(layout: &Layout, direction: Direction, slot: u32, packet: &[u8]) -> Result<Checked, Error> {
    Checker::open(layout)?.check(direction, slot, packet)
}

pub(crate) fn time(layout: &Layout, timed: Timed, slot: u32, packet: &[u8], repeat: u32) -> Result<u32, Error> {
    let name = match timed {
        Timed::Enforcing(Direction::In) => "tc_in_ether",
        Timed::Enforcing(Direction::Out) => "tc_out_ether",
        Timed::Check(Direction::In) => CHECK_IN,
        Timed::Check(Direction::Out) => CHECK_OUT,
        Timed::Empty => EMPTY,
    };
    let (_, nanoseconds) = run(&object::program(layout, name)?, slot, packet, repeat)?;
    Ok(nanoseconds)
}

/// Runs an enforcing program of a link with an Ethernet header on `packet`.
pub(crate) fn passes(layout: &Layout, direction: Direction, packet: &[u8]) -> Result<bool, Error> {
    let name = match direction {
        Direction::In => "tc_in_ether",
        Direction::Out => "tc_out_ether",
    };
    let (answer, _) = run(&object::program(layout, name)?, 0, packet, 1)?;
    Ok(answer != TC_DROP)
}

/// Runs the XDP program on `packet`.
pub(crate) fn passes_early(layout: &Layout, packet: &[u8]) -> Result<bool, Error> {
    let program =
        Xdp::from_pin(layout.prog(XDP_IN), XdpAttachType::Interface).map_err(|error| object::program_error(XDP_IN, error))?;
    let options = TestRunOptions { data_in: Some(packet), ..TestRunOptions::new() };
    let result = program.test_run(options).map_err(|error| object::program_error(XDP_IN, error))?;
    Ok(result.return_value != XDP_DROP)
}

fn run(program: &SchedClassifier, slot: u32, packet: &[u8], repeat: u32) -> Result<(u32, u32), Error> {
    let mut context = [0_u8; CONTEXT_BYTES];
    if let Some(mark) = context.get_mut(MARK..MARK + 4) {
        mark.copy_from_slice(&slot.to_ne_bytes());
    }
    let options = TestRunOptions { data_in: Some(packet), ctx_in: Some(&context), repeat, ..TestRunOptions::new() };
    let result = program.test_run(options).map_err(|error| object::program_error("under test", error))?;
    let nanoseconds = u32::try_from(result.duration.as_nanos()).unwrap_or(u32::MAX);
    Ok((result.return_value, nanoseconds))
}

fn decode(answer: u32) -> Checked {
    let [verdict, reason, rule @ ..] = answer.to_le_bytes();
    Checked {
        passes: verdict != Verdict::Drop as u8,
        would_drop: verdict == Verdict::WouldDrop as u8,
        reason: Reason::ALL.get(usize::from(reason)).map_or("unknown", |reason| reason.label()),
        rule: u32::from(u16::from_le_bytes(rule)),
    }
}
