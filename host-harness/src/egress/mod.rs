//! Where a guest may connect to.
//!
//! Layers, each of which denies by itself:
//!
//! | layer | file | question |
//! |---|---|---|
//! | domains | `domains.rs` | As the connector is loaded: are the domains of its rules a service's own, and those of the operator's list? |
//! | policy | `policy.rs` | Does the connection of the tenant lead to this host, and may it? |
//! | exchange | `exchange.rs` | Is this very request to such a host, over https, within the quotas? |
//! | sockets | `sockets/` | Is this very address behind a name that was looked up and permitted, within the quotas? |
//! | addresses | `addresses.rs`, `resolver.rs` | Is the address behind the name a public one, or one that the operator permits? |
//! | connector | `connector.rs` | Does the vetted address present a certificate for the name? (HTTP only: over a socket the guest itself checks it.) |
//! | pool | `pool.rs` | Has the tenant a connection to the host already, or a slot for one? |
//! | ledger | `ledger.rs` | Does the server send no more than its exchanges take, and who pays for the computing? |
//!
//! The name is resolved once, and only addresses that were looked at are connected to. This order is what
//! defeats a name that resolves to a public address first and to a private one afterwards.

mod addresses;
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
mod sockets;

pub(crate) use context::CallContext;
pub(crate) use domains::review;
pub(crate) use exchange::{Exchange, Hooks, body_error_code};
pub(crate) use network::Network;
pub(crate) use policy::AllowList;
pub use policy::Destination;
#[cfg(feature = "conformance")]
pub(crate) use resolver::Nowhere;
pub use resolver::{HostAddress, HostAddresses};
pub(crate) use sockets::{Sockets, SocketsView, add_to_linker as add_sockets_to_linker};
