//! A host for workflow connectors: WebAssembly components that export `workflow:connector`.
//!
//! It is made to run the connectors of many authors for many tenants in one process. It trusts neither: every call
//! has a store of its own, with no files and no environment, bounded memory, computing time, wall-clock
//! time and output, and reaches only those hosts to which the tenant's own connection leads, over HTTP and, where the
//! connector has a protocol of its own, over TCP.
//!
//! ```no_run
//! use connector_host::interface::action::Call;
//! use connector_host::{Connection, Host, HostOptions, Tenant, TenantOptions};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! // Once in a process.
//! let host = Host::new(HostOptions::default())?;
//! let connector = host.load_file("azure_iot_connector.wasm").await?;
//! println!("{}", connector.descriptor().title);
//!
//! // Once for each tenant: its limits, its connections, its TLS sessions.
//! let mut options = TenantOptions::default();
//! options.name = "contoso".into();
//! let tenant = Tenant::new(options)?;
//!
//! // For each call: the tenant, and the account that it linked.
//! let connection: Connection = serde_json::from_str(&std::fs::read_to_string("connection.json")?)?;
//! let outcome = connector
//!     .invoke(&tenant, &connection, "get-device", r#"{"deviceId": "pump-1"}"#, &Call::default())
//!     .await?;
//! println!("{}", serde_json::to_string(&outcome)?);
//! # Ok(())
//! # }
//! ```
//!
//! A call ends with its answer, at its deadline, when its future is dropped, when its
//! [token](Tenant::with_cancellation) is cancelled, or when its [tenant](Tenant::drain) or [host](Host::drain) comes to
//! an end; its guest and its I/O end with it. What it may use up is in [`Limits`]; errors name the limit or, where the
//! answer breaks the interface, the field. `docs/metrics.md` lists spans and measurements.
//!
//! | type | one for each | holds |
//! |---|---|---|
//! | [`Host`] | process | engine, instance pool, compiled-component cache, turns of all tenants |
//! | [`Connector`] | component | compiled code, descriptor |
//! | [`Tenant`] | tenant | limits, rates, permitted hosts, trust roots, connection pool, TLS sessions |
//! | [`WarmInstance`] | account, where calls are frequent | an instance that lives on between calls |
//! | [`Connection`] | linked account | the values a person entered, as a secret |
//! | [`CursorStore`] | engine that has no database of its own | where each partition of each trigger goes on |
//!
//! The feature `cli`, on by default, is for the program alone: embed this with `default-features = false`, and with
//! `conformance` or `cursors` where these parts are wanted.

// What embedders match on or read may grow.
#![warn(clippy::exhaustive_enums, clippy::exhaustive_structs)]

mod call;
#[cfg(feature = "conformance")]
pub mod conformance;
mod connection;
#[cfg(feature = "cursors")]
mod cursors;
mod egress;
mod error;
#[expect(
    clippy::exhaustive_enums,
    clippy::exhaustive_structs,
    reason = "records and cases are those of the interface's versions"
)]
pub mod interface;
mod limits;
mod loading;
mod operators;
mod options;
mod secret;
mod setters;
mod tenant;

pub use call::{Account, Connector};
pub use connection::Connection;
#[cfg(feature = "cursors")]
pub use cursors::{CursorStore, CursorStoreError, StoredCursors};
pub use egress::{Destination, HostAddress, HostAddresses};
pub use error::{
    CallError, DomainRefusal, EgressDenied, EgressLayer, Failure, LoadError, Refusals, Scope, SetupError, TenantError,
};
pub use limits::{LimitExceeded, LimitName, Limits};
pub use loading::Host;
pub use operators::DrainReport;
pub use options::{HostOptions, HostRule, HostRuleError, LoadOptions, Resolve, TenantOptions, TrustRoots};
pub use secret::Secret;
pub use tenant::Tenant;

// Types of other crates in the signatures of this one.
pub use ip_network::IpNetwork;
pub use opentelemetry::metrics::Meter;
#[cfg(feature = "cursors")]
pub use redb::Error as DatabaseError;
pub use rustls::Error as TlsError;
pub use semver::{Version, VersionReq};
pub use tokio_util::sync::CancellationToken;
