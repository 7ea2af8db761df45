//! The protocol without a transport: bytes go in, bytes and events come out, and the time is a parameter.
//!
//! A connection has one session for each conversation. Nothing here waits, reads a clock or trusts the peer: sizes,
//! counts and credit are checked before anything is stored, and the first violation ends the connection with a typed
//! error.

mod session;

use std::collections::VecDeque;
use std::time::Duration;

use super::codec::Value;
use super::error::{Error, Misbehaviour, RemoteError, Result};
use super::frame::{self, AMQP_HEADER, SASL_HEADER, SMALLEST_MAX_FRAME, TYPE_AMQP, TYPE_SASL};
use super::link::{Delivery, LinkId};
use super::performative::{Open, Outcome, Performative};
use super::sasl::{Mechanism, Negotiation};
use super::stage::Stage;
use session::Session;

/// The options of a connection.
#[derive(Clone, Debug)]
pub struct Options {
    /// The container id, which must be new for each connection.
    pub container_id: String,
    /// The host name for the open frame, as the token names it.
    pub hostname: String,
    /// How to authenticate.
    pub mechanism: Mechanism,
    /// The largest frame that this side accepts, in bytes; at least 512.
    pub max_frame_size: u32,
    /// The peer must send something at least this often. The peer is given up after twice this time, as the standard
    /// advises.
    pub idle_time_out: Duration,
    /// The limit for received messages that the caller has not consumed yet, in bytes.
    pub max_held_bytes: usize,
}

impl Options {
    /// The default options: frames of up to 64 KiB as in most of Microsoft's clients, and an idle time-out of 30
    /// seconds.
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
    /// A link is gone: the peer has detached it or ended its session. The error holds the peer's reason.
    Detached(LinkId, Error),
    /// A complete message was received.
    Delivery(Delivery),
    /// The peer stated what became of a message of ours.
    Outcome(LinkId, Outcome),
    /// The peer has closed the connection after we have.
    Closed,
}

/// The shortest idle time-out accepted from a peer. A shorter one would leave time for nothing but heartbeats.
const SHORTEST_IDLE: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    SaslHeader,
    SaslMechanisms,
    SaslOutcome,
    Header,
    Open,
    Begin,
    Running,
    /// This side has closed, and the peer has not answered yet.
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
    wire: Wire,
    error: Option<Error>,
    /// How often this side must send something: half the peer's idle time-out.
    heartbeat: Option<Duration>,
    last_received: Duration,
    last_sent: Duration,
    /// The sessions. A session's index is its channel number on this side.
    sessions: Vec<Option<Session>>,
    /// How many sessions both sides accept.
    most_sessions: usize,
    next_session: u32,
    next_link: u32,
}

/// The outgoing state that all sessions share.
#[derive(Debug)]
struct Wire {
    outgoing: Vec<u8>,
    events: VecDeque<Event>,
    /// The largest frame that the peer accepts, in bytes.
    max_frame_size: u32,
    /// The size of received messages that the caller has not consumed yet, in bytes.
    held_bytes: usize,
    max_held_bytes: usize,
}

impl Wire {
    fn write(&mut self, channel: u16, performative: &Performative) {
        self.write_frame(channel, |out| performative.encode(out));
    }

    fn write_frame(&mut self, channel: u16, body: impl FnOnce(&mut Vec<u8>)) {
        frame::write_frame(TYPE_AMQP, channel, &mut self.outgoing, body);
    }
}

impl Connection {
    /// Starts a connection. `now` must come from a clock that never steps back, the same clock in all calls.
    pub fn new(mut options: Options, now: Duration) -> Self {
        options.max_frame_size = options.max_frame_size.max(SMALLEST_MAX_FRAME);
        let negotiation = Negotiation::new(options.mechanism.clone());
        let max_held_bytes = options.max_held_bytes;
        Self {
            options,
            phase: Phase::SaslHeader,
            negotiation,
            incoming: Vec::new(),
            wire: Wire {
                outgoing: SASL_HEADER.to_vec(),
                events: VecDeque::new(),
                max_frame_size: SMALLEST_MAX_FRAME,
                held_bytes: 0,
                max_held_bytes,
            },
            error: None,
            heartbeat: None,
            last_received: now,
            last_sent: now,
            sessions: vec![Some(Session::new(0, 0))],
            most_sessions: 1,
            next_session: 1,
            next_link: 0,
        }
    }

    /// What the connection waits for, before it is ready.
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

    /// Processes bytes received from the peer.
    ///
    /// # Errors
    /// The first violation of the protocol, or the error with which the peer closed. All later calls return the same
    /// error.
    pub fn receive(&mut self, bytes: &[u8], now: Duration) -> Result<()> {
        self.check()?;
        self.last_received = now;
        self.incoming.extend_from_slice(bytes);
        // The buffer is taken out of `self`, so that frames can be read from it while the state changes.
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

    /// Reports to the state machine that the byte stream has ended.
    ///
    /// # Errors
    /// `Disconnected`, unless the connection was already closed.
    pub fn end_of_stream(&mut self) -> Result<()> {
        self.check()?;
        if matches!(self.phase, Phase::Closed | Phase::Closing) {
            self.phase = Phase::Closed;
            return Ok(());
        }
        let stage = self.stage();
        Err(self.fail(Error::Disconnected(stage)))
    }

    /// Does what is due at this time: sends an empty frame, or gives up a silent peer.
    ///
    /// # Errors
    /// `Silent` where the peer has sent nothing for twice the idle time-out.
    pub fn tick(&mut self, now: Duration) -> Result<()> {
        self.check()?;
        let silence = self.options.idle_time_out.saturating_mul(2);
        if now.saturating_sub(self.last_received) >= silence {
            return Err(self.fail(Error::Silent(silence)));
        }
        if self.heartbeat.is_some_and(|beat| now.saturating_sub(self.last_sent) >= beat)
            && self.wire.outgoing.is_empty()
        {
            self.wire.write_frame(0, |_| ());
        }
        Ok(())
    }

    /// Reports that nobody read from the peer for `time`, so that this time does not count as the peer's silence.
    pub fn unattended(&mut self, time: Duration) {
        self.last_received = self.last_received.saturating_add(time);
    }

    /// The latest moment at which [`Connection::tick`] must be called.
    pub fn next_tick(&self) -> Duration {
        let silent = self.last_received.saturating_add(self.options.idle_time_out.saturating_mul(2));
        self.heartbeat.map_or(silent, |beat| silent.min(self.last_sent.saturating_add(beat)))
    }

    /// The bytes that are to be sent.
    pub fn outgoing(&mut self) -> &[u8] {
        self.settle();
        &self.wire.outgoing
    }

    /// Reports that the first `bytes` of the outgoing bytes were sent.
    pub fn sent(&mut self, bytes: usize, now: Duration) {
        self.wire.outgoing.drain(..bytes.min(self.wire.outgoing.len()));
        self.last_sent = now;
    }

    /// The next event.
    pub fn event(&mut self) -> Option<Event> {
        self.wire.events.pop_front()
    }

    /// Closes the connection; [`Event::Closed`] follows when the peer has closed it, too.
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

    /// Keeps the error. A violation of the protocol is reported to the peer if the peer can still read it.
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

    /// Reads one header or frame. Returns how many bytes it took; 0 if it is not complete yet.
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

    /// Sends header, open and begin together, as Microsoft's clients do: this saves two round trips. Together they fit
    /// into the 512 bytes that every peer must accept before it has announced a larger frame size.
    fn open(&mut self) {
        self.wire.outgoing.extend(AMQP_HEADER);
        let product = |name, value| (Value::symbol(name), Value::string(value));
        self.write(&Performative::Open(Open {
            container_id: self.options.container_id.clone(),
            hostname: Some(self.options.hostname.clone()),
            max_frame_size: Some(self.options.max_frame_size),
            channel_max: u16::try_from(session::MOST_SESSIONS - 1).ok(),
            idle_time_out: Some(millis(self.options.idle_time_out)),
            desired_capabilities: Vec::new(),
            properties: vec![product("product", env!("CARGO_PKG_NAME")), product("version", env!("CARGO_PKG_VERSION"))],
        }));
        if let Some(session) = self.sessions.first().and_then(Option::as_ref) {
            self.wire.write(0, &session.begin());
        }
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
                self.wire.events.push_back(Event::Closed);
            }
            // After this side has closed, frames that were still on their way are ignored.
            (Phase::Closing, _) => {}
            (Phase::Open, Performative::Open(open)) => self.opened(&open)?,
            (Phase::Begin, Performative::Begin(begin)) => {
                self.began(channel, &begin)?;
                self.phase = Phase::Running;
                self.wire.events.push_back(Event::Ready);
            }
            (Phase::Running, performative) => self.in_session(channel, performative, payload)?,
            _ => return Err(Misbehaviour::Unexpected("a frame before the session has begun").into()),
        }
        Ok(())
    }

    fn opened(&mut self, open: &Open) -> Result<()> {
        self.wire.max_frame_size = open.max_frame_size.unwrap_or(u32::MAX);
        if self.wire.max_frame_size < SMALLEST_MAX_FRAME {
            return Err(Misbehaviour::Terms("largest frame").into());
        }
        // None and 0 both mean that the peer has no idle time-out.
        if let Some(idle) = open.idle_time_out.filter(|idle| *idle != 0) {
            let idle = Duration::from_millis(idle.into());
            if idle < SHORTEST_IDLE {
                return Err(Misbehaviour::Terms("idle time-out").into());
            }
            self.heartbeat = Some(idle / 2);
        }
        let theirs = usize::from(open.channel_max.unwrap_or(u16::MAX)).saturating_add(1);
        self.most_sessions = theirs.min(session::MOST_SESSIONS);
        self.phase = Phase::Begin;
        Ok(())
    }

    fn write(&mut self, performative: &Performative) {
        self.wire.write(0, performative);
    }

    fn write_sasl(&mut self, performative: &Performative) {
        frame::write_frame(TYPE_SASL, 0, &mut self.wire.outgoing, |out| performative.encode(out));
    }
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
