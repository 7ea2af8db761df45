//! What an exchange or a socket needs from its call: [`CallContext`].

use std::sync::Arc;

use crate::limits::fair::Gate;
use crate::limits::processor::Processors;
use crate::operators::telemetry::CallMeter;

/// What the exchanges and sockets of a call share.
#[derive(Clone, Default)]
pub(crate) struct CallContext {
    pub(crate) meter: Arc<CallMeter>,
    /// The bound on HTTP exchanges of all tenants. None without a host.
    pub(crate) exchanges: Option<Gate>,
    /// The bound on name look-ups of all tenants. None without a host.
    pub(crate) lookups: Option<Gate>,
    /// The slots for computing, which all tenants share. None without a host.
    pub(crate) processors: Option<Processors>,
}
