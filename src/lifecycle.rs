//! What an instance does before it is dropped.

#[cfg(feature = "amqp")]
use std::time::Duration;

#[cfg(feature = "amqp")]
use crate::{platform, session, triggers};

/// The time for closing all connections. An engine waits about one second for `release`.
#[cfg(feature = "amqp")]
const TIME_TO_CLOSE: Duration = Duration::from_millis(750);

/// See `lifecycle.release` of the interface: closes the open connections, so that the service frees the readers' slots
/// immediately.
pub fn release() {
    #[cfg(feature = "amqp")]
    if let Some(lasting) = platform::lasting() {
        let until = lasting.monotonic().saturating_add(TIME_TO_CLOSE);
        triggers::release(until);
        session::service_endpoint::release(until);
    }
}
