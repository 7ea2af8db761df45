//! The per-unit throttles of the services, as token buckets for one S1 unit.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Instant;

use crate::error::{ErrorCode, ServiceError};
use crate::sync::lock;

/// Which throttle an operation counts against. Source of the figures: the quotas and throttling pages of IoT Hub and
/// the limits of DPS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Throttle {
    Registry,
    Query,
    TwinRead,
    TwinWrite,
    Method,
    Configuration,
    Message,
    Job,
    Dps,
    Telemetry,
}

impl Throttle {
    /// How many operations in how many seconds.
    fn rate(self) -> (f64, f64) {
        match self {
            Self::Registry | Self::Message | Self::Job => (100.0, 60.0),
            Self::Query | Self::Configuration => (20.0, 60.0),
            Self::TwinRead => (100.0, 1.0),
            Self::TwinWrite => (50.0, 1.0),
            // 160 KB a second, metered in blocks of 4 KB.
            Self::Method => (40.0, 1.0),
            Self::Dps => (1000.0, 60.0),
            Self::Telemetry => (100.0, 1.0),
        }
    }
}

/// Token buckets by throttle; does nothing unless enforcement is on.
pub(crate) struct Throttles {
    enforced: bool,
    buckets: Mutex<HashMap<Throttle, (f64, Instant)>>,
}

impl Throttles {
    pub(crate) fn new(enforced: bool) -> Self {
        Self { enforced, buckets: Mutex::default() }
    }

    /// Takes one operation out of the bucket, or refuses with 429001 and the seconds until the next operation is
    /// possible.
    pub(crate) fn take(&self, throttle: Throttle) -> Result<(), ServiceError> {
        if !self.enforced {
            return Ok(());
        }
        let (capacity, seconds) = throttle.rate();
        let now = Instant::now();
        let mut buckets = lock(&self.buckets);
        let (tokens, filled) = buckets.entry(throttle).or_insert((capacity, now));
        *tokens = (*tokens + now.duration_since(*filled).as_secs_f64() * capacity / seconds).min(capacity);
        *filled = now;
        if *tokens >= 1.0 {
            *tokens -= 1.0;
            return Ok(());
        }
        let wait = ((1.0 - *tokens) * seconds / capacity).ceil().max(1.0);
        Err(ServiceError::new(ErrorCode::THROTTLING, "Throttling limit reached; operation cannot be completed")
            .with_retry_after(Some(wait as u64)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_bucket_holds_one_window() {
        let throttles = Throttles::new(true);
        let allowed = (0..30).filter(|_| throttles.take(Throttle::Query).is_ok()).count();
        assert_eq!(allowed, 20);
        assert!(Throttles::new(false).take(Throttle::Query).is_ok());
    }
}
