//! A peer that answers as an Azure service does, unless a rule answers differently.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use crate::amqp::client::Client;
use crate::amqp::codec::Value;
use crate::amqp::connection::Options;
use crate::amqp::error::{RemoteError, Result};
use crate::amqp::frame::{self, AMQP_HEADER, SASL_HEADER, TYPE_AMQP, TYPE_SASL};
use crate::amqp::message::{Body, Message};
use crate::amqp::performative::*;
use crate::amqp::sasl::Mechanism;
use crate::amqp::stage::Stage;
use crate::amqp::transport::{Deadline, Transport, TransportError};
use crate::platform::Platform;
use crate::platform::fake::FakePlatform;

/// What the peer received.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    Header([u8; 8]),
    Empty,
    Frame(u16, Performative, Vec<u8>),
}

/// The peer's bytes that are not delivered yet, and the links that it knows.
#[derive(Default)]
pub struct Out {
    bytes: Vec<u8>,
    /// Whether the stream ends after these bytes.
    pub ends: bool,
    pub links: HashMap<u32, Attach>,
    next_delivery: u32,
    /// The session of the frame that is being answered.
    channel: u16,
}

/// The client numbers the links of each session from 0. In this peer, a link's handle also contains the number of its
/// session.
pub const SESSION: u32 = 1_000;

fn handle_in(performative: &mut Performative) -> Option<&mut u32> {
    match performative {
        Performative::Attach(attach) => Some(&mut attach.handle),
        Performative::Flow(flow) => flow.handle.as_mut(),
        Performative::Transfer(transfer) => Some(&mut transfer.handle),
        Performative::Detach(detach) => Some(&mut detach.handle),
        _ => None,
    }
}

impl Out {
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub fn sasl(&mut self, performative: &Performative) {
        frame::write_frame(TYPE_SASL, 0, &mut self.bytes, |out| performative.encode(out));
    }

    pub fn frame(&mut self, performative: &Performative) {
        let mut performative = performative.clone();
        let channel = handle_in(&mut performative).map_or(self.channel, |handle| (*handle / SESSION) as u16);
        frame::write_frame(TYPE_AMQP, channel, &mut self.bytes, |out| performative.encode(out));
    }

    /// Ends the session of a link.
    pub fn end_session(&mut self, handle: u32, error: Option<RemoteError>) {
        let session = handle / SESSION;
        self.links.retain(|handle, _| handle / SESSION != session);
        frame::write_frame(TYPE_AMQP, session as u16, &mut self.bytes, |out| Performative::End(error).encode(out));
    }

    pub fn transfer(&mut self, transfer: &Transfer, payload: &[u8]) {
        let channel = (transfer.handle / SESSION) as u16;
        frame::write_frame(TYPE_AMQP, channel, &mut self.bytes, |out| {
            Performative::Transfer(transfer.clone()).encode(out);
            out.extend_from_slice(payload);
        });
    }

    /// Sends a message in parts of `part` bytes to the receiver that the client attached with this handle.
    pub fn deliver(&mut self, handle: u32, payload: &[u8], part: usize) {
        let id = self.next_delivery;
        self.next_delivery += 1;
        let parts: Vec<&[u8]> = payload.chunks(part.max(1)).collect();
        for (at, piece) in parts.iter().enumerate() {
            let first = at == 0;
            let transfer = Transfer {
                handle: handle + 100,
                delivery_id: first.then_some(id),
                delivery_tag: first.then(|| id.to_be_bytes().to_vec()),
                message_format: first.then_some(0),
                settled: Some(true),
                more: at + 1 < parts.len(),
                aborted: false,
            };
            self.transfer(&transfer, piece);
        }
    }

    /// Sends an unsettled message to the receiver that the client attached with this handle. The peer keeps the message
    /// until it is accepted.
    pub fn peek(&mut self, handle: u32, payload: &[u8]) {
        let id = self.next_delivery;
        self.next_delivery += 1;
        let transfer = Transfer {
            handle: handle + 100,
            delivery_id: Some(id),
            delivery_tag: Some(id.to_be_bytes().to_vec()),
            message_format: Some(0),
            settled: Some(false),
            ..Transfer::default()
        };
        self.transfer(&transfer, payload);
    }

    /// The handle of the client's link with this role whose address ends with this text.
    pub fn link(&self, role: Role, address: &str) -> u32 {
        let mut links = self.links.iter().filter(|(_, attach)| attach.role == role);
        let found = links.find(|(_, attach)| {
            let source = attach.source.as_ref().and_then(|source| source.address.clone());
            let target = attach.target.as_ref().and_then(|target| target.address.clone());
            (if role == Role::Receiver { source } else { target }).is_some_and(|known| known.ends_with(address))
        });
        *found.unwrap_or_else(|| panic!("no link to {address}")).0
    }
}

type Rule = Box<dyn FnMut(&Seen, &mut Out) -> bool>;

/// The peer's state, shared with the test.
pub struct State {
    pub seen: Vec<Seen>,
    pub out: Out,
    incoming: Vec<u8>,
    rule: Rule,
    /// The largest number of bytes that one read returns.
    pub fragment: usize,
    /// Whether writes block.
    pub stuck: bool,
}

/// The client's end of the connection.
#[derive(Clone)]
pub struct Peer {
    pub state: Rc<RefCell<State>>,
    platform: Rc<FakePlatform>,
}

impl Peer {
    /// A peer with a rule that is asked first. The rule returns whether it has handled what the peer received.
    pub fn new(platform: &Rc<FakePlatform>, rule: impl FnMut(&Seen, &mut Out) -> bool + 'static) -> Self {
        let state = State {
            seen: Vec::new(),
            out: Out::default(),
            incoming: Vec::new(),
            rule: Box::new(rule),
            fragment: usize::MAX,
            stuck: false,
        };
        Self { state: Rc::new(RefCell::new(state)), platform: platform.clone() }
    }

    /// A peer without faults.
    pub fn good(platform: &Rc<FakePlatform>) -> Self {
        Self::new(platform, |_, _| false)
    }

    /// The performatives that the peer has received.
    pub fn frames(&self) -> Vec<Performative> {
        let state = self.state.borrow();
        let frames = state.seen.iter().filter_map(|seen| match seen {
            Seen::Frame(_, performative, _) => Some(performative.clone()),
            _ => None,
        });
        frames.collect()
    }
}

impl State {
    fn take_in(&mut self) {
        loop {
            let seen = if self.incoming.starts_with(b"AMQP") {
                let Some(header) = self.incoming.first_chunk::<8>().copied() else { return };
                self.incoming.drain(..8);
                Seen::Header(header)
            } else {
                let Some(header) = frame::read_header(&self.incoming, u32::MAX).expect("the client's frames") else {
                    return;
                };
                let frame: Vec<u8> = self.incoming.drain(..header.size).collect();
                let body = &frame[header.body_at..];
                if body.is_empty() {
                    Seen::Empty
                } else {
                    let (mut performative, payload) = Performative::decode(body).expect("the client's performatives");
                    if let Some(handle) = handle_in(&mut performative) {
                        *handle += u32::from(header.channel) * SESSION;
                    }
                    self.out.channel = header.channel;
                    Seen::Frame(header.channel, performative, payload.to_vec())
                }
            };
            self.seen.push(seen.clone());
            if let Seen::Frame(_, Performative::Attach(attach), _) = &seen {
                self.out.links.insert(attach.handle, (**attach).clone());
            }
            if !(self.rule)(&seen, &mut self.out) {
                answer(&seen, &mut self.out);
            }
        }
    }
}

/// The answer of an Azure service.
pub fn answer(seen: &Seen, out: &mut Out) {
    match seen {
        Seen::Header(header) if *header == SASL_HEADER => {
            out.raw(&SASL_HEADER);
            out.sasl(&Performative::SaslMechanisms(vec!["MSSBCBS".into(), "PLAIN".into(), "ANONYMOUS".into()]));
        }
        Seen::Header(header) if *header == AMQP_HEADER => out.raw(&AMQP_HEADER),
        Seen::Frame(_, Performative::SaslInit(_), _) => out.sasl(&Performative::SaslOutcome(0)),
        Seen::Frame(_, Performative::Open(_), _) => out.frame(&Performative::Open(good_open())),
        Seen::Frame(channel, Performative::Begin(_), _) => out.frame(&Performative::Begin(good_begin(*channel))),
        Seen::Frame(_, Performative::Attach(attach), _) => answer_attach(attach, out),
        Seen::Frame(_, Performative::Transfer(transfer), payload) => answer_request(transfer, payload, 200, out),
        // If the client has detached first, this frame answers the client's detach.
        Seen::Frame(_, Performative::Detach(detach), _) if out.links.remove(&detach.handle).is_some() => {
            out.frame(&Performative::Detach(Detach { handle: detach.handle + 100, closed: true, error: None }));
        }
        Seen::Frame(_, Performative::Close(_), _) => {
            out.frame(&Performative::Close(None));
            out.ends = true;
        }
        _ => {}
    }
}

pub fn good_open() -> Open {
    Open {
        container_id: "peer".into(),
        max_frame_size: Some(65_536),
        channel_max: Some(4_999),
        idle_time_out: Some(120_000),
        ..Open::default()
    }
}

pub fn good_begin(channel: u16) -> Begin {
    Begin {
        remote_channel: Some(channel),
        next_outgoing_id: 1,
        incoming_window: 5_000,
        outgoing_window: 5_000,
        handle_max: Some(255),
    }
}

pub fn answer_attach(attach: &Attach, out: &mut Out) {
    let receiving = attach.role == Role::Receiver;
    let mirrored = Attach {
        handle: attach.handle + 100,
        role: if receiving { Role::Sender } else { Role::Receiver },
        initial_delivery_count: receiving.then_some(0),
        ..attach.clone()
    };
    out.frame(&Performative::Attach(Box::new(mirrored)));
    if !receiving {
        out.frame(&Performative::Flow(Flow {
            next_incoming_id: Some(0),
            incoming_window: 5_000,
            next_outgoing_id: 1,
            outgoing_window: 5_000,
            handle: Some(attach.handle + 100),
            delivery_count: Some(0),
            link_credit: Some(50),
            ..Flow::default()
        }));
    }
}

/// Accepts a request and answers it with a status, as `$cbs` does.
pub fn answer_request(transfer: &Transfer, payload: &[u8], status: i32, out: &mut Out) {
    out.frame(&Performative::Disposition(Disposition {
        role: Role::Receiver,
        first: transfer.delivery_id.unwrap_or_default(),
        last: None,
        settled: true,
        state: Some(Outcome::Accepted),
    }));
    let body = Body::Value(Value::Null);
    reply(transfer, payload, vec![("status-code".into(), Value::Int(status))], body, out);
}

/// Sends an answer to a request, to the client's receiver from the same node.
pub fn reply(transfer: &Transfer, payload: &[u8], fields: Vec<(Value, Value)>, body: Body, out: &mut Out) {
    let request = Message::decode(payload).expect("a request");
    let node = out.links[&transfer.handle].target.clone().and_then(|target| target.address).expect("a node");
    let mut answer = Message { application_properties: fields, body, ..Message::default() };
    answer.properties.correlation_id = request.properties.message_id;
    let handle = out.link(Role::Receiver, &node);
    out.deliver(handle, &answer.encode(), usize::MAX);
}

impl Transport for Peer {
    fn read(&mut self, buffer: &mut [u8], deadline: &Deadline) -> std::result::Result<usize, TransportError> {
        let mut state = self.state.borrow_mut();
        let count = state.out.bytes.len().min(buffer.len()).min(state.fragment);
        if count == 0 && !state.out.ends {
            // The peer sends nothing more: time passes until the client's deadline.
            self.platform.now.set(self.platform.now.get().max(deadline.moment()));
            return Err(TransportError::timeout(Stage::Message));
        }
        buffer[..count].copy_from_slice(&state.out.bytes[..count]);
        state.out.bytes.drain(..count);
        Ok(count)
    }

    fn write(&mut self, bytes: &[u8], deadline: &Deadline) -> std::result::Result<usize, TransportError> {
        let mut state = self.state.borrow_mut();
        if state.stuck {
            self.platform.now.set(self.platform.now.get().max(deadline.moment()));
            return Err(TransportError::timeout(Stage::Write));
        }
        // Like every transport, this one writes nothing after the deadline.
        if deadline.remaining().is_none() {
            return Err(TransportError::timeout(Stage::Write));
        }
        // Only a part is written at once, as a socket may do.
        let count = bytes.len().min(1_000);
        state.incoming.extend_from_slice(&bytes[..count]);
        state.take_in();
        Ok(count)
    }
}

pub const NOW: Duration = Duration::from_secs(1_800_000_000);

pub fn platform() -> Rc<FakePlatform> {
    Rc::new(FakePlatform::at(NOW.as_secs()))
}

pub fn deadline(platform: &FakePlatform, seconds: u64) -> Deadline<'_> {
    Deadline::at(platform, platform.monotonic() + Duration::from_secs(seconds))
}

pub fn options() -> Options {
    Options::new("client", "ns.servicebus.windows.net", Mechanism::Anonymous)
}

/// Opens a connection within ten seconds.
pub fn open<'p>(platform: &'p FakePlatform, peer: &Peer) -> Result<Client<'p>>
where
    Peer: 'p,
{
    Client::open(platform, peer.clone(), options(), &deadline(platform, 10))
}

impl Out {
    /// The bytes that were written, for a test that drives the connection directly.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }
}

impl Transfer {
    /// Adds the delivery id that the first transfer of a delivery must have.
    pub fn with_first(self) -> Self {
        Self { delivery_id: Some(0), ..self }
    }
}

impl Out {
    /// Whether nothing waits to be read.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}
