//! Packets that are tried on the programs of this host; no interface sees them.

use enforcer_abi::SLOTS;

use super::Enforcer;
use crate::{
    api::{Checked, Timed},
    error::Error,
    object,
    table::Direction,
    test_run,
};

impl Enforcer {
    /// Runs `packet` (with its Ethernet header) past the rules of `slot`, or of the generation in force, without
    /// touching any flow.
    ///
    /// # Errors
    /// If the kernel refuses to run the program.
    pub fn check(&self, direction: Direction, slot: Option<u32>, packet: &[u8]) -> Result<Checked, Error> {
        let slot = slot.unwrap_or_else(|| self.generations.judging().0) % SLOTS;
        test_run::check(&self.layout, direction, slot, packet)
    }

    /// Opens the two check programs once, for many packets.
    ///
    /// # Errors
    /// If they are not pinned.
    pub fn checker(&self) -> Result<test_run::Checker, Error> {
        test_run::Checker::open(&self.layout)
    }

    /// Nanoseconds one run of a program takes on `packet`, as the mean of `repeat` runs. The enforcing programs remember
    /// its flow.
    ///
    /// # Errors
    /// If the kernel refuses to run the program.
    pub fn time(&self, timed: Timed, packet: &[u8], repeat: u32) -> Result<u32, Error> {
        test_run::time(&self.layout, timed, self.generations.judging().0, packet, repeat)
    }

    /// Whether the enforcing program of `direction` lets `packet` (with its Ethernet header) pass; it remembers the flow.
    ///
    /// # Errors
    /// If the kernel refuses to run the program.
    pub fn passes(&self, direction: Direction, packet: &[u8]) -> Result<bool, Error> {
        test_run::passes(&self.layout, direction, packet)
    }

    /// Whether the program that drops early, which is loaded if it is not, lets `packet` go on to the enforcing one.
    ///
    /// # Errors
    /// If the kernel refuses to load or run the program.
    pub fn passes_early(&self, packet: &[u8]) -> Result<bool, Error> {
        object::ensure(&self.layout, &self.object, object::XDP_IN)?;
        test_run::passes_early(&self.layout, packet)
    }
}
