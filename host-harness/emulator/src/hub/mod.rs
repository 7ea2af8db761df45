//! The hub's records together, and the rules by which they change. No HTTP, no AMQP.

mod devices;
mod modules;
pub(crate) mod registry;
mod twins;
