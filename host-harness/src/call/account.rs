//! A linked account, and the functions that work on it: [`Account`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::exports::{self, Export, WireCall, WirePollRequest};
use super::judge::{Judge, asked_events};
use super::loaded::{Loaded, check_size};
use super::run::{Prepared, Verdict, WithRefusals, answer, either};
use super::slot::Slot;
use crate::connection::Connection;
use crate::egress::AllowList;
use crate::error::CallError;
use crate::interface::action::{Call, Outcome};
use crate::interface::connection::{Report, Validation};
use crate::interface::discovery::{Choices, ChoicesRequest, Direction};
use crate::interface::trigger::{Event, Page, Partition, PollRequest, Received, ReceivedRequest, Subscription};
use crate::interface::types;
use crate::operators::telemetry::Retry;
use crate::tenant::Tenant;

/// A connector, a tenant and an account that the tenant linked: everything that a call needs. Cheap to clone.
///
/// It is cold or warm, by how it was opened; the functions are the same.
///
/// - **Cold**, by [`Connector::account`](crate::Connector::account): each call runs in an instance of its own, and any
///   number of calls may run at the same time. Before each call the connection is validated, and what the call may reach
///   is derived from the answer.
/// - **Warm**, by [`Connector::open`](crate::Connector::open): one instance is kept between the calls, so that what the
///   connector remembers lives on, above all its open connections. It is made with the first call, and clones share it.
///
/// Of a warm account:
///
/// - One call runs at a time; others wait for their turn, in order, within their deadlines
///   ([`CallError::Occupied`] where it did not come). For calls side by side, see [`Self::sibling`].
/// - Every limit is counted from the beginning for each call. Between calls nothing of the guest runs, and no task of the
///   host works for it: bytes that arrive wait in the kernel.
/// - The instance is discarded after a crash, an exceeded limit, a deadline or a dropped future, and after
///   [`Limits::warm_idle`](crate::Limits::warm_idle) without a call; the next call is given a new one. A connector's own
///   error is none of these.
/// - An instance that is discarded without a fault is released before (`lifecycle.release`), so that it can end its
///   connections in good order. One whose last clone is dropped is not: [`Self::discard`] it where that matters.
/// - Where a tenant has [`Limits::warm_instances`](crate::Limits::warm_instances) already, or the host
///   [`HostOptions::warm_instances`](crate::HostOptions::warm_instances), a call runs in an instance of its own.
///
/// All functions fail with [`CallError`] and end with the tenant's deadline. Dropping the future ends the call.
#[derive(Clone)]
pub struct Account {
    loaded: Arc<Loaded>,
    tenant: Tenant,
    connection: Connection,
    warm: Option<Warm>,
}

/// What is kept between the calls.
#[derive(Clone)]
struct Warm {
    /// What the calls may reach, derived once.
    allowed: Arc<AllowList>,
    slot: Arc<Slot>,
}

impl Account {
    pub(crate) fn cold(loaded: Arc<Loaded>, tenant: Tenant, connection: Connection) -> Self {
        Self { loaded, tenant, connection, warm: None }
    }

    /// # Errors
    ///
    /// [`CallError`] where the connection cannot be judged, or leads to what it may not reach.
    pub(crate) async fn open(loaded: Arc<Loaded>, tenant: Tenant, connection: Connection) -> Result<Self, CallError> {
        let call = loaded.supervise(&tenant, exports::Validate::NAME, None, None)?;
        let context = call.context();
        let prepared = call.run(loaded.prepare(&tenant, &connection, &context)).await?;
        let warm = Warm { allowed: prepared.allowed, slot: Arc::default() };
        Ok(Self { loaded, tenant, connection, warm: Some(warm) })
    }

    /// Whether an instance is kept between the calls.
    #[must_use]
    pub fn is_warm(&self) -> bool {
        self.warm.is_some()
    }

    /// The same account, and the same instance, with another deadline for its calls.
    #[must_use]
    pub fn with_deadline(&self, deadline: Duration) -> Self {
        Self { tenant: self.tenant.with_deadline(deadline), ..self.clone() }
    }

    /// The same account, and the same instance; calls through this clone end as those of
    /// [`Tenant::with_cancellation`](crate::Tenant::with_cancellation), and the instance with them.
    #[must_use]
    pub fn with_cancellation(&self, token: CancellationToken) -> Self {
        Self { tenant: self.tenant.with_cancellation(token), ..self.clone() }
    }

    /// The same account with another instance, for calls that run at the same time as this one's. Of a cold account it is
    /// a clone.
    #[must_use]
    pub fn sibling(&self) -> Self {
        let warm = self.warm.as_ref().map(|warm| Warm { allowed: warm.allowed.clone(), slot: Arc::default() });
        Self { warm, ..self.clone() }
    }

    /// Discards the instance, and with it its connections, once the calls that wait already are done. The connector is
    /// asked to release what it holds before, within [`Limits::release_timeout`](crate::Limits::release_timeout). Nothing
    /// happens where no instance is kept.
    pub async fn discard(&self) {
        if let Some(warm) = &self.warm {
            warm.slot.discard(&self.tenant, self.loaded.runtime()).await;
        }
    }

    /// The linear memory of the instance, in bytes, after the calls that wait already; none where no instance is kept.
    /// Memory of WebAssembly never shrinks: it is the most that any call has used.
    pub async fn memory_bytes(&self) -> Option<usize> {
        self.warm.as_ref()?.slot.memory_bytes().await
    }

    /// Handles (streams, requests, timers ...) that the instance holds between calls, after the calls that wait already;
    /// none where no instance is kept.
    pub async fn handles(&self) -> Option<usize> {
        self.warm.as_ref()?.slot.handles().await
    }

    /// Judges the values of a connection, without any network.
    ///
    /// # Errors
    ///
    /// [`CallError`], but never the connector's own: what is wrong is in the answer.
    pub async fn validate(&self) -> Result<Validation, CallError> {
        let judge = |answer: &Validation, judge: &mut Judge<'_>| judge.validation(answer);
        self.route().pure::<exports::Validate>(|connection| (connection.into(),), judge).await.map(|(answer, _)| answer)
    }

    /// Tries the account out, changing nothing.
    ///
    /// # Errors
    ///
    /// [`CallError`]; a check that fails is part of the report.
    pub async fn test(&self) -> Result<Report, CallError> {
        self.route()
            .online::<exports::Test, _>(|connection, ms| (connection.into(), ms), |report, judge| judge.report(report))
            .await
    }

    /// The connection's name for a list, never with a secret in it.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub async fn label(&self) -> Result<String, CallError> {
        let judge = either(|label: &String, judge| judge.label(label));
        answer(self.route().pure::<exports::Label>(|connection| (connection.into(),), judge).await)
    }

    /// Offers values for a field.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub async fn options(&self, request: &ChoicesRequest) -> Result<Choices, CallError> {
        self.route()
            .online::<exports::Options, _>(
                |connection, ms| (connection.into(), request, ms),
                |choices, judge| judge.choices(choices, request.limit),
            )
            .await
    }

    /// The schema of an operation as it is for this account and this partly filled-in input, a JSON text.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub async fn resolve_schema(
        &self,
        operation: &str,
        direction: Direction,
        partial: &str,
    ) -> Result<String, CallError> {
        self.route()
            .of(operation)
            .online::<exports::ResolveSchema, _>(
                |connection, ms| (connection.into(), operation, direction, partial, ms),
                |schema, judge| judge.schema(schema),
            )
            .await
    }

    /// Lists what can be polled in parallel, each with its own cursor.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub async fn partitions(&self, trigger: &str, config: &str) -> Result<Vec<Partition>, CallError> {
        self.route()
            .of(trigger)
            .online::<exports::Partitions, _>(
                |connection, ms| (connection.into(), trigger, config, ms),
                |partitions, judge| judge.partitions(partitions),
            )
            .await
    }

    /// Fetches the next events of a trigger.
    ///
    /// # Errors
    ///
    /// [`CallError`]. Polling again with the same cursor loses and doubles nothing.
    pub async fn poll(&self, request: &PollRequest) -> Result<Page, CallError> {
        let events = asked_events(request, self.tenant.limits());
        self.route()
            .of(&request.trigger)
            .at(&request.partition)
            .online::<exports::Poll, _>(
                |connection, ms| (WirePollRequest::new(connection, request, events, ms),),
                |page, judge| judge.page(page, request),
            )
            .await
    }

    /// Real examples of events; moves no cursor.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub async fn sample(&self, trigger: &str, config: &str, limit: u32) -> Result<Vec<Event>, CallError> {
        self.route()
            .of(trigger)
            .online::<exports::Sample, _>(
                |connection, ms| (connection.into(), trigger, config, limit, ms),
                |events, judge| judge.sample(events, limit),
            )
            .await
    }

    /// Asks the service to call `url`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub async fn subscribe(&self, trigger: &str, config: &str, url: &str) -> Result<Subscription, CallError> {
        self.route()
            .of(trigger)
            .online::<exports::Subscribe, _>(
                |connection, ms| (connection.into(), trigger, config, url, ms),
                |subscription, judge| judge.subscription(subscription),
            )
            .await
    }

    /// Puts a subscription's end off; `state` is [`Subscription::state`].
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub async fn renew(&self, trigger: &str, config: &str, state: &[u8]) -> Result<Subscription, CallError> {
        self.route()
            .of(trigger)
            .online::<exports::Renew, _>(
                |connection, ms| (connection.into(), trigger, config, state, ms),
                |subscription, judge| judge.subscription(subscription),
            )
            .await
    }

    /// Asks the service to call no more.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub async fn unsubscribe(&self, trigger: &str, config: &str, state: &[u8]) -> Result<(), CallError> {
        self.route()
            .of(trigger)
            .online::<exports::Unsubscribe, _>(
                |connection, ms| (connection.into(), trigger, config, state, ms),
                |(), _| Ok(()),
            )
            .await
    }

    /// Takes a request that came for a subscription.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub async fn receive(
        &self,
        trigger: &str,
        config: &str,
        state: &[u8],
        request: &ReceivedRequest,
    ) -> Result<Received, CallError> {
        self.route()
            .of(trigger)
            .online::<exports::Receive, _>(
                |connection, _| (connection.into(), trigger, config, state, request),
                |received, judge| judge.received(received),
            )
            .await
    }

    /// Does one thing; `input` is a JSON text.
    ///
    /// # Errors
    ///
    /// [`CallError`]. Except for [`CallError::Connector`], which says so itself, and [`CallError::Busy`],
    /// whether the action had its effect is not known.
    pub async fn invoke(&self, action: &str, input: &str, call: &Call) -> Result<Outcome, CallError> {
        self.route()
            .of(action)
            .attempt(call.attempt)
            .online::<exports::Invoke, _>(
                |connection, ms| (connection.into(), action, input, WireCall::new(call, ms)),
                |outcome, judge| judge.outcome(outcome, call.dry_run),
            )
            .await
    }

    /// Goes on with a page or with pending work.
    ///
    /// # Errors
    ///
    /// As [`Account::invoke`].
    pub async fn resume(&self, action: &str, token: &str, call: &Call) -> Result<Outcome, CallError> {
        self.route()
            .of(action)
            .attempt(call.attempt)
            .online::<exports::Resume, _>(
                |connection, ms| (connection.into(), action, token, WireCall::new(call, ms)),
                |outcome, judge| judge.outcome(outcome, call.dry_run),
            )
            .await
    }

    /// Does the same thing to many inputs; as many results as inputs, in order.
    ///
    /// # Errors
    ///
    /// As [`Account::invoke`].
    pub async fn invoke_batch(
        &self,
        action: &str,
        inputs: &[String],
        call: &Call,
    ) -> Result<Vec<Result<Outcome, types::Error>>, CallError> {
        self.route()
            .of(action)
            .attempt(call.attempt)
            .online::<exports::InvokeBatch, _>(
                |connection, ms| (connection.into(), action, inputs, WireCall::new(call, ms)),
                |results, judge| judge.batch(results, inputs.len(), call.dry_run),
            )
            .await
    }

    fn route(&self) -> Route<'_> {
        Route { account: self, operation: None, partition: None, attempt: 1 }
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("connector", &self.loaded.descriptor().id)
            .field("tenant", &self.tenant.name())
            .field("warm", &self.is_warm())
            .finish_non_exhaustive()
    }
}

/// What a call is about, and how it comes to its instance.
struct Route<'a> {
    account: &'a Account,
    operation: Option<&'a str>,
    partition: Option<&'a str>,
    attempt: u32,
}

impl<'a> Route<'a> {
    /// Which trigger or action it is about.
    fn of(self, operation: &'a str) -> Self {
        Self { operation: Some(operation), ..self }
    }

    /// Which attempt at the same work it is, from 1.
    fn attempt(self, attempt: u32) -> Self {
        Self { attempt, ..self }
    }

    /// Which partition it is about.
    fn at(self, partition: &'a str) -> Self {
        Self { partition: Some(partition), ..self }
    }

    /// A call without a network, which needs nothing of what an instance keeps.
    async fn pure<E: Export>(
        self,
        params: impl FnOnce(&'a Connection) -> E::Params<'a>,
        judge: impl FnOnce(&E::Answer, &mut Judge<'_>) -> Verdict,
    ) -> Result<WithRefusals<E::Answer>, CallError> {
        let Self { account: Account { loaded, tenant, connection, .. }, operation, partition, .. } = self;
        let call = loaded.supervise(tenant, E::NAME, operation, partition)?;
        let run = loaded.run(tenant, &call.context());
        let work = async {
            check_size(connection)?;
            run.call::<E>(Prepared::without_network(tenant), |_| params(connection), judge).await
        };
        call.run(work).await
    }

    /// A call that may reach what its connection leads to.
    async fn online<E, T>(
        self,
        params: impl FnOnce(&'a Connection, u64) -> E::Params<'a>,
        judge: impl FnOnce(&T, &mut Judge<'_>) -> Verdict,
    ) -> Result<T, CallError>
    where
        E: Export<Answer = Result<T, types::Error>>,
    {
        let Self { account: Account { loaded, tenant, connection, warm }, operation, partition, attempt } = self;
        let call = loaded.supervise(tenant, E::NAME, operation, partition)?;
        let context = call.context();
        if attempt > 1 {
            context.meter.retried(Retry::Engine);
        }
        let work = async {
            let (slot, prepared) = match warm {
                Some(Warm { allowed, slot }) => (Some(slot), Prepared::new(tenant, allowed.clone())),
                None => (None, loaded.prepare(tenant, connection, &context).await?),
            };
            let run = loaded.run(tenant, &context);
            answer(run.call_in::<E>(slot, prepared, |ms| params(connection, ms), either(judge)).await)
        };
        call.run(work).await
    }
}
