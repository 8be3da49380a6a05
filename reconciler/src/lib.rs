//! The shell of pci-segment: everything that touches the world.
//!
//! The pure core in the `policy` crate decides what a commit means; this crate fetches commits, asks the core, applies the answer
//! to the kernel, and records what it did. `main.rs` wires the pieces; [`converge`] is the loop's one trip.

pub mod anchor;
pub mod archive;
pub mod audit;
pub mod backend;
pub mod chain;
pub mod cli;
pub mod config;
pub mod converge;
pub mod drops;
mod fault;
pub mod forge;
pub mod metrics;
pub mod posture;
pub mod reading;
pub mod report;
pub mod run;
pub mod sandbox;
pub mod sealing;
pub mod secret;
pub mod signature;
pub mod signing;
pub mod source;
pub mod store;
pub mod tls;
pub mod usage;
