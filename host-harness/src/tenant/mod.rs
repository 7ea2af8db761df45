//! Who calls: limits, permissions and connections of one tenant, shared with no other.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::egress::Network;
use crate::error::{Scope, TenantError};
use crate::limits::fair::TenantId;
use crate::limits::{Limits, permits};
use crate::operators::lifecycle::{DrainReport, Lifecycle};
use crate::options::TenantOptions;

/// One tenant. Cheap to clone; clones share connections, TLS sessions and quotas.
#[derive(Clone)]
pub struct Tenant {
    inner: Arc<TenantInner>,
    deadline: Duration,
    cancellation: Option<CancellationToken>,
}

pub(crate) struct TenantInner {
    pub(crate) network: Arc<Network>,
    pub(crate) call_permits: Semaphore,
    pub(crate) warm_permits: Arc<Semaphore>,
    pub(crate) lifecycle: Lifecycle,
}

impl Tenant {
    /// Sets a tenant up.
    ///
    /// # Errors
    ///
    /// [`TenantError`] where its trust roots cannot be read.
    pub fn new(options: TenantOptions) -> Result<Self, TenantError> {
        let deadline = options.limits.deadline;
        let call_permits = Semaphore::new(permits(options.limits.concurrent_calls));
        let warm_permits = Arc::new(Semaphore::new(permits(options.limits.warm_instances)));
        let network = Network::new(options)?;
        let inner = TenantInner { network, call_permits, warm_permits, lifecycle: Lifecycle::new(Scope::Tenant) };
        Ok(Self { inner: Arc::new(inner), deadline, cancellation: None })
    }

    /// The same tenant with another deadline for its calls.
    #[must_use]
    pub fn with_deadline(&self, deadline: Duration) -> Self {
        Self { deadline, ..self.clone() }
    }

    /// The same tenant; its calls end with [`CallError::Cancelled`](crate::CallError::Cancelled) once the token is
    /// cancelled. Dropping a call's future ends it as well, without an answer.
    #[must_use]
    pub fn with_cancellation(&self, token: CancellationToken) -> Self {
        Self { cancellation: Some(token), ..self.clone() }
    }

    /// Ends all running calls with [`CallError::Cancelled`](crate::CallError::Cancelled), and every later one, and
    /// closes the connections of the HTTP pool: idle ones at once, others a second later at the latest.
    pub fn close(&self) {
        self.inner.lifecycle.close();
        self.inner.network.pool.close();
    }

    /// Closes the connections of the HTTP pool that no exchange uses; the next exchanges connect again. They are closed
    /// after [`Limits::http_idle`] by themselves.
    pub fn close_idle_connections(&self) {
        self.inner.network.pool.close_idle();
    }

    /// Ends the tenant in good order: takes no more calls ([`CallError::Draining`](crate::CallError::Draining)),
    /// discards its warm instances, waits for the calls that run, and cancels those that run still after `within`; then
    /// closes the connections of the HTTP pool as [`Self::close`] does.
    ///
    /// Where the future is dropped, calls stay refused and nothing is cancelled any more: drain again, with whatever time
    /// there is.
    pub async fn drain(&self, within: Duration) -> DrainReport {
        let report = self.inner.lifecycle.drain(within).await;
        self.inner.network.pool.close();
        report
    }

    /// For logs, spans and measurements.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.network.options.name
    }

    /// From the beginning of a call to its end.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    pub(crate) fn inner(&self) -> &Arc<TenantInner> {
        &self.inner
    }

    pub(crate) fn network(&self) -> &Arc<Network> {
        &self.inner.network
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.inner.network.options.limits
    }

    /// The same for all clones, and for no other tenant.
    pub(crate) fn id(&self) -> TenantId {
        self.inner.network.id()
    }

    /// Resolves once the calls of this very clone are to end.
    pub(crate) async fn cancelled(&self) {
        match &self.cancellation {
            Some(token) => token.cancelled().await,
            None => std::future::pending().await,
        }
    }
}

impl fmt::Debug for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tenant")
            .field("options", &self.inner.network.options)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}
