//! A session: its links, credit and windows, messages in both directions and their outcomes.
//!
//! Links of one session share its window, and some servers delay an answer until messages of another link in the same
//! session have credit. So each conversation has its own session, as with Microsoft's clients for .NET and JavaScript:
//! `$cbs`, `$management`, and each partition. Links share a session only if the server accepts fewer sessions.

use std::collections::VecDeque;

use super::{Connection, Event, Phase, Wire};
use crate::amqp::error::{Error, Misbehaviour, RemoteError, Result};
use crate::amqp::frame;
use crate::amqp::link::{Delivery, Link, LinkId, LinkOptions, Purpose, State};
use crate::amqp::performative::{Attach, Begin, Detach, Disposition, Flow, Outcome, Performative, Role, Transfer};

/// The largest number of sessions open at a time: one for the reader of each of a hub's 32 partitions, `$cbs`,
/// `$management`, and as many for readers that are being detached.
pub(super) const MOST_SESSIONS: usize = 66;
/// How many transfers a session accepts. Credit bounds the number of messages; this window bounds the parts of large
/// messages.
const WINDOW: u32 = 2_048;
/// The largest number of links open at a time, in all sessions of a connection: a reader of each of a hub's 32
/// partitions, the two ends of `$cbs` and of `$management`, and readers that are being detached.
const MOST_LINKS: usize = 72;
/// The largest number of sent messages whose outcome is not known yet.
const MOST_UNSETTLED: usize = 64;
/// The space that a transfer's own fields take up in a frame, in bytes, rounded up.
const TRANSFER_OVERHEAD: usize = 64;

/// The state of one session.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// The session's number among all sessions that this connection has had.
    id: u32,
    /// The channel number on this side.
    number: u16,
    /// The channel number on the peer's side, after the peer has begun the session.
    channel: Option<u16>,
    /// The purpose of the session's links; none while the session has had no link.
    purpose: Option<Purpose>,
    /// The links. A link's index is its handle on this side.
    links: Vec<Option<Link>>,
    /// How many links both sides accept.
    most_links: usize,
    next_outgoing_id: u32,
    next_incoming_id: u32,
    /// How many transfers the peer may still send.
    incoming_window: u32,
    /// How many transfers this side may still send.
    remote_incoming_window: u32,
    next_delivery_id: u32,
    held_transfers: u32,
    /// The range of received deliveries that are still to be settled: the first and the last id.
    to_settle: Option<(u32, u32)>,
    unsettled: VecDeque<(u32, LinkId)>,
}

impl Connection {
    /// Attaches a link, in its own session if the peer accepts that many sessions. The connection must be ready.
    ///
    /// # Errors
    /// `Limit` where there are too many links, or the connection is not ready.
    pub fn attach(&mut self, options: &LinkOptions) -> Result<LinkId> {
        self.check_running()?;
        let place = self.session_for(options.purpose);
        self.attach_in(place, options)
    }

    /// Attaches a link in the session of another link, as the other end of the same conversation.
    ///
    /// # Errors
    /// As [`Connection::attach`].
    pub fn attach_beside(&mut self, other: LinkId, options: &LinkOptions) -> Result<LinkId> {
        self.check_running()?;
        let place = self.place_of(other).ok_or(Error::Limit("the session is gone"))?;
        self.attach_in(place, options)
    }

    fn check_running(&self) -> Result<()> {
        self.check()?;
        if self.phase == Phase::Running { Ok(()) } else { Err(Error::Limit("the connection is not open")) }
    }

    fn attach_in(&mut self, place: usize, options: &LinkOptions) -> Result<LinkId> {
        let links = |session: &Session| session.links.iter().flatten().count();
        if self.sessions.iter().flatten().map(links).sum::<usize>() >= MOST_LINKS {
            return Err(Error::Limit("links of a connection"));
        }
        let number = self.next_link;
        let session = self.sessions.get_mut(place).and_then(Option::as_mut);
        let session = session.ok_or(Error::Limit("sessions of a connection"))?;
        let id = session.attach(number, options, &mut self.wire)?;
        self.next_link = self.next_link.wrapping_add(1);
        Ok(id)
    }

    /// The index of the session for the next link: a session without links, or a new one. If the peer accepts no more
    /// sessions, it is the session with the fewest links, preferably one of the same purpose. The last session is
    /// reserved for the other purpose.
    fn session_for(&mut self, purpose: Purpose) -> usize {
        if let Some(place) = self.sessions.iter().position(|session| session.as_ref().is_some_and(Session::is_free)) {
            return place;
        }
        let open = || self.sessions.iter().flatten();
        let is_last = open().count() + 1 >= self.most_sessions;
        let is_reserved = is_last && open().count() > 0 && open().all(|session| session.purpose == Some(purpose));
        if open().count() < self.most_sessions && !is_reserved {
            return self.begin_session();
        }
        let cost = |session: &Session| (session.purpose != Some(purpose), session.links.iter().flatten().count());
        let places = self.sessions.iter().enumerate();
        let shared = places.filter_map(|(place, session)| Some((cost(session.as_ref()?), place))).min();
        shared.map_or(0, |(_, place)| place)
    }

    /// Asks for a new session. Links can be attached at once, because the peer reads the frames in order.
    fn begin_session(&mut self) -> usize {
        let place = self.sessions.iter().position(Option::is_none).unwrap_or(self.sessions.len());
        let number = u16::try_from(place).unwrap_or(u16::MAX);
        let session = Session::new(self.next_session, number);
        self.next_session = self.next_session.wrapping_add(1);
        self.wire.write(number, &session.begin());
        match self.sessions.get_mut(place) {
            Some(free) => *free = Some(session),
            None => self.sessions.push(Some(session)),
        }
        place
    }

    fn place_of(&self, link: LinkId) -> Option<usize> {
        self.sessions.iter().position(|session| session.as_ref().is_some_and(|session| session.id == link.session))
    }

    /// The session of a link, if it has not ended, and the outgoing state that it writes to.
    fn session_of(&mut self, link: LinkId) -> Option<(&mut Session, &mut Wire)> {
        let session = self.sessions.iter_mut().flatten().find(|session| session.id == link.session)?;
        Some((session, &mut self.wire))
    }

    /// Sets how many messages a receiver may have in total: messages that its sender has credit for, and messages that
    /// are received but not consumed.
    pub fn set_prefetch(&mut self, link: LinkId, messages: u32) {
        let Some((session, wire)) = self.session_of(link) else { return };
        if let Some(link) = session.link_mut(link) {
            link.set_prefetch(messages);
        }
        session.top_up(link, wire);
    }

    /// Reports that the caller has used a message, so that the peer may send more.
    pub fn consumed(&mut self, delivery: &Delivery) {
        self.wire.held_bytes = self.wire.held_bytes.saturating_sub(delivery.payload.len());
        if let Some((session, wire)) = self.session_of(delivery.link) {
            session.consumed(delivery, wire);
        }
    }

    /// States the outcome of a message of a link that peeks: after `Accepted` the peer may delete the message, after
    /// `Released` it delivers the message again.
    pub fn conclude(&mut self, delivery: &Delivery, outcome: Outcome) {
        let Some((session, wire)) = self.session_of(delivery.link) else { return };
        if !delivery.settled && session.link_mut(delivery.link).is_some() {
            session.write(
                &Performative::Disposition(Disposition {
                    role: Role::Receiver,
                    first: delivery.id,
                    last: None,
                    settled: false,
                    state: Some(outcome),
                }),
                wire,
            );
        }
    }

    /// Takes a receiver's credit back. The peer uses the credit up or returns it, and then confirms it with a flow.
    pub fn drain(&mut self, link: LinkId) {
        self.set_prefetch(link, 0);
        if self.credit(link) > 0
            && let Some((session, wire)) = self.session_of(link)
        {
            session.write_flow(Some(link), true, wire);
        }
    }

    /// The link's credit: how many more messages the sending end may send.
    pub fn credit(&self, link: LinkId) -> u32 {
        self.link(link).map_or(0, |link| link.credit)
    }

    /// Queues a message. It is sent as soon as the link has credit and the session's window has room.
    ///
    /// # Errors
    /// `Limit` where the link cannot send or too many messages wait; `MessageTooLarge` where the peer accepts no
    /// message of this size.
    pub fn send(&mut self, link: LinkId, message: Vec<u8>) -> Result<()> {
        self.check()?;
        let gone = || Error::Limit("this link is gone");
        let (session, wire) = self.session_of(link).ok_or_else(gone)?;
        session.link_mut(link).ok_or_else(gone)?.queue(message)?;
        session.pump(wire);
        Ok(())
    }

    /// Whether messages of this link wait for credit, or for room in the session's window.
    pub fn is_waiting(&self, link: LinkId) -> bool {
        self.link(link).is_some_and(|link| !link.sending.queue.is_empty())
    }

    fn link(&self, link: LinkId) -> Option<&Link> {
        self.sessions.iter().flatten().find(|session| session.id == link.session)?.link(link)
    }

    /// Detaches a link for good; [`Event::Detached`] follows.
    pub fn detach(&mut self, link: LinkId) {
        if let Some((session, wire)) = self.session_of(link) {
            session.detach(link, wire);
        }
    }

    /// Processes the peer's answer to a begin of this side.
    pub(super) fn began(&mut self, channel: u16, begin: &Begin) -> Result<()> {
        if self.sessions.iter().flatten().any(|session| session.channel == Some(channel)) {
            return Err(Misbehaviour::Unexpected("a second begin").into());
        }
        let place = begin.remote_channel.map(usize::from);
        let session = place.and_then(|place| self.sessions.get_mut(place)?.as_mut());
        let asked = session.filter(|session| session.channel.is_none());
        let session = asked.ok_or(Misbehaviour::Unexpected("a session that was not asked for"))?;
        session.began(channel, begin);
        Ok(())
    }

    /// Processes a frame that belongs to a session.
    pub(super) fn in_session(&mut self, channel: u16, performative: Performative, payload: &[u8]) -> Result<()> {
        match performative {
            Performative::Open(_) => return Err(Misbehaviour::Unexpected("a second open").into()),
            Performative::Begin(begin) => return self.began(channel, &begin),
            _ => {}
        }
        let is_its =
            |session: &Option<Session>| session.as_ref().is_some_and(|session| session.channel == Some(channel));
        let place = self.sessions.iter_mut().find(|session| is_its(session));
        let place = place.ok_or(Misbehaviour::Channel(channel))?;
        if let Performative::End(error) = performative {
            if let Some(session) = place.take() {
                session.ended(error.as_ref(), &mut self.wire);
            }
            return Ok(());
        }
        let session = place.as_mut().ok_or(Misbehaviour::Channel(channel))?;
        session.take_in(performative, payload, &mut self.wire)
    }

    /// Settles all deliveries that are still to be settled.
    pub(super) fn settle(&mut self) {
        for session in self.sessions.iter_mut().flatten() {
            session.settle(&mut self.wire);
        }
    }
}

impl Session {
    /// A session that has not begun yet.
    pub fn new(id: u32, number: u16) -> Self {
        Self { id, number, most_links: MOST_LINKS, incoming_window: WINDOW, ..Self::default() }
    }

    /// The begin frame that asks the peer for this session.
    pub fn begin(&self) -> Performative {
        Performative::Begin(Begin {
            remote_channel: None,
            next_outgoing_id: 0,
            incoming_window: WINDOW,
            outgoing_window: WINDOW,
            handle_max: u32::try_from(MOST_LINKS - 1).ok(),
        })
    }

    /// Processes the peer's begin.
    fn began(&mut self, channel: u16, begin: &Begin) {
        self.channel = Some(channel);
        let theirs = begin.handle_max.and_then(|most| usize::try_from(most).ok()?.checked_add(1));
        self.most_links = theirs.map_or(MOST_LINKS, |theirs| theirs.min(MOST_LINKS));
        self.next_incoming_id = begin.next_outgoing_id;
        self.remote_incoming_window = begin.incoming_window;
    }

    /// Whether the session has no link, apart from links that are being detached.
    fn is_free(&self) -> bool {
        self.links.iter().flatten().all(|link| link.state == State::Detaching)
    }

    fn write(&self, performative: &Performative, wire: &mut Wire) {
        wire.write(self.number, performative);
    }

    fn link(&self, id: LinkId) -> Option<&Link> {
        self.links.iter().flatten().find(|link| link.id == id)
    }

    fn link_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        self.links.iter_mut().flatten().find(|link| link.id == id)
    }

    fn by_remote_handle(&mut self, handle: u32) -> Result<&mut Link> {
        let mut links = self.links.iter_mut().flatten();
        links.find(|link| link.remote_handle == Some(handle)).ok_or(Misbehaviour::Handle(handle).into())
    }

    fn attach(&mut self, number: u32, options: &LinkOptions, wire: &mut Wire) -> Result<LinkId> {
        let free = self.links.iter().position(Option::is_none).unwrap_or(self.links.len());
        if free >= self.most_links {
            return Err(Error::Limit("links of a connection"));
        }
        let handle = u32::try_from(free).map_err(|_| Error::Limit("links of a connection"))?;
        let id = LinkId { session: self.id, number };
        let mut body = Vec::new();
        Performative::Attach(Box::new(options.attach(handle))).encode(&mut body);
        let size = body.len() + frame::HEADER_SIZE;
        if u32::try_from(size).map_or(true, |size| size > wire.max_frame_size) {
            return Err(Error::Limit("the peer's largest frame has no room for the link's attach"));
        }
        wire.write_frame(self.number, |out| out.extend(body));
        let link = Some(Link::new(id, handle, options));
        match self.links.get_mut(free) {
            Some(place) => *place = link,
            None => self.links.push(link),
        }
        self.purpose = Some(options.purpose);
        Ok(id)
    }

    fn detach(&mut self, id: LinkId, wire: &mut Wire) {
        let Some(link) = self.link_mut(id).filter(|link| link.state != State::Detaching) else { return };
        link.state = State::Detaching;
        link.sending.queue.clear();
        let handle = link.handle;
        self.write(&Performative::Detach(Detach { handle, closed: true, error: None }), wire);
    }

    fn consumed(&mut self, delivery: &Delivery, wire: &mut Wire) {
        self.held_transfers = self.held_transfers.saturating_sub(delivery.transfers);
        let peeked = self.link_mut(delivery.link).is_some_and(|link| {
            link.consumed();
            link.peek
        });
        if !delivery.settled && !peeked {
            self.settle_later(delivery.id, wire);
        }
        self.top_up(delivery.link, wire);
    }

    fn take_in(&mut self, performative: Performative, payload: &[u8], wire: &mut Wire) -> Result<()> {
        match performative {
            Performative::Attach(attach) => self.attached(&attach, wire),
            Performative::Flow(flow) => self.flow(&flow, wire),
            Performative::Transfer(transfer) => self.transfer(&transfer, payload, wire),
            Performative::Disposition(disposition) => {
                self.disposition(&disposition, wire);
                Ok(())
            }
            Performative::Detach(detach) => self.detached(detach, wire),
            _ => Err(Misbehaviour::Unexpected("a SASL frame").into()),
        }
    }

    /// The peer has ended the session, and the session's links with it. Other sessions continue.
    fn ended(self, error: Option<&RemoteError>, wire: &mut Wire) {
        self.write(&Performative::End(None), wire);
        for link in self.links.into_iter().flatten() {
            wire.events.push_back(Event::Detached(link.id, Error::Ended(error.cloned())));
        }
    }

    fn attached(&mut self, attach: &Attach, wire: &mut Wire) -> Result<()> {
        if self.links.iter().flatten().any(|link| link.remote_handle == Some(attach.handle)) {
            return Err(Misbehaviour::Unexpected("a handle that is in use").into());
        }
        let ours = if attach.role == Role::Sender { Role::Receiver } else { Role::Sender };
        let mut links = self.links.iter_mut().flatten();
        let link = links.find(|link| link.name == attach.name && link.role == ours && link.remote_handle.is_none());
        let link = link.ok_or(Misbehaviour::UnknownLink)?;
        let id = link.id;
        if link.attached(attach)? {
            wire.events.push_back(Event::Attached(id));
            self.top_up(id, wire);
            self.pump(wire);
        }
        Ok(())
    }

    fn detached(&mut self, detach: Detach, wire: &mut Wire) -> Result<()> {
        let is_theirs = |link: &Link| link.remote_handle == Some(detach.handle);
        let place = self.links.iter_mut().find(|link| link.as_ref().is_some_and(is_theirs));
        let link = place.and_then(Option::take).ok_or(Misbehaviour::Handle(detach.handle))?;
        if link.state != State::Detaching {
            self.write(&Performative::Detach(Detach { handle: link.handle, closed: true, error: None }), wire);
        }
        self.unsettled.retain(|(_, id)| *id != link.id);
        wire.events.push_back(Event::Detached(link.id, Error::Detached(detach.error)));
        Ok(())
    }

    fn flow(&mut self, flow: &Flow, wire: &mut Wire) -> Result<()> {
        // How many transfers this side may send: the peer's window minus the transfers that the peer has not seen yet
        // (2.5.6 of the standard).
        let seen = flow.next_incoming_id.unwrap_or(0);
        let on_its_way = self.next_outgoing_id.wrapping_sub(seen);
        if on_its_way > u32::MAX / 2 {
            return Err(Misbehaviour::Window.into());
        }
        self.remote_incoming_window = flow.incoming_window.saturating_sub(on_its_way);
        let mut answer = flow.handle.is_none() && flow.echo;
        let mut answer_for = None;
        if let Some(handle) = flow.handle {
            let link = self.by_remote_handle(handle)?;
            answer_for = Some(link.id);
            answer = link.flow(flow)?;
        }
        if answer {
            self.write_flow(answer_for, false, wire);
        }
        if let Some(id) = answer_for {
            self.top_up(id, wire);
        }
        self.pump(wire);
        Ok(())
    }

    fn transfer(&mut self, transfer: &Transfer, payload: &[u8], wire: &mut Wire) -> Result<()> {
        self.incoming_window = self.incoming_window.checked_sub(1).ok_or(Misbehaviour::Window)?;
        self.next_incoming_id = self.next_incoming_id.wrapping_add(1);
        let link = self.by_remote_handle(transfer.handle)?;
        if link.role != Role::Receiver {
            return Err(Misbehaviour::Unexpected("a message on a link that only sends").into());
        }
        match link.state {
            State::Attached => {}
            // The transfer was already on its way when this side detached the link.
            State::Detaching => return Ok(()),
            _ => return Err(Misbehaviour::Handle(transfer.handle).into()),
        }
        let id = link.id;
        if let Some(delivery) = link.transfer(transfer, payload)? {
            self.held_transfers = self.held_transfers.saturating_add(delivery.transfers);
            wire.held_bytes = wire.held_bytes.saturating_add(delivery.payload.len());
            if wire.held_bytes > wire.max_held_bytes {
                return Err(Error::Limit("bytes of received messages that are not consumed yet"));
            }
            wire.events.push_back(Event::Delivery(delivery));
        }
        self.widen(id, wire);
        Ok(())
    }

    fn disposition(&mut self, disposition: &Disposition, wire: &mut Wire) {
        // A disposition of the sending end concerns messages that this side has already settled.
        if disposition.role != Role::Receiver {
            return;
        }
        let last = disposition.last.unwrap_or(disposition.first);
        let span = last.wrapping_sub(disposition.first);
        let mut settled_here = Vec::new();
        let events = &mut wire.events;
        // The loop runs over the few unsettled deliveries of this side: the peer could state a range of any length.
        self.unsettled.retain(|(delivery, link)| {
            if delivery.wrapping_sub(disposition.first) > span {
                return true;
            }
            match (&disposition.state, disposition.settled) {
                // The message was received in part, or no state is given: the final outcome is still to come.
                (Some(Outcome::Other) | None, false) => return true,
                (Some(state), settled) => {
                    events.push_back(Event::Outcome(*link, state.clone()));
                    if !settled {
                        settled_here.push(*delivery);
                    }
                }
                // The peer settled the delivery without stating an outcome.
                (None, true) => events.push_back(Event::Outcome(*link, Outcome::Other)),
            }
            false
        });
        for delivery in settled_here {
            let forgotten = Disposition { role: Role::Sender, first: delivery, last: None, settled: true, state: None };
            self.write(&Performative::Disposition(forgotten), wire);
        }
    }

    /// Sends queued messages, as far as credit and the peer's window allow.
    fn pump(&mut self, wire: &mut Wire) {
        let room = usize::try_from(wire.max_frame_size).unwrap_or(usize::MAX);
        let room = room.saturating_sub(TRANSFER_OVERHEAD).clamp(1, 1024 * 1024);
        for place in 0..self.links.len() {
            while let Some(link) = self.links.get_mut(place).and_then(Option::as_mut) {
                if link.state != State::Attached || self.remote_incoming_window == 0 {
                    break;
                }
                let Some(message) = link.sending.queue.front_mut() else { break };
                let first = message.delivery.is_none();
                if first {
                    // Each message waits for an outcome, and only a limited number may wait: a peer that never states
                    // outcomes is sent no more messages.
                    if link.credit == 0 || self.unsettled.len() >= MOST_UNSETTLED {
                        break;
                    }
                    link.credit -= 1;
                    link.delivery_count = link.delivery_count.wrapping_add(1);
                    message.delivery = Some(self.next_delivery_id);
                    self.unsettled.push_back((self.next_delivery_id, link.id));
                    self.next_delivery_id = self.next_delivery_id.wrapping_add(1);
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
                wire.write_frame(self.number, |out| {
                    performative.encode(out);
                    out.extend_from_slice(now);
                });
                message.sent += now.len();
                if later.is_empty() {
                    link.sending.queue.pop_front();
                }
                self.next_outgoing_id = self.next_outgoing_id.wrapping_add(1);
                self.remote_incoming_window -= 1;
            }
        }
    }

    fn top_up(&mut self, id: LinkId, wire: &mut Wire) {
        if self.link_mut(id).is_some_and(Link::top_up) {
            self.write_flow(Some(id), false, wire);
        } else {
            self.widen(id, wire);
        }
    }

    /// Announces a larger window to the peer after half of the window is used up.
    fn widen(&mut self, id: LinkId, wire: &mut Wire) {
        let wanted = WINDOW.saturating_sub(self.held_transfers);
        if self.incoming_window <= wanted / 2 && self.incoming_window < wanted {
            self.write_flow(Some(id), false, wire);
        }
    }

    /// Sends a flow for the session, and for a link if that link is attached.
    fn write_flow(&mut self, link: Option<LinkId>, drain: bool, wire: &mut Wire) {
        self.incoming_window = self.incoming_window.max(WINDOW.saturating_sub(self.held_transfers));
        let mut flow = Flow {
            next_incoming_id: self.channel.map(|_| self.next_incoming_id),
            incoming_window: self.incoming_window,
            next_outgoing_id: self.next_outgoing_id,
            outgoing_window: WINDOW,
            ..Flow::default()
        };
        if let Some(link) = link.and_then(|id| self.link_mut(id)).filter(|link| link.state == State::Attached) {
            flow.handle = Some(link.handle);
            flow.delivery_count = Some(link.delivery_count);
            flow.link_credit = Some(link.credit);
            flow.drain = drain;
        }
        self.write(&Performative::Flow(flow), wire);
    }

    /// Adds a delivery to the range to be settled. A delivery that does not continue the range first settles the range.
    fn settle_later(&mut self, id: u32, wire: &mut Wire) {
        match &mut self.to_settle {
            Some((_, last)) if id == last.wrapping_add(1) => *last = id,
            _ => {
                self.settle(wire);
                self.to_settle = Some((id, id));
            }
        }
    }

    /// Settles the deliveries in the range.
    fn settle(&mut self, wire: &mut Wire) {
        if let Some((first, last)) = self.to_settle.take() {
            let settled = Disposition {
                role: Role::Receiver,
                first,
                last: Some(last),
                settled: true,
                state: Some(Outcome::Accepted),
            };
            self.write(&Performative::Disposition(settled), wire);
        }
    }
}
