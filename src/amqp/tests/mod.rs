//! The client against a peer in memory. Time passes only while the client waits.

mod connection;
mod malformed;
pub(crate) mod peer;
mod tls;
mod transfer;
mod waits;
mod web_socket;
