//! The account: reading what a person entered, judging it, and trying it out.

mod account;
#[cfg(feature = "amqp")]
pub mod event_hub;
#[cfg(feature = "amqp")]
mod event_hub_test;
mod paste;
mod schema;
#[cfg(feature = "amqp")]
pub mod service_endpoint;
mod test;

pub use account::{Account, AmqpAddress, EventHubPin, label, read};
pub use schema::{CONNECTION_STRING, SHARED_ACCESS_KEY, profiles};
pub use test::test;

#[cfg(test)]
mod tests;
