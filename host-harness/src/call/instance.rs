//! One instance of a component: [`Instance`].

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};
use wasmtime::Store;
use wasmtime::component::{self, ComponentExportIndex};

use super::state::{State, begin_call};
use crate::egress::{AllowList, CallContext, Exchange};
use crate::limits::from_now;
use crate::operators::telemetry::LiveInstance;
use crate::tenant::Tenant;

/// An instance of a component, with its store.
pub(crate) struct Instance {
    pub(super) store: Store<State>,
    pub(super) functions: component::Instance,
    /// The index of `lifecycle.release`, where the connector has this function.
    pub(super) release: Option<ComponentExportIndex>,
    /// The hosts and ports that the instance's account may connect to.
    pub(super) allowed: Arc<AllowList>,
    /// Its permits to stay warm, one from the tenant and one from the host. Without permits the instance must not
    /// outlive its call.
    pub(super) warm: Option<[OwnedSemaphorePermit; 2]>,
    pub(super) _counted: LiveInstance,
}

impl Instance {
    /// Asks the instance to release what it holds. A failure is only logged: the instance has already ended its calls
    /// without a fault, and nobody depends on the release.
    pub(crate) async fn release(mut self, tenant: &Tenant, until: Instant) {
        let limits = tenant.limits();
        let until = until.min(from_now(limits.release_timeout));
        let Some(release) = self.release.filter(|_| !limits.release_timeout.is_zero()) else { return };
        let exchange = Exchange::within(tenant.network(), self.allowed.clone(), until, CallContext::default());
        let _ending = exchange.until_dropped();
        begin_call(&mut self.store, limits, exchange.clone());
        let mut errands = exchange.errands().attend();
        let released = timeout_at(until, async {
            let function = self.functions.get_typed_func::<(), ()>(&mut self.store, release)?;
            function.call_async(&mut self.store, ()).await
        });
        let released = exchange.counting(errands.beside(released));
        match released.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(tenant = tenant.name(), "an instance failed to release what it held: {error:#}")
            }
            Err(_) => tracing::warn!(tenant = tenant.name(), "an instance took too long to release what it held"),
        }
        errands.beside(exchange.end()).await;
    }
}

impl Instance {
    /// The size of its linear memory in bytes. Linear memory never shrinks.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.store.data().memory_high_water()
    }

    /// The number of handles that it holds.
    pub(crate) fn handles(&mut self) -> usize {
        self.store.data_mut().handles()
    }
}
