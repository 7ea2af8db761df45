//! Event Hubs, and IoT Hub's Event Hub-compatible endpoint, from a consumer's side. Both are read over AMQP only.
//!
//! Addresses, filters and names are the same as in Microsoft's clients for .NET, Python, JavaScript and Rust. These
//! clients differ only in unimportant details.

mod contention;
mod discover;
mod event;
pub(crate) mod fault;
mod hub;
mod members;
mod plain;
mod position;

pub use crate::amqp::transport::Roots;
pub use discover::{HubAddress, discover};
pub use event::{Event, EventBody, LastEnqueued};
pub use hub::{Access, Endpoint, EventHub, HubProperties, PartitionProperties, ReadBudget, Receiver, ReceiverOptions};
pub use members::Members;
pub use position::StartPosition;

#[cfg(test)]
mod tests;
