//! The test kit: the real controller as a child process, a real repository, a real network of namespaces, and a stand-in for the one
//! thing that cannot be here: a forge.
//!
//! Nothing that can be real is faked. Tests that need root say so when they are run without it, and fail instead where `CI=true`.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "a test kit fails by panicking")]

mod controller;
mod delivery;
mod forge;
mod knocking;
mod openmetrics;
mod ping;
mod scene;
mod secure;

pub use controller::{Controller, Options, binary, run};
pub use delivery::{WEBHOOK_SECRET, answer, deliver, deliver_as, deliver_here, get, page, push_body, request_body, signature};
pub use forge::{ForgeStandIn, Posted};
pub use knocking::Knocking;
pub use openmetrics::Measured;
pub use ping::pings;
pub use scene::{BASTION, DATABASE_PORT, MONITOR, NEIGHBOUR, OTHER_PORT, Scene, echoes, policy, write_template};
pub use secure::{Authority, deliver_over_tls};

/// Whether the kernel tests can run. Says so when they cannot; in CI that is a failure.
#[must_use]
pub fn root_or_left_out(test: &str) -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{test} needs root, and CI must not leave it out");
    eprintln!("left out: {test} needs root");
    false
}
