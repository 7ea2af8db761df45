//! The platform of the connector's AMQP client in a native program.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use azure_iot_connector::platform::{ExchangeError, ExchangeLimits, Platform, WireRequest, WireResponse};

/// The system's clocks. This platform has no HTTP.
pub struct System(pub Instant);

impl Platform for System {
    fn unix_time(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }
    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
    fn sleep(&self, duration: Duration) {
        std::thread::sleep(duration);
    }
    fn random(&self) -> u64 {
        u64::from(self.unix_time().subsec_nanos())
    }
    fn secure_random(&self, _: &mut [u8]) {
        unreachable!("no keys are made natively");
    }
    fn exchange(&self, _: &WireRequest, _: &ExchangeLimits) -> std::result::Result<WireResponse, ExchangeError> {
        unreachable!("only AMQP is spoken natively");
    }
}
