//! Shares computing time evenly between tenants.
//!
//! An async runtime polls the task that was woken first, so a tenant with a hundred running calls would get a hundred
//! times the processor time of a tenant with one call. Here a woken call waits until one of a few slots is free (see
//! [`HostOptions::computing_calls`](crate::HostOptions::computing_calls)), and the runtime polls the call only when it
//! has a slot. A free slot goes to the tenant that has computed the least. A guest that computes for long yields at
//! every epoch, which limits how long it keeps a slot. One tenant can hold all slots but one, so that another tenant
//! need not wait until a flood of calls yields. A tenant without work does not save up computing time for later.
//!
//! A call with a slot may never be polled, because the holder of its future does not poll it. Such a slot goes to
//! another call, see [`Processors::expire`].

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;

use crate::limits::cpu::thread_time;
use crate::limits::fair::TenantId;

/// The usual value of `Queue::patience`.
const PATIENCE: Duration = Duration::from_millis(5);

/// The slots for computing. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Processors(Arc<Mutex<Queue>>);

#[derive(Default)]
struct Queue {
    free: usize,
    /// The largest number of slots that one tenant may hold.
    reach: usize,
    shares: HashMap<TenantId, Share>,
    /// Tenants that have a waiting call and may hold another slot. The tenant that has computed the least is first.
    order: BTreeSet<(Duration, TenantId)>,
    /// The largest `computed` of all tenants when they were given a slot.
    level: Duration,
    states: HashMap<u64, State>,
    tickets: u64,
    /// How long a call may leave a slot unused that it was given.
    patience: Duration,
    /// Slots that were given and are not used yet, the oldest first. The list may also contain slots that were used
    /// meanwhile.
    given: VecDeque<(Instant, TenantId, u64)>,
}

#[derive(Default)]
struct Share {
    computed: Duration,
    calls: usize,
    /// Slots that the tenant's calls were given and have not returned.
    slots: usize,
    /// Waiting calls in the order in which they were woken. The list may also contain calls that have ended.
    waiting: VecDeque<Arc<Ticket>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Never polled, or not polled when it had a slot. It waits for a slot only after its next poll.
    Away,
    /// Must not be polled before it is woken.
    Asleep,
    /// Woken, and waiting for a slot.
    Waiting,
    /// A slot has been kept for the call since this instant.
    Given(Instant),
    /// Being polled. `again` is true if it was woken meanwhile.
    Running { again: bool },
}

/// A call's entry in the queue. It is also the waker for everything that the call waits for.
struct Ticket {
    processors: Processors,
    tenant: TenantId,
    number: u64,
    /// The waker with which the runtime is asked to poll the call.
    outer: AtomicWaker,
}

impl Processors {
    /// Makes `slots` slots. A single tenant may hold all but one of them.
    pub(crate) fn new(slots: usize) -> Self {
        Self::with_patience(slots, PATIENCE)
    }

    fn with_patience(slots: usize, patience: Duration) -> Self {
        let free = slots.max(1);
        Self(Arc::new(Mutex::new(Queue { free, reach: (free - 1).max(1), patience, ..Queue::default() })))
    }

    /// Wraps a future so that it is polled only in a slot of its tenant.
    pub(crate) fn share<F: Future>(&self, tenant: TenantId, future: F) -> Shared<F> {
        let mut queue = self.queue();
        let computed = queue.beginning();
        queue.shares.entry(tenant).or_insert_with(|| Share { computed, ..Share::default() }).calls += 1;
        queue.tickets += 1;
        let number = queue.tickets;
        queue.states.insert(number, State::Away);
        let ticket = Arc::new(Ticket { processors: self.clone(), tenant, number, outer: AtomicWaker::new() });
        Shared { future: Box::pin(future), entry: Entry(ticket) }
    }

    /// Takes back slots of calls that are not polled. Must be called every few milliseconds.
    pub(crate) fn expire(&self) {
        self.change(|queue| {
            while let Some(&(since, tenant, number)) = queue.given.front()
                && since.elapsed() >= queue.patience
            {
                queue.given.pop_front();
                if queue.states.get(&number) == Some(&State::Given(since)) {
                    queue.states.insert(number, State::Away);
                    queue.take_back(tenant);
                }
            }
        });
    }

    /// Changes the queue and gives free slots out. Then unlocks the queue and wakes the calls that were given a slot.
    fn change<T>(&self, change: impl FnOnce(&mut Queue) -> T) -> T {
        let (changed, turns) = {
            let mut queue = self.queue();
            (change(&mut queue), queue.give_slots())
        };
        for turn in turns {
            turn.outer.wake();
        }
        changed
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// The lowest `computed` of a tenant that comes back: the value of the tenant that is served next. With a lower
    /// value, a tenant that was away for long would get all slots for a while.
    fn beginning(&self) -> Duration {
        self.order.first().map_or(self.level, |(least, _)| *least)
    }

    /// A call that was asleep or away can continue: puts it in line.
    fn wake(&mut self, ticket: &Arc<Ticket>) {
        let beginning = self.beginning();
        if let Some(share) = self.shares.get_mut(&ticket.tenant)
            && share.slots == 0
            && share.waiting.is_empty()
        {
            share.computed = share.computed.max(beginning);
        }
        self.stand_in_line(ticket);
    }

    fn stand_in_line(&mut self, ticket: &Arc<Ticket>) {
        self.states.insert(ticket.number, State::Waiting);
        if let Some(share) = self.shares.get_mut(&ticket.tenant) {
            share.waiting.push_back(Arc::clone(ticket));
        }
        self.rank(ticket.tenant);
    }

    /// Puts a tenant into the order if it has a waiting call and may hold another slot.
    fn rank(&mut self, tenant: TenantId) {
        if let Some(share) = self.shares.get(&tenant)
            && !share.waiting.is_empty()
            && share.slots < self.reach
        {
            self.order.insert((share.computed, tenant));
        }
    }

    fn give_slots(&mut self) -> Vec<Arc<Ticket>> {
        let mut turns = Vec::new();
        while self.free > 0
            && let Some((computed, tenant)) = self.order.pop_first()
        {
            let Some(share) = self.shares.get_mut(&tenant) else { continue };
            if let Some(ticket) = share.waiting.pop_front()
                && self.states.get(&ticket.number) == Some(&State::Waiting)
            {
                let now = Instant::now();
                self.states.insert(ticket.number, State::Given(now));
                self.given.push_back((now, tenant, ticket.number));
                share.slots += 1;
                self.free -= 1;
                self.level = self.level.max(computed);
                turns.push(ticket);
            }
            self.rank(tenant);
        }
        turns
    }

    /// Returns true, and marks the slot as used, if the call was given one.
    fn take(&mut self, ticket: &Ticket) -> bool {
        let given = self.states.get_mut(&ticket.number).filter(|state| matches!(state, State::Given(_)));
        given.map(|state| *state = State::Running { again: false }).is_some()
    }

    /// Takes a slot of a tenant back.
    fn take_back(&mut self, tenant: TenantId) {
        self.free += 1;
        if let Some(share) = self.shares.get_mut(&tenant) {
            share.slots -= 1;
        }
        self.rank(tenant);
    }

    fn charge(&mut self, tenant: TenantId, computed: Duration) {
        if let Some(share) = self.shares.get_mut(&tenant) {
            self.order.remove(&(share.computed, tenant));
            share.computed += computed;
            self.rank(tenant);
        }
    }

    fn leave(&mut self, ticket: &Ticket) {
        if let Some(State::Given(_)) = self.states.remove(&ticket.number) {
            self.take_back(ticket.tenant);
        }
        if let Some(share) = self.shares.get_mut(&ticket.tenant) {
            share.calls -= 1;
            if share.calls == 0 {
                self.order.remove(&(share.computed, ticket.tenant));
                self.shares.remove(&ticket.tenant);
            }
        }
    }
}

impl Wake for Ticket {
    fn wake(self: Arc<Self>) {
        Self::wake_by_ref(&self);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.processors.change(|queue| match queue.states.get_mut(&self.number) {
            Some(State::Asleep) => queue.wake(self),
            Some(State::Running { again }) => *again = true,
            Some(State::Away | State::Waiting | State::Given(_)) | None => {}
        });
    }
}

/// A future that is polled in slots; see [`Processors::share`].
pub(crate) struct Shared<F> {
    future: Pin<Box<F>>,
    entry: Entry,
}

/// Removes the call from the queue when it is dropped.
struct Entry(Arc<Ticket>);

impl Entry {
    /// Whether the call may be polled now. Otherwise its waker is called when it may.
    fn take_slot(&self) -> bool {
        let Self(ticket) = self;
        // All steps happen under one lock. If the slot were taken back between them, the call would never be polled
        // again.
        let (taken, turns) = {
            let mut queue = ticket.processors.queue();
            if queue.states.get(&ticket.number) == Some(&State::Away) {
                queue.wake(ticket);
            }
            let turns = queue.give_slots();
            (queue.take(ticket), turns)
        };
        // The call itself uses its slot already and needs no waking.
        for turn in turns.iter().filter(|turn| turn.number != ticket.number) {
            turn.outer.wake();
        }
        taken
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.0.processors.change(|queue| queue.leave(&self.0));
    }
}

/// A slot in use. It is returned when this value is dropped, also if a poll panics.
struct Slot<'a> {
    ticket: &'a Arc<Ticket>,
    /// The thread's computing time when the poll began.
    since: Duration,
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let Self { ticket, since } = self;
        ticket.processors.change(|queue| {
            queue.charge(ticket.tenant, thread_time().saturating_sub(*since));
            queue.take_back(ticket.tenant);
            if queue.states.insert(ticket.number, State::Asleep) == Some(State::Running { again: true }) {
                queue.stand_in_line(ticket);
            }
        });
    }
}

impl<F: Future> Future for Shared<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Self { future, entry } = self.get_mut();
        entry.0.outer.register(context.waker());
        if !entry.take_slot() {
            return Poll::Pending;
        }
        let _slot = Slot { ticket: &entry.0, since: thread_time() };
        future.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::clone(&entry.0))))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use futures_util::FutureExt as _;
    use tokio::task::yield_now;

    use super::*;

    const FLOOD: TenantId = 1;
    const QUIET: TenantId = 2;

    /// Computes for a millisecond and yields, `slices` times.
    async fn compute(slices: usize, finished: &AtomicUsize) -> usize {
        for _ in 0..slices {
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_millis(1) {
                std::hint::spin_loop();
            }
            yield_now().await;
        }
        finished.fetch_add(1, Ordering::Relaxed)
    }

    fn unused(processors: &Processors, slots: usize) {
        let queue = processors.queue();
        assert_eq!((queue.free, queue.shares.len(), queue.order.len(), queue.states.len()), (slots, 0, 0, 0));
    }

    /// There is one slot, and fifty calls of the flood come before the quiet tenant's only call.
    #[tokio::test]
    async fn a_quiet_tenant_has_half_of_the_time_beside_a_flood() {
        let processors = Processors::new(1);
        let finished = AtomicUsize::new(0);
        let flood: Vec<_> = (0..50).map(|_| processors.share(FLOOD, compute(10, &finished))).collect();
        let quiet = processors.share(QUIET, compute(10, &finished));
        let (_, place) = tokio::join!(futures_util::future::join_all(flood), quiet);
        // The tenants alternate, so the flood has had about ten turns and hardly any of its calls is done.
        assert!(place < 5, "{place} calls came first");
        unused(&processors, 1);
    }

    /// The flood has one call that waits while the other tenant computes.
    #[tokio::test]
    async fn whoever_waits_saves_no_time_up() {
        let processors = Processors::new(1);
        let mut waiting = processors.share(FLOOD, std::future::pending::<()>());
        assert!((&mut waiting).now_or_never().is_none());
        let finished = AtomicUsize::new(0);
        processors.share(QUIET, compute(1_000, &finished)).await;
        let flood: Vec<_> = (0..50).map(|_| processors.share(FLOOD, compute(10, &finished))).collect();
        let quiet = processors.share(QUIET, compute(10, &finished));
        let (_, place) = tokio::join!(futures_util::future::join_all(flood), quiet);
        assert!(place < 6, "{place} calls came first");
        drop(waiting);
        unused(&processors, 1);
    }

    #[tokio::test]
    async fn one_slot_is_out_of_a_tenants_reach() {
        let processors = Processors::new(3);
        // A call keeps the slot that it was given until it is polled.
        let woken = |tenant| {
            let calls: Vec<_> = (0..10).map(|_| processors.share(tenant, std::future::ready(()))).collect();
            let mut queue = processors.queue();
            calls.iter().for_each(|call| queue.stand_in_line(&call.entry.0));
            queue.give_slots();
            (calls, queue.free)
        };
        let (flood, free) = woken(FLOOD);
        assert_eq!(free, 1);
        let (quiet, free) = woken(QUIET);
        assert_eq!(free, 0);
        drop(flood);
        assert_eq!(processors.queue().free, 1);
        drop(quiet);
        unused(&processors, 3);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn every_call_comes_to_its_end_on_many_threads() {
        let processors = Processors::new(2);
        let running = (0..200_usize).map(|number| {
            let work = async move {
                for _ in 0..20 {
                    yield_now().await;
                    tokio::time::sleep(Duration::from_micros(number as u64)).await;
                }
                number
            };
            tokio::spawn(processors.share(number % 7, work))
        });
        let done: usize = futures_util::future::join_all(running).await.into_iter().map(Result::unwrap).sum();
        assert_eq!(done, 199 * 200 / 2);
        unused(&processors, 2);
    }

    /// Slots are taken back continuously, also from calls that are about to use them.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_call_is_forgotten_whenever_its_slot_is_taken_back() {
        let processors = Processors::with_patience(2, Duration::ZERO);
        let over = Arc::new(AtomicBool::new(false));
        let expiring = std::thread::spawn({
            let (processors, over) = (processors.clone(), over.clone());
            move || {
                while !over.load(Ordering::Relaxed) {
                    processors.expire();
                }
            }
        });
        let running = (0..100_usize).map(|number| {
            let work = async {
                for _ in 0..200 {
                    yield_now().await;
                }
            };
            tokio::spawn(processors.share(number % 7, work))
        });
        let all = futures_util::future::join_all(running);
        let done = tokio::time::timeout(Duration::from_secs(60), all).await;
        over.store(true, Ordering::Relaxed);
        expiring.join().unwrap();
        assert!(done.is_ok(), "a call was never polled again");
        unused(&processors, 2);
    }

    #[tokio::test]
    async fn a_call_that_waits_holds_no_slot() {
        let processors = Processors::new(2);
        let mut waiting: Vec<_> = (0..10).map(|_| processors.share(FLOOD, std::future::pending::<()>())).collect();
        assert!(waiting.iter_mut().all(|future| future.now_or_never().is_none()));
        assert_eq!(processors.queue().free, 2);
        assert_eq!(processors.share(QUIET, async { 7 }).await, 7);
        drop(waiting);
        unused(&processors, 2);
    }

    /// Two calls that are woken while another holds the only slot.
    fn woken_in_line(processors: &Processors) -> [Shared<impl Future<Output = ()>>; 2] {
        let mut line = [(); 2].map(|()| processors.share(QUIET, async {}));
        let mut holding = processors.share(FLOOD, async {
            assert!(line.iter_mut().all(|call| call.now_or_never().is_none()));
        });
        assert!((&mut holding).now_or_never().is_some());
        drop(holding);
        line
    }

    #[tokio::test]
    async fn whoever_is_dropped_with_a_slot_hands_it_on() {
        let processors = Processors::new(1);
        let [first, mut second] = woken_in_line(&processors);
        assert!((&mut second).now_or_never().is_none(), "it is the first one's turn");
        drop(first);
        assert!(second.now_or_never().is_some());
        unused(&processors, 1);
    }

    #[tokio::test]
    async fn a_slot_that_nobody_takes_goes_to_another() {
        let processors = Processors::new(1);
        let [first, mut second] = woken_in_line(&processors);
        tokio::time::sleep(PATIENCE).await;
        processors.expire();
        assert!((&mut second).now_or_never().is_some());
        // A call that is polled late gets a slot like any other.
        assert!(first.now_or_never().is_some());
        drop(second);
        unused(&processors, 1);
    }

    #[test]
    fn a_poll_that_panics_gives_its_slot_back() {
        let processors = Processors::new(1);
        let broken = processors.share(FLOOD, async { panic!("a broken call") });
        let poll = || broken.now_or_never().map(|(): ()| ());
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(poll)).is_err());
        unused(&processors, 1);
    }
}
