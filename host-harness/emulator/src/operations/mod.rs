//! Operations on the whole state, which HTTP, AMQP and devices in process share.

pub(crate) mod connections;
pub(crate) mod credentials;
pub(crate) mod messages;
pub(crate) mod methods;
pub(crate) mod receiving;
pub(crate) mod registration;
