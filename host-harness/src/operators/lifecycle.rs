//! The end of a host or of a tenant: new calls are refused, running calls get time to finish, then they are cancelled.

use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::error::{CallError, Scope};

/// How long a drain waits for cancelled calls to end. A call whose result is never polled would not end by itself.
const GRACE: Duration = Duration::from_secs(1);

/// Whether a host or a tenant accepts calls, and which calls are running.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    scope: Scope,
    draining: CancellationToken,
    closed: CancellationToken,
    calls: TaskTracker,
    kept: TaskTracker,
}

/// What happened to the calls that ran when a host or a tenant was drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct DrainReport {
    /// Calls and loadings of components that finished.
    pub finished: usize,
    /// Calls and loadings of components that were cancelled because the time ran out.
    pub cancelled: usize,
    /// Idle warm instances that were discarded.
    pub warm_instances: usize,
}

impl Lifecycle {
    pub(crate) fn new(scope: Scope) -> Self {
        let [calls, kept] = [TaskTracker::new(), TaskTracker::new()];
        Self { scope, draining: CancellationToken::new(), closed: CancellationToken::new(), calls, kept }
    }

    /// Counts a call that begins, or refuses the call.
    ///
    /// # Errors
    ///
    /// [`CallError::Draining`], or [`CallError::Cancelled`] if it was closed without a drain.
    pub(crate) fn begin(&self) -> Result<TaskTrackerToken, CallError> {
        // The call is counted before the checks, so that a drain that begins now either waits for the call or refuses
        // it.
        let token = self.calls.token();
        if self.draining.is_cancelled() {
            return Err(CallError::Draining { scope: self.scope });
        }
        if self.closed.is_cancelled() {
            return Err(CallError::Cancelled);
        }
        Ok(token)
    }

    /// Counts a warm instance. None if the instance must not be kept.
    pub(crate) fn keep(&self) -> Option<TaskTrackerToken> {
        let token = self.kept.token();
        (!self.draining.is_cancelled() && !self.closed.is_cancelled()).then_some(token)
    }

    /// Cancels all calls immediately.
    pub(crate) fn close(&self) {
        self.closed.cancel();
    }

    /// Resolves when running calls must end.
    pub(crate) async fn closed(&self) {
        self.closed.cancelled().await;
    }

    /// Resolves when warm instances must be discarded.
    pub(crate) async fn ending(&self) {
        tokio::select! {
            () = self.draining.cancelled() => {}
            () = self.closed.cancelled() => {}
        }
    }

    pub(crate) async fn drain(&self, within: Duration) -> DrainReport {
        let now = Instant::now();
        self.draining.cancel();
        self.calls.close();
        self.kept.close();
        let (running, warm_instances) = (self.calls.len(), self.kept.len());
        let idle = async {
            self.calls.wait().await;
            self.kept.wait().await;
        };
        let cancelled = match now.checked_add(within) {
            Some(until) => match timeout_at(until, idle).await {
                Ok(()) => 0,
                Err(_) => self.calls.len(),
            },
            None => {
                idle.await;
                0
            }
        };
        self.closed.cancel();
        let ended = async {
            self.calls.wait().await;
            self.kept.wait().await;
        };
        if timeout(GRACE, ended).await.is_err() {
            tracing::warn!("{} cancelled calls have not ended, because nothing polls their futures", self.calls.len());
        }
        DrainReport { finished: running.saturating_sub(cancelled), cancelled, warm_instances }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn draining_waits_for_calls_and_then_cancels_them() {
        let lifecycle = Lifecycle::new(Scope::Host);
        let quick = lifecycle.begin().unwrap();
        let slow = lifecycle.begin().unwrap();
        let kept = lifecycle.keep().unwrap();
        let (report, (), ()) = tokio::join!(
            lifecycle.drain(Duration::from_secs(10)),
            async {
                lifecycle.ending().await;
                assert!(matches!(lifecycle.begin(), Err(CallError::Draining { scope: Scope::Host })));
                assert!(lifecycle.keep().is_none());
                drop(kept);
                tokio::time::sleep(Duration::from_secs(5)).await;
                drop(quick);
            },
            async {
                lifecycle.closed().await;
                drop(slow);
            }
        );
        assert_eq!(report, DrainReport { finished: 1, cancelled: 1, warm_instances: 1 });
    }

    #[tokio::test(start_paused = true)]
    async fn draining_ends_as_soon_as_nothing_runs() {
        let lifecycle = Lifecycle::new(Scope::Tenant);
        let begun = Instant::now();
        let report = lifecycle.drain(Duration::MAX).await;
        assert_eq!(report, DrainReport { finished: 0, cancelled: 0, warm_instances: 0 });
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert!(matches!(lifecycle.begin(), Err(CallError::Draining { scope: Scope::Tenant })));
    }
}
