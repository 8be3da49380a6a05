//! The eBPF host firewall, as far as it can be said without a kernel.
//!
//! [`judge`] decides about one packet: which generation is in force, what the packet is ([`parse`]), whether it belongs
//! to a flow ([`flow`]), and whether a rule opens it ([`rules`]); [`tell`] adds up and tells what is refused. Maps and packets are the traits [`World`] and
//! [`Packet`]; the bin beside this library implements them with eBPF maps and `__sk_buff`, tests with plain memory.
//!
//! Invariants: the control word is read once per packet; unreadable is never allowed; no loop is unbounded, nothing
//! indexes by a value from the packet, and nothing can panic, because the verifier refuses all three.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod addr;
pub mod builtin;
pub mod check;
mod failsafe;
pub mod flow;
pub mod judge;
pub mod keys;
pub mod parse;
pub mod related;
pub mod rules;
mod tcp;
pub mod tell;
mod world;
pub mod xdp;

pub use judge::judge;
pub use parse::{Headers, Link, Packet};
pub use world::{Place, Why, World};

#[cfg(test)]
mod fake;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod telling;
