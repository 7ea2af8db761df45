//! Keeps instances between the calls on one account: [`Shelf`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::instance::Instance;
use super::runtime::Runtime;
use crate::limits::{after, from_now};
use crate::tenant::Tenant;

/// Whether the calls of a shelf run one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Each call waits for the one before, and all run in the same instance.
    OneByOne,
    /// Calls run at the same time, each in an instance for itself.
    AtOnce,
}

/// The kept instances of an account that run no call.
pub(crate) struct Shelf {
    order: Order,
    /// Calls of [`Order::AtOnce`] share this lock; a call of [`Order::OneByOne`] and whoever discards have it alone.
    turns: RwLock<()>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The one that was used last is last, so that those which are not needed grow old.
    idle: Vec<Idle>,
    /// The task that discards instances which were idle for too long.
    reaper: Option<AbortOnDrop>,
}

/// An instance between two calls.
struct Idle {
    instance: Instance,
    since: Instant,
    /// While these exist, draining the tenant or the host waits for the end of the instance.
    _awaited: [TaskTrackerToken; 2],
}

struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Shelf {
    pub(crate) fn new(order: Order) -> Arc<Self> {
        Arc::new(Self { order, turns: RwLock::default(), state: Mutex::default() })
    }

    /// Discards the instances after the calls that are already waiting, and releases what they hold.
    pub(crate) async fn discard(&self, tenant: &Tenant, runtime: &Runtime) {
        // No call begins until the release is over: the next instance must not meet its predecessor at the service.
        let _alone = self.turns.write().await;
        let idle = std::mem::take(&mut self.state().idle);
        release(idle, tenant, runtime).await;
    }

    /// The largest memory of an idle instance, see [`Instance::memory_bytes`].
    pub(crate) async fn memory_bytes(&self) -> Option<usize> {
        let _alone = self.turns.write().await;
        self.state().idle.iter().map(|idle| idle.instance.memory_bytes()).max()
    }

    /// The handles of all idle instances, see [`Instance::handles`].
    pub(crate) async fn handles(&self) -> Option<usize> {
        let _alone = self.turns.write().await;
        let mut state = self.state();
        let handles = state.idle.iter_mut().map(|idle| idle.instance.handles());
        handles.reduce(|one, other| one + other)
    }

    /// Waits for the calls before this one, where there is an order.
    pub(crate) async fn occupy(self: &Arc<Self>) -> Occupied<'_> {
        let turn = match self.order {
            Order::OneByOne => Turn::Alone { _guard: self.turns.write().await },
            Order::AtOnce => Turn::Shared { _guard: self.turns.read().await },
        };
        Occupied { shelf: self, _turn: turn }
    }

    /// Removes the instances that have been idle for as long as `longest`.
    fn take_old(&self, longest: Duration) -> Vec<Idle> {
        let now = Instant::now();
        self.state().idle.extract_if(.., |idle| after(idle.since, longest) <= now).collect()
    }

    /// When the next instance will have been idle for as long as `longest`. None, and the end of the reaper, where none
    /// is idle.
    fn next_end(&self, longest: Duration) -> Option<Instant> {
        let mut state = self.state();
        let next = state.idle.iter().map(|idle| after(idle.since, longest)).min();
        if next.is_none() {
            state.reaper = None;
        }
        next
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Turn<'a> {
    Alone { _guard: RwLockWriteGuard<'a, ()> },
    Shared { _guard: RwLockReadGuard<'a, ()> },
}

/// The use of a shelf, for the length of one call.
pub(crate) struct Occupied<'a> {
    shelf: &'a Arc<Shelf>,
    _turn: Turn<'a>,
}

impl Occupied<'_> {
    /// Takes an instance from the shelf.
    pub(crate) fn take(&mut self) -> Option<Instance> {
        self.shelf.state().idle.pop().map(|idle| idle.instance)
    }

    /// Keeps the instance for a later call. Returns the instance where none may be kept: the tenant or the host is
    /// ending.
    pub(crate) fn put(&mut self, instance: Instance, tenant: &Tenant, runtime: &Arc<Runtime>) -> Option<Instance> {
        let Some(awaited) = runtime.lifecycle.keep().zip(tenant.inner().lifecycle.keep()) else {
            return Some(instance);
        };
        let mut state = self.shelf.state();
        state.idle.push(Idle { instance, since: Instant::now(), _awaited: awaited.into() });
        state.reaper.get_or_insert_with(|| {
            AbortOnDrop(tokio::spawn(reap(Arc::downgrade(self.shelf), tenant.clone(), runtime.clone())))
        });
        None
    }
}

/// Discards the instances that were idle for too long, or whose tenant or host is ending.
async fn reap(shelf: Weak<Shelf>, tenant: Tenant, runtime: Arc<Runtime>) {
    let mut longest = tenant.limits().warm_idle;
    while let Some(next) = shelf.upgrade().and_then(|shelf| shelf.next_end(longest)) {
        tokio::select! {
            () = sleep_until(next) => {}
            () = tenant.inner().lifecycle.ending() => longest = Duration::ZERO,
            () = runtime.lifecycle.ending() => longest = Duration::ZERO,
        }
        let Some(shelf) = shelf.upgrade() else { return };
        let (tenant, runtime) = (tenant.clone(), runtime.clone());
        // A task of its own, since this one ends with the shelf, and a release must not.
        let discarding = tokio::spawn(async move {
            // In an order, the next instance must not meet its predecessor at the service.
            let alone = match shelf.order {
                Order::OneByOne => Some(shelf.turns.write().await),
                Order::AtOnce => None,
            };
            let old = shelf.take_old(longest);
            if !old.is_empty() {
                tracing::debug!(
                    tenant = tenant.name(),
                    instances = old.len(),
                    "warm instances were idle for too long, or their tenant or host is ending; they are discarded"
                );
            }
            release(old, &tenant, &runtime).await;
            drop(alone);
        });
        // It fails only with the runtime.
        let _ = discarding.await;
    }
}

async fn release(idle: Vec<Idle>, tenant: &Tenant, runtime: &Runtime) {
    let releases = idle.into_iter().map(|Idle { instance, _awaited, .. }| async move {
        let release = instance.release(tenant, from_now(tenant.limits().release_timeout));
        runtime.processors.share(tenant.id(), release).await;
    });
    join_all(releases).await;
}
