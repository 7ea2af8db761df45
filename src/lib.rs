//! A workflow connector for Azure IoT Hub and its Device Provisioning Service, as one WASI 0.2 component.
//!
//! The modules stand on floors, and import from lower floors alone; `tests/native/floors.rs` checks it. From the top:
//!
//! | floor | modules | what belongs there |
//! |---|---|---|
//! | the component | `exports` | the exports: decode, dispatch, encode, and nothing else |
//! | instance | `lifecycle`, `migrate` | what an instance closes before it is dropped; what was stored by older versions |
//! | for forms | `discovery`, `connection` | choices and schemas that depend on the account; the test of a connection |
//! | declaration | `manifest` | the descriptor: all operations, permissions, forms, egress rules |
//! | operations | `triggers`, `actions` | one file for each; neither imports from the other |
//! | a call | `session` | the account, the time that is left, the clients; the cache of open connections |
//! | account | `account` | what one connection opens, and the reading of what a person entered |
//! | forms | `form` | schemas, shared fields, the checking of inputs |
//! | services | `iothub`, `dps`, above `eventhub` | the services' typed APIs, without any word of workflows |
//! | protocols | `http`, `amqp` | signed requests with their retries and faults; AMQP 1.0 without I/O, and the sockets that drive it |
//! | authorization | [`auth`] | tokens, permissions and the clocks of services |
//! | world | [`platform`] | time, chance and one HTTP exchange |
//! | ground | [`error`], `quoted`, [`secret`], `json`, `instant`, `host_name`, [`amqp_transport`], `bindings` | small things that know of nothing else |
//!
//! Within `triggers` there are three ways of reading (`log`, `queue`, `collection`), and within `actions` a folder for each
//! thing that they act on. These folders import from `shared` beside them, and not from one another.
//!
//! What a call answers depends on what it is given alone; what an instance keeps is only a cache. All but the outermost
//! edge of `platform` and `amqp` compiles natively.
//!
//! Public is what fuzzing, benchmarks and native tests use; it is no interface to rely on.
#![cfg_attr(
    not(all(target_family = "wasm", feature = "amqp")),
    allow(dead_code, unused_imports, reason = "a whole component uses it, whose lints are exact")
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
