//! The HTTP exchanges of one call: the checks of each request, and the limits on the exchanges.

use std::future::Future;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderName, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout, timeout_at};
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, ForbiddenHeaderFilter, RequestOptions, WasiBody, WasiHttpHooks,
};

use super::connect_error::ConnectError;
use super::context::CallContext;
use super::errands::Errands;
use super::ledger::Excess;
use super::network::Network;
use super::policy::{AllowList, Destination};
use super::pool::{Client, Lent, SendError};
use super::resolver::Asking;
use super::shown::said;
use crate::error::EgressDenied;
use crate::error::Refusals;
use crate::interface::metadata::EgressProtocol;
use crate::limits::cpu::{Counting, Payer};
use crate::limits::fair::{TenantId, Turn};
use crate::limits::lines::{Lines, bounded};
use crate::limits::{ByteBudget, LimitExceeded, LimitName, Reservation};
use crate::operators::telemetry::{CallMeter, Way};
use crate::options::split_authority;

/// How long the end of a call waits for its HTTP exchanges to end.
const GRACE: Duration = Duration::from_millis(50);

/// How long an abandoned exchange may keep its connection. Usually its remaining work ends by itself, except if the
/// server stops reading.
const OVERDUE: Duration = Duration::from_millis(200);

/// Bytes that are reserved for a request and for its response, in addition to their headers: for the part of a body
/// that the guest or the connection has written and the other has not read.
const REQUEST_BUFFER: u64 = 128 << 10;
const RESPONSE_BUFFER: u64 = 256 << 10;

/// How much of a request's body a guest may write at once, in bytes.
const BODY_CHUNK: usize = 64 << 10;

/// How many denials, and how many exceeded limits, a call remembers. Equal ones count as one, and this bound prevents a
/// guest from filling memory with different ones.
const REMEMBERED: usize = 16;

/// The rules and limits for the requests of one call, and the requests that were refused.
pub(crate) struct Exchange {
    pub(crate) network: Arc<Network>,
    id: TenantId,
    pub(crate) allowed: Arc<AllowList>,
    pub(crate) deadline: Instant,
    bytes: ByteBudget,
    buffers: ByteBudget,
    refusals: Mutex<Refusals>,
    /// The number of denials that were not logged.
    unlogged: AtomicU64,
    life: watch::Sender<Life>,
    /// The running exchanges. The list may also contain some that have ended.
    under_way: Mutex<Vec<Weak<Held>>>,
    errands: Errands,
    payer: Arc<Payer>,
    context: CallContext,
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.report_the_rest();
    }
}

/// The state of a call.
#[derive(Default)]
struct Life {
    ended: bool,
    /// The number of running HTTP exchanges. Each lasts from its request to the end of both bodies.
    open: usize,
}

/// A digest of the method and the URI, by which a repeated request is recognized.
fn digest<B>(request: &http::Request<B>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (request.method(), request.uri()).hash(&mut hasher);
    hasher.finish()
}

/// Counts a running exchange until this value is dropped.
struct Open(Arc<Exchange>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.life.send_modify(|life| life.open -= 1);
    }
}

impl Exchange {
    /// The exchanges of a call of a test, without measurements.
    #[cfg(test)]
    pub(crate) fn new(network: &Arc<Network>, allowed: Arc<AllowList>, deadline: Instant) -> Arc<Self> {
        Self::within(network, allowed, deadline, CallContext::default())
    }

    pub(crate) fn within(
        network: &Arc<Network>,
        allowed: Arc<AllowList>,
        deadline: Instant,
        context: CallContext,
    ) -> Arc<Self> {
        let (id, network) = (network.id(), network.clone());
        let bytes = ByteBudget::new(network.options.limits.http_body_bytes);
        let buffers = ByteBudget::new(network.options.limits.buffer_bytes);
        let life = watch::channel(Life::default()).0;
        let (refusals, unlogged) = (Mutex::default(), AtomicU64::new(0));
        let limits = &network.options.limits;
        let lines = Lines::new(&network.options.name, limits);
        let payer = Payer::new(context.meter.computing().clone(), limits.cpu, lines);
        let (under_way, errands) = (Mutex::default(), Errands::default());
        Arc::new(Self {
            network,
            id,
            allowed,
            deadline,
            bytes,
            buffers,
            refusals,
            unlogged,
            life,
            under_way,
            errands,
            payer,
            context,
        })
    }

    /// Returns the refusals until now, and forgets them.
    pub(crate) fn take_refusals(&self) -> Refusals {
        self.report_the_rest();
        std::mem::take(&mut *self.refusals())
    }

    /// What the host does for the call beside its guest. It is done only while somebody attends to it.
    pub(crate) fn errands(&self) -> &Errands {
        &self.errands
    }

    /// Begins an exchange, as an errand of the call. Dropping the receiver ends the exchange.
    pub(crate) fn begin(
        self: &Arc<Self>,
        request: http::Request<WasiBody>,
        options: RequestOptions,
    ) -> oneshot::Receiver<Answer> {
        let (mut answered, answer) = oneshot::channel();
        let (sending, lines) = (self.clone().send(request, options), self.payer.lines().clone());
        let errand = async move {
            tokio::select! {
                biased;
                () = answered.closed() => {}
                answer = sending => drop(answered.send(answer)),
            }
        };
        // Without an attendant the guest is over, so nobody waits for the answer.
        drop(self.errands.add(bounded(errand, move || lines.clone()).boxed()));
        answer
    }

    pub(crate) fn meter(&self) -> &CallMeter {
        &self.context.meter
    }

    /// The computing time that the call has used until now.
    pub(crate) fn computed(&self) -> Duration {
        self.meter().computing().spent()
    }

    /// Counts the computing time of the guest, and of what the host does for the call in the same polls.
    pub(crate) fn counting<F: Future>(&self, guest: F) -> Counting<'_, F> {
        self.meter().computing().counting_for(&self.payer, guest)
    }

    /// Resolves when the work that the host does for the call has used up the call's computing time.
    pub(crate) async fn exhausted(&self) {
        self.payer.exhausted().await;
    }

    fn refusals(&self) -> MutexGuard<'_, Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the running exchanges, because the call has ended. Returns false if the guest still holds an exchange, and
    /// with it a connection and a part of the tenant's quota.
    pub(crate) async fn end(&self) -> bool {
        self.break_off();
        self.report_the_rest();
        let mut life = self.life.subscribe();
        timeout(GRACE, life.wait_for(|life| life.open == 0)).await.is_ok()
    }

    /// Ends the running exchanges. Those that do not end soon lose their connections.
    fn break_off(&self) {
        self.life.send_modify(|life| life.ended = true);
        cut_soon(std::mem::take(&mut *self.under_way()));
    }

    /// Ends the exchanges when the returned value is dropped, in case [`Self::end`] was not called.
    pub(crate) fn until_dropped(self: &Arc<Self>) -> Ending {
        Ending(self.clone())
    }

    fn under_way(&self) -> MutexGuard<'_, Vec<Weak<Held>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers an exchange that must end with its call.
    fn ends_with_call(&self, held: &Arc<Held>) {
        let mut under_way = self.under_way();
        under_way.retain(|held| held.strong_count() > 0);
        under_way.push(Arc::downgrade(held));
    }

    fn enter(self: &Arc<Self>) -> Open {
        self.life.send_modify(|life| life.open += 1);
        Open(self.clone())
    }

    pub(crate) fn deny(&self, denied: EgressDenied) {
        self.meter().refused(denied.layer);
        let denials = &mut self.refusals().denials;
        if denials.len() < REMEMBERED && !denials.contains(&denied) {
            tracing::warn!(tenant = %self.network.options.name, "{denied}");
            denials.push(denied);
        } else {
            self.unlogged.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Logs how many denials were not logged, and how many log lines of libraries were dropped.
    fn report_the_rest(&self) {
        self.payer.lines().report_the_rest();
        if let denials @ 1.. = self.unlogged.swap(0, Ordering::Relaxed) {
            tracing::warn!(tenant = %self.network.options.name, denials, "other denials in this call were not logged");
        }
    }

    /// Records that the guest reached a limit that does not end its call.
    pub(crate) fn exceed(&self, exceeded: LimitExceeded) {
        let limits = &mut self.refusals().limits;
        if limits.len() < REMEMBERED && limits.iter().all(|known| known.name != exceeded.name) {
            tracing::warn!(tenant = %self.network.options.name, "{exceeded}");
            self.meter().limit(exceeded.name);
            limits.push(exceeded);
        }
    }

    /// Reserves `bytes` for the buffers of a socket or an exchange. None if a limit does not permit them.
    pub(crate) fn reserve(&self, bytes: u64) -> Option<[Reservation; 2]> {
        let reserve = |budget: &ByteBudget, name| {
            let reserved = budget.reserve(bytes);
            if reserved.is_none() {
                let limit = budget.limit();
                self.exceed(LimitExceeded::new(name, (limit - budget.left()).saturating_add(bytes), limit));
            }
            reserved
        };
        let call = reserve(&self.buffers, LimitName::BufferBytes)?;
        Some([call, reserve(&self.network.buffers, LimitName::TenantBufferBytes)?])
    }

    /// Counts a part of a body. Fails with the limit if the call has used it up.
    fn take_body(&self, way: Way, length: u64) -> Result<(), u64> {
        if self.bytes.take(length) {
            self.meter().http_bytes(way, length);
            return Ok(());
        }
        let limit = self.bytes.limit();
        let wanted = (limit - self.bytes.left()).saturating_add(length);
        self.exceed(LimitExceeded::new(LimitName::HttpBodyBytes, wanted, limit));
        Err(limit)
    }

    /// The instant at which a guest's timeout ends, which is never after the call's deadline.
    fn until(&self, wanted: Option<Duration>) -> Instant {
        wanted
            .and_then(|wanted| Instant::now().checked_add(wanted))
            .map_or(self.deadline, |until| until.min(self.deadline))
    }

    fn check(&self, method: &http::Method, uri: &http::Uri) -> Result<(), Error> {
        let (host, port) = uri
            .authority()
            .and_then(|authority| split_authority(authority.as_str()))
            .ok_or(Error::HttpRequestUriInvalid)?;
        let destination = Destination { protocol: EgressProtocol::Https, host, port: port.unwrap_or(443) };
        if uri.scheme() != Some(&http::uri::Scheme::HTTPS) {
            self.deny(EgressDenied::plain_text(&destination));
            return Err(Error::HttpRequestDenied);
        }
        // The server could forward a tunnel to any host.
        if *method == http::Method::CONNECT {
            self.deny(EgressDenied::tunnel(&destination));
            return Err(Error::HttpRequestDenied);
        }
        self.allowed.check(&destination).map_err(|denied| {
            self.deny(denied);
            Error::HttpRequestDenied
        })
    }

    pub(super) async fn send(
        self: Arc<Self>,
        request: http::Request<WasiBody>,
        options: RequestOptions,
    ) -> Result<http::Response<WasiBody>, Error> {
        let open = self.enter();
        let digest = digest(&request);
        self.meter().exchanging(digest);
        let mut life = self.life.subscribe();
        // The value that `wait_for` returns holds a lock that the other branch needs when it is dropped.
        let ended = async { drop(life.wait_for(|life| life.ended).await) };
        tokio::select! {
            biased;
            () = ended => Err(Error::ConnectionTerminated),
            response = self.send_within_call(open, request, options) => {
                if !matches!(response, Err(Error::HttpRequestDenied)) {
                    let status = response.as_ref().ok().map(|response| response.status().as_u16());
                    self.meter().exchanged(digest, status);
                }
                response
            }
        }
    }

    async fn send_within_call(
        self: &Arc<Self>,
        open: Open,
        request: http::Request<WasiBody>,
        options: RequestOptions,
    ) -> Result<http::Response<WasiBody>, Error> {
        self.check(request.method(), request.uri())?;
        let limits = &self.network.options.limits;
        let connect_timeout = options.connect_timeout.unwrap_or(limits.connect_timeout);
        let connect_until = self.until(Some(connect_timeout.min(limits.connect_timeout)));
        let over = |name, limit: usize| {
            self.exceed(LimitExceeded::new(name, limit.saturating_add(1), limit));
            Error::ConnectionLimitReached
        };
        // Reserved before the exchange waits for anything, because the guest may have written a part of the body
        // already.
        let headers = u64::from(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX));
        let reserve = |buffer: u64| self.reserve(buffer + headers).ok_or(Error::ConnectionLimitReached);
        let request_buffers = reserve(REQUEST_BUFFER)?;
        if !self.network.requests.turn(connect_until).await {
            let limit = self.network.requests.per_second() as usize;
            return Err(over(LimitName::HttpRequestsPerSecond, limit));
        }
        let Ok(Ok(permit)) = timeout_at(connect_until, self.network.http_permits.clone().acquire_owned()).await else {
            return Err(over(LimitName::HttpConcurrency, limits.http_concurrency));
        };
        let turn = match &self.context.exchanges {
            Some(gate) => match timeout_at(connect_until, gate.enter(self.id)).await {
                Ok(turn) => Some(turn),
                Err(_) => return Err(over(LimitName::ConcurrentExchanges, gate.limit())),
            },
            None => None,
        };
        let response_buffers = reserve(RESPONSE_BUFFER)?;
        let mut unanswered = Unanswered(None);
        let held = Arc::new(Held {
            open,
            lent: Lent::default(),
            _permit: permit,
            _turn: turn,
            _buffers: [request_buffers, response_buffers],
        });
        self.ends_with_call(&held);
        unanswered.0 = Some(Arc::downgrade(&held));

        let request = request.map(|body| RequestBody { inner: body, held: held.clone() }.boxed_unsync());
        // The connect timeout applies until there is a connection, and then this timeout.
        let first_byte = || self.until(options.first_byte_timeout);
        let sent = self.network.pool.send(request, &held.lent, self.client(connect_until), first_byte).await;
        let mut response = sent.map_err(|error| self.send_error(&error))?;
        unanswered.answered();
        remove_hop_by_hop(response.headers_mut());

        let limit = limits.response_bytes;
        let announced = response.body().size_hint().lower();
        if announced > limit {
            self.exceed(LimitExceeded::new(LimitName::ResponseBytes, announced, limit));
            return Err(Error::HttpResponseBodySize(Some(limit)));
        }
        let between = options.between_bytes_timeout;
        Ok(response.map(|inner| {
            let timer = Box::pin(sleep_until(self.until(between)));
            let body = ResponseBody { inner, between, timer, read: 0, held };
            body.boxed_unsync()
        }))
    }

    fn send_error(&self, error: &SendError) -> Error {
        match error {
            SendError::Connect(connect) => {
                tracing::debug!(tenant = %self.network.options.name, "{}", said(connect));
                self.connect_error(connect)
            }
            SendError::TimedOut => Error::ConnectionReadTimeout,
            SendError::Excess(excess) => self.excessive(*excess),
            SendError::Http(http) => self.http_error(http),
        }
    }

    /// Records that the server sent too much, and returns the error for the guest.
    fn excessive(&self, Excess { limit }: Excess) -> Error {
        self.exceed(LimitExceeded::new(LimitName::HttpExcessBytes, limit.saturating_add(1), limit));
        Error::HttpProtocolError
    }

    /// The tenant and the call for which an exchange is sent.
    fn client(&self, until: Instant) -> Client<'_> {
        Client {
            asking: self.asking(until),
            errands: &self.errands,
            processors: self.context.processors.as_ref(),
            payer: &self.payer,
        }
    }

    /// The tenant for which a name is looked up.
    pub(super) fn asking(&self, until: Instant) -> Asking<'_> {
        Asking { turns: self.context.lookups.as_ref(), tenant: self.id, until }
    }

    /// Whether a limit caused the failure of a connection or a look-up. If so, the limit is recorded.
    pub(super) fn over(&self, error: &ConnectError) -> bool {
        let (name, limit) = match error {
            ConnectError::TooMany(limit) => (LimitName::ConnectionsPerSecond, u64::from(*limit)),
            ConnectError::NoSlot(limit) => (LimitName::HttpConnections, *limit as u64),
            ConnectError::TooManyLookups(limit) => (LimitName::LookupsPerSecond, u64::from(*limit)),
            ConnectError::NoLookup(limit) => (LimitName::ConcurrentLookups, *limit as u64),
            ConnectError::Excess(Excess { limit }) => (LimitName::HttpExcessBytes, *limit),
            _ => return false,
        };
        self.exceed(LimitExceeded::new(name, limit.saturating_add(1), limit));
        true
    }

    fn connect_error(&self, error: &ConnectError) -> Error {
        if self.over(error) {
            return Error::ConnectionLimitReached;
        }
        match error {
            ConnectError::Dns(reason) => Error::DnsError { rcode: Some(reason.clone()), info_code: None },
            ConnectError::Prohibited(denied) => {
                self.deny((**denied).clone());
                Error::DestinationIpProhibited
            }
            ConnectError::Refused => Error::ConnectionRefused,
            ConnectError::Unreachable(_) => Error::DestinationUnavailable,
            ConnectError::TimedOut => Error::ConnectionTimeout,
            ConnectError::TooMany(_)
            | ConnectError::NoSlot(_)
            | ConnectError::TooManyLookups(_)
            | ConnectError::NoLookup(_)
            | ConnectError::Excess(_) => Error::ConnectionLimitReached,
            ConnectError::Certificate(_) => Error::TlsCertificateError,
            ConnectError::Alert(alert) => {
                Error::TlsAlertReceived { alert_id: Some(u8::from(*alert)), alert_message: Some(format!("{alert:?}")) }
            }
            ConnectError::Tls(_) => Error::TlsProtocolError,
            ConnectError::Http(error) => self.http_error(error),
        }
    }

    fn http_error(&self, error: &hyper::Error) -> Error {
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(cause) = source {
            if let Some(over) = cause.downcast_ref::<BodyTooLarge>() {
                return Error::HttpRequestBodySize(Some(over.limit));
            }
            if let Some(http2) = cause.downcast_ref::<h2::Error>() {
                // Only the reason is logged: the debug data of a GOAWAY may hold any text, for example the token that
                // the peer received.
                let reason = http2.reason();
                tracing::debug!(tenant = %self.network.options.name, ?reason, remote = http2.is_remote(), "HTTP/2 failed");
                // Headers above the limit are one of these errors of our own side, and cannot be distinguished from the
                // others.
                return if http2.is_library() { Error::HttpProtocolError } else { Error::ConnectionTerminated };
            }
            if let Some(io) = cause.downcast_ref::<std::io::Error>() {
                tracing::debug!(tenant = %self.network.options.name, "{}", said(io));
                return Error::ConnectionTerminated;
            }
            if let Some(hyper) = cause.downcast_ref::<hyper::Error>() {
                if hyper.is_parse_too_large() {
                    let limit = self.network.options.limits.header_bytes;
                    self.exceed(LimitExceeded::new(LimitName::HeaderBytes, limit.saturating_add(1), limit));
                    return Error::HttpResponseHeaderSectionSize(u32::try_from(limit).ok());
                }
                if hyper.is_incomplete_message() {
                    return Error::ConnectionTerminated;
                }
                if hyper.is_parse() {
                    return Error::HttpProtocolError;
                }
            }
            source = cause.source();
        }
        tracing::debug!(tenant = %self.network.options.name, "an HTTP exchange failed: {}", said(error));
        Error::ConnectionTerminated
    }
}

/// Removes headers about the connection. The pool handles the connection; the guest has none (RFC 9110, section 7.6.1).
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Headers about the connection, even if the `connection` header does not name them.
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

fn is_forbidden(name: &HeaderName) -> bool {
    DEFAULT_FORBIDDEN_HEADERS.contains(name) || HOP_BY_HOP.contains(name)
}

/// The result of an exchange: a response whose body is still to come, or the reason why there is none.
pub(crate) type Answer = Result<http::Response<WasiBody>, Error>;

/// The host's side of `wasi:http` for one call.
pub(crate) struct Hooks(pub(crate) Arc<Exchange>);

impl WasiHttpHooks for Hooks {
    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        is_forbidden(name)
    }

    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        Arc::new(is_forbidden)
    }

    /// The pool writes this header for HTTP/1.1, from the URI that was checked. HTTP/2 has `:authority` instead.
    fn set_host_header(&mut self) -> bool {
        false
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK
    }

    /// Never called: `call/responses.rs` replaces the function of the interface that would call it.
    fn send_request(
        &mut self,
        _request: http::Request<WasiBody>,
        _options: Option<RequestOptions>,
        _response_processed: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<
        dyn Future<
                Output = Result<(http::Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>), Error>,
            > + Send,
    > {
        Box::new(async { Err(Error::HttpRequestDenied) })
    }
}

/// A guest sent larger bodies than its call may.
#[derive(Debug, thiserror::Error)]
#[error("HTTP bodies of this call exceed {limit} bytes")]
struct BodyTooLarge {
    limit: u64,
}

/// What an exchange holds of bounded resources until both of its bodies end. A server may respond before it has read
/// the request, and a guest may continue to write after it has dropped the response.
struct Held {
    open: Open,
    lent: Lent,
    _permit: OwnedSemaphorePermit,
    _turn: Option<Turn>,
    _buffers: [[Reservation; 2]; 2],
}

/// After a short time, closes the connections of those exchanges that have not ended.
fn cut_soon(exchanges: Vec<Weak<Held>>) {
    if exchanges.iter().all(|held| held.strong_count() == 0) {
        return;
    }
    let cut = move || {
        for held in exchanges.iter().filter_map(Weak::upgrade) {
            if let Some(lease) = held.lent.take_back() {
                lease.cut();
            }
        }
    };
    match Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn(async move {
            sleep(OVERDUE).await;
            cut();
        })),
        Err(_) => cut(),
    }
}

/// An exchange without a response. If it is dropped in this state, its connection is closed after a short time.
struct Unanswered(Option<Weak<Held>>);

impl Unanswered {
    fn answered(mut self) {
        self.0 = None;
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if let Some(held) = self.0.take() {
            cut_soon(vec![held]);
        }
    }
}

/// See [`Exchange::until_dropped`].
pub(crate) struct Ending(Arc<Exchange>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.break_off();
    }
}

/// A request body whose bytes are counted.
struct RequestBody {
    inner: WasiBody,
    held: Arc<Held>,
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(frame) = ready!(Pin::new(&mut self.inner).poll_frame(cx)) else {
            return Poll::Ready(None);
        };
        let frame = frame?;
        let length = frame.data_ref().map_or(0, Bytes::len) as u64;
        if let Err(limit) = self.held.open.0.take_body(Way::Out, length) {
            return Poll::Ready(Some(Err(Box::new(BodyTooLarge { limit }))));
        }
        if let Some(lease) = &*self.held.lent.get() {
            lease.ledger().sent(length);
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The error code that a guest gets for a response body that failed. It covers the errors with which [`ResponseBody`]
/// ends.
pub(crate) fn body_error_code(error: &Error) -> Option<ErrorCode> {
    match error {
        Error::ConnectionReadTimeout => Some(ErrorCode::ConnectionReadTimeout),
        Error::HttpResponseIncomplete => Some(ErrorCode::HttpResponseIncomplete),
        Error::HttpResponseBodySize(limit) => Some(ErrorCode::HttpResponseBodySize(*limit)),
        _ => None,
    }
}

/// A response body whose bytes are counted, and whose reads have a timeout.
struct ResponseBody {
    inner: Incoming,
    between: Option<Duration>,
    timer: Pin<Box<Sleep>>,
    /// Bytes that were read until now.
    read: u64,
    held: Arc<Held>,
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        let frame = match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Pending => {
                ready!(this.timer.as_mut().poll(cx));
                return Poll::Ready(Some(Err(Error::ConnectionReadTimeout)));
            }
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Ready(Some(Err(error))) => {
                tracing::debug!("the response broke off: {}", said(&error));
                let excess = this.held.lent.get().as_ref().and_then(|lease| lease.ledger().excess());
                if let Some(excess) = excess {
                    return Poll::Ready(Some(Err(this.held.open.0.excessive(excess))));
                }
                return Poll::Ready(Some(Err(Error::HttpResponseIncomplete)));
            }
            Poll::Ready(Some(Ok(frame))) => frame,
        };
        let length = frame.data_ref().map_or(0, Bytes::len) as u64;
        if let Some(lease) = &*this.held.lent.get() {
            lease.ledger().took(length);
        }
        let exchange = &this.held.open.0;
        let limit = exchange.network.options.limits.response_bytes;
        this.read = this.read.saturating_add(length);
        if this.read > limit {
            exchange.exceed(LimitExceeded::new(LimitName::ResponseBytes, this.read, limit));
            return Poll::Ready(Some(Err(Error::HttpResponseBodySize(Some(limit)))));
        }
        if let Err(limit) = exchange.take_body(Way::In, length) {
            return Poll::Ready(Some(Err(Error::HttpResponseBodySize(Some(limit)))));
        }
        let until = exchange.until(this.between);
        this.timer.as_mut().reset(until);
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::atomic::AtomicUsize;

    use http_body_util::Empty;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;
    use zeroize::Zeroizing;

    use super::*;
    use crate::connection::{Entered, EnteredText, Part};
    use crate::egress::resolver::testing::answering;
    use crate::interface::metadata::EgressRule;
    use crate::limits::{Limits, from_now};
    use crate::options::{TenantOptions, TrustRoots};
    use crate::tenant::Tenant;

    /// A server that answers by path: `/small` (5 bytes), `/big` (1 MiB in chunks), `/stall` (1 byte of 10).
    struct Server {
        port: u16,
        ca: String,
        connections: Arc<AtomicUsize>,
    }

    /// The TLS acceptor of a server for `localhost`, and the certificate to trust for it.
    pub(in crate::egress) fn acceptor(alpn: &[&str]) -> (TlsAcceptor, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        let ca = certificate.pem();
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        (TlsAcceptor::from(Arc::new(config)), ca)
    }

    impl Server {
        async fn start() -> Self {
            let (acceptor, ca) = acceptor(&[]);
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let connections = Arc::new(AtomicUsize::new(0));
            let count = connections.clone();
            tokio::spawn(async move {
                while let Ok((tcp, _)) = listener.accept().await {
                    count.fetch_add(1, Ordering::SeqCst);
                    let acceptor = acceptor.clone();
                    tokio::spawn(async move {
                        let Ok(mut tls) = acceptor.accept(tcp).await else { return };
                        let mut request = Vec::new();
                        while let Ok(byte) = tls.read_u8().await {
                            request.push(byte);
                            if !request.ends_with(b"\r\n\r\n") {
                                continue;
                            }
                            let text = String::from_utf8_lossy(&request).into_owned();
                            request.clear();
                            let path = text.split(' ').nth(1).unwrap_or_default();
                            let written = match path {
                                "/big" => {
                                    let mut body = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
                                    for _ in 0..64 {
                                        body.extend(b"4000\r\n");
                                        body.extend([b' '; 0x4000]);
                                        body.extend(b"\r\n");
                                    }
                                    body.extend(b"0\r\n\r\n");
                                    tls.write_all(&body).await
                                }
                                "/stall" => tls.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nx").await,
                                "/silent" => Ok(()),
                                _ => tls.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await,
                            };
                            if written.is_err() || tls.flush().await.is_err() {
                                return;
                            }
                        }
                    });
                }
            });
            Self { port, ca, connections }
        }

        fn options(&self) -> TenantOptions {
            TenantOptions {
                trust_roots: TrustRoots::Only(self.ca.clone()),
                allow_private_networks: true,
                ..TenantOptions::default()
            }
        }
    }

    pub(in crate::egress) fn exchange(tenant: &Tenant, authority: &str) -> Arc<Exchange> {
        exchange_within(tenant, authority, CallContext::default())
    }

    pub(in crate::egress) fn exchange_within(tenant: &Tenant, authority: &str, context: CallContext) -> Arc<Exchange> {
        exchange_by(EgressProtocol::Https, tenant, authority, context)
    }

    /// A call that may connect to `authority` by `protocol`, and to nothing else.
    pub(in crate::egress) fn exchange_by(
        protocol: EgressProtocol,
        tenant: &Tenant,
        authority: &str,
        context: CallContext,
    ) -> Arc<Exchange> {
        let rule = EgressRule {
            protocol,
            host: authority.to_owned(),
            default_port: 443,
            suffixes: Vec::new(),
            purpose: String::new(),
        };
        let text = Zeroizing::new(authority.to_owned());
        let text = EnteredText { text, field: "host".into(), part: Part::Host };
        let own = Entered { texts: vec![text], ..Entered::default() };
        let (host, _) = split_authority(authority).unwrap();
        let operator = TenantOptions { allow_hosts: vec![host.parse().unwrap()], ..TenantOptions::default() };
        let allowed = AllowList::derive(&[rule], "{}", &own, &operator).unwrap();
        Exchange::within(tenant.network(), Arc::new(allowed), from_now(tenant.deadline()), context)
    }

    pub(in crate::egress) async fn get(
        exchange: &Arc<Exchange>,
        url: &str,
        options: RequestOptions,
    ) -> Result<Bytes, Error> {
        let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
        let request = http::Request::get(url).body(body).unwrap();
        let response = exchange.clone().send(request, options).await?;
        Ok(response.into_body().collect().await?.to_bytes())
    }

    pub(in crate::egress) async fn simple(exchange: &Arc<Exchange>, url: &str) -> Result<Bytes, Error> {
        get(exchange, url, RequestOptions::default()).await
    }

    #[tokio::test]
    async fn connections_are_kept_and_never_shared_between_tenants() {
        let server = Server::start().await;
        let authority = format!("localhost:{}", server.port);
        let url = format!("https://{authority}/small");
        for expected in 1..=2 {
            let tenant = Tenant::new(server.options()).unwrap();
            for _ in 0..5 {
                // Each call has its own exchanges; the connection outlives them.
                assert_eq!(simple(&exchange(&tenant, &authority), &url).await.unwrap(), "hello");
            }
            assert_eq!(server.connections.load(Ordering::SeqCst), expected);
        }
    }

    #[tokio::test]
    async fn only_what_is_on_the_list_is_reached() {
        let server = Server::start().await;
        let tenant = Tenant::new(server.options()).unwrap();
        let authority = format!("localhost:{}", server.port);
        let exchange = exchange(&tenant, &authority);
        for url in [
            format!("https://localhost:{}/", server.port.wrapping_add(1).max(1)),
            format!("https://127.0.0.1:{}/", server.port),
            format!("http://{authority}/"),
            "https://example.com/".to_owned(),
        ] {
            let error = simple(&exchange, &url).await.unwrap_err();
            assert!(matches!(error, Error::HttpRequestDenied), "{url}: {error}");
        }
        assert_eq!(server.connections.load(Ordering::SeqCst), 0);
        assert_eq!(exchange.refusals().denials.len(), 4);
    }

    /// A name server that returns one address for the check and another for the connection must gain nothing: it is
    /// asked once, and the host connects to the address of that answer.
    #[tokio::test]
    async fn a_name_server_that_changes_its_answer_gains_nothing() {
        let server = Server::start().await;
        let authority = format!("localhost:{}", server.port);
        let asked = Arc::new(AtomicUsize::new(0));
        let tenant = |options: TenantOptions, answers: &'static [&'static str]| {
            let asked = asked.clone();
            let resolver = answering(move |_| {
                let turn = asked.fetch_add(1, Ordering::SeqCst) % answers.len();
                Ok(answers[turn].split(' ').map(|address| address.parse().unwrap()).collect())
            });
            Tenant::new(TenantOptions { resolver, ..options }).unwrap()
        };
        // The server listens only at the first address.
        let tenant_of_two = tenant(server.options(), &["127.0.0.1", "127.0.0.2"]);
        let url = format!("https://{authority}/small");
        assert_eq!(simple(&exchange(&tenant_of_two, &authority), &url).await.unwrap(), "hello");
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        // Without permission for private networks, no answer leads to the server, not even an IPv6 address that
        // contains its address.
        let before = server.connections.load(Ordering::SeqCst);
        let options = TenantOptions { allow_private_networks: false, ..server.options() };
        let private: [&'static [&'static str]; 3] =
            [&["127.0.0.1"], &["169.254.169.254 127.0.0.1"], &["::ffff:127.0.0.1 64:ff9b::7f00:1"]];
        for answers in private {
            let error = simple(&exchange(&tenant(options.clone(), answers), &authority), &url).await.unwrap_err();
            assert!(matches!(error, Error::DestinationIpProhibited), "{answers:?}: {error}");
        }
        assert_eq!(server.connections.load(Ordering::SeqCst), before);
    }

    #[tokio::test]
    async fn private_addresses_need_permission_and_the_denial_says_how() {
        let server = Server::start().await;
        let options = TenantOptions { allow_private_networks: false, ..server.options() };
        let tenant = Tenant::new(options).unwrap();
        let authority = format!("localhost:{}", server.port);
        let exchange = exchange(&tenant, &authority);
        let error = simple(&exchange, &format!("https://{authority}/")).await.unwrap_err();
        assert!(matches!(error, Error::DestinationIpProhibited), "{error}");
        let denied = exchange.refusals().denials[0].to_string();
        assert!(denied.contains("--allow-private-networks") && denied.contains("127.0.0.1"), "{denied}");
        assert_eq!(server.connections.load(Ordering::SeqCst), 0);
        // Permission for one network, without permission for all private networks.
        let network = |network: &str| TenantOptions {
            allow_private_networks: false,
            allow_networks: vec![network.parse().unwrap()],
            ..server.options()
        };
        let ask = async |options: TenantOptions| {
            let resolver = answering(|_| Ok(vec!["127.0.0.1".parse().unwrap()]));
            let tenant = Tenant::new(TenantOptions { resolver, ..options }).unwrap();
            let exchange = super::tests::exchange(&tenant, &authority);
            simple(&exchange, &format!("https://{authority}/small")).await
        };
        assert_eq!(ask(network("127.0.0.0/30")).await.unwrap(), "hello");
        let error = ask(network("10.0.0.0/8")).await.unwrap_err();
        assert!(matches!(error, Error::DestinationIpProhibited), "{error}");
    }

    #[tokio::test]
    async fn a_foreign_certificate_is_refused() {
        let server = Server::start().await;
        let options = TenantOptions { trust_roots: TrustRoots::Public, ..server.options() };
        let tenant = Tenant::new(options).unwrap();
        let authority = format!("localhost:{}", server.port);
        let error = simple(&exchange(&tenant, &authority), &format!("https://{authority}/")).await.unwrap_err();
        assert!(matches!(error, Error::TlsCertificateError), "{error}");
    }

    #[tokio::test]
    async fn a_closed_port_and_a_missing_name_are_distinguished() {
        let server = Server::start().await;
        let tenant = Tenant::new(server.options()).unwrap();
        let closed = {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            format!("localhost:{}", listener.local_addr().unwrap().port())
        };
        let error = simple(&exchange(&tenant, &closed), &format!("https://{closed}/")).await.unwrap_err();
        assert!(matches!(error, Error::ConnectionRefused), "{error}");
        let error = simple(&exchange(&tenant, "hub.invalid"), "https://hub.invalid/").await.unwrap_err();
        assert!(matches!(error, Error::DnsError { .. }), "{error}");
    }

    /// The client of wasmtime applies no timeout to the TLS handshake, so a server that accepts and stays silent would
    /// hold a guest for ever. Here the connect timeout includes the handshake.
    #[tokio::test]
    async fn a_server_that_accepts_and_stays_silent_meets_the_connect_timeout() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = format!("localhost:{}", listener.local_addr().unwrap().port());
        let limits = Limits { connect_timeout: Duration::from_millis(200), ..Limits::default() };
        let options = TenantOptions { limits, allow_private_networks: true, ..TenantOptions::default() };
        let tenant = Tenant::new(options).unwrap();
        let begun = Instant::now();
        let error = simple(&exchange(&tenant, &authority), &format!("https://{authority}/")).await.unwrap_err();
        assert!(matches!(error, Error::ConnectionTimeout), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(5));
    }

    #[tokio::test]
    async fn a_guests_timeouts_are_kept_and_clamped_to_the_deadline() {
        let server = Server::start().await;
        let authority = format!("localhost:{}", server.port);
        let options = |timeout| RequestOptions {
            connect_timeout: None,
            first_byte_timeout: Some(timeout),
            between_bytes_timeout: Some(timeout),
        };
        let tenant = Tenant::new(server.options()).unwrap();
        let short = options(Duration::from_millis(100));
        let patient = tenant.with_deadline(Duration::from_millis(150));
        let long = options(Duration::MAX);
        for (tenant, options) in [(&tenant, short), (&patient, long)] {
            for path in ["silent", "stall"] {
                let begun = Instant::now();
                let exchange = exchange(tenant, &authority);
                let error = get(&exchange, &format!("https://{authority}/{path}"), options).await.unwrap_err();
                assert!(matches!(error, Error::ConnectionReadTimeout), "{path}: {error}");
                assert!(begun.elapsed() < Duration::from_secs(5));
            }
        }
    }

    #[tokio::test]
    async fn bodies_are_bounded_one_by_one_and_together() {
        let server = Server::start().await;
        let authority = format!("localhost:{}", server.port);
        let url = format!("https://{authority}/big");
        let tenant = |response_bytes, http_body_bytes| {
            let limits = Limits { response_bytes, http_body_bytes, ..Limits::default() };
            Tenant::new(TenantOptions { limits, ..server.options() }).unwrap()
        };
        let error = simple(&exchange(&tenant(1000, 1 << 30), &authority), &url).await.unwrap_err();
        assert!(matches!(error, Error::HttpResponseBodySize(Some(1000))), "{error}");
        let exchange = exchange(&tenant(2 << 20, 3 << 19), &authority);
        assert_eq!(simple(&exchange, &url).await.unwrap().len(), 1 << 20);
        let error = simple(&exchange, &url).await.unwrap_err();
        assert!(matches!(error, Error::HttpResponseBodySize(_)), "{error}");
    }

    #[tokio::test]
    async fn exchanges_at_the_same_time_are_bounded() {
        let server = Server::start().await;
        let authority = format!("localhost:{}", server.port);
        let limits = Limits { http_concurrency: 1, connect_timeout: Duration::from_millis(200), ..Limits::default() };
        let tenant = Tenant::new(TenantOptions { limits, ..server.options() }).unwrap();
        let exchange = exchange(&tenant, &authority);
        let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
        let request = http::Request::get(format!("https://{authority}/stall")).body(body).unwrap();
        let held = exchange.clone().send(request, RequestOptions::default()).await.unwrap();
        let url = format!("https://{authority}/small");
        let error = simple(&exchange, &url).await.unwrap_err();
        assert!(matches!(error, Error::ConnectionLimitReached), "{error}");
        drop(held);
        assert_eq!(simple(&exchange, &url).await.unwrap(), "hello");
    }

    /// Collects the warnings that this thread logs.
    #[derive(Clone, Default)]
    pub(in crate::egress) struct Warnings(pub(in crate::egress) Arc<Mutex<Vec<String>>>);

    impl tracing::Subscriber for Warnings {
        fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
            *metadata.level() == tracing::Level::WARN
        }

        fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
            tracing::span::Id::from_u64(1)
        }

        fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

        fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

        fn event(&self, event: &tracing::Event<'_>) {
            struct Line(String);
            impl tracing::field::Visit for Line {
                fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                    self.0 += &format!("{field}={value:?} ");
                }
            }
            let mut line = Line(String::new());
            event.record(&mut line);
            self.0.lock().unwrap().push(line.0);
        }

        fn enter(&self, _: &tracing::span::Id) {}

        fn exit(&self, _: &tracing::span::Id) {}
    }

    #[tokio::test]
    async fn denials_do_not_flood_the_log() {
        let warnings = Warnings::default();
        let logged = || std::mem::take(&mut *warnings.0.lock().unwrap());
        let _guard = tracing::subscriber::set_default(warnings.clone());
        let tenant = Tenant::new(TenantOptions::default()).unwrap();
        // Many denials of one destination give one line, and at the end one line with the number of the others.
        let call = exchange(&tenant, "localhost:1");
        for _ in 0..1_000 {
            assert!(simple(&call, "https://attacker.example/").await.is_err());
        }
        let lines = logged();
        assert!(lines.len() == 1 && lines[0].contains("attacker.example"), "{lines:?}");
        call.end().await;
        let lines = logged();
        assert!(lines.len() == 1 && lines[0].contains("denials=999 "), "{lines:?}");
        assert_eq!(call.take_refusals().denials.len(), 1);
        drop(call);
        assert_eq!(logged(), [""; 0]);
        // A different destination each time gives as many lines as a call remembers. A call that is dropped logs the
        // number of the rest, too.
        let call = exchange(&tenant, "localhost:1");
        for number in 0..100 {
            assert!(simple(&call, &format!("https://h{number}.attacker.example/")).await.is_err());
        }
        assert_eq!(logged().len(), REMEMBERED);
        drop(call);
        let lines = logged();
        assert!(lines.len() == 1 && lines[0].contains(&format!("denials={} ", 100 - REMEMBERED)), "{lines:?}");
    }

    /// Exchanges that a guest leaves running must not continue after its call.
    #[tokio::test]
    async fn the_end_of_a_call_ends_its_exchanges() {
        let server = Server::start().await;
        let authority = format!("localhost:{}", server.port);
        let tenant = Tenant::new(server.options()).unwrap();
        let call = exchange(&tenant, &authority);
        assert_eq!(simple(&call, &format!("https://{authority}/small")).await.unwrap(), "hello");
        let begun = Instant::now();
        let url = format!("https://{authority}/silent");
        let (waiting, ended) = tokio::join!(simple(&call, &url), async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            call.end().await
        });
        assert!(ended);
        assert!(matches!(waiting, Err(Error::ConnectionTerminated)), "{waiting:?}");
        assert!(begun.elapsed() < Duration::from_secs(5));

        // `end` reports a response that the guest still holds.
        let call = exchange(&tenant, &authority);
        let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
        let request = http::Request::get(format!("https://{authority}/stall")).body(body).unwrap();
        let held = call.clone().send(request, RequestOptions::default()).await.unwrap();
        assert!(!call.end().await);
        drop(held);
        assert!(call.end().await);
    }
}
