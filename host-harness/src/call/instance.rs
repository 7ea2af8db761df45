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

/// An instance in its store.
pub(crate) struct Instance {
    pub(super) store: Store<State>,
    pub(super) functions: component::Instance,
    /// `lifecycle.release`, where the connector has it.
    pub(super) release: Option<ComponentExportIndex>,
    /// What the instance's account opens.
    pub(super) allowed: Arc<AllowList>,
    /// The share of the bounds on warm instances. Without it the instance must not outlive its call.
    pub(super) warm: Option<[OwnedSemaphorePermit; 2]>,
    pub(super) _counted: LiveInstance,
}

impl Instance {
    /// Asks the instance to release what it holds. How it does that is its own affair: it has ended its calls without a
    /// fault, and whatever goes wrong here harms nobody.
    pub(crate) async fn release(mut self, tenant: &Tenant, until: Instant) {
        let limits = tenant.limits();
        let until = until.min(from_now(limits.release_timeout));
        let Some(release) = self.release.filter(|_| !limits.release_timeout.is_zero()) else { return };
        let exchange = Exchange::within(tenant.network(), self.allowed.clone(), until, CallContext::default());
        let _ending = exchange.until_dropped();
        begin_call(&mut self.store, limits, exchange.clone());
        let released = timeout_at(until, async {
            let function = self.functions.get_typed_func::<(), ()>(&mut self.store, release)?;
            function.call_async(&mut self.store, ()).await
        });
        let released = exchange.meter().computing().counting(released);
        match released.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(tenant = tenant.name(), "an instance failed to release what it held: {error:#}")
            }
            Err(_) => tracing::warn!(tenant = tenant.name(), "an instance took too long to release what it held"),
        }
        exchange.end().await;
    }
}

impl Instance {
    /// Its linear memory, in bytes; that never shrinks.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.store.data().memory_high_water()
    }

    /// Its handles.
    pub(crate) fn handles(&mut self) -> usize {
        self.store.data_mut().handles()
    }
}
