//! The nftables firewall on the running kernel, and beside the eBPF one: the same rules, the same packets.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stderr, reason = "tests fail by panicking")]
#![expect(clippy::wildcard_enum_match_arm, reason = "most shapes of a packet are ordinary in most respects")]

mod differential;
mod drift;
mod lab;
mod off;
mod packets;
mod rules;
mod tables;
mod trial;
