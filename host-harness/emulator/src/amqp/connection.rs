//! One connection: TLS, SASL, frames, timers, faults.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use fe2o3_amqp_types::definitions::Role;
use fe2o3_amqp_types::performatives::{Disposition, Performative};
use hyper::upgrade::Upgraded;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

use super::claims::{self, Claim};
use super::codec::{self, AMQP_HEADER, AmqpError, Frame, Outcome, SASL_HEADER};
use super::fragile::Fragile;
use super::session::{LinkKind, Session};
use crate::event_hub::{Lost, milliseconds};
use crate::faults::FaultAction;
use crate::hub::expire_messages;
use crate::options::PasswordLogin;
use crate::random;
use crate::server::Service;
use crate::service_bound::Queue;
use crate::tls::Tls;
use crate::world::Shared;

const HANDSHAKE_TIME: Duration = Duration::from_secs(20);
/// A client that takes nothing for so long is gone.
const WRITE_TIME: Duration = Duration::from_secs(60);
/// How long a closed connection waits for the client to close it, too.
const LINGER_TIME: Duration = Duration::from_secs(1);
/// How long a connection that is to be dropped stays, so that what was written really leaves before it.
const GRACE_TIME: Duration = Duration::from_millis(50);
/// How much is written at a time before the client is listened to again.
const WRITE_BUDGET: usize = 256 << 10;
const MECHANISMS: &[&str] = &["MSSBCBS", "PLAIN", "ANONYMOUS"];

/// The conversation is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// At once, without a word.
    Drop,
    /// After what is still to be said.
    Flush,
}

pub(super) type Step<T = ()> = Result<T, End>;

trait Transport: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Transport for T {}

/// Serves a TCP connection from its first byte to its last.
pub(super) async fn accept(
    world: Shared,
    service: Service,
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<Tls>,
    stop: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let Some(stream) = begin(&world, service, stream).await else { return };
    let mut spoken = None;
    let stream: Box<dyn Transport> = match tls {
        Some(tls) => match tokio::time::timeout(HANDSHAKE_TIME, tls.accept(service, stream)).await {
            Ok(Ok(stream)) => {
                spoken = stream.get_ref().1.server_name().map(str::to_ascii_lowercase);
                Box::new(stream)
            }
            Ok(Err(error)) => return tracing::debug!(%peer, %error, "TLS handshake failed"),
            Err(_) => return tracing::debug!(%peer, "TLS handshake timed out"),
        },
        None => Box::new(stream),
    };
    serve(world, service, stream, spoken, false, stop).await;
}

/// Serves a WebSocket from its first byte to its last; `spoken` is the name (SNI) in the client's handshake.
pub(crate) async fn accept_web_socket(
    world: Shared,
    service: Service,
    upgraded: Upgraded,
    spoken: Option<String>,
    stop: watch::Receiver<bool>,
) {
    let stream = super::web_socket::stream(upgraded).await;
    let Some(stream) = begin(&world, service, stream).await else { return };
    serve(world, service, Box::new(stream), spoken, true, stop).await;
}

/// Applies the rules for connections; none where there is not to be one.
async fn begin<S>(world: &Shared, service: Service, stream: S) -> Option<Fragile<S>> {
    let mut stream = Fragile::new(stream);
    for action in world.faults.pick(service, "CONNECT", "/") {
        match action {
            FaultAction::Latency(duration) => tokio::time::sleep(duration).await,
            FaultAction::Cut(bytes) => stream.breaks_after(bytes as usize),
            _ => return None,
        }
    }
    Some(stream)
}

async fn serve(
    world: Shared,
    service: Service,
    stream: Box<dyn Transport>,
    spoken: Option<String>,
    web_socket: bool,
    stop: watch::Receiver<bool>,
) {
    let (lost_tx, lost) = mpsc::unbounded_channel();
    let mut connection = Connection {
        stream,
        inbound: BytesMut::with_capacity(8 << 10),
        out: BytesMut::new(),
        wake: Wakers {
            lost,
            events: world.event_hub.subscribe(),
            notices: world.service_bound.subscribe(),
            generation: world.event_hub.generations(),
            stop,
        },
        lost_tx,
        service,
        spoken,
        web_socket,
        opened: false,
        max_frame_size: 512,
        heartbeat: None,
        claims: Vec::new(),
        dies_with_claims: false,
        sessions: HashMap::new(),
        more: false,
        last_read: Instant::now(),
        last_write: Instant::now(),
        without_link: Instant::now(),
        half_at: None,
        cut_after: None,
        stalled: false,
        world,
    };
    let end = connection.converse().await;
    tracing::debug!(?service, ?end, "connection ended");
    if end == Err(End::Flush) {
        connection.linger().await;
    }
}

/// What can wake a connection besides its client and the clock.
struct Wakers {
    lost: mpsc::UnboundedReceiver<Lost>,
    events: watch::Receiver<u64>,
    notices: watch::Receiver<u64>,
    generation: watch::Receiver<u64>,
    stop: watch::Receiver<bool>,
}

enum Wake {
    Read(io::Result<usize>),
    Lost(Lost),
    Work,
    Stop,
}

pub(super) struct Connection {
    stream: Box<dyn Transport>,
    inbound: BytesMut,
    pub(super) out: BytesMut,
    wake: Wakers,
    pub(super) lost_tx: mpsc::UnboundedSender<Lost>,
    pub(super) world: Shared,
    pub(super) service: Service,
    /// The name in the client's handshake, in lower case.
    pub(super) spoken: Option<String>,
    /// It came by HTTPS's port.
    pub(super) web_socket: bool,
    opened: bool,
    /// The largest frame that both sides take.
    max_frame_size: usize,
    heartbeat: Option<Duration>,
    pub(super) claims: Vec<Claim>,
    /// The claim came with SASL: the connection ends with it.
    dies_with_claims: bool,
    pub(super) sessions: HashMap<u16, Session>,
    /// There was more to send than was written in one go.
    more: bool,
    last_read: Instant,
    last_write: Instant,
    without_link: Instant,
    half_at: Option<usize>,
    cut_after: Option<usize>,
    stalled: bool,
}

/// What a fault rule wants instead of the operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Instead {
    Detach(String),
    End(String),
    Reject(String),
    Status(u16),
}

impl Connection {
    async fn converse(&mut self) -> Step {
        match tokio::time::timeout(HANDSHAKE_TIME, self.handshake()).await {
            Ok(result) => result?,
            Err(_) => return Err(End::Drop),
        }
        self.last_read = Instant::now();
        loop {
            while let Some(frame) = self.next_frame()? {
                self.on_frame(frame).await?;
                if self.out.len() >= WRITE_BUDGET {
                    self.flush().await?;
                }
            }
            self.tick()?;
            self.pump().await?;
            self.flush().await?;
            if self.stalled {
                return self.stall().await;
            }
            match self.wait().await {
                Wake::Read(Ok(0) | Err(_)) => return Err(End::Drop),
                Wake::Read(Ok(_)) => self.last_read = Instant::now(),
                Wake::Lost(lost) => self.on_lost(&lost),
                Wake::Work => {}
                Wake::Stop => return self.close("amqp:connection:forced", "The connection was closed by the service."),
            }
        }
    }

    async fn wait(&mut self) -> Wake {
        let until = tokio::time::Instant::from_std(self.next_deadline());
        let more = self.more;
        let is_event_hub = self.service == Service::EventHub;
        let Self { stream, inbound, wake, .. } = self;
        tokio::select! {
            biased;
            read = stream.read_buf(inbound) => Wake::Read(read),
            Some(lost) = wake.lost.recv() => Wake::Lost(lost),
            _ = wake.stop.changed() => Wake::Stop,
            _ = wake.generation.changed(), if is_event_hub => Wake::Stop,
            () = std::future::ready(()), if more => Wake::Work,
            _ = wake.events.changed(), if is_event_hub => Wake::Work,
            _ = wake.notices.changed(), if !is_event_hub => Wake::Work,
            () = tokio::time::sleep_until(until) => Wake::Work,
        }
    }

    // Handshake

    async fn handshake(&mut self) -> Step {
        let header = self.header().await?;
        if header == *AMQP_HEADER && self.service == Service::HubAmqp {
            // Microsoft's clients of IoT Hub for JavaScript do without SASL, and put a token.
            self.out.extend_from_slice(AMQP_HEADER);
            return self.flush().await;
        }
        if header != *SASL_HEADER {
            // What is spoken here, then the end: the way in which the standard refuses a protocol.
            self.out.extend_from_slice(SASL_HEADER);
            return Err(End::Flush);
        }
        self.out.extend_from_slice(SASL_HEADER);
        let offered = |mechanism: &&str| *mechanism != "PLAIN" || self.passwords() != PasswordLogin::NotOffered;
        let mechanisms: Vec<&str> = MECHANISMS.iter().copied().filter(offered).collect();
        codec::put_frame(&mut self.out, 1, 0, &codec::sasl_mechanisms(&mechanisms), &[]);
        self.flush().await?;
        let init = loop {
            match self.next_frame()? {
                Some(Frame::SaslInit(init)) => break init,
                Some(_) => return Err(End::Drop),
                None => self.fill().await?,
            }
        };
        let claim = match init.mechanism.as_str() {
            "ANONYMOUS" | "MSSBCBS" => Ok(None),
            "PLAIN" if self.passwords() == PasswordLogin::Refused => {
                codec::put_frame(&mut self.out, 1, 0, &codec::sasl_outcome(1), &[]);
                return Err(End::Flush);
            }
            "PLAIN" if self.passwords() == PasswordLogin::Taken => {
                let response = init.initial_response.map(|response| response.into_vec()).unwrap_or_default();
                claims::from_plain(&self.world, self.service, self.spoken.as_deref(), &response).map(Some)
            }
            _ => {
                codec::put_frame(&mut self.out, 1, 0, &codec::sasl_outcome(1), &[]);
                return Err(End::Flush);
            }
        };
        match claim {
            Ok(claim) => {
                self.dies_with_claims = claim.is_some();
                self.claims.extend(claim);
            }
            Err(refusal) => {
                tracing::debug!(%refusal.description, "SASL PLAIN refused");
                codec::put_frame(&mut self.out, 1, 0, &codec::sasl_outcome(1), &[]);
                return Err(End::Flush);
            }
        }
        codec::put_frame(&mut self.out, 1, 0, &codec::sasl_outcome(0), &[]);
        self.flush().await?;
        let header = self.header().await?;
        self.out.extend_from_slice(AMQP_HEADER);
        if header == *AMQP_HEADER { self.flush().await } else { Err(End::Flush) }
    }

    /// What becomes of passwords here.
    fn passwords(&self) -> PasswordLogin {
        if self.service == Service::HubAmqp { self.world.options.amqp.passwords } else { PasswordLogin::Taken }
    }

    async fn header(&mut self) -> Step<[u8; 8]> {
        loop {
            if let Some(header) = self.inbound.first_chunk::<8>().copied() {
                let _ = self.inbound.split_to(8);
                return Ok(header);
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Step {
        match self.stream.read_buf(&mut self.inbound).await {
            Ok(0) | Err(_) => Err(End::Drop),
            Ok(_) => Ok(()),
        }
    }

    fn next_frame(&mut self) -> Step<Option<Frame>> {
        let limit = self.world.options.amqp.max_frame_size.max(512) as usize;
        codec::next_frame(&mut self.inbound, limit).map_err(|error| {
            tracing::debug!(%error, "a frame was refused");
            if self.opened {
                let error = AmqpError::new("amqp:decode-error", error.to_string());
                codec::put_frame(&mut self.out, 0, 0, &codec::close(Some(&error)), &[]);
            }
            End::Flush
        })
    }

    // Output

    async fn flush(&mut self) -> Step {
        let mut last = false;
        if let Some(start) = self.half_at
            && let Some(size) = self.out.get(start..).and_then(|rest| rest.first_chunk::<4>())
        {
            let size = u32::from_be_bytes(*size) as usize;
            self.out.truncate(start + size / 2);
            last = true;
        }
        if let Some(left) = self.cut_after {
            if self.out.len() >= left {
                self.out.truncate(left);
                last = true;
            }
            self.cut_after = Some(left.saturating_sub(self.out.len()));
        }
        if !self.out.is_empty() {
            let Self { stream, out, .. } = self;
            let write = async {
                stream.write_all_buf(out).await?;
                stream.flush().await
            };
            match tokio::time::timeout(WRITE_TIME, write).await {
                Ok(Ok(())) => self.last_write = Instant::now(),
                _ => return Err(End::Drop),
            }
        }
        if last {
            tokio::time::sleep(GRACE_TIME).await;
            return Err(End::Drop);
        }
        Ok(())
    }

    /// Says what is still to be said, and gives the client a moment to hear it.
    async fn linger(&mut self) {
        if self.flush().await.is_err() {
            return;
        }
        let end = async {
            let mut rest = [0; 1024];
            let _ = self.stream.shutdown().await;
            while self.stream.read(&mut rest).await.is_ok_and(|read| read > 0) {}
        };
        let _ = tokio::time::timeout(LINGER_TIME, end).await;
    }

    /// Says nothing more, but keeps the connection until the client or the emulator ends it.
    async fn stall(&mut self) -> Step {
        loop {
            self.inbound.clear();
            let Self { stream, inbound, wake, .. } = self;
            tokio::select! {
                read = stream.read_buf(inbound) => if matches!(read, Ok(0) | Err(_)) { return Err(End::Drop) },
                _ = wake.stop.changed() => return Err(End::Drop),
                _ = wake.generation.changed() => return Err(End::Drop),
            }
        }
    }

    fn close(&mut self, condition: &str, description: &str) -> Step {
        let error = AmqpError::new(condition, description);
        codec::put_frame(&mut self.out, 0, 0, &codec::close(Some(&error)), &[]);
        Err(End::Flush)
    }

    pub(super) fn put(&mut self, channel: u16, body: &[u8]) {
        codec::put_frame(&mut self.out, 0, channel, body, &[]);
    }

    // Timers

    fn next_deadline(&self) -> Instant {
        let now = Instant::now();
        let options = &self.world.options.amqp;
        let mut next = now + Duration::from_secs(3600);
        let mut at = |time: Instant| next = next.min(time);
        if let Some(idle) = options.idle_time_out {
            at(self.last_read + idle * 2);
        }
        if let Some(heartbeat) = self.heartbeat {
            at(self.last_write + heartbeat);
        }
        if let Some(no_link) = options.no_link.filter(|_| self.is_without_link()) {
            at(self.without_link + no_link);
        }
        let clock = milliseconds(self.world.token_time());
        for deadline in self.claims.iter().filter_map(|claim| claim.deadline) {
            let left = deadline.saturating_add(1).saturating_mul(1000).saturating_sub(clock);
            // The moment has passed when the time is up, but not before.
            at(now + Duration::from_millis(u64::try_from(left).unwrap_or(0).clamp(10, 3_600_000)));
        }
        for link in self.sessions.values().flat_map(|session| session.links.values()).filter(|link| !link.detached) {
            if let Some(idle) = options.link_idle.filter(|_| link.guarded) {
                at(link.active + idle);
            }
            if let LinkKind::Notices { queue, .. } = &link.kind
                && link.credit > 0
            {
                let ready = self.world.service_bound.ready_in(*queue, options.feedback_wait);
                // Messages expire while nobody looks: look once a second.
                at(now
                    + ready.unwrap_or(Duration::from_secs(1)).clamp(Duration::from_millis(5), Duration::from_secs(1)));
            }
        }
        next
    }

    fn is_without_link(&self) -> bool {
        self.sessions.values().all(Session::is_idle)
    }

    fn tick(&mut self) -> Step {
        let options = self.world.options.amqp.clone();
        let now = Instant::now();
        if options.idle_time_out.is_some_and(|idle| now >= self.last_read + idle * 2) {
            return self.close("amqp:resource-limit-exceeded", "The connection was idle for longer than was agreed.");
        }
        if self.heartbeat.is_some_and(|heartbeat| now >= self.last_write + heartbeat) && self.out.is_empty() {
            codec::put_frame(&mut self.out, 0, 0, &[], &[]);
        }
        if !self.is_without_link() {
            self.without_link = now;
        } else if let Some(no_link) = options.no_link.filter(|no_link| now >= self.without_link + *no_link) {
            let millis = no_link.as_millis();
            let description = format!(
                "The connection was inactive for more than the allowed {millis} milliseconds and is closed by container \
                 'LinkTracker'."
            );
            return self.close("amqp:connection:forced", &description);
        }
        self.check_claims()?;
        for (channel, handle) in self.links() {
            let idle = |link: &super::session::Link| {
                options.link_idle.is_some_and(|idle| now >= link.active + idle) && link.guarded && !link.detached
            };
            if self.link(channel, handle).is_some_and(|link| idle(link)) {
                let description = "The link is force detached. Details: idle timeout.";
                self.detach(channel, handle, &AmqpError::new("amqp:link:detach-forced", description));
            }
        }
        Ok(())
    }

    /// Drops claims whose time is up and detaches what they held.
    fn check_claims(&mut self) -> Step {
        let now = self.world.token_time().unix_timestamp();
        let before = self.claims.len();
        self.claims.retain(|claim| claim.deadline.is_none_or(|deadline| now <= deadline));
        if self.claims.len() == before {
            return Ok(());
        }
        self.drop_unclaimed(now)
    }

    fn drop_unclaimed(&mut self, now: i64) -> Step {
        if self.dies_with_claims && self.claims.is_empty() {
            return self.close("amqp:unauthorized-access", "ExpiredToken: The token is expired.");
        }
        for (channel, handle) in self.links() {
            let Some(link) = self.link(channel, handle).filter(|link| link.guarded && !link.detached) else { continue };
            let segments = link.segments.clone();
            if !self.is_claimed(&segments, now) {
                let error = AmqpError::new("amqp:unauthorized-access", "ExpiredToken: The token is expired.");
                self.detach(channel, handle, &error);
            }
        }
        Ok(())
    }

    pub(super) fn is_claimed(&self, segments: &[String], now: i64) -> bool {
        self.claims.iter().any(|claim| claim.covers(segments, now))
    }

    // Links

    fn links(&self) -> Vec<(u16, u32)> {
        let sessions = self.sessions.values();
        sessions.flat_map(|session| session.links.keys().map(|handle| (session.channel, *handle))).collect()
    }

    pub(super) fn link(&mut self, channel: u16, handle: u32) -> Option<&mut super::session::Link> {
        self.sessions.get_mut(&channel)?.links.get_mut(&handle)
    }

    /// Detaches a link from the service's side. What it held is free at once.
    pub(super) fn detach(&mut self, channel: u16, handle: u32, error: &AmqpError) {
        self.put(channel, &codec::detach(handle, Some(error)));
        if let Some(link) = self.link(channel, handle) {
            link.detached = true;
            let kind = std::mem::replace(&mut link.kind, LinkKind::Refused);
            self.give_back(kind);
        }
    }

    fn end_session(&mut self, channel: u16, error: &AmqpError) {
        self.put(channel, &codec::end(Some(error)));
        if let Some(session) = self.sessions.get_mut(&channel) {
            session.ended = true;
            let links = std::mem::take(&mut session.links);
            links.into_values().for_each(|link| self.give_back(link.kind));
        }
    }

    /// Locks go back with their link.
    fn give_back(&self, kind: LinkKind) {
        if let LinkKind::Notices { locks, .. } = kind {
            for token in locks.values() {
                self.world.service_bound.abandon(token);
            }
        }
    }

    fn on_lost(&mut self, lost: &Lost) {
        let is_it = |link: &super::session::Link| match &link.kind {
            LinkKind::Events { lease, .. } => lease.id() == lost.reader,
            _ => false,
        };
        for (channel, handle) in self.links() {
            if self.link(channel, handle).is_some_and(|link| is_it(link)) {
                self.detach(channel, handle, &lost.error);
            }
        }
    }

    // Frames

    async fn on_frame(&mut self, frame: Frame) -> Step {
        let Frame::Amqp { channel, performative, payload } = frame else { return Ok(()) };
        if !self.opened && !matches!(*performative, Performative::Open(_)) {
            return self.close("amqp:illegal-state", "The first frame has to be an open.");
        }
        match *performative {
            Performative::Open(open) => {
                self.opened = true;
                let options = self.world.options.amqp.clone();
                let ours = options.max_frame_size.max(512);
                self.max_frame_size = open.max_frame_size.0.clamp(512, ours) as usize;
                // Twice as often as is needed, as the standard recommends.
                let idle = open.idle_time_out.filter(|millis| *millis > 0);
                self.heartbeat = idle.map(|millis| Duration::from_millis(u64::from(millis) / 2));
                self.fault("OPEN", "/").await?;
                let advertised = options.idle_time_out.map(|idle| u32::try_from(idle.as_millis()).unwrap_or(u32::MAX));
                let container = random::hex(16);
                self.put(0, &codec::open(&container, ours, 4999, advertised));
            }
            Performative::Begin(begin) => {
                let session = Session::new(channel, begin.next_outgoing_id, begin.incoming_window);
                self.put(channel, &codec::begin(channel, 0, super::session::WINDOW, 255));
                self.sessions.insert(channel, session);
            }
            Performative::Attach(attach) => self.on_attach(channel, attach).await?,
            Performative::Flow(flow) => {
                let Some(session) = self.sessions.get_mut(&channel) else { return Ok(()) };
                session.on_flow(&flow);
                if flow.echo {
                    session.flow(flow.handle.as_ref().map(|handle| handle.0), &mut self.out);
                }
            }
            Performative::Transfer(transfer) => {
                let Some(session) = self.sessions.get_mut(&channel) else { return Ok(()) };
                if session.on_transfer() {
                    session.flow(None, &mut self.out);
                }
                self.on_transfer(channel, &transfer, &payload).await?;
            }
            Performative::Disposition(disposition) => self.on_disposition(channel, &disposition),
            Performative::Detach(detach) => {
                let handle = detach.handle.0;
                let Some(link) = self.sessions.get_mut(&channel).and_then(|session| session.links.remove(&handle))
                else {
                    return Ok(());
                };
                if !link.detached {
                    self.put(channel, &codec::detach(handle, None));
                }
                self.give_back(link.kind);
            }
            Performative::End(_) => {
                if let Some(session) = self.sessions.remove(&channel) {
                    if !session.ended {
                        self.put(channel, &codec::end(None));
                    }
                    session.links.into_values().for_each(|link| self.give_back(link.kind));
                }
            }
            Performative::Close(_) => {
                self.world.traffic.amqp_closed();
                self.put(0, &codec::close(None));
                return Err(End::Flush);
            }
        }
        Ok(())
    }

    fn on_disposition(&mut self, channel: u16, disposition: &Disposition) {
        if disposition.role != Role::Receiver {
            return;
        }
        let first = disposition.first;
        let last = disposition.last.unwrap_or(first);
        let outcome = disposition.state.as_ref().and_then(codec::outcome);
        let world = self.world.clone();
        let Some(session) = self.sessions.get_mut(&channel) else { return };
        for link in session.links.values_mut() {
            link.active = Instant::now();
            let LinkKind::Notices { locks, .. } = &mut link.kind else { continue };
            let done: Vec<u32> = locks.keys().copied().filter(|id| (first..=last).contains(id)).collect();
            for id in done {
                let Some(token) = locks.remove(&id) else { continue };
                // No outcome, but settled: the client has forgotten it.
                match &outcome {
                    Some(Outcome::Accepted | Outcome::Rejected(_)) => world.service_bound.complete(&token),
                    Some(Outcome::Released) | None => world.service_bound.abandon(&token),
                };
            }
        }
        // A receiver that settles second waits for the sender.
        if !disposition.settled && last.wrapping_sub(first) < super::session::WINDOW {
            for id in first..=last {
                let outcome = outcome.as_ref().unwrap_or(&Outcome::Accepted);
                codec::put_frame(&mut self.out, 0, channel, &codec::disposition(Role::Sender, id, outcome), &[]);
            }
        }
    }

    // Deliveries

    /// Sends what there is to send, up to a budget.
    async fn pump(&mut self) -> Step {
        self.more = false;
        for (channel, handle) in self.links() {
            if self.out.len() >= WRITE_BUDGET {
                self.more = true;
                break;
            }
            self.pump_link(channel, handle).await?;
        }
        self.release();
        Ok(())
    }

    /// Moves what the clients' windows allow to the buffer.
    fn release(&mut self) {
        for session in self.sessions.values_mut() {
            session.release(&mut self.out);
        }
    }

    async fn pump_link(&mut self, channel: u16, handle: u32) -> Step {
        let world = self.world.clone();
        loop {
            let max_frame_size = self.max_frame_size;
            let Some(session) = self.sessions.get_mut(&channel) else { return Ok(()) };
            session.release(&mut self.out);
            let blocked = session.is_blocked() || session.ended;
            let Some(link) = session.links.get_mut(&handle).filter(|link| link.is_sender() && !link.detached) else {
                return Ok(());
            };
            if blocked || (link.credit == 0 && !link.drain) {
                return Ok(());
            }
            if self.out.len() >= WRITE_BUDGET {
                self.more = true;
                return Ok(());
            }
            let mut lock_token = None;
            let (tag, head, body) = match &mut link.kind {
                _ if link.credit == 0 => (Vec::new(), None, None),
                LinkKind::Reply { queue, .. } => (random::fill(8), None, queue.pop_front().map(bytes::Bytes::from)),
                LinkKind::Events { partition, position, metrics, .. } => {
                    let event = world.event_hub.read(*partition, position, 1).pop();
                    let head = event.as_ref().filter(|_| *metrics).map(|_| super::nodes::metrics(&world, *partition));
                    let tag = event.as_ref().map(|event| event.sequence.to_be_bytes().to_vec()).unwrap_or_default();
                    (tag, head, event.map(|event| event.encoded()))
                }
                LinkKind::Notices { queue, .. } => {
                    if *queue == Queue::Feedback {
                        expire_messages(&world);
                    }
                    let ready = world.service_bound.ready_in(*queue, world.options.amqp.feedback_wait);
                    let locked = ready.filter(|left| left.is_zero()).and_then(|_| world.service_bound.take(*queue));
                    lock_token = locked.as_ref().map(|locked| locked.token);
                    let body = locked.as_ref().map(|locked| super::nodes::notice(*queue, locked));
                    (locked.map(|locked| locked.token.to_vec()).unwrap_or_default(), None, body)
                }
                LinkKind::Request { .. } | LinkKind::DeviceBound { .. } | LinkKind::Refused => return Ok(()),
            };
            let Some(body) = body else {
                if link.drain {
                    // Credit that cannot be used is used up.
                    link.delivery_count = link.delivery_count.wrapping_add(link.credit);
                    link.credit = 0;
                    session.flow(Some(handle), &mut self.out);
                    if let Some(link) = session.links.get_mut(&handle) {
                        link.drain = false;
                    }
                }
                return Ok(());
            };
            if !matches!(link.kind, LinkKind::Reply { .. }) {
                let path = link.path.clone();
                let instead = self.fault("TRANSFER", &path).await;
                // A rule may have taken the connection or the link away.
                let gone = self.link(channel, handle).is_none_or(|link| link.detached);
                if gone || !matches!(instead, Ok(None)) {
                    if let Some(token) = lock_token {
                        world.service_bound.abandon(&token);
                    }
                    if let Some(instead) = instead? {
                        self.apply(channel, handle, &instead);
                    }
                    return Ok(());
                }
            }
            let Some(session) = self.sessions.get_mut(&channel) else { return Ok(()) };
            let id = match &head {
                Some(head) => session.send(handle, &tag, &[head, &body], max_frame_size),
                None => session.send(handle, &tag, &[&body], max_frame_size),
            };
            if let Some(token) = lock_token
                && let Some(link) = session.links.get_mut(&handle)
            {
                match &mut link.kind {
                    LinkKind::Notices { locks, .. } if !link.settled => {
                        locks.insert(id, token);
                    }
                    _ => {
                        world.service_bound.complete(&token);
                    }
                }
            }
        }
    }

    // Faults

    /// Applies the rules for an operation; returns what is to happen in its place.
    pub(super) async fn fault(&mut self, operation: &str, path: &str) -> Step<Option<Instead>> {
        for action in self.world.faults.pick(self.service, operation, path) {
            match action {
                FaultAction::Latency(duration) => tokio::time::sleep(duration).await,
                FaultAction::DropConnection => {
                    // What was said before it has been said.
                    self.release();
                    self.flush().await?;
                    tokio::time::sleep(GRACE_TIME).await;
                    return Err(End::Drop);
                }
                FaultAction::Close(condition) => {
                    self.close(&condition, "A fault rule closed the connection.")?;
                }
                FaultAction::HalfFrame => {
                    // What waits for the window has to go first, or its frame would be the one that is cut.
                    self.release();
                    self.half_at = Some(self.out.len());
                }
                FaultAction::Cut(bytes) => self.cut_after = Some(self.out.len() + bytes as usize),
                FaultAction::StallBody => self.stalled = true,
                FaultAction::Garbage => self.out.extend_from_slice(b"\x00\x00\x00\x03HTTP/1.1 502 Bad Gateway\r\n\r\n"),
                FaultAction::ExpireTokens => {
                    self.claims.clear();
                    self.drop_unclaimed(i64::MAX)?;
                }
                FaultAction::Detach(condition) => return Ok(Some(Instead::Detach(condition))),
                FaultAction::End(condition) => return Ok(Some(Instead::End(condition))),
                FaultAction::Reject(condition) => return Ok(Some(Instead::Reject(condition))),
                FaultAction::Status { status, .. } => return Ok(Some(Instead::Status(status))),
                _ => {}
            }
        }
        Ok(None)
    }

    /// Detaches the link or ends the session, as a rule wants it.
    pub(super) fn apply(&mut self, channel: u16, handle: u32, instead: &Instead) {
        let error = AmqpError::of_rule;
        match instead {
            Instead::Detach(condition) | Instead::Reject(condition) => {
                self.detach(channel, handle, &error(condition));
            }
            Instead::End(condition) => self.end_session(channel, &error(condition)),
            Instead::Status(status) => {
                let error = AmqpError::new("amqp:internal-error", format!("status {status}"));
                self.detach(channel, handle, &error);
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        for session in std::mem::take(&mut self.sessions).into_values() {
            session.links.into_values().for_each(|link| self.give_back(link.kind));
        }
    }
}
