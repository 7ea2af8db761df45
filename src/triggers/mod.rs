//! The triggers. Each has its own file, in a folder for each way of reading: a log with positions, a queue without
//! positions, and a collection whose records are compared with the cursor. A new trigger needs its file and one line
//! in the folder's `mod.rs`.

mod collection;
#[cfg(feature = "amqp")]
mod log;
#[cfg(feature = "amqp")]
mod queue;
mod shared;

#[cfg(feature = "amqp")]
use std::time::Duration;

use connector_rules::json::{DEEPEST, has_levels};
use serde_json::Value;

use crate::account::Account;
use crate::bindings::exports::workflow::connector::trigger::{Event, Notice, Page, Partition, Payload, PollRequest};
use crate::bindings::workflow::connector::types::{Connection, Cursor};
use crate::error::{Error, ErrorCode, Result, Severity};
use crate::form::read_input;
use crate::platform::Platform;
use crate::quoted::{requoted, shown};
use crate::session::Session;
use shared::{Trigger, WHOLE, misfit};

/// All triggers, in the order in which a person sees them.
pub fn all() -> impl Iterator<Item = &'static dyn Trigger> {
    let folders = [
        #[cfg(feature = "amqp")]
        log::ALL,
        #[cfg(feature = "amqp")]
        queue::ALL,
        collection::ALL,
    ];
    folders.into_iter().flatten().copied()
}

/// Closes the connections that the triggers keep open.
#[cfg(feature = "amqp")]
pub fn release(until: Duration) {
    log::release(until);
}

/// The longest summary of an event, in characters.
const LONGEST_SUMMARY: usize = 512;

/// See `trigger.poll` of the interface.
///
/// # Errors
/// Those of the interface's `poll`.
pub fn poll(platform: &dyn Platform, request: &PollRequest) -> Result<Page> {
    let (trigger, config) = prepare(&request.trigger, &request.config)?;
    if request.budget.events == 0 {
        return Err(Error::field("/budget/events", "too-small", "must be at least 1"));
    }
    let account = Account::open(&request.connection)?;
    let page = trigger.poll(&Session::new(platform, &account, request.budget.deadline_ms, false), config, request)?;
    Ok(fit(page))
}

/// Prepares a page for the host: cleans each text that a person sees, and turns event data that the host would refuse
/// into bytes. Otherwise the host would refuse the whole page, in every poll again.
fn fit(mut page: Page) -> Page {
    for event in &mut page.events {
        page.notices.extend(fit_event(event));
    }
    for notice in &mut page.notices {
        notice.message = shown(std::mem::take(&mut notice.message));
    }
    page
}

/// Prepares one event as [`fit`] does. Returns a notice where the event's data was turned into bytes.
fn fit_event(event: &mut Event) -> Option<Notice> {
    event.summary = requoted(std::mem::take(&mut event.summary), LONGEST_SUMMARY).unwrap_or_default();
    match &mut event.data {
        Payload::Json(text) if !has_levels(text, DEEPEST) => {
            event.data = Payload::Bytes(std::mem::take(text).into_bytes());
            let message = format!(
                "The data of the event {} is nested deeper than {DEEPEST} levels. The data is delivered as bytes instead of JSON.",
                event.id
            );
            Some(Notice { severity: Severity::Warning, code: "event-as-bytes".to_owned(), message })
        }
        _ => None,
    }
}

/// See `trigger.partitions` of the interface.
///
/// # Errors
/// Those of the interface's `partitions`.
pub fn partitions(
    platform: &dyn Platform,
    connection: &Connection,
    id: &str,
    config: &str,
    deadline_ms: u64,
) -> Result<Vec<Partition>> {
    let (trigger, config) = prepare(id, config)?;
    let mut partitions =
        Session::run(platform, connection, deadline_ms, |session| trigger.partitions(session, config))?;
    for partition in &mut partitions {
        partition.title = shown(std::mem::take(&mut partition.title));
    }
    Ok(partitions)
}

/// See `trigger.sample` of the interface. Where the account has no events, the result is the static sample.
///
/// # Errors
/// Those of the interface's `sample`.
pub fn sample(
    platform: &dyn Platform,
    connection: &Connection,
    id: &str,
    config: &str,
    limit: u32,
    deadline_ms: u64,
) -> Result<Vec<Event>> {
    let (trigger, config) = prepare(id, config)?;
    let mut events = Session::run(platform, connection, deadline_ms, |session| {
        trigger.sample(session, config, limit.clamp(1, 100))
    })?;
    // A sample cannot carry notices. A person can see that an event's data is bytes.
    events.iter_mut().for_each(|event| drop(fit_event(event)));
    if !events.is_empty() {
        return Ok(events);
    }
    let operation = trigger.descriptor().operation;
    Ok(vec![static_sample(&operation.id, operation.output_sample)])
}

/// The ids of the partitions of the hub's log.
///
/// # Errors
/// The errors of the Event Hub-compatible endpoint.
#[cfg(feature = "amqp")]
pub fn log_partitions(session: &Session) -> Result<Vec<String>> {
    log::partitions(session)
}

/// Events of the account that a trigger would deliver. Empty if the account has none.
///
/// # Errors
/// `invalid-config` if the configuration does not fit, and the errors of the service.
#[cfg(feature = "amqp")]
pub fn live_events(session: &Session, id: &str, config: &str, limit: u32) -> Result<Vec<Event>> {
    let (trigger, config) = prepare(id, config)?;
    trigger.sample(session, config, limit)
}

/// The error of a webhook function: these triggers are polled.
pub fn no_webhook(id: &str) -> Error {
    match find(id) {
        Ok(_) => {
            Error::new(ErrorCode::Unsupported, format!("The trigger \"{id}\" is polled; the service does not call."))
        }
        Err(error) => error,
    }
}

fn find(id: &str) -> Result<&'static dyn Trigger> {
    all()
        .find(|trigger| trigger.id() == id)
        .ok_or_else(|| Error::new(ErrorCode::NotFound, format!("This connector has no trigger \"{id}\".")))
}

fn prepare(id: &str, config: &str) -> Result<(&'static dyn Trigger, Value)> {
    let trigger = find(id)?;
    let config = read_input(trigger.id(), || trigger.descriptor().operation.input_schema, config);
    let config = config.map_err(|error| misfit(&error))?;
    Ok((trigger, config))
}

/// Whether a stored cursor of a trigger can be read.
///
/// # Errors
/// `not-found` where there is no such trigger; `invalid-input` or `unsupported` where the cursor cannot be read.
pub fn check_cursor(id: &str, cursor: &Cursor) -> Result<()> {
    find(id)?.check_cursor(cursor)
}

/// The example event for an account that has no events. Its id and source belong to no hub: `example` is the URN
/// namespace for examples (RFC 6963), so an engine that stores events does not mistake it for a real event.
fn static_sample(trigger: &str, data: String) -> Event {
    Event {
        id: format!("sample-{trigger}"),
        source: format!("urn:example:azure-iot:sample:{trigger}"),
        event_type: format!("azure.iot.{trigger}.sample"),
        subject: None,
        time: None,
        content_type: Some("application/json".to_owned()),
        data: Payload::Json(data),
        attributes: Vec::new(),
        partition: WHOLE.to_owned(),
        order_key: "sample".to_owned(),
        summary: "An example: the account has no record yet".to_owned(),
        position: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bindings::workflow::connector::types::Cursor;

    #[test]
    fn nothing_leaves_that_the_host_refuses_or_that_cannot_be_seen() {
        let data = |levels: usize| Payload::Json("[".repeat(levels) + &"]".repeat(levels));
        let event = |levels: usize| Event {
            summary: "Telemetry of press\u{202e}1\r\n\u{1b}[2J".to_owned(),
            data: data(levels),
            ..static_sample("x", String::new())
        };
        let notice = Notice {
            severity: Severity::Info,
            code: "x".to_owned(),
            message: "The hub says:\u{9b}2J \u{2066}no".to_owned(),
        };
        let page = fit(Page {
            events: vec![event(1), event(DEEPEST), event(DEEPEST + 1)],
            next: Cursor { snapshot: vec![1], position: Vec::new() },
            more: false,
            wait_hint_ms: 0,
            lag: None,
            notices: vec![notice],
        });
        assert_eq!((&page.events[0].data, &page.events[1].data), (&data(1), &data(DEEPEST)));
        let Payload::Bytes(bytes) = &page.events[2].data else { panic!("{:?}", page.events[2].data) };
        assert_eq!(bytes.len(), 2 * (DEEPEST + 1));
        let codes: Vec<&str> = page.notices.iter().map(|notice| notice.code.as_str()).collect();
        assert_eq!(codes, ["x", "event-as-bytes"]);
        assert_eq!(page.notices[0].message, "The hub says: 2J no");
        assert!(page.events.iter().all(|event| event.summary == "Telemetry of press1 [2J"), "{:?}", page.events);
    }
}
