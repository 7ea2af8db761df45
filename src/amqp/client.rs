//! The blocking side of the client: it drives the connection's state machine over a transport, and a deadline ends
//! every wait.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::connection::{Connection, Event, Options};
use super::error::{Error, Result};
use super::link::{Delivery, LinkId, LinkOptions};
use super::performative::Outcome;
use super::sasl::Mechanism;
use super::stage::Stage;
use super::transport::{Deadline, Transport, TransportErrorKind};
use crate::platform::Platform;

/// How many bytes one read asks for: a TLS record holds at most this many.
const READ_PIECE: usize = 16 * 1024;
/// The longest time that a close may take from the caller. The service notices a broken connection by itself.
const TIME_TO_CLOSE: Duration = Duration::from_millis(250);

/// A message that the peer refused, or whose outcome is not known.
#[derive(Clone, Debug, PartialEq)]
pub struct Undelivered {
    /// Why the message counts as undelivered.
    pub error: Error,
    /// Whether the peer may have taken the message nevertheless: it was sent, and no answer came.
    pub sent: bool,
}

/// One connection. It is driven only while one of its methods runs: between calls nothing is sent or received.
pub struct Client<'p> {
    platform: &'p dyn Platform,
    connection: Connection,
    transport: Box<dyn Transport + 'p>,
    /// The buffer that bytes are read into.
    piece: Vec<u8>,
    ready: bool,
    attached: BTreeSet<LinkId>,
    /// Links that are gone, with the reason, until the caller asks about them.
    detached: BTreeMap<LinkId, Error>,
    /// Links that this side has detached: no caller will ask about them.
    left: BTreeSet<LinkId>,
    /// Messages that arrived while the caller waited for another link.
    inbox: BTreeMap<LinkId, VecDeque<Delivery>>,
    /// The last outcome that the peer stated for a message of ours, until the caller asks for it.
    outcomes: BTreeMap<LinkId, Outcome>,
    /// The state machine's final error. It is reported after all earlier events were returned.
    error: Option<Error>,
    names: u32,
    random: u64,
    /// The last moment at which the connection was driven.
    driven: Duration,
}

impl std::fmt::Debug for Client<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("connection", &self.connection).finish_non_exhaustive()
    }
}

impl<'p> Client<'p> {
    /// Logs in to a host with the default options, and a container id that no other connection has.
    ///
    /// # Errors
    /// As [`Client::open`].
    pub fn log_in(
        platform: &'p dyn Platform,
        transport: impl Transport + 'p,
        host: &str,
        mechanism: Mechanism,
        deadline: &Deadline,
    ) -> Result<Self> {
        let name = format!("{}-{:016x}", env!("CARGO_PKG_NAME"), platform.random());
        Self::open(platform, transport, Options::new(name, host, mechanism), deadline)
    }

    /// Opens a connection and its session over a transport.
    ///
    /// # Errors
    /// Any error of the connection, at the latest at the deadline.
    pub fn open(
        platform: &'p dyn Platform,
        transport: impl Transport + 'p,
        options: Options,
        deadline: &Deadline,
    ) -> Result<Self> {
        let mut client = Self {
            platform,
            connection: Connection::new(options, platform.monotonic()),
            transport: Box::new(transport),
            piece: vec![0; READ_PIECE],
            ready: false,
            attached: BTreeSet::new(),
            detached: BTreeMap::new(),
            left: BTreeSet::new(),
            inbox: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            error: None,
            names: 0,
            random: platform.random(),
            driven: platform.monotonic(),
        };
        while !client.ready {
            let stage = client.connection.stage();
            client.step(stage, deadline)?;
        }
        Ok(client)
    }

    /// The platform that the connection runs on.
    pub fn platform(&self) -> &'p dyn Platform {
        self.platform
    }

    /// A link name that this connection has not used before.
    pub fn name(&mut self, what: &str) -> String {
        self.names = self.names.wrapping_add(1);
        format!("{what}-{:016x}-{}", self.random, self.names)
    }

    /// Attaches a link and waits until the peer has attached it, too. The sender of a receiver link gets credit for
    /// `prefetch` messages.
    ///
    /// # Errors
    /// `Detached` or `Ended` with the peer's reason where the peer does not attach the link; the errors of the
    /// connection.
    pub fn attach(&mut self, options: &LinkOptions, prefetch: u32, deadline: &Deadline) -> Result<LinkId> {
        let link = self.start_attach(options, prefetch)?;
        self.attached(link, deadline)?;
        Ok(link)
    }

    /// Asks for a link. [`Client::attached`] waits for it.
    ///
    /// # Errors
    /// `Limit` where there are too many links.
    pub fn start_attach(&mut self, options: &LinkOptions, prefetch: u32) -> Result<LinkId> {
        let link = self.connection.attach(options)?;
        self.connection.set_prefetch(link, prefetch);
        Ok(link)
    }

    /// Asks for a link in the session of another one. [`Client::attached`] waits for it.
    ///
    /// # Errors
    /// As [`Client::start_attach`].
    pub fn start_attach_beside(&mut self, other: LinkId, options: &LinkOptions, prefetch: u32) -> Result<LinkId> {
        let link = self.connection.attach_beside(other, options)?;
        self.connection.set_prefetch(link, prefetch);
        Ok(link)
    }

    /// Waits until a link that was asked for is attached.
    ///
    /// # Errors
    /// As [`Client::attach`].
    pub fn attached(&mut self, link: LinkId, deadline: &Deadline) -> Result<()> {
        self.all_attached(&[link], deadline)
    }

    /// Waits until several links are attached that are useful only together: if the peer refuses one link, the wait
    /// ends.
    ///
    /// # Errors
    /// As [`Client::attach`].
    pub fn all_attached(&mut self, links: &[LinkId], deadline: &Deadline) -> Result<()> {
        loop {
            if let Some(error) = links.iter().find_map(|link| self.detached.remove(link)) {
                return Err(error);
            }
            if links.iter().all(|link| self.attached.contains(link)) {
                return Ok(());
            }
            self.step(Stage::Attach, deadline)?;
        }
    }

    /// Gives a link up, together with its messages that nobody has received. The detach is sent with the next bytes;
    /// this method does not wait.
    pub fn detach(&mut self, link: LinkId) {
        for delivery in self.inbox.remove(&link).unwrap_or_default() {
            self.connection.consumed(&delivery);
        }
        self.attached.remove(&link);
        self.connection.detach(link);
        if self.detached.remove(&link).is_none() {
            self.left.insert(link);
        }
    }

    /// Queues a message, which is sent as soon as the link has credit.
    ///
    /// # Errors
    /// As [`Connection::send`].
    pub fn send(&mut self, link: LinkId, message: Vec<u8>) -> Result<()> {
        self.connection.send(link, message)
    }

    /// Returns the link's next message if it is here already. Needs no clock and no host, unlike [`Client::receive`].
    pub fn arrived(&mut self, link: LinkId) -> Option<Delivery> {
        let delivery = self.inbox.get_mut(&link).and_then(VecDeque::pop_front)?;
        self.connection.consumed(&delivery);
        Some(delivery)
    }

    /// Returns the link's next message, or none if no message arrives within `wait`. Pending bytes are sent by
    /// `deadline` even if `wait` is shorter; otherwise the credit for the next messages would never reach the peer.
    ///
    /// # Errors
    /// `Detached` or `Ended` where the link is gone and all its messages were returned; the errors of the connection.
    pub fn receive(&mut self, link: LinkId, wait: Duration, deadline: &Deadline) -> Result<Option<Delivery>> {
        let until = self.until(wait, deadline);
        loop {
            if let Some(delivery) = self.arrived(link) {
                return Ok(Some(delivery));
            }
            if let Some(error) = self.detached.get(&link) {
                return Err(error.clone());
            }
            match self.step_until(Stage::Message, until, deadline) {
                Err(Error::Timeout(Stage::Message)) => return Ok(None),
                other => other?,
            }
        }
    }

    /// Waits until one of these links has a message or is gone. Returns false if neither happens within `wait`. Pending
    /// bytes are sent by `deadline`.
    ///
    /// # Errors
    /// The errors of the connection.
    pub fn wait(&mut self, links: &[LinkId], wait: Duration, deadline: &Deadline) -> Result<bool> {
        let until = self.until(wait, deadline);
        loop {
            let has_news =
                |link| self.inbox.get(link).is_some_and(|inbox| !inbox.is_empty()) || self.detached.contains_key(link);
            if links.iter().any(has_news) {
                return Ok(true);
            }
            match self.step_until(Stage::Message, until, deadline) {
                Err(Error::Timeout(Stage::Message)) => return Ok(false),
                other => other?,
            }
        }
    }

    /// Sends a message and waits until the peer has taken it. The link must have no other message under way.
    ///
    /// # Errors
    /// `Refused` where the peer did not take the message; `Answer` where the peer states no outcome; the errors of the
    /// connection. Each error states whether the message may have been sent.
    pub fn deliver(&mut self, link: LinkId, message: Vec<u8>, deadline: &Deadline) -> Result<(), Undelivered> {
        self.outcomes.remove(&link);
        self.send(link, message).map_err(|error| Undelivered { error, sent: false })?;
        loop {
            // The peer ignores a message that it received only in part.
            let sent = !self.connection.is_waiting(link);
            match self.outcomes.remove(&link) {
                Some(Outcome::Accepted) => return Ok(()),
                Some(Outcome::Rejected(error)) => {
                    return Err(Undelivered { error: Error::Refused(error), sent: false });
                }
                Some(Outcome::Released | Outcome::Modified) => {
                    return Err(Undelivered { error: Error::Refused(None), sent: false });
                }
                Some(Outcome::Other) => {
                    return Err(Undelivered { error: Error::Answer("outcome of a message"), sent });
                }
                None => {}
            }
            if let Some(error) = self.detached.get(&link) {
                return Err(Undelivered { error: error.clone(), sent });
            }
            let stage = if sent { Stage::Outcome } else { Stage::Credit };
            if let Err(error) = self.step(stage, deadline) {
                return Err(Undelivered { error, sent: sent || !self.connection.is_waiting(link) });
            }
        }
    }

    /// Accepts a message of a link that peeks. The disposition is sent with the next bytes.
    pub fn accept(&mut self, delivery: &Delivery) {
        self.connection.conclude(delivery, Outcome::Accepted);
    }

    /// Gives a message of a link that peeks back, so that the peer delivers it again. The disposition is sent with the
    /// next bytes.
    pub fn release(&mut self, delivery: &Delivery) {
        self.connection.conclude(delivery, Outcome::Released);
    }

    /// Sets how much credit the sender of a receiver link is kept at, in messages.
    pub fn set_prefetch(&mut self, link: LinkId, messages: u32) {
        self.connection.set_prefetch(link, messages);
    }

    /// Takes a receiver's credit back and waits until the peer confirms it. After that no message arrives; messages
    /// that arrived before can still be received.
    ///
    /// # Errors
    /// `Detached` where the link is gone; the errors of the connection.
    pub fn drain(&mut self, link: LinkId, deadline: &Deadline) -> Result<()> {
        self.connection.drain(link);
        while self.connection.credit(link) > 0 {
            if let Some(error) = self.detached.get(&link) {
                return Err(error.clone());
            }
            self.step(Stage::Drain, deadline)?;
        }
        self.flush(deadline)
    }

    /// Returns the next message of `receiver`, which answers a request on `sender`.
    ///
    /// # Errors
    /// `Refused` where the peer refuses the request; `Timeout` with what was missing; as [`Client::receive`].
    pub fn answer(&mut self, sender: LinkId, receiver: LinkId, deadline: &Deadline) -> Result<Delivery> {
        loop {
            if let Some(delivery) = self.arrived(receiver) {
                return Ok(delivery);
            }
            match self.outcomes.remove(&sender) {
                Some(Outcome::Rejected(error)) => return Err(Error::Refused(error)),
                Some(Outcome::Released | Outcome::Modified) => return Err(Error::Refused(None)),
                Some(Outcome::Accepted | Outcome::Other) | None => {}
            }
            if let Some(error) = self.detached.get(&sender).or_else(|| self.detached.get(&receiver)) {
                return Err(error.clone());
            }
            let stage = if self.connection.is_waiting(sender) { Stage::Credit } else { Stage::Answer };
            self.step(stage, deadline)?;
        }
    }

    /// Closes the connection, in at most a quarter of a second. Bytes that are not sent by then are dropped.
    pub fn close(mut self, deadline: &Deadline) {
        self.connection.close();
        let deadline = deadline.or_at(self.platform.monotonic().saturating_add(TIME_TO_CLOSE));
        while !self.connection.is_closed() {
            if self.step(Stage::Close, &deadline).is_err() {
                break;
            }
        }
    }

    /// When a wait that begins now must end.
    fn until(&self, wait: Duration, deadline: &Deadline) -> Duration {
        deadline.moment().min(self.platform.monotonic().saturating_add(wait))
    }

    /// Sends pending bytes, then waits until bytes arrive from the peer or a heartbeat is due.
    fn step(&mut self, stage: Stage, deadline: &Deadline) -> Result<()> {
        self.step_until(stage, deadline.moment(), deadline)
    }

    /// As [`Client::step`], but waits for the peer only until `until`, a moment before the deadline. Sending may take
    /// until the deadline.
    fn step_until(&mut self, stage: Stage, until: Duration, deadline: &Deadline) -> Result<()> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        let now = self.platform.monotonic();
        self.connection.unattended(now.saturating_sub(self.driven));
        let result = self.exchange(stage, until, deadline);
        self.driven = self.platform.monotonic();
        // A timeout ends this wait, but the connection stays usable.
        if let Err(error) = &result
            && !matches!(error, Error::Timeout(_))
        {
            self.close_with_reason(deadline);
            self.error = Some(error.clone());
        }
        // Events from before an error are reported first; the next step returns the error.
        if self.dispatch() && self.error.is_some() { Ok(()) } else { result }
    }

    fn exchange(&mut self, stage: Stage, until: Duration, deadline: &Deadline) -> Result<()> {
        let now = self.platform.monotonic();
        self.connection.tick(now)?;
        self.flush(deadline)?;
        let until = deadline.or_at(until);
        let wake = until.or_at(self.connection.next_tick());
        match self.transport.read(&mut self.piece, &wake) {
            Ok(0) => self.connection.end_of_stream(),
            Ok(count) => {
                let now = self.platform.monotonic();
                self.connection.receive(self.piece.get(..count).unwrap_or_default(), now)
            }
            Err(error) if error.kind == TransportErrorKind::Timeout => {
                if until.remaining().is_none() {
                    Err(Error::Timeout(stage))
                } else {
                    Ok(())
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    fn flush(&mut self, deadline: &Deadline) -> Result<()> {
        loop {
            let bytes = self.connection.outgoing();
            if bytes.is_empty() {
                return Ok(());
            }
            match self.transport.write(bytes, deadline) {
                Ok(count) => self.connection.sent(count, self.platform.monotonic()),
                Err(error) if error.kind == TransportErrorKind::Timeout => return Err(Error::Timeout(Stage::Write)),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Tells the peer why the connection closes, but waits for that only a short time.
    fn close_with_reason(&mut self, deadline: &Deadline) {
        let deadline = deadline.or_at(self.platform.monotonic().saturating_add(TIME_TO_CLOSE));
        let _ = self.flush(&deadline);
    }

    /// Sorts the connection's events by link. Returns whether there were any.
    fn dispatch(&mut self) -> bool {
        let mut any = false;
        while let Some(event) = self.connection.event() {
            any = true;
            match event {
                Event::Ready => self.ready = true,
                Event::Attached(link) => drop(self.attached.insert(link)),
                Event::Detached(link, error) => {
                    self.attached.remove(&link);
                    if !self.left.remove(&link) {
                        self.detached.insert(link, error);
                    }
                }
                Event::Delivery(delivery) => self.inbox.entry(delivery.link).or_default().push_back(delivery),
                Event::Outcome(link, outcome) => {
                    // With several requests under way, a later `Accepted` must not replace the refusal of an earlier
                    // request.
                    let known = self.outcomes.entry(link).or_insert(Outcome::Accepted);
                    if *known == Outcome::Accepted {
                        *known = outcome;
                    }
                }
                Event::Closed => {}
            }
        }
        any
    }
}
