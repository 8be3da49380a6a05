//! The edges of the controller against real things: repositories made by `git`, servers on loopback, processes.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test that cannot set itself up has failed")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a test says what it measured and what it left out")]

mod anchor_git;
mod anchor_syslog;
mod forge_app;
mod forge_comments;
mod forge_contract;
mod forge_github;
mod forge_others;
mod forge_reviews;
mod forge_stand_in;
mod git_history;
mod git_hostile;
mod git_http;
mod git_limits;
mod git_local;
mod git_proxy;
mod git_requests;
mod git_servers;
mod git_ssh;
mod git_year;
mod http_server;
mod proxy;
mod support;
