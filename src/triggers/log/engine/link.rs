//! Access to the log: finds the endpoint, opens it, and keeps it open for the next poll of the same instance.
//!
//! One AMQP connection and one session carry a link for each partition that is read. The open links are only a cache. A
//! poll that continues where the last poll ended finds its events on them; any other poll, and a poll after a failure,
//! attaches new links at its cursor.

use std::time::Duration;

use super::{Log, LogState, PartitionState};
use crate::account::Account;
use crate::bindings::exports::workflow::connector::trigger::Notice;
use crate::error::{Error, ErrorCode, Result, Severity};
use crate::eventhub::{Event, EventHub, ReadBudget, Receiver, ReceiverOptions, StartPosition};
use crate::platform;
use crate::session::connection_cache::{Close, ConnectionCache};
use crate::session::{Session, event_hub};

/// The largest memory, in bytes, of the messages received at once. The page that is made of them needs its own memory.
/// The number allows 256 messages of 1 KB; with their annotations, each takes 6 KB of memory.
const RECEIVE_BATCH_BYTES: usize = 1536 * 1024;
/// How long a description of the partitions is used before it is read again. The end of a partition needs no
/// description, because events state it.
const STATE_IS_GOOD_FOR: Duration = Duration::from_secs(60);
/// The longest time to read that description while links are open. After this time, reading continues without it.
const LOOK_UP: Duration = Duration::from_secs(3);
/// The longest wait for a link on a connection from an earlier poll, before a new connection is made: a connection can
/// be broken without a sign.
const PATIENCE: Duration = Duration::from_secs(5);
/// The number of messages that the Event Hub may send ahead on all links of one connection together, where several
/// partitions are read. Messages of one link wait while another link is read. A device's message has at most 256 KB, so
/// one connection holds less than 32 MiB of them.
const SHARED_PREFETCH: usize = 96;

/// A reader's consumer group, partition and owner level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reader {
    pub consumer_group: String,
    /// The partition that is read. Empty for all partitions.
    pub partition: String,
    /// The owner level, where the reader claims its partitions exclusively.
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

/// The ids in the order of their numbers. An id is a number without leading zeros.
fn in_order(mut ids: Vec<String>) -> Vec<String> {
    ids.sort_by(|one, other| (one.len(), one).cmp(&(other.len(), other)));
    ids
}

/// An open AMQP connection to a log.
struct Open<'p> {
    hub: EventHub<'p>,
    /// How the endpoint was found, where the person should be told.
    advice: Option<String>,
    /// The links, one for each partition that is read.
    links: Vec<Link>,
    state: LogState,
    /// When the description of the log was read, on the monotonic clock.
    read_at: Duration,
}

/// The link of a partition.
#[derive(Default)]
struct Link {
    receiver: Option<Receiver>,
    /// The position of the next message on this link.
    at: Option<StartPosition>,
}

/// The values that must be equal for a poll to use an open log again.
#[derive(Clone, Debug, PartialEq)]
struct Key {
    account: Account,
    reader: Reader,
}

thread_local! {
    /// The open logs. Each log has its own connection.
    static LOGS: ConnectionCache<Key, Open<'static>> = const { ConnectionCache::new() };
}

impl Close for Open<'_> {
    fn close(mut self, until: Duration) {
        self.hub.set_deadline(until);
        self.hub.close();
    }
}

/// Closes the open logs.
pub fn release(until: Duration) {
    LOGS.with(|logs| logs.close_all(until));
}

/// Runs `work` with a log: with an open log of the same key where there is one, else with a new one.
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
    // After an error, the state of the connection is unknown, so it is closed. The next poll opens a new connection.
    if result.is_ok() {
        LOGS.with(|logs| logs.keep(key, open, session.deadline()));
    } else {
        // The connection is closed properly: the service would otherwise count its readers for some time longer.
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
    // Some services state a time before 1970 where they do not know it.
    let created = properties.created_at_ms.filter(|created| *created > 0).unwrap_or(0);
    Ok(LogState { name: properties.name.to_ascii_lowercase(), created, read: read.collect(), ids })
}

struct Partitions<'a, 'p, 's> {
    open: &'a mut Open<'p>,
    session: &'a Session<'s>,
    reader: &'a Reader,
    /// Whether the connection was made for this poll. An older connection may have been closed by the service since
    /// then.
    fresh: bool,
    /// Why the description of the partitions could not be read again.
    looked_up_in_vain: Option<String>,
}

impl Partitions<'_, '_, '_> {
    /// Attaches, all at the same time, the links that do not continue at these positions.
    fn attach<'f>(&mut self, from: impl IntoIterator<Item = (usize, &'f StartPosition)>) -> Result<()> {
        let Open { hub, links, state, .. } = &mut *self.open;
        let prefetch = (links.len() > 1).then(|| u32::try_from(SHARED_PREFETCH / links.len()).unwrap_or(1).max(1));
        let (mut indices, mut wanted) = (Vec::new(), Vec::new());
        for (index, from) in from {
            let (Some(link), Some(partition)) = (links.get_mut(index), state.read.get(index)) else { continue };
            if link.goes_on(from) {
                continue;
            }
            // The old link is released first, because the number of readers of a partition is limited.
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
            // The error does not say which partition it concerns. Reading that partition reports it.
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

    /// Runs `work`, and once more over a new connection with a new token if it fails: a link from an earlier poll may
    /// be gone, or the token may have expired. There is no second attempt where another reader has claimed the
    /// partition, because two readers with the same owner level would disconnect each other for ever.
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
        // The old connection is closed first, so that its readers no longer count when the new ones attach.
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
    /// Reads the description of the partitions. A failure does not stop the reading: where the connection itself is
    /// broken, the open links report it.
    fn refresh(&mut self) -> Result<()> {
        let now = self.session.platform().monotonic();
        if self.fresh || now.saturating_sub(self.open.read_at) <= STATE_IS_GOOD_FOR {
            return Ok(());
        }
        self.open.read_at = now;
        match self.open.hub.within(LOOK_UP, |hub| read_state(hub, self.reader)) {
            Ok(state) if state.ids == self.open.state.ids => self.open.state = state,
            // The hub's partitions have changed, so the links no longer fit them.
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
            // Every partition may keep such messages, so this much memory is too much. The messages are dropped, and
            // received again by a new link.
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
            // A link could not be attached. Reading its partition reports the reason.
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
                "The hub did not describe its partitions in time. Reading continues, and the hub is asked again in a minute. {why}"
            );
            notice(Severity::Info, "partitions-not-described", message)
        });
        stale.chain(late).collect()
    }
}

impl PartitionState {
    /// Notes from an event where the partition ends.
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
