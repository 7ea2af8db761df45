//! From what an event says to the event itself.

use crate::bindings::exports::workflow::connector::trigger::{Event, Payload};

/// An event before its id, source and size are settled.
#[derive(Clone, Debug, PartialEq)]
pub struct EventDraft {
    /// CloudEvents `type`.
    pub event_type: String,
    /// CloudEvents `subject`; events with the same one keep their order.
    pub subject: Option<String>,
    /// CloudEvents `time`, RFC 3339: the service's own. None where it states none.
    pub time: Option<String>,
    /// CloudEvents `data`, a JSON text.
    pub data: String,
    /// One line for a person.
    pub summary: String,
}

impl EventDraft {
    /// The event, without its position, which depends on what else the page holds.
    pub fn into_event(self, id: String, source: String, partition: &str) -> Event {
        Event {
            id,
            source,
            event_type: self.event_type,
            order_key: self.subject.clone().unwrap_or_else(|| partition.to_owned()),
            subject: self.subject,
            time: self.time,
            content_type: Some("application/json".to_owned()),
            data: Payload::Json(self.data),
            attributes: Vec::new(),
            partition: partition.to_owned(),
            summary: self.summary,
            position: Vec::new(),
        }
    }
}

/// Bytes of an event's data.
pub fn size(event: &Event) -> u64 {
    match &event.data {
        Payload::Json(text) | Payload::Text(text) => text.len() as u64,
        Payload::Bytes(bytes) => bytes.len() as u64,
    }
}
