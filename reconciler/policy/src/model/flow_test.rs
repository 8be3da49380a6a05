//! `kind: FlowTest`: what people expect of their policies.

use alloc::sync::Arc;
use core::net::IpAddr;

use super::{Labels, Origin};
use crate::net::Service;

/// One expected verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowTest {
    /// Where it stands.
    pub origin: Origin,
    /// The document's name.
    pub document: Arc<str>,
    /// Its own name.
    pub name: Option<Arc<str>>,
    /// Who initiates.
    pub from: Party,
    /// Who answers.
    pub to: Party,
    /// What is asked for.
    pub service: Service,
    /// Whether it is to pass.
    pub allow: bool,
}

/// One end of an expected flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Party {
    /// An address; that of an endpoint stands for the endpoint.
    Address(IpAddr),
    /// An endpoint of the Inventory: every one of its addresses.
    Endpoint(Arc<str>),
    /// An endpoint made up for the test.
    MadeUp {
        /// Its labels.
        labels: Labels,
        /// Its namespace.
        namespace: Arc<str>,
        /// Its address.
        address: IpAddr,
    },
}
