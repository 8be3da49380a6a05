//! Two verifiers, written from the same page by different means, over one corpus of good and damaged logs: the program's own and
//! `deploy/verify_audit.py`. They have to end with the same exit code every time.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test that cannot set itself up has failed")]
#![expect(clippy::print_stdout, reason = "a test says what it measured")]

mod both;
mod exports;
mod fuzz;
mod lab;
mod segments;
mod tables;
