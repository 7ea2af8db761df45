//! The host with its wasmtime engine, and how components are loaded into it.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use semver::Version;
use tokio::sync::Semaphore;
use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime::{Config, Engine, EngineWeak, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::cache::CompiledCache;
use super::version;
use crate::call::exports::Exports;
use crate::call::{self, Connector, Loaded, Run, Runtime, State};
use crate::egress::{self, CallContext};
use crate::error::{CallError, LoadError, Scope, SetupError};
use crate::limits::fair::Gate;
use crate::limits::processor::Processors;
use crate::limits::{EPOCH_TICK, LimitExceeded, LimitName, Limits, permits};
use crate::operators::lifecycle::{DrainReport, Lifecycle};
use crate::operators::telemetry::Metrics;
use crate::options::{HostOptions, LoadOptions, TenantOptions};
use crate::tenant::Tenant;

/// The host of a process. Cheap to clone.
#[derive(Clone)]
pub struct Host {
    pub(crate) inner: Arc<HostInner>,
}

pub(crate) struct HostInner {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) linker: Linker<State>,
    loads: Arc<Semaphore>,
    cache: Option<CompiledCache>,
}

impl Host {
    /// Sets up the wasmtime engine, and starts the thread that counts its epochs; the thread ends with the engine.
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
        call::add_to_linker(&mut linker).map_err(unusable)?;
        let open = |directory: &Path| CompiledCache::open(directory, options.cache_bytes);
        let cache = options.cache_directory.as_deref().map(open).transpose().map_err(SetupError::Cache)?;
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
        let loads = Arc::new(Semaphore::new(options.concurrent_loads.max(1)));
        let runtime =
            Runtime { engine, calls, processors, exchanges, lookups, lifecycle, metrics, warm_permits, options };
        let inner = HostInner { runtime: Arc::new(runtime), linker, loads, cache };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Shuts the host down: refuses new calls ([`CallError::Draining`]) and new components ([`LoadError::Refused`]),
    /// discards warm instances, waits for running calls, and cancels the calls that are still running after `within`.
    /// The connections in a tenant's pool end with the tenant.
    ///
    /// If the future is dropped, new calls are still refused, but running calls are no longer cancelled. Call this
    /// function again to finish, with as much time as is left.
    pub async fn drain(&self, within: Duration) -> DrainReport {
        self.inner.runtime.lifecycle.drain(within).await
    }

    /// Whether the cache has a compiled file for this component. Where it has none, loading compiles the component, which
    /// takes seconds; a program can say so. A damaged file counts as well, although loading then compiles again.
    #[must_use]
    pub fn has_compiled(&self, wasm: &[u8]) -> bool {
        self.inner.cache.as_ref().is_some_and(|cache| cache.has(&self.inner.runtime.engine, wasm))
    }

    /// Loads a component from a file. See [`Host::load`].
    ///
    /// # Errors
    ///
    /// [`LoadError`].
    pub async fn load_file(&self, path: impl AsRef<Path>) -> Result<Connector, LoadError> {
        let path = path.as_ref().to_owned();
        self.load_from(move |limit| read(path, limit), &LoadOptions::default()).await
    }

    /// Loads a component as [`Host::load_with`] does, with the default options.
    ///
    /// # Errors
    ///
    /// [`LoadError`].
    ///
    /// # Panics
    ///
    /// If called outside of a tokio runtime.
    pub async fn load(&self, wasm: impl Into<Vec<u8>>) -> Result<Connector, LoadError> {
        self.load_with(wasm, &LoadOptions::default()).await
    }

    /// Loads a component: checks its interface version, compiles it or takes it from the cache, checks its functions,
    /// asks it for its descriptor, and checks the domains that its egress rules name.
    ///
    /// # Errors
    ///
    /// [`LoadError`]; a wrong interface version is found before anything is compiled.
    ///
    /// # Panics
    ///
    /// If called outside of a tokio runtime.
    pub async fn load_with(&self, wasm: impl Into<Vec<u8>>, options: &LoadOptions) -> Result<Connector, LoadError> {
        let wasm = wasm.into();
        self.load_from(move |_| Ok(wasm), options).await
    }

    /// `wasm` runs on a thread for blocking work. Its parameter is the largest allowed size of a component, in bytes.
    async fn load_from(
        &self,
        wasm: impl FnOnce(usize) -> Result<Vec<u8>, LoadError> + Send + 'static,
        options: &LoadOptions,
    ) -> Result<Connector, LoadError> {
        let inner = &self.inner;
        let _running = inner.runtime.lifecycle.begin().map_err(LoadError::Refused)?;
        let loading = async {
            // The permit is held until the component is compiled, even if the caller no longer waits for it.
            let permit = inner.loads.clone().acquire_owned().await;
            let permit = permit.map_err(|error| LoadError::Compile(error.to_string()))?;
            let compiling = inner.clone();
            let compiled = tokio::task::spawn_blocking(move || {
                let _permit = permit;
                compiling.compile_from(wasm)
            });
            let (component, version) = compiled.await.map_err(|error| LoadError::Compile(error.to_string()))??;
            let pre =
                inner.linker.instantiate_pre(&component).map_err(|error| LoadError::Compile(format!("{error:#}")))?;
            inspect(inner.runtime.clone(), pre, version, options).await
        };
        tokio::select! {
            biased;
            () = inner.runtime.lifecycle.closed() => Err(LoadError::Refused(CallError::Cancelled)),
            loaded = loading => loaded,
        }
    }

    /// Drops the host's own reference to the engine; for tests of the engine's end.
    #[cfg(test)]
    fn weak(&self) -> EngineWeak {
        self.inner.runtime.engine.weak()
    }
}

impl HostInner {
    fn compile_from(
        &self,
        wasm: impl FnOnce(usize) -> Result<Vec<u8>, LoadError>,
    ) -> Result<(Component, Version), LoadError> {
        let options = &self.runtime.options;
        let limit = options.max_component_bytes;
        let wasm = wasm(limit)?;
        if wasm.len() > limit {
            return Err(LoadError::TooLarge { size: wasm.len(), limit });
        }
        let version = version::negotiate(&wasm, &options.interface, options.offer_tls)?;
        let component = self.compile(&wasm).map_err(|error| compile_error(&error))?;
        Ok((component, version))
    }

    fn compile(&self, wasm: &[u8]) -> wasmtime::Result<Component> {
        match &self.cache {
            Some(cache) => cache.load(&self.runtime.engine, wasm),
            None => Component::from_binary(&self.runtime.engine, wasm),
        }
    }
}

/// Checks a component's functions and descriptor, in an instance of its own.
async fn inspect(
    runtime: Arc<Runtime>,
    pre: InstancePre<State>,
    interface: Version,
    options: &LoadOptions,
) -> Result<Connector, LoadError> {
    let exports = Exports::find(pre.component(), &interface)?;
    let loading = TenantOptions {
        name: "(loading)".to_owned(),
        limits: runtime.granted(Limits::default()),
        ..Default::default()
    };
    let tenant = Tenant::new(loading).map_err(|error| LoadError::Compile(error.to_string()))?;
    let run = Run { runtime: &runtime, pre: &pre, exports: &exports, tenant: &tenant, context: CallContext::default() };
    run.check_types().await?;
    let descriptor = run.describe().await.map_err(LoadError::Describe)?;
    egress::review(&descriptor.egress, options.service_domains.as_deref())?;
    Ok(Connector::new(Loaded::new(runtime, pre, exports, descriptor, interface)))
}

/// Reads a file. If the file grew in the meantime, stops one byte after the limit.
fn read(path: PathBuf, limit: usize) -> Result<Vec<u8>, LoadError> {
    let reading = || {
        let file = File::open(&path)?;
        let size = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        if size > limit {
            return Ok(Err(LoadError::TooLarge { size, limit }));
        }
        let mut wasm = Vec::with_capacity(size);
        file.take(limit as u64 + 1).read_to_end(&mut wasm)?;
        Ok(Ok(wasm))
    };
    reading().map_err(|source| LoadError::Read { path: path.clone(), source })?
}

/// The error for a component that has too many parts, or for another failure to compile it.
fn compile_error(error: &wasmtime::Error) -> LoadError {
    composition_error(error).unwrap_or_else(|| LoadError::Compile(format!("{error:#}")))
}

/// wasmtime reports these limits only as text.
fn composition_error(error: &wasmtime::Error) -> Option<LoadError> {
    let cause = error.root_cause().to_string();
    let (wanted, what) = cause.strip_prefix("The component transitively contains ")?.split_once(' ')?;
    let (what, allowed) = what.split_once("exceeds the configured maximum of ")?;
    let name = if what.contains("memories") { LimitName::MaxMemories } else { LimitName::MaxCoreInstances };
    let number = |text: &str| text.split(' ').next()?.parse::<u64>().ok();
    Some(LoadError::Limit(LimitExceeded::new(name, number(wanted)?, number(allowed)?)))
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("options", &self.inner.runtime.options).finish_non_exhaustive()
    }
}

fn new_engine(options: &HostOptions) -> Result<Engine, SetupError> {
    let mut config = Config::new();
    config.epoch_interruption(true).memory_init_cow(true);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(options)));
    match Engine::new(&config) {
        Ok(engine) => Ok(engine),
        Err(error) => {
            // Each slot of the pool reserves gigabytes of address space, which a container may refuse.
            tracing::warn!(%error, "there is not enough address space for a pool of instances; instances are allocated on demand");
            config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
            Engine::new(&config).map_err(|error| SetupError::Engine(format!("{error:#}")))
        }
    }
}

fn pool(options: &HostOptions) -> PoolingAllocationConfig {
    // Each store belongs to a call that has its turn or to a warm instance.
    let &HostOptions { max_core_instances, max_memories, .. } = options;
    let calls = options.concurrent_calls.saturating_add(options.warm_instances);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(calls)
        .total_core_instances(calls.saturating_mul(max_core_instances))
        .total_memories(calls.saturating_mul(max_memories))
        .total_tables(calls.saturating_mul(max_core_instances))
        .max_core_instances_per_component(max_core_instances)
        .max_memories_per_component(max_memories)
        .max_tables_per_component(max_core_instances)
        .max_memories_per_module(max_memories)
        .max_tables_per_module(max_core_instances)
        .total_stacks(calls)
        .max_memory_size(options.max_memory_bytes)
        .table_elements(options.max_table_elements);
    pool
}

/// Starts the thread that counts the engine's epochs and supervises the processors, for as long as the engine lives.
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
        // The core function has a type error, so an attempt to compile it would fail with another error.
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

    #[tokio::test]
    async fn a_component_of_too_many_parts_is_not_loaded() {
        let host = Host::new(HostOptions::default()).unwrap();
        let load = async |module: &str, count: usize| {
            let instances = "(core instance (instantiate $module))".repeat(count);
            let exports = ["metadata", "connection", "discovery", "trigger", "action", "lifecycle"]
                .map(|name| format!(r#"(export "workflow:connector/{name}@0.2.0" (instance $i))"#))
                .concat();
            let wasm = wat::parse_str(format!(
                "(component (core module $module {module}) {instances} (instance $i) {exports})"
            ));
            host.load(wasm.unwrap()).await.unwrap_err()
        };
        let over = |error| match error {
            LoadError::Limit(exceeded) => exceeded,
            other => panic!("{other}"),
        };
        let exceeded = over(load("", 9).await);
        assert_eq!(exceeded, LimitExceeded { name: LimitName::MaxCoreInstances, wanted: 9, allowed: 8 });
        let exceeded = over(load("(table 1 funcref) (table 1 funcref)", 5).await);
        assert_eq!(exceeded, LimitExceeded { name: LimitName::MaxCoreInstances, wanted: 10, allowed: 8 });
        let exceeded = over(load("(memory 1)", 2).await);
        assert_eq!(exceeded, LimitExceeded { name: LimitName::MaxMemories, wanted: 2, allowed: 1 });
        let error = load("(memory 1) (table 1 funcref)", 1).await;
        assert!(matches!(error, LoadError::MissingInterface(_)), "{error}");
    }

    #[tokio::test]
    async fn a_file_that_is_too_large_is_not_read() {
        let host = Host::new(HostOptions::default()).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        // The file is sparse: it uses no disk space, but reading it would use that much memory.
        file.as_file().set_len(1 << 40).unwrap();
        let error = host.load_file(file.path()).await.unwrap_err();
        assert!(matches!(error, LoadError::TooLarge { size: 0x100_0000_0000, limit: 0x200_0000 }), "{error}");
        let error = host.load_file("/there/is/no/such/file").await.unwrap_err();
        assert!(matches!(error, LoadError::Read { .. }), "{error}");
    }

    #[tokio::test]
    async fn components_are_compiled_one_after_another() {
        let host = Host::new(HostOptions { concurrent_loads: 1, ..HostOptions::default() }).unwrap();
        let compiling = host.inner.loads.clone().acquire_owned().await.unwrap();
        let mut second = std::pin::pin!(host.load("no component"));
        assert!(tokio::time::timeout(Duration::from_millis(50), &mut second).await.is_err());
        drop(compiling);
        assert!(matches!(second.await, Err(LoadError::NotAComponent(_))));
    }

    #[tokio::test]
    async fn draining_refuses_components_and_ends_what_is_being_loaded() {
        let host = Host::new(HostOptions::default()).unwrap();
        let _compiling = host.inner.loads.clone().acquire_owned().await.unwrap();
        let (loaded, report) = tokio::join!(host.load("no component"), host.drain(Duration::from_millis(50)));
        assert!(matches!(loaded, Err(LoadError::Refused(CallError::Cancelled))), "{loaded:?}");
        assert_eq!((report.finished, report.cancelled), (0, 1));
        let refused = host.load("no component").await;
        assert!(matches!(refused, Err(LoadError::Refused(CallError::Draining { scope: Scope::Host }))), "{refused:?}");
    }

    #[test]
    fn the_epochs_of_every_engine_count_up_and_end_with_it() {
        let wasm = wat::parse_str(r#"(module (func (export "spin") (loop br 0)))"#).unwrap();
        for _ in 0..2 {
            let host = Host::new(HostOptions::default()).unwrap();
            let engine = &host.inner.runtime.engine;
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
            // The backtrace and the function also hold references to the engine.
            drop((error, spin, instance, store, module, host));
            let begun = Instant::now();
            while weak.upgrade().is_some() {
                assert!(begun.elapsed() < Duration::from_secs(5), "the engine is still held");
                thread::sleep(EPOCH_TICK);
            }
        }
    }
}
