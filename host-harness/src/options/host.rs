//! The options that an operator sets for a process.

use std::path::PathBuf;
use std::thread;

use opentelemetry::metrics::Meter;
use semver::VersionReq;

use crate::setters::setters;

/// The options of a [`Host`](crate::Host). Start from [`HostOptions::default`] and change individual fields.
///
/// ```
/// use connector_host::HostOptions;
///
/// let options = HostOptions::default()
///     .with_interface(">=0.2.0, <0.3.0".parse()?)
///     .with_offer_tls(false)
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
    /// The accepted versions of `workflow:connector`. Default: `>=0.1.0, <0.3.0`, all versions that this host supports.
    pub interface: VersionReq,
    /// Whether connectors that import `workflow:connector-host/tls` are loaded: the host does TLS for them, with the
    /// tenant's trust roots. Without it they are refused, see
    /// [`LoadError::HostInterface`](crate::LoadError::HostInterface).
    /// Default: true.
    pub offer_tls: bool,
    /// The directory for compiled components; none: they are not kept. Only the operator may have write access, because
    /// the host runs the machine code in the directory. A missing directory is created with access for its owner only.
    /// A directory that belongs to another user, is writable by others or is a symbolic link is refused.
    /// Default: none.
    pub cache_directory: Option<PathBuf>,
    /// The largest total size of the files in that directory, in bytes. The files used the longest ago are removed
    /// first.
    /// Default: 1 GiB.
    pub cache_bytes: u64,
    /// The largest number of calls that run at the same time, over all tenants. Further calls wait for a turn until
    /// their deadline. A turn goes to the tenant with the fewest running calls.
    /// Default: 256 calls.
    pub concurrent_calls: u32,
    /// The largest number of running calls that compute at the same time; the other running calls wait for an answer or
    /// for a turn. A turn goes to the tenant that has computed the least. A single tenant gets all turns but one (at
    /// least one), so that the next tenant finds a turn free, and a thread remains for connections. Default: the number
    /// of processors.
    /// The runtime serves connections sooner if its `event_interval` is small: tokio's default is to look at them only
    /// after every 61 polls.
    pub computing_calls: u32,
    /// The largest number of HTTP exchanges at the same time, over all tenants; turns are given as for calls.
    /// Default: 4,096 exchanges.
    pub concurrent_exchanges: u32,
    /// The largest number of name look-ups at the same time, over all tenants; turns are given as for calls. Each
    /// look-up occupies one of the runtime's threads for blocking work until the name server answers, even if its call
    /// has ended.
    /// Default: 64 look-ups.
    pub concurrent_lookups: u32,
    /// The largest number of instances that are kept warm between calls, over all tenants; see
    /// [`Connector::open`](crate::Connector::open).
    /// Default: 256 instances.
    pub warm_instances: u32,
    /// The largest number of components that are read and compiled at the same time; further components wait for a
    /// turn. Compiling a single component already uses all processors.
    /// Default: 1 component.
    pub concurrent_loads: usize,
    /// The largest component that the host compiles, in bytes.
    /// Default: 32 MiB.
    pub max_component_bytes: usize,
    /// The largest linear memory that a tenant's limits may set, in bytes.
    /// Default: 512 MiB.
    pub max_memory_bytes: usize,
    /// The largest number of table elements (sum over all tables of an instance) that a tenant's limits may set.
    /// Default: 20,000 elements.
    pub max_table_elements: usize,
    /// The largest number of core instances in a component, and also of tables. The host reserves this number for each
    /// call and each warm instance, so that no component can use up the share of others.
    /// Default: 8 instances.
    pub max_core_instances: u32,
    /// The largest number of linear memories in a component, reserved like [`HostOptions::max_core_instances`]. Each
    /// reserves gigabytes of address space, but no physical memory.
    /// Default: 1 memory.
    pub max_memories: u32,
    /// The OpenTelemetry meter for metrics; none: a meter of the provider that is global when the host is set up.
    /// Default: none.
    pub meter: Option<Meter>,
}

setters! {
    HostOptions {
        value with_interface (interface: VersionReq);
        value with_offer_tls (offer_tls: bool);
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
            offer_tls: true,
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

/// The versions that this host supports: from the oldest one in `wit/frozen/` up to, but not including, the next minor
/// version, which does not exist yet.
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
        // The version requirement contains numbers that are not defaults.
        let options = HostOptions::default().with_interface(semver::VersionReq::STAR);
        let mut defaults = defaults(&format!("{options:?}"));
        // Its default is the number of processors, which differs between machines.
        defaults.remove("computing_calls");
        assert_eq!(stated, defaults);
    }
}
