//! Operations on the state as a whole, which HTTP, AMQP and devices in process share.

pub(crate) mod messages;
pub(crate) mod methods;
pub(crate) mod registration;
