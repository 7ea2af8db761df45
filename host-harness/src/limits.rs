//! What one call may use up.
//!
//! Two clocks are needed: epochs count only while the guest runs, and a guest that waits in the host is
//! bounded by the deadline alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use wasmtime::ResourceLimiter;

/// How often the epoch counts up: the grain of [`Limits::cpu`].
pub(crate) const EPOCH_TICK: Duration = Duration::from_millis(10);

/// What one call may use up. Start from [`Limits::default`] and change fields.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Linear memory, in bytes.
    pub memory_bytes: usize,
    /// Elements of all tables.
    pub table_elements: usize,
    /// How long the guest may compute, in steps of 10 ms. Waiting in the host does not count, but coming
    /// back from a wait can count as one step.
    pub cpu: Duration,
    /// From the beginning of a call to its end, waiting included. See also
    /// [`Tenant::with_deadline`](crate::Tenant::with_deadline).
    pub deadline: Duration,
    /// How much earlier the guest is told to end, so that it can still answer with its own error.
    pub deadline_margin: Duration,
    /// Name resolution, TCP and TLS handshake of one connection together.
    pub connect_timeout: Duration,
    /// HTTP exchanges of one tenant at the same time, over all of its calls.
    pub http_concurrency: usize,
    /// The body of one HTTP response, in bytes.
    pub response_bytes: u64,
    /// All HTTP bodies of one call in both directions, in bytes.
    pub http_body_bytes: u64,
    /// Sockets that one call, or one warm instance, has at the same time.
    pub sockets: usize,
    /// What one call reads from and writes to all of its sockets together, in bytes.
    pub socket_bytes: u64,
    /// Instances that are kept warm for one tenant; calls beyond that run in instances of their own. See
    /// [`Connector::open`](crate::Connector::open).
    pub warm_instances: usize,
    /// How long a warm instance is kept after its last call.
    pub warm_idle: Duration,
    /// The in-memory size of one set of HTTP headers, in bytes.
    pub header_bytes: usize,
    /// What a function may hand to the host at once (its result above all), in bytes.
    pub hostcall_bytes: usize,
    /// Standard output and standard error that are logged; the rest is dropped. In bytes.
    pub log_bytes: usize,
    /// Random bytes of one request.
    pub random_bytes: u64,
    /// Handles (streams, requests, timers ...) at the same time.
    pub handles: usize,
}

impl Default for Limits {
    /// Bounds that leave ample room to a connector of an HTTP API and still let one machine run hundreds of
    /// calls at once.
    fn default() -> Self {
        Self {
            memory_bytes: 64 << 20,
            table_elements: 20_000,
            cpu: Duration::from_secs(10),
            deadline: Duration::from_secs(60),
            deadline_margin: Duration::from_millis(500),
            connect_timeout: Duration::from_secs(10),
            http_concurrency: 16,
            response_bytes: 8 << 20,
            http_body_bytes: 64 << 20,
            sockets: 8,
            socket_bytes: 256 << 20,
            warm_instances: 64,
            warm_idle: Duration::from_secs(300),
            header_bytes: 64 << 10,
            hostcall_bytes: 32 << 20,
            log_bytes: 64 << 10,
            random_bytes: 1 << 20,
            handles: 1_024,
        }
    }
}

/// A limit that ended a call, raised from inside wasmtime and found again in the error that comes out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LimitHit {
    #[error("the CPU budget is used up")]
    Cpu,
    #[error("{wanted} bytes of memory asked for, {limit} allowed")]
    Memory { wanted: usize, limit: usize },
    #[error("{wanted} table elements asked for, {limit} allowed")]
    Table { wanted: usize, limit: usize },
}

/// Bounds memory and tables of a store, and says which bound it was.
pub(crate) struct StoreLimiter {
    memory_bytes: usize,
    table_elements: usize,
    /// Linear memory that was granted so far, in bytes; it never shrinks.
    granted: usize,
}

impl StoreLimiter {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { memory_bytes: limits.memory_bytes, table_elements: limits.table_elements, granted: 0 }
    }

    /// The most linear memory that the store has had, in bytes.
    pub(crate) fn memory_high_water(&self) -> usize {
        self.granted
    }
}

impl ResourceLimiter for StoreLimiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        // All memories of the component count together.
        let wanted = self.granted.saturating_add(desired.saturating_sub(current));
        if wanted > self.memory_bytes {
            return Err(LimitHit::Memory { wanted, limit: self.memory_bytes }.into());
        }
        self.granted = wanted;
        Ok(true)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        if desired > self.table_elements {
            return Err(LimitHit::Table { wanted: desired, limit: self.table_elements }.into());
        }
        Ok(true)
    }

    // A component is a few core instances, each with one memory and a few tables; more is an attack.
    fn instances(&self) -> usize {
        64
    }

    fn tables(&self) -> usize {
        64
    }

    fn memories(&self) -> usize {
        4
    }
}

/// A number of bytes that several bodies share.
#[derive(Clone, Debug)]
pub(crate) struct ByteBudget {
    left: Arc<AtomicU64>,
    limit: u64,
}

impl ByteBudget {
    pub(crate) fn new(limit: u64) -> Self {
        Self { left: Arc::new(AtomicU64::new(limit)), limit }
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// What has not been taken.
    pub(crate) fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }

    /// Takes `bytes` out; false, and nothing taken, where there are not that many left.
    pub(crate) fn take(&self, bytes: u64) -> bool {
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_ok()
    }

    /// Puts back what was taken and not used.
    pub(crate) fn give_back(&self, bytes: u64) {
        self.left.fetch_add(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::ByteBudget;

    #[test]
    fn a_byte_budget_never_goes_below_zero() {
        let budget = ByteBudget::new(10);
        assert!(budget.take(6));
        assert!(!budget.take(5));
        assert!(budget.take(4));
        assert!(!budget.take(1));
    }
}
