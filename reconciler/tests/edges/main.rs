//! The edges of the controller against real things: repositories made by `git`, servers on loopback, processes.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test that cannot set itself up has failed")]

mod forge_github;
mod forge_others;
mod forge_stand_in;
mod git_history;
mod git_hostile;
mod git_http;
mod git_local;
mod git_ssh;
mod http_server;
mod support;
