//! How triggers behave with an account. These checks only read.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::descriptor::{fields, operations, validator};
use super::malformed::damaged;
use super::report::TestAccount;
use super::rules::Rule;
use super::trial::Trial;
use crate::call::Account;
use crate::call::Connector;
use crate::error::CallError;
use crate::interface::metadata::{StartMode, TriggerDescriptor, TriggerKind};
use crate::interface::trigger::{Budget, Event, LostPolicy, Page, Payload, PollRequest, Start};
use crate::interface::types::{Cursor, ErrorCode};

/// The largest number of pages to read from one partition while no events arrive.
const PATIENCE: usize = 20;
/// The largest number of partitions to poll while no events arrive.
const PARTITIONS: usize = 8;
/// The number of events to request in a page.
const EVENTS: u32 = 5;
/// The deadline for a poll that is asked to wait longer than it may.
const DEADLINE: Duration = Duration::from_secs(2);

pub(super) async fn judge(connector: &Connector, account: &TestAccount, trial: &mut Trial) {
    trial.secrets = secrets(connector, account);
    report(connector, account, trial).await;
    let mut found: Vec<(String, Cursor)> = Vec::new();
    // Webhook triggers are not polled, because the service sends their events.
    let polled = connector.descriptor().triggers.iter().filter(|trigger| trigger.kind != TriggerKind::Webhook);
    for trigger in polled {
        let Some(config) = configuration(trigger, account) else { continue };
        let stream = Stream { connector, account, trigger, config };
        let met = stream.judge(trial).await;
        for (other, cursor) in &found {
            stream.refuses(&format!("a cursor of {other}"), cursor.clone(), trial).await;
        }
        found.extend(met.map(|cursor| (trigger.operation.id.clone(), cursor)));
    }
    trial.secrets.clear();
}

/// The account's secrets, without those that are too short to be recognized in an answer.
fn secrets(connector: &Connector, account: &TestAccount) -> Vec<String> {
    let values: Value = serde_json::from_str(account.connection.values().expose()).unwrap_or_default();
    let profiles = connector.descriptor().auth_profiles.iter();
    let schema = profiles.filter(|profile| profile.id == account.connection.auth_profile());
    schema
        .filter_map(|profile| serde_json::from_str::<Value>(&profile.schema).ok())
        .flat_map(|schema| {
            let secret = fields(&schema).filter(|(_, field)| field["writeOnly"] == true);
            secret.filter_map(|(name, _)| values[name].as_str().map(str::to_owned)).collect::<Vec<_>>()
        })
        .filter(|secret| secret.len() >= 8)
        .collect()
}

async fn report(connector: &Connector, account: &TestAccount, trial: &mut Trial) {
    let descriptor = connector.descriptor();
    let tested = connector.account(&account.tenant, &account.connection).test().await;
    let Some(Ok(report)) = trial.settle(Rule::Report, "test", tested) else { return };
    for declared in &descriptor.permissions {
        let rows = report.permissions.iter().filter(|row| row.permission == declared.id).count();
        trial.check(Rule::Report, rows == 1, || format!("test: {rows} rows for the permission {}", declared.id));
    }
    let unlocked = report.permissions.iter().flat_map(|row| &row.unlocks);
    for id in report.usable.iter().chain(unlocked) {
        let known = operations(descriptor).any(|operation| operation.id == *id);
        trial.check(Rule::Report, known, || {
            format!("test: the report calls {id:?} usable, but there is no such operation")
        });
    }
}

/// The configuration with which to poll a trigger; none if neither the caller nor the schema yields one.
fn configuration(trigger: &TriggerDescriptor, account: &TestAccount) -> Option<String> {
    let operation = &trigger.operation;
    if let Some(given) = account.configurations.get(&operation.id) {
        return Some(given.clone());
    }
    let schema: Value = serde_json::from_str(&operation.input_schema).ok()?;
    let validator = validator(&schema).ok()?;
    let fits = |text: &str| serde_json::from_str(text).is_ok_and(|value: Value| validator.is_valid(&value));
    ["{}", &operation.input_sample].into_iter().find(|text| fits(text)).map(str::to_owned)
}

/// One trigger of the account.
struct Stream<'a> {
    connector: &'a Connector,
    account: &'a TestAccount,
    trigger: &'a TriggerDescriptor,
    config: String,
}

/// The ids of events, in order. An engine distinguishes events by their ids.
fn ids(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.id.as_str()).collect()
}

impl Stream<'_> {
    fn id(&self) -> &str {
        &self.trigger.operation.id
    }

    fn request(&self, partition: &str, cursor: Option<Cursor>, budget: Budget) -> PollRequest {
        let earliest = self.trigger.start_modes.contains(&StartMode::Earliest);
        PollRequest {
            trigger: self.id().to_owned(),
            partition: partition.to_owned(),
            config: self.config.clone(),
            start: if earliest { Start::Earliest } else { Start::Now },
            on_position_lost: LostPolicy::Stop,
            cursor,
            budget,
        }
    }

    async fn poll(&self, rule: Rule, what: &str, request: &PollRequest, trial: &mut Trial) -> Option<Page> {
        let polled = self.connector.account(&self.account.tenant, &self.account.connection).poll(request).await;
        self.settle(rule, what, polled, trial)
    }

    fn settle(&self, rule: Rule, what: &str, polled: Result<Page, CallError>, trial: &mut Trial) -> Option<Page> {
        let what = format!("{}: {what}", self.id());
        match polled {
            Err(CallError::Protocol { field, problem, .. }) if field == "events" => {
                trial.breach(Rule::PollBudget, format!("{what}: {field} {problem}"));
                None
            }
            Err(CallError::Protocol { field, problem, .. }) if field.starts_with("events[") => {
                trial.breach(Rule::PollEvents, format!("{what}: {field} {problem}"));
                None
            }
            polled => match trial.settle(rule, &what, polled)? {
                Ok(page) => Some(page),
                Err(error) => {
                    trial.breach(rule, format!("{what}: {}", error.message));
                    None
                }
            },
        }
    }

    /// Checks a partition that has events, and returns a cursor of it.
    async fn judge(&self, trial: &mut Trial) -> Option<Cursor> {
        let TestAccount { tenant, connection, .. } = self.account;
        let partitions = self.connector.account(tenant, connection).partitions(self.id(), &self.config).await;
        let what = format!("partitions of {}", self.id());
        let partitions = match trial.settle(Rule::PollRepeats, &what, partitions)? {
            Ok(partitions) => partitions,
            // The account may lack something that this trigger needs. The connector's error reports that, and has
            // already been checked.
            Err(_) => return None,
        };
        let budget = Budget { events: EVENTS, bytes: 1 << 20, wait_ms: 0 };
        let mut last = None;
        for partition in partitions.iter().take(PARTITIONS) {
            let mut cursor = None;
            for _ in 0..PATIENCE {
                let request = self.request(&partition.id, cursor.clone(), budget);
                let page = self.poll(Rule::PollRepeats, "a poll", &request, trial).await?;
                last = Some((partition.id.clone(), page.next.clone()));
                if !page.events.is_empty() {
                    self.page(&request, &page, trial).await;
                    self.waits(&partition.id, &page.next, trial).await;
                    return Some(page.next);
                }
                if !page.more {
                    break;
                }
                cursor = Some(page.next);
            }
        }
        let (partition, next) = last?;
        self.waits(&partition, &next, trial).await;
        Some(next)
    }

    async fn page(&self, request: &PollRequest, page: &Page, trial: &mut Trial) {
        self.events(page, trial);
        let expected = ids(&page.events);

        let again = self.poll(Rule::PollRepeats, "the same poll again", request, trial).await;
        if let Some(again) = again {
            let same = ids(&again.events).starts_with(&expected);
            trial.check(Rule::PollRepeats, same, || {
                format!(
                    "{}: the poll returned {expected:?}, and the same poll again returned {:?}",
                    self.id(),
                    ids(&again.events)
                )
            });
        }
        // An instance that has already worked for other calls must return the same events.
        match self.connector.open(&self.account.tenant, &self.account.connection).await {
            Ok(warm) => self.warm(&warm, request, &expected, trial).await,
            Err(error) => trial.breach(Rule::PollStateless, format!("{}: {error}", self.id())),
        }
        // A poll from the position of each event but the last must return the remaining events of the page.
        let snapshot = request.cursor.as_ref().map(|cursor| cursor.snapshot.clone()).unwrap_or_default();
        for (index, event) in page.events.iter().enumerate().take(page.events.len() - 1) {
            let cursor = Cursor { snapshot: snapshot.clone(), position: event.position.clone() };
            let request = PollRequest { cursor: Some(cursor), ..request.clone() };
            let Some(after) = self.poll(Rule::PollPositions, "a poll from a position", &request, trial).await else {
                continue;
            };
            let rest = &expected[index + 1..];
            let got = ids(&after.events);
            trial.check(Rule::PollPositions, got.starts_with(rest), || {
                format!("{}: after event {index}, a poll returned {got:?} instead of {rest:?}", self.id())
            });
        }
        let request = PollRequest { budget: Budget { events: 1, ..request.budget }, ..request.clone() };
        if let Some(one) = self.poll(Rule::PollBudget, "a poll for one event", &request, trial).await {
            trial.check(Rule::PollBudget, one.events.len() <= 1, || {
                format!("{}: a poll for one event returned more than one", self.id())
            });
            if one.events.is_empty() {
                trial.breach(
                    Rule::PollBudget,
                    format!("{}: a poll for one event returned none, although there is one", self.id()),
                );
            }
        }
        for (what, snapshot, position) in damaged() {
            self.refuses(what, Cursor { snapshot, position }, trial).await;
        }
    }

    async fn warm(&self, warm: &Account, request: &PollRequest, expected: &[&str], trial: &mut Trial) {
        for turn in 1..=3 {
            let what = format!("poll {turn} in one instance");
            let Some(page) = self.settle(Rule::PollStateless, &what, warm.poll(request).await, trial) else { break };
            let same = ids(&page.events).starts_with(expected);
            trial.check(Rule::PollStateless, same, || {
                format!(
                    "{}: a fresh instance returned {expected:?}, but {what} returned {:?}",
                    self.id(),
                    ids(&page.events)
                )
            });
        }
        warm.discard().await;
    }

    /// Checks that the trigger refuses a foreign cursor, or reports its position as lost.
    async fn refuses(&self, what: &str, cursor: Cursor, trial: &mut Trial) {
        let TestAccount { tenant, connection, .. } = self.account;
        let Ok(partitions) = self.connector.account(tenant, connection).partitions(self.id(), &self.config).await
        else {
            return;
        };
        let Some(partition) = partitions.first() else { return };
        let budget = Budget { events: 1, bytes: 1 << 16, wait_ms: 0 };
        let request = self.request(&partition.id, Some(cursor), budget);
        let what = format!("{}: poll with {what} as its cursor", self.id());
        let polled = self.connector.account(tenant, connection).poll(&request).await;
        let Some(answered) = trial.settle(Rule::MalformedCursor, &what, polled) else { return };
        let code = answered.as_ref().err().map(|error| error.code);
        let refused = matches!(code, Some(ErrorCode::InvalidInput | ErrorCode::PositionLost | ErrorCode::Unsupported));
        trial.check(Rule::MalformedCursor, refused, || match code {
            Some(code) => format!("{what} returns the error {code:?}"),
            None => format!("{what} is accepted"),
        });
    }

    /// Checks that a poll that is asked to wait longer than its deadline still answers in time.
    async fn waits(&self, partition: &str, next: &Cursor, trial: &mut Trial) {
        let budget = Budget { events: 1_000, bytes: 1 << 20, wait_ms: 3_600_000 };
        let request = self.request(partition, Some(next.clone()), budget);
        let tenant = self.account.tenant.with_deadline(DEADLINE);
        let what = format!("{}: a poll that may wait for an hour, within {} s", self.id(), DEADLINE.as_secs());
        let polled = self.connector.account(&tenant, &self.account.connection).poll(&request).await;
        if trial.settle(Rule::Deadlines, &what, polled).is_some() {
            trial.kept(Rule::Deadlines);
        }
    }

    fn events(&self, page: &Page, trial: &mut Trial) {
        let schema = serde_json::from_str::<Value>(&self.trigger.operation.output_schema);
        let output = schema.ok().and_then(|schema| validator(&schema).ok());
        let instant = validator(&serde_json::json!({ "type": "string", "format": "date-time" })).ok();
        let mut seen = BTreeSet::new();
        for (index, event) in page.events.iter().enumerate() {
            let mut judge = |kept: bool, problem: &str| {
                trial.check(Rule::PollEvents, kept, || format!("{}, event {index}: {problem}", self.id()));
            };
            judge(seen.insert((&event.source, &event.id)), "the same source and id occur twice in one page");
            judge(!event.summary.trim().is_empty() && !event.summary.contains('\n'), "the summary is not one line");
            if let (Some(time), Some(instant)) = (&event.time, &instant) {
                judge(instant.is_valid(&Value::from(time.as_str())), "the time is not RFC 3339");
            }
            if let (Payload::Json(text), Some(output)) = (&event.data, &output) {
                let data: Value = serde_json::from_str(text).unwrap_or_default();
                let error = output.iter_errors(&data).next().map(|error| error.instance_path().to_string());
                judge(error.is_none(), &format!("the data does not follow the output schema at {error:?}"));
            }
        }
    }
}
