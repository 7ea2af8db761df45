//! The tenants on whose behalf calls are made. Each tenant has its own limits, permissions and connections.

mod accounts;

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
use accounts::Accounts;

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
    pub(crate) accounts: Accounts,
}

impl Tenant {
    /// Sets a tenant up.
    ///
    /// # Errors
    ///
    /// [`TenantError`] if its trust roots cannot be read.
    pub fn new(options: TenantOptions) -> Result<Self, TenantError> {
        let deadline = options.limits.deadline;
        let call_permits = Semaphore::new(permits(options.limits.concurrent_calls));
        let warm_permits = Arc::new(Semaphore::new(permits(options.limits.warm_instances)));
        let network = Network::new(options)?;
        let (lifecycle, accounts) = (Lifecycle::new(Scope::Tenant), Accounts::default());
        let inner = TenantInner { network, call_permits, warm_permits, lifecycle, accounts };
        Ok(Self { inner: Arc::new(inner), deadline, cancellation: None })
    }

    /// The same tenant with another deadline for its calls.
    #[must_use]
    pub fn with_deadline(&self, deadline: Duration) -> Self {
        Self { deadline, ..self.clone() }
    }

    /// The same tenant. When the token is cancelled, calls through this clone end with
    /// [`CallError::Cancelled`](crate::CallError::Cancelled). Dropping a call's future also ends the call, without an
    /// answer.
    #[must_use]
    pub fn with_cancellation(&self, token: CancellationToken) -> Self {
        Self { cancellation: Some(token), ..self.clone() }
    }

    /// Ends all running and all later calls with [`CallError::Cancelled`](crate::CallError::Cancelled), and closes the
    /// connections of the HTTP pool: idle connections at once, all others within a second.
    pub fn close(&self) {
        self.inner.lifecycle.close();
        self.inner.network.pool.close();
    }

    /// Closes the connections of the HTTP pool that no exchange uses; later exchanges connect again. Without this call,
    /// idle connections are closed after [`Limits::http_idle`].
    pub fn close_idle_connections(&self) {
        self.inner.network.pool.close_idle();
    }

    /// Shuts the tenant down: refuses new calls ([`CallError::Draining`](crate::CallError::Draining)), discards its
    /// warm instances, waits for running calls, and cancels the calls that are still running after `within`. Then
    /// closes the connections of the HTTP pool as [`Self::close`] does.
    ///
    /// If the future is dropped, new calls are still refused, but running calls are no longer cancelled. Call this
    /// function again to finish, with as much time as is left.
    pub async fn drain(&self, within: Duration) -> DrainReport {
        let report = self.inner.lifecycle.drain(within).await;
        self.inner.network.pool.close();
        report
    }

    /// The tenant's name in logs, spans and metrics.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.network.options.name
    }

    /// The longest duration of a call, from its beginning to its end.
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

    /// The id is the same for all clones of a tenant, and differs from that of every other tenant.
    pub(crate) fn id(&self) -> TenantId {
        self.inner.network.id()
    }

    /// Waits until the token of this clone is cancelled.
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
