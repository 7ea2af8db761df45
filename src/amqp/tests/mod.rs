//! The client against a peer in memory: time passes only where the client waits for it.

mod connection;
mod malformed;
pub(crate) mod peer;
mod tls;
mod waits;
mod web_socket;
