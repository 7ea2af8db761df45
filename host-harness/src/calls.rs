//! The functions of a connector that work on a linked account.
//!
//! They are there twice: on [`Connector`], where each call names the account and runs in an instance
//! of its own, and on [`WarmInstance`](crate::WarmInstance), which stands for one account and one instance. What a
//! function takes, answers and promises is written once, here; what differs is the [`Route`] that a call takes.

use std::sync::Arc;

use crate::connection::Connection;
use crate::connector::Connector;
use crate::egress::AllowList;
use crate::error::CallError;
use crate::exports::Export;
use crate::interface::types;
use crate::judge::Judge;
use crate::run::{Prepared, Verdict, WithRefusals, answer, either};
use crate::telemetry::Retry;
use crate::tenant::Tenant;
use crate::warm::Place;

/// How a call comes to its instance.
pub(crate) struct Route<'a> {
    pub(crate) connector: &'a Connector,
    pub(crate) tenant: &'a Tenant,
    pub(crate) connection: &'a Connection,
    /// The instance that is kept, and what it may reach; none: an instance for this call alone.
    pub(crate) warm: Option<(&'a Arc<Place>, &'a Arc<AllowList>)>,
    operation: Option<&'a str>,
    partition: Option<&'a str>,
    attempt: u32,
}

impl<'a> Route<'a> {
    pub(crate) fn new(
        connector: &'a Connector,
        tenant: &'a Tenant,
        connection: &'a Connection,
        warm: Option<(&'a Arc<Place>, &'a Arc<AllowList>)>,
    ) -> Self {
        Self { connector, tenant, connection, warm, operation: None, partition: None, attempt: 1 }
    }

    /// Which trigger or action it is about.
    pub(crate) fn of(self, operation: &'a str) -> Self {
        Self { operation: Some(operation), ..self }
    }

    /// Which attempt at the same work it is, from 1.
    pub(crate) fn attempt(self, attempt: u32) -> Self {
        Self { attempt, ..self }
    }

    /// Which partition it is about.
    pub(crate) fn at(self, partition: &'a str) -> Self {
        Self { partition: Some(partition), ..self }
    }

    /// A call without a network, which needs nothing of what an instance keeps.
    pub(crate) async fn pure<E: Export>(
        self,
        params: impl FnOnce(&'a Connection) -> E::Params<'a>,
        judge: impl FnOnce(&E::Answer, &mut Judge<'_>) -> Verdict,
    ) -> Result<WithRefusals<E::Answer>, CallError> {
        let Self { connector, tenant, connection, operation, partition, .. } = self;
        let call = connector.supervise(tenant, E::NAME, operation, partition)?;
        let run = connector.run(tenant, &call.context());
        let work = async {
            connection.check_size()?;
            run.call::<E>(Prepared::without_network(tenant), |_| params(connection), judge).await
        };
        call.run(work).await
    }

    /// A call that may reach what its connection leads to.
    pub(crate) async fn online<E, T>(
        self,
        params: impl FnOnce(&'a Connection, u64) -> E::Params<'a>,
        judge: impl FnOnce(&T, &mut Judge<'_>) -> Verdict,
    ) -> Result<T, CallError>
    where
        E: Export<Answer = Result<T, types::Error>>,
    {
        let Self { connector, tenant, connection, warm, operation, partition, attempt } = self;
        let call = connector.supervise(tenant, E::NAME, operation, partition)?;
        let context = call.context();
        if attempt > 1 {
            context.meter.retried(Retry::Engine);
        }
        let work = async {
            let (place, prepared) = match warm {
                Some((place, allowed)) => (Some(place), Prepared::new(tenant, allowed.clone())),
                None => (None, connector.prepare(tenant, connection, &context).await?),
            };
            let run = connector.run(tenant, &context);
            answer(run.call_in::<E>(place, prepared, |ms| params(connection, ms), either(judge)).await)
        };
        call.run(work).await
    }
}

/// Writes the functions: `|self, account: type, ...| route`, the account being what each call has to name.
macro_rules! calls {
    (|$self:ident $(, $account:ident: $type:ty)*| $route:expr) => {
        /// Judges the values of a connection, without any network.
        ///
        /// # Errors
        ///
        /// [`CallError`], but never the connector's own: what is wrong is in the answer.
        pub async fn validate(&$self $(, $account: $type)*) -> Result<Validation, CallError> {
            let judge = |answer: &Validation, judge: &mut Judge<'_>| judge.validation(answer);
            $route.pure::<exports::Validate>(|connection| (connection.into(),), judge).await.map(|(answer, _)| answer)
        }

        /// Tries the account out, changing nothing.
        ///
        /// # Errors
        ///
        /// [`CallError`]; a check that fails is part of the report.
        pub async fn test(&$self $(, $account: $type)*) -> Result<Report, CallError> {
            $route
                .online::<exports::Test, _>(|connection, ms| (connection.into(), ms), |report, judge| judge.report(report))
                .await
        }

        /// The connection's name for a list, never with a secret in it.
        ///
        /// # Errors
        ///
        /// [`CallError`].
        pub async fn label(&$self $(, $account: $type)*) -> Result<String, CallError> {
            let judge = either(|label: &String, judge| judge.label(label));
            answer($route.pure::<exports::Label>(|connection| (connection.into(),), judge).await)
        }

        /// Offers values for a field.
        ///
        /// # Errors
        ///
        /// [`CallError`].
        pub async fn options(
            &$self $(, $account: $type)*,
            request: &ChoicesRequest,
        ) -> Result<Choices, CallError> {
            $route
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
            &$self $(, $account: $type)*,
            operation: &str,
            direction: Direction,
            partial: &str,
        ) -> Result<String, CallError> {
            $route
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
        pub async fn partitions(
            &$self $(, $account: $type)*,
            trigger: &str,
            config: &str,
        ) -> Result<Vec<Partition>, CallError> {
            $route
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
        pub async fn poll(
            &$self $(, $account: $type)*,
            request: &PollRequest,
        ) -> Result<Page, CallError> {
            let route = $route;
            let events = asked_events(request, route.tenant.limits());
            route
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
        pub async fn sample(
            &$self $(, $account: $type)*,
            trigger: &str,
            config: &str,
            limit: u32,
        ) -> Result<Vec<Event>, CallError> {
            $route
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
        pub async fn subscribe(
            &$self $(, $account: $type)*,
            trigger: &str,
            config: &str,
            url: &str,
        ) -> Result<Subscription, CallError> {
            $route
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
        pub async fn renew(
            &$self $(, $account: $type)*,
            trigger: &str,
            config: &str,
            state: &[u8],
        ) -> Result<Subscription, CallError> {
            $route
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
        pub async fn unsubscribe(
            &$self $(, $account: $type)*,
            trigger: &str,
            config: &str,
            state: &[u8],
        ) -> Result<(), CallError> {
            $route
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
            &$self $(, $account: $type)*,
            trigger: &str,
            config: &str,
            state: &[u8],
            request: &ReceivedRequest,
        ) -> Result<Received, CallError> {
            $route
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
        pub async fn invoke(
            &$self $(, $account: $type)*,
            action: &str,
            input: &str,
            call: &Call,
        ) -> Result<Outcome, CallError> {
            $route
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
        /// As [`Connector::invoke`](crate::Connector::invoke).
        pub async fn resume(
            &$self $(, $account: $type)*,
            action: &str,
            token: &str,
            call: &Call,
        ) -> Result<Outcome, CallError> {
            $route
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
        /// As [`Connector::invoke`](crate::Connector::invoke).
        pub async fn invoke_batch(
            &$self $(, $account: $type)*,
            action: &str,
            inputs: &[String],
            call: &Call,
        ) -> Result<Vec<Result<Outcome, types::Error>>, CallError> {
            $route
                .of(action)
                .attempt(call.attempt)
                .online::<exports::InvokeBatch, _>(
                    |connection, ms| (connection.into(), action, inputs, WireCall::new(call, ms)),
                    |results, judge| judge.batch(results, inputs.len(), call.dry_run),
                )
                .await
        }
    };
}

pub(crate) use calls;
