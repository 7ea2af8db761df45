//! One run of a guest's function within its bounds, in an instance of its own or in a kept one.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};
use wasmtime::component::{InstancePre, ResourceTableError};

use super::exports::{self, Export, Exports};
use super::instance::Instance;
use super::judge::Judge;
use super::runtime::Runtime;
use super::slot::Shelf;
use super::state::{State, begin_call, end_call, new_store};
use crate::egress::CallContext;
use crate::egress::{AllowList, Exchange};
use crate::error::{CallError, Failure, LoadError, Refusals, Scope};
use crate::interface::metadata::Descriptor;
use crate::interface::types;
use crate::limits::{LimitExceeded, LimitHit, LimitName, from_now};
use crate::tenant::Tenant;

/// The allow list and the deadline of one run.
pub(crate) struct Prepared {
    pub(crate) allowed: Arc<AllowList>,
    pub(crate) deadline: Instant,
}

impl Prepared {
    pub(crate) fn new(tenant: &Tenant, allowed: Arc<AllowList>) -> Self {
        Self { allowed, deadline: from_now(tenant.deadline()) }
    }

    pub(crate) fn without_network(tenant: &Tenant) -> Self {
        Self::new(tenant, Arc::default())
    }

    /// The instant at which a call that has not had its turn gives up. It is before the deadline, so that the caller
    /// still receives the error, which says that nothing was done.
    fn turn(&self) -> Instant {
        self.deadline - self.deadline.saturating_duration_since(Instant::now()) / 8
    }
}

/// An answer, and the list of what the host refused during the call.
pub(crate) type WithRefusals<T> = (T, Refusals);

/// The result of checking an answer before it leaves its call.
pub(crate) type Verdict = Result<(), CallError>;

/// Turns the connector's own error into an error of the call, together with what the host refused.
pub(crate) fn answer<T>(result: Result<WithRefusals<Result<T, types::Error>>, CallError>) -> Result<T, CallError> {
    let (answer, Refusals { denials, limits }) = result?;
    answer.map_err(|error| CallError::Connector(Box::new(Failure { error, denials, limits })))
}

/// Checks either an answer or the connector's own error.
pub(crate) fn either<T>(
    judge: impl FnOnce(&T, &mut Judge<'_>) -> Verdict,
) -> impl FnOnce(&Result<T, types::Error>, &mut Judge<'_>) -> Verdict {
    |answer, judging| match answer {
        Ok(answer) => judge(answer, judging),
        Err(error) => judging.error(error),
    }
}

/// Everything that one run of a guest needs.
pub(crate) struct Run<'a> {
    pub(crate) runtime: &'a Arc<Runtime>,
    pub(crate) pre: &'a InstancePre<State>,
    pub(crate) exports: &'a Exports,
    pub(crate) tenant: &'a Tenant,
    pub(crate) context: CallContext,
}

impl Run<'_> {
    /// Runs one function in an instance of its own.
    pub(crate) async fn call<'p, E: Export>(
        &self,
        prepared: Prepared,
        params: impl FnOnce(u64) -> E::Params<'p>,
        judge: impl FnOnce(&E::Answer, &mut Judge<'_>) -> Verdict,
    ) -> Result<WithRefusals<E::Answer>, CallError> {
        self.call_in::<E>(None, prepared, params, judge).await
    }

    /// Runs one function within the CPU budget and the deadline. With a shelf, the function runs in an instance
    /// kept there, which is put back only after a run without a fault.
    pub(crate) async fn call_in<'p, E: Export>(
        &self,
        shelf: Option<&Arc<Shelf>>,
        prepared: Prepared,
        params: impl FnOnce(u64) -> E::Params<'p>,
        judge: impl FnOnce(&E::Answer, &mut Judge<'_>) -> Verdict,
    ) -> Result<WithRefusals<E::Answer>, CallError> {
        let deadline = prepared.deadline;
        let limit = self.tenant.deadline();
        let work = self.call_unbounded::<E>(shelf, prepared, params, judge);
        let work = self.runtime.processors.share(self.tenant.id(), work);
        timeout_at(deadline, work).await.unwrap_or_else(|_| {
            tracing::warn!(tenant = self.tenant.name(), function = E::NAME, "deadline passed");
            Err(CallError::Deadline { limit })
        })
    }

    async fn call_unbounded<'p, E: Export>(
        &self,
        shelf: Option<&Arc<Shelf>>,
        prepared: Prepared,
        params: impl FnOnce(u64) -> E::Params<'p>,
        judge: impl FnOnce(&E::Answer, &mut Judge<'_>) -> Verdict,
    ) -> Result<WithRefusals<E::Answer>, CallError> {
        let begun = Instant::now();
        let turn = prepared.turn();
        let mut occupied = match shelf {
            Some(shelf) => match timeout_at(turn, shelf.occupy()).await {
                Ok(occupied) => Some(occupied),
                Err(_) => return Err(CallError::Occupied { waited: begun.elapsed() }),
            },
            None => None,
        };
        // In wasmtime a full pool is an error, so calls queue here instead. Calls of one tenant queue among themselves
        // first, so that no tenant has more calls in the common queue than it may run.
        let limits = self.tenant.limits();
        let Ok(Ok(_permit)) = timeout_at(turn, self.tenant.inner().call_permits.acquire()).await else {
            return Err(CallError::Busy { scope: Scope::Tenant, limit: limits.concurrent_calls });
        };
        let Ok(_turn) = timeout_at(turn, self.runtime.calls.enter(self.tenant.id())).await else {
            return Err(CallError::Busy { scope: Scope::Host, limit: self.runtime.calls.limit() });
        };

        let deadline = prepared.deadline;
        let allowed = prepared.allowed;
        let context = self.context.clone();
        let exchange = Exchange::within(self.tenant.network(), allowed.clone(), deadline, context);
        // However this future ends, its HTTP exchanges end with it.
        let _ending = exchange.until_dropped();
        let mut errands = exchange.errands().attend();
        // From here on the instance is outside its shelf: if this future ends early, the instance is dropped with it.
        let kept = occupied.as_mut().and_then(|occupied| occupied.take());
        let mut instance = match kept {
            Some(mut instance) => {
                begin_call(&mut instance.store, limits, exchange.clone());
                instance
            }
            None => {
                let warm = if shelf.is_some() { self.warm_permits() } else { None };
                let mut store = new_store(&self.runtime.engine, limits, exchange.clone());
                let making = errands.beside(self.pre.instantiate_async(&mut store));
                let made = exchange.counting(making).await;
                let functions = made.map_err(|error| instantiation_error(&error, self.tenant))?;
                let _counted = self.context.meter.instance();
                Instance { functions, store, release: self.exports.release(), allowed, warm, _counted }
            }
        };
        let meter = &self.context.meter;
        let running = async {
            let Instance { store, functions, .. } = &mut instance;
            let function =
                functions.get_typed_func::<E::Params<'p>, (E::Answer,)>(&mut *store, self.exports.index::<E>())?;
            let params = params(guest_deadline_ms(deadline, limits.deadline_margin));
            let (answer,) = function.call_async(&mut *store, params).await?;
            wasmtime::Result::Ok(answer)
        };
        let running = exchange.counting(errands.beside(running));
        let result = tokio::select! {
            biased;
            result = running => result,
            // While the guest waits, no epoch checks the budget, but its connections still use CPU time.
            () = exchange.exhausted() => Err(LimitHit::Cpu.into()),
        };
        meter.memory(instance.store.data().memory_high_water());
        let answer = result.map_err(|error| guest_error(&error, self.tenant, &exchange))?;
        let mut judging = Judge::new(E::NAME, limits);
        judge(&answer, &mut judging)?;
        meter.events(judging.counted_events());
        let leaving = match &mut occupied {
            Some(occupied) if instance.warm.is_some() => {
                end_call(&instance.store);
                if exchange.counting(errands.beside(exchange.end())).await {
                    occupied.put(instance, self.tenant, self.runtime)
                } else {
                    tracing::debug!(
                        tenant = self.tenant.name(),
                        "an HTTP exchange is still held; the instance is discarded"
                    );
                    None
                }
            }
            _ => instance.store.data().has_open_sockets().then_some(instance),
        };
        if let Some(instance) = leaving {
            // The answer is ready, so the release may take at most half of the time that is left.
            let left = deadline.saturating_duration_since(Instant::now());
            instance.release(self.tenant, Instant::now() + left / 2).await;
        }
        Ok((answer, exchange.take_refusals()))
    }

    fn warm_permits(&self) -> Option<[OwnedSemaphorePermit; 2]> {
        let bounds = [&self.tenant.inner().warm_permits, &self.runtime.warm_permits];
        let [tenant, host] = bounds.map(|bound| bound.clone().try_acquire_owned().ok());
        let permits = tenant.zip(host).map(<[_; 2]>::from);
        if permits.is_none() {
            tracing::debug!(
                tenant = self.tenant.name(),
                "all warm instances are in use; this call runs in a new instance"
            );
        }
        permits
    }

    /// Asks the connector for its descriptor.
    pub(crate) async fn describe(&self) -> Result<Descriptor, CallError> {
        let judge = |descriptor: &Descriptor, judge: &mut Judge<'_>| judge.descriptor(descriptor);
        let described = self.call::<exports::Describe>(Prepared::without_network(self.tenant), |_| (), judge).await;
        described.map(|(descriptor, _)| descriptor)
    }

    /// Compares the types of the functions with the interface. This needs an instance.
    pub(crate) async fn check_types(&self) -> Result<(), LoadError> {
        let prepared = Prepared::without_network(self.tenant);
        let deadline = prepared.deadline;
        let checking = self.runtime.processors.share(self.tenant.id(), self.check_types_unbounded(prepared));
        timeout_at(deadline, checking)
            .await
            .unwrap_or(Err(LoadError::Describe(CallError::Deadline { limit: self.tenant.deadline() })))
    }

    async fn check_types_unbounded(&self, prepared: Prepared) -> Result<(), LoadError> {
        // The instance comes from the pool that serves calls, so it needs a turn as a call does.
        let Ok(_turn) = timeout_at(prepared.turn(), self.runtime.calls.enter(self.tenant.id())).await else {
            return Err(LoadError::Describe(CallError::Busy { scope: Scope::Host, limit: self.runtime.calls.limit() }));
        };
        let Prepared { allowed, deadline } = prepared;
        let exchange = Exchange::within(self.tenant.network(), allowed, deadline, self.context.clone());
        let mut errands = exchange.errands().attend();
        let mut store = new_store(&self.runtime.engine, self.tenant.limits(), exchange.clone());
        // Instantiation can run code of the guest, and that code can wait in the host.
        let made = exchange.counting(errands.beside(self.pre.instantiate_async(&mut store))).await;
        let instance = made.map_err(|error| LoadError::Describe(instantiation_error(&error, self.tenant)))?;
        exports::check_types(self.exports, &instance, &mut store)
    }
}

/// The milliseconds that the guest is told it has: a bit less than the host allows.
fn guest_deadline_ms(deadline: Instant, margin: Duration) -> u64 {
    let left = deadline.saturating_duration_since(Instant::now());
    // When little time is left, the margin takes at most a quarter of it.
    let granted = left.saturating_sub(margin.min(left / 4));
    u64::try_from(granted.as_millis()).unwrap_or(u64::MAX)
}

/// The error for an instance that could not be made. Where the guest did not exceed a limit, the host lacks a resource.
fn instantiation_error(error: &wasmtime::Error, tenant: &Tenant) -> CallError {
    if let Some(limit) = limit_error(error, tenant) {
        return limit;
    }
    let message = format!("{error:#}");
    if error.is::<wasmtime::Trap>() || error.is::<wasmtime::WasmBacktrace>() {
        CallError::Trap { message, refusals: Box::default() }
    } else {
        CallError::Host { message }
    }
}

/// The error for a call that broke off: a trap, an exit, or an answer that cannot be read.
fn guest_error(error: &wasmtime::Error, tenant: &Tenant, exchange: &Exchange) -> CallError {
    limit_error(error, tenant).unwrap_or_else(|| CallError::Trap {
        message: format!("{error:#}"),
        refusals: Box::new(exchange.take_refusals()),
    })
}

fn limit_error(error: &wasmtime::Error, tenant: &Tenant) -> Option<CallError> {
    let limits = tenant.limits();
    if let Some(hit) = error.downcast_ref::<LimitHit>() {
        return Some(match *hit {
            LimitHit::Cpu => CallError::CpuBudget { limit: limits.cpu },
            LimitHit::Memory { wanted, limit } => CallError::MemoryLimit { wanted, limit },
            LimitHit::Table { wanted, limit } => CallError::TableLimit { wanted, limit },
            LimitHit::Other(exceeded) => CallError::Limit(exceeded),
        });
    }
    let over = |name, wanted, allowed| Some(CallError::Limit(LimitExceeded::new(name, wanted, allowed)));
    let one_more = |name, allowed: usize| over(name, allowed.saturating_add(1), allowed);
    if matches!(error.downcast_ref::<ResourceTableError>(), Some(ResourceTableError::Full)) {
        return one_more(LimitName::Handles, limits.handles);
    }
    // wasmtime reports these limits only as text. The text is wasmtime's own: no error of wasmtime contains text from a
    // guest.
    let cause = error.root_cause().to_string();
    if cause.ends_with("store handle limit exceeded") {
        return one_more(LimitName::Handles, limits.handles);
    }
    if cause.ends_with("fuel allocated for hostcalls has been exhausted") {
        return one_more(LimitName::HostcallBytes, limits.hostcall_bytes);
    }
    let (what, count) = cause.strip_prefix("resource limit exceeded: ")?.split_once(" count too high at ")?;
    let wanted = count.parse().ok()?;
    match what {
        "memory" => over(LimitName::Memories, wanted, limits.memories),
        _ => over(LimitName::Instances, wanted, limits.instances),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::call::admission::Supervised;
    use crate::limits::Limits;
    use crate::limits::fair::TenantId;
    use crate::loading::Host;
    use crate::operators::telemetry::Subject;
    use crate::options::HostOptions;
    use crate::options::TenantOptions;
    use wasmtime::component::Component;

    /// A component that exports only `run: func() -> u32` and is not a connector.
    struct Guest {
        host: Host,
        pre: InstancePre<State>,
        exports: Exports,
    }

    struct Entry;

    impl Export for Entry {
        const NAME: &'static str = "test.run";
        const POSITION: usize = 0;
        type Params<'a> = ();
        type Answer = u32;
    }

    impl Guest {
        /// `body` is the body of the core function. In it, `$memory` is the memory, and `$wait` waits in the host for
        /// the given number of nanoseconds.
        fn new(body: &str) -> Self {
            Self::made_of("", body, HostOptions::default())
        }

        /// `parts` is added to the text of the component.
        fn made_of(parts: &str, body: &str, options: HostOptions) -> Self {
            let wasm = wat::parse_str(format!(
                r#"(component
                    (import "wasi:io/poll@0.2.0" (instance $poll
                        (export "pollable" (type $pollable (sub resource)))
                        (export "[method]pollable.block" (func (param "self" (borrow $pollable))))))
                    (alias export $poll "pollable" (type $pollable))
                    (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
                        (alias outer 1 $pollable (type $outer))
                        (export "pollable" (type $pollable (eq $outer)))
                        (export "subscribe-duration" (func (param "when" u64) (result (own $pollable))))))
                    (core func $subscribe (canon lower (func $clock "subscribe-duration")))
                    (core func $block (canon lower (func $poll "[method]pollable.block")))
                    (core module $module
                        (import "host" "subscribe" (func $subscribe (param i64) (result i32)))
                        (import "host" "block" (func $block (param i32)))
                        (memory $memory 1)
                        (table $table 1 funcref)
                        (func $wait (param i64) (call $block (call $subscribe (local.get 0))))
                        (func (export "run") (result i32) {body}))
                    (core instance $instance (instantiate $module (with "host" (instance
                        (export "subscribe" (func $subscribe))
                        (export "block" (func $block))))))
                    {parts}
                    (func (export "run") (result u32) (canon lift (core func $instance "run"))))"#
            ))
            .unwrap();
            let host = Host::new(options).unwrap();
            let component = Component::from_binary(&host.inner.runtime.engine, &wasm).unwrap();
            let exports = Exports::of(vec![component.get_export_index(None, "run").unwrap()]);
            let pre = host.inner.linker.instantiate_pre(&component).unwrap();
            Self { host, pre, exports }
        }

        async fn run(&self, tenant: &Tenant) -> Result<u32, CallError> {
            let Self { host, pre, exports } = self;
            let subject = Subject {
                tenant: "",
                connector: "",
                function: Entry::NAME,
                operation: None,
                known: false,
                partition: None,
            };
            let call = Supervised::begin(&host.inner.runtime, tenant, &subject)?;
            let run = Run { runtime: &host.inner.runtime, pre, exports, tenant, context: call.context() };
            let work = run.call::<Entry>(Prepared::without_network(tenant), |_| (), |_, _| Ok(()));
            call.run(work).await.map(|(answer, _)| answer)
        }
    }

    fn tenant(limits: Limits) -> Tenant {
        Tenant::new(TenantOptions { limits, ..TenantOptions::default() }).unwrap()
    }

    const SPIN: &str = "(loop $again (br $again)) (i32.const 0)";
    const WAIT_AN_HOUR: &str = "(call $wait (i64.const 3600000000000)) (i32.const 0)";

    #[tokio::test]
    async fn a_guest_that_computes_for_ever_uses_its_cpu_budget_up() {
        let cpu = Duration::from_millis(100);
        let tenant = tenant(Limits { cpu, ..Limits::default() });
        let error = Guest::new(SPIN).run(&tenant).await.unwrap_err();
        assert!(matches!(error, CallError::CpuBudget { limit } if limit == cpu), "{error}");
    }

    #[tokio::test]
    async fn a_guest_that_computes_for_ever_does_not_hold_up_others() {
        let tenant = tenant(Limits { cpu: Duration::from_millis(300), ..Limits::default() });
        let guest = Guest::new(SPIN);
        // The test has a single thread, so the second call gets its turn only if the first one yields.
        let waiting = Guest::new("(call $wait (i64.const 1000000)) (i32.const 7)");
        let begun = Instant::now();
        let (spun, waited) = tokio::join!(guest.run(&tenant), async { (waiting.run(&tenant).await, begun.elapsed()) });
        assert!(spun.is_err());
        assert_eq!(waited.0.unwrap(), 7);
        assert!(waited.1 < Duration::from_millis(200), "{:?}", waited.1);
    }

    /// Epochs do not end a guest that waits in the host; only the deadline does.
    #[tokio::test]
    async fn a_guest_that_waits_for_ever_meets_the_deadline() {
        let limit = Duration::from_millis(200);
        let tenant = tenant(Limits::default()).with_deadline(limit);
        let begun = Instant::now();
        let error = Guest::new(WAIT_AN_HOUR).run(&tenant).await.unwrap_err();
        assert!(matches!(error, CallError::Deadline { limit: named } if named == limit), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(5));
    }

    #[tokio::test]
    async fn waiting_costs_no_cpu() {
        let tenant = tenant(Limits { cpu: Duration::from_millis(50), ..Limits::default() });
        let guest = Guest::new("(call $wait (i64.const 400000000)) (i32.const 1)");
        assert_eq!(guest.run(&tenant).await.unwrap(), 1);
    }

    /// Each wait is longer than an epoch, so that a new epoch has begun whenever the guest continues.
    #[tokio::test]
    async fn coming_back_from_a_wait_costs_no_cpu() {
        let tenant = tenant(Limits { cpu: Duration::from_millis(50), ..Limits::default() });
        let guest = Guest::new(
            "(local $waits i32)
            (loop $again
                (call $wait (i64.const 11000000))
                (local.set $waits (i32.add (local.get $waits) (i32.const 1)))
                (br_if $again (i32.lt_u (local.get $waits) (i32.const 40))))
            (local.get $waits)",
        );
        assert_eq!(guest.run(&tenant).await.unwrap(), 40);
    }

    #[tokio::test]
    async fn memory_is_bounded_and_the_limit_is_named() {
        let tenant = tenant(Limits { memory_bytes: 1 << 20, ..Limits::default() });
        let error = Guest::new("(memory.grow (i32.const 100))").run(&tenant).await.unwrap_err();
        assert!(matches!(error, CallError::MemoryLimit { wanted, limit } if wanted == 101 << 16 && limit == 1 << 20));
        assert!(error.to_string().contains("memory_bytes"), "{error}");
    }

    #[tokio::test]
    async fn handles_and_instances_are_bounded_and_the_limits_are_named() {
        const SUBSCRIBE_FOR_EVER: &str =
            "(loop $again (drop (call $subscribe (i64.const 1000000000))) (br $again)) (i32.const 0)";
        let over = |limits: Limits, body| async move {
            match Guest::new(body).run(&tenant(limits)).await {
                Err(CallError::Limit(exceeded)) => exceeded,
                other => panic!("{other:?}"),
            }
        };
        let exceeded = over(Limits { handles: 20, ..Limits::default() }, SUBSCRIBE_FOR_EVER).await;
        assert_eq!(exceeded, LimitExceeded { name: LimitName::Handles, wanted: 21, allowed: 20 });
        let exceeded = over(Limits { instances: 0, ..Limits::default() }, "(i32.const 0)").await;
        assert_eq!(exceeded, LimitExceeded { name: LimitName::Instances, wanted: 1, allowed: 0 });
        let exceeded = over(Limits { memories: 0, ..Limits::default() }, "(i32.const 0)").await;
        assert_eq!(exceeded, LimitExceeded { name: LimitName::Memories, wanted: 1, allowed: 0 });
    }

    /// Tries one large growth, and many small ones.
    #[tokio::test]
    async fn tables_are_bounded_and_the_limit_is_named() {
        let tenant = tenant(Limits { table_elements: 1_000, ..Limits::default() });
        for body in [
            "(table.grow $table (ref.null func) (i32.const 1000000))",
            "(loop $again (drop (table.grow $table (ref.null func) (i32.const 100))) (br $again)) (i32.const 0)",
        ] {
            let error = Guest::new(body).run(&tenant).await.unwrap_err();
            assert!(matches!(error, CallError::TableLimit { wanted: 1_001.., limit: 1_000 }), "{error}");
            assert!(error.to_string().contains("table_elements"), "{error}");
        }
    }

    /// Each call holds as many core instances and tables as one component may have.
    #[tokio::test]
    async fn a_component_of_many_parts_leaves_those_of_others() {
        let parts = format!(
            "(core module $part (table 1 funcref)) {}",
            "(core instance (instantiate $part))".repeat(HostOptions::default().max_core_instances as usize - 1)
        );
        let options = HostOptions { concurrent_calls: 2, warm_instances: 0, ..HostOptions::default() };
        let guest = Guest::made_of(&parts, "(call $wait (i64.const 100000000)) (i32.const 7)", options);
        let [one, other] = [(); 2].map(|()| tenant(Limits::default()));
        let calls = [&one, &one, &one, &other, &other].map(|tenant| guest.run(tenant));
        for ended in futures_util::future::join_all(calls).await {
            assert_eq!(ended.unwrap(), 7);
        }
    }

    #[tokio::test]
    async fn looking_at_a_component_takes_the_turn_of_a_call() {
        let guest = Guest::made_of(
            "",
            "(i32.const 7)",
            HostOptions { concurrent_calls: 1, warm_instances: 0, ..HostOptions::default() },
        );
        let Guest { host, pre, exports } = &guest;
        let tenant = tenant(Limits::default()).with_deadline(Duration::from_millis(100));
        let _turn = host.inner.runtime.calls.enter(TenantId::MAX).await;
        let run = Run { runtime: &host.inner.runtime, pre, exports, tenant: &tenant, context: CallContext::default() };
        let error = run.check_types().await.unwrap_err();
        assert!(matches!(error, LoadError::Describe(CallError::Busy { scope: Scope::Host, limit: 1 })), "{error}");
    }

    /// Each single table is within the bound; all together exceed it.
    #[tokio::test]
    async fn tables_are_bounded_together() {
        let parts =
            format!("(core module $part (table 300 funcref)) {}", "(core instance (instantiate $part))".repeat(3));
        let guest = Guest::made_of(&parts, "(i32.const 7)", HostOptions::default());
        let error = guest.run(&tenant(Limits { table_elements: 900, ..Limits::default() })).await.unwrap_err();
        assert!(matches!(error, CallError::TableLimit { wanted: 901, limit: 900 }), "{error}");
        assert_eq!(guest.run(&tenant(Limits { table_elements: 901, ..Limits::default() })).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn limits_that_the_host_cannot_grant_are_reported() {
        let options = HostOptions { max_memory_bytes: 32 << 20, ..HostOptions::default() };
        let guest = Guest::made_of("", "(i32.const 7)", options);
        let most = guest.host.inner.runtime.granted(Limits::default());
        assert_eq!(most, Limits { memory_bytes: 32 << 20, ..Limits::default() });
        assert_eq!(guest.run(&tenant(most.clone())).await.unwrap(), 7);
        for (limits, name, wanted, allowed) in [
            (Limits::default(), LimitName::MaxMemoryBytes, 64 << 20, 32 << 20),
            (Limits { table_elements: 20_001, ..most.clone() }, LimitName::MaxTableElements, 20_001, 20_000),
            (Limits { instances: 9, ..most.clone() }, LimitName::MaxCoreInstances, 9, 8),
            (Limits { memories: 2, ..most.clone() }, LimitName::MaxMemories, 2, 1),
        ] {
            let error = guest.run(&tenant(limits)).await.unwrap_err();
            assert_eq!(error.limit(), Some(name));
            let CallError::HostLimit(exceeded) = error else { panic!("{error}") };
            assert_eq!(exceeded, LimitExceeded { name, wanted, allowed });
        }
    }

    #[tokio::test]
    async fn a_crash_is_a_trap_and_the_next_call_works() {
        let tenant = tenant(Limits::default());
        let guest = Guest::new("(if (i32.eqz (memory.size)) (then unreachable)) (i32.load (i32.const -4))");
        for _ in 0..2 {
            let error = guest.run(&tenant).await.unwrap_err();
            assert!(matches!(error, CallError::Trap { .. }), "{error}");
        }
    }

    #[tokio::test]
    async fn closing_a_tenant_ends_its_calls() {
        let tenant = tenant(Limits::default());
        let guest = Guest::new(WAIT_AN_HOUR);
        let (ended, ()) = tokio::join!(guest.run(&tenant), async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            tenant.close();
        });
        assert!(matches!(ended, Err(CallError::Cancelled)));
        assert!(matches!(guest.run(&tenant).await, Err(CallError::Cancelled)));
    }

    #[tokio::test]
    async fn limits_may_be_as_large_as_can_be() {
        let guest = Guest::new("(call $wait (i64.const 1000000)) (i32.const 7)");
        let tenant = tenant(guest.host.inner.runtime.granted(Limits::largest())).with_deadline(Duration::MAX);
        assert_eq!(guest.run(&tenant).await.unwrap(), 7);
    }

    #[test]
    fn the_guest_is_granted_less_than_the_host_allows() {
        let now = Instant::now();
        let margin = Duration::from_millis(500);
        let granted = guest_deadline_ms(now + Duration::from_secs(10), margin);
        assert!((9_300..=9_500).contains(&granted), "{granted}");
        let granted = guest_deadline_ms(now + Duration::from_millis(400), margin);
        assert!((200..=300).contains(&granted), "{granted}");
        assert_eq!(guest_deadline_ms(now, margin), 0);
    }
}
