//! Limits on what one call and one tenant may use.
//!
//! Two clocks are needed: computing time counts only while the guest runs, and a guest that waits in the host is
//! bounded only by the deadline.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::setters::setters;

/// How often the epoch advances. A guest computes for this long before other guests run and its [`Limits::cpu`] is
/// checked.
pub(crate) const EPOCH_TICK: Duration = Duration::from_millis(10);

/// Limits on what one call and one tenant may use. Start from [`Limits::default`] and change the limits that must
/// differ.
///
/// Each limit has a [`LimitName`], which every error about the limit states. Sizes are in bytes; a KiB has 1,024 bytes.
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
    /// The largest linear memory of an instance, in bytes. Calls of a tenant with more than
    /// [`HostOptions::max_memory_bytes`](crate::HostOptions::max_memory_bytes) fail.
    /// Default: 64 MiB.
    pub memory_bytes: usize,
    /// The largest number of table elements, over all tables of an instance. Must not exceed
    /// [`HostOptions::max_table_elements`](crate::HostOptions::max_table_elements).
    /// Default: 20,000 elements.
    pub table_elements: usize,
    /// The largest number of core instances in a component, and the largest number of its tables. Must not exceed
    /// [`HostOptions::max_core_instances`](crate::HostOptions::max_core_instances).
    /// Default: 8 instances.
    pub instances: usize,
    /// The largest number of linear memories in a component. Must not exceed
    /// [`HostOptions::max_memories`](crate::HostOptions::max_memories).
    /// Default: 1 memory.
    pub memories: usize,
    /// The longest computing time of one call. It includes the check of the connection and the host's work for the
    /// guest: on the guest's thread, and for the HTTP connections of its exchanges. Waiting and interruptions do not
    /// count on systems with a clock for threads (all Unix). The limit is checked every 10 ms.
    /// Default: 10 s.
    pub cpu: Duration,
    /// The longest time from the beginning of a call to its end, including waiting. See also
    /// [`Tenant::with_deadline`](crate::Tenant::with_deadline).
    /// Default: 60 s.
    pub deadline: Duration,
    /// How long before the call's deadline the guest is asked to end, so that it can still return its own error.
    /// Default: 500 ms.
    pub deadline_margin: Duration,
    /// The longest time for one connection: name resolution, TCP connection and TLS handshake together.
    /// Default: 10 s.
    pub connect_timeout: Duration,
    /// The largest number of calls of one tenant that run at the same time. Further calls wait for their turn until
    /// their deadline. See also [`HostOptions::concurrent_calls`](crate::HostOptions::concurrent_calls).
    /// Default: 128 calls.
    pub concurrent_calls: usize,
    /// The largest number of HTTP exchanges of one tenant at the same time, in all of its calls together.
    /// Default: 16 exchanges.
    pub http_concurrency: usize,
    /// The largest number of HTTP requests that one tenant sends per second. A burst may have this number at once;
    /// further requests wait for their turn.
    /// Default: 500 requests a second.
    pub http_requests_per_second: u32,
    /// The largest number of connections that one tenant opens per second, for HTTP and sockets together. A burst may
    /// have this number at once; further connections wait for their turn.
    /// Default: 100 connections a second.
    pub connections_per_second: u32,
    /// The largest number of names that one tenant looks up per second, for HTTP and sockets together. A burst may have
    /// this number at once; further look-ups wait for their turn.
    /// Default: 100 look-ups a second.
    pub lookups_per_second: u32,
    /// The largest number of names that one call looks up for its sockets.
    /// Default: 64 names.
    pub socket_names: usize,
    /// The largest number of HTTP connections of one tenant, in use and idle, to all hosts together. If all are open,
    /// an idle connection is closed for a new one; if none is idle, the exchange waits.
    /// Default: 64 connections.
    pub http_connections: usize,
    /// How long an HTTP connection without an exchange is kept open.
    /// Default: 60 s.
    pub http_idle: Duration,
    /// How many bytes a server may send on one HTTP connection in addition to what its exchanges need: frames,
    /// informational responses, data that no exchange asked for. Reading bodies refills this allowance, and so does
    /// time, with 256 bytes per second. A server that sends more loses the connection.
    /// Default: 512 KiB.
    pub http_excess_bytes: u64,
    /// The largest body of one HTTP response, in bytes.
    /// Default: 8 MiB.
    pub response_bytes: u64,
    /// The largest size of all HTTP bodies of one call together, in both directions, in bytes.
    /// Default: 64 MiB.
    pub http_body_bytes: u64,
    /// The largest number of sockets that one call, or one warm instance, has at the same time.
    /// Default: 8 sockets.
    pub sockets: usize,
    /// The largest number of bytes that one call reads from and writes to all of its sockets together.
    /// Default: 256 MiB.
    pub socket_bytes: u64,
    /// The largest number of instances that are kept warm for one tenant. Further calls run in instances of their own.
    /// See [`Connector::open`](crate::Connector::open).
    /// Default: 64 instances.
    pub warm_instances: usize,
    /// How long a warm instance is kept after its last call.
    /// Default: 300 s.
    pub warm_idle: Duration,
    /// How long an instance may take to release its resources (`lifecycle.release`) before it is discarded, including
    /// waiting. With zero, `lifecycle.release` is not called.
    /// Default: 1 s.
    pub release_timeout: Duration,
    /// The largest size in memory of one set of HTTP headers, in bytes.
    /// Default: 64 KiB.
    pub header_bytes: usize,
    /// The largest number of sets of HTTP headers that exist at the same time, with the requests, responses and bodies
    /// to which they belong.
    /// Default: 128 sets.
    pub header_sets: usize,
    /// The largest number of bytes that the guest may pass to the host at once, mostly as the result of a function.
    /// Default: 32 MiB.
    pub hostcall_bytes: usize,
    /// The largest number of events that one call returns. A poll is never asked for more.
    /// Default: 10,000 events.
    pub output_events: usize,
    /// The largest result of one call: all of its texts and byte strings together, in bytes. A poll that returns more
    /// fails, and so does every poll after it. So leave room for a page of 1 MiB and the largest event of your
    /// connectors. A message of Azure IoT Hub (256 KiB, 1 MiB in an Event Hub) becomes an event of at most 6 MiB.
    /// Default: 16 MiB.
    pub output_bytes: usize,
    /// The largest cursor (its snapshot and its position together), and the largest state of a subscription, in bytes.
    /// Default: 4 MiB.
    pub cursor_bytes: usize,
    /// How many bytes of standard output and standard error are logged for one call. Further output is dropped and
    /// counted, and the count is logged once; the call continues.
    /// Default: 64 KiB.
    pub log_bytes: usize,
    /// How many lines of standard output and standard error are logged for one call. Further lines are dropped as with
    /// [`Limits::log_bytes`].
    /// Default: 1,000 lines.
    pub log_lines: usize,
    /// The largest number of bytes that the host reserves for the buffers of one call's sockets and HTTP exchanges. A
    /// socket needs 128 KiB; an exchange needs 384 KiB and twice the size of its headers.
    /// Default: 16 MiB.
    pub buffer_bytes: u64,
    /// The largest number of bytes that the host reserves for such buffers (see [`Limits::buffer_bytes`]) for all calls
    /// and warm instances of one tenant together.
    /// Default: 128 MiB.
    pub tenant_buffer_bytes: u64,
    /// The largest number of random bytes that the guest may ask for in one request.
    /// Default: 1 MiB.
    pub random_bytes: u64,
    /// The largest number of handles (streams, requests, timers ...) that a guest holds at the same time.
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
    /// Limits with ample room for a connector of an HTTP API, with which one machine still runs hundreds of calls at
    /// once.
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
            // Azure's front ends close idle connections after two minutes.
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
    /// Each limit has the largest value of its type.
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
        /// Names of limits. Each is the name of a field of [`Limits`] or [`HostOptions`](crate::HostOptions).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum LimitName {
            $(
                #[doc = concat!("[`", stringify!($owner), "::", stringify!($field), "`](crate::", stringify!($owner), "::", stringify!($field), ").")]
                $variant,
            )*
        }

        impl LimitName {
            /// The name of the field.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($field),)*
                }
            }

            /// The unit that the limit counts, in the plural.
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

/// A connector needed more than a limit allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize)]
#[serde(rename_all = "camelCase")]
#[error("{wanted} {} were wanted, {allowed} are allowed (limit: {name})", name.unit())]
#[non_exhaustive]
pub struct LimitExceeded {
    /// The limit that was exceeded.
    pub name: LimitName,
    /// What the connector needed, in the limit's unit. A lower bound if not everything was counted.
    pub wanted: u64,
    /// What the limit allows, in its unit.
    pub allowed: u64,
}

impl LimitExceeded {
    pub(crate) fn new(name: LimitName, wanted: impl TryInto<u64>, allowed: impl TryInto<u64>) -> Self {
        let [wanted, allowed] = [wanted.try_into().unwrap_or(u64::MAX), allowed.try_into().unwrap_or(u64::MAX)];
        Self { name, wanted, allowed }
    }
}

/// A time after every deadline that matters, which every clock can still express.
const FAR: Duration = Duration::from_secs(30 * 365 * 86_400);

/// The instant `wait` after `instant`. A longer wait than [`FAR`] is shortened, because such a limit means "no limit".
pub(crate) fn after(instant: Instant, wait: Duration) -> Instant {
    instant.checked_add(wait.min(FAR)).unwrap_or(instant)
}

/// The instant `wait` from now.
pub(crate) fn from_now(wait: Duration) -> Instant {
    after(Instant::now(), wait)
}

/// A number of permits that a semaphore can have: the limit, or the largest possible number.
pub(crate) fn permits(limit: usize) -> usize {
    limit.min(Semaphore::MAX_PERMITS)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use super::{LimitExceeded, LimitName, Limits};

    /// Compares the default that each field's documentation states with the actual default.
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

    /// Maps a field to its default, as a number of bytes, milliseconds or items.
    type Defaults = BTreeMap<String, u64>;

    /// The defaults that the comments of a struct's fields state, for example `Default: 64 MiB.`
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

    /// The numbers and durations in the `Debug` output of a value.
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
