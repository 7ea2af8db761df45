//! An AMQP 1.0 client (OASIS Standard, October 2012). It has the parts that are needed to read from Event Hubs and IoT
//! Hub, and to send messages to devices.
//!
//! | layer | task |
//! |---|---|
//! | [`codec`] | types and their bytes |
//! | [`performative`], [`message`], [`frame`] | the contents of frames and messages |
//! | [`connection`], [`link`], [`sasl`] | the order of frames: a state machine without sockets and clocks |
//! | [`transport`], [`client`] | sockets, TLS and deadlines, which drive the state machine |
//! | [`management`], [`cbs`] | conversations over a pair of links |

pub mod cbs;
pub mod client;
pub mod codec;
pub(crate) mod composite;
pub mod connection;
pub mod error;
pub mod frame;
pub mod link;
pub mod management;
pub mod message;
pub mod performative;
pub mod sasl;
mod stage;
pub mod transport;

pub use client::Client;
pub use codec::Value;
pub use error::{Error, Misbehaviour, Redirect, RemoteError, Result};
pub use message::{Body, Message};
pub use stage::Stage;

#[cfg(test)]
pub(crate) mod tests;
