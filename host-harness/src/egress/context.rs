//! What an exchange or a socket needs to know of its call: [`CallContext`].

use std::sync::Arc;

use crate::limits::fair::Gate;
use crate::limits::processor::Processors;
use crate::operators::telemetry::CallMeter;

/// What the parts of a call share.
#[derive(Clone, Default)]
pub(crate) struct CallContext {
    pub(crate) meter: Arc<CallMeter>,
    /// The bound on HTTP exchanges over all tenants; none: there is no host to set one.
    pub(crate) exchanges: Option<Gate>,
    /// The bound on name look-ups over all tenants, likewise.
    pub(crate) lookups: Option<Gate>,
    /// What computes, likewise.
    pub(crate) processors: Option<Processors>,
}
