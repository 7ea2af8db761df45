//! Checks whether an answer obeys the limits and the rules of the interface.
//!
//! wasmtime has already checked the types of an answer. Every other promise of the interface is checked here, before
//! the engine sees the answer, so that an engine may rely on it: a cursor is never empty, a JSON field holds valid
//! JSON, and a page has no more events than were asked for.

use std::fmt;

use super::exports::{WireOwnedConnection, WireStored};
use crate::connection::LARGEST_CONNECTION;
use crate::error::CallError;
use crate::interface::action::{Outcome, Partial, Pending};
use crate::interface::connection::{Check, PermissionFinding, Report, Validation};
use crate::interface::discovery::{Choice, Choices};
use crate::interface::metadata::{
    AuthProfile, Descriptor, EgressRule, Operation, Permission, StoredCursor, StoredInput,
};
use crate::interface::trigger::{
    Attribute, Event, Header, Notice, Page, Partition, Payload, PollRequest, Received, Subscription,
};
use crate::interface::types::{Cursor, Error, FieldProblem, MissingPermission, ServiceFault};
use crate::limits::{LimitExceeded, LimitName, Limits};
use crate::options::LONGEST_NAME;

/// The largest `validation.normalized`, in bytes. It has the bound of a connection, because it is a connection without
/// its secrets.
const LARGEST_NORMALIZED: usize = LARGEST_CONNECTION;

/// The most egress rules in a descriptor. Each rule is evaluated for every call.
const EGRESS_RULES: usize = 64;

/// The most suffixes in one egress rule.
const SUFFIXES: usize = 32;

/// The longest host template of an egress rule, in bytes.
const LONGEST_TEMPLATE: usize = 512;

type Judged = Result<(), CallError>;

/// Checks one answer, field by field, and adds up its size in bytes.
pub(crate) struct Judge<'a> {
    function: &'static str,
    limits: &'a Limits,
    bytes: usize,
    events: usize,
}

impl<'a> Judge<'a> {
    /// A judge for the answer of `function`.
    pub(crate) fn new(function: &'static str, limits: &'a Limits) -> Self {
        Self { function, limits, bytes: 0, events: 0 }
    }

    /// The number of events in the answer.
    pub(crate) fn counted_events(&self) -> usize {
        self.events
    }

    fn broken(&self, field: impl fmt::Display, problem: impl Into<String>) -> CallError {
        CallError::Protocol { function: self.function, field: field.to_string(), problem: problem.into() }
    }

    fn rule(&self, kept: bool, field: impl fmt::Display, problem: &str) -> Judged {
        if kept { Ok(()) } else { Err(self.broken(field, problem)) }
    }

    /// Checks an upper bound that the interface itself sets.
    fn most(&self, found: usize, allowed: usize, field: impl fmt::Display, unit: &str) -> Judged {
        if found <= allowed {
            Ok(())
        } else {
            Err(self.broken(field, format!("has {found} {unit}, {allowed} are allowed")))
        }
    }

    fn bound(name: LimitName, wanted: usize, allowed: usize) -> Judged {
        if wanted > allowed { Err(CallError::Limit(LimitExceeded::new(name, wanted, allowed))) } else { Ok(()) }
    }

    /// Adds the length of a text or byte string to the answer's size.
    fn count(&mut self, part: impl AsRef<[u8]>) -> Judged {
        self.bytes = self.bytes.saturating_add(part.as_ref().len());
        Self::bound(LimitName::OutputBytes, self.bytes, self.limits.output_bytes)
    }

    fn all<T: AsRef<[u8]>>(&mut self, parts: impl IntoIterator<Item = T>) -> Judged {
        parts.into_iter().try_for_each(|part| self.count(part))
    }

    fn filled(&mut self, text: &str, field: impl fmt::Display) -> Judged {
        self.count(text)?;
        self.rule(!text.is_empty(), field, "is empty")
    }

    fn id(&mut self, text: &str, field: impl fmt::Display + Copy) -> Judged {
        self.filled(text, field)?;
        let kept = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        self.rule(kept, field, "is not kebab-case")
    }

    fn json(&mut self, text: &str, field: impl fmt::Display) -> Judged {
        self.count(text)?;
        // Connectors check JSON with the same rule. The message says where the rule is broken but quotes nothing,
        // because the text may hold a secret.
        connector_rules::json::check(text).map_err(|fault| self.broken(field, fault.to_string()))
    }

    fn json_object(&mut self, text: &str, field: impl fmt::Display + Copy) -> Judged {
        self.json(text, field)?;
        self.rule(text.trim_start().starts_with('{'), field, "is not a JSON object")
    }

    fn cursor(&mut self, cursor: &Cursor, field: impl fmt::Display) -> Judged {
        let Cursor { snapshot, position } = cursor;
        self.all([snapshot, position])?;
        Self::bound(LimitName::CursorBytes, snapshot.len().saturating_add(position.len()), self.limits.cursor_bytes)?;
        self.rule(
            !(snapshot.is_empty() && position.is_empty()),
            field,
            "is empty, so that no poll can continue from it",
        )
    }

    fn events(&self, events: &[Event]) -> Judged {
        Self::bound(LimitName::OutputEvents, events.len(), self.limits.output_events)
    }

    fn event(&mut self, event: &Event, index: usize) -> Judged {
        let Event {
            id,
            source,
            event_type,
            subject,
            time,
            content_type,
            data,
            attributes,
            partition,
            order_key,
            summary,
            position,
        } = event;
        self.events += 1;
        self.filled(id, format_args!("events[{index}].id"))?;
        self.filled(source, format_args!("events[{index}].source"))?;
        self.filled(event_type, format_args!("events[{index}].event-type"))?;
        self.all([subject, time, content_type].into_iter().flatten())?;
        self.all([partition, order_key, summary])?;
        self.count(position)?;
        match data {
            Payload::Json(text) => self.json(text, format_args!("events[{index}].data"))?,
            Payload::Text(text) => self.count(text)?,
            Payload::Bytes(bytes) => self.count(bytes)?,
        }
        for (number, Attribute { name, value }) in attributes.iter().enumerate() {
            self.all([name, value])?;
            let kept = !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
            let field = format_args!("events[{index}].attributes[{number}].name");
            self.rule(kept, field, "must consist of lower-case letters and digits only, and must not be empty")?;
        }
        Ok(())
    }

    pub(crate) fn page(&mut self, page: &Page, request: &PollRequest) -> Judged {
        let Page { events, next, more: _, wait_hint_ms: _, lag: _, notices } = page;
        self.events(events)?;
        let asked = asked_events(request, self.limits);
        let many = format!("has {} events, but {asked} were requested", events.len());
        self.rule(events.len() <= asked as usize, "events", &many)?;
        let snapshot = request.cursor.as_ref().map_or(0, |cursor| cursor.snapshot.len());
        let mut bytes = 0_u64;
        for (index, event) in events.iter().enumerate() {
            self.event(event, index)?;
            let field = format_args!("events[{index}].position");
            self.rule(!event.position.is_empty(), field, "is empty, so that no poll can continue from it")?;
            let cursor = snapshot.saturating_add(event.position.len());
            Self::bound(LimitName::CursorBytes, cursor, self.limits.cursor_bytes)?;
            let field = format_args!("events[{index}].partition");
            match request.partition.as_str() {
                // The empty text means a poll of all partitions.
                "" => {
                    self.rule(!event.partition.is_empty(), field, "is empty; it must name the partition of the event")?
                }
                polled => self.rule(event.partition == polled, field, "is not the partition that was polled")?,
            }
            bytes = bytes.saturating_add(match &event.data {
                Payload::Json(text) | Payload::Text(text) => text.len() as u64,
                Payload::Bytes(bytes) => bytes.len() as u64,
            });
        }
        let budget = request.budget.bytes;
        let heavy = format!("have {bytes} bytes of data, but {budget} were requested");
        self.rule(events.len() <= 1 || bytes <= budget, "events", &heavy)?;
        self.cursor(next, "next")?;
        for Notice { severity: _, code, message } in notices {
            self.all([code, message])?;
        }
        Ok(())
    }

    pub(crate) fn sample(&mut self, events: &[Event], limit: u32) -> Judged {
        self.events(events)?;
        // The limit is at least 1, because a sample without events would be none.
        let limit = limit.max(1) as usize;
        let many = format!("has {} events, but {limit} were requested", events.len());
        self.rule(events.len() <= limit, "answer", &many)?;
        events.iter().enumerate().try_for_each(|(index, event)| self.event(event, index))
    }

    pub(crate) fn partitions(&mut self, partitions: &[Partition]) -> Judged {
        self.rule(!partitions.is_empty(), "answer", "has no partition; at least one is required")?;
        let mut seen = std::collections::HashSet::with_capacity(partitions.len());
        for (index, Partition { id, title }) in partitions.iter().enumerate() {
            self.all([id, title])?;
            self.rule(seen.insert(id), format_args!("partitions[{index}].id"), "occurs twice")?;
        }
        Ok(())
    }

    pub(crate) fn subscription(&mut self, subscription: &Subscription) -> Judged {
        let Subscription { state, expires } = subscription;
        self.count(state)?;
        self.all(expires)?;
        Self::bound(LimitName::CursorBytes, state.len(), self.limits.cursor_bytes)
    }

    pub(crate) fn received(&mut self, received: &Received) -> Judged {
        let Received { status, headers, body, events, wake: _ } = received;
        self.rule((100..=599).contains(status), "status", "is not an HTTP status")?;
        self.count(body)?;
        for (index, Header { name, value }) in headers.iter().enumerate() {
            self.all([name.as_bytes(), value])?;
            let kept = http::HeaderName::from_lowercase(name.as_bytes()).is_ok()
                && http::HeaderValue::from_bytes(value).is_ok();
            self.rule(kept, format_args!("headers[{index}]"), "is not a valid HTTP header with a lower-case name")?;
        }
        self.events(events)?;
        events.iter().enumerate().try_for_each(|(index, event)| self.event(event, index))
    }

    pub(crate) fn outcome(&mut self, outcome: &Outcome, dry_run: bool) -> Judged {
        self.outcome_at(outcome, dry_run, "")
    }

    fn outcome_at(&mut self, outcome: &Outcome, dry_run: bool, path: impl fmt::Display + Copy) -> Judged {
        match outcome {
            Outcome::Done(output) => self.json(output, format_args!("{path}done")),
            Outcome::Page(Partial { output, token }) => {
                self.json(output, format_args!("{path}page.output"))?;
                self.filled(token, format_args!("{path}page.token"))
            }
            Outcome::Pending(Pending { token, after_ms: _, message }) => {
                self.filled(token, format_args!("{path}pending.token"))?;
                self.count(message)
            }
            Outcome::Planned(plan) => {
                self.json_object(plan, format_args!("{path}planned"))?;
                self.rule(
                    dry_run,
                    format_args!("{path}planned"),
                    "is only allowed in the answer to a dry run, and this call was none",
                )
            }
        }
    }

    pub(crate) fn batch(&mut self, results: &[Result<Outcome, Error>], inputs: usize, dry_run: bool) -> Judged {
        let count = format!("has {} results for {inputs} inputs", results.len());
        self.rule(results.len() == inputs, "answer", &count)?;
        results.iter().enumerate().try_for_each(|(index, result)| match result {
            Ok(outcome) => self.outcome_at(outcome, dry_run, format_args!("[{index}].")),
            Err(error) => self.error(error),
        })
    }

    pub(crate) fn choices(&mut self, choices: &Choices, limit: u32) -> Judged {
        let Choices { items, next } = choices;
        let many = format!("has {} items, but {limit} were requested", items.len());
        self.rule(limit == 0 || items.len() <= limit as usize, "items", &many)?;
        for Choice { value, label, hint } in items {
            self.all([value, label])?;
            self.all(hint)?;
        }
        match next {
            Some(next) => self.filled(next, "next"),
            None => Ok(()),
        }
    }

    pub(crate) fn schema(&mut self, schema: &str) -> Judged {
        self.json(schema, "answer")
    }

    pub(crate) fn label(&mut self, label: &str) -> Judged {
        self.count(label)
    }

    fn problems(&mut self, problems: &[FieldProblem]) -> Judged {
        for FieldProblem { pointer, code, message, fix, severity: _ } in problems {
            self.all([pointer, code, message])?;
            self.all(fix)?;
        }
        Ok(())
    }

    pub(crate) fn validation(&mut self, validation: &Validation) -> Judged {
        let Validation { problems, normalized } = validation;
        self.problems(problems)?;
        self.most(normalized.len(), LARGEST_NORMALIZED, "normalized", "bytes")?;
        self.json_object(normalized, "normalized")
    }

    pub(crate) fn report(&mut self, report: &Report) -> Judged {
        let Report { checks, permissions, usable } = report;
        for Check { id, title, outcome: _, message, remedy, elapsed_ms: _ } in checks {
            self.all([id, title, message])?;
            self.all(remedy)?;
        }
        for PermissionFinding { permission, grant: _, evidence, unlocks, remedy } in permissions {
            self.all([permission, evidence])?;
            self.all(unlocks)?;
            self.all(remedy)?;
        }
        self.all(usable)
    }

    /// Checks an error that the connector itself returned.
    pub(crate) fn error(&mut self, error: &Error) -> Judged {
        let Error { code: _, message, detail, fields, item: _, retry: _, effect: _, service, missing_permission } =
            error;
        self.count(message)?;
        self.all(detail)?;
        self.problems(fields)?;
        if let Some(ServiceFault { status: _, code, tracking_id }) = service {
            self.all([code, tracking_id].into_iter().flatten())?;
        }
        if let Some(MissingPermission { permission, remedy }) = missing_permission {
            self.all([permission, remedy])?;
        }
        Ok(())
    }

    pub(crate) fn descriptor(&mut self, descriptor: &Descriptor) -> Judged {
        let Descriptor {
            id,
            version,
            interface_version,
            title,
            help,
            auth_profiles,
            permissions,
            triggers,
            actions,
            egress,
            unsupported,
        } = descriptor;
        self.id(id, "id")?;
        self.all([version, interface_version, title, help])?;
        for (index, AuthProfile { id, title, help, schema }) in auth_profiles.iter().enumerate() {
            self.id(id, format_args!("auth-profiles[{index}].id"))?;
            self.all([title, help])?;
            self.json(schema, format_args!("auth-profiles[{index}].schema"))?;
        }
        for Permission { id, title, service, help } in permissions {
            self.all([id, title, service, help])?;
        }
        for (index, trigger) in triggers.iter().enumerate() {
            self.operation(&trigger.operation, format_args!("triggers[{index}].operation"))?;
        }
        for (index, action) in actions.iter().enumerate() {
            self.operation(&action.operation, format_args!("actions[{index}].operation"))?;
        }
        self.most(egress.len(), EGRESS_RULES, "egress", "rules")?;
        for (index, EgressRule { protocol: _, host, default_port: _, suffixes, purpose }) in egress.iter().enumerate() {
            self.all([host, purpose])?;
            self.most(host.len(), LONGEST_TEMPLATE, format_args!("egress[{index}].host"), "bytes")?;
            self.most(suffixes.len(), SUFFIXES, format_args!("egress[{index}].suffixes"), "suffixes")?;
            for (number, suffix) in suffixes.iter().enumerate() {
                self.count(suffix)?;
                let field = format_args!("egress[{index}].suffixes[{number}]");
                self.most(suffix.len(), LONGEST_NAME, field, "bytes")?;
            }
        }
        self.all(unsupported)
    }

    fn operation(&mut self, operation: &Operation, path: impl fmt::Display + Copy) -> Judged {
        let Operation {
            id,
            revision: _,
            deprecated_by,
            title,
            help,
            group,
            input_schema,
            output_schema,
            input_sample,
            output_sample,
            dynamic_input: _,
            dynamic_output: _,
            permissions,
            limits,
        } = operation;
        self.id(id, format_args!("{path}.id"))?;
        self.all(deprecated_by)?;
        self.all([title, help, group])?;
        self.json(input_schema, format_args!("{path}.input-schema"))?;
        self.json(output_schema, format_args!("{path}.output-schema"))?;
        self.json(input_sample, format_args!("{path}.input-sample"))?;
        self.json(output_sample, format_args!("{path}.output-sample"))?;
        self.all(permissions)?;
        limits.iter().try_for_each(|limit| self.all([&limit.title, &limit.unit]))
    }

    /// Checks the result of `migrate`: `carried` is the migrated item, `given` the case of the item that was passed in.
    pub(crate) fn stored(&mut self, carried: &WireStored, given: Kind) -> Judged {
        self.rule(Kind::of(carried) == given, "answer", "must have the same case as the item that was passed in")?;
        match carried {
            WireStored::Connection(WireOwnedConnection { auth_profile, values }) => {
                self.count(auth_profile)?;
                let bytes = auth_profile.len().saturating_add(values.len());
                self.most(bytes, LARGEST_CONNECTION, "connection", "bytes")?;
                self.json_object(values, "connection.values")
            }
            WireStored::Input(StoredInput { operation, revision: _, value }) => {
                self.count(operation)?;
                self.json(value, "input.value")
            }
            WireStored::Cursor(StoredCursor { trigger, revision: _, value }) => {
                self.count(trigger)?;
                self.cursor(value, "cursor.value")
            }
        }
    }
}

/// The case of an item for `migrate`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Connection,
    Input,
    Cursor,
}

impl Kind {
    pub(crate) fn of(stored: &WireStored) -> Self {
        match stored {
            WireStored::Connection(_) => Self::Connection,
            WireStored::Input(_) => Self::Input,
            WireStored::Cursor(_) => Self::Cursor,
        }
    }
}

/// The number of events that a poll asks the connector for: the engine's number, lowered to the tenant's limit.
pub(crate) fn asked_events(request: &PollRequest, limits: &Limits) -> u32 {
    request.budget.events.min(u32::try_from(limits.output_events).unwrap_or(u32::MAX)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interface::metadata::EgressProtocol;
    use crate::interface::trigger::{Budget, LostPolicy, Start};
    use crate::interface::types::{EffectState, ErrorCode, Retry};

    fn limits() -> Limits {
        Limits { output_events: 3, output_bytes: 1_000, cursor_bytes: 40, ..Limits::default() }
    }

    fn event(position: &[u8]) -> Event {
        Event {
            id: "1".to_owned(),
            source: "s".to_owned(),
            event_type: "t".to_owned(),
            subject: None,
            time: None,
            content_type: None,
            data: Payload::Json("{}".to_owned()),
            attributes: Vec::new(),
            partition: "p".to_owned(),
            order_key: String::new(),
            summary: String::new(),
            position: position.to_vec(),
        }
    }

    fn page(events: Vec<Event>) -> Page {
        let next = Cursor { snapshot: vec![1], position: vec![2] };
        Page { events, next, more: false, wait_hint_ms: 0, lag: None, notices: Vec::new() }
    }

    fn request(budget: Budget) -> PollRequest {
        PollRequest {
            trigger: "t".to_owned(),
            partition: "p".to_owned(),
            config: "{}".to_owned(),
            start: Start::Earliest,
            on_position_lost: LostPolicy::Stop,
            cursor: Some(Cursor { snapshot: vec![0; 30], position: Vec::new() }),
            budget,
        }
    }

    fn judged(judge: impl FnOnce(&mut Judge<'_>) -> Judged) -> Judged {
        judge(&mut Judge::new("test.function", &limits()))
    }

    fn limit(judge: impl FnOnce(&mut Judge<'_>) -> Judged) -> LimitExceeded {
        match judged(judge) {
            Err(CallError::Limit(exceeded)) => exceeded,
            other => panic!("{other:?}"),
        }
    }

    fn broken(judge: impl FnOnce(&mut Judge<'_>) -> Judged) -> String {
        match judged(judge) {
            Err(CallError::Protocol { function: "test.function", field, .. }) => field,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_page_within_its_bounds_passes() {
        let few = request(Budget { events: 3, ..Budget::default() });
        judged(|judge| judge.page(&page(vec![event(b"1"), event(b"2"), event(b"3")]), &few)).unwrap();
        // A single event may exceed the budget of bytes.
        let tight = request(Budget { events: 3, bytes: 1, wait_ms: 0 });
        judged(|judge| judge.page(&page(vec![event(b"1")]), &tight)).unwrap();
        // In a poll of all partitions, each event must name its partition.
        let all = PollRequest { partition: String::new(), ..few };
        judged(|judge| judge.page(&page(vec![event(b"1")]), &all)).unwrap();
        let nameless = Event { partition: String::new(), ..event(b"1") };
        assert_eq!(broken(|judge| judge.page(&page(vec![nameless]), &all)), "events[0].partition");
    }

    #[test]
    fn each_limit_on_answers_is_named_with_what_was_wanted() {
        let many = request(Budget { events: 100, ..Budget::default() });
        assert_eq!(asked_events(&many, &limits()), 3);
        let four = page(vec![event(b"1"), event(b"2"), event(b"3"), event(b"4")]);
        let exceeded = limit(|judge| judge.page(&four, &many));
        assert_eq!(exceeded, LimitExceeded { name: LimitName::OutputEvents, wanted: 4, allowed: 3 });
        assert_eq!(limit(|judge| judge.sample(&four.events, 100)), exceeded);
        let received =
            Received { status: 200, headers: Vec::new(), body: Vec::new(), events: four.events, wake: false };
        assert_eq!(limit(|judge| judge.received(&received)), exceeded);

        let wide = Event { summary: "x".repeat(990), ..event(b"1") };
        let exceeded = limit(|judge| judge.page(&page(vec![event(b"1"), wide]), &many));
        assert_eq!((exceeded.name, exceeded.allowed), (LimitName::OutputBytes, 1_000));
        let exceeded = limit(|judge| judge.label(&"x".repeat(1_001)));
        assert_eq!(exceeded, LimitExceeded { name: LimitName::OutputBytes, wanted: 1_001, allowed: 1_000 });

        let next = Cursor { snapshot: vec![0; 20], position: vec![0; 21] };
        let exceeded = limit(|judge| judge.page(&Page { next, ..page(Vec::new()) }, &many));
        assert_eq!(exceeded, LimitExceeded { name: LimitName::CursorBytes, wanted: 41, allowed: 40 });
        // The cursor's size includes the snapshot that the poll was given.
        let exceeded = limit(|judge| judge.page(&page(vec![event(&[0; 11])]), &many));
        assert_eq!(exceeded, LimitExceeded { name: LimitName::CursorBytes, wanted: 41, allowed: 40 });
        let subscription = Subscription { state: vec![0; 41], expires: None };
        assert_eq!(limit(|judge| judge.subscription(&subscription)), exceeded);
    }

    #[test]
    fn what_breaks_the_interface_is_named_by_its_field() {
        let two = request(Budget { events: 2, ..Budget::default() });
        let on_page = |page: Page| broken(|judge| judge.page(&page, &two));
        assert_eq!(on_page(page(vec![event(b"1"), event(b"2"), event(b"3")])), "events");
        assert_eq!(on_page(Page { next: Cursor::default(), ..page(Vec::new()) }), "next");
        assert_eq!(on_page(page(vec![event(b"1"), event(b"")])), "events[1].position");
        let with = |change: fn(&mut Event)| {
            let mut changed = event(b"1");
            change(&mut changed);
            on_page(page(vec![changed]))
        };
        assert_eq!(with(|event| event.data = Payload::Json("{,}".to_owned())), "events[0].data");
        assert_eq!(with(|event| event.data = Payload::Json(String::new())), "events[0].data");
        assert_eq!(with(|event| event.data = Payload::Json("[".repeat(500))), "events[0].data");
        assert_eq!(with(|event| event.id.clear()), "events[0].id");
        assert_eq!(with(|event| event.partition = "other".to_owned()), "events[0].partition");
        let attribute = |event: &mut Event| {
            event.attributes.push(Attribute { name: "No".to_owned(), value: String::new() });
        };
        assert_eq!(with(attribute), "events[0].attributes[0].name");
        let tight = request(Budget { events: 2, bytes: 3, wait_ms: 0 });
        assert_eq!(broken(|judge| judge.page(&page(vec![event(b"1"), event(b"2")]), &tight)), "events");
        assert_eq!(broken(|judge| judge.sample(&[event(b""), event(b"")], 1)), "answer");

        assert_eq!(broken(|judge| judge.partitions(&[])), "answer");
        let partition = Partition { id: "a".to_owned(), title: String::new() };
        assert_eq!(broken(|judge| judge.partitions(&[partition.clone(), partition])), "partitions[1].id");

        assert_eq!(broken(|judge| judge.outcome(&Outcome::Done("no".to_owned()), false)), "done");
        let partial = |output: &str, token: &str| {
            let page = Outcome::Page(Partial { output: output.to_owned(), token: token.to_owned() });
            broken(|judge| judge.outcome(&page, false))
        };
        assert_eq!(partial("[", "t"), "page.output");
        assert_eq!(partial("[]", ""), "page.token");
        let planned = |plan: &str, dry| broken(|judge| judge.outcome(&Outcome::Planned(plan.to_owned()), dry));
        assert_eq!(planned("{}", false), "planned");
        assert_eq!(planned("1", true), "planned");
        let short = [Ok(Outcome::Done("1".to_owned()))];
        assert_eq!(broken(|judge| judge.batch(&short, 2, false)), "answer");
        let wrong = [Ok(Outcome::Done("1".to_owned())), Ok(Outcome::Done("x".to_owned()))];
        assert_eq!(broken(|judge| judge.batch(&wrong, 2, false)), "[1].done");

        let normalized = |text: &str| Validation { problems: Vec::new(), normalized: text.to_owned() };
        assert_eq!(broken(|judge| judge.validation(&normalized("null"))), "normalized");
        let choice = || Choice { value: String::new(), label: String::new(), hint: None };
        let choices = |next: Option<&str>| Choices { items: vec![choice(), choice()], next: next.map(str::to_owned) };
        assert_eq!(broken(|judge| judge.choices(&choices(None), 1)), "items");
        assert_eq!(broken(|judge| judge.choices(&choices(Some("")), 0)), "next");
        let received = |status, name: &str| {
            let headers = vec![Header { name: name.to_owned(), value: b"v".to_vec() }];
            broken(|judge| {
                judge.received(&Received { status, headers, body: Vec::new(), events: Vec::new(), wake: false })
            })
        };
        assert_eq!(received(99, "ok"), "status");
        assert_eq!(received(200, "Bad Name"), "headers[0]");
        let cursor = WireStored::Cursor(StoredCursor { trigger: String::new(), revision: 1, value: Cursor::default() });
        assert_eq!(broken(|judge| judge.stored(&cursor, Kind::Cursor)), "cursor.value");
        assert_eq!(broken(|judge| judge.stored(&cursor, Kind::Input)), "answer");
    }

    /// Tests the exact bound, with the same rule as connectors: one level more is refused, and the error names the
    /// field and the bound.
    #[test]
    fn json_is_judged_by_the_rule_that_connectors_keep() {
        let few = request(Budget { events: 3, ..Budget::default() });
        let deep = |levels: usize| {
            let data = Payload::Json("[".repeat(levels) + &"]".repeat(levels));
            judged(|judge| judge.page(&page(vec![event(b"1"), Event { data, ..event(b"2") }]), &few))
        };
        deep(connector_rules::json::DEEPEST).unwrap();
        match deep(connector_rules::json::DEEPEST + 1) {
            Err(CallError::Protocol { field, problem, .. }) => {
                assert_eq!((field.as_str(), problem.as_str()), ("events[1].data", "is nested deeper than 127 levels"));
            }
            other => panic!("{other:?}"),
        }
        // A member name that no JSON reader accepts; `done` is checked as well.
        assert_eq!(broken(|judge| judge.outcome(&Outcome::Done(r#"{"\ud800":1}"#.to_owned()), false)), "done");
    }

    #[test]
    fn what_egress_is_derived_from_is_bounded() {
        let roomy = Limits::default();
        let field = |judge: &dyn Fn(&mut Judge<'_>) -> Judged| match judge(&mut Judge::new("test.function", &roomy)) {
            Ok(()) => None,
            Err(CallError::Protocol { field, .. }) => Some(field),
            Err(other) => panic!("{other:?}"),
        };
        let normalized = |bytes: usize| {
            let normalized = format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes - 8));
            field(&|judge| judge.validation(&Validation { problems: Vec::new(), normalized: normalized.clone() }))
        };
        assert_eq!((normalized(64 << 10), normalized((64 << 10) + 1)), (None, Some("normalized".to_owned())));

        let rules = |count: usize, host: usize, suffixes: usize, suffix: usize| {
            let rule = EgressRule {
                protocol: EgressProtocol::Https,
                host: "h".repeat(host),
                default_port: 443,
                suffixes: vec!["s".repeat(suffix); suffixes],
                purpose: String::new(),
            };
            let descriptor = Descriptor {
                id: "a".to_owned(),
                version: String::new(),
                interface_version: String::new(),
                title: String::new(),
                help: String::new(),
                auth_profiles: Vec::new(),
                permissions: Vec::new(),
                triggers: Vec::new(),
                actions: Vec::new(),
                egress: vec![rule; count],
                unsupported: Vec::new(),
            };
            field(&|judge| judge.descriptor(&descriptor))
        };
        assert_eq!(rules(64, 512, 32, 253), None);
        assert_eq!(rules(65, 1, 0, 0).as_deref(), Some("egress"));
        assert_eq!(rules(1, 513, 0, 0).as_deref(), Some("egress[0].host"));
        assert_eq!(rules(2, 1, 33, 1).as_deref(), Some("egress[0].suffixes"));
        assert_eq!(rules(1, 1, 2, 254).as_deref(), Some("egress[0].suffixes[0]"));

        let carried = WireStored::Connection(WireOwnedConnection {
            auth_profile: "a".to_owned(),
            values: format!(r#"{{"a":"{}"}}"#, "x".repeat(64 << 10)),
        });
        assert_eq!(field(&|judge| judge.stored(&carried, Kind::Connection)).as_deref(), Some("connection"));
    }

    #[test]
    fn a_protocol_error_shows_nothing_of_what_was_written() {
        let error = judged(|judge| judge.outcome(&Outcome::Done("hunter2".to_owned()), false)).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        assert!(error.to_string().contains("`test.function`") && error.to_string().contains("done"), "{error}");
    }

    #[test]
    fn an_error_counts_as_an_answer() {
        let error = Error {
            code: ErrorCode::Internal,
            message: "x".repeat(2_000),
            detail: None,
            fields: Vec::new(),
            item: None,
            retry: Retry::Never,
            effect: EffectState::None,
            service: None,
            missing_permission: None,
        };
        assert_eq!(limit(|judge| judge.error(&error)).name, LimitName::OutputBytes);
    }
}
