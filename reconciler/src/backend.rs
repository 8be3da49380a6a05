//! What enforces rules. Each backend maps the core's words to its library's, and nothing else.

pub mod ebpf;
