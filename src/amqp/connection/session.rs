//! The session: links, credit and windows, messages both ways and what becomes of them.

use std::collections::VecDeque;

use super::{Connection, Event, Phase};
use crate::amqp::error::{Error, Misbehaviour, Result};
use crate::amqp::frame::{self, TYPE_AMQP};
use crate::amqp::link::{Delivery, Link, LinkId, LinkOptions, State};
use crate::amqp::performative::{Attach, Begin, Detach, Disposition, Flow, Outcome, Performative, Role, Transfer};

/// Transfers that the session takes. Credit is what bounds messages; this bounds the parts of large ones.
const WINDOW: u32 = 2_048;
/// Links of a connection at a time: a reader of each of a hub's 32 partitions, the two ends of `$cbs` and of `$management`,
/// and readers that are on their way out.
const MOST_LINKS: usize = 72;
/// Deliveries of ours whose outcome is awaited.
const MOST_UNSETTLED: usize = 64;
/// The room that a transfer's own fields take up in a frame, rounded up.
const TRANSFER_OVERHEAD: usize = 64;

/// The state of a connection's only session.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// The peer's channel for it.
    channel: Option<u16>,
    /// Each at our number for it.
    links: Vec<Option<Link>>,
    next_link: u32,
    /// Links that both sides have room for.
    most_links: usize,
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

impl Session {
    /// Not begun yet.
    pub fn new() -> Self {
        Self { most_links: MOST_LINKS, incoming_window: WINDOW, ..Self::default() }
    }

    /// What asks the peer for it.
    pub fn begin() -> Performative {
        Performative::Begin(Begin {
            remote_channel: None,
            next_outgoing_id: 0,
            incoming_window: WINDOW,
            outgoing_window: WINDOW,
            handle_max: u32::try_from(MOST_LINKS - 1).ok(),
        })
    }

    /// Takes in the peer's answer.
    pub fn began(&mut self, channel: u16, begin: &Begin) -> Result<()> {
        if begin.remote_channel != Some(0) {
            return Err(Misbehaviour::Unexpected("a session that was not asked for").into());
        }
        self.channel = Some(channel);
        let theirs = begin.handle_max.and_then(|most| usize::try_from(most).ok()?.checked_add(1));
        self.most_links = theirs.map_or(MOST_LINKS, |theirs| theirs.min(MOST_LINKS));
        self.next_incoming_id = begin.next_outgoing_id;
        self.remote_incoming_window = begin.incoming_window;
        Ok(())
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
}

impl Connection {
    /// Attaches a link. Nothing is sent before the connection is ready.
    ///
    /// # Errors
    /// `Limit` where there are too many, or the connection is not ready.
    pub fn attach(&mut self, options: &LinkOptions) -> Result<LinkId> {
        self.check()?;
        if self.phase != Phase::Running {
            return Err(Error::Limit("the connection is not open"));
        }
        let free = self.session.links.iter().position(Option::is_none).unwrap_or(self.session.links.len());
        if free >= self.session.most_links {
            return Err(Error::Limit("links of a connection"));
        }
        let handle = u32::try_from(free).map_err(|_| Error::Limit("links of a connection"))?;
        let id = LinkId(self.session.next_link);
        self.session.next_link = self.session.next_link.wrapping_add(1);
        let mut body = Vec::new();
        Performative::Attach(Box::new(options.attach(handle))).encode(&mut body);
        let size = body.len() + frame::HEADER_SIZE;
        if u32::try_from(size).map_or(true, |size| size > self.max_frame_size) {
            return Err(Error::Limit("the peer's largest frame has no room for the link's attach"));
        }
        frame::write_frame(TYPE_AMQP, 0, &mut self.outgoing, |out| out.extend(body));
        let link = Some(Link::new(id, handle, options));
        match self.session.links.get_mut(free) {
            Some(place) => *place = link,
            None => self.session.links.push(link),
        }
        Ok(id)
    }

    /// Keeps this much credit at a receiver's sender: messages on their way and messages not consumed, together.
    pub fn set_prefetch(&mut self, link: LinkId, messages: u32) {
        if let Some(link) = self.session.link_mut(link) {
            link.set_prefetch(messages);
        }
        self.top_up(link);
    }

    /// Notes that a message was used, so that the peer may send others.
    pub fn consumed(&mut self, delivery: &Delivery) {
        self.session.held_transfers = self.session.held_transfers.saturating_sub(delivery.transfers);
        self.session.held_bytes = self.session.held_bytes.saturating_sub(delivery.payload.len());
        let peeked = self.session.link_mut(delivery.link).is_some_and(|link| {
            link.consumed();
            link.peek
        });
        if !delivery.settled && !peeked {
            self.settle_later(delivery.id);
        }
        self.top_up(delivery.link);
    }

    /// Takes a message of a link that peeks: the peer may forget it.
    pub fn accept(&mut self, delivery: &Delivery) {
        if !delivery.settled && self.session.link_mut(delivery.link).is_some() {
            self.write(&Performative::Disposition(Disposition {
                role: Role::Receiver,
                first: delivery.id,
                last: None,
                settled: false,
                state: Some(Outcome::Accepted),
            }));
        }
    }

    /// Takes a receiver's credit back: the peer uses it up or gives it up, and says so.
    pub fn drain(&mut self, link: LinkId) {
        self.set_prefetch(link, 0);
        if self.credit(link) > 0 {
            self.write_flow(Some(link), true);
        }
    }

    /// How many more messages the peer may send on a link, or take.
    pub fn credit(&self, link: LinkId) -> u32 {
        self.session.link(link).map_or(0, |link| link.credit)
    }

    /// Sends a message, as soon as there is credit and room for it.
    ///
    /// # Errors
    /// `Limit` where the link cannot send or too many wait; `MessageTooLarge` by the peer's limit.
    pub fn send(&mut self, link: LinkId, message: Vec<u8>) -> Result<()> {
        self.check()?;
        self.session.link_mut(link).ok_or(Error::Limit("this link is gone"))?.queue(message)?;
        self.pump();
        Ok(())
    }

    /// Whether messages of this link wait to be sent: for credit, or for room in the session's window.
    pub fn is_waiting(&self, link: LinkId) -> bool {
        self.session.link(link).is_some_and(|link| !link.sending.queue.is_empty())
    }

    /// Detaches a link for good; [`Event::Detached`] follows.
    pub fn detach(&mut self, link: LinkId) {
        let Some(link) = self.session.link_mut(link).filter(|link| link.state != State::Detaching) else { return };
        link.state = State::Detaching;
        link.sending.queue.clear();
        let handle = link.handle;
        self.write(&Performative::Detach(Detach { handle, closed: true, error: None }));
    }

    /// Takes in a frame of the session's.
    pub(super) fn in_session(&mut self, channel: u16, performative: Performative, payload: &[u8]) -> Result<()> {
        if self.session.channel != Some(channel) {
            return Err(Misbehaviour::Channel(channel).into());
        }
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
        if self.session.links.iter().flatten().any(|link| link.remote_handle == Some(attach.handle)) {
            return Err(Misbehaviour::Unexpected("a handle that is in use").into());
        }
        let ours = if attach.role == Role::Sender { Role::Receiver } else { Role::Sender };
        let mut links = self.session.links.iter_mut().flatten();
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
        let is_theirs = |link: &Link| link.remote_handle == Some(detach.handle);
        let place = self.session.links.iter_mut().find(|link| link.as_ref().is_some_and(is_theirs));
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
            let link = self.session.by_remote_handle(handle)?;
            answer_for = Some(link.id);
            answer = link.flow(flow)?;
        }
        if answer {
            self.write_flow(answer_for, false);
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
        let link = self.session.by_remote_handle(transfer.handle)?;
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
            match (&disposition.state, disposition.settled) {
                // Received in part, or nothing at all: what becomes of it is still to come.
                (Some(Outcome::Other) | None, false) => return true,
                (Some(state), settled) => {
                    events.push_back(Event::Outcome(*link, state.clone()));
                    if !settled {
                        settled_here.push(*delivery);
                    }
                }
                // Forgotten without a word.
                (None, true) => events.push_back(Event::Outcome(*link, Outcome::Other)),
            }
            false
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
        for place in 0..self.session.links.len() {
            while let Some(link) = self.session.links.get_mut(place).and_then(Option::as_mut) {
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
        if self.session.link_mut(id).is_some_and(Link::top_up) {
            self.write_flow(Some(id), false);
        } else {
            self.widen(id);
        }
    }

    /// Gives the peer room for transfers again once half of it is used up.
    fn widen(&mut self, id: LinkId) {
        let wanted = WINDOW.saturating_sub(self.session.held_transfers);
        if self.session.incoming_window <= wanted / 2 && self.session.incoming_window < wanted {
            self.write_flow(Some(id), false);
        }
    }

    /// A flow of the session, and of a link where it is attached.
    fn write_flow(&mut self, link: Option<LinkId>, drain: bool) {
        self.session.incoming_window =
            self.session.incoming_window.max(WINDOW.saturating_sub(self.session.held_transfers));
        let mut flow = Flow {
            next_incoming_id: self.session.channel.map(|_| self.session.next_incoming_id),
            incoming_window: self.session.incoming_window,
            next_outgoing_id: self.session.next_outgoing_id,
            outgoing_window: WINDOW,
            ..Flow::default()
        };
        if let Some(link) = link.and_then(|id| self.session.link_mut(id)).filter(|link| link.state == State::Attached) {
            flow.handle = Some(link.handle);
            flow.delivery_count = Some(link.delivery_count);
            flow.link_credit = Some(link.credit);
            flow.drain = drain;
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

    /// Settles the deliveries that are to be.
    pub(super) fn settle(&mut self) {
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
}
