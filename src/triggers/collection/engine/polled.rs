//! A trigger on a collection, as data: what it declares, how often it scans, and how it opens its collection.

use std::time::Duration;

use serde_json::Value;

use super::cursor::State;
use super::{Collection, poll, sample};
use crate::bindings::exports::workflow::connector::metadata::{StartMode, TriggerDescriptor, TriggerKind};
use crate::bindings::exports::workflow::connector::trigger::{Event, Page, PollRequest};
use crate::bindings::workflow::connector::types::Cursor;
use crate::error::Result;
use crate::form::values::Input;
use crate::session::Session;
use crate::triggers::shared::Trigger;
use crate::triggers::shared::declaration::Declaration;

/// A trigger on a collection.
pub struct Polled {
    /// What the trigger declares.
    pub declaration: Declaration,
    /// How long to wait between two scans.
    pub interval: Duration,
    /// The shortest useful interval between two polls.
    pub min_interval: Duration,
    /// Opens the collection that a configuration selects.
    pub open: for<'s> fn(&'s Session, &Input) -> Result<Box<dyn Collection + 's>>,
}

impl Trigger for Polled {
    fn id(&self) -> &'static str {
        self.declaration.id
    }

    fn descriptor(&self) -> TriggerDescriptor {
        TriggerDescriptor {
            operation: self.declaration.operation(),
            kind: TriggerKind::Polling,
            start_modes: vec![StartMode::Now, StartMode::Earliest],
            min_interval_ms: u64::try_from(self.min_interval.as_millis()).unwrap_or(u64::MAX),
        }
    }

    fn poll(&self, session: &Session, config: Value, request: &PollRequest) -> Result<Page> {
        let collection = (self.open)(session, &Input::new(config))?;
        poll(session, self.id(), self.interval, &*collection, request)
    }

    fn sample(&self, session: &Session, config: Value, limit: u32) -> Result<Vec<Event>> {
        sample(self.id(), &*(self.open)(session, &Input::new(config))?, limit)
    }

    fn check_cursor(&self, cursor: &Cursor) -> Result<()> {
        State::read(cursor).map(drop)
    }
}
