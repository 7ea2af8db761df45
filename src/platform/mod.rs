//! What the connector asks of the world: time, chance and one HTTP exchange. Everything above this line is pure.

use std::borrow::Cow;
use std::time::Duration;

use crate::secret::Secret;

#[cfg(test)]
pub mod fake;
#[cfg(target_family = "wasm")]
pub mod wasi;

/// The capabilities that a call is given. The real ones are WASI's; tests script their own.
pub trait Platform {
    /// The time of day since the Unix epoch.
    fn unix_time(&self) -> Duration;
    /// A clock that never steps back, from an arbitrary origin.
    fn monotonic(&self) -> Duration;
    /// Waits.
    fn sleep(&self, duration: Duration);
    /// A random number, for jitter and names; not for keys.
    fn random(&self) -> u64;
    /// Fills `bytes` with numbers that nobody can guess, for keys.
    fn secure_random(&self, bytes: &mut [u8]);
    /// Sends one request and reads the whole answer, within `limits`.
    ///
    /// # Errors
    /// [`ExchangeError`] where no complete answer came.
    fn exchange(&self, request: &WireRequest, limits: &ExchangeLimits) -> Result<WireResponse, ExchangeError>;
}

/// The platform that outlives a call, for connections that are kept open between calls; only an instance has one.
pub fn lasting() -> Option<&'static dyn Platform> {
    #[cfg(target_family = "wasm")]
    return Some(&wasi::WasiPlatform);
    #[cfg(not(target_family = "wasm"))]
    None
}

/// An HTTP method that the services use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it all")]
pub enum Method {
    Get,
    Put,
    Post,
    Patch,
    Delete,
}

impl Method {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
            Self::Post => "POST",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// A request as it goes over the wire, always by HTTPS.
#[derive(Clone, Debug)]
pub struct WireRequest {
    /// The method.
    pub method: Method,
    /// Host, with `:port` where it is not 443.
    pub authority: String,
    /// Path and query, percent-encoded.
    pub path_with_query: String,
    /// Headers besides `authorization`; names in lower case.
    pub headers: Vec<(Cow<'static, str>, String)>,
    /// The `authorization` header.
    pub authorization: Secret,
    /// The body.
    pub body: Option<Vec<u8>>,
}

/// What one exchange may use up.
#[derive(Clone, Copy, Debug)]
pub struct ExchangeLimits {
    /// Until the connection, TLS included, is there.
    pub connect: Duration,
    /// From then until the first byte of the answer.
    pub first_byte: Duration,
    /// Until all of the answer is there, counted from the start.
    pub total: Duration,
    /// Bytes of the answer's body.
    pub body_bytes: usize,
}

/// A complete answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WireResponse {
    /// HTTP status.
    pub status: u16,
    /// Headers, names in lower case; values that are not text are left out.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
}

impl WireResponse {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Why no complete answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExchangeErrorKind {
    /// The host name has no address.
    Dns,
    /// Nobody listens there, or the network has no way.
    Connect,
    /// The TLS handshake failed, or the certificate is not trusted.
    Tls,
    /// A time-out ran out.
    Timeout,
    /// The connection broke.
    Broken,
    /// The answer is larger than allowed.
    TooLarge,
    /// The host of the plugin does not allow this destination.
    Denied,
    /// What came is not HTTP.
    Protocol,
    /// A limit of the plugin's host.
    HostLimit,
}

/// An exchange without a complete answer.
#[derive(Clone, Debug)]
pub struct ExchangeError {
    /// Why.
    pub kind: ExchangeErrorKind,
    /// Whether the service may have received the request.
    pub sent: bool,
    /// For a log; never a header's value.
    pub detail: String,
}
