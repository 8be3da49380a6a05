//! The loaded programs on a real kernel, in network namespaces. Each test makes its own namespaces, interfaces and BPF
//! file system, so tests run side by side. They need root: without it they say what they leave out, and in CI they fail.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "helpers of tests are tests, and say on standard output what they leave out"
)]

mod bad_packets;
mod clsact;
mod conntrack;
mod conversation;
mod crash;
mod decisions;
mod events;
mod failsafe;
mod flood;
mod flows;
mod fragments;
mod frames;
mod hooks;
mod import;
mod lab;
mod loading;
mod model;
mod packet;
mod patch;
mod pins;
mod rules;
mod survival;
mod swap;
mod tampering;
mod timing;
mod traffic;
mod trial;
mod upgrade;
