//! Decides when the loops of an engine die: each loop one time, at its first occasion after a moment of the run.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::clock::Clock;

pub(super) struct Deaths<K> {
    from: Duration,
    clock: Clock,
    died: Mutex<BTreeSet<K>>,
}

impl<K: Ord> Deaths<K> {
    pub(super) fn new(from: Duration, clock: Clock) -> Self {
        Self { from, clock, died: Mutex::default() }
    }

    /// Whether this loop must die now. True one time for each loop.
    pub(super) fn is_due(&self, of: K) -> bool {
        self.clock.now() >= self.from && self.died.lock().unwrap_or_else(PoisonError::into_inner).insert(of)
    }
}
