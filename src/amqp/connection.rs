//! The protocol without its bytes' transport: bytes go in, bytes and events come out, and time is a parameter.
//!
//! One connection with one session. Nothing here waits, reads a clock or trusts the peer: sizes, counts and credit are
//! checked before anything is kept, and the first violation ends the connection with a typed error.

use std::collections::VecDeque;
use std::time::Duration;

use super::codec::Value;
use super::error::{Error, Misbehaviour, RemoteError, Result, Stage};
use super::frame::{self, AMQP_HEADER, SASL_HEADER, SMALLEST_MAX_FRAME, TYPE_AMQP, TYPE_SASL};
use super::link::{Delivery, Link, LinkId, LinkOptions, State};
use super::performative::{Attach, Begin, Detach, Disposition, Flow, Open, Outcome, Performative, Role, Transfer};
use super::sasl::{Mechanism, Negotiation};

/// What a connection is opened with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Our name; new for each connection.
    pub container_id: String,
    /// The host that is meant, as the token names it.
    pub hostname: String,
    /// How to authenticate.
    pub mechanism: Mechanism,
    /// The largest frame that is taken, in bytes; at least 512.
    pub max_frame_size: u32,
    /// The peer must send something at least this often. Twice the time passes before it is given up, as the standard
    /// advises.
    pub idle_time_out: Duration,
    /// Bytes of messages that were received and not consumed.
    pub max_held_bytes: usize,
}

impl Options {
    /// The usual ones: frames of 64 KiB as most of Microsoft's clients, 30 s until silence is noticed.
    pub fn new(container_id: impl Into<String>, hostname: impl Into<String>, mechanism: Mechanism) -> Self {
        Self {
            container_id: container_id.into(),
            hostname: hostname.into(),
            mechanism,
            max_frame_size: 65_536,
            idle_time_out: Duration::from_secs(30),
            max_held_bytes: 32 * 1024 * 1024,
        }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The connection is open and the session has begun.
    Ready,
    /// A link can be used.
    Attached(LinkId),
    /// A link is gone; why, where the peer said so.
    Detached(LinkId, Option<RemoteError>),
    /// A message.
    Delivery(Delivery),
    /// The peer stated what became of a message of ours.
    Outcome(LinkId, Outcome),
    /// The peer has closed the connection after we have.
    Closed,
}

/// Transfers that the session takes. Credit is what bounds messages; this bounds the parts of large ones.
const WINDOW: u32 = 2_048;
/// Links of a connection at a time: a reader of each of a hub's 32 partitions, the two ends of `$cbs` and of `$management`,
/// and readers that are on their way out.
const MOST_LINKS: usize = 72;
/// A peer that wants a frame more often than this would have us do nothing else.
const SHORTEST_IDLE: Duration = Duration::from_millis(100);
/// Deliveries of ours whose outcome is awaited.
const MOST_UNSETTLED: usize = 64;
/// The room that a transfer's own fields take up in a frame, rounded up.
const TRANSFER_OVERHEAD: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    SaslHeader,
    SaslMechanisms,
    SaslOutcome,
    Header,
    Open,
    Begin,
    Running,
    /// We have closed.
    Closing,
    Closed,
}

/// The state of one connection.
#[derive(Debug)]
pub struct Connection {
    options: Options,
    phase: Phase,
    negotiation: Negotiation,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    events: VecDeque<Event>,
    error: Option<Error>,
    links: Vec<Option<Link>>,
    next_link: u32,
    /// The peer's largest frame.
    max_frame_size: u32,
    /// The peer's channel for the session.
    channel: Option<u16>,
    /// Links that both sides have room for.
    most_links: usize,
    /// Half the peer's idle time-out.
    heartbeat: Option<Duration>,
    last_received: Duration,
    last_sent: Duration,
    session: Session,
}

#[derive(Debug, Default)]
struct Session {
    next_outgoing_id: u32,
    next_incoming_id: u32,
    /// Transfers that the peer may still send.
    incoming_window: u32,
    /// Transfers that we may still send.
    remote_incoming_window: u32,
    next_delivery_id: u32,
    held_transfers: u32,
    held_bytes: usize,
    /// Deliveries of the peer's to be settled: a range.
    to_settle: Option<(u32, u32)>,
    unsettled: VecDeque<(u32, LinkId)>,
}

impl Connection {
    /// Begins. `now` is on any clock that does not step back, the same for all calls.
    pub fn new(mut options: Options, now: Duration) -> Self {
        options.max_frame_size = options.max_frame_size.max(SMALLEST_MAX_FRAME);
        let negotiation = Negotiation::new(options.mechanism.clone());
        Self {
            options,
            phase: Phase::SaslHeader,
            negotiation,
            incoming: Vec::new(),
            outgoing: SASL_HEADER.to_vec(),
            events: VecDeque::new(),
            error: None,
            links: Vec::new(),
            next_link: 0,
            max_frame_size: SMALLEST_MAX_FRAME,
            channel: None,
            most_links: MOST_LINKS,
            heartbeat: None,
            last_received: now,
            last_sent: now,
            session: Session { incoming_window: WINDOW, ..Session::default() },
        }
    }

    /// What is waited for now, before the connection is ready.
    pub fn stage(&self) -> Stage {
        match self.phase {
            Phase::SaslHeader | Phase::Header => Stage::Header,
            Phase::SaslMechanisms | Phase::SaslOutcome => Stage::Sasl,
            Phase::Open => Stage::Open,
            Phase::Begin => Stage::Begin,
            Phase::Running => Stage::Message,
            Phase::Closing | Phase::Closed => Stage::Close,
        }
    }

    /// Takes in bytes of the peer's.
    ///
    /// # Errors
    /// The first violation of the protocol, or the peer's own closing error; from then on always the same.
    pub fn receive(&mut self, bytes: &[u8], now: Duration) -> Result<()> {
        self.check()?;
        self.last_received = now;
        self.incoming.extend_from_slice(bytes);
        // The buffer is taken out, so that frames can be read from it while the state changes.
        let buffer = std::mem::take(&mut self.incoming);
        let mut at = 0;
        let result = loop {
            let rest = buffer.get(at..).unwrap_or_default();
            if rest.is_empty() || self.phase == Phase::Closed {
                break Ok(());
            }
            match self.one(rest) {
                Ok(0) => break Ok(()),
                Ok(used) => at += used,
                Err(error) => break Err(error),
            }
        };
        self.incoming = buffer;
        self.incoming.drain(..at);
        result.map_err(|error| self.fail(error))
    }

    /// Notes that the byte stream has ended.
    ///
    /// # Errors
    /// `Disconnected`, unless the connection was closed.
    pub fn end_of_stream(&mut self) -> Result<()> {
        self.check()?;
        if matches!(self.phase, Phase::Closed | Phase::Closing) {
            self.phase = Phase::Closed;
            return Ok(());
        }
        let stage = self.stage();
        Err(self.fail(Error::Disconnected(stage)))
    }

    /// Does what is due at this time: an empty frame, or giving up a silent peer.
    ///
    /// # Errors
    /// `Silent`.
    pub fn tick(&mut self, now: Duration) -> Result<()> {
        self.check()?;
        let silence = self.options.idle_time_out.saturating_mul(2);
        if now.saturating_sub(self.last_received) >= silence {
            return Err(self.fail(Error::Silent(silence)));
        }
        if self.heartbeat.is_some_and(|beat| now.saturating_sub(self.last_sent) >= beat) && self.outgoing.is_empty() {
            frame::write_frame(TYPE_AMQP, 0, &mut self.outgoing, |_| ());
        }
        Ok(())
    }

    /// Notes that nobody read from the peer for so long: its silence in that time is none.
    pub fn unattended(&mut self, time: Duration) {
        self.last_received = self.last_received.saturating_add(time);
    }

    /// When [`Connection::tick`] has something to do, at the latest.
    pub fn next_tick(&self) -> Duration {
        let silent = self.last_received.saturating_add(self.options.idle_time_out.saturating_mul(2));
        self.heartbeat.map_or(silent, |beat| silent.min(self.last_sent.saturating_add(beat)))
    }

    /// The bytes to send.
    pub fn outgoing(&mut self) -> &[u8] {
        self.settle();
        &self.outgoing
    }

    /// Notes that this many of them were sent.
    pub fn sent(&mut self, bytes: usize, now: Duration) {
        self.outgoing.drain(..bytes.min(self.outgoing.len()));
        self.last_sent = now;
    }

    /// The next event.
    pub fn event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Attaches a link. Nothing is sent before the connection is ready.
    ///
    /// # Errors
    /// `Limit` where there are too many, or the connection is not ready.
    pub fn attach(&mut self, options: &LinkOptions) -> Result<LinkId> {
        self.check()?;
        if self.phase != Phase::Running {
            return Err(Error::Limit("the connection is not open"));
        }
        let free = self.links.iter().position(Option::is_none).unwrap_or(self.links.len());
        if free >= self.most_links {
            return Err(Error::Limit("links of a connection"));
        }
        let handle = u32::try_from(free).map_err(|_| Error::Limit("links of a connection"))?;
        let id = LinkId(self.next_link);
        self.next_link = self.next_link.wrapping_add(1);
        let mut body = Vec::new();
        Performative::Attach(Box::new(options.attach(handle))).encode(&mut body);
        let size = body.len() + frame::HEADER_SIZE;
        if u32::try_from(size).map_or(true, |size| size > self.max_frame_size) {
            return Err(Error::Limit("the peer's largest frame has no room for the link's attach"));
        }
        frame::write_frame(TYPE_AMQP, 0, &mut self.outgoing, |out| out.extend(body));
        let link = Some(Link::new(id, handle, options));
        match self.links.get_mut(free) {
            Some(place) => *place = link,
            None => self.links.push(link),
        }
        Ok(id)
    }

    /// Keeps this much credit at a receiver's sender: messages on their way and messages not consumed, together.
    pub fn set_prefetch(&mut self, link: LinkId, messages: u32) {
        if let Some(link) = self.link_mut(link) {
            link.set_prefetch(messages);
        }
        self.top_up(link);
    }

    /// Notes that a message was used, so that the peer may send others.
    pub fn consumed(&mut self, delivery: &Delivery) {
        self.session.held_transfers = self.session.held_transfers.saturating_sub(delivery.transfers);
        self.session.held_bytes = self.session.held_bytes.saturating_sub(delivery.payload.len());
        if let Some(link) = self.link_mut(delivery.link) {
            link.consumed();
        }
        if !delivery.settled {
            self.settle_later(delivery.id);
        }
        self.top_up(delivery.link);
    }

    /// Sends a message, as soon as there is credit and room for it.
    ///
    /// # Errors
    /// `Limit` where the link cannot send or too many wait; `MessageTooLarge` by the peer's limit.
    pub fn send(&mut self, link: LinkId, message: Vec<u8>) -> Result<()> {
        self.check()?;
        self.link_mut(link).ok_or(Error::Limit("this link is gone"))?.queue(message)?;
        self.pump();
        Ok(())
    }

    /// Whether messages of this link wait to be sent: for credit, or for room in the session's window.
    pub fn is_waiting(&self, link: LinkId) -> bool {
        self.links.iter().flatten().any(|known| known.id == link && !known.sending.queue.is_empty())
    }

    /// Detaches a link for good; [`Event::Detached`] follows.
    pub fn detach(&mut self, link: LinkId) {
        let Some(link) = self.link_mut(link).filter(|link| link.state != State::Detaching) else { return };
        link.state = State::Detaching;
        link.sending.queue.clear();
        let handle = link.handle;
        self.write(&Performative::Detach(Detach { handle, closed: true, error: None }));
    }

    /// Closes the connection; [`Event::Closed`] follows.
    pub fn close(&mut self) {
        if matches!(self.phase, Phase::Closing | Phase::Closed) || self.error.is_some() {
            return;
        }
        if matches!(self.phase, Phase::Open | Phase::Begin | Phase::Running) {
            self.write(&Performative::Close(None));
            self.phase = Phase::Closing;
        } else {
            self.phase = Phase::Closed;
        }
    }

    /// Whether the connection is over.
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed || self.error.is_some()
    }

    fn check(&self) -> Result<()> {
        self.error.clone().map_or(Ok(()), Err)
    }

    /// Keeps the error, and tells the peer of its violation where it can still hear of it.
    fn fail(&mut self, error: Error) -> Error {
        if let Error::Peer(misbehaviour) = &error
            && matches!(self.phase, Phase::Open | Phase::Begin | Phase::Running)
        {
            self.write(&Performative::Close(Some(RemoteError {
                condition: misbehaviour.condition().to_owned(),
                ..RemoteError::default()
            })));
        }
        self.error = Some(error.clone());
        self.incoming = Vec::new();
        error
    }

    /// Reads one header or frame. Returns how many bytes it took; 0 where not all of it is there.
    fn one(&mut self, bytes: &[u8]) -> Result<usize> {
        match self.phase {
            Phase::SaslHeader => self.header(bytes, SASL_HEADER, Phase::SaslMechanisms),
            Phase::Header => self.header(bytes, AMQP_HEADER, Phase::Open),
            _ => {
                let Some(header) = frame::read_header(bytes, self.options.max_frame_size)? else { return Ok(0) };
                let body = bytes.get(header.body_at..header.size).unwrap_or_default();
                let sasl = matches!(self.phase, Phase::SaslMechanisms | Phase::SaslOutcome);
                if (header.kind == TYPE_SASL) != sasl {
                    return Err(Misbehaviour::Unexpected("a frame of the other layer").into());
                }
                if !body.is_empty() {
                    let (performative, payload) = Performative::decode(body)?;
                    if sasl { self.sasl(&performative)? } else { self.amqp(header.channel, performative, payload)? }
                }
                Ok(header.size)
            }
        }
    }

    fn header(&mut self, bytes: &[u8], expected: [u8; 8], next: Phase) -> Result<usize> {
        let seen = bytes.get(..expected.len().min(bytes.len())).unwrap_or_default();
        if !expected.starts_with(seen) {
            return Err(Misbehaviour::ProtocolHeader(seen.to_vec()).into());
        }
        if seen.len() < expected.len() {
            return Ok(0);
        }
        self.phase = next;
        Ok(expected.len())
    }

    fn sasl(&mut self, performative: &Performative) -> Result<()> {
        match (self.phase, performative) {
            (Phase::SaslMechanisms, Performative::SaslMechanisms(offered)) => {
                let init = self.negotiation.choose(offered, &self.options.hostname)?;
                self.write_sasl(&Performative::SaslInit(init));
                self.phase = Phase::SaslOutcome;
            }
            (Phase::SaslOutcome, Performative::SaslChallenge(_)) => {
                let response = self.negotiation.challenge()?;
                self.write_sasl(&Performative::SaslResponse(response));
            }
            (Phase::SaslOutcome, Performative::SaslOutcome(0)) => self.open(),
            (Phase::SaslOutcome, Performative::SaslOutcome(code)) => return Err(Error::Sasl(*code)),
            _ => return Err(Misbehaviour::Unexpected("a SASL frame out of order").into()),
        }
        Ok(())
    }

    /// Sends header, open and begin together: two round trips less. Microsoft's clients do so, too. They fit the 512 bytes
    /// that any peer takes before it has said more.
    fn open(&mut self) {
        self.outgoing.extend(AMQP_HEADER);
        let product = |name, value| (Value::symbol(name), Value::string(value));
        self.write(&Performative::Open(Open {
            container_id: self.options.container_id.clone(),
            hostname: Some(self.options.hostname.clone()),
            max_frame_size: Some(self.options.max_frame_size),
            channel_max: Some(0),
            idle_time_out: Some(millis(self.options.idle_time_out)),
            desired_capabilities: Vec::new(),
            properties: vec![product("product", env!("CARGO_PKG_NAME")), product("version", env!("CARGO_PKG_VERSION"))],
        }));
        self.write(&Performative::Begin(Begin {
            remote_channel: None,
            next_outgoing_id: 0,
            incoming_window: WINDOW,
            outgoing_window: WINDOW,
            handle_max: u32::try_from(MOST_LINKS - 1).ok(),
        }));
        self.phase = Phase::Header;
    }

    fn amqp(&mut self, channel: u16, performative: Performative, payload: &[u8]) -> Result<()> {
        match (self.phase, performative) {
            (_, Performative::Close(error)) => {
                let ours = self.phase == Phase::Closing;
                if !ours {
                    self.write(&Performative::Close(None));
                }
                self.phase = Phase::Closed;
                if !ours || error.is_some() {
                    return Err(Error::Closed(error));
                }
                self.events.push_back(Event::Closed);
            }
            // After our close, what was on its way is of no interest.
            (Phase::Closing, _) => {}
            (Phase::Open, Performative::Open(open)) => self.opened(&open)?,
            (Phase::Begin, Performative::Begin(begin)) => self.began(channel, &begin)?,
            (Phase::Running, performative) => {
                if self.channel != Some(channel) {
                    return Err(Misbehaviour::Channel(channel).into());
                }
                self.in_session(performative, payload)?;
            }
            _ => return Err(Misbehaviour::Unexpected("a frame before the session has begun").into()),
        }
        Ok(())
    }

    fn opened(&mut self, open: &Open) -> Result<()> {
        self.max_frame_size = open.max_frame_size.unwrap_or(u32::MAX);
        if self.max_frame_size < SMALLEST_MAX_FRAME {
            return Err(Misbehaviour::Terms("largest frame").into());
        }
        // None and 0 are no time-out.
        if let Some(idle) = open.idle_time_out.filter(|idle| *idle != 0) {
            let idle = Duration::from_millis(idle.into());
            if idle < SHORTEST_IDLE {
                return Err(Misbehaviour::Terms("idle time-out").into());
            }
            self.heartbeat = Some(idle / 2);
        }
        self.phase = Phase::Begin;
        Ok(())
    }

    fn began(&mut self, channel: u16, begin: &Begin) -> Result<()> {
        if begin.remote_channel != Some(0) {
            return Err(Misbehaviour::Unexpected("a session that was not asked for").into());
        }
        self.channel = Some(channel);
        let theirs = begin.handle_max.and_then(|most| usize::try_from(most).ok()?.checked_add(1));
        self.most_links = theirs.map_or(MOST_LINKS, |theirs| theirs.min(MOST_LINKS));
        self.session.next_incoming_id = begin.next_outgoing_id;
        self.session.remote_incoming_window = begin.incoming_window;
        self.phase = Phase::Running;
        self.events.push_back(Event::Ready);
        Ok(())
    }

    fn in_session(&mut self, performative: Performative, payload: &[u8]) -> Result<()> {
        match performative {
            Performative::Attach(attach) => self.attached(&attach)?,
            Performative::Flow(flow) => self.flow(&flow)?,
            Performative::Transfer(transfer) => self.transfer(&transfer, payload)?,
            Performative::Disposition(disposition) => self.disposition(&disposition),
            Performative::Detach(detach) => self.detached(detach)?,
            Performative::End(error) => {
                self.write(&Performative::End(None));
                self.write(&Performative::Close(None));
                self.phase = Phase::Closing;
                return Err(Error::Ended(error));
            }
            Performative::Open(_) => return Err(Misbehaviour::Unexpected("a second open").into()),
            Performative::Begin(_) => return Err(Misbehaviour::Unexpected("a second begin").into()),
            _ => return Err(Misbehaviour::Unexpected("a SASL frame").into()),
        }
        Ok(())
    }

    fn attached(&mut self, attach: &Attach) -> Result<()> {
        if self.links.iter().flatten().any(|link| link.remote_handle == Some(attach.handle)) {
            return Err(Misbehaviour::Unexpected("a handle that is in use").into());
        }
        let ours = if attach.role == Role::Sender { Role::Receiver } else { Role::Sender };
        let mut links = self.links.iter_mut().flatten();
        let link = links.find(|link| link.name == attach.name && link.role == ours && link.remote_handle.is_none());
        let link = link.ok_or(Misbehaviour::UnknownLink)?;
        let id = link.id;
        if link.attached(attach)? {
            self.events.push_back(Event::Attached(id));
            self.top_up(id);
            self.pump();
        }
        Ok(())
    }

    fn detached(&mut self, detach: Detach) -> Result<()> {
        let place = self
            .links
            .iter_mut()
            .find(|link| link.as_ref().is_some_and(|link| link.remote_handle == Some(detach.handle)));
        let link = place.and_then(Option::take).ok_or(Misbehaviour::Handle(detach.handle))?;
        if link.state != State::Detaching {
            self.write(&Performative::Detach(Detach { handle: link.handle, closed: true, error: None }));
        }
        self.session.unsettled.retain(|(_, id)| *id != link.id);
        self.events.push_back(Event::Detached(link.id, detach.error));
        Ok(())
    }

    fn flow(&mut self, flow: &Flow) -> Result<()> {
        // What we may send: the peer's window, less what is on its way (2.5.6 of the standard).
        let seen = flow.next_incoming_id.unwrap_or(0);
        let on_its_way = self.session.next_outgoing_id.wrapping_sub(seen);
        if on_its_way > u32::MAX / 2 {
            return Err(Misbehaviour::Window.into());
        }
        self.session.remote_incoming_window = flow.incoming_window.saturating_sub(on_its_way);
        let mut answer = flow.handle.is_none() && flow.echo;
        let mut answer_for = None;
        if let Some(handle) = flow.handle {
            let link = self.by_remote_handle(handle)?;
            answer_for = Some(link.id);
            answer = link.flow(flow)?;
        }
        if answer {
            self.write_flow(answer_for);
        }
        if let Some(id) = answer_for {
            self.top_up(id);
        }
        self.pump();
        Ok(())
    }

    fn transfer(&mut self, transfer: &Transfer, payload: &[u8]) -> Result<()> {
        let session = &mut self.session;
        session.incoming_window = session.incoming_window.checked_sub(1).ok_or(Misbehaviour::Window)?;
        session.next_incoming_id = session.next_incoming_id.wrapping_add(1);
        let link = self.by_remote_handle(transfer.handle)?;
        if link.role != Role::Receiver {
            return Err(Misbehaviour::Unexpected("a message on a link that only sends").into());
        }
        match link.state {
            State::Attached => {}
            // It was on its way when we detached.
            State::Detaching => return Ok(()),
            _ => return Err(Misbehaviour::Handle(transfer.handle).into()),
        }
        let id = link.id;
        if let Some(delivery) = link.transfer(transfer, payload)? {
            self.session.held_transfers = self.session.held_transfers.saturating_add(delivery.transfers);
            self.session.held_bytes = self.session.held_bytes.saturating_add(delivery.payload.len());
            if self.session.held_bytes > self.options.max_held_bytes {
                return Err(Error::Limit("bytes of messages that were received and not used"));
            }
            self.events.push_back(Event::Delivery(delivery));
        }
        self.widen(id);
        Ok(())
    }

    fn disposition(&mut self, disposition: &Disposition) {
        // Those of a sender settle what we have settled already.
        if disposition.role != Role::Receiver {
            return;
        }
        let last = disposition.last.unwrap_or(disposition.first);
        let span = last.wrapping_sub(disposition.first);
        let mut settled_here = Vec::new();
        let events = &mut self.events;
        // Over our own few, not over the range, which can be anything.
        self.session.unsettled.retain(|(delivery, link)| {
            if delivery.wrapping_sub(disposition.first) > span {
                return true;
            }
            if let Some(state) = &disposition.state {
                events.push_back(Event::Outcome(*link, state.clone()));
                if !disposition.settled {
                    settled_here.push(*delivery);
                }
                return false;
            }
            !disposition.settled
        });
        for delivery in settled_here {
            self.write(&Performative::Disposition(Disposition {
                role: Role::Sender,
                first: delivery,
                last: None,
                settled: true,
                state: None,
            }));
        }
    }

    /// Sends what there is credit and room for.
    fn pump(&mut self) {
        let room = usize::try_from(self.max_frame_size).unwrap_or(usize::MAX);
        let room = room.saturating_sub(TRANSFER_OVERHEAD).clamp(1, 1024 * 1024);
        for place in 0..self.links.len() {
            while let Some(link) = self.links.get_mut(place).and_then(Option::as_mut) {
                if link.state != State::Attached || self.session.remote_incoming_window == 0 {
                    break;
                }
                let Some(message) = link.sending.queue.front_mut() else { break };
                let first = message.delivery.is_none();
                if first {
                    // An outcome is awaited for each; a peer that never states one is not sent more.
                    if link.credit == 0 || self.session.unsettled.len() >= MOST_UNSETTLED {
                        break;
                    }
                    link.credit -= 1;
                    link.delivery_count = link.delivery_count.wrapping_add(1);
                    message.delivery = Some(self.session.next_delivery_id);
                    self.session.unsettled.push_back((self.session.next_delivery_id, link.id));
                    self.session.next_delivery_id = self.session.next_delivery_id.wrapping_add(1);
                }
                let rest = message.payload.get(message.sent..).unwrap_or_default();
                let (now, later) = rest.split_at(rest.len().min(room));
                let performative = Performative::Transfer(Transfer {
                    handle: link.handle,
                    delivery_id: message.delivery,
                    delivery_tag: first.then(|| message.tag.clone()),
                    message_format: first.then_some(0),
                    settled: Some(false),
                    more: !later.is_empty(),
                    aborted: false,
                });
                frame::write_frame(TYPE_AMQP, 0, &mut self.outgoing, |out| {
                    performative.encode(out);
                    out.extend_from_slice(now);
                });
                message.sent += now.len();
                if later.is_empty() {
                    link.sending.queue.pop_front();
                }
                self.session.next_outgoing_id = self.session.next_outgoing_id.wrapping_add(1);
                self.session.remote_incoming_window -= 1;
            }
        }
    }

    fn top_up(&mut self, id: LinkId) {
        if self.link_mut(id).is_some_and(Link::top_up) {
            self.write_flow(Some(id));
        } else {
            self.widen(id);
        }
    }

    /// Gives the peer room for transfers again once half of it is used up.
    fn widen(&mut self, id: LinkId) {
        let wanted = WINDOW.saturating_sub(self.session.held_transfers);
        if self.session.incoming_window <= wanted / 2 && self.session.incoming_window < wanted {
            self.write_flow(Some(id));
        }
    }

    /// A flow of the session, and of a link where it is attached.
    fn write_flow(&mut self, link: Option<LinkId>) {
        self.session.incoming_window =
            self.session.incoming_window.max(WINDOW.saturating_sub(self.session.held_transfers));
        let mut flow = Flow {
            next_incoming_id: self.channel.map(|_| self.session.next_incoming_id),
            incoming_window: self.session.incoming_window,
            next_outgoing_id: self.session.next_outgoing_id,
            outgoing_window: WINDOW,
            ..Flow::default()
        };
        if let Some(link) = link.and_then(|id| self.link_mut(id)).filter(|link| link.state == State::Attached) {
            flow.handle = Some(link.handle);
            flow.delivery_count = Some(link.delivery_count);
            flow.link_credit = Some(link.credit);
        }
        self.write(&Performative::Flow(flow));
    }

    /// Adds a delivery to the range to be settled; one that does not continue it settles the range first.
    fn settle_later(&mut self, id: u32) {
        match &mut self.session.to_settle {
            Some((_, last)) if id == last.wrapping_add(1) => *last = id,
            _ => {
                self.settle();
                self.session.to_settle = Some((id, id));
            }
        }
    }

    fn settle(&mut self) {
        if let Some((first, last)) = self.session.to_settle.take() {
            self.write(&Performative::Disposition(Disposition {
                role: Role::Receiver,
                first,
                last: Some(last),
                settled: true,
                state: Some(Outcome::Accepted),
            }));
        }
    }

    fn link_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        self.links.iter_mut().flatten().find(|link| link.id == id)
    }

    fn by_remote_handle(&mut self, handle: u32) -> Result<&mut Link> {
        let mut links = self.links.iter_mut().flatten();
        links.find(|link| link.remote_handle == Some(handle)).ok_or(Misbehaviour::Handle(handle).into())
    }

    fn write(&mut self, performative: &Performative) {
        frame::write_frame(TYPE_AMQP, 0, &mut self.outgoing, |out| performative.encode(out));
    }

    fn write_sasl(&mut self, performative: &Performative) {
        frame::write_frame(TYPE_SASL, 0, &mut self.outgoing, |out| performative.encode(out));
    }
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
