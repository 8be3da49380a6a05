//! The pure core: what segmentation policies say, and whether PCI DSS allows it.
//!
//! A commit becomes a [`snapshot`](snapshot::Snapshot); [`read`](read::read) turns it into documents and problems;
//! [`admit`](admit::admit) judges them and is the only maker of [`Admitted`](admit::Admitted); [`compile`](compile::compile) gives a
//! [`Ruleset`](compile::Ruleset), whose `verdict` is the meaning of the set; [`lower`] says the same in a backend's words; [`diff`]
//! and [`plan`] say what must change. Everything is total and pure: no I/O, no clock, no randomness, no panic on any input. The crate
//! cannot do I/O even by mistake: it is `no_std`.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod admit;
pub mod answers;
pub mod compile;
pub mod date;
pub mod diff;
pub mod difference;
pub mod digest;
pub mod explain;
pub mod finding;
pub mod host;
pub mod lower;
pub mod model;
pub mod net;
pub mod phrase;
pub mod plan;
pub mod read;
mod roster;
pub mod rules;
pub mod select;
pub mod snapshot;
