//! A host for workflow connectors: WebAssembly components that export `workflow:connector`.
//!
//! This host runs connectors of many authors for many tenants in one process, and trusts neither authors nor tenants.
//! Every call has a store of its own without files and environment variables. Its memory, CPU time, wall-clock time and
//! output are bounded. It can connect only to the hosts that follow from the tenant's own connection: over HTTP, and
//! over TCP if the connector has a protocol of its own.
//!
//! | type | one for each | holds |
//! |---|---|---|
//! | [`Host`] | process | wasmtime engine, instance pool, cache of compiled components, turns of all tenants |
//! | [`Connector`] | component | compiled code, descriptor |
//! | [`Tenant`] | tenant | limits, rates, permitted hosts, trust roots, pool of HTTP connections, TLS sessions |
//! | [`Connection`] | linked account | the values that a person entered, as a secret |
//! | [`Account`] | linked account | connector, tenant and connection; calls are made on it; cold or warm |
//! | `CursorStore` (feature `cursors`) | engine without a database of its own | the cursor of every partition |
//!
//! # Load a connector and call it
//!
//! ```no_run
//! use connector_host::interface::action::Call;
//! use connector_host::{Connection, Host, HostOptions, Tenant, TenantOptions};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! // Once per process.
//! let host = Host::new(HostOptions::default().with_cache_directory("/var/cache/connectors"))?;
//! let connector = host.load_file("some_connector.wasm").await?;
//! println!("{}", connector.descriptor().title);
//!
//! // Once per tenant.
//! let tenant = Tenant::new(TenantOptions::default().with_name("contoso"))?;
//!
//! // Once per account that the tenant linked.
//! let connection: Connection = serde_json::from_str(&std::fs::read_to_string("connection.json")?)?;
//! let account = connector.account(&tenant, &connection);
//! let outcome = account.invoke("get-device", r#"{"deviceId": "pump-1"}"#, &Call::default()).await?;
//! println!("{}", serde_json::to_string(&outcome)?);
//! # Ok(())
//! # }
//! ```
//!
//! A call ends with its answer, at its deadline, when its future is dropped, when its
//! [token](Tenant::with_cancellation) is cancelled, or when its [tenant](Tenant::drain) or [host](Host::drain) ends;
//! the guest and its I/O end with the call. [`CallError`] states the reason, and names the limit that was reached or
//! the field of an answer that breaks the interface.
//!
//! # Poll in a loop, and commit
//!
//! The connector stores no position. With each event comes the cursor after it, and the engine stores that cursor after
//! the event has been processed. Use a warm account for frequent polls, because it keeps the connector's connections
//! open.
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
//! `examples/engine.rs` processes several events at once, commits the position of the last event before the first
//! unfinished one, and parks an event whose processing keeps failing. `examples/warm.rs` shows the life of a warm
//! account.
//!
//! # Serve many tenants
//!
//! Each [`Tenant`] has its own limits, permitted hosts, connections and TLS sessions. Turns for calls, HTTP exchanges,
//! name look-ups and CPU time go to the tenant that has had the least so far, so that a busy tenant cannot starve
//! another one. See `examples/tenants.rs`.
//!
//! # Set limits
//!
//! [`Limits`] apply to each call and each tenant, [`HostOptions`] to the process; each field states its default and its
//! unit. An error and [`Failure::limits`] name the limit that was reached.
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
//! Metrics are reported through OpenTelemetry ([`HostOptions::meter`]), spans through `tracing`; `docs/metrics.md`
//! lists both.
//!
//! # Shut down
//!
//! [`Tenant::drain`] and [`Host::drain`] refuse new calls, wait for running calls, and cancel the calls that are still
//! running when the given time is over. [`Account::discard`] lets a warm instance close its connections properly.
//!
//! # The path of a call
//!
//! ```text
//!  Connector ── account(), open() ──▶ Account ── poll(), invoke() … ─┐             call/account.rs
//!                                                                    ▼
//!  admission   host and tenant accept calls; limits are within the host's          call/admission.rs
//!     │
//!     ├─ cold ─▶ first instance: `validate`, without a network                     call/loaded.rs
//!     │             └─▶ the hosts of the connection: the allow list                egress/policy.rs
//!     ├─ warm ─▶ the allow list of the opened account; the instance's turn         call/slot.rs
//!     ▼
//!  turns       of the tenant's calls, then of all tenants'                         call/run.rs, limits/
//!     ▼
//!  instance    a new one, or the one that was kept                                 call/instance.rs
//!     │           ▲ ▼
//!     │        the guest ── WASI ──▶ exchanges and sockets ──▶ names, addresses    egress/
//!     ▼
//!  judge       the answer obeys the limits and the rules of the interface          call/judge.rs
//!     │
//!     ├─ warm, and no fault ─▶ the instance is kept                                call/slot.rs
//!     ├─ else ─▶ the instance is released if it holds a connection, and dropped
//!     ▼
//!  the answer, or a CallError with what the host refused during the call
//! ```
//!
//! A cold call uses two instances. The connector itself derives the hosts that a call may connect to, so it must run
//! before it may connect to anything, and this first run must leave nothing behind for the actual call. The first
//! instance therefore has no network at all, and the host accepts a derived host only if it follows from values that
//! the tenant entered. Making an instance takes tens of microseconds. A warm account needs this first instance only
//! once.
//!
//! # Features
//!
//! No feature is enabled by default.
//!
//! | feature | adds |
//! |---|---|
//! | `conformance` | checks of a connector against the rules of the interface |
//! | `cursors` | a durable store of cursors, for engines without a database of their own |
//!
//! The source folders import each other in one direction only: in the order `interface`, `limits`, `options`,
//! `operators`, `egress`, `tenant`, `call`, `loading`, each may import the earlier ones. Files, too, import each
//! other in one direction. The head of each folder's `mod.rs` says what belongs there.

// Types that embedders match on or read may get more cases and fields later, so they must not be exhaustive.
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
    reason = "the interface's version fixes the fields of these records and the cases of these enums"
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

// Types of other crates that appear in this crate's signatures.
pub use ip_network::IpNetwork;
pub use opentelemetry::metrics::Meter;
#[cfg(feature = "cursors")]
pub use redb::Error as DatabaseError;
pub use rustls::Error as TlsError;
pub use semver::{Version, VersionReq};
pub use tokio_util::sync::CancellationToken;
