//! The AMQP 1.0 side: the Event Hub-compatible endpoint, and the hub's own endpoint for services.
//!
//! | address | endpoint | what it is |
//! |---|---|---|
//! | `$cbs` | both | puts tokens |
//! | `{hub}/ConsumerGroups/{group}/Partitions/{id}` | Event Hub | events |
//! | `$management`, `{hub}/$management` | Event Hub | reads the properties of the Event Hub and its partitions |
//! | `/messages/devicebound` | IoT Hub | messages to devices |
//! | `/messages/serviceBound/feedback`, `…/filenotifications` | IoT Hub | what became of them; uploaded files |
//! | `/messages/events/…` | IoT Hub | answers with a redirect to the Event Hub-compatible endpoint |
//!
//! # Why not an acceptor from a library
//!
//! `fe2o3-amqp` has one, but it cannot be made to behave as the service does: its performatives leave out trailing null
//! fields, while Microsoft's Python client reads by position; it answers an attach before anybody can refuse it with a
//! condition of the service's, or redirect it; and it owns the socket, so that a frame cannot be cut in half. So this
//! module takes only its types and codec (`fe2o3-amqp-types`, `serde_amqp`), which decode what comes in, and drives one
//! small state machine per connection. The connector's own client is another implementation, so that the two check each
//! other; Microsoft's clients check both.

mod accept;
mod attach;
mod claims;
mod codec;
mod conditions;
mod connection;
mod conversation;
mod deliveries;
mod device_bound;
mod error;
mod events;
mod faults;
mod fragile;
mod frames;
mod handshake;
mod listener;
mod message;
mod performatives;
mod requests;
mod session;
mod timers;
mod values;
pub(crate) mod web_socket;

pub(crate) use accept::accept_web_socket;
pub(crate) use listener::serve;
