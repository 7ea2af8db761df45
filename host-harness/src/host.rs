//! The engine, and how components get into it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use opentelemetry::metrics::Meter;
use semver::VersionReq;
use tokio::sync::Semaphore;
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine, EngineWeak, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::cache::CompiledCache;
use crate::connector::Connector;
use crate::error::{LoadError, Scope, SetupError};
use crate::fair::Gate;
use crate::lifecycle::{DrainReport, Lifecycle};
use crate::limits::{EPOCH_TICK, permits};
use crate::processor::Processors;
use crate::state::{self, State};
use crate::telemetry::Metrics;
use crate::version;

/// How a [`Host`] is set up. Start from [`HostOptions::default`] and change fields.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HostOptions {
    /// Which versions of `workflow:connector` are accepted. Default: `>=0.1.0, <0.3.0`, all that this host speaks.
    pub interface: VersionReq,
    /// Where compiled components are kept; none: nowhere. The directory must be the operator's alone,
    /// since the machine code in it is run as it is.
    pub cache_directory: Option<PathBuf>,
    /// Calls that run at the same time, over all tenants; more wait for their turn until their deadline. A turn goes to
    /// the tenant that has the fewest calls running.
    pub concurrent_calls: u32,
    /// How many of those compute at the same time, the others waiting for an answer or for their turn: a turn goes to the
    /// tenant that has computed the least. A single tenant gets all but one of them, but at least one, so that the next
    /// tenant finds one free, and a thread is left for connections. Default: as many as there are processors. Connections
    /// are looked after all the sooner with a runtime whose `event_interval` is small: tokio's own looks at them after 61
    /// polls.
    pub computing_calls: u32,
    /// HTTP exchanges at the same time, over all tenants; turns are given as for calls.
    pub concurrent_exchanges: u32,
    /// Name look-ups at the same time, over all tenants; turns are given as for calls. Each takes a thread of the runtime's
    /// for blocking work until the name server answers, whatever becomes of its call.
    pub concurrent_lookups: u32,
    /// Instances that are kept warm between calls, over all tenants; see [`Connector::open`].
    pub warm_instances: u32,
    /// The largest component that is compiled, in bytes.
    pub max_component_bytes: usize,
    /// The most linear memory that any tenant's limits may grant, in bytes.
    pub max_memory_bytes: usize,
    /// Where measurements go; none: to OpenTelemetry's global provider, as it is when the host is set up.
    pub meter: Option<Meter>,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self {
            interface: spoken(),
            cache_directory: None,
            concurrent_calls: 256,
            computing_calls: thread::available_parallelism()
                .map_or(1, |processors| u32::try_from(processors.get()).unwrap_or(u32::MAX)),
            concurrent_exchanges: 4_096,
            concurrent_lookups: 64,
            warm_instances: 256,
            max_component_bytes: 32 << 20,
            max_memory_bytes: 512 << 20,
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

/// The engine. Cheap to clone.
#[derive(Clone)]
pub struct Host {
    pub(crate) inner: Arc<HostInner>,
}

pub(crate) struct HostInner {
    pub(crate) engine: Engine,
    pub(crate) calls: Gate,
    pub(crate) processors: Processors,
    pub(crate) exchanges: Gate,
    pub(crate) lookups: Gate,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) warm_permits: Arc<Semaphore>,
    pub(crate) options: HostOptions,
    pub(crate) linker: Linker<State>,
    cache: Option<CompiledCache>,
}

impl Host {
    /// Sets the engine up, and starts the thread that counts its epochs; the thread ends with the engine.
    ///
    /// # Errors
    ///
    /// [`SetupError`].
    pub fn new(options: HostOptions) -> Result<Self, SetupError> {
        let engine = new_engine(&options)?;
        let processors = Processors::new(options.computing_calls as usize);
        start_ticking(&engine, processors.clone())?;
        let unusable = |error: wasmtime::Error| SetupError::Engine(format!("{error:#}"));
        let mut linker = Linker::new(&engine);
        state::add_to_linker(&mut linker).map_err(unusable)?;
        let cache =
            options.cache_directory.as_deref().map(CompiledCache::open).transpose().map_err(SetupError::Cache)?;
        let calls = Gate::new(options.concurrent_calls as usize);
        let exchanges = Gate::new(options.concurrent_exchanges as usize);
        let lookups = Gate::new(options.concurrent_lookups as usize);
        let lifecycle = Lifecycle::new(Scope::Host);
        let metrics = match &options.meter {
            Some(meter) => Metrics::new(meter),
            None => Metrics::new(&opentelemetry::global::meter("connector_host")),
        };
        let metrics = Arc::new(metrics);
        let warm_permits = Arc::new(Semaphore::new(permits(options.warm_instances as usize)));
        let inner = HostInner {
            engine,
            calls,
            processors,
            exchanges,
            lookups,
            lifecycle,
            metrics,
            warm_permits,
            options,
            linker,
            cache,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Ends the host in good order: takes no more calls ([`CallError::Draining`](crate::CallError::Draining)), discards
    /// warm instances, waits for the calls that run, and cancels those that run still after `within`. The connections
    /// of a tenant's pool end with the tenant.
    pub async fn drain(&self, within: Duration) -> DrainReport {
        self.inner.lifecycle.drain(within).await
    }

    /// Loads a component from a file. See [`Host::load`].
    ///
    /// # Errors
    ///
    /// [`LoadError`].
    pub async fn load_file(&self, path: impl AsRef<Path>) -> Result<Connector, LoadError> {
        let path = path.as_ref();
        let wasm = std::fs::read(path).map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
        self.load(wasm).await
    }

    /// Loads a component: checks its interface version, then compiles it or takes it from the cache, then
    /// checks its functions and asks it for its descriptor.
    ///
    /// # Errors
    ///
    /// [`LoadError`]; a wrong interface version is found before anything is compiled.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub async fn load(&self, wasm: impl Into<Vec<u8>>) -> Result<Connector, LoadError> {
        let wasm = wasm.into();
        let limit = self.inner.options.max_component_bytes;
        if wasm.len() > limit {
            return Err(LoadError::TooLarge { size: wasm.len(), limit });
        }
        let version = version::negotiate(&wasm, &self.inner.options.interface)?;
        let inner = self.inner.clone();
        // Compiling takes a core for a while.
        let component = tokio::task::spawn_blocking(move || inner.compile(&wasm))
            .await
            .map_err(|error| LoadError::Compile(error.to_string()))?
            .map_err(|error| LoadError::Compile(format!("{error:#}")))?;
        let pre =
            self.inner.linker.instantiate_pre(&component).map_err(|error| LoadError::Compile(format!("{error:#}")))?;
        Connector::new(self.inner.clone(), pre, &version).await
    }

    /// Lets go of the host's own hold on the engine; for tests of its end.
    #[cfg(test)]
    fn weak(&self) -> EngineWeak {
        self.inner.engine.weak()
    }
}

impl HostInner {
    fn compile(&self, wasm: &[u8]) -> wasmtime::Result<Component> {
        match &self.cache {
            Some(cache) => cache.load(&self.engine, wasm),
            None => Component::from_binary(&self.engine, wasm),
        }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("options", &self.inner.options).finish_non_exhaustive()
    }
}

fn new_engine(options: &HostOptions) -> Result<Engine, SetupError> {
    let mut config = Config::new();
    config.epoch_interruption(true).memory_init_cow(true);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(options)));
    match Engine::new(&config) {
        Ok(engine) => Ok(engine),
        Err(error) => {
            // Each slot reserves gigabytes of address space, which a container may not grant.
            tracing::warn!(%error, "no address space for a pool of instances; allocating on demand");
            config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
            Engine::new(&config).map_err(|error| SetupError::Engine(format!("{error:#}")))
        }
    }
}

fn pool(options: &HostOptions) -> PoolingAllocationConfig {
    // A component is one core instance with a memory, and up to a few adapters without one.
    const INSTANCES_PER_CALL: u32 = 4;
    const TABLES_PER_CALL: u32 = 4;

    let calls = options.concurrent_calls.saturating_add(options.warm_instances);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(calls)
        .total_core_instances(calls.saturating_mul(INSTANCES_PER_CALL))
        .total_memories(calls)
        .total_tables(calls.saturating_mul(TABLES_PER_CALL))
        .total_stacks(calls)
        .max_memory_size(options.max_memory_bytes);
    pool
}

/// Counts the engine's epochs up for as long as it lives, and looks after the processors.
fn start_ticking(engine: &Engine, processors: Processors) -> Result<(), SetupError> {
    let engine: EngineWeak = engine.weak();
    thread::Builder::new()
        .name("connector-host-epochs".to_owned())
        .spawn(move || {
            while let Some(engine) = engine.upgrade() {
                engine.increment_epoch();
                drop(engine);
                processors.expire();
                thread::sleep(EPOCH_TICK);
            }
        })
        .map(drop)
        .map_err(SetupError::Thread)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[tokio::test]
    async fn refuses_a_wrong_version_before_compiling() {
        let host = Host::new(HostOptions::default()).unwrap();
        // The core function is ill-typed, so that compiling would fail with another error.
        let wasm = wat::parse_str(
            r#"(component
                (core module (func (result i32) i64.const 0))
                (instance $i)
                (export "workflow:connector/metadata@0.9.0" (instance $i)))"#,
        )
        .unwrap();
        let error = host.load(wasm).await.unwrap_err();
        assert!(matches!(error, LoadError::InterfaceVersion { .. }), "{error}");
        assert!(error.to_string().contains("0.9.0") && error.to_string().contains(">=0.1.0, <0.3.0"), "{error}");
    }

    #[test]
    fn the_epochs_of_every_engine_count_up_and_end_with_it() {
        let wasm = wat::parse_str(r#"(module (func (export "spin") (loop br 0)))"#).unwrap();
        for _ in 0..2 {
            let host = Host::new(HostOptions::default()).unwrap();
            let engine = &host.inner.engine;
            let module = wasmtime::Module::from_binary(engine, &wasm).unwrap();
            let mut store = wasmtime::Store::new(engine, ());
            store.set_epoch_deadline(2);
            let instance = wasmtime::Instance::new(&mut store, &module, &[]).unwrap();
            let spin = instance.get_typed_func::<(), ()>(&mut store, "spin").unwrap();
            let begun = Instant::now();
            let error = spin.call(&mut store, ()).unwrap_err();
            assert_eq!(error.downcast_ref(), Some(&wasmtime::Trap::Interrupt));
            assert!(begun.elapsed() < Duration::from_secs(5));

            let weak = host.weak();
            // The backtrace and the function hold the engine, too.
            drop((error, spin, instance, store, module, host));
            let begun = Instant::now();
            while weak.upgrade().is_some() {
                assert!(begun.elapsed() < Duration::from_secs(5), "the engine is still held");
                thread::sleep(EPOCH_TICK);
            }
        }
    }
}
