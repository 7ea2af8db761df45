//! The computing time of a call: the processor time of the guest's polls, and the time that the host computes for the
//! call on other threads.

use std::cell::Cell;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::limits::lines::Lines;

/// The processor time that this thread has used. It does not advance while the thread waits or another thread runs.
#[cfg(unix)]
pub(crate) fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    // Both parts are never negative for this clock.
    Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// The wall clock, on systems without a clock for threads. Time during which the thread is interrupted counts as well.
#[cfg(not(unix))]
pub(crate) fn thread_time() -> Duration {
    use std::sync::LazyLock;
    use std::time::Instant;

    static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);
    BEGUN.elapsed()
}

/// Sums up the computing time of a call.
#[derive(Debug)]
pub(crate) struct CpuClock {
    spent: AtomicU64,
    /// Nanoseconds that the host computed for the call on other threads.
    beside: AtomicU64,
    /// [`thread_time`] when the current poll began, or [`RESTING`].
    polled: AtomicU64,
}

const RESTING: u64 = u64::MAX;

impl Default for CpuClock {
    fn default() -> Self {
        Self { spent: AtomicU64::new(0), beside: AtomicU64::new(0), polled: AtomicU64::new(RESTING) }
    }
}

impl CpuClock {
    /// Counts the time that polls of `guest` take.
    #[cfg(test)]
    pub(crate) fn counting<F: Future>(&self, guest: F) -> Counting<'_, F> {
        Counting { guest: Box::pin(guest), clock: self, payer: None }
    }

    /// Counts the time that polls of `guest` take, and tells `payer` where it has reached its limit: a guest that waits is
    /// not asked at epochs, while the host may compute for it in the same polls.
    pub(crate) fn counting_for<'a, F: Future>(&'a self, payer: &'a Payer, guest: F) -> Counting<'a, F> {
        Counting { guest: Box::pin(guest), clock: self, payer: Some(payer) }
    }

    /// The time spent until now. During a poll, only the thread that polls may call this.
    pub(crate) fn spent(&self) -> Duration {
        Duration::from_nanos(self.own().saturating_add(self.beside.load(Ordering::Relaxed)))
    }

    /// The time spent until now without the current poll. Any thread may call this.
    fn settled(&self) -> Duration {
        let own = self.spent.load(Ordering::Relaxed);
        Duration::from_nanos(own.saturating_add(self.beside.load(Ordering::Relaxed)))
    }

    fn own(&self) -> u64 {
        let running = match self.polled.load(Ordering::Relaxed) {
            RESTING => 0,
            polled => nanos(thread_time()).saturating_sub(polled),
        };
        self.spent.load(Ordering::Relaxed).saturating_add(running)
    }

    /// Returns the time spent until now, and counts from zero again.
    pub(crate) fn take(&self) -> Duration {
        let [own, beside] = [&self.spent, &self.beside].map(|spent| spent.swap(0, Ordering::Relaxed));
        Duration::from_nanos(own.saturating_add(beside))
    }
}

/// The call that pays for work of the host outside its guest, mostly for its connections: with computing time and with
/// lines of the log.
#[derive(Debug)]
pub(crate) struct Payer {
    clock: Arc<CpuClock>,
    /// The longest time that the call may compute, guest and host together.
    limit: Duration,
    exhausted: CancellationToken,
    lines: Arc<Lines>,
}

impl Payer {
    pub(crate) fn new(clock: Arc<CpuClock>, limit: Duration, lines: Arc<Lines>) -> Arc<Self> {
        Arc::new(Self { clock, limit, exhausted: CancellationToken::new(), lines })
    }

    pub(crate) fn charge(&self, computed: Duration) {
        self.clock.beside.fetch_add(nanos(computed), Ordering::Relaxed);
        if self.clock.settled() >= self.limit {
            self.exhausted.cancel();
        }
    }

    /// The bound on what libraries log about the call.
    pub(crate) fn lines(&self) -> &Arc<Lines> {
        &self.lines
    }

    /// Resolves when the call has used up its computing time. It ends a call whose guest waits: such a guest is not
    /// polled, so that nothing else would notice.
    pub(crate) async fn exhausted(&self) {
        self.exhausted.cancelled().await;
    }
}

/// Measures each poll of a future, and passes the computing time of that poll to `charge`.
pub(crate) fn measured<F: Future, C: Fn(Duration)>(future: F, charge: C) -> Measured<F, C> {
    Measured { future: Box::pin(future), charge }
}

/// See [`measured`].
pub(crate) struct Measured<F, C> {
    future: Pin<Box<F>>,
    charge: C,
}

impl<F: Future, C: Fn(Duration) + Unpin> Future for Measured<F, C> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let begun = thread_time();
        let _polling = Polling(POLLED.replace(Some(begun)));
        let polled = self.future.as_mut().poll(context);
        (self.charge)(thread_time().saturating_sub(begun));
        polled
    }
}

thread_local! {
    /// [`thread_time`] when the poll began that is measured now.
    static POLLED: Cell<Option<Duration>> = const { Cell::new(None) };
}

/// Ends the measurement of a poll, also if the poll panics.
struct Polling(Option<Duration>);

impl Drop for Polling {
    fn drop(&mut self) {
        POLLED.set(self.0);
    }
}

/// Whether the future that this thread polls now has used CPU time of `turn` or longer, so that it should yield.
pub(crate) fn is_turn_over(turn: Duration) -> bool {
    POLLED.get().is_some_and(|begun| thread_time().saturating_sub(begun) >= turn)
}

fn nanos(time: Duration) -> u64 {
    // Only a time of more than five hundred years does not fit. The result must stay below `RESTING`.
    u64::try_from(time.as_nanos()).unwrap_or(RESTING - 1)
}

/// See [`CpuClock::counting_for`].
pub(crate) struct Counting<'a, F> {
    guest: Pin<Box<F>>,
    clock: &'a CpuClock,
    payer: Option<&'a Payer>,
}

/// Adds the time of a poll to the sum, also if the poll panics.
struct Polled<'a> {
    clock: &'a CpuClock,
    payer: Option<&'a Payer>,
    _polling: Polling,
}

impl Drop for Polled<'_> {
    fn drop(&mut self) {
        let spent = self.clock.own();
        self.clock.polled.store(RESTING, Ordering::Relaxed);
        self.clock.spent.store(spent, Ordering::Relaxed);
        if let Some(payer) = self.payer {
            payer.charge(Duration::ZERO);
        }
    }
}

impl<F: Future> Future for Counting<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let begun = thread_time();
        self.clock.polled.store(nanos(begun), Ordering::Relaxed);
        let _polling = Polling(POLLED.replace(Some(begun)));
        let _polled = Polled { clock: self.clock, payer: self.payer, _polling };
        self.guest.as_mut().poll(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    /// Computes until this thread has used `time` of a processor.
    fn compute(time: Duration) {
        let until = thread_time() + time;
        while thread_time() < until {
            std::hint::spin_loop();
        }
    }

    #[tokio::test]
    async fn what_is_computed_beside_a_guest_that_waits_counts_and_ends_it() {
        let clock = Arc::new(CpuClock::default());
        let payer = Payer::new(clock.clone(), Duration::from_millis(20), Lines::new("", &Limits::default()));
        let step = Duration::from_millis(5);
        let beside = async {
            loop {
                compute(step);
                tokio::task::yield_now().await;
            }
        };
        let beside = measured(beside, |computed| payer.charge(computed));
        tokio::select! {
            () = clock.counting(payer.exhausted()) => {}
            () = beside => {}
        }
        let spent = clock.spent();
        assert!((step * 4..step * 12).contains(&spent), "{spent:?}");
        assert_eq!(clock.take(), spent);
        assert_eq!(clock.spent(), Duration::ZERO);
    }

    #[tokio::test]
    async fn computing_counts_and_waiting_does_not() {
        let clock = CpuClock::default();
        let step = Duration::from_millis(5);
        clock
            .counting(async {
                for steps in 1..4 {
                    compute(step);
                    let spent = clock.spent();
                    assert!(spent >= step * steps, "{spent:?}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            })
            .await;
        let spent = clock.spent();
        assert!((step * 3..step * 9).contains(&spent), "{spent:?}");
        assert_eq!(clock.take(), spent);
        assert_eq!(clock.spent(), Duration::ZERO);
    }
}
