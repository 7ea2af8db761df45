//! The simulated time and the random numbers of a run.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::{Instant, sleep_until};

/// The simulation's clock, which runs faster than real time by the factor `speed`. Cheap to clone; clones start
/// together.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    started: Arc<OnceLock<Instant>>,
    speed: f64,
}

impl Clock {
    /// A clock that stands at zero until it is started.
    pub(super) fn new(speed: f64) -> Self {
        Self { started: Arc::default(), speed }
    }

    /// Starts the clock. Starting it again changes nothing.
    pub(super) fn start(&self) -> Instant {
        *self.started.get_or_init(Instant::now)
    }

    /// Waits until the simulated time is `at`. Starts the clock if it was not started yet.
    pub(super) async fn until(&self, at: Duration) {
        sleep_until(self.start() + self.real(at)).await;
    }

    /// How much simulated time has passed.
    pub(super) fn now(&self) -> Duration {
        self.started.get().map(Instant::elapsed).unwrap_or_default().mul_f64(self.speed)
    }

    /// Converts a span of simulated time to real time.
    pub(super) fn real(&self, simulated: Duration) -> Duration {
        simulated.div_f64(self.speed)
    }
}

/// The present time, in nanoseconds since 1970.
pub(super) fn wall() -> i128 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i128::try_from(since.as_nanos()).unwrap_or(i128::MAX)
}

/// Random numbers by SplitMix64: the same numbers for the same seed.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A random number that is at least `low` and below `high`.
    pub(super) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * ((self.next() >> 11) as f64 / (1_u64 << 53) as f64)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Clock, Random};

    #[test]
    fn a_clock_stands_until_it_is_started() {
        let clock = Clock::new(2.0);
        assert_eq!(clock.now(), Duration::ZERO);
        let started = clock.clone().start();
        assert_eq!(clock.start(), started);
        assert_eq!(clock.real(Duration::from_secs(3)), Duration::from_millis(1500));
    }

    #[test]
    fn chance_repeats_with_its_seed() {
        let run = |seed| {
            let mut random = Random::new(seed);
            (0..100).map(|_| random.between(2.0, 3.0)).collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        assert!(run(3).into_iter().all(|number| (2.0..3.0).contains(&number)));
    }
}
