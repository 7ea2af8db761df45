//! What all calls of one tenant share for their network access: [`Network`].

use std::sync::Arc;

use rustls::RootCertStore;
use tokio::sync::Semaphore;

use super::addresses::Addresses;
use super::connector::VettedConnector;
use super::pool::Pool;
use super::resolver::Resolver;
use super::trust;
use crate::error::TenantError;
use crate::limits::fair::{Rate, TenantId};
use crate::limits::{ByteBudget, permits};
use crate::operators::telemetry::TenantMeter;
use crate::options::TenantOptions;

/// The options, connections, TLS sessions and quotas of one tenant.
pub(crate) struct Network {
    pub(crate) options: TenantOptions,
    pub(crate) pool: Arc<Pool>,
    pub(super) resolver: Resolver,
    /// The certificate authorities that the operator trusts for the tenant.
    pub(super) roots: Arc<RootCertStore>,
    pub(super) http_permits: Arc<Semaphore>,
    pub(super) requests: Rate,
    pub(super) connects: Arc<Rate>,
    pub(crate) buffers: ByteBudget,
    pub(crate) meter: Arc<TenantMeter>,
}

impl Network {
    /// # Errors
    ///
    /// [`TenantError`] if the trust roots cannot be read.
    pub(crate) fn new(options: TenantOptions) -> Result<Arc<Self>, TenantError> {
        let limits = &options.limits;
        let meter = Arc::new(TenantMeter::new(&options.name));
        let resolver = Resolver::new(options.resolver.clone(), Addresses::of(&options), limits);
        let connects = Arc::new(Rate::new(limits.connections_per_second));
        let roots = Arc::new(trust::roots(&options.trust_roots)?);
        let connector =
            VettedConnector::new(&options, roots.clone(), resolver.clone(), connects.clone(), meter.clone())?;
        let pool = Pool::new(connector, limits);
        let requests = Rate::new(limits.http_requests_per_second);
        let http_permits = Arc::new(Semaphore::new(permits(limits.http_concurrency)));
        let buffers = ByteBudget::new(limits.tenant_buffer_bytes);
        Ok(Arc::new(Self { options, pool, resolver, roots, http_permits, requests, connects, buffers, meter }))
    }

    /// The tenant's id: equal for all clones of a tenant, different for other tenants.
    pub(crate) fn id(self: &Arc<Self>) -> TenantId {
        Arc::as_ptr(self).addr()
    }
}
