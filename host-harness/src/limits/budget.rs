//! Bytes that several users share, and the memory and tables of one wasmtime store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use wasmtime::ResourceLimiter;

use super::{LimitExceeded, Limits};

/// A limit that ended a call. It is raised inside wasmtime and read back from the error that wasmtime returns.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LimitHit {
    #[error("the CPU budget is used up")]
    Cpu,
    #[error("{wanted} bytes of memory asked for, {limit} allowed")]
    Memory { wanted: usize, limit: usize },
    #[error("{wanted} table elements asked for, {limit} allowed")]
    Table { wanted: usize, limit: usize },
    #[error("{0}")]
    Other(LimitExceeded),
}

/// Bounds the memory and tables of a store. Its error states which bound was exceeded.
pub(crate) struct StoreLimiter {
    memory_bytes: usize,
    table_elements: usize,
    instances: usize,
    memories: usize,
    /// Linear memory that was granted until now, in bytes. It never shrinks.
    granted: usize,
    /// Table elements that were granted until now. The number never shrinks.
    granted_elements: usize,
}

impl StoreLimiter {
    pub(crate) fn new(limits: &Limits) -> Self {
        let &Limits { memory_bytes, table_elements, instances, memories, .. } = limits;
        Self { memory_bytes, table_elements, instances, memories, granted: 0, granted_elements: 0 }
    }

    /// The largest linear memory that the store has had, in bytes.
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

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        // All tables of the component count together.
        let wanted = self.granted_elements.saturating_add(desired.saturating_sub(current));
        if wanted > self.table_elements {
            return Err(LimitHit::Table { wanted, limit: self.table_elements }.into());
        }
        self.granted_elements = wanted;
        Ok(true)
    }

    fn instances(&self) -> usize {
        self.instances
    }

    fn tables(&self) -> usize {
        self.instances
    }

    fn memories(&self) -> usize {
        self.memories
    }
}

/// A number of bytes that all clones of this value share.
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

    /// The bytes that are not taken.
    pub(crate) fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }

    /// Takes `bytes` until the returned value is dropped. None if fewer bytes are left.
    pub(crate) fn reserve(&self, bytes: u64) -> Option<Reservation> {
        self.take(bytes).then(|| Reservation { budget: self.clone(), bytes })
    }

    /// Takes `bytes`. Returns false, and takes nothing, if fewer bytes are left.
    pub(crate) fn take(&self, bytes: u64) -> bool {
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_ok()
    }

    /// Returns bytes that were taken and not used.
    pub(crate) fn give_back(&self, bytes: u64) {
        self.left.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Bytes of a [`ByteBudget`] that stay reserved until this value is dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: ByteBudget,
    bytes: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::ByteBudget;

    #[test]
    fn a_reservation_ends_with_its_value() {
        let budget = ByteBudget::new(10);
        let held = budget.reserve(8).unwrap();
        assert!(budget.reserve(8).is_none());
        drop(held);
        assert_eq!(budget.left(), 10);
    }

    #[test]
    fn a_byte_budget_never_goes_below_zero() {
        let budget = ByteBudget::new(10);
        assert!(budget.take(6));
        assert!(!budget.take(5));
        assert!(budget.take(4));
        assert!(!budget.take(1));
    }
}
