//! The AMQP 1.0 endpoints: the Event Hub-compatible endpoint, and the hub's own endpoint for back ends and devices.
//!
//! | address | endpoint | what it is |
//! |---|---|---|
//! | `$cbs` | both | puts tokens |
//! | `{hub}/ConsumerGroups/{group}/Partitions/{id}` | Event Hub | events |
//! | `$management`, `{hub}/$management` | Event Hub | reads the properties of the Event Hub and its partitions |
//! | `/messages/devicebound` | IoT Hub | messages to devices |
//! | `/messages/serviceBound/feedback`, `…/filenotifications` | IoT Hub | feedback on messages to devices; notices of uploaded files |
//! | `/messages/events/…` | IoT Hub | answers with a redirect to the Event Hub-compatible endpoint |
//! | `/devices/{id}/messages/events`, and below `/modules/{id}` | IoT Hub | telemetry from a device or module |
//! | `/devices/{id}/messages/devicebound`; `…/modules/{id}/messages/events` | IoT Hub | messages to a device or module |
//! | `/devices/{id}/methods/devicebound`, both ways | IoT Hub | direct methods and their answers |
//! | `/devices/{id}/twin`, both ways | IoT Hub | requests for the twin, their answers, and changes of desired properties |
//! | `{idScope}/registrations/{id}`, both ways | IoT Hub | registrations; in Azure the provisioning service has its own host |
//!
//! # Why not an acceptor from a library
//!
//! `fe2o3-amqp` has an acceptor, but the acceptor cannot behave as the service does. Its performatives leave out
//! trailing null fields, while Microsoft's Python client reads fields by position. It answers an attach before the
//! emulator can refuse the link with a condition of the service, or redirect it. It owns the socket, so that a frame
//! cannot be cut in half. This module therefore uses only the library's types and codec (`fe2o3-amqp-types`,
//! `serde_amqp`) to decode incoming frames, and drives one small state machine per connection. The connector's own
//! client is a separate implementation, so that client and emulator check each other; Microsoft's clients check both.

mod accept;
mod attach;
mod claims;
mod codec;
mod conditions;
mod connection;
mod conversation;
mod deliveries;
mod device_bound;
mod device_links;
mod device_messages;
mod device_requests;
mod device_session;
mod error;
mod events;
mod faults;
mod fragile;
mod frames;
mod handshake;
mod listener;
mod message;
mod performatives;
mod registrant;
mod registrations;
mod requests;
mod session;
mod timers;
mod values;

pub(crate) use accept::accept_web_socket;
pub(crate) use listener::serve;
