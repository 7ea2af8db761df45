//! Events between reading and committing: [`Window`].

use std::collections::VecDeque;

use connector_host::interface::types::Cursor;

/// The events of one partition that were read and are not committed yet, in order.
///
/// Events are worked on side by side and end in any order, but a cursor may be committed only after every event before
/// it is settled. So the cursor to commit is the newest one without an unsettled event before it. An event that takes
/// long delays the commits of later events in its own partition, and no others.
#[derive(Debug, Default)]
pub(super) struct Window {
    entries: VecDeque<Entry>,
    /// The ticket of the first entry.
    first: u64,
}

#[derive(Debug)]
struct Entry {
    cursor: Cursor,
    /// The event's sequence number; `None` for the end of a page.
    sequence: Option<i64>,
    settled: bool,
}

/// The cursor at which a partition can continue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Prefix {
    /// The cursor to commit.
    pub(super) cursor: Cursor,
    /// The sequence number of the last event before the cursor; `None` if only ends of pages were removed from the
    /// window.
    pub(super) through: Option<i64>,
}

impl Window {
    /// Adds an event, with the cursor after it. Returns the ticket to settle it with.
    pub(super) fn event(&mut self, sequence: i64, cursor: Cursor) -> u64 {
        self.push(Entry { cursor, sequence: Some(sequence), settled: false })
    }

    /// Adds the end of a page, with the page's last cursor. It is settled already, because no event comes between the
    /// page's last event and this cursor.
    pub(super) fn page_end(&mut self, cursor: Cursor) {
        self.push(Entry { cursor, sequence: None, settled: true });
    }

    /// Notes that the event of this ticket is settled: done or parked.
    pub(super) fn settle(&mut self, ticket: u64) {
        let index = ticket.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        if let Some(entry) = index.and_then(|index| self.entries.get_mut(index)) {
            entry.settled = true;
        }
    }

    /// Removes the settled entries at the front. Returns the cursor to commit; `None` if no entry was removed.
    pub(super) fn advance(&mut self) -> Option<Prefix> {
        let mut prefix: Option<Prefix> = None;
        while let Some(entry) = self.entries.pop_front_if(|entry| entry.settled) {
            self.first += 1;
            let through = entry.sequence.or(prefix.and_then(|prefix| prefix.through));
            prefix = Some(Prefix { cursor: entry.cursor, through });
        }
        prefix
    }

    /// The number of events and ends of pages in the window.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    fn push(&mut self, entry: Entry) -> u64 {
        self.entries.push_back(entry);
        self.first + self.entries.len() as u64 - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(position: u8) -> Cursor {
        Cursor { snapshot: Vec::new(), position: vec![position] }
    }

    fn prefix(position: u8, through: Option<i64>) -> Option<Prefix> {
        Some(Prefix { cursor: cursor(position), through })
    }

    #[test]
    fn the_newest_contiguous_success_is_committed() {
        let mut window = Window::default();
        let [first, second, third] = [1, 2, 3].map(|number| window.event(i64::from(number), cursor(number)));
        window.page_end(cursor(9));
        assert_eq!(window.advance(), None);
        window.settle(second);
        assert_eq!(window.advance(), None, "the first one holds it back");
        window.settle(first);
        assert_eq!(window.advance(), prefix(2, Some(2)));
        assert_eq!(window.advance(), None);
        window.settle(third);
        assert_eq!(window.advance(), prefix(9, Some(3)), "with the last event its page is done");
        assert_eq!(window.len(), 0);
    }

    #[test]
    fn pages_without_events_move_on() {
        let mut window = Window::default();
        window.page_end(cursor(1));
        assert_eq!(window.advance(), prefix(1, None));
        let event = window.event(7, cursor(2));
        window.page_end(cursor(3));
        window.page_end(cursor(4));
        assert_eq!(window.advance(), None);
        window.settle(event);
        assert_eq!(window.advance(), prefix(4, Some(7)));
    }

    #[test]
    fn a_ticket_of_before_settles_nothing_else() {
        let mut window = Window::default();
        let first = window.event(1, cursor(1));
        window.settle(first);
        window.advance();
        window.event(2, cursor(2));
        window.settle(first);
        assert_eq!(window.advance(), None);
    }
}
