//! Computing time, shared out evenly between tenants.
//!
//! An async runtime polls whatever was woken first, so that a tenant with a hundred calls under way gets a hundred times
//! as much of the processors as one with a single call. Here every poll of a call needs one of as many slots as there
//! are processors, and a free slot goes to the tenant that has computed the least. A guest that computes for long yields
//! with every epoch, so that no slot is held for longer than that.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Identifies a tenant for as long as it has calls.
type TenantId = usize;

/// The processors. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Processors(Arc<Mutex<Queue>>);

#[derive(Debug)]
struct Queue {
    free: usize,
    shares: HashMap<TenantId, Share>,
    /// Tenants with somebody waiting, who has computed the least first.
    order: BTreeSet<(Duration, TenantId)>,
    /// What the tenant that was served last had computed: where somebody begins who comes anew. Otherwise whoever
    /// was away for long would have everything for a while.
    level: Duration,
    tickets: u64,
    /// Who was given a slot and has yet to take it.
    granted: HashSet<u64>,
}

#[derive(Debug)]
struct Share {
    computed: Duration,
    calls: usize,
    waiting: BTreeMap<u64, Waker>,
}

impl Processors {
    /// So many slots.
    pub(crate) fn new(slots: usize) -> Self {
        Self(Arc::new(Mutex::new(Queue {
            free: slots.max(1),
            shares: HashMap::new(),
            order: BTreeSet::new(),
            level: Duration::ZERO,
            tickets: 0,
            granted: HashSet::new(),
        })))
    }

    /// Polls a future only in slots that are this tenant's turn.
    pub(crate) fn share<F: Future>(&self, tenant: TenantId, future: F) -> Shared<F> {
        let mut queue = self.queue();
        let level = queue.level;
        let share =
            queue.shares.entry(tenant).or_insert_with(|| Share { computed: level, calls: 0, waiting: BTreeMap::new() });
        share.calls += 1;
        queue.tickets += 1;
        let place = Place { processors: self.clone(), tenant, ticket: queue.tickets };
        Shared { place, future: Box::pin(future) }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Changes one tenant's share, and with it the order.
    fn change<T>(&mut self, tenant: TenantId, change: impl FnOnce(&mut Share) -> T) -> Option<T> {
        let share = self.shares.get_mut(&tenant)?;
        if !share.waiting.is_empty() {
            self.order.remove(&(share.computed, tenant));
        }
        let changed = change(share);
        if !share.waiting.is_empty() {
            self.order.insert((share.computed, tenant));
        }
        Some(changed)
    }

    /// Whether a call may be polled; otherwise it waits, and is woken.
    fn take_slot(&mut self, tenant: TenantId, ticket: u64, waker: &Waker) -> bool {
        if self.granted.remove(&ticket) {
            return true;
        }
        if self.free > 0 && self.order.is_empty() {
            self.free -= 1;
            return true;
        }
        self.change(tenant, |share| share.waiting.insert(ticket, waker.clone()));
        self.give_slots();
        // A slot can have been free for it at once.
        self.granted.remove(&ticket)
    }

    fn return_slot(&mut self, tenant: TenantId, computed: Duration) {
        self.change(tenant, |share| share.computed += computed);
        self.free += 1;
        self.give_slots();
    }

    fn give_slots(&mut self) {
        while self.free > 0
            && let Some(&(computed, tenant)) = self.order.first()
        {
            self.level = self.level.max(computed);
            if let Some(Some((ticket, waker))) = self.change(tenant, |share| share.waiting.pop_first()) {
                self.free -= 1;
                self.granted.insert(ticket);
                waker.wake();
            }
        }
    }

    fn leave(&mut self, tenant: TenantId, ticket: u64) {
        let calls = self.change(tenant, |share| {
            share.waiting.remove(&ticket);
            share.calls -= 1;
            share.calls
        });
        if calls == Some(0) {
            self.shares.remove(&tenant);
        }
        if self.granted.remove(&ticket) {
            self.free += 1;
            self.give_slots();
        }
    }
}

/// A future that is polled in slots; see [`Processors::share`].
pub(crate) struct Shared<F> {
    future: Pin<Box<F>>,
    place: Place,
}

/// Where a call stands in its tenant's line.
struct Place {
    processors: Processors,
    tenant: TenantId,
    ticket: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.processors.queue().leave(self.tenant, self.ticket);
    }
}

/// A slot that is in use; it is given back also where a poll panics.
struct Slot<'a> {
    place: &'a Place,
    since: Instant,
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.place.processors.queue().return_slot(self.place.tenant, self.since.elapsed());
    }
}

impl<F: Future> Future for Shared<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Self { future, place } = self.get_mut();
        if !place.processors.queue().take_slot(place.tenant, place.ticket, context.waker()) {
            return Poll::Pending;
        }
        let _slot = Slot { place, since: Instant::now() };
        future.as_mut().poll(context)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt as _;

    use super::*;

    const FLOOD: TenantId = 1;
    const QUIET: TenantId = 2;

    /// Computes for a millisecond and yields, so many times.
    async fn compute(slices: usize, finished: &AtomicUsize) -> usize {
        for _ in 0..slices {
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_millis(1) {
                std::hint::spin_loop();
            }
            tokio::task::yield_now().await;
        }
        finished.fetch_add(1, Ordering::Relaxed)
    }

    /// One slot, and a flood of fifty calls before the quiet tenant's only one.
    #[tokio::test]
    async fn a_quiet_tenant_has_half_of_the_time_beside_a_flood() {
        let processors = Processors::new(1);
        let finished = AtomicUsize::new(0);
        let flood: Vec<_> = (0..50).map(|_| processors.share(FLOOD, compute(10, &finished))).collect();
        let flood = futures_util::future::join_all(flood);
        let quiet = processors.share(QUIET, compute(10, &finished));
        let (_, place) = tokio::join!(flood, quiet);
        // In ten turns of its own, with ten of the flood between them, at the most a few flooding calls are done.
        assert!(place < 5, "{place} calls came first");
        assert!(processors.queue().shares.is_empty());
    }

    #[tokio::test]
    async fn all_slots_are_used_and_come_back() {
        let processors = Processors::new(2);
        let never = || processors.share(FLOOD, std::future::pending::<()>());
        // A future that waits holds no slot.
        let mut waiting: Vec<_> = (0..10).map(|_| never()).collect();
        assert!(waiting.iter_mut().all(|future| future.now_or_never().is_none()));
        assert_eq!(processors.queue().free, 2);
        assert_eq!(processors.share(QUIET, async { 7 }).await, 7);
        drop(waiting);
        let queue = processors.queue();
        assert_eq!((queue.free, queue.shares.len(), queue.order.len(), queue.granted.len()), (2, 0, 0, 0));
    }

    #[tokio::test]
    async fn whoever_is_dropped_with_a_slot_hands_it_on() {
        let processors = Processors::new(1);
        let finished = AtomicUsize::new(0);
        let context = &mut Context::from_waker(Waker::noop());
        let mut first = Box::pin(processors.share(FLOOD, async {
            // Two more queue up behind it while it holds the only slot.
            let mut second = Box::pin(processors.share(QUIET, compute(1, &finished)));
            let mut third = Box::pin(processors.share(QUIET, compute(1, &finished)));
            let context = &mut Context::from_waker(Waker::noop());
            assert!(second.as_mut().poll(context).is_pending());
            assert!(third.as_mut().poll(context).is_pending());
            (second, third)
        }));
        let Poll::Ready((second, third)) = first.as_mut().poll(context) else { panic!("it does not wait") };
        assert_eq!(processors.queue().granted.len(), 1);
        // The slot was meant for the second; the third takes its place.
        drop(second);
        assert_eq!(third.await, 0);
        drop(first);
        assert_eq!(processors.queue().free, 1);
    }

    #[test]
    fn a_poll_that_panics_gives_its_slot_back() {
        let processors = Processors::new(1);
        let mut broken = processors.share(FLOOD, async { panic!("a broken call") });
        let poll = || Pin::new(&mut broken).poll(&mut Context::from_waker(Waker::noop())).map(|(): ()| ());
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(poll)).is_err());
        assert_eq!(processors.queue().free, 1);
    }
}
