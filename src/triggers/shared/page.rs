//! A page while it is filled: what it holds, what it may hold, and what a person should know of it.

use super::event::size;
use crate::bindings::exports::workflow::connector::trigger::{Budget, Event, Notice, Page};
use crate::bindings::workflow::connector::types::Cursor;
use crate::error::{Error, ErrorCode, Severity};

/// The most that a kind of trigger puts into one page, whatever the budget.
#[derive(Clone, Copy)]
pub struct PageLimits {
    pub events: usize,
    /// Bytes of the events' data.
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
    /// An empty page with the notices that there are already.
    pub fn new(budget: &Budget, limits: PageLimits, notices: Vec<Notice>) -> Self {
        let most =
            PageLimits { events: (budget.events as usize).min(limits.events), bytes: budget.bytes.min(limits.bytes) };
        Self { events: Vec::new(), bytes: 0, most, notices }
    }

    /// Whether there is no event in it.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Events that can still come in, as far as their number counts.
    pub fn room(&self) -> usize {
        self.most.events.saturating_sub(self.events.len())
    }

    /// Whether an event fits. The first one does, however large it is: otherwise the trigger would never get past it.
    pub fn has_room_for(&self, event: &Event) -> bool {
        let fits = self.bytes.saturating_add(size(event)) <= self.most.bytes;
        self.room() > 0 && (fits || self.events.is_empty())
    }

    /// Takes an event in.
    pub fn add(&mut self, event: Event) {
        self.bytes = self.bytes.saturating_add(size(&event));
        self.events.push(event);
    }

    /// Adds a notice.
    pub fn notice(&mut self, notice: Notice) {
        self.notices.push(notice);
    }

    /// Adds a notice of these parts.
    pub fn notify(&mut self, severity: Severity, code: &str, message: String) {
        self.notice(Notice { severity, code: code.to_owned(), message });
    }

    /// What to do about an error in the middle of the reading: where `has_progress`, the page is delivered with a notice, and
    /// the next poll meets the error again if it lasts.
    ///
    /// # Errors
    /// The error itself where there is nothing to deliver, or where it is the connector's own fault.
    pub fn interrupt(&mut self, error: Error, has_progress: bool, code: &str, what: &str) -> Result<(), Error> {
        if !has_progress || error.code() == ErrorCode::Internal {
            return Err(error);
        }
        self.notify(Severity::Warning, code, format!("{what} stopped early: {}", error.record().message));
        Ok(())
    }

    /// Whether there are notices.
    pub fn has_notices(&self) -> bool {
        !self.notices.is_empty()
    }

    /// The page. `more`: the next poll should come at once.
    pub fn finish(self, next: Cursor, more: bool) -> Page {
        Page { events: self.events, next, more, wait_hint_ms: 0, lag: None, notices: self.notices }
    }
}
