//! A workflow connector for Azure IoT Hub and its Device Provisioning Service, as one WASI 0.2 component.
//!
//! The modules are ordered in layers, called floors. A module may import only from lower floors, which
//! `tests/native/floors.rs` checks. From the top:
//!
//! | floor | modules | what belongs there |
//! |---|---|---|
//! | the component | `exports` | the exports: decode, dispatch, encode, and nothing else |
//! | instance | `lifecycle`, `migrate` | closing connections before an instance is dropped; reading what older versions stored |
//! | for forms | `discovery`, `connection` | choices and schemas that depend on the account; the test of a connection |
//! | declaration | `manifest` | the descriptor: all operations, permissions, forms, egress rules |
//! | operations | `triggers`, `actions` | one file for each operation; `triggers` and `actions` do not import from each other |
//! | a call | `session` | the account, the remaining time, the services' clients; the cache of open connections |
//! | account | `account` | what one connection opens; reading the values that a person entered |
//! | forms | `form` | schemas, shared fields, the checking of inputs |
//! | services | `iothub`, `dps`, above `eventhub` | the services' typed APIs, which know nothing of workflows |
//! | protocols | `http`, `amqp` | signed HTTP requests, retries and service errors; AMQP 1.0 without I/O, and the sockets that drive it |
//! | authorization | [`auth`] | tokens, permissions and the clocks of services |
//! | world | [`platform`] | the clocks, random numbers and one HTTP exchange |
//! | ground | [`error`], `quoted`, [`secret`], `json`, `instant`, `host_name`, [`amqp_transport`], `bindings` | small modules that import from no other floor |
//!
//! `triggers` has a folder for each way of reading (`log`, `queue`, `collection`), and `actions` a folder for each kind
//! of thing that actions work on. These folders import from the folder `shared` beside them, but not from one another.
//!
//! The result of a call depends only on its arguments and on the services; an instance keeps nothing but caches. All
//! code except `exports` and the parts of `platform` and `amqp` that call WASI also compiles natively.
//!
//! Items are public only for fuzzing, benchmarks and native tests; they are not a stable interface.
#![cfg_attr(
    not(all(target_family = "wasm", feature = "amqp")),
    allow(dead_code, unused_imports, reason = "only a whole component uses all code; its lints are exact")
)]

mod account;
mod actions;
#[cfg(feature = "amqp")]
pub mod amqp;
pub mod amqp_transport;
pub mod auth;
mod bindings;
mod connection;
mod discovery;
mod dps;
pub mod error;
#[cfg(feature = "amqp")]
pub mod eventhub;
#[cfg(target_family = "wasm")]
mod exports;
mod form;
mod host_name;
mod http;
mod instant;
mod iothub;
mod json;
mod lifecycle;
mod manifest;
mod migrate;
pub mod platform;
mod quoted;
pub mod secret;
mod session;
mod triggers;
