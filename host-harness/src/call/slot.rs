//! Keeps an instance between the calls on one account: [`Slot`].

use std::sync::{Arc, Weak};

use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinHandle;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::instance::Instance;
use super::runtime::Runtime;
use crate::limits::from_now;
use crate::tenant::Tenant;

/// Holds a kept instance; empty while the instance runs a call.
#[derive(Default)]
pub(crate) struct Slot(Mutex<Option<Idle>>);

/// An instance between two calls.
struct Idle {
    instance: Instance,
    /// The task that empties the slot after the idle time, unless a call takes the instance first.
    reaper: AbortOnDrop,
    /// While these exist, draining the tenant or the host waits for the end of the instance.
    _awaited: [TaskTrackerToken; 2],
}

struct AbortOnDrop(Option<JoinHandle<()>>);

impl AbortOnDrop {
    /// Lets the task continue when this value is dropped.
    fn detach(mut self) {
        self.0 = None;
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

impl Slot {
    /// Discards the instance after the calls that are already waiting, and releases what it holds.
    pub(crate) async fn discard(self: &Arc<Self>, tenant: &Tenant, runtime: &Runtime) {
        // The slot stays occupied until the release is over: the next instance must not meet its predecessor at the
        // service.
        let mut occupied = self.occupy().await;
        if let Some(instance) = occupied.take() {
            release(instance, tenant, runtime).await;
        }
    }

    /// See [`Instance::memory_bytes`].
    pub(crate) async fn memory_bytes(&self) -> Option<usize> {
        self.0.lock().await.as_ref().map(|idle| idle.instance.memory_bytes())
    }

    /// See [`Instance::handles`].
    pub(crate) async fn handles(&self) -> Option<usize> {
        self.0.lock().await.as_mut().map(|idle| idle.instance.handles())
    }

    /// Waits until no other call uses the slot.
    pub(crate) async fn occupy(self: &Arc<Self>) -> Occupied<'_> {
        Occupied { slot: self, idle: self.0.lock().await }
    }
}

/// Exclusive use of a slot, for the length of one call.
pub(crate) struct Occupied<'a> {
    slot: &'a Arc<Slot>,
    idle: MutexGuard<'a, Option<Idle>>,
}

impl Occupied<'_> {
    /// Takes the instance out of its slot.
    pub(crate) fn take(&mut self) -> Option<Instance> {
        self.idle.take().map(|idle| idle.instance)
    }

    /// Keeps the instance for the next call. Returns the instance where none may be kept: the tenant or the host is
    /// ending.
    pub(crate) fn put(&mut self, instance: Instance, tenant: &Tenant, runtime: &Arc<Runtime>) -> Option<Instance> {
        let Some(awaited) = runtime.lifecycle.keep().zip(tenant.inner().lifecycle.keep()) else {
            return Some(instance);
        };
        let reaper = tokio::spawn(reap(Arc::downgrade(self.slot), tenant.clone(), runtime.clone()));
        *self.idle = Some(Idle { instance, reaper: AbortOnDrop(Some(reaper)), _awaited: awaited.into() });
        None
    }
}

/// Empties a slot that was idle for too long, or whose tenant or host is ending.
async fn reap(slot: Weak<Slot>, tenant: Tenant, runtime: Arc<Runtime>) {
    tokio::select! {
        () = tokio::time::sleep(tenant.limits().warm_idle) => {}
        () = tenant.inner().lifecycle.ending() => {}
        () = runtime.lifecycle.ending() => {}
    }
    if let Some(slot) = slot.upgrade() {
        // A call that took the instance first has also ended this task.
        let mut idle = slot.0.lock().await;
        if let Some(Idle { instance, reaper, _awaited }) = idle.take() {
            // The reaper is this very task, which must still release the instance.
            reaper.detach();
            tracing::debug!(
                tenant = tenant.name(),
                "a warm instance was idle for too long, or its tenant or host is ending; it is discarded"
            );
            release(instance, &tenant, &runtime).await;
        }
    }
}

async fn release(instance: Instance, tenant: &Tenant, runtime: &Runtime) {
    let release = instance.release(tenant, from_now(tenant.limits().release_timeout));
    runtime.processors.share(tenant.id(), release).await;
}
