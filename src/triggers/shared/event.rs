//! Event drafts, and how a draft becomes an event.

use crate::bindings::exports::workflow::connector::trigger::{Event, Payload};

/// An event before its id, source and size are settled.
#[derive(Clone, Debug, PartialEq)]
pub struct EventDraft {
    /// CloudEvents `type`.
    pub event_type: String,
    /// CloudEvents `subject`. Events with the same subject keep their order.
    pub subject: Option<String>,
    /// CloudEvents `time` (RFC 3339), as the service states it. None where the service states no time.
    pub time: Option<String>,
    /// CloudEvents `data`, a JSON text.
    pub data: String,
    /// A summary for a person, in one line.
    pub summary: String,
}

impl EventDraft {
    /// Makes the event without its position. The position depends on the other events of the page.
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

/// The size of an event's data, in bytes.
pub fn size(event: &Event) -> u64 {
    match &event.data {
        Payload::Json(text) | Payload::Text(text) => text.len() as u64,
        Payload::Bytes(bytes) => bytes.len() as u64,
    }
}
