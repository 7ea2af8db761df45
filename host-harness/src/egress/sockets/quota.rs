//! What sockets take of the limits on them: [`Share`] for as long as one is open, [`Quota`] by byte.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedSemaphorePermit;

use crate::egress::exchange::Exchange;
use crate::limits::{ByteBudget, LimitExceeded, LimitName, Limits, Reservation};
use crate::operators::telemetry::Way;

/// The largest number of bytes that is read or written at once.
pub(super) const CHUNK: usize = 64 << 10;

/// The largest size of the buffers of both directions of a socket together, in bytes.
pub(super) const BUFFERS: u64 = 2 * CHUNK as u64;

/// The same for a connection with TLS by the host, which also keeps records that are not complete.
pub(super) const TLS_BUFFERS: u64 = 2 * BUFFERS;

/// A socket's share of the limits on sockets and on their buffers.
pub(super) struct Share {
    _open: OwnedSemaphorePermit,
    _buffers: [Reservation; 2],
}

impl Share {
    /// Reserves the buffers of one more socket, in bytes. None if a limit does not permit them.
    pub(super) fn new(open: OwnedSemaphorePermit, exchange: &Exchange, buffers: u64) -> Option<Self> {
        Some(Self { _open: open, _buffers: exchange.reserve(buffers)? })
    }
}

/// The bytes that the sockets of one instance may still read and write in the current call.
pub(super) struct Quota(Mutex<CallQuota>);

struct CallQuota(Arc<Exchange>, ByteBudget);

impl CallQuota {
    fn new(limits: &Limits, exchange: Arc<Exchange>) -> Self {
        Self(exchange, ByteBudget::new(limits.socket_bytes))
    }

    fn take(&self, bytes: u64) -> bool {
        let Self(exchange, budget) = self;
        let taken = budget.take(bytes);
        if !taken {
            let limit = budget.limit();
            let wanted = (limit - budget.left()).saturating_add(bytes);
            exchange.exceed(LimitExceeded::new(LimitName::SocketBytes, wanted, limit));
        }
        taken
    }
}

impl Quota {
    /// A full quota for this call.
    pub(super) fn new(limits: &Limits, exchange: Arc<Exchange>) -> Self {
        Self(Mutex::new(CallQuota::new(limits, exchange)))
    }

    /// Begins a new call with a full quota.
    pub(super) fn begin_call(&self, limits: &Limits, exchange: Arc<Exchange>) {
        *self.current() = CallQuota::new(limits, exchange);
    }

    fn current(&self) -> MutexGuard<'_, CallQuota> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up to `wanted` bytes. None if all are used up.
    pub(super) fn take_some(&self, wanted: usize) -> Option<usize> {
        let current = self.current();
        let granted = current.1.left().min(wanted as u64);
        current.take(granted.max(1)).then(|| usize::try_from(granted).unwrap_or(wanted))
    }

    /// Takes exactly `wanted` bytes for sending. Returns false, and takes nothing, if fewer are left.
    pub(super) fn take_all(&self, wanted: usize) -> bool {
        let current = self.current();
        let taken = current.take(wanted as u64);
        if taken {
            current.0.meter().socket_bytes(Way::Out, wanted as u64);
        }
        taken
    }

    /// Of the `granted` bytes, `read` were received. The others are returned.
    pub(super) fn received(&self, granted: usize, read: usize) {
        let CallQuota(exchange, budget) = &*self.current();
        budget.give_back((granted - read) as u64);
        exchange.meter().socket_bytes(Way::In, read as u64);
    }
}
