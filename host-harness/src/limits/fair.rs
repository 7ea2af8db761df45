//! Fair queues: [`Gate`] bounds what all tenants do at the same time, [`Rate`] bounds what one of them does in a
//! second.
//!
//! A plain semaphore serves its waiters in the order of arrival, so a tenant with a thousand waiting calls makes all
//! other tenants wait behind those calls. [`Gate`] serves the tenant that holds the fewest turns; tenants with equally
//! many alternate. Within a tenant, the oldest waiter is served first.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

/// A bound on how many turns all tenants together hold at the same time. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Gate {
    limit: usize,
    lines: Arc<Mutex<Lines>>,
}

/// Identifies a tenant for as long as it lives.
pub(crate) type TenantId = usize;

#[derive(Default)]
struct Lines {
    inside: usize,
    tenants: HashMap<TenantId, Line>,
    /// Tenants that have a waiter, in the order in which they are served.
    order: BTreeSet<Precedence>,
    tickets: u64,
    /// The current round. In each round, every tenant that waits is served once.
    round: u64,
}

#[derive(Default)]
struct Line {
    inside: usize,
    waiting: BTreeMap<u64, oneshot::Sender<Turn>>,
    /// The round in which this tenant's next waiter is served.
    round: u64,
}

/// The sort key of a waiting tenant: the turns that it holds, the round of its next waiter, that waiter's ticket, the
/// tenant. The smallest key is served first.
type Precedence = (usize, u64, u64, TenantId);

impl Line {
    fn precedence(&self, tenant: TenantId) -> Option<Precedence> {
        self.waiting.keys().next().map(|oldest| (self.inside, self.round, *oldest, tenant))
    }
}

impl Lines {
    /// Changes one tenant's line and updates the tenant's place in the order.
    fn change<T>(&mut self, tenant: TenantId, change: impl FnOnce(&mut Line) -> T) -> T {
        let line = self.tenants.entry(tenant).or_default();
        if let Some(precedence) = line.precedence(tenant) {
            self.order.remove(&precedence);
        }
        let changed = change(line);
        match line.precedence(tenant) {
            Some(precedence) => drop(self.order.insert(precedence)),
            // The round of a tenant without waiters is only needed to rank it behind tenants that still wait.
            None if line.inside == 0 && (line.round <= self.round || self.order.is_empty()) => {
                self.tenants.remove(&tenant);
            }
            None => {}
        }
        changed
    }

    fn join(&mut self, tenant: TenantId, waiting: oneshot::Sender<Turn>) -> u64 {
        self.tickets += 1;
        let (ticket, round) = (self.tickets, self.round);
        self.change(tenant, |line| {
            if line.waiting.is_empty() {
                line.round = line.round.max(round);
            }
            line.waiting.insert(ticket, waiting);
        });
        ticket
    }

    fn let_in(&mut self, gate: &Gate) {
        while self.inside < gate.limit
            && let Some(&(_, round, _, tenant)) = self.order.first()
        {
            self.round = self.round.max(round);
            let next = self.change(tenant, |line| {
                line.inside += 1;
                line.round += 1;
                line.waiting.pop_first()
            });
            self.inside += 1;
            let turn = Turn { gate: Some(gate.clone()), tenant };
            if let Some((_, waiting)) = next
                && let Err(mut refused) = waiting.send(turn)
            {
                // The waiter has gone. Dropping the turn would lock `lines` again, which is locked here, so the turn
                // must not end by itself.
                refused.gate = None;
                self.leave(tenant);
            }
        }
        // Forgets tenants without turns and waiters whose round no longer affects the order.
        if self.tenants.len() > 2 * (self.inside + self.order.len()) + FORGOTTEN {
            let round = if self.order.is_empty() { u64::MAX } else { self.round };
            self.tenants.retain(|_, line| line.inside > 0 || !line.waiting.is_empty() || line.round > round);
        }
    }

    fn leave(&mut self, tenant: TenantId) {
        self.inside -= 1;
        self.change(tenant, |line| line.inside -= 1);
    }
}

/// How many tenants without turns and waiters may be remembered in any case.
const FORGOTTEN: usize = 64;

impl Gate {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, lines: Arc::default() }
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Waits for a turn.
    pub(crate) async fn enter(&self, tenant: TenantId) -> Turn {
        let (_waiter, turn) = {
            let mut lines = self.lines();
            let (sender, turn) = oneshot::channel();
            let ticket = lines.join(tenant, sender);
            lines.let_in(self);
            (Waiter { gate: self, tenant, ticket }, turn)
        };
        match turn.await {
            Ok(turn) => turn,
            // A sender is removed from its line only with a turn, or when this future is dropped.
            Err(_) => std::future::pending().await,
        }
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A turn. It ends when this value is dropped.
pub(crate) struct Turn {
    gate: Option<Gate>,
    tenant: TenantId,
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(gate) = self.gate.take() {
            let mut lines = gate.lines();
            lines.leave(self.tenant);
            lines.let_in(&gate);
        }
    }
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn").finish_non_exhaustive()
    }
}

/// Removes a waiter from its line when its future is dropped.
struct Waiter<'a> {
    gate: &'a Gate,
    tenant: TenantId,
    ticket: u64,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.gate.lines().change(self.tenant, |line| line.waiting.remove(&self.ticket));
    }
}

/// A token bucket: a number of turns per second, and as many at once after a pause. Its state is the instant at which
/// it is full.
#[derive(Debug)]
pub(crate) struct Rate {
    per_second: u32,
    full: Mutex<Option<Instant>>,
}

impl Rate {
    pub(crate) fn new(per_second: u32) -> Self {
        Self { per_second, full: Mutex::new(None) }
    }

    pub(crate) fn per_second(&self) -> u32 {
        self.per_second
    }

    /// Waits for a turn. Returns false immediately if no turn comes before `until`.
    pub(crate) async fn turn(&self, until: Instant) -> bool {
        match self.reserve(until) {
            // The timer counts whole milliseconds and rounds up, so a turn that has come must not ask it.
            Some(turn) => {
                if turn > Instant::now() {
                    sleep_until(turn).await;
                }
                true
            }
            None => false,
        }
    }

    /// Reserves the next turn and returns its instant, or none (and reserves nothing) if that is after `until`. Turns
    /// are given out in the order of the requests.
    fn reserve(&self, until: Instant) -> Option<Instant> {
        let interval = Duration::from_secs(1).checked_div(self.per_second)?;
        let now = Instant::now();
        let mut full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        let after = full.unwrap_or(now).max(now) + interval;
        // A full bucket holds the turns of one second.
        let turn = after.checked_sub(Duration::from_secs(1)).unwrap_or(now).max(now);
        if turn > until {
            return None;
        }
        *full = Some(after);
        Some(turn)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const FLOOD: TenantId = 1;
    const QUIET: TenantId = 2;

    #[tokio::test]
    async fn a_flooding_tenant_does_not_make_a_quiet_one_wait_behind_it() {
        let gate = Gate::new(2);
        let mut inside = vec![gate.enter(FLOOD).await, gate.enter(FLOOD).await];
        let mut flood: Vec<_> = (0..100).map(|_| Box::pin(gate.enter(FLOOD))).collect();
        flood.iter_mut().for_each(|waiting| assert!(waiting.now_or_never().is_none()));
        let mut quiet = Box::pin(gate.enter(QUIET));
        assert!((&mut quiet).now_or_never().is_none());
        // The next turn goes to the quiet tenant, although a hundred waiters of the other tenant came earlier.
        inside.pop();
        let turn = (&mut quiet).now_or_never().unwrap();
        assert!(flood.iter_mut().all(|waiting| waiting.now_or_never().is_none()));
        // Within a tenant, the oldest waiter is served first.
        drop(turn);
        assert!((&mut flood[0]).now_or_never().is_some());
    }

    /// With only one slot, all waiting tenants hold equally few turns, so the slot goes round.
    #[tokio::test]
    async fn equals_are_served_by_turns() {
        let gate = Gate::new(1);
        let served = Mutex::new(Vec::new());
        let held = gate.enter(FLOOD).await;
        let call = async |tenant| {
            let turn = gate.enter(tenant).await;
            served.lock().unwrap().push(tenant);
            tokio::task::yield_now().await;
            drop(turn);
        };
        let flood = async { tokio::join!(call(1), call(1), call(1), call(1), call(1), call(1)) };
        // Two tenants come back as soon as they were served. The tenant `QUIET` comes only one time.
        let third = async { (call(3).await, call(3).await, call(3).await) };
        let fourth = async { (call(4).await, call(4).await, call(4).await) };
        let begin = async { drop(held) };
        tokio::join!(flood, third, fourth, call(QUIET), begin);
        let served = served.into_inner().unwrap();
        let position = served.iter().position(|tenant| *tenant == QUIET).unwrap();
        assert!(position <= 4, "{served:?}");
        // No waiting tenant is more than two turns ahead of another.
        for end in 1..=8 {
            let count = |tenant| served[..end].iter().filter(|it| **it == tenant).count();
            assert!(count(1).abs_diff(count(3)) <= 2 && count(3).abs_diff(count(4)) <= 1, "{served:?}");
        }
    }

    #[tokio::test]
    async fn tenants_that_stay_away_are_forgotten() {
        let gate = Gate::new(1);
        let mut held = gate.enter(FLOOD).await;
        for tenant in 10..1_000 {
            let mut waiting = Box::pin(gate.enter(tenant));
            assert!((&mut waiting).now_or_never().is_none());
            drop(held);
            held = waiting.await;
        }
        assert!(gate.lines().tenants.len() <= FORGOTTEN + 4, "{}", gate.lines().tenants.len());
    }

    #[tokio::test]
    async fn whoever_gives_up_leaves_nothing_behind() {
        let gate = Gate::new(1);
        let held = gate.enter(FLOOD).await;
        for _ in 0..10 {
            assert!(Box::pin(gate.enter(QUIET)).as_mut().now_or_never().is_none());
        }
        let sizes = || {
            let lines = gate.lines();
            (lines.inside, lines.tenants.contains_key(&QUIET), lines.order.len())
        };
        assert_eq!(sizes(), (1, false, 0));
        // This waiter is given a turn, and its future is dropped before it takes the turn.
        let mut waiting = Box::pin(gate.enter(QUIET));
        assert!((&mut waiting).now_or_never().is_none());
        drop(held);
        assert_eq!(sizes(), (1, true, 0));
        drop(waiting);
        assert_eq!(sizes(), (0, false, 0));
        drop(gate.enter(QUIET).await);
    }

    #[tokio::test]
    async fn turns_are_shared_out_evenly() {
        let gate = Gate::new(4);
        let mut turns: Vec<_> = Vec::new();
        for _ in 0..4 {
            turns.push(gate.enter(FLOOD).await);
        }
        let mut waiting: Vec<_> =
            [1, 1, 1, 1, 2, 2, 2, 2].into_iter().map(|tenant| Box::pin(gate.enter(tenant))).collect();
        waiting.iter_mut().for_each(|waiting| assert!(waiting.now_or_never().is_none()));
        // Two turns end. The other tenant gets both slots, so that both tenants hold two.
        turns.truncate(2);
        let lines = gate.lines();
        assert_eq!((lines.tenants[&1].inside, lines.tenants[&2].inside), (2, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_allows_a_burst_and_then_so_many_a_second() {
        let rate = Rate::new(10);
        let begun = Instant::now();
        let far = begun + Duration::from_secs(60);
        for _ in 0..10 {
            assert!(rate.turn(far).await);
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
        for _ in 0..20 {
            assert!(rate.turn(far).await);
        }
        assert!((Duration::from_millis(1_990)..Duration::from_millis(2_010)).contains(&begun.elapsed()));
        // A turn that would come after the deadline is refused immediately, and nothing is reserved.
        let now = Instant::now();
        for _ in 0..100 {
            assert!(!rate.turn(now + Duration::from_millis(50)).await);
        }
        assert_eq!(now.elapsed(), Duration::ZERO);
        assert!(rate.turn(now + Duration::from_millis(150)).await);
        assert!(!Rate::new(0).turn(far).await);
    }
}
