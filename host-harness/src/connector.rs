//! A loaded connector and its calls.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use semver::Version;
use tokio::time::{Instant, timeout_at};
use wasmtime::component::InstancePre;

use crate::connection::Connection;
use crate::egress::{AllowList, Exchange};
use crate::error::{CallError, Failure, LoadError};
use crate::exports::{self, Export, Exports, WireCall, WireOwnedConnection, WirePollRequest, WireStored};
use crate::host::HostInner;
use crate::interface::action::{Call, Outcome};
use crate::interface::connection::{Report, Validation};
use crate::interface::discovery::{Choices, ChoicesRequest, Direction};
use crate::interface::metadata::{Descriptor, Stored};
use crate::interface::trigger::{Event, Page, Partition, PollRequest, Received, ReceivedRequest, Subscription};
use crate::interface::types;
use crate::limits::{ByteBudget, LimitHit};
use crate::state::{State, new_store};
use crate::tenant::{Tenant, TenantOptions};

/// A loaded connector. Cheap to clone; any number of calls may run at the same time, each in a store of its own.
///
/// Every function that takes a connection first has it validated without a network and derives from that which
/// hosts the call may reach. All of them fail with [`CallError`], and end with the tenant's deadline.
/// Dropping the future ends the call.
#[derive(Clone)]
pub struct Connector {
    inner: Arc<ConnectorInner>,
}

struct ConnectorInner {
    host: Arc<HostInner>,
    pre: InstancePre<State>,
    exports: Exports,
    descriptor: Descriptor,
    interface: Version,
}

/// What a call of a guest is made of, the connection's hosts among it.
struct Prepared {
    allowed: AllowList,
    deadline: Instant,
}

impl Connector {
    pub(crate) async fn new(
        host: Arc<HostInner>,
        pre: InstancePre<State>,
        interface: &Version,
    ) -> Result<Self, LoadError> {
        let exports = Exports::find(pre.component(), interface)?;
        let tenant = Tenant::new(TenantOptions { name: "(loading)".to_owned(), ..Default::default() })
            .map_err(|error| LoadError::Compile(error.to_string()))?;
        let run = Run { host: &host, pre: &pre, exports: &exports, tenant: &tenant };
        run.check_types().await?;
        let prepared = Prepared::without_network(&tenant);
        let descriptor = run.call::<exports::Describe>(prepared, |_| ()).await.map_err(LoadError::Describe)?;
        let interface = interface.clone();
        Ok(Self { inner: Arc::new(ConnectorInner { host, pre, exports, descriptor, interface }) })
    }

    /// What the connector is and can do.
    #[must_use]
    pub fn descriptor(&self) -> &Descriptor {
        &self.inner.descriptor
    }

    /// The interface version that the host and the connector agreed on.
    #[must_use]
    pub fn interface_version(&self) -> &Version {
        &self.inner.interface
    }

    /// Judges the values of a connection, without any network.
    ///
    /// # Errors
    ///
    /// [`CallError`], but never the connector's own: what is wrong is in the answer.
    pub async fn validate(&self, tenant: &Tenant, connection: &Connection) -> Result<Validation, CallError> {
        self.pure::<exports::Validate>(tenant, |_| (connection.into(),)).await
    }

    /// Tries the account out, changing nothing.
    ///
    /// # Errors
    ///
    /// [`CallError`]; a check that fails is part of the report.
    pub async fn test(&self, tenant: &Tenant, connection: &Connection) -> Result<Report, CallError> {
        self.online::<exports::Test, _>(tenant, connection, |ms| (connection.into(), ms)).await
    }

    /// The connection's name for a list, never with a secret in it.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub async fn label(&self, tenant: &Tenant, connection: &Connection) -> Result<String, CallError> {
        answer(self.pure::<exports::Label>(tenant, |_| (connection.into(),)).await)
    }

    /// Offers values for a field.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub async fn options(
        &self,
        tenant: &Tenant,
        connection: &Connection,
        request: &ChoicesRequest,
    ) -> Result<Choices, CallError> {
        self.online::<exports::Options, _>(tenant, connection, |ms| (connection.into(), request, ms)).await
    }

    /// The schema of an operation as it is for this account and this partly filled-in input, a JSON text.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub async fn resolve_schema(
        &self,
        tenant: &Tenant,
        connection: &Connection,
        operation: &str,
        direction: Direction,
        partial: &str,
    ) -> Result<String, CallError> {
        self.online::<exports::ResolveSchema, _>(tenant, connection, |ms| {
            (connection.into(), operation, direction, partial, ms)
        })
        .await
    }

    /// Lists what can be polled in parallel, each with its own cursor.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub async fn partitions(
        &self,
        tenant: &Tenant,
        connection: &Connection,
        trigger: &str,
        config: &str,
    ) -> Result<Vec<Partition>, CallError> {
        self.online::<exports::Partitions, _>(tenant, connection, |ms| (connection.into(), trigger, config, ms)).await
    }

    /// Fetches the next events of a trigger.
    ///
    /// # Errors
    ///
    /// [`CallError`]. Polling again with the same cursor loses and doubles nothing.
    pub async fn poll(
        &self,
        tenant: &Tenant,
        connection: &Connection,
        request: &PollRequest,
    ) -> Result<Page, CallError> {
        self.online::<exports::Poll, _>(tenant, connection, |ms| (WirePollRequest::new(connection, request, ms),)).await
    }

    /// Real examples of events; moves no cursor.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub async fn sample(
        &self,
        tenant: &Tenant,
        connection: &Connection,
        trigger: &str,
        config: &str,
        limit: u32,
    ) -> Result<Vec<Event>, CallError> {
        self.online::<exports::Sample, _>(tenant, connection, |ms| (connection.into(), trigger, config, limit, ms))
            .await
    }

    /// Asks the service to call `url`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub async fn subscribe(
        &self,
        tenant: &Tenant,
        connection: &Connection,
        trigger: &str,
        config: &str,
        url: &str,
    ) -> Result<Subscription, CallError> {
        self.online::<exports::Subscribe, _>(tenant, connection, |ms| (connection.into(), trigger, config, url, ms))
            .await
    }

    /// Puts a subscription's end off; `state` is [`Subscription::state`].
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub async fn renew(
        &self,
        tenant: &Tenant,
        connection: &Connection,
        trigger: &str,
        config: &str,
        state: &[u8],
    ) -> Result<Subscription, CallError> {
        self.online::<exports::Renew, _>(tenant, connection, |ms| (connection.into(), trigger, config, state, ms)).await
    }

    /// Asks the service to call no more.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub async fn unsubscribe(
        &self,
        tenant: &Tenant,
        connection: &Connection,
        trigger: &str,
        config: &str,
        state: &[u8],
    ) -> Result<(), CallError> {
        self.online::<exports::Unsubscribe, _>(tenant, connection, |ms| (connection.into(), trigger, config, state, ms))
            .await
    }

    /// Takes a request that came for a subscription.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub async fn receive(
        &self,
        tenant: &Tenant,
        connection: &Connection,
        trigger: &str,
        config: &str,
        state: &[u8],
        request: &ReceivedRequest,
    ) -> Result<Received, CallError> {
        self.online::<exports::Receive, _>(tenant, connection, |_| (connection.into(), trigger, config, state, request))
            .await
    }

    /// Does one thing; `input` is a JSON text.
    ///
    /// # Errors
    ///
    /// [`CallError`]. Except for [`CallError::Connector`], which says so itself, and [`CallError::Busy`],
    /// whether the action had its effect is not known.
    pub async fn invoke(
        &self,
        tenant: &Tenant,
        connection: &Connection,
        action: &str,
        input: &str,
        call: &Call,
    ) -> Result<Outcome, CallError> {
        self.online::<exports::Invoke, _>(tenant, connection, |ms| {
            (connection.into(), action, input, WireCall::new(call, ms))
        })
        .await
    }

    /// Goes on with a page or with pending work.
    ///
    /// # Errors
    ///
    /// As [`Connector::invoke`].
    pub async fn resume(
        &self,
        tenant: &Tenant,
        connection: &Connection,
        action: &str,
        token: &str,
        call: &Call,
    ) -> Result<Outcome, CallError> {
        self.online::<exports::Resume, _>(tenant, connection, |ms| {
            (connection.into(), action, token, WireCall::new(call, ms))
        })
        .await
    }

    /// Does the same thing to many inputs; as many results as inputs, in order.
    ///
    /// # Errors
    ///
    /// As [`Connector::invoke`].
    pub async fn invoke_batch(
        &self,
        tenant: &Tenant,
        connection: &Connection,
        action: &str,
        inputs: &[String],
        call: &Call,
    ) -> Result<Vec<Result<Outcome, types::Error>>, CallError> {
        self.online::<exports::InvokeBatch, _>(tenant, connection, |ms| {
            (connection.into(), action, inputs, WireCall::new(call, ms))
        })
        .await
    }

    /// Carries something that was stored with an older version of the connector over to this one.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub async fn migrate(&self, tenant: &Tenant, from_version: &str, item: Stored) -> Result<Stored, CallError> {
        let item = match item {
            Stored::Connection(connection) => WireStored::Connection(WireOwnedConnection {
                auth_profile: connection.auth_profile().to_owned(),
                values: connection.values().expose().to_owned(),
            }),
            Stored::Input(input) => WireStored::Input(input),
            Stored::Cursor(cursor) => WireStored::Cursor(cursor),
        };
        let migrated = answer(self.pure::<exports::Migrate>(tenant, |_| (from_version, item)).await)?;
        Ok(match migrated {
            WireStored::Connection(connection) => {
                Stored::Connection(Connection::new(connection.auth_profile, connection.values))
            }
            WireStored::Input(input) => Stored::Input(input),
            WireStored::Cursor(cursor) => Stored::Cursor(cursor),
        })
    }

    /// A call without a network.
    async fn pure<'a, E: Export>(
        &self,
        tenant: &Tenant,
        params: impl FnOnce(u64) -> E::Params<'a>,
    ) -> Result<E::Answer, CallError> {
        self.run(tenant).call::<E>(Prepared::without_network(tenant), params).await
    }

    /// A call that may reach what its connection leads to.
    async fn online<'a, E, T>(
        &self,
        tenant: &Tenant,
        connection: &'a Connection,
        params: impl FnOnce(u64) -> E::Params<'a>,
    ) -> Result<T, CallError>
    where
        E: Export<Answer = Result<T, types::Error>>,
    {
        let prepared = self.prepare(tenant, connection).await?;
        answer_with_denials(self.run(tenant).call_with_denials::<E>(prepared, params).await)
    }

    async fn prepare(&self, tenant: &Tenant, connection: &Connection) -> Result<Prepared, CallError> {
        let prepared = Prepared::without_network(tenant);
        let deadline = prepared.deadline;
        let validation = self.run(tenant).call::<exports::Validate>(prepared, |_| (connection.into(),)).await?;
        let allowed = AllowList::derive(
            &self.inner.descriptor.egress,
            &validation.normalized,
            &connection.texts(),
            &tenant.inner().options.allow_hosts,
        )
        .map_err(CallError::Egress)?;
        Ok(Prepared { allowed, deadline })
    }

    fn run<'a>(&'a self, tenant: &'a Tenant) -> Run<'a> {
        let ConnectorInner { host, pre, exports, .. } = &*self.inner;
        Run { host, pre, exports, tenant }
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("id", &self.inner.descriptor.id)
            .field("version", &self.inner.descriptor.version)
            .finish_non_exhaustive()
    }
}

impl Prepared {
    fn without_network(tenant: &Tenant) -> Self {
        Self { allowed: AllowList::default(), deadline: Instant::now() + tenant.deadline() }
    }
}

fn answer<T>(result: Result<Result<T, types::Error>, CallError>) -> Result<T, CallError> {
    answer_with_denials(result.map(|answer| (answer, Vec::new())))
}

type WithDenials<T> = (T, Vec<crate::egress::EgressDenied>);

fn answer_with_denials<T>(result: Result<WithDenials<Result<T, types::Error>>, CallError>) -> Result<T, CallError> {
    let (answer, denials) = result?;
    answer.map_err(|error| CallError::Connector(Box::new(Failure { error, denials })))
}

/// Everything that one run of a guest needs.
struct Run<'a> {
    host: &'a HostInner,
    pre: &'a InstancePre<State>,
    exports: &'a Exports,
    tenant: &'a Tenant,
}

impl Run<'_> {
    async fn call<'p, E: Export>(
        &self,
        prepared: Prepared,
        params: impl FnOnce(u64) -> E::Params<'p>,
    ) -> Result<E::Answer, CallError> {
        self.call_with_denials::<E>(prepared, params).await.map(|(answer, _)| answer)
    }

    /// Runs one function in a store of its own, within the CPU budget and the deadline.
    async fn call_with_denials<'p, E: Export>(
        &self,
        prepared: Prepared,
        params: impl FnOnce(u64) -> E::Params<'p>,
    ) -> Result<WithDenials<E::Answer>, CallError> {
        let deadline = prepared.deadline;
        let limit = self.tenant.deadline();
        tokio::select! {
            biased;
            () = self.tenant.closed() => Err(CallError::Cancelled),
            ended = timeout_at(deadline, self.call_unbounded::<E>(prepared, params)) => {
                ended.unwrap_or_else(|_| {
                    tracing::warn!(tenant = self.tenant.name(), function = E::NAME, "deadline passed");
                    Err(CallError::Deadline { limit })
                })
            }
        }
    }

    async fn call_unbounded<'p, E: Export>(
        &self,
        prepared: Prepared,
        params: impl FnOnce(u64) -> E::Params<'p>,
    ) -> Result<WithDenials<E::Answer>, CallError> {
        let deadline = prepared.deadline;
        // A full pool is an error in wasmtime, so that calls queue here instead. A call that has no turn by its
        // deadline has done nothing, which its error has to say.
        let turn = timeout_at(deadline - (deadline - Instant::now()) / 8, self.host.permits.acquire());
        let busy = || CallError::Busy { limit: self.host.options.concurrent_calls as usize };
        let _permit = turn.await.map_err(|_| busy())?.map_err(|_| busy())?;

        let limits = self.tenant.limits();
        let exchange = Arc::new(Exchange {
            tenant: self.tenant.inner().clone(),
            allowed: prepared.allowed,
            deadline,
            bytes: ByteBudget::new(limits.http_body_bytes),
            denials: Mutex::default(),
        });
        let mut store = new_store(&self.host.engine, limits, exchange);
        let instance =
            self.pre.instantiate_async(&mut store).await.map_err(|error| instantiation_error(&error, self.tenant))?;
        let result: wasmtime::Result<E::Answer> = async {
            let function =
                instance.get_typed_func::<E::Params<'p>, (E::Answer,)>(&mut store, self.exports.index::<E>())?;
            let params = params(guest_deadline_ms(deadline, limits.deadline_margin));
            let (answer,) = function.call_async(&mut store, params).await?;
            Ok(answer)
        }
        .await;
        let answer = result.map_err(|error| guest_error(&error, self.tenant))?;
        let denials =
            std::mem::take(&mut *store.data().exchange().denials.lock().unwrap_or_else(PoisonError::into_inner));
        Ok((answer, denials))
    }

    /// Compares the functions with the interface, which takes an instance.
    async fn check_types(&self) -> Result<(), LoadError> {
        let deadline = Instant::now() + self.tenant.deadline();
        let exchange = Arc::new(Exchange {
            tenant: self.tenant.inner().clone(),
            allowed: AllowList::default(),
            deadline,
            bytes: ByteBudget::new(0),
            denials: Mutex::default(),
        });
        let mut store = new_store(&self.host.engine, self.tenant.limits(), exchange);
        // Making an instance can run code of the guest, which can wait in the host.
        let instance = timeout_at(deadline, self.pre.instantiate_async(&mut store))
            .await
            .map_err(|_| CallError::Deadline { limit: self.tenant.deadline() })
            .and_then(|made| made.map_err(|error| instantiation_error(&error, self.tenant)))
            .map_err(LoadError::Describe)?;
        exports::check_types(self.exports, &instance, &mut store)
    }
}

/// The milliseconds that the guest is told: a bit less than the host allows.
fn guest_deadline_ms(deadline: Instant, margin: Duration) -> u64 {
    let left = deadline.saturating_duration_since(Instant::now());
    // Where little is left, the margin must not eat it up.
    let told = left.saturating_sub(margin.min(left / 4));
    u64::try_from(told.as_millis()).unwrap_or(u64::MAX)
}

/// An instance could not be made: where the guest is not to blame, the host lacks something.
fn instantiation_error(error: &wasmtime::Error, tenant: &Tenant) -> CallError {
    if let Some(limit) = limit_error(error, tenant) {
        return limit;
    }
    let message = format!("{error:#}");
    if error.is::<wasmtime::Trap>() || error.is::<wasmtime::WasmBacktrace>() {
        CallError::Trap { message }
    } else {
        CallError::Host { message }
    }
}

/// A call broke off: a trap, an exit, or an answer that is not what it has to be.
fn guest_error(error: &wasmtime::Error, tenant: &Tenant) -> CallError {
    limit_error(error, tenant).unwrap_or_else(|| CallError::Trap { message: format!("{error:#}") })
}

fn limit_error(error: &wasmtime::Error, tenant: &Tenant) -> Option<CallError> {
    Some(match *error.downcast_ref::<LimitHit>()? {
        LimitHit::Cpu => CallError::CpuBudget { limit: tenant.limits().cpu },
        LimitHit::Memory { wanted, limit } => CallError::MemoryLimit { wanted, limit },
        LimitHit::Table { wanted, limit } => CallError::TableLimit { wanted, limit },
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::host::{Host, HostOptions};
    use crate::limits::Limits;
    use wasmtime::component::Component;

    /// `run: func() -> u32` of a component that is no connector.
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
        /// `body` is that of the core function; `$memory` is its memory, `$wait` waits that many nanoseconds
        /// in the host.
        fn new(body: &str) -> Self {
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
                        (func $wait (param i64) (call $block (call $subscribe (local.get 0))))
                        (func (export "run") (result i32) {body}))
                    (core instance $instance (instantiate $module (with "host" (instance
                        (export "subscribe" (func $subscribe))
                        (export "block" (func $block))))))
                    (func (export "run") (result u32) (canon lift (core func $instance "run"))))"#
            ))
            .unwrap();
            let host = Host::new(HostOptions::default()).unwrap();
            let component = Component::from_binary(&host.inner.engine, &wasm).unwrap();
            let exports = Exports::of(vec![component.get_export_index(None, "run").unwrap()]);
            let pre = host.inner.linker.instantiate_pre(&component).unwrap();
            Self { host, pre, exports }
        }

        async fn run(&self, tenant: &Tenant) -> Result<u32, CallError> {
            let Self { host, pre, exports } = self;
            let run = Run { host: &host.inner, pre, exports, tenant };
            run.call::<Entry>(Prepared::without_network(tenant), |_| ()).await
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
        // On the test's single thread the second call gets its turn only if the first one yields.
        let waiting = Guest::new("(call $wait (i64.const 1000000)) (i32.const 7)");
        let begun = Instant::now();
        let (spun, waited) = tokio::join!(guest.run(&tenant), async { (waiting.run(&tenant).await, begun.elapsed()) });
        assert!(spun.is_err());
        assert_eq!(waited.0.unwrap(), 7);
        assert!(waited.1 < Duration::from_millis(200), "{:?}", waited.1);
    }

    /// Epochs do not end a guest that waits in the host; only the wall clock does.
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

    #[tokio::test]
    async fn memory_is_bounded_and_the_limit_is_named() {
        let tenant = tenant(Limits { memory_bytes: 1 << 20, ..Limits::default() });
        let error = Guest::new("(memory.grow (i32.const 100))").run(&tenant).await.unwrap_err();
        assert!(matches!(error, CallError::MemoryLimit { wanted, limit } if wanted == 101 << 16 && limit == 1 << 20));
        assert!(error.to_string().contains("memory_bytes"), "{error}");
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

    #[test]
    fn the_guest_is_told_less_than_the_host_allows() {
        let now = Instant::now();
        let margin = Duration::from_millis(500);
        let told = guest_deadline_ms(now + Duration::from_secs(10), margin);
        assert!((9_300..=9_500).contains(&told), "{told}");
        let told = guest_deadline_ms(now + Duration::from_millis(400), margin);
        assert!((200..=300).contains(&told), "{told}");
        assert_eq!(guest_deadline_ms(now, margin), 0);
    }
}
