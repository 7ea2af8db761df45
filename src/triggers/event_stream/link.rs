//! The way to a partition: the endpoint is found, opened, and kept open for the next poll where an instance lives on.
//!
//! What is kept is only a cache. A poll that goes on where the last one ended finds its events on the open link; any
//! other one, and one after a failure, attaches anew from its cursor.

use std::cell::RefCell;
use std::time::Duration;

use super::position::Place;
use super::{Log, LogState};
use crate::connection::{Account, event_hub};
use crate::error::Result;
use crate::eventhub::{Event, EventHub, Position as From, ReadBudget, Receiver, ReceiverOptions};
use crate::platform;
use crate::session::Session;

/// Bytes of messages taken at a time: they are in memory together, beside the page that is made of them.
const PIECE_BYTES: usize = 256 * 1024;
/// What a description of a partition is good for, besides its end, which the events themselves tell.
const STATE_IS_GOOD_FOR: Duration = Duration::from_secs(60);

/// Who reads, and of what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reader {
    /// The consumer group.
    pub consumer_group: String,
    /// The partition.
    pub partition: String,
    /// The owner level, where the reader claims the partition for itself.
    pub owner_level: Option<i64>,
}

/// The ids of all partitions.
///
/// # Errors
/// Those of the service.
pub fn partitions(session: &Session) -> Result<Vec<String>> {
    let mut hub = event_hub::open(session, session.platform())?.0;
    let ids = hub.properties().map(|properties| properties.partition_ids);
    hub.close();
    ids
}

/// An open partition.
struct Open<'p> {
    hub: EventHub<'p>,
    receiver: Option<Receiver>,
    state: LogState,
    /// When the state was read, on the monotonic clock.
    read_at: Duration,
    /// The last event that was handed out.
    last: Option<Place>,
}

/// What an open partition belongs to.
#[derive(Clone, Debug, PartialEq)]
struct Key {
    account: Account,
    reader: Reader,
}

/// Partitions kept open by an instance at the most; each has a connection of its own.
const MOST_KEPT: usize = 4;

thread_local! {
    static KEPT: RefCell<Vec<(Key, Open<'static>)>> = const { RefCell::new(Vec::new()) };
}

/// Runs `work` with a partition, an open one if there is one.
///
/// # Errors
/// Those of the service, and of `work`.
pub fn with_partition<T>(
    session: &Session,
    reader: &Reader,
    work: impl FnOnce(&mut dyn Log) -> Result<T>,
) -> Result<T> {
    let key = Key { account: session.account().clone(), reader: reader.clone() };
    let Some(lasting) = platform::lasting() else {
        let mut open = Open::new(session, session.platform(), reader)?;
        let mut partition = Partition { open: &mut open, session, reader, fresh: true };
        let result = work(&mut partition);
        open.hub.close();
        return result;
    };
    let kept = KEPT.with_borrow_mut(|kept| {
        let at = kept.iter().position(|(known, _)| *known == key)?;
        Some(kept.swap_remove(at).1)
    });
    let fresh = kept.is_none();
    let mut open = match kept {
        Some(mut open) => {
            open.hub.set_deadline(session.deadline());
            open
        }
        None => Open::new(session, lasting, reader)?,
    };
    let mut partition = Partition { open: &mut open, session, reader, fresh };
    let result = work(&mut partition);
    // After an error nobody knows what state the connection is in: the next poll opens its own.
    if result.is_ok() {
        KEPT.with_borrow_mut(|kept| {
            if kept.len() >= MOST_KEPT {
                kept.remove(0);
            }
            kept.push((key, open));
        });
    }
    result
}

impl<'p> Open<'p> {
    fn new(session: &Session, platform: &'p dyn platform::Platform, reader: &Reader) -> Result<Self> {
        let (mut hub, _) = event_hub::open(session, platform)?;
        let state = read_state(&mut hub, reader)?;
        Ok(Self { hub, receiver: None, state, read_at: session.platform().monotonic(), last: None })
    }
}

fn read_state(hub: &mut EventHub, reader: &Reader) -> Result<LogState> {
    let properties = hub.properties()?;
    let partition = hub.partition_properties(&reader.partition)?;
    Ok(LogState {
        created: properties.created_at_ms.unwrap_or(0),
        partitions: u16::try_from(properties.partition_ids.len()).unwrap_or(u16::MAX),
        first: partition.begin_sequence_number,
        last: partition.last_enqueued_sequence_number,
        last_offset: partition.last_enqueued_offset,
        empty: partition.is_empty,
    })
}

struct Partition<'a, 'p, 's> {
    open: &'a mut Open<'p>,
    session: &'a Session<'s>,
    reader: &'a Reader,
    /// Whether the connection was made for this poll; one from before may have gone meanwhile.
    fresh: bool,
}

impl Partition<'_, '_, '_> {
    fn attach(&mut self, from: &From) -> Result<()> {
        let mut options = ReceiverOptions::new(&self.reader.consumer_group, &self.reader.partition, from.clone());
        options.owner_level = self.reader.owner_level;
        self.open.receiver = Some(self.open.hub.receiver(&options)?);
        Ok(())
    }

    /// Whether the open link goes on from there.
    fn goes_on(&self, from: &From) -> bool {
        match (&self.open.last, from) {
            (Some(Place::After { offset, .. }), From::Offset { offset: wanted, inclusive: false }) => offset == wanted,
            _ => false,
        }
    }

    fn read(&mut self, from: &From, most: usize, wait: Duration) -> Result<Vec<Event>> {
        if self.open.receiver.is_none() || !self.goes_on(from) {
            self.attach(from)?;
        }
        let budget = ReadBudget { events: most, bytes: PIECE_BYTES, wait };
        match &mut self.open.receiver {
            Some(receiver) => self.open.hub.receive(receiver, budget),
            None => Ok(Vec::new()),
        }
    }

    fn reopen(&mut self) -> Result<()> {
        let platform = self.open.hub.platform();
        *self.open = Open::new(self.session, platform, self.reader)?;
        self.fresh = true;
        Ok(())
    }
}

impl Log for Partition<'_, '_, '_> {
    fn state(&mut self) -> Result<LogState> {
        let now = self.session.platform().monotonic();
        if !self.fresh && now.saturating_sub(self.open.read_at) > STATE_IS_GOOD_FOR {
            match read_state(&mut self.open.hub, self.reader) {
                Ok(state) => {
                    self.open.state = state;
                    self.open.read_at = now;
                }
                Err(_) => self.reopen()?,
            }
        }
        Ok(self.open.state.clone())
    }

    fn receive(&mut self, from: &From, most: usize, wait: Duration) -> Result<Vec<Event>> {
        let events = match self.read(from, most, wait) {
            // A link from an earlier poll may be gone, for whatever reason: once, a new one takes its place.
            Err(_) if !self.fresh => {
                self.reopen()?;
                self.read(from, most, wait)?
            }
            read => read?,
        };
        if let Some(newest) = events.last() {
            self.open.last = Some(Place::After { sequence: newest.sequence_number, offset: newest.offset.clone() });
            let state = &mut self.open.state;
            let told = newest.last_enqueued.as_ref();
            let end = told
                .and_then(|last| last.sequence_number)
                .unwrap_or(newest.sequence_number)
                .max(newest.sequence_number);
            if end > state.last {
                state.last = end;
                state.last_offset = told.and_then(|last| last.offset.clone()).unwrap_or_else(|| newest.offset.clone());
                state.empty = false;
            }
        }
        Ok(events)
    }

    fn give_back(&mut self, messages: Vec<Event>, after: &Place) {
        if let Some(receiver) = &mut self.open.receiver {
            receiver.give_back(messages);
            self.open.last = Some(after.clone());
        }
    }

    fn remaining(&self) -> Duration {
        self.session.remaining()
    }
}
