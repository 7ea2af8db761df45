//! Where a guest may connect to.
//!
//! Four layers, each of which denies by itself:
//!
//! | layer | file | question |
//! |---|---|---|
//! | policy | `policy.rs` | Does the connection of the tenant lead to this host, and may it? |
//! | exchange | `exchange.rs` | Is this very request to such a host, over https, within the quotas? |
//! | addresses | `addresses.rs` | Is the address behind the name a public one? |
//! | connector | `connector.rs` | Does the vetted address present a certificate for the name? |
//!
//! The name is resolved once, and only addresses that were looked at are connected to. This order is what
//! defeats a name that resolves to a public address first and to a private one afterwards.

mod addresses;
mod connector;
mod exchange;
mod policy;

pub(crate) use connector::HttpClient;
pub(crate) use exchange::{Exchange, Hooks};
pub(crate) use policy::{AllowList, split_authority};
pub use policy::{Destination, EgressDenied, EgressLayer};
