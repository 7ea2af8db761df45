//! Where an instance is kept between the calls on one account: [`Slot`].

use std::sync::{Arc, Weak};

use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinHandle;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::instance::Instance;
use super::runtime::Runtime;
use crate::limits::from_now;
use crate::tenant::Tenant;

/// Where an instance is kept; empty while it is at work.
#[derive(Default)]
pub(crate) struct Slot(Mutex<Option<Idle>>);

/// An instance between two calls.
struct Idle {
    instance: Instance,
    /// Empties the slot after a while, unless a call was faster.
    reaper: AbortOnDrop,
    /// What waits for the instance's end when the tenant or the host is drained.
    _awaited: [TaskTrackerToken; 2],
}

struct AbortOnDrop(Option<JoinHandle<()>>);

impl AbortOnDrop {
    /// Lets the task go on.
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
    /// Discards the instance, once the calls that wait already are done, and releases what it holds.
    pub(crate) async fn discard(self: &Arc<Self>, tenant: &Tenant, runtime: &Runtime) {
        // The slot stays occupied until the end: the next call must not meet its predecessor at the service.
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

    /// Waits for the turn of a call.
    pub(crate) async fn occupy(self: &Arc<Self>) -> Occupied<'_> {
        Occupied { slot: self, idle: self.0.lock().await }
    }
}

/// The slot of an instance, for the length of a call.
pub(crate) struct Occupied<'a> {
    slot: &'a Arc<Slot>,
    idle: MutexGuard<'a, Option<Idle>>,
}

impl Occupied<'_> {
    /// The instance, which is not in its slot from here on.
    pub(crate) fn take(&mut self) -> Option<Instance> {
        self.idle.take().map(|idle| idle.instance)
    }

    /// Keeps the instance for the next call. It comes back where there is to be none.
    pub(crate) fn put(&mut self, instance: Instance, tenant: &Tenant, runtime: &Arc<Runtime>) -> Option<Instance> {
        let Some(awaited) = runtime.lifecycle.keep().zip(tenant.inner().lifecycle.keep()) else {
            return Some(instance);
        };
        let reaper = tokio::spawn(reap(Arc::downgrade(self.slot), tenant.clone(), runtime.clone()));
        *self.idle = Some(Idle { instance, reaper: AbortOnDrop(Some(reaper)), _awaited: awaited.into() });
        None
    }
}

/// Empties a slot once it was idle for too long, or its tenant or host comes to an end.
async fn reap(slot: Weak<Slot>, tenant: Tenant, runtime: Arc<Runtime>) {
    tokio::select! {
        () = tokio::time::sleep(tenant.limits().warm_idle) => {}
        () = tenant.inner().lifecycle.ending() => {}
        () = runtime.lifecycle.ending() => {}
    }
    if let Some(slot) = slot.upgrade() {
        // A call that came first has ended this task by taking the instance.
        let mut idle = slot.0.lock().await;
        if let Some(Idle { instance, reaper, _awaited }) = idle.take() {
            // This very task, which has work left.
            reaper.detach();
            tracing::debug!(tenant = tenant.name(), "a warm instance was idle; it is discarded");
            release(instance, &tenant, &runtime).await;
        }
    }
}

async fn release(instance: Instance, tenant: &Tenant, runtime: &Runtime) {
    let release = instance.release(tenant, from_now(tenant.limits().release_timeout));
    runtime.processors.share(tenant.id(), release).await;
}
