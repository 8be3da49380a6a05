//! From the meaning to one backend's words.
//!
//! A lowering is exact or it is [`Unsupported`]; nothing is ever approximated.

pub mod bpf;
pub mod cloud;
pub mod network_security_group;
pub mod security_group;

use alloc::string::String;

use serde::Serialize;

use crate::model::{Place, PolicyName};

/// Something a backend cannot say exactly, or that passes one of its limits (PCI-1.2.8-008).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unsupported {
    /// The backend: `ebpf`, `aws`, …
    pub backend: &'static str,
    /// The policy that contributes most, if one can be named.
    pub policy: Option<PolicyName>,
    /// Its rule, as a pointer into its document.
    pub rule: Option<String>,
    /// Where it stands.
    pub place: Option<Place>,
    /// What cannot be said, with the numbers.
    pub message: String,
}
