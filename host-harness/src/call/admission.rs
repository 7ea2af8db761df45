//! The frame of every call: decides whether the call may begin, ends it on cancellation, and reports its metrics.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::{Instrument as _, Span, field};

use super::runtime::Runtime;
use crate::egress::CallContext;
use crate::error::CallError;
use crate::operators::telemetry::{CallMeter, Subject};
use crate::tenant::Tenant;

/// One call by the engine. It can run functions of the guest more than once.
pub(crate) struct Supervised<'a> {
    host: &'a Runtime,
    tenant: &'a Tenant,
    context: CallContext,
    span: Span,
    begun: Instant,
    ended: bool,
    _running: [TaskTrackerToken; 2],
}

impl<'a> Supervised<'a> {
    /// # Errors
    ///
    /// [`CallError::Draining`], [`CallError::Cancelled`] where the tenant is closed, or [`CallError::HostLimit`].
    pub(crate) fn begin(host: &'a Runtime, tenant: &'a Tenant, subject: &Subject<'_>) -> Result<Self, CallError> {
        tenant.network().meter.measure_with(&host.metrics);
        let meter = Arc::new(CallMeter::new(host.metrics.clone(), subject));
        let begun = Instant::now();
        let running = host.grants(tenant.limits()).and_then(|()| host.lifecycle.begin());
        let running = running.and_then(|host| Ok([host, tenant.inner().lifecycle.begin()?]));
        let running = running.inspect_err(|error| meter.end(error.kind(), None, begun.elapsed()))?;
        let span = tracing::info_span!(
            "connector.call",
            tenant = subject.tenant,
            connector = subject.connector,
            function = subject.function,
            // Logged with escapes, because these texts come from the engine's callers and from the connector.
            operation = subject.operation.map(field::debug),
            partition = subject.partition.map(field::debug),
            outcome = field::Empty,
            duration_ms = field::Empty,
        );
        let context = CallContext {
            meter,
            exchanges: Some(host.exchanges.clone()),
            lookups: Some(host.lookups.clone()),
            processors: Some(host.processors.clone()),
        };
        Ok(Self { host, tenant, context, span, begun, ended: false, _running: running })
    }

    pub(crate) fn context(&self) -> CallContext {
        self.context.clone()
    }

    /// Does the call's work, unless the host or the tenant closes or the call is cancelled first.
    pub(crate) async fn run<T>(mut self, work: impl Future<Output = Result<T, CallError>>) -> Result<T, CallError> {
        let (host, tenant, span) = (self.host, self.tenant, self.span.clone());
        let result = async {
            tokio::select! {
                biased;
                () = host.lifecycle.closed() => Err(CallError::Cancelled),
                () = tenant.inner().lifecycle.closed() => Err(CallError::Cancelled),
                () = tenant.cancelled() => Err(CallError::Cancelled),
                result = work => result,
            }
        }
        .instrument(span)
        .await;
        match &result {
            Ok(_) => self.end("ok", None),
            Err(error) => self.end(error.kind(), Some(error)),
        }
        result
    }

    fn end(&mut self, outcome: &'static str, error: Option<&CallError>) {
        self.ended = true;
        let took = self.begun.elapsed();
        self.span.record("outcome", outcome);
        self.span.record("duration_ms", u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        if let Some(limit) = error.and_then(CallError::limit) {
            self.context.meter.limit(limit);
        }
        let code = error.and_then(CallError::connector).map(|error| error.code.word());
        self.context.meter.end(outcome, code, took);
    }
}

impl Drop for Supervised<'_> {
    fn drop(&mut self) {
        // The caller dropped the call's future before the call ended.
        if !self.ended {
            self.end("dropped", None);
        }
    }
}
