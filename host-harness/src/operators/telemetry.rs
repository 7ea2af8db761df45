//! What an operator sees of calls: a span and measurements for every call.
//!
//! Labels are names that the operator chose, names from the connector's descriptor, or fixed words of this library.
//! Text from a guest, a service or an account never becomes a label, so labels contain no secrets and have a bounded
//! number of values.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter, UpDownCounter};

use crate::error::EgressLayer;
use crate::limits::LimitName;
use crate::limits::cpu::CpuClock;

/// Upper bounds of the buckets for durations, in seconds: from a call that uses no network to the longest poll.
const SECONDS: [f64; 14] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// Upper bounds of the buckets for memory, in bytes.
const BYTES: [f64; 8] =
    [262_144.0, 524_288.0, 1_048_576.0, 2_097_152.0, 4_194_304.0, 8_388_608.0, 1.6777216e7, 6.7108864e7];

/// The longest label made of an id from a descriptor, in characters. Longer ids are cut.
const LONGEST_LABEL: usize = 64;

/// How many failed requests a call remembers, to distinguish retries from other requests.
const MOST_FAILED: usize = 64;

/// HTTP statuses with a label of their own. All others are counted by class, for example as `4xx`.
const STATUSES: [(u16, &str); 16] = [
    (200, "200"),
    (201, "201"),
    (202, "202"),
    (204, "204"),
    (304, "304"),
    (400, "400"),
    (401, "401"),
    (403, "403"),
    (404, "404"),
    (409, "409"),
    (412, "412"),
    (413, "413"),
    (429, "429"),
    (500, "500"),
    (502, "502"),
    (503, "503"),
];

/// The instruments. See `docs/metrics.md` for what they mean.
#[derive(Debug)]
pub(crate) struct Metrics {
    calls: Counter<u64>,
    duration: Histogram<f64>,
    computing: Histogram<f64>,
    memory: Histogram<u64>,
    events: Counter<u64>,
    exchanges: Counter<u64>,
    retries: Counter<u64>,
    http_bytes: Counter<u64>,
    socket_bytes: Counter<u64>,
    refusals: Counter<u64>,
    limits: Counter<u64>,
    instances: UpDownCounter<i64>,
    connections: UpDownCounter<i64>,
    handshakes: Counter<u64>,
}

impl Metrics {
    pub(crate) fn new(meter: &Meter) -> Self {
        let counter = |name, unit, about| meter.u64_counter(name).with_unit(unit).with_description(about).build();
        let gauge = |name, unit, about| meter.i64_up_down_counter(name).with_unit(unit).with_description(about).build();
        let seconds = |name, about| {
            let histogram = meter.f64_histogram(name).with_unit("s").with_description(about);
            histogram.with_boundaries(SECONDS.to_vec()).build()
        };
        let memory = meter.u64_histogram("connector.call.memory").with_unit("By");
        let memory = memory.with_description("The most linear memory that the instance of a call has had");
        Self {
            calls: counter("connector.calls", "{call}", "Calls that ended"),
            duration: seconds("connector.call.duration", "From the beginning of a call to its end, waiting included"),
            computing: seconds(
                "connector.call.cpu.time",
                "Computing time of a call's guest, and of the host for its connections",
            ),
            memory: memory.with_boundaries(BYTES.to_vec()).build(),
            events: counter("connector.events", "{event}", "Events that polls, samples and webhooks delivered"),
            exchanges: counter("connector.http.exchanges", "{exchange}", "HTTP exchanges, repetitions included"),
            retries: counter("connector.retries", "{retry}", "Calls and requests that engine or connector repeated"),
            http_bytes: counter("connector.http.io", "By", "Bodies of HTTP requests and responses"),
            socket_bytes: counter("connector.socket.io", "By", "Bytes that went through sockets"),
            refusals: counter("connector.egress.refusals", "{refusal}", "Destinations that were refused"),
            limits: counter("connector.limits.exceeded", "{time}", "Limits that a call met"),
            instances: gauge("connector.instances", "{instance}", "Instances that live, at work or kept warm"),
            connections: gauge("connector.http.connections", "{connection}", "Connections of the HTTP pools"),
            handshakes: counter("connector.http.handshakes", "{handshake}", "TLS handshakes of the HTTP pools"),
        }
    }
}

/// The measurements about a tenant rather than a call. `metrics` is empty until the tenant's first call, which brings
/// the host's instruments.
#[derive(Debug)]
pub(crate) struct TenantMeter {
    tenant: KeyValue,
    metrics: OnceLock<Arc<Metrics>>,
}

impl TenantMeter {
    pub(crate) fn new(tenant: &str) -> Self {
        Self { tenant: KeyValue::new("connector.tenant", tenant.to_owned()), metrics: OnceLock::new() }
    }

    pub(crate) fn measure_with(&self, metrics: &Arc<Metrics>) {
        self.metrics.get_or_init(|| metrics.clone());
    }

    /// Counts a new connection of the HTTP pool.
    pub(crate) fn connected(self: &Arc<Self>, http2: bool, resumed: bool) -> Connection {
        let version = KeyValue::new("network.protocol.version", if http2 { "2" } else { "1.1" });
        if let Some(metrics) = self.metrics.get() {
            let labels = [self.tenant.clone(), version.clone(), KeyValue::new("tls.resumed", resumed)];
            metrics.handshakes.add(1, &labels);
            metrics.connections.add(1, &[self.tenant.clone(), version.clone()]);
        }
        Connection { meter: self.clone(), version }
    }
}

/// Counts a connection of the HTTP pool until this value is dropped.
pub(crate) struct Connection {
    meter: Arc<TenantMeter>,
    version: KeyValue,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(metrics) = self.meter.metrics.get() {
            metrics.connections.add(-1, &[self.meter.tenant.clone(), self.version.clone()]);
        }
    }
}

/// Describes a call in spans and measurements.
pub(crate) struct Subject<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) connector: &'a str,
    /// The name of the called function, as `interface.function`.
    pub(crate) function: &'static str,
    pub(crate) operation: Option<&'a str>,
    /// Whether the descriptor has the operation. Only then may the operation's id become a label.
    pub(crate) known: bool,
    pub(crate) partition: Option<&'a str>,
}

/// The measurements of one call. The parts of the call add to its counts, which are recorded when the call has ended.
#[derive(Debug, Default)]
pub(crate) struct CallMeter {
    metrics: Option<Arc<Metrics>>,
    labels: Vec<KeyValue>,
    usage: Usage,
    exchanges: Mutex<Exchanges>,
}

#[derive(Debug, Default)]
struct Exchanges {
    statuses: BTreeMap<&'static str, u64>,
    /// Digests of requests that got no response, or a response with a status that suggests a retry.
    failed: HashSet<u64>,
}

/// The side that retries.
#[derive(Clone, Copy)]
pub(crate) enum Retry {
    Engine,
    Connector,
}

#[derive(Debug, Default)]
struct Usage {
    http_sent: AtomicU64,
    http_received: AtomicU64,
    socket_sent: AtomicU64,
    socket_received: AtomicU64,
    computing: Arc<CpuClock>,
    memory: AtomicU64,
    events: AtomicU64,
}

/// The direction of bytes, seen from the guest.
#[derive(Clone, Copy)]
pub(crate) enum Way {
    Out,
    In,
}

impl CallMeter {
    pub(crate) fn new(metrics: Arc<Metrics>, subject: &Subject<'_>) -> Self {
        let mut labels = vec![
            KeyValue::new("connector.tenant", subject.tenant.to_owned()),
            KeyValue::new("connector.id", subject.connector.chars().take(LONGEST_LABEL).collect::<String>()),
            KeyValue::new("connector.function", subject.function),
        ];
        labels.extend(
            subject
                .operation
                .filter(|_| subject.known)
                .map(|id| KeyValue::new("connector.operation", id.chars().take(LONGEST_LABEL).collect::<String>())),
        );
        Self { metrics: Some(metrics), labels, ..Self::default() }
    }

    pub(crate) fn http_bytes(&self, way: Way, bytes: u64) {
        let Usage { http_sent, http_received, .. } = &self.usage;
        count(way, http_sent, http_received, bytes);
    }

    pub(crate) fn socket_bytes(&self, way: Way, bytes: u64) {
        let Usage { socket_sent, socket_received, .. } = &self.usage;
        count(way, socket_sent, socket_received, bytes);
    }

    pub(crate) fn events(&self, count: usize) {
        self.usage.events.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(crate) fn memory(&self, bytes: usize) {
        self.usage.memory.fetch_max(bytes as u64, Ordering::Relaxed);
    }

    /// An HTTP exchange begins. It counts as a retry if the same request has failed in this call.
    pub(crate) fn exchanging(&self, request: u64) {
        if self.exchanges().failed.remove(&request) {
            self.retried(Retry::Connector);
        }
    }

    /// An HTTP exchange ended with a status, or without one.
    pub(crate) fn exchanged(&self, request: u64, status: Option<u16>) {
        let mut exchanges = self.exchanges();
        *exchanges.statuses.entry(status.map_or("none", status_label)).or_default() += 1;
        if matches!(status, None | Some(408 | 425 | 429 | 500..)) && exchanges.failed.len() < MOST_FAILED {
            exchanges.failed.insert(request);
        }
    }

    pub(crate) fn retried(&self, by: Retry) {
        if let Some(metrics) = &self.metrics {
            let by = match by {
                Retry::Engine => "engine",
                Retry::Connector => "connector",
            };
            metrics.retries.add(1, &self.labels_and(KeyValue::new("connector.retry.by", by)));
        }
    }

    fn exchanges(&self) -> MutexGuard<'_, Exchanges> {
        self.exchanges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn refused(&self, layer: EgressLayer) {
        if let Some(metrics) = &self.metrics {
            metrics.refusals.add(1, &self.labels_and(KeyValue::new("connector.egress.layer", layer.word())));
        }
    }

    pub(crate) fn limit(&self, name: LimitName) {
        if let Some(metrics) = &self.metrics {
            metrics.limits.add(1, &self.labels_and(KeyValue::new("connector.limit", name.as_str())));
        }
    }

    /// Counts an instance until the returned value is dropped.
    pub(crate) fn instance(&self) -> LiveInstance {
        let labels: Vec<_> = self.labels.iter().take(2).cloned().collect();
        if let Some(metrics) = &self.metrics {
            metrics.instances.add(1, &labels);
        }
        LiveInstance { metrics: self.metrics.clone(), labels }
    }

    /// The clock that counts what the guest computes and what the host computes for the guest.
    pub(crate) fn computing(&self) -> &Arc<CpuClock> {
        &self.usage.computing
    }

    fn labels_and(&self, label: KeyValue) -> Vec<KeyValue> {
        self.labels.iter().cloned().chain([label]).collect()
    }

    /// Records the measurements of a call that has ended. `code` is the code of the connector's error, if the call
    /// returned an error.
    pub(crate) fn end(&self, outcome: &'static str, code: Option<&'static str>, took: Duration) {
        let Some(metrics) = &self.metrics else { return };
        let mut labels = self.labels_and(KeyValue::new("connector.outcome", outcome));
        labels.extend(code.map(|code| KeyValue::new("error.type", code)));
        metrics.calls.add(1, &labels);
        metrics.duration.record(took.as_secs_f64(), &labels);
        let Usage { http_sent, http_received, socket_sent, socket_received, computing, memory, events } = &self.usage;
        let taken = |count: &AtomicU64| count.swap(0, Ordering::Relaxed);
        metrics.computing.record(computing.take().as_secs_f64(), &self.labels);
        if let memory @ 1.. = taken(memory) {
            metrics.memory.record(memory, &self.labels);
        }
        if let events @ 1.. = taken(events) {
            metrics.events.add(events, &self.labels);
        }
        for (counter, way, bytes) in [
            (&metrics.http_bytes, "transmit", http_sent),
            (&metrics.http_bytes, "receive", http_received),
            (&metrics.socket_bytes, "transmit", socket_sent),
            (&metrics.socket_bytes, "receive", socket_received),
        ] {
            if let bytes @ 1.. = taken(bytes) {
                counter.add(bytes, &self.labels_and(KeyValue::new("network.io.direction", way)));
            }
        }
        for (status, count) in std::mem::take(&mut self.exchanges().statuses) {
            metrics.exchanges.add(count, &self.labels_and(KeyValue::new("http.response.status_code", status)));
        }
    }
}

fn count(way: Way, sent: &AtomicU64, received: &AtomicU64, bytes: u64) {
    match way {
        Way::Out => sent,
        Way::In => received,
    }
    .fetch_add(bytes, Ordering::Relaxed);
}

/// The label of a status: its number if it is in `STATUSES`, otherwise its class. This way a service cannot create
/// hundreds of labels.
fn status_label(status: u16) -> &'static str {
    match STATUSES.iter().find(|(known, _)| *known == status) {
        Some((_, label)) => label,
        None => match status / 100 {
            1 => "1xx",
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            5 => "5xx",
            _ => "other",
        },
    }
}

/// See [`CallMeter::instance`].
pub(crate) struct LiveInstance {
    metrics: Option<Arc<Metrics>>,
    labels: Vec<KeyValue>,
}

impl Drop for LiveInstance {
    fn drop(&mut self) {
        if let Some(metrics) = &self.metrics {
            metrics.instances.add(-1, &self.labels);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_few() {
        for (status, _) in STATUSES {
            assert_eq!(status_label(status), status.to_string());
        }
        let labels: std::collections::BTreeSet<_> = (0..=u16::MAX).map(status_label).collect();
        assert_eq!(labels.len(), STATUSES.len() + 6);
    }
}
