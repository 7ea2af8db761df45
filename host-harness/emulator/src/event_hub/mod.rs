//! The Event Hub-compatible endpoint's store: partitions, retention, readers. It knows nothing of AMQP.

pub(crate) mod endpoint;
pub(crate) mod error;
pub(crate) mod event;
pub(crate) mod log;
pub(crate) mod selector;
pub(crate) mod system;
pub(crate) mod telemetry;
