//! What an operator sets for a process.

use std::path::PathBuf;
use std::thread;

use opentelemetry::metrics::Meter;
use semver::VersionReq;

use crate::setters::setters;

/// How a [`Host`](crate::Host) is set up. Start from [`HostOptions::default`] and change what differs.
///
/// ```
/// use connector_host::HostOptions;
///
/// let options = HostOptions::default()
///     .with_interface(">=0.2.0, <0.3.0".parse()?)
///     .with_cache_directory("/var/cache/connectors")
///     .with_cache_bytes(256 << 20)
///     .with_concurrent_calls(512)
///     .with_computing_calls(8)
///     .with_concurrent_exchanges(1_024)
///     .with_concurrent_lookups(32)
///     .with_warm_instances(1_000)
///     .with_concurrent_loads(2)
///     .with_max_component_bytes(16 << 20)
///     .with_max_memory_bytes(128 << 20)
///     .with_max_table_elements(50_000)
///     .with_max_core_instances(4)
///     .with_max_memories(1)
///     .with_meter(opentelemetry::global::meter("engine"));
/// assert_eq!(options.concurrent_calls, 512);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HostOptions {
    /// Which versions of `workflow:connector` are accepted. Default: `>=0.1.0, <0.3.0`, all that this host speaks.
    pub interface: VersionReq,
    /// Where compiled components are kept; none: nowhere. The directory must be the operator's alone,
    /// since the machine code in it is run as it is: one that is missing is made for nobody else, and one that is
    /// another user's, that others may write to or that is a link is refused.
    /// Default: none.
    pub cache_directory: Option<PathBuf>,
    /// The most that is kept there, in bytes; what was used the longest ago makes room.
    /// Default: 1 GiB.
    pub cache_bytes: u64,
    /// Calls that run at the same time, over all tenants; more wait for their turn until their deadline. A turn goes to
    /// the tenant that has the fewest calls running.
    /// Default: 256 calls.
    pub concurrent_calls: u32,
    /// How many of those compute at the same time, the others waiting for an answer or for their turn: a turn goes to the
    /// tenant that has computed the least. A single tenant gets all but one of them, but at least one, so that the next
    /// tenant finds one free, and a thread is left for connections. Default: as many as there are processors. Connections
    /// are looked after all the sooner with a runtime whose `event_interval` is small: tokio's own looks at them after 61
    /// polls.
    pub computing_calls: u32,
    /// HTTP exchanges at the same time, over all tenants; turns are given as for calls.
    /// Default: 4,096 exchanges.
    pub concurrent_exchanges: u32,
    /// Name look-ups at the same time, over all tenants; turns are given as for calls. Each takes a thread of the runtime's
    /// for blocking work until the name server answers, whatever becomes of its call.
    /// Default: 64 look-ups.
    pub concurrent_lookups: u32,
    /// Instances that are kept warm between calls, over all tenants; see [`Connector::open`](crate::Connector::open).
    /// Default: 256 instances.
    pub warm_instances: u32,
    /// Components that are read and compiled at the same time; more wait for their turn. One of them takes all
    /// processors already.
    /// Default: 1 component.
    pub concurrent_loads: usize,
    /// The largest component that is compiled, in bytes.
    /// Default: 32 MiB.
    pub max_component_bytes: usize,
    /// The most linear memory that any tenant's limits may grant, in bytes.
    /// Default: 512 MiB.
    pub max_memory_bytes: usize,
    /// The most elements of all tables that any tenant's limits may grant.
    /// Default: 20,000 elements.
    pub max_table_elements: usize,
    /// The most core instances that a component may be made of, and as many tables. So many are set aside for each call
    /// and each warm instance, so that no component takes those of others.
    /// Default: 8 instances.
    pub max_core_instances: u32,
    /// As [`HostOptions::max_core_instances`], the most linear memories. Each takes gigabytes of address space, though
    /// no memory.
    /// Default: 1 memory.
    pub max_memories: u32,
    /// Where measurements go; none: to OpenTelemetry's global provider, as it is when the host is set up.
    /// Default: none.
    pub meter: Option<Meter>,
}

setters! {
    HostOptions {
        value with_interface (interface: VersionReq);
        some with_cache_directory (cache_directory: PathBuf);
        value with_cache_bytes (cache_bytes: u64);
        value with_concurrent_calls (concurrent_calls: u32);
        value with_computing_calls (computing_calls: u32);
        value with_concurrent_exchanges (concurrent_exchanges: u32);
        value with_concurrent_lookups (concurrent_lookups: u32);
        value with_warm_instances (warm_instances: u32);
        value with_concurrent_loads (concurrent_loads: usize);
        value with_max_component_bytes (max_component_bytes: usize);
        value with_max_memory_bytes (max_memory_bytes: usize);
        value with_max_table_elements (max_table_elements: usize);
        value with_max_core_instances (max_core_instances: u32);
        value with_max_memories (max_memories: u32);
        some with_meter (meter: Meter);
    }
}

impl Default for HostOptions {
    fn default() -> Self {
        Self {
            interface: spoken(),
            cache_directory: None,
            cache_bytes: 1 << 30,
            concurrent_calls: 256,
            computing_calls: thread::available_parallelism()
                .map_or(1, |processors| u32::try_from(processors.get()).unwrap_or(u32::MAX)),
            concurrent_exchanges: 4_096,
            concurrent_lookups: 64,
            warm_instances: 256,
            concurrent_loads: 1,
            max_component_bytes: 32 << 20,
            max_memory_bytes: 512 << 20,
            max_table_elements: 20_000,
            max_core_instances: 8,
            max_memories: 1,
            meter: None,
        }
    }
}

/// From the oldest version that is kept in `wit/frozen/` to before the one that does not exist yet.
fn spoken() -> VersionReq {
    let bound = |op, minor| semver::Comparator {
        op,
        major: 0,
        minor: Some(minor),
        patch: Some(0),
        pre: semver::Prerelease::EMPTY,
    };
    VersionReq { comparators: vec![bound(semver::Op::GreaterEq, 1), bound(semver::Op::Less, 3)] }
}

#[cfg(test)]
mod tests {
    use super::HostOptions;
    use crate::limits::tests::{defaults, stated_defaults};

    #[test]
    fn stated_defaults_are_the_defaults() {
        let stated = stated_defaults(include_str!("host.rs"), "pub struct HostOptions {");
        // The range of versions has numbers of its own.
        let options = HostOptions::default().with_interface(semver::VersionReq::STAR);
        let mut defaults = defaults(&format!("{options:?}"));
        // As many as there are processors.
        defaults.remove("computing_calls");
        assert_eq!(stated, defaults);
    }
}
