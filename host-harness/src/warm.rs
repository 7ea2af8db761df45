//! An instance that is kept between the calls on one account.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::calls::{Route, calls};
use crate::connection::Connection;
use crate::connector::Connector;
use crate::egress::AllowList;
use crate::error::CallError;
use crate::exports::{self, WireCall, WirePollRequest};
use crate::host::HostInner;
use crate::interface::action::{Call, Outcome};
use crate::interface::connection::{Report, Validation};
use crate::interface::discovery::{Choices, ChoicesRequest, Direction};
use crate::interface::trigger::{Event, Page, Partition, PollRequest, Received, ReceivedRequest, Subscription};
use crate::interface::types;
use crate::judge::{Judge, asked_events};
use crate::limits::from_now;
use crate::run::{Live, answer, either};
use crate::tenant::Tenant;

/// One instance of a connector for the calls on one account, kept between them: what the connector remembers lives on,
/// above all its open connections. Cheap to clone; clones share the instance. Made by [`Connector::open`].
///
/// - One call runs at a time; others wait for their turn, in order, within their deadlines
///   ([`CallError::Occupied`] where it did not come).
/// - Every limit is counted anew for each call. Between calls nothing of the guest runs, and no task of the host works
///   for it: bytes that arrive wait in the kernel.
/// - The instance is discarded after a crash, an exceeded limit, a deadline or a dropped future, and after
///   [`Limits::warm_idle`](crate::Limits::warm_idle) without a call; the next call is given a new one. A connector's own
///   error is none of these.
/// - An instance that is discarded without a fault is told before (`lifecycle.release`), so that it can end its
///   connections in good order. One whose last clone is dropped is not: [`Self::discard`] it where that matters.
/// - Where a tenant has [`Limits::warm_instances`](crate::Limits::warm_instances) already, or the host
///   [`HostOptions::warm_instances`](crate::HostOptions::warm_instances), a call runs in an instance of its own.
#[derive(Clone)]
pub struct WarmInstance {
    connector: Connector,
    tenant: Tenant,
    connection: Arc<Connection>,
    allowed: Arc<AllowList>,
    place: Arc<Place>,
}

impl WarmInstance {
    pub(crate) fn new(connector: Connector, tenant: Tenant, connection: Connection, allowed: Arc<AllowList>) -> Self {
        Self { connector, tenant, connection: Arc::new(connection), allowed, place: Arc::default() }
    }

    /// The same instance with another deadline for its calls.
    #[must_use]
    pub fn with_deadline(&self, deadline: Duration) -> Self {
        Self { tenant: self.tenant.with_deadline(deadline), ..self.clone() }
    }

    /// The same instance; calls through this clone end as those of
    /// [`Tenant::with_cancellation`](crate::Tenant::with_cancellation), and the instance with them.
    #[must_use]
    pub fn with_cancellation(&self, token: CancellationToken) -> Self {
        Self { tenant: self.tenant.with_cancellation(token), ..self.clone() }
    }

    /// Another instance for the same account, for calls that run at the same time as this one's.
    #[must_use]
    pub fn sibling(&self) -> Self {
        Self { place: Arc::default(), ..self.clone() }
    }

    /// Discards the instance, and with it its connections, once the calls that wait already are done. The connector is
    /// told before, and has [`Limits::farewell`](crate::Limits::farewell) to end what it keeps in good order.
    pub async fn discard(&self) {
        // The place stays taken until the end: the next call must not meet its predecessor at the service.
        let mut occupied = self.place.occupy().await;
        if let Some(live) = occupied.take() {
            release(live, &self.tenant, self.connector.host()).await;
        }
    }

    /// The linear memory of the instance, in bytes, after the calls that wait already; none where no instance is kept.
    /// Memory of WebAssembly never shrinks: it is the most that any call has used.
    pub async fn memory_bytes(&self) -> Option<usize> {
        self.place.0.lock().await.as_ref().map(|kept| kept.live.memory_bytes())
    }

    /// Handles (streams, requests, timers ...) that the instance holds between calls, after the calls that wait already; none
    /// where no instance is kept.
    pub async fn handles(&self) -> Option<usize> {
        self.place.0.lock().await.as_mut().map(|kept| kept.live.handles())
    }

    calls!(|self| { Route::new(&self.connector, &self.tenant, &self.connection, Some((&self.place, &self.allowed))) });
}

impl fmt::Debug for WarmInstance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WarmInstance")
            .field("connector", &self.connector)
            .field("tenant", &self.tenant.name())
            .finish_non_exhaustive()
    }
}

/// Where an instance is kept; empty while it is at work.
#[derive(Default)]
pub(crate) struct Place(Mutex<Option<Kept>>);

struct Kept {
    live: Live,
    /// Empties the place after a while, unless a call was faster.
    reaper: AbortOnDrop,
    /// What waits for the instance's end when the tenant or the host is drained.
    kept: [TaskTrackerToken; 2],
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

impl Place {
    /// Waits for the turn of a call.
    pub(crate) async fn occupy(self: &Arc<Self>) -> Occupied<'_> {
        Occupied { place: self, kept: self.0.lock().await }
    }
}

/// The place of an instance, for the length of a call.
pub(crate) struct Occupied<'a> {
    place: &'a Arc<Place>,
    kept: MutexGuard<'a, Option<Kept>>,
}

impl Occupied<'_> {
    /// The instance, which is not in its place from here on.
    pub(crate) fn take(&mut self) -> Option<Live> {
        self.kept.take().map(|kept| kept.live)
    }

    /// Keeps the instance for the next call. It comes back where there is to be none.
    pub(crate) fn put(&mut self, live: Live, tenant: &Tenant, host: &Arc<HostInner>) -> Option<Live> {
        let Some(kept) = host.lifecycle.keep().zip(tenant.inner().lifecycle.keep()) else { return Some(live) };
        let reaper = tokio::spawn(reap(Arc::downgrade(self.place), tenant.clone(), host.clone()));
        *self.kept = Some(Kept { live, reaper: AbortOnDrop(Some(reaper)), kept: kept.into() });
        None
    }
}

/// Empties a place once it was idle for too long, or its tenant or host comes to an end.
async fn reap(place: Weak<Place>, tenant: Tenant, host: Arc<HostInner>) {
    tokio::select! {
        () = tokio::time::sleep(tenant.limits().warm_idle) => {}
        () = tenant.inner().lifecycle.ending() => {}
        () = host.lifecycle.ending() => {}
    }
    if let Some(place) = place.upgrade() {
        // A call that came first has ended this task by taking the instance.
        let mut kept = place.0.lock().await;
        if let Some(Kept { live, reaper, kept: _counted }) = kept.take() {
            // This very task, which has work left.
            reaper.detach();
            tracing::debug!(tenant = tenant.name(), "a warm instance was idle; it is discarded");
            release(live, &tenant, &host).await;
        }
    }
}

async fn release(live: Live, tenant: &Tenant, host: &HostInner) {
    let release = live.release(tenant, from_now(tenant.limits().farewell));
    host.processors.share(tenant.id(), release).await;
}
