//! Connecting: tries the addresses of a host in order, within the deadline.

use std::time::Duration;

#[cfg(not(target_family = "wasm"))]
pub use super::native::Tcp;
#[cfg(not(target_family = "wasm"))]
use super::native::resolve;
#[cfg(target_family = "wasm")]
pub use super::wasi::Tcp;
#[cfg(target_family = "wasm")]
use super::wasi::resolve;

use super::{Deadline, TransportError, TransportErrorKind};
use crate::amqp::stage::Stage;

/// How many addresses of a host are tried, in the resolver's order.
pub(super) const MOST_ADDRESSES: usize = 4;
/// Each address gets at least this time, if as much is left. An address that does not answer must leave time for the
/// next one.
const LEAST_FOR_AN_ADDRESS: Duration = Duration::from_secs(2);

impl Tcp {
    /// Connects to the first address of `host` that answers.
    ///
    /// # Errors
    /// `Dns`, `Connect`, `Denied` or `Timeout`.
    pub fn connect(host: &str, port: u16, deadline: &Deadline) -> Result<Self, TransportError> {
        let mut addresses = resolve(host, deadline)?;
        addresses.truncate(MOST_ADDRESSES);
        let mut last = TransportError::new(TransportErrorKind::Dns, Stage::Resolve, "it has no address");
        let count = u32::try_from(addresses.len()).unwrap_or(1);
        for (address, others) in addresses.into_iter().zip((0..count).rev()) {
            let Some(left) = deadline.remaining() else { return Err(TransportError::timeout(Stage::Connect)) };
            let share = (left / (others + 1)).max(LEAST_FOR_AN_ADDRESS).min(left);
            match Self::open((address, port).into(), share) {
                Ok(tcp) => return Ok(tcp),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}
