//! The way to the log: the endpoint is found, opened, and kept open for the next poll where an instance lives on.
//!
//! One connection and session carry a link for each partition that is read. What is kept is only a cache. A poll that goes
//! on where the last one ended finds its events on the open links; any other one, and one after a failure, attaches again
//! from its cursor.

use std::time::Duration;

use super::{Log, LogState, PartitionState};
use crate::account::Account;
use crate::bindings::exports::workflow::connector::trigger::Notice;
use crate::error::{Error, ErrorCode, Result, Severity};
use crate::eventhub::{Event, EventHub, ReadBudget, Receiver, ReceiverOptions, StartPosition};
use crate::platform;
use crate::session::connection_cache::{Close, ConnectionCache};
use crate::session::{Session, event_hub};

/// Bytes of memory of the messages taken at a time, beside the page that is made of them: 256 messages of 1 KB, which count
/// for 6 KB each with their annotations.
const RECEIVE_BATCH_BYTES: usize = 1536 * 1024;
/// What a description of a partition is good for, besides its end, which the events themselves state.
const STATE_IS_GOOD_FOR: Duration = Duration::from_secs(60);
/// What a look-up beside open links may take: reading goes on without it.
const LOOK_UP: Duration = Duration::from_secs(3);
/// An open connection may be gone without a word: so long a link is waited for before a new connection is made.
const PATIENCE: Duration = Duration::from_secs(5);
/// Messages sent ahead on all links of a connection together, where there are several: while one is read, the others' wait,
/// and a connection holds no more than 32 MiB of them. A device's message has 256 KB at the most.
const SHARED_PREFETCH: usize = 96;

/// Who reads, and of what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reader {
    pub consumer_group: String,
    /// The partition; all of them where it is empty.
    pub partition: String,
    /// The owner level, where the reader claims the partitions for itself.
    pub owner_level: Option<i64>,
}

/// The ids of all partitions.
///
/// # Errors
/// Those of the service.
pub fn partitions(session: &Session) -> Result<Vec<String>> {
    let mut hub = event_hub::open(session, session.platform())?.0;
    let ids = hub.properties().map(|properties| in_order(properties.partition_ids));
    hub.close();
    ids
}

/// Ids are numbers, written without leading zeros.
fn in_order(mut ids: Vec<String>) -> Vec<String> {
    ids.sort_by(|one, other| (one.len(), one).cmp(&(other.len(), other)));
    ids
}

/// An open log.
struct Open<'p> {
    hub: EventHub<'p>,
    /// How the endpoint was found, where a person should know it.
    advice: Option<String>,
    /// One for each partition that is read.
    links: Vec<Link>,
    state: LogState,
    /// When the state was read, on the monotonic clock.
    read_at: Duration,
}

/// The link of a partition.
#[derive(Default)]
struct Link {
    receiver: Option<Receiver>,
    /// Where it goes on.
    at: Option<StartPosition>,
}

/// What an open log belongs to.
#[derive(Clone, Debug, PartialEq)]
struct Key {
    account: Account,
    reader: Reader,
}

thread_local! {
    /// Each has a connection of its own.
    static LOGS: ConnectionCache<Key, Open<'static>> = const { ConnectionCache::new() };
}

impl Close for Open<'_> {
    fn close(mut self, until: Duration) {
        self.hub.set_deadline(until);
        self.hub.close();
    }
}

/// Closes the logs that are kept open.
pub fn release(until: Duration) {
    LOGS.with(|logs| logs.close_all(until));
}

/// Runs `work` with a log, an open one if there is one.
///
/// # Errors
/// Those of the service, and of `work`.
pub fn with_log<T>(session: &Session, reader: &Reader, work: impl FnOnce(&mut dyn Log) -> Result<T>) -> Result<T> {
    let key = Key { account: session.account().clone(), reader: reader.clone() };
    let Some(lasting) = platform::lasting() else {
        let mut open = Open::new(session, session.platform(), reader)?;
        let result = work(&mut Partitions { open: &mut open, session, reader, fresh: true, looked_up_in_vain: None });
        open.hub.close();
        return result;
    };
    let kept = LOGS.with(|logs| logs.take(&key));
    let fresh = kept.is_none();
    let mut open = match kept {
        Some(mut open) => {
            open.hub.set_deadline(session.deadline());
            open
        }
        None => Open::new(session, lasting, reader)?,
    };
    let result = work(&mut Partitions { open: &mut open, session, reader, fresh, looked_up_in_vain: None });
    // After an error nobody knows what state the connection is in: the next poll opens its own.
    if result.is_ok() {
        LOGS.with(|logs| logs.keep(key, open, session.deadline()));
    } else {
        // A connection that is just dropped would hold its readers' slots for a while.
        open.hub.close();
    }
    result
}

impl<'p> Open<'p> {
    fn new(session: &Session, platform: &'p dyn platform::Platform, reader: &Reader) -> Result<Self> {
        let (mut hub, origin) = event_hub::open(session, platform)?;
        let state = read_state(&mut hub, reader)?;
        let links = state.read.iter().map(|_| Link::default()).collect();
        Ok(Self { hub, advice: origin.advice(), links, state, read_at: session.platform().monotonic() })
    }
}

fn read_state(hub: &mut EventHub, reader: &Reader) -> Result<LogState> {
    let properties = hub.properties()?;
    let ids = in_order(properties.partition_ids);
    let one = std::slice::from_ref(&reader.partition);
    let wanted = if reader.partition.is_empty() { ids.as_slice() } else { one };
    let read = hub.partitions(wanted)?.into_iter().zip(wanted).map(|(partition, id)| PartitionState {
        id: id.clone(),
        first: partition.begin_sequence_number,
        last: partition.last_enqueued_sequence_number,
        last_offset: partition.last_enqueued_offset,
        last_time_ms: partition.last_enqueued_time_ms,
        empty: partition.is_empty,
    });
    // A moment before 1970 is how some say that they do not know.
    let created = properties.created_at_ms.filter(|created| *created > 0).unwrap_or(0);
    Ok(LogState { name: properties.name.to_ascii_lowercase(), created, read: read.collect(), ids })
}

struct Partitions<'a, 'p, 's> {
    open: &'a mut Open<'p>,
    session: &'a Session<'s>,
    reader: &'a Reader,
    /// Whether the connection was made for this poll; one from before may have gone meanwhile.
    fresh: bool,
    /// Why what is known of the partitions could not be brought up to date.
    looked_up_in_vain: Option<String>,
}

impl Partitions<'_, '_, '_> {
    /// Attaches those of the links that do not go on from where they are to, all at the same time.
    fn attach<'f>(&mut self, from: impl IntoIterator<Item = (usize, &'f StartPosition)>) -> Result<()> {
        let Open { hub, links, state, .. } = &mut *self.open;
        let prefetch = (links.len() > 1).then(|| u32::try_from(SHARED_PREFETCH / links.len()).unwrap_or(1).max(1));
        let (mut indices, mut wanted) = (Vec::new(), Vec::new());
        for (index, from) in from {
            let (Some(link), Some(partition)) = (links.get_mut(index), state.read.get(index)) else { continue };
            if link.goes_on(from) {
                continue;
            }
            // The old link goes first: it holds a place among the readers.
            if let Some(receiver) = std::mem::take(link).receiver {
                hub.release(receiver);
            }
            let mut options = ReceiverOptions::new(&self.reader.consumer_group, &partition.id, from.clone());
            options.owner_level = self.reader.owner_level;
            options.prefetch = prefetch;
            indices.push(index);
            wanted.push(options);
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let receivers = match self.fresh {
            true => hub.receivers(&wanted)?,
            false => hub.within(PATIENCE, |hub| hub.receivers(&wanted))?,
        };
        for ((index, receiver), options) in indices.into_iter().zip(receivers).zip(wanted) {
            if let Some(link) = links.get_mut(index) {
                *link = Link { receiver: Some(receiver), at: Some(options.position) };
            }
        }
        Ok(())
    }

    fn attach_all(&mut self, from: &[StartPosition]) -> Result<()> {
        match self.attach(from.iter().enumerate()) {
            // Which partition it is comes out when that one is read.
            Err(error) if error.code() == ErrorCode::PositionLost => Ok(()),
            attached => attached,
        }
    }

    fn read(&mut self, index: usize, from: &StartPosition, most: usize, wait: Duration) -> Result<Vec<Event>> {
        self.attach([(index, from)])?;
        let budget = ReadBudget { events: most, bytes: RECEIVE_BATCH_BYTES, wait };
        let Open { hub, links, .. } = &mut *self.open;
        match links.get_mut(index).and_then(|link| link.receiver.as_mut()) {
            Some(receiver) => hub.receive(receiver, budget),
            None => Ok(Vec::new()),
        }
    }

    /// A link from an earlier poll may be gone, for whatever reason, and so may a token that was good when the connection
    /// was made: once, a new connection with a new token takes its place. Not where another reader has taken its slot: two
    /// readers with the same owner level would send each other away for ever.
    fn once_more<T>(&mut self, mut work: impl FnMut(&mut Self) -> Result<T>) -> Result<T> {
        let may_pass = |error: &Error, fresh: bool| match error.code() {
            ErrorCode::ConsumerConflict | ErrorCode::PositionLost => false,
            ErrorCode::AuthExpired | ErrorCode::AuthFailed | ErrorCode::PermissionDenied => true,
            _ => !fresh,
        };
        match work(self) {
            Err(error) if may_pass(&error, self.fresh) => {
                let again = self.open_again().and_then(|()| work(self));
                again.map_err(|second| error.followed_by(second))
            }
            result => result,
        }
    }

    fn open_again(&mut self) -> Result<()> {
        let platform = self.open.hub.platform();
        // The old one goes before the new one attaches, and its readers' slots with it.
        *self.open = Open::new(self.session, platform, self.reader)?;
        self.fresh = true;
        Ok(())
    }
}

impl Link {
    fn goes_on(&self, from: &StartPosition) -> bool {
        self.receiver.is_some() && self.at.as_ref() == Some(from)
    }
}

impl Log for Partitions<'_, '_, '_> {
    /// Beside the open links, which go on whatever becomes of it: where the connection itself is broken, they say so.
    fn refresh(&mut self) -> Result<()> {
        let now = self.session.platform().monotonic();
        if self.fresh || now.saturating_sub(self.open.read_at) <= STATE_IS_GOOD_FOR {
            return Ok(());
        }
        self.open.read_at = now;
        match self.open.hub.within(LOOK_UP, |hub| read_state(hub, self.reader)) {
            Ok(state) if state.ids == self.open.state.ids => self.open.state = state,
            // Other partitions than there are links for.
            Ok(_) => self.open_again()?,
            Err(error) => self.looked_up_in_vain = Some(error.record().message.clone()),
        }
        Ok(())
    }

    fn state(&self) -> &LogState {
        &self.open.state
    }

    fn begin(&mut self, from: &[StartPosition]) -> Result<()> {
        self.once_more(|this| this.attach_all(from))
    }

    fn receive(&mut self, partition: usize, from: &StartPosition, most: usize, wait: Duration) -> Result<Vec<Event>> {
        let events = self.once_more(|this| this.read(partition, from, most, wait))?;
        let Open { links, state, .. } = &mut *self.open;
        if let (Some(newest), Some(link), Some(state)) =
            (events.last(), links.get_mut(partition), state.read.get_mut(partition))
        {
            link.at = Some(StartPosition::Offset { offset: newest.offset.clone(), inclusive: false });
            state.note(newest);
        }
        Ok(events)
    }

    fn give_back(&mut self, partition: usize, messages: Vec<Event>, from: StartPosition) {
        let Open { hub, links, .. } = &mut *self.open;
        let Some(link) = links.get_mut(partition) else { return };
        let memory = messages.iter().fold(0_usize, |memory, message| memory.saturating_add(message.memory));
        match link {
            // Each partition may keep some, and that is too much of it: they are asked for again.
            Link { receiver: receiver @ Some(_), at } if memory > RECEIVE_BATCH_BYTES => {
                receiver.take().into_iter().for_each(|receiver| hub.release(receiver));
                *at = None;
            }
            Link { receiver: Some(receiver), at } => {
                receiver.give_back(messages);
                *at = Some(from);
            }
            Link { receiver: None, .. } => {}
        }
    }

    fn wait(&mut self, from: &[StartPosition], wait: Duration) -> Result<bool> {
        self.once_more(|this| {
            this.attach_all(from)?;
            let Open { hub, links, .. } = &mut *this.open;
            let receivers: Vec<&Receiver> = links.iter().filter_map(|link| link.receiver.as_ref()).collect();
            // One that could not be attached is to be read, and says why.
            if receivers.len() < links.len() { Ok(true) } else { hub.wait(&receivers, wait) }
        })
    }

    fn remaining(&self) -> Duration {
        self.session.remaining()
    }

    fn notices(&self) -> Vec<Notice> {
        let notice = |severity, code: &str, message| Notice { severity, code: code.to_owned(), message };
        let stale = self.open.advice.iter().map(|advice| notice(Severity::Warning, "stale-endpoint", advice.clone()));
        let late = self.looked_up_in_vain.iter().map(|why| {
            let message = format!(
                "The partitions were not described in time; reading goes on, and they are asked for again in a minute. {why}"
            );
            notice(Severity::Info, "partitions-not-described", message)
        });
        stale.chain(late).collect()
    }
}

impl PartitionState {
    /// Learns from an event where the partition ends.
    fn note(&mut self, newest: &Event) {
        let stated =
            newest.last_enqueued.as_ref().filter(|stated| stated.sequence_number >= Some(newest.sequence_number));
        let last = stated.and_then(|stated| stated.sequence_number).unwrap_or(newest.sequence_number);
        if last > self.last {
            self.last = last;
            self.last_offset = stated.and_then(|stated| stated.offset.clone()).unwrap_or_else(|| newest.offset.clone());
            self.last_time_ms = stated.and_then(|stated| stated.enqueued_time_ms).unwrap_or(newest.enqueued_time_ms);
            self.empty = false;
        }
    }
}
