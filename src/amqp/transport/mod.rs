//! Moving bytes: a stream that is read and written until a deadline. It runs over TCP, over TLS on TCP, or over a
//! WebSocket on TLS.
//!
//! TLS is either this crate's own (`tls.rs`, feature `guest-tls`) or the host's (`host_tls.rs`, feature `host-tls`).
//! Nothing above this module knows which.

#[cfg(not(any(feature = "guest-tls", all(feature = "host-tls", target_family = "wasm"))))]
compile_error!("AMQP needs the feature `guest-tls`, or in WebAssembly `host-tls`");

#[cfg(all(feature = "guest-tls", any(target_family = "wasm", test)))]
mod gcm;
#[cfg(not(feature = "guest-tls"))]
mod host_tls;
mod io;
#[cfg(not(target_family = "wasm"))]
mod native;
#[cfg(target_family = "wasm")]
mod streams;
#[cfg(feature = "guest-tls")]
mod tcp;
#[cfg(feature = "guest-tls")]
mod tls;
#[cfg(all(feature = "guest-tls", target_family = "wasm"))]
mod wasi;
mod web_socket;

use std::fmt;
use std::time::Duration;

#[cfg(not(feature = "guest-tls"))]
use host_tls::Tls;
#[cfg(feature = "guest-tls")]
pub use tcp::Tcp;
#[cfg(feature = "guest-tls")]
pub use tls::Tls;
pub use web_socket::WebSocket;

use super::stage::Stage;
use crate::amqp_transport::AmqpTransport;
use crate::platform::{Platform, WireResponse};

/// The moment by which a call must end, on the platform's monotonic clock.
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

    /// The earlier of this deadline and `at`.
    #[must_use]
    pub fn or_at(self, at: Duration) -> Self {
        Self { at: self.at.min(at), ..self }
    }

    /// A deadline for work that the rest of the call does not depend on: at most `limit` from now, and at most a
    /// quarter of the time left.
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

    /// The time left; none after the deadline.
    pub fn remaining(&self) -> Option<Duration> {
        self.at.checked_sub(self.now()).filter(|left| !left.is_zero())
    }
}

impl fmt::Debug for Deadline<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Deadline").field(&self.at).finish()
    }
}

/// A stream of bytes in both directions. Every call returns by the deadline.
pub trait Transport {
    /// Reads the bytes that are available, at least one; 0 means the end of the stream.
    ///
    /// # Errors
    /// `Timeout` at the deadline, after which reading can continue; all other errors are final.
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

/// The certificate authorities that are trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Roots<'a> {
    /// The authorities of Mozilla's root programme, which include the authorities that Azure uses. With TLS by the host:
    /// the authorities that it trusts.
    #[default]
    WebPki,
    /// Only the authorities of this PEM text: a private authority that the connection states.
    Pem(&'a str),
}

/// Connects to a server that speaks AMQP over TLS, and over a WebSocket at `path` if `transport` is WebSockets.
///
/// # Errors
/// As `Tls::open` and [`WebSocket::connect`].
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

/// Why the transport failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportErrorKind {
    /// The host name has no address.
    Dns,
    /// Nobody listens at the address, or the network has no route to it.
    Connect,
    /// The engine does not allow the connection.
    Denied,
    /// The TLS handshake failed, or the certificate is not trusted.
    Tls,
    /// The server refuses to open a WebSocket.
    Upgrade,
    /// The deadline has passed.
    Timeout,
    /// The connection broke.
    Broken,
}

/// A failure of the transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportError {
    /// The kind of failure.
    pub kind: TransportErrorKind,
    /// What the transport waited for when it failed.
    pub stage: Stage,
    /// Details for a log.
    pub detail: String,
    /// The server's answer, if it refused a WebSocket.
    pub answer: Option<Box<WireResponse>>,
}

impl TransportError {
    pub(crate) fn new(kind: TransportErrorKind, stage: Stage, detail: impl Into<String>) -> Self {
        Self { kind, stage, detail: detail.into(), answer: None }
    }

    /// The same failure with another stage: if the connection fails during a handshake, the handshake is named in the
    /// error.
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
            TransportErrorKind::Denied => "the engine does not allow the connection",
            TransportErrorKind::Tls => "no trusted TLS connection could be made",
            TransportErrorKind::Upgrade => "the server does not open a WebSocket",
            TransportErrorKind::Timeout => "the time was up",
            TransportErrorKind::Broken => "the connection broke",
        };
        write!(f, "{what} ({})", self.detail)
    }
}

impl std::error::Error for TransportError {}
