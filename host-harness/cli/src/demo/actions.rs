//! Calls actions as an engine does: repeats a call as the error's `retry` advises, and records how each call ended.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use connector_host::interface::action::{Call, Outcome, Partial, Pending};
use connector_host::interface::metadata::Idempotency;
use connector_host::interface::types::{EffectState, Retry};
use connector_host::{CallError, Connection, Connector, Tenant};

/// The number of attempts of one call by default. Attempts that the connector makes by itself do not count.
const ATTEMPTS: u32 = 6;
/// The first pause if the error does not state one. Each further pause is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A component and an account.
#[derive(Clone, Debug)]
pub(super) struct Linked {
    pub(super) connector: Connector,
    pub(super) tenant: Tenant,
    pub(super) connection: Connection,
}

/// Which part of the demonstration calls an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Caller {
    /// The plant's own system, which enrolls devices.
    Plant,
    /// The workflow that commissions devices.
    Commissioning,
    /// The workflow that cools machines.
    Cooling,
}

impl Caller {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Plant => "plant",
            Self::Commissioning => "commissioning",
            Self::Cooling => "cooling",
        }
    }
}

/// A call of an action.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request<'a> {
    pub(super) caller: Caller,
    pub(super) action: &'static str,
    pub(super) input: &'a Value,
    /// The idempotency key.
    pub(super) key: &'a str,
    /// The largest number of attempts.
    pub(super) attempts: u32,
    /// Whether the caller knows that a repetition does no harm, whatever the connector declares about the action in
    /// general.
    pub(super) repeatable: bool,
}

impl<'a> Request<'a> {
    pub(super) fn new(caller: Caller, action: &'static str, input: &'a Value, key: &'a str) -> Self {
        Self { caller, action, input, key, attempts: ATTEMPTS, repeatable: false }
    }
}

/// A call that failed and is not tried again.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) error: CallError,
    /// The number of attempts that were made.
    pub(super) attempts: u32,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

/// How one call went.
#[derive(Clone, Debug)]
pub(super) struct ActionRecord {
    pub(super) caller: Caller,
    pub(super) action: &'static str,
    /// `done`, or the code of the error.
    pub(super) outcome: String,
    pub(super) attempts: u32,
    /// The time of all attempts and pauses together.
    pub(super) took: Duration,
}

/// Calls actions and records how each call ended.
pub(super) struct Actions {
    linked: Linked,
    records: Mutex<Vec<ActionRecord>>,
    failures: Mutex<BTreeMap<String, u64>>,
}

impl Actions {
    pub(super) fn new(linked: Linked) -> Self {
        Self { linked, records: Mutex::default(), failures: Mutex::default() }
    }

    pub(super) fn records(&self) -> Vec<ActionRecord> {
        lock(&self.records).clone()
    }

    /// How many calls have ended.
    pub(super) fn ended(&self) -> usize {
        lock(&self.records).len()
    }

    /// Failed attempts that were followed by another one, by error code.
    pub(super) fn failures(&self) -> BTreeMap<String, u64> {
        lock(&self.failures).clone()
    }

    /// Invokes an action until it succeeds or trying again does not help.
    pub(super) async fn invoke(&self, request: &Request<'_>) -> Result<Value, Failed> {
        let begun = Instant::now();
        let Request { caller, action, key, .. } = *request;
        let input = request.input.to_string();
        let mut attempt = 1;
        let result = loop {
            let Linked { connector, tenant, connection } = &self.linked;
            let call = Call { idempotency_key: Some(key.to_owned()), attempt, dry_run: false };
            match connector.account(tenant, connection).invoke(action, &input, &call).await {
                Ok(outcome) => break Ok(output(outcome)),
                Err(error) => match self.pause(request, &error, attempt) {
                    Some(pause) => {
                        *lock(&self.failures).entry(code(&error)).or_default() += 1;
                        sleep(pause).await;
                    }
                    None => break Err(Failed { error, attempts: attempt }),
                },
            }
            attempt += 1;
        };
        let outcome = match &result {
            Ok(_) => "done".to_owned(),
            Err(failed) => code(&failed.error),
        };
        let record = ActionRecord { caller, action, outcome, attempts: attempt, took: begun.elapsed() };
        lock(&self.records).push(record);
        result
    }

    /// All items of a paged action, page after page.
    pub(super) async fn items(&self, action: &'static str, input: &Value) -> Result<Vec<Value>, CallError> {
        let Linked { connector, tenant, connection } = &self.linked;
        let call = Call::default();
        let mut outcome = connector.account(tenant, connection).invoke(action, &input.to_string(), &call).await?;
        let mut items = Vec::new();
        loop {
            let token = match &outcome {
                Outcome::Page(Partial { token, .. }) => Some(token.clone()),
                _ => None,
            };
            if let Some(Value::Array(page)) = output(outcome).get_mut("items").map(Value::take) {
                items.extend(page);
            }
            let Some(token) = token else { return Ok(items) };
            outcome = connector.account(tenant, connection).resume(action, &token, &call).await?;
        }
    }

    /// How long to wait before the next attempt; `None` if there must be none.
    fn pause(&self, request: &Request<'_>, error: &CallError, attempt: u32) -> Option<Duration> {
        if attempt >= request.attempts {
            return None;
        }
        let descriptor = self.linked.connector.descriptor();
        let found = descriptor.actions.iter().find(|known| known.operation.id == request.action);
        let natural = found.is_some_and(|known| known.idempotency == Idempotency::Natural);
        // A call that may have had an effect is repeated only if the repetition does no harm.
        let harmless = error.connector().is_some_and(|error| error.effect == EffectState::None);
        if !(harmless || natural || request.repeatable) {
            return None;
        }
        pause_after(error, attempt)
    }
}

/// How long to wait after a failure, as the error advises; `None` if waiting does not help.
pub(super) fn pause_after(error: &CallError, attempt: u32) -> Option<Duration> {
    let growing = (FIRST_PAUSE * 2_u32.pow(attempt.saturating_sub(1).min(10))).min(LONGEST_PAUSE);
    match error {
        CallError::Connector(failure) => match failure.error.retry {
            Retry::After(ms) => Some(Duration::from_millis(ms).min(LONGEST_PAUSE)),
            Retry::Backoff => Some(growing),
            Retry::Never | Retry::AfterReauthentication | Retry::AfterReconfiguration => None,
        },
        CallError::Deadline { .. } | CallError::Busy { .. } => Some(growing),
        _ => None,
    }
}

/// The error's code, as the interface writes it.
pub(super) fn code(error: &CallError) -> String {
    let code = match error.connector() {
        Some(error) => serde_json::to_value(error.code),
        None => serde_json::to_value(error).map(|mut value| value.get_mut("kind").map(Value::take).unwrap_or_default()),
    };
    match code {
        Ok(Value::String(code)) => code,
        _ => "failed".to_owned(),
    }
}

fn output(outcome: Outcome) -> Value {
    match outcome {
        Outcome::Done(text) | Outcome::Page(Partial { output: text, .. }) | Outcome::Planned(text) => {
            serde_json::from_str(&text).unwrap_or_default()
        }
        Outcome::Pending(Pending { message, .. }) => Value::String(message),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
