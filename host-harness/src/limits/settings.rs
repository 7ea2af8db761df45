//! What one call, and one tenant, may use up.
//!
//! Two clocks are needed: computing time counts only while the guest runs, and a guest that waits in the host is
//! bounded by the deadline alone.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::setters::setters;

/// How often the epoch counts up: how long a guest computes before others get their turn and its [`Limits::cpu`] is asked.
pub(crate) const EPOCH_TICK: Duration = Duration::from_millis(10);

/// What one call, and one tenant, may use up. Start from [`Limits::default`] and change what differs.
///
/// Each has a [`LimitName`], which is in every error that is about it. Sizes count bytes; a KiB has 1,024 of them.
///
/// ```
/// use std::time::Duration;
///
/// use connector_host::Limits;
///
/// let limits = Limits::default()
///     .with_memory_bytes(128 << 20)
///     .with_table_elements(40_000)
///     .with_instances(16)
///     .with_memories(2)
///     .with_cpu(Duration::from_secs(20))
///     .with_deadline(Duration::from_secs(120))
///     .with_deadline_margin(Duration::from_millis(1000))
///     .with_connect_timeout(Duration::from_secs(20))
///     .with_concurrent_calls(256)
///     .with_http_concurrency(32)
///     .with_http_requests_per_second(1_000)
///     .with_connections_per_second(200)
///     .with_lookups_per_second(200)
///     .with_socket_names(128)
///     .with_http_connections(128)
///     .with_http_idle(Duration::from_secs(120))
///     .with_http_excess_bytes(1024 << 10)
///     .with_response_bytes(16 << 20)
///     .with_http_body_bytes(128 << 20)
///     .with_sockets(16)
///     .with_socket_bytes(512 << 20)
///     .with_warm_instances(128)
///     .with_warm_idle(Duration::from_secs(600))
///     .with_release_timeout(Duration::from_secs(2))
///     .with_header_bytes(128 << 10)
///     .with_header_sets(256)
///     .with_hostcall_bytes(64 << 20)
///     .with_output_events(20_000)
///     .with_output_bytes(32 << 20)
///     .with_cursor_bytes(8 << 20)
///     .with_log_bytes(128 << 10)
///     .with_log_lines(2_000)
///     .with_buffer_bytes(32 << 20)
///     .with_tenant_buffer_bytes(256 << 20)
///     .with_random_bytes(2 << 20)
///     .with_handles(2_048);
/// assert_eq!(limits.memory_bytes, 128 << 20);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Linear memory, in bytes; a call for a tenant that has more than
    /// [`HostOptions::max_memory_bytes`](crate::HostOptions::max_memory_bytes) fails.
    /// Default: 64 MiB.
    pub memory_bytes: usize,
    /// Elements of all tables together, at the most
    /// [`HostOptions::max_table_elements`](crate::HostOptions::max_table_elements).
    /// Default: 20,000 elements.
    pub table_elements: usize,
    /// Core instances that the component is made of, and as many tables; at the most
    /// [`HostOptions::max_core_instances`](crate::HostOptions::max_core_instances).
    /// Default: 8 instances.
    pub instances: usize,
    /// Linear memories that the component is made of, at the most
    /// [`HostOptions::max_memories`](crate::HostOptions::max_memories).
    /// Default: 1 memory.
    pub memories: usize,
    /// How long the guest may compute in a call, judging its connection included, with what the host does for it
    /// meanwhile: on its thread, and for the HTTP connections that its exchanges use. Waiting and being interrupted do not
    /// count, where the system has a clock for threads (all Unix). It is checked every 10 ms.
    /// Default: 10 s.
    pub cpu: Duration,
    /// From the beginning of a call to its end, waiting included. See also
    /// [`Tenant::with_deadline`](crate::Tenant::with_deadline).
    /// Default: 60 s.
    pub deadline: Duration,
    /// How much earlier than the call's deadline the guest is asked to end, so that it can still answer with its own error.
    /// Default: 500 ms.
    pub deadline_margin: Duration,
    /// Name resolution, TCP and TLS handshake of one connection together.
    /// Default: 10 s.
    pub connect_timeout: Duration,
    /// Calls of one tenant that run at the same time; more wait for their turn until their deadline. See also
    /// [`HostOptions::concurrent_calls`](crate::HostOptions::concurrent_calls).
    /// Default: 128 calls.
    pub concurrent_calls: usize,
    /// HTTP exchanges of one tenant at the same time, over all of its calls.
    /// Default: 16 exchanges.
    pub http_concurrency: usize,
    /// HTTP requests of one tenant in a second. A burst may have as many at once; after it requests wait for their turn.
    /// Default: 500 requests a second.
    pub http_requests_per_second: u32,
    /// Connections that one tenant makes in a second, for HTTP and sockets together. A burst may have as many at once;
    /// after it connecting waits for its turn.
    /// Default: 100 connections a second.
    pub connections_per_second: u32,
    /// Names that one tenant looks up in a second, for HTTP and sockets together, as for connections.
    /// Default: 100 look-ups a second.
    pub lookups_per_second: u32,
    /// Names that one call looks up for its sockets.
    /// Default: 64 names.
    pub socket_names: usize,
    /// HTTP connections of one tenant, in use and idle, to all hosts together. Idle ones make room for others; where none
    /// is idle, an exchange waits for a slot.
    /// Default: 64 connections.
    pub http_connections: usize,
    /// How long an HTTP connection is kept without an exchange.
    /// Default: 60 s.
    pub http_idle: Duration,
    /// What a server may send on one HTTP connection beside what its exchanges take, in bytes: frames, informational
    /// answers, whatever comes while nobody asks. The bodies that are read fill it up again, and so does time, by 256 bytes
    /// a second. With more the connection ends.
    /// Default: 512 KiB.
    pub http_excess_bytes: u64,
    /// The body of one HTTP response, in bytes.
    /// Default: 8 MiB.
    pub response_bytes: u64,
    /// All HTTP bodies of one call in both directions, in bytes.
    /// Default: 64 MiB.
    pub http_body_bytes: u64,
    /// Sockets that one call, or one warm instance, has at the same time.
    /// Default: 8 sockets.
    pub sockets: usize,
    /// What one call reads from and writes to all of its sockets together, in bytes.
    /// Default: 256 MiB.
    pub socket_bytes: u64,
    /// Instances that are kept warm for one tenant; calls beyond that run in instances of their own. See
    /// [`Connector::open`](crate::Connector::open).
    /// Default: 64 instances.
    pub warm_instances: usize,
    /// How long a warm instance is kept after its last call.
    /// Default: 300 s.
    pub warm_idle: Duration,
    /// How long an instance may take to release what it holds before it is discarded (`lifecycle.release`), waiting
    /// included; zero: it is not asked to.
    /// Default: 1 s.
    pub release_timeout: Duration,
    /// The in-memory size of one set of HTTP headers, in bytes.
    /// Default: 64 KiB.
    pub header_bytes: usize,
    /// Sets of HTTP headers at the same time, with the requests, responses and bodies that they belong to.
    /// Default: 128 sets.
    pub header_sets: usize,
    /// What a function may hand to the host at once (its result above all), in bytes.
    /// Default: 32 MiB.
    pub hostcall_bytes: usize,
    /// Events in one answer. A poll is never asked for more.
    /// Default: 10,000 events.
    pub output_events: usize,
    /// One answer: all of its texts and byte strings together, in bytes. The poll whose answer is larger fails, and every
    /// poll after it: leave room for a page of 1 MiB and the largest event of your connectors on top. A message of Azure
    /// IoT Hub (256 KiB, 1 MiB in an Event Hub) is an event of 6 MiB at the most.
    /// Default: 16 MiB.
    pub output_bytes: usize,
    /// One cursor, its snapshot and its position together, or a subscription's state. In bytes.
    /// Default: 4 MiB.
    pub cursor_bytes: usize,
    /// Standard output and standard error that one call has logged, in bytes. The rest is dropped and counted,
    /// and the count logged once; it does not end the call.
    /// Default: 64 KiB.
    pub log_bytes: usize,
    /// As [`Limits::log_bytes`], in lines.
    /// Default: 1,000 lines.
    pub log_lines: usize,
    /// What the host sets aside for the buffers of the sockets and HTTP exchanges of one call, in bytes: 128 KiB for a
    /// socket, and for an exchange its headers twice and 384 KiB.
    /// Default: 16 MiB.
    pub buffer_bytes: u64,
    /// As [`Limits::buffer_bytes`], for all calls and warm instances of one tenant together.
    /// Default: 128 MiB.
    pub tenant_buffer_bytes: u64,
    /// Random bytes of one request.
    /// Default: 1 MiB.
    pub random_bytes: u64,
    /// Handles (streams, requests, timers ...) at the same time.
    /// Default: 1,024 handles.
    pub handles: usize,
}

setters! {
    Limits {
        value with_memory_bytes (memory_bytes: usize);
        value with_table_elements (table_elements: usize);
        value with_instances (instances: usize);
        value with_memories (memories: usize);
        value with_cpu (cpu: Duration);
        value with_deadline (deadline: Duration);
        value with_deadline_margin (deadline_margin: Duration);
        value with_connect_timeout (connect_timeout: Duration);
        value with_concurrent_calls (concurrent_calls: usize);
        value with_http_concurrency (http_concurrency: usize);
        value with_http_requests_per_second (http_requests_per_second: u32);
        value with_connections_per_second (connections_per_second: u32);
        value with_lookups_per_second (lookups_per_second: u32);
        value with_socket_names (socket_names: usize);
        value with_http_connections (http_connections: usize);
        value with_http_idle (http_idle: Duration);
        value with_http_excess_bytes (http_excess_bytes: u64);
        value with_response_bytes (response_bytes: u64);
        value with_http_body_bytes (http_body_bytes: u64);
        value with_sockets (sockets: usize);
        value with_socket_bytes (socket_bytes: u64);
        value with_warm_instances (warm_instances: usize);
        value with_warm_idle (warm_idle: Duration);
        value with_release_timeout (release_timeout: Duration);
        value with_header_bytes (header_bytes: usize);
        value with_header_sets (header_sets: usize);
        value with_hostcall_bytes (hostcall_bytes: usize);
        value with_output_events (output_events: usize);
        value with_output_bytes (output_bytes: usize);
        value with_cursor_bytes (cursor_bytes: usize);
        value with_log_bytes (log_bytes: usize);
        value with_log_lines (log_lines: usize);
        value with_buffer_bytes (buffer_bytes: u64);
        value with_tenant_buffer_bytes (tenant_buffer_bytes: u64);
        value with_random_bytes (random_bytes: u64);
        value with_handles (handles: usize);
    }
}

impl Default for Limits {
    /// Bounds that leave ample room to a connector of an HTTP API and still let one machine run hundreds of
    /// calls at once.
    fn default() -> Self {
        Self {
            memory_bytes: 64 << 20,
            table_elements: 20_000,
            instances: 8,
            memories: 1,
            cpu: Duration::from_secs(10),
            deadline: Duration::from_secs(60),
            deadline_margin: Duration::from_millis(500),
            connect_timeout: Duration::from_secs(10),
            concurrent_calls: 128,
            http_concurrency: 16,
            http_requests_per_second: 500,
            connections_per_second: 100,
            lookups_per_second: 100,
            socket_names: 64,
            http_connections: 64,
            // Azure's front ends close theirs after two minutes.
            http_idle: Duration::from_secs(60),
            http_excess_bytes: 512 << 10,
            response_bytes: 8 << 20,
            http_body_bytes: 64 << 20,
            sockets: 8,
            socket_bytes: 256 << 20,
            warm_instances: 64,
            warm_idle: Duration::from_secs(300),
            release_timeout: Duration::from_secs(1),
            header_bytes: 64 << 10,
            header_sets: 128,
            hostcall_bytes: 32 << 20,
            output_events: 10_000,
            output_bytes: 16 << 20,
            cursor_bytes: 4 << 20,
            log_bytes: 64 << 10,
            log_lines: 1_000,
            buffer_bytes: 16 << 20,
            tenant_buffer_bytes: 128 << 20,
            random_bytes: 1 << 20,
            handles: 1_024,
        }
    }
}

#[cfg(test)]
impl Limits {
    /// Everything as large as its type permits.
    pub(crate) fn largest() -> Self {
        Self {
            memory_bytes: usize::MAX,
            table_elements: usize::MAX,
            instances: usize::MAX,
            memories: usize::MAX,
            cpu: Duration::MAX,
            deadline: Duration::MAX,
            deadline_margin: Duration::MAX,
            connect_timeout: Duration::MAX,
            concurrent_calls: usize::MAX,
            http_concurrency: usize::MAX,
            http_requests_per_second: u32::MAX,
            connections_per_second: u32::MAX,
            lookups_per_second: u32::MAX,
            socket_names: usize::MAX,
            http_connections: usize::MAX,
            http_idle: Duration::MAX,
            http_excess_bytes: u64::MAX,
            response_bytes: u64::MAX,
            http_body_bytes: u64::MAX,
            sockets: usize::MAX,
            socket_bytes: u64::MAX,
            warm_instances: usize::MAX,
            warm_idle: Duration::MAX,
            release_timeout: Duration::MAX,
            header_bytes: usize::MAX,
            header_sets: usize::MAX,
            hostcall_bytes: usize::MAX,
            output_events: usize::MAX,
            output_bytes: usize::MAX,
            cursor_bytes: usize::MAX,
            log_bytes: usize::MAX,
            log_lines: usize::MAX,
            buffer_bytes: u64::MAX,
            tenant_buffer_bytes: u64::MAX,
            random_bytes: u64::MAX,
            handles: usize::MAX,
        }
    }
}

macro_rules! limit_names {
    ($($variant:ident = $owner:ident.$field:ident $unit:literal;)*) => {
        /// Names of limits: each is that of a field.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum LimitName {
            $(
                #[doc = concat!("[`", stringify!($owner), "::", stringify!($field), "`](crate::", stringify!($owner), "::", stringify!($field), ").")]
                $variant,
            )*
        }

        impl LimitName {
            /// The field.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($field),)*
                }
            }

            /// What the limit counts, in the plural.
            #[must_use]
            pub fn unit(self) -> &'static str {
                match self {
                    $(Self::$variant => $unit,)*
                }
            }
        }
    };
}

limit_names! {
    MemoryBytes = Limits.memory_bytes "bytes";
    TableElements = Limits.table_elements "elements";
    Instances = Limits.instances "instances";
    Memories = Limits.memories "memories";
    MaxCoreInstances = HostOptions.max_core_instances "core instances or tables";
    MaxMemories = HostOptions.max_memories "memories";
    MaxMemoryBytes = HostOptions.max_memory_bytes "bytes";
    MaxTableElements = HostOptions.max_table_elements "elements";
    Cpu = Limits.cpu "milliseconds";
    Deadline = Limits.deadline "milliseconds";
    ConcurrentCalls = Limits.concurrent_calls "calls";
    ConcurrentExchanges = HostOptions.concurrent_exchanges "exchanges";
    HttpConcurrency = Limits.http_concurrency "exchanges";
    HttpRequestsPerSecond = Limits.http_requests_per_second "requests";
    ConnectionsPerSecond = Limits.connections_per_second "connections";
    LookupsPerSecond = Limits.lookups_per_second "look-ups";
    ConcurrentLookups = HostOptions.concurrent_lookups "look-ups";
    SocketNames = Limits.socket_names "names";
    HttpConnections = Limits.http_connections "connections";
    HttpExcessBytes = Limits.http_excess_bytes "bytes";
    ResponseBytes = Limits.response_bytes "bytes";
    HttpBodyBytes = Limits.http_body_bytes "bytes";
    Sockets = Limits.sockets "sockets";
    SocketBytes = Limits.socket_bytes "bytes";
    HeaderBytes = Limits.header_bytes "bytes";
    HeaderSets = Limits.header_sets "sets of headers";
    HostcallBytes = Limits.hostcall_bytes "bytes";
    OutputEvents = Limits.output_events "events";
    OutputBytes = Limits.output_bytes "bytes";
    CursorBytes = Limits.cursor_bytes "bytes";
    LogBytes = Limits.log_bytes "bytes";
    LogLines = Limits.log_lines "lines";
    BufferBytes = Limits.buffer_bytes "bytes";
    TenantBufferBytes = Limits.tenant_buffer_bytes "bytes";
    Handles = Limits.handles "handles";
}

impl fmt::Display for LimitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for LimitName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A connector wanted more than a limit allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize)]
#[serde(rename_all = "camelCase")]
#[error("{wanted} {} were wanted, {allowed} are allowed (limit: {name})", name.unit())]
#[non_exhaustive]
pub struct LimitExceeded {
    /// Which limit.
    pub name: LimitName,
    /// What was wanted, in the limit's unit; where the rest was not counted, the least that was.
    pub wanted: u64,
    /// What is allowed, in the limit's unit.
    pub allowed: u64,
}

impl LimitExceeded {
    pub(crate) fn new(name: LimitName, wanted: impl TryInto<u64>, allowed: impl TryInto<u64>) -> Self {
        let [wanted, allowed] = [wanted.try_into().unwrap_or(u64::MAX), allowed.try_into().unwrap_or(u64::MAX)];
        Self { name, wanted, allowed }
    }
}

/// What is later than everything that matters, and what every clock can still express.
const FAR: Duration = Duration::from_secs(30 * 365 * 86_400);

/// So long after an instant, or far away where a limit means none.
pub(crate) fn after(instant: Instant, wait: Duration) -> Instant {
    instant.checked_add(wait.min(FAR)).unwrap_or(instant)
}

/// So long from now.
pub(crate) fn from_now(wait: Duration) -> Instant {
    after(Instant::now(), wait)
}

/// As many permits as a semaphore can have, where a limit means none.
pub(crate) fn permits(limit: usize) -> usize {
    limit.min(Semaphore::MAX_PERMITS)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use super::{LimitExceeded, LimitName, Limits};

    /// What the documentation of each field states as its default, beside what it is.
    #[test]
    fn stated_defaults_are_the_defaults() {
        let stated = stated_defaults(include_str!("settings.rs"), "pub struct Limits {");
        let defaults = defaults(&format!("{:?}", Limits::default()));
        assert_eq!(stated, defaults);
        assert_ne!(stated_defaults("struct A {\n/// Default: 2 s.\npub cpu: Duration,\n}", "struct A {"), defaults);
    }

    #[test]
    fn an_exceeded_limit_names_itself() {
        let exceeded = LimitExceeded::new(LimitName::OutputEvents, 11_usize, 10_usize);
        assert_eq!(exceeded.to_string(), "11 events were wanted, 10 are allowed (limit: output_events)");
        let json = serde_json::to_string(&exceeded).unwrap();
        assert_eq!(json, r#"{"name":"output_events","wanted":11,"allowed":10}"#);
    }

    /// Field and default, as a number of bytes, milliseconds or things.
    type Defaults = BTreeMap<String, u64>;

    /// What the comments of the fields of a struct state: `Default: 64 MiB.`
    pub(crate) fn stated_defaults(source: &str, header: &str) -> Defaults {
        let (_, fields) = source.split_once(header).unwrap();
        let (fields, _) = fields.split_once("\n}").unwrap();
        let (mut found, mut comment) = (Defaults::new(), String::new());
        for line in fields.lines().map(str::trim) {
            if let Some(text) = line.strip_prefix("///") {
                comment.push_str(text);
            } else if let Some((field, _)) = line.strip_prefix("pub ").and_then(|line| line.split_once(':')) {
                let (_, stated) =
                    comment.split_once("Default: ").unwrap_or_else(|| panic!("{field} states no default"));
                let mut words = stated.trim_end_matches('.').split([' ', '.']);
                if let Ok(number) = words.next().unwrap_or_default().replace(',', "").parse::<u64>() {
                    let unit = match words.next().unwrap_or_default() {
                        "KiB" => 1 << 10,
                        "MiB" => 1 << 20,
                        "GiB" => 1 << 30,
                        "s" => 1_000,
                        _ => 1,
                    };
                    found.insert(field.to_owned(), number * unit);
                }
                comment.clear();
            }
        }
        found
    }

    /// The numbers and durations of a value as it is printed for debugging.
    pub(crate) fn defaults(printed: &str) -> Defaults {
        let (_, fields) = printed.split_once('{').unwrap();
        let fields = fields.trim_end_matches('}').split(", ").filter_map(|field| field.trim().split_once(": "));
        let value = |text: &str| match text {
            text if text.ends_with("ms") => text.trim_end_matches("ms").parse().ok(),
            text if text.ends_with('s') => text.trim_end_matches('s').parse().ok().map(|seconds: u64| seconds * 1_000),
            text => text.parse().ok(),
        };
        fields.filter_map(|(field, text)| Some((field.to_owned(), value(text)?))).collect()
    }
}
