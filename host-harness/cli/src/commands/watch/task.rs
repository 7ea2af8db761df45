//! The polling of one partition.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use connector_host::interface::trigger::{Budget, Page, PollRequest};
use connector_host::interface::types::{Cursor, Retry};
use connector_host::{Account, CallError};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::sleep;

/// The pause after the first failure. Each further failure doubles the pause.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A partition is given up after this number of failures of the connector itself (crashes, exceeded limits) in a row.
const DEFECTS: u32 = 5;

/// A report from a task to [`run`](super::run).
pub(super) enum Update {
    Page {
        partition: usize,
        /// The cursor that the poll was given.
        given: Option<Cursor>,
        page: Page,
        /// Notifies the task that the page is committed, so that the task polls again.
        committed: oneshot::Sender<()>,
    },
    Failure {
        partition: usize,
        error: CallError,
        /// The pause before the task tries again; `None` if the task has given up.
        pause: Option<Duration>,
    },
}

/// Polls one partition, one page after the other.
pub(super) struct Task {
    /// The index of the partition.
    pub(super) partition: usize,
    pub(super) instance: Account,
    pub(super) request: PollRequest,
    pub(super) interval: Option<Duration>,
    /// How long a poll waits for a first event.
    pub(super) wait: Duration,
    /// How many events are still to be printed, of all partitions together.
    pub(super) left: Arc<AtomicU64>,
    /// Bounds how many partitions are polled at the same time.
    pub(super) turns: Arc<Semaphore>,
    pub(super) updates: mpsc::Sender<Update>,
    pub(super) stopped: watch::Receiver<bool>,
}

impl Task {
    pub(super) async fn run(mut self) {
        let mut failures = Failures::default();
        loop {
            self.request.budget = self.budget();
            let poll = async {
                let _turn = self.turns.acquire().await;
                self.instance.poll(&self.request).await
            };
            let result = tokio::select! {
                biased;
                _ = self.stopped.wait_for(|stopped| *stopped) => return,
                result = poll => result,
            };
            let pause = match result {
                Ok(page) => {
                    failures = Failures::default();
                    let pause = match self.interval {
                        _ if page.more => Duration::ZERO,
                        Some(interval) => interval,
                        None => Duration::from_millis(page.wait_hint_ms),
                    };
                    let (committed, done) = oneshot::channel();
                    let given = self.request.cursor.replace(page.next.clone());
                    let update = Update::Page { partition: self.partition, given, page, committed };
                    if self.updates.send(update).await.is_err() || done.await.is_err() {
                        return;
                    }
                    pause
                }
                Err(error) => {
                    let pause = failures.pause_after(&error);
                    let update = Update::Failure { partition: self.partition, error, pause };
                    let (Ok(()), Some(pause)) = (self.updates.send(update).await, pause) else { return };
                    pause
                }
            };
            tokio::select! {
                biased;
                _ = self.stopped.wait_for(|stopped| *stopped) => return,
                () = sleep(pause) => {}
            }
        }
    }

    fn budget(&self) -> Budget {
        let default = Budget::default();
        let left = u32::try_from(self.left.load(Ordering::Relaxed)).unwrap_or(u32::MAX);
        let wait_ms = u64::try_from(self.wait.as_millis()).unwrap_or(u64::MAX);
        Budget { events: left.clamp(1, default.events), wait_ms, ..default }
    }
}

/// The failures of a partition since its last page, or of a request since its first attempt.
#[derive(Default)]
pub(super) struct Failures {
    count: u32,
    defects: u32,
}

impl Failures {
    /// How long to wait after a failure; `None` if waiting does not help.
    pub(super) fn pause_after(&mut self, error: &CallError) -> Option<Duration> {
        let doublings = self.count.min(6);
        self.count += 1;
        let growing = (FIRST_PAUSE * 2_u32.pow(doublings)).min(LONGEST_PAUSE);
        match error {
            CallError::Connector(failure) => match failure.error.retry {
                Retry::After(ms) => Some(Duration::from_millis(ms)),
                Retry::Backoff => Some(growing),
                Retry::Never | Retry::AfterReauthentication | Retry::AfterReconfiguration => None,
            },
            CallError::Deadline { .. } | CallError::Busy { .. } | CallError::Occupied { .. } => Some(growing),
            CallError::Egress(_)
            | CallError::HostLimit(_)
            | CallError::ConnectionTooLarge { .. }
            | CallError::Cancelled
            | CallError::Draining { .. } => None,
            _ => {
                self.defects += 1;
                (self.defects < DEFECTS).then_some(growing)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_defects_end_it() {
        let mut failures = Failures::default();
        let late = CallError::Deadline { limit: Duration::from_secs(1) };
        let pauses: Vec<_> = (0..8).filter_map(|_| failures.pause_after(&late)).map(|it| it.as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(failures.pause_after(&CallError::Cancelled), None);
        let crash = CallError::Trap { message: String::new(), refusals: Box::default() };
        let mut failures = Failures::default();
        assert_eq!((0..9).filter_map(|_| failures.pause_after(&crash)).count(), 4);
    }
}
