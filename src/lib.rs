//! A workflow connector for Azure IoT Hub and its Device Provisioning Service, as one WASI 0.2 component.
//!
//! The exports here decode, dispatch and encode, and nothing else. Layers point one way: exports, then triggers and
//! actions, then the services ([`iothub`], [`dps`], `eventhub`), then [`http`] and `amqp`, then [`auth`]. All of it is a pure function of what a
//! call is given; what an instance keeps is only a cache.

pub mod account;
pub mod actions;
#[cfg(feature = "amqp")]
pub mod amqp;
pub mod amqp_transport;
pub mod auth;
pub mod bindings;
pub mod connection;
pub mod discovery;
pub mod dps;
pub mod error;
#[cfg(feature = "amqp")]
pub mod eventhub;
pub mod form;
pub mod host_name;
pub mod http;
pub mod instant;
pub mod iothub;
pub mod json;
pub mod lifecycle;
pub mod manifest;
pub mod migrate;
pub mod platform;
pub mod quoted;
pub mod secret;
pub mod session;
pub mod triggers;

#[cfg(target_family = "wasm")]
mod exports;
