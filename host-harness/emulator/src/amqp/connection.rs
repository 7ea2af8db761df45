//! The state of one AMQP connection, and its basic operations on input, output, links and claims.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{mpsc, watch};

use super::claims::Claim;
use super::codec::Frame;
use super::device_session::DeviceSession;
use super::error::AmqpError;
use super::registrant::Registrant;
use super::session::{Link, LinkKind, Session};
use super::{codec, performatives};
use crate::client_certificate::ClientCertificate;
use crate::event_hub::endpoint::Lost;
use crate::service::Service;
use crate::world::Shared;

pub(super) const HANDSHAKE_TIME: Duration = Duration::from_secs(20);
/// The longest time that one write may take. A client that reads nothing for this time is treated as gone.
const WRITE_TIME: Duration = Duration::from_secs(60);
/// How long a connection that the emulator has closed waits until the client closes it, too.
const LINGER_TIME: Duration = Duration::from_secs(1);
/// How long a connection stays open after its last write before it is dropped, so that the written bytes are really
/// sent.
pub(super) const GRACE_TIME: Duration = Duration::from_millis(50);
/// How many bytes are written before the client's frames are read again.
pub(super) const WRITE_BUDGET: usize = 256 << 10;

/// How the conversation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The conversation ends at once, and unsent bytes are discarded.
    Drop,
    /// The conversation ends after the buffered bytes were sent.
    Flush,
}

/// The result of one step of the conversation: a value to continue with, or the end of the conversation.
pub(super) type Step<T = ()> = Result<T, End>;

pub(super) trait Transport: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Transport for T {}

/// The signals, besides client input and timers, that wake a connection's loop.
pub(super) struct Wakers {
    pub(super) lost: mpsc::UnboundedReceiver<Lost>,
    pub(super) events: watch::Receiver<u64>,
    pub(super) notices: watch::Receiver<u64>,
    pub(super) generation: watch::Receiver<u64>,
    pub(super) stop: watch::Receiver<bool>,
}

pub(super) struct Connection {
    pub(super) stream: Box<dyn Transport>,
    pub(super) inbound: BytesMut,
    pub(super) out: BytesMut,
    pub(super) wake: Wakers,
    pub(super) lost_tx: mpsc::UnboundedSender<Lost>,
    pub(super) world: Shared,
    pub(super) service: Service,
    /// The server name (SNI) in the client's TLS handshake, in lower case.
    pub(super) host_name: Option<String>,
    /// The certificate that the client presented in its TLS handshake.
    pub(super) certificate: Option<ClientCertificate>,
    /// The connection came over a WebSocket.
    pub(super) web_socket: bool,
    pub(super) opened: bool,
    /// The largest frame that both sides accept, in bytes.
    pub(super) max_frame_size: usize,
    pub(super) heartbeat: Option<Duration>,
    pub(super) claims: Vec<Claim>,
    /// The device that has logged in to register.
    pub(super) registrant: Option<Registrant>,
    /// The devices and modules that have links, by the keys of their records.
    pub(super) devices: HashMap<String, DeviceSession>,
    /// The claim came with SASL, so the connection ends when the claim expires.
    pub(super) dies_with_claims: bool,
    pub(super) sessions: HashMap<u16, Session>,
    /// The write budget was used up before everything was sent.
    pub(super) more: bool,
    pub(super) last_read: Instant,
    pub(super) last_write: Instant,
    pub(super) without_link: Instant,
    pub(super) half_at: Option<usize>,
    pub(super) cut_after: Option<usize>,
    pub(super) stalled: bool,
}

/// What a fault rule does instead of the operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FaultOutcome {
    Detach(String),
    End(String),
    Reject(String),
    Status(u16),
}

impl Connection {
    pub(super) async fn fill(&mut self) -> Step {
        match self.stream.read_buf(&mut self.inbound).await {
            Ok(0) | Err(_) => Err(End::Drop),
            Ok(_) => Ok(()),
        }
    }

    pub(super) fn next_frame(&mut self) -> Step<Option<Frame>> {
        let limit = self.world.options.amqp.max_frame_size.max(512) as usize;
        codec::next_frame(&mut self.inbound, limit).map_err(|error| {
            tracing::debug!(%error, "a frame was refused");
            if self.opened {
                let error = AmqpError::new("amqp:decode-error", error.to_string());
                codec::put_frame(&mut self.out, 0, 0, &performatives::close(Some(&error)), &[]);
            }
            End::Flush
        })
    }

    pub(super) async fn flush(&mut self) -> Step {
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

    /// Sends the buffered bytes, then waits briefly until the client closes the connection.
    pub(super) async fn linger(&mut self) {
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

    pub(super) fn close(&mut self, condition: &str, description: &str) -> Step {
        let error = AmqpError::new(condition, description);
        codec::put_frame(&mut self.out, 0, 0, &performatives::close(Some(&error)), &[]);
        Err(End::Flush)
    }

    pub(super) fn put(&mut self, channel: u16, body: &[u8]) {
        codec::put_frame(&mut self.out, 0, channel, body, &[]);
    }

    /// Moves waiting frames of each session to the output buffer, up to the session's window at the client.
    pub(super) fn release(&mut self) {
        for session in self.sessions.values_mut() {
            session.release(&mut self.out);
        }
    }

    pub(super) fn is_claimed(&self, segments: &[String], now: i64) -> bool {
        self.claims.iter().any(|claim| claim.covers(segments, now))
    }

    pub(super) fn drop_unclaimed(&mut self, now: i64) -> Step {
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

    pub(super) fn links(&self) -> Vec<(u16, u32)> {
        let sessions = self.sessions.values();
        sessions.flat_map(|session| session.links.keys().map(|handle| (session.channel, *handle))).collect()
    }

    pub(super) fn link(&mut self, channel: u16, handle: u32) -> Option<&mut Link> {
        self.sessions.get_mut(&channel)?.links.get_mut(&handle)
    }

    /// Detaches a link from the service's side. The link's reader and its locks are released at once.
    pub(super) fn detach(&mut self, channel: u16, handle: u32, error: &AmqpError) {
        self.put(channel, &performatives::detach(handle, Some(error)));
        if let Some(link) = self.link(channel, handle) {
            link.detached = true;
            let kind = std::mem::replace(&mut link.kind, LinkKind::Refused);
            self.give_back(kind);
        }
    }

    pub(super) fn end_session(&mut self, channel: u16, error: &AmqpError) {
        self.put(channel, &performatives::end(Some(error)));
        if let Some(session) = self.sessions.get_mut(&channel) {
            session.ended = true;
            let links = std::mem::take(&mut session.links);
            links.into_values().for_each(|link| self.give_back(link.kind));
        }
    }

    /// Returns locked notices and messages to their queues when their link ends.
    pub(super) fn give_back(&self, kind: LinkKind) {
        match kind {
            LinkKind::Notices { locks, .. } => {
                for token in locks.values() {
                    self.world.service_bound.abandon(token);
                }
            }
            LinkKind::ToDevice { device, endpoint, locks, .. } => self.leave_endpoint(&device, endpoint, locks),
            _ => {}
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
