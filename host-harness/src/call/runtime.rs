//! What all calls of a process share: [`Runtime`].

use std::sync::Arc;

use tokio::sync::Semaphore;
use wasmtime::Engine;

use crate::error::CallError;
use crate::limits::fair::Gate;
use crate::limits::processor::Processors;
use crate::limits::{LimitExceeded, LimitName, Limits};
use crate::operators::lifecycle::Lifecycle;
use crate::operators::telemetry::Metrics;
use crate::options::HostOptions;

/// The wasmtime engine, and the bounds that all tenants share.
pub(crate) struct Runtime {
    pub(crate) engine: Engine,
    pub(crate) calls: Gate,
    pub(crate) processors: Processors,
    pub(crate) exchanges: Gate,
    pub(crate) lookups: Gate,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) warm_permits: Arc<Semaphore>,
    pub(crate) options: HostOptions,
}

impl Runtime {
    /// The limits that the host's instance pool must provide for: name, value for this tenant, and the most that this
    /// host allows.
    fn pooled<'l>(&self, limits: &'l mut Limits) -> [(LimitName, &'l mut usize, usize); 4] {
        let &HostOptions { max_memory_bytes, max_table_elements, max_core_instances, max_memories, .. } = &self.options;
        let Limits { memory_bytes, table_elements, instances, memories, .. } = limits;
        [
            (LimitName::MaxMemoryBytes, memory_bytes, max_memory_bytes),
            (LimitName::MaxTableElements, table_elements, max_table_elements),
            (LimitName::MaxCoreInstances, instances, max_core_instances as usize),
            (LimitName::MaxMemories, memories, max_memories as usize),
        ]
    }

    /// Checks that the tenant's limits are within what this host allows.
    ///
    /// # Errors
    ///
    /// [`CallError::HostLimit`].
    pub(crate) fn grants(&self, limits: &Limits) -> Result<(), CallError> {
        match self.pooled(&mut limits.clone()).into_iter().find(|(_, wanted, allowed)| **wanted > *allowed) {
            Some((name, wanted, allowed)) => Err(CallError::HostLimit(LimitExceeded::new(name, *wanted, allowed))),
            None => Ok(()),
        }
    }

    /// The given limits, lowered to what this host allows.
    pub(crate) fn granted(&self, mut limits: Limits) -> Limits {
        for (_, wanted, allowed) in self.pooled(&mut limits) {
            *wanted = allowed.min(*wanted);
        }
        limits
    }
}
