//! The pure core: what segmentation policies say, and whether PCI DSS allows it.
#![no_std]

extern crate alloc;

pub mod snapshot;
