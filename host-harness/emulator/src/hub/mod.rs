//! All records of the hub, and the rules by which the records change. No HTTP, no AMQP.

mod configurations;
mod devices;
mod modules;
pub(crate) mod registry;
mod twins;
