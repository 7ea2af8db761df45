//! A host for workflow connectors: WebAssembly components that export `workflow:connector`.
//!
//! It is made to run the connectors of many authors for many tenants in one process. It trusts neither: every call
//! has a store of its own, with no files and no environment, bounded memory, computing time, wall-clock
//! time and output, and reaches only those hosts to which the tenant's own connection leads, over HTTP and, where the
//! connector has a protocol of its own, over TCP.
//!
//! | type | one for each | holds |
//! |---|---|---|
//! | [`Host`] | process | engine, instance pool, compiled-component cache, turns of all tenants |
//! | [`Connector`] | component | compiled code, descriptor |
//! | [`Tenant`] | tenant | limits, rates, permitted hosts, trust roots, connection pool, TLS sessions |
//! | [`Connection`] | linked account | the values that a person entered, as a secret |
//! | [`Account`] | linked account | connector, tenant and connection: what calls are made on, cold or warm |
//! | `CursorStore` (feature `cursors`) | engine that has no database of its own | where each partition of each trigger goes on |
//!
//! # Load a connector and call it
//!
//! ```no_run
//! use connector_host::interface::action::Call;
//! use connector_host::{Connection, Host, HostOptions, Tenant, TenantOptions};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! // Once in a process.
//! let host = Host::new(HostOptions::default().with_cache_directory("/var/cache/connectors"))?;
//! let connector = host.load_file("some_connector.wasm").await?;
//! println!("{}", connector.descriptor().title);
//!
//! // Once for each tenant.
//! let tenant = Tenant::new(TenantOptions::default().with_name("contoso"))?;
//!
//! // For each account that the tenant linked.
//! let connection: Connection = serde_json::from_str(&std::fs::read_to_string("connection.json")?)?;
//! let account = connector.account(&tenant, &connection);
//! let outcome = account.invoke("get-device", r#"{"deviceId": "pump-1"}"#, &Call::default()).await?;
//! println!("{}", serde_json::to_string(&outcome)?);
//! # Ok(())
//! # }
//! ```
//!
//! A call ends with its answer, at its deadline, when its future is dropped, when its
//! [token](Tenant::with_cancellation) is cancelled, or when its [tenant](Tenant::drain) or [host](Host::drain) comes to
//! an end; its guest and its I/O end with it. [`CallError`] says why, and names the limit or, where the answer breaks the
//! interface, the field.
//!
//! # Poll in a loop, and commit
//!
//! The connector keeps no position: each event has the cursor after it, and the engine stores it once the work on the event
//! is done. Frequent polls belong on a warm account, which keeps the connector's connections open.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use connector_host::interface::trigger::{Budget, Event, PollRequest};
//! use connector_host::interface::types::Cursor;
//! use connector_host::{CallError, Connection, Connector, Tenant};
//!
//! # fn work_on(_: &Event) {}
//! # fn store(_: &Cursor) {}
//! async fn read(connector: &Connector, tenant: &Tenant, connection: &Connection) -> Result<(), CallError> {
//!     let account = connector.open(tenant, connection).await?;
//!     let budget = Budget::default().with_wait_ms(20_000);
//!     let mut request = PollRequest::new("telemetry-received", "0").with_budget(budget);
//!     loop {
//!         let page = account.poll(&request).await?;
//!         let given = request.cursor.replace(page.next.clone());
//!         for event in &page.events {
//!             work_on(event);
//!             store(&event.cursor(given.as_ref()));
//!         }
//!         store(&page.next);
//!         if !page.more {
//!             tokio::time::sleep(Duration::from_millis(page.wait_hint_ms)).await;
//!         }
//!     }
//! }
//! ```
//!
//! `examples/engine.rs` works on several events at once, commits through the newest contiguous success and parks an event
//! whose work keeps failing; `examples/warm.rs` shows the life of a warm account.
//!
//! # Serve many tenants
//!
//! Each [`Tenant`] has limits, permitted hosts, connections and TLS sessions of its own. Turns for calls, exchanges,
//! look-ups and computing go to the tenant that has had the least, so that one that floods does not starve another. See
//! `examples/tenants.rs`.
//!
//! # Set limits
//!
//! [`Limits`] are for each call and each tenant, [`HostOptions`] for the process; each field states its default and its
//! unit. An error, and [`Failure::limits`], name the limit that was met.
//!
//! ```
//! use std::time::Duration;
//!
//! use connector_host::{Limits, Tenant, TenantOptions};
//!
//! let limits = Limits::default().with_deadline(Duration::from_secs(30)).with_memory_bytes(32 << 20);
//! let tenant = Tenant::new(TenantOptions::default().with_name("contoso").with_limits(limits))?;
//! # Ok::<(), connector_host::TenantError>(())
//! ```
//!
//! Measurements go to OpenTelemetry ([`HostOptions::meter`]), spans to `tracing`; `docs/metrics.md` lists them.
//!
//! # Shut down
//!
//! [`Tenant::drain`] and [`Host::drain`] take no more calls, wait for those that run, and cancel those that run still when
//! time is up. [`Account::discard`] lets a warm instance end its connections in good order.
//!
//! # The way of a call
//!
//! ```text
//!  Connector ── account(), open() ──▶ Account ── poll(), invoke() … ─┐             call/account.rs
//!                                                                    ▼
//!  admission   the host, and the tenant, take calls; limits are within the host's  call/admission.rs
//!     │
//!     ├─ cold ─▶ first instance: `validate`, without a network                     call/loaded.rs
//!     │             └─▶ what the connection leads to: the allow list               egress/policy.rs
//!     ├─ warm ─▶ the allow list of when it was opened; the turn of the instance    call/slot.rs
//!     ▼
//!  turns       of the tenant's calls, then of all tenants'                         call/run.rs, limits/
//!     ▼
//!  instance    a new one, or the one that was kept                                 call/instance.rs
//!     │           ▲ ▼
//!     │        the guest ── WASI ──▶ exchanges and sockets ──▶ names, addresses    egress/
//!     ▼
//!  judge       the answer keeps the limits and the rules of the interface          call/judge.rs
//!     │
//!     ├─ warm, and no fault ─▶ the instance is kept                                call/slot.rs
//!     ├─ else ─▶ it is released where it holds a connection, and dropped
//!     ▼
//!  the answer, or a CallError with what the host refused meanwhile
//! ```
//!
//! A cold call takes two instances. What a call may reach follows from what the connector itself derives from the
//! connection, so that the connector has to run before it may reach anything; and that run must leave nothing behind for
//! the call that follows. The first instance has no network at all, and its answer counts only as far as it stems from what
//! the tenant entered. Making an instance takes tens of microseconds. A warm account pays for it once.
//!
//! # Features
//!
//! None is on by default.
//!
//! | feature | adds |
//! |---|---|
//! | `conformance` | the rules by which a connector is judged |
//! | `cursors` | a durable store of cursors, for engines that have none |
//!
//! The sources are in wings that import each other in one direction alone: `interface`, `limits`, `options`, `operators`,
//! `egress`, `tenant`, `call`, `loading`, each above the one before. The head of each says what belongs there.

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
