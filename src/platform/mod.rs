//! What the connector needs from outside: the time, random numbers and one HTTP exchange. All code above this layer is
//! pure.

use std::borrow::Cow;
use std::time::Duration;

use crate::secret::Secret;

#[cfg(test)]
pub mod fake;
#[cfg(target_family = "wasm")]
pub mod wasi;

/// The capabilities that a call is given. In the component they come from WASI; tests use a scripted platform.
pub trait Platform {
    /// The time of day since the Unix epoch.
    fn unix_time(&self) -> Duration;
    /// A clock that never steps back, from an arbitrary origin.
    fn monotonic(&self) -> Duration;
    /// Waits for this long.
    fn sleep(&self, duration: Duration);
    /// A random number, for jitter and names; not for keys.
    fn random(&self) -> u64;
    /// Fills `bytes` with numbers that nobody can predict, for keys.
    fn secure_random(&self, bytes: &mut [u8]);
    /// Sends one request and reads the whole answer, within `limits`.
    ///
    /// # Errors
    /// [`ExchangeError`] where no complete answer came.
    fn exchange(&self, request: &WireRequest, limits: &ExchangeLimits) -> Result<WireResponse, ExchangeError>;
}

/// A platform that outlives a call, for connections that stay open between calls. It exists only in the component's
/// instance.
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
    /// The method's name in a request.
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

/// A request as it is sent, always over HTTPS.
#[derive(Clone, Debug)]
pub struct WireRequest {
    /// The method.
    pub method: Method,
    /// The host, with `:port` if the port is not 443.
    pub authority: String,
    /// The path and the query, percent-encoded.
    pub path_with_query: String,
    /// The headers without `authorization`; names are in lower case.
    pub headers: Vec<(Cow<'static, str>, String)>,
    /// The `authorization` header.
    pub authorization: Secret,
    /// The body.
    pub body: Option<Vec<u8>>,
}

/// The limits of one exchange.
#[derive(Clone, Copy, Debug)]
pub struct ExchangeLimits {
    /// The longest time to make the connection, TLS included.
    pub connect: Duration,
    /// The longest time after that until the first byte of the answer.
    pub first_byte: Duration,
    /// The longest time until the answer is complete, counted from the start.
    pub total: Duration,
    /// The largest body of an answer, in bytes.
    pub body_bytes: usize,
}

/// A complete answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WireResponse {
    /// HTTP status.
    pub status: u16,
    /// The headers, with names in lower case. Values that are not text are left out.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
}

impl WireResponse {
    /// The first header with this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Why no complete answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExchangeErrorKind {
    /// The host name has no address.
    Dns,
    /// Nobody listens at the address, or the network has no route to it.
    Connect,
    /// The TLS handshake failed, or the certificate is not trusted.
    Tls,
    /// A time limit was exceeded.
    Timeout,
    /// The connection broke.
    Broken,
    /// The answer is larger than allowed.
    TooLarge,
    /// The engine does not allow this destination.
    Denied,
    /// The answer is not HTTP.
    Protocol,
    /// A limit that the engine sets was reached.
    HostLimit,
}

/// An exchange without a complete answer.
#[derive(Clone, Debug)]
pub struct ExchangeError {
    /// The kind of failure.
    pub kind: ExchangeErrorKind,
    /// Whether the service may have received the request.
    pub sent: bool,
    /// Details for a log; they never contain the value of a header.
    pub detail: String,
}
