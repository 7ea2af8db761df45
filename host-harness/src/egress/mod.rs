//! Decides where a guest may connect to.
//!
//! The checks are layers. Each layer can deny by itself:
//!
//! | layer | file | question |
//! |---|---|---|
//! | domains | `domains.rs` | At loading: does each domain of its rules belong to one service, and is it on the operator's list? |
//! | policy | `policy.rs` | Does the tenant's connection lead to this host, and is the host permitted? |
//! | exchange | `exchange.rs` | Does this request go to a permitted host, over https, within the quotas? |
//! | sockets | `sockets/` | Does this address belong to a permitted name that the call looked up, within the quotas? |
//! | addresses | `addresses.rs`, `resolver.rs` | Is the address of the name public, or permitted by the operator? |
//! | connector, trust | `connector.rs`, `trust.rs` | Does the server at the address have a certificate for the name? (HTTP, and TLS by the host: on sockets, the guest checks this.) |
//! | pool | `pool.rs` | Does the tenant have a connection to the host, or a slot for a new connection? |
//! | ledger | `ledger.rs` | Does the server send no more than its exchanges need, and which call pays for computing? |
//!
//! The name is resolved once, and the host connects only to addresses that were checked. This order defeats a name that
//! first resolves to a public address and then to a private one.

mod addresses;
mod connect_error;
mod connector;
mod context;
mod domains;
mod exchange;
mod ledger;
mod network;
mod policy;
mod pool;
#[cfg(test)]
mod pool_tests;
mod resolver;
mod shown;
mod sockets;
mod trust;

pub(crate) use context::CallContext;
pub(crate) use domains::review;
pub(crate) use exchange::{Exchange, Hooks, body_error_code};
pub(crate) use network::Network;
pub(crate) use policy::AllowList;
pub use policy::Destination;
#[cfg(feature = "conformance")]
pub(crate) use resolver::Nowhere;
pub use resolver::{HostAddress, HostAddresses};
pub(crate) use sockets::{Sockets, SocketsView, add_tls_to_linker, add_to_linker as add_sockets_to_linker};
