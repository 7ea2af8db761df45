//! Moving bytes: a stream that is read and written until a deadline, over TCP, over TLS over it, or over a WebSocket over
//! that.

mod io;
#[cfg(not(target_family = "wasm"))]
mod native;
mod tcp;
mod tls;
#[cfg(target_family = "wasm")]
mod wasi;
mod web_socket;

use std::fmt;
use std::time::Duration;

pub use tcp::Tcp;
pub use tls::{Roots, Tls};
pub use web_socket::WebSocket;

use super::stage::Stage;
use crate::amqp_transport::AmqpTransport;
use crate::platform::{Platform, WireResponse};

/// The moment at which a call must be over, on the platform's monotonic clock.
#[derive(Clone, Copy)]
pub struct Deadline<'p> {
    platform: &'p dyn Platform,
    at: Duration,
}

impl<'p> Deadline<'p> {
    /// A deadline at this moment.
    pub fn at(platform: &'p dyn Platform, at: Duration) -> Self {
        Self { platform, at }
    }

    /// The earlier of this one and `at`.
    #[must_use]
    pub fn or_at(self, at: Duration) -> Self {
        Self { at: self.at.min(at), ..self }
    }

    /// For something that others do not wait for: so long from now at the most, and no more than a quarter of what is left.
    #[must_use]
    pub fn soon(self, limit: Duration) -> Self {
        let left = self.remaining().unwrap_or_default();
        self.or_at(self.now().saturating_add(limit.min(left / 4)))
    }

    /// The moment.
    pub fn moment(&self) -> Duration {
        self.at
    }

    /// The time now.
    pub fn now(&self) -> Duration {
        self.platform.monotonic()
    }

    /// What is left; none where nothing is.
    pub fn remaining(&self) -> Option<Duration> {
        self.at.checked_sub(self.now()).filter(|left| !left.is_zero())
    }
}

impl fmt::Debug for Deadline<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Deadline").field(&self.at).finish()
    }
}

/// A stream of bytes both ways. Every call comes back by the deadline.
pub trait Transport {
    /// Reads what there is, at least one byte; 0 is the end of the stream.
    ///
    /// # Errors
    /// `Timeout` at the deadline, after which reading can go on; all others are final.
    fn read(&mut self, buffer: &mut [u8], deadline: &Deadline) -> Result<usize, TransportError>;

    /// Writes some of `bytes`, at least one.
    ///
    /// # Errors
    /// As [`Transport::read`].
    fn write(&mut self, bytes: &[u8], deadline: &Deadline) -> Result<usize, TransportError>;
}

impl<T: Transport + ?Sized> Transport for Box<T> {
    fn read(&mut self, buffer: &mut [u8], deadline: &Deadline) -> Result<usize, TransportError> {
        (**self).read(buffer, deadline)
    }
    fn write(&mut self, bytes: &[u8], deadline: &Deadline) -> Result<usize, TransportError> {
        (**self).write(bytes, deadline)
    }
}

/// Connects to a server that speaks AMQP: over TLS, and over a WebSocket at `path` where the transport is that.
///
/// # Errors
/// As [`Tls::open`] and [`WebSocket::connect`].
pub fn open(
    transport: AmqpTransport,
    (host, port): (&str, u16),
    path: &str,
    roots: Roots,
    deadline: &Deadline,
) -> Result<Box<dyn Transport>, TransportError> {
    let tls = Tls::open(host, port, roots, deadline)?;
    Ok(match transport {
        AmqpTransport::Tcp => Box::new(tls),
        AmqpTransport::WebSockets => Box::new(WebSocket::connect(tls, host, port, path, deadline)?),
    })
}

/// Why bytes do not flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportErrorKind {
    /// The host name has no address.
    Dns,
    /// Nobody listens there, or the network has no way.
    Connect,
    /// The plugin's host does not allow it.
    Denied,
    /// The TLS handshake failed, or the certificate is not trusted.
    Tls,
    /// The server does not open a WebSocket.
    Upgrade,
    /// The deadline has passed.
    Timeout,
    /// The connection broke.
    Broken,
}

/// A failure of the transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportError {
    /// Why.
    pub kind: TransportErrorKind,
    /// While this was waited for.
    pub stage: Stage,
    /// For a log.
    pub detail: String,
    /// What a server answered that refused a WebSocket.
    pub answer: Option<Box<WireResponse>>,
}

impl TransportError {
    pub(crate) fn new(kind: TransportErrorKind, stage: Stage, detail: impl Into<String>) -> Self {
        Self { kind, stage, detail: detail.into(), answer: None }
    }

    /// The same failure while something else was waited for: below a handshake it is the handshake that fails.
    pub(crate) fn at(self, stage: Stage) -> Self {
        match self.kind {
            TransportErrorKind::Timeout => Self::timeout(stage),
            _ => Self { stage, ..self },
        }
    }

    pub(crate) fn timeout(stage: Stage) -> Self {
        Self::new(TransportErrorKind::Timeout, stage, format!("the time was up while waiting for {stage}"))
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            TransportErrorKind::Dns => "the host name has no address",
            TransportErrorKind::Connect => "no connection could be made",
            TransportErrorKind::Denied => "the plugin's host does not allow the connection",
            TransportErrorKind::Tls => "there is no trusted TLS connection",
            TransportErrorKind::Upgrade => "the server does not open a WebSocket",
            TransportErrorKind::Timeout => "the time was up",
            TransportErrorKind::Broken => "the connection broke",
        };
        write!(f, "{what} ({})", self.detail)
    }
}

impl std::error::Error for TransportError {}
