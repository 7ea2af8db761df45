//! A linked account, and the functions that work on it: [`Account`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::exports::{self, Export, WireCall, WirePollRequest};
use super::judge::{Judge, asked_events};
use super::loaded::{Loaded, check_size};
use super::run::{Prepared, Verdict, WithRefusals, answer, either};
use super::slot::{Order, Shelf};
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
/// Whether an account is cold or warm depends on the function that opened it; the functions to call are the same.
///
/// - **Cold**, by [`Connector::account`](crate::Connector::account): each call runs in an instance of its own. The first
///   call of a tenant on a connection lets the guest validate it, and the host derives the allow list of this and all
///   later calls from the guest's answer.
/// - **Warm**, by [`Connector::open`](crate::Connector::open): instances are kept between the calls, so that the
///   connector keeps its memory and its open connections. Calls make the instances, and clones share them.
///
/// Any number of calls may run at the same time, except polls of a warm account.
///
/// For a warm account:
///
/// - Polls run one at a time, all in the same instance. Other polls wait in order, within their deadlines; a poll whose
///   turn does not come in time fails with [`CallError::Occupied`]. For polls at the same time, for example of several
///   partitions, see [`Self::sibling`].
/// - All other calls run at the same time, each in a kept instance that is free, or else in a new one, which is then
///   kept as well. So as many are kept as calls have run at once; those that are not needed grow old and are discarded.
///   A call that follows another call finds the same instance.
/// - Every limit is counted from zero for each call. Between calls no code of the guest runs, and no task of the host
///   reads for the instance: bytes that arrive wait in the kernel.
/// - An instance is discarded after a crash, an exceeded limit, a deadline or a dropped future, and after
///   [`Limits::warm_idle`](crate::Limits::warm_idle) without a call; the next call makes a new instance. An error that
///   the connector itself returns does not discard the instance.
/// - Before an instance without a fault is discarded, the host calls its `lifecycle.release`, so that it can close its
///   connections properly. An instance whose last clone is dropped is not released: call [`Self::discard`] first where
///   that matters.
/// - A call runs in an instance of its own where the tenant already has
///   [`Limits::warm_instances`](crate::Limits::warm_instances) or the host
///   [`HostOptions::warm_instances`](crate::HostOptions::warm_instances).
///
/// Every function returns [`CallError`] on failure and ends with the tenant's deadline. Dropping the future ends the
/// call.
#[derive(Clone)]
pub struct Account {
    loaded: Arc<Loaded>,
    tenant: Tenant,
    connection: Connection,
    warm: Option<Warm>,
}

/// The parts of a warm account that are kept between calls.
#[derive(Clone)]
struct Warm {
    /// The hosts and ports that the calls may connect to, derived when the account was opened.
    allowed: Arc<AllowList>,
    /// The instance of the polls.
    polls: Arc<Shelf>,
    /// The instances of all other calls.
    others: Arc<Shelf>,
}

impl Warm {
    fn new(allowed: Arc<AllowList>) -> Self {
        Self { allowed, polls: Shelf::new(Order::OneByOne), others: Shelf::new(Order::AtOnce) }
    }
}

impl Account {
    pub(crate) fn cold(loaded: Arc<Loaded>, tenant: Tenant, connection: Connection) -> Self {
        Self { loaded, tenant, connection, warm: None }
    }

    /// # Errors
    ///
    /// [`CallError`] where the connection cannot be validated, or names a host that the tenant may not connect to.
    pub(crate) async fn open(loaded: Arc<Loaded>, tenant: Tenant, connection: Connection) -> Result<Self, CallError> {
        let call = loaded.supervise(&tenant, exports::Validate::NAME, None, None)?;
        let context = call.context();
        let prepared = call.run(loaded.prepare(&tenant, &connection, &context)).await?;
        Ok(Self { loaded, tenant, connection, warm: Some(Warm::new(prepared.allowed)) })
    }

    /// Whether instances are kept between the calls.
    #[must_use]
    pub fn is_warm(&self) -> bool {
        self.warm.is_some()
    }

    /// The same account, and the same instances, with another deadline for its calls.
    #[must_use]
    pub fn with_deadline(&self, deadline: Duration) -> Self {
        Self { tenant: self.tenant.with_deadline(deadline), ..self.clone() }
    }

    /// The same account and the same instances. Cancelling `token` ends calls through this clone, as described at
    /// [`Tenant::with_cancellation`](crate::Tenant::with_cancellation), and then discards the call's instance.
    #[must_use]
    pub fn with_cancellation(&self, token: CancellationToken) -> Self {
        Self { tenant: self.tenant.with_cancellation(token), ..self.clone() }
    }

    /// The same account with other instances, for polls at the same time as polls on this one. For a cold account this
    /// is a clone.
    #[must_use]
    pub fn sibling(&self) -> Self {
        let warm = self.warm.as_ref().map(|warm| Warm::new(warm.allowed.clone()));
        Self { warm, ..self.clone() }
    }

    /// Discards the instances and their connections, after the calls that are already waiting. The connector is first
    /// asked to release what it holds, within [`Limits::release_timeout`](crate::Limits::release_timeout). Without a
    /// kept instance, nothing happens.
    pub async fn discard(&self) {
        if let Some(warm) = &self.warm {
            let runtime = self.loaded.runtime();
            tokio::join!(warm.polls.discard(&self.tenant, runtime), warm.others.discard(&self.tenant, runtime));
        }
    }

    /// The size of the largest kept instance's linear memory, in bytes, read after the calls that are already waiting;
    /// `None` without a kept instance. WebAssembly memory never shrinks, so this is the largest size that any call has
    /// needed.
    pub async fn memory_bytes(&self) -> Option<usize> {
        let warm = self.warm.as_ref()?;
        warm.polls.memory_bytes().await.max(warm.others.memory_bytes().await)
    }

    /// The number of handles (streams, requests, timers ...) that the kept instances hold between calls, read after the
    /// calls that are already waiting; `None` without a kept instance.
    pub async fn handles(&self) -> Option<usize> {
        let warm = self.warm.as_ref()?;
        let held = [warm.polls.handles().await, warm.others.handles().await];
        held.into_iter().flatten().reduce(|one, other| one + other)
    }

    /// Checks the values of a connection, without any network.
    ///
    /// # Errors
    ///
    /// [`CallError`], but never an error of the connector's own: problems with the values are part of the answer.
    pub async fn validate(&self) -> Result<Validation, CallError> {
        let judge = |answer: &Validation, judge: &mut Judge<'_>| judge.validation(answer);
        self.route().pure::<exports::Validate>(|connection| (connection.into(),), judge).await.map(|(answer, _)| answer)
    }

    /// Tests the account, changing nothing at the service.
    ///
    /// # Errors
    ///
    /// [`CallError`]. A check that fails is part of the report and no error.
    pub async fn test(&self) -> Result<Report, CallError> {
        self.route()
            .online::<exports::Test, _>(|connection, ms| (connection.into(), ms), |report, judge| judge.report(report))
            .await
    }

    /// The connection's name for a list. The name never contains a secret.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub async fn label(&self) -> Result<String, CallError> {
        let judge = either(|label: &String, judge| judge.label(label));
        answer(self.route().pure::<exports::Label>(|connection| (connection.into(),), judge).await)
    }

    /// Lists the values that a person can choose for a field.
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

    /// The schema of an operation for this account and this partly filled-in input, as JSON text.
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

    /// Lists the partitions of a trigger. Each one can be polled in parallel with the others and has its own cursor.
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
    /// [`CallError`]. After an error, polling again with the same cursor neither loses nor duplicates an event.
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

    /// Returns real examples of events; changes no cursor.
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

    /// Asks the service to send the trigger's events to `url`.
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

    /// Extends a subscription; `state` is [`Subscription::state`].
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

    /// Asks the service to stop its requests for a subscription.
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

    /// Hands the connector an HTTP request that arrived for a subscription.
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

    /// Runs one action; `input` is a JSON text.
    ///
    /// # Errors
    ///
    /// [`CallError`]. After an error, it may be unknown whether the action took effect. [`CallError::Connector`] states
    /// this in its `effect`; the documentation of the other errors says where nothing was done, as with
    /// [`CallError::Busy`].
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

    /// Continues an action with its next page, or asks again for the result of pending work.
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

    /// Runs one action for each of several inputs. Returns as many results as there are inputs, in the same order.
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

/// The operation and partition that a call is for, and the account that it runs on.
struct Route<'a> {
    account: &'a Account,
    operation: Option<&'a str>,
    partition: Option<&'a str>,
    attempt: u32,
}

impl<'a> Route<'a> {
    /// Sets the trigger or action that the call is for.
    fn of(self, operation: &'a str) -> Self {
        Self { operation: Some(operation), ..self }
    }

    /// Sets the number of this attempt at the same work; the first attempt is 1.
    fn attempt(self, attempt: u32) -> Self {
        Self { attempt, ..self }
    }

    /// Sets the partition that the call is for.
    fn at(self, partition: &'a str) -> Self {
        Self { partition: Some(partition), ..self }
    }

    /// Makes a call without a network. The call needs no kept instance, so it runs in an instance of its own.
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

    /// Makes a call that may connect to the hosts of its connection.
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
            let (shelf, prepared) = match warm {
                Some(Warm { allowed, polls, others }) => {
                    let shelf = if partition.is_some() { polls } else { others };
                    (Some(shelf), Prepared::new(tenant, allowed.clone()))
                }
                None => (None, loaded.prepare(tenant, connection, &context).await?),
            };
            let run = loaded.run(tenant, &context);
            answer(run.call_in::<E>(shelf, prepared, |ms| params(connection, ms), either(judge)).await)
        };
        call.run(work).await
    }
}
