//! Receivers over real loopback HTTP.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot set itself up has failed")]

mod corpus;
mod gitea;
mod github;
mod gitlab;
mod kit;
