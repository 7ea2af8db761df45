//! The blocking side: a connection's state machine, a transport, and deadlines that end every wait.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use super::connection::{Connection, Event, Options};
use super::error::{Error, Result};
use super::link::{Delivery, LinkId, LinkOptions};
use super::performative::Outcome;
use super::sasl::Mechanism;
use super::stage::Stage;
use super::transport::{Deadline, Transport, TransportErrorKind};
use crate::platform::Platform;

/// What is read at once: a record of TLS has no more.
const READ_PIECE: usize = 16 * 1024;
/// The most that closing may take of a caller's time: the service notices a broken connection by itself.
const TIME_TO_CLOSE: Duration = Duration::from_millis(250);

/// A message that the peer is not known to have taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Undelivered {
    /// Why.
    pub error: Error,
    /// Whether it may have been taken all the same: it went out, and nothing came back.
    pub sent: bool,
}

/// One connection that is driven while its methods run, and only then: between calls nothing is sent or received.
pub struct Client<'p> {
    platform: &'p dyn Platform,
    connection: Connection,
    transport: Box<dyn Transport + 'p>,
    /// What is read is put here first.
    piece: Vec<u8>,
    ready: bool,
    attached: HashSet<LinkId>,
    /// Links that are gone, and why, until somebody asks.
    detached: HashMap<LinkId, Error>,
    /// Links that we have left: nobody will ask.
    left: HashSet<LinkId>,
    /// Messages that came while another link was waited for.
    inbox: HashMap<LinkId, VecDeque<Delivery>>,
    /// What the peer said last about a message of ours, until somebody asks.
    outcomes: HashMap<LinkId, Outcome>,
    /// The state machine's final error; reported once all that came before it was handed out.
    error: Option<Error>,
    names: u32,
    random: u64,
    /// Until when the connection was driven.
    driven: Duration,
}

impl std::fmt::Debug for Client<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("connection", &self.connection).finish_non_exhaustive()
    }
}

impl<'p> Client<'p> {
    /// Logs in to a host with the usual options, under a name that no other connection has.
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
    /// Typed, by the deadline.
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
            attached: HashSet::new(),
            detached: HashMap::new(),
            left: HashSet::new(),
            inbox: HashMap::new(),
            outcomes: HashMap::new(),
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

    /// The platform that it runs on.
    pub fn platform(&self) -> &'p dyn Platform {
        self.platform
    }

    /// A name for a link, not used before.
    pub fn name(&mut self, what: &str) -> String {
        self.names = self.names.wrapping_add(1);
        format!("{what}-{:016x}-{}", self.random, self.names)
    }

    /// Attaches a link and waits until the peer has done the same. A receiver gets `prefetch` messages ahead.
    ///
    /// # Errors
    /// `Detached` or `Ended` with the peer's reason where it does not; those of the connection.
    pub fn attach(&mut self, options: &LinkOptions, prefetch: u32, deadline: &Deadline) -> Result<LinkId> {
        let link = self.start_attach(options, prefetch)?;
        self.attached(link, deadline)?;
        Ok(link)
    }

    /// Asks for a link. [`Client::attached`] waits for it.
    ///
    /// # Errors
    /// `Limit` where there are too many.
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

    /// Waits for a link that was asked for.
    ///
    /// # Errors
    /// As [`Client::attach`].
    pub fn attached(&mut self, link: LinkId, deadline: &Deadline) -> Result<()> {
        self.all_attached(&[link], deadline)
    }

    /// Waits for links that are of use together only: where one is refused, the others are not waited for.
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

    /// Gives a link up, with all that it brought and that nobody took. It is detached with the next bytes that are sent;
    /// nothing is waited for.
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

    /// Sends a message as soon as there is credit.
    ///
    /// # Errors
    /// As [`Connection::send`].
    pub fn send(&mut self, link: LinkId, message: Vec<u8>) -> Result<()> {
        self.connection.send(link, message)
    }

    /// The next message of a link; none where none comes within `wait`. What there is to send is sent by `deadline`, however
    /// short the wait is: without it the credit for the next messages would never reach the peer.
    ///
    /// # Errors
    /// `Detached` or `Ended` where the link is gone and all that it brought was handed out; those of the connection.
    pub fn receive(&mut self, link: LinkId, wait: Duration, deadline: &Deadline) -> Result<Option<Delivery>> {
        let until = self.until(wait, deadline);
        loop {
            if let Some(delivery) = self.inbox.get_mut(&link).and_then(VecDeque::pop_front) {
                self.connection.consumed(&delivery);
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

    /// Waits until there is something to be had of one of these links: a message, or why it is gone. False where nothing
    /// comes within `wait`. What there is to send is sent by `deadline`.
    ///
    /// # Errors
    /// Those of the connection.
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

    /// Sends a message, the only one under way on its link, and waits until the peer has taken it.
    ///
    /// # Errors
    /// `Refused` where it has not; `Answer` where it does not say; those of the connection. Each with whether the message
    /// may have gone out.
    pub fn deliver(&mut self, link: LinkId, message: Vec<u8>, deadline: &Deadline) -> Result<(), Undelivered> {
        self.outcomes.remove(&link);
        self.send(link, message).map_err(|error| Undelivered { error, sent: false })?;
        loop {
            // A message that is not whole is none to the peer.
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

    /// Takes a message of a link that peeks, with the next bytes that are sent.
    pub fn accept(&mut self, delivery: &Delivery) {
        self.connection.accept(delivery);
    }

    /// Keeps this much credit at a receiver's sender.
    pub fn set_prefetch(&mut self, link: LinkId, messages: u32) {
        self.connection.set_prefetch(link, messages);
    }

    /// Takes a receiver's credit back and waits until the peer agrees: nothing more comes, but for what has come by then.
    ///
    /// # Errors
    /// `Detached` where the link is gone; those of the connection.
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

    /// The next message of `receiver`, after a request on `sender`.
    ///
    /// # Errors
    /// `Refused` where the request is; `Timeout` naming what was missing; as [`Client::receive`].
    pub fn answer(&mut self, sender: LinkId, receiver: LinkId, deadline: &Deadline) -> Result<Delivery> {
        loop {
            if let Some(delivery) = self.inbox.get_mut(&receiver).and_then(VecDeque::pop_front) {
                self.connection.consumed(&delivery);
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

    /// Closes the connection, in a quarter of a second at the most. What is not said by then is not said.
    pub fn close(mut self, deadline: &Deadline) {
        self.connection.close();
        let deadline = deadline.or_at(self.platform.monotonic().saturating_add(TIME_TO_CLOSE));
        while !self.connection.is_closed() {
            if self.step(Stage::Close, &deadline).is_err() {
                break;
            }
        }
    }

    /// When a wait that begins now is over.
    fn until(&self, wait: Duration, deadline: &Deadline) -> Duration {
        deadline.moment().min(self.platform.monotonic().saturating_add(wait))
    }

    /// Sends what there is to send, then waits for one piece of the peer's, or for a heartbeat to be due.
    fn step(&mut self, stage: Stage, deadline: &Deadline) -> Result<()> {
        self.step_until(stage, deadline.moment(), deadline)
    }

    /// As [`Client::step`], but the peer is waited for only until a moment before the deadline: what is sent has the whole
    /// time.
    fn step_until(&mut self, stage: Stage, until: Duration, deadline: &Deadline) -> Result<()> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        let now = self.platform.monotonic();
        self.connection.unattended(now.saturating_sub(self.driven));
        let result = self.exchange(stage, until, deadline);
        self.driven = self.platform.monotonic();
        // Timeouts end a wait, not the connection.
        if let Err(error) = &result
            && !matches!(error, Error::Timeout(_))
        {
            self.close_with_reason(deadline);
            self.error = Some(error.clone());
        }
        // What came before an error counts: the caller sees it first, and the error with the next step.
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

    /// Sends the peer the reason for the close, where that does not keep the caller.
    fn close_with_reason(&mut self, deadline: &Deadline) {
        let deadline = deadline.or_at(self.platform.monotonic().saturating_add(TIME_TO_CLOSE));
        let _ = self.flush(&deadline);
    }

    /// Sorts events. Returns whether there were any.
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
                    // Of several requests under way, one that was refused is not forgotten for the next one.
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
