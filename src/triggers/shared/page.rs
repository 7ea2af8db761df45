//! A page while it is filled, with its limits and its notices.

use super::event::size;
use crate::bindings::exports::workflow::connector::trigger::{Budget, Event, Notice, Page};
use crate::bindings::workflow::connector::types::Cursor;
use crate::error::{Error, ErrorCode, Severity};

/// The largest page of a kind of trigger, even where the budget allows more.
#[derive(Clone, Copy)]
pub struct PageLimits {
    pub events: usize,
    /// The largest size of all events' data together, in bytes.
    pub bytes: u64,
}

/// A page that is being filled.
pub struct PageBuilder {
    events: Vec<Event>,
    bytes: u64,
    most: PageLimits,
    notices: Vec<Notice>,
}

impl PageBuilder {
    /// An empty page with these notices.
    pub fn new(budget: &Budget, limits: PageLimits, notices: Vec<Notice>) -> Self {
        let most =
            PageLimits { events: (budget.events as usize).min(limits.events), bytes: budget.bytes.min(limits.bytes) };
        Self { events: Vec::new(), bytes: 0, most, notices }
    }

    /// Whether the page has no event.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// How many more events the limit on their number allows.
    pub fn room(&self) -> usize {
        self.most.events.saturating_sub(self.events.len())
    }

    /// Whether the page has room for an event. A first event always has room, because otherwise the trigger would never
    /// get past it.
    pub fn has_room_for(&self, event: &Event) -> bool {
        let fits = self.bytes.saturating_add(size(event)) <= self.most.bytes;
        self.room() > 0 && (fits || self.events.is_empty())
    }

    /// Adds an event.
    pub fn add(&mut self, event: Event) {
        self.bytes = self.bytes.saturating_add(size(&event));
        self.events.push(event);
    }

    /// Adds a notice.
    pub fn notice(&mut self, notice: Notice) {
        self.notices.push(notice);
    }

    /// Adds a notice with this severity, code and message.
    pub fn notify(&mut self, severity: Severity, code: &str, message: String) {
        self.notice(Notice { severity, code: code.to_owned(), message });
    }

    /// Decides about an error in the middle of reading. With `has_progress`, the page is delivered with a notice; if
    /// the error lasts, the next poll meets it again.
    ///
    /// # Errors
    /// The error itself where there is no progress, or where the error is the connector's own fault.
    pub fn interrupt(&mut self, error: Error, has_progress: bool, code: &str, what: &str) -> Result<(), Error> {
        if !has_progress || error.code() == ErrorCode::Internal {
            return Err(error);
        }
        self.notify(Severity::Warning, code, format!("{what} stopped early: {}", error.record().message));
        Ok(())
    }

    /// Whether the page has notices.
    pub fn has_notices(&self) -> bool {
        !self.notices.is_empty()
    }

    /// The finished page. `more` says that the engine should poll again at once.
    pub fn finish(self, next: Cursor, more: bool) -> Page {
        Page { events: self.events, next, more, wait_hint_ms: 0, lag: None, notices: self.notices }
    }
}
