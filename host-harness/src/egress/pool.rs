//! The HTTP connections of one tenant: it keeps idle connections, and bounds the number of all.
//!
//! This is a pool of our own, because the pool of hyper-util bounds idle connections only by host and closes none on
//! request. So it could not free a slot for another host.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::TokioTimer;
use tokio::runtime::Handle;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::connect_error::ConnectError;
use super::connector::{VettedConnector, VettedStream};
use super::driven::{Driven, Driver};
use super::errands::Errands;
use super::ledger::{Excess, Ledger};
use super::resolver::Asking;
use crate::limits::cpu::{Payer, measured};
use crate::limits::fair::TenantId;
use crate::limits::lines::bounded;
use crate::limits::processor::Processors;
use crate::limits::{Limits, after, permits};

/// How much an HTTP/2 server may send before the guest has read it, in bytes: of one response, and of all responses of
/// a connection.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;

/// How much of a request's body HTTP/2 buffers before it is sent, in bytes.
const SEND_BUFFER: usize = 64 << 10;

/// The largest HTTP/2 frame that a server may send, in bytes. This is the smallest limit that the protocol permits.
const FRAME: u32 = 16 << 10;

/// How many reset streams a connection remembers, for each side that resets. The connection is closed if there are
/// more.
const RESETS: usize = 32;

/// How long a connection that ends may take to close properly, and how long a connection whose exchange has ended may
/// take to write the rest.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a connection that a call gave back may be unobserved. A server that closes it, or sends on it, is noticed
/// after this time.
const REST: Duration = Duration::from_millis(20);

/// Bytes that the response to one request may take in addition to its headers and its body.
const EACH_EXCHANGE: u64 = 32 << 10;

/// The body of a request. Its type is erased, so that the pool does not know the calls that it works for.
pub(super) type RequestBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// The HTTP connections of one tenant.
pub(crate) struct Pool {
    connector: VettedConnector,
    header_bytes: usize,
    idle: Duration,
    /// The largest number of connections, in use and idle together.
    limit: usize,
    slots: Arc<Semaphore>,
    state: Mutex<State>,
    /// Notifies waiting exchanges that a connection has become free.
    changed: Notify,
    /// Cancelled when the pool ends. Connections then only have a short time to close properly.
    ending: CancellationToken,
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.ending.cancel();
    }
}

/// The tenant and the call for which an exchange is sent.
#[derive(Clone, Copy)]
pub(crate) struct Client<'a> {
    pub(super) asking: Asking<'a>,
    /// The errands of the call, among which it polls the connection that it uses.
    pub(super) errands: &'a Errands,
    /// The slots in which the connections' tasks compute. None without a host.
    pub(super) processors: Option<&'a Processors>,
    pub(super) payer: &'a Arc<Payer>,
}

#[derive(Default)]
struct State {
    /// Idle HTTP/1.1 connections and all HTTP/2 connections. The most recently used connection is last.
    kept: VecDeque<PooledConnection>,
    /// The task that closes connections that have been idle for too long.
    reaper: Option<JoinHandle<()>>,
    /// The number of exchanges that wait for a slot.
    waiting: usize,
    /// The number of connections that were closed for waiting exchanges and whose slots are not taken yet.
    making_room: usize,
    /// A task wakes the tasks of connections that rest, see [`Pool::watch`].
    watching: bool,
    /// The pool is closed: it keeps no more connections.
    closed: bool,
    last_id: u64,
}

impl Drop for State {
    fn drop(&mut self) {
        if let Some(reaper) = &self.reaper {
            reaper.abort();
        }
    }
}

struct PooledConnection {
    id: u64,
    host: String,
    sender: Sender,
    /// The connection's task was not woken when a call gave the connection back.
    unwatched: bool,
    /// The number of exchanges that use the connection.
    users: usize,
    /// The connection accepts no more exchanges, and ends with its last one.
    retired: bool,
    since: Instant,
    ends: Ends,
}

enum Sender {
    Http1(http1::SendRequest<RequestBody>),
    Http2(http2::SendRequest<RequestBody>),
}

impl PooledConnection {
    fn is_idle(&self) -> bool {
        self.users == 0
    }

    fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender) => sender.is_closed(),
            Sender::Http2(sender) => sender.is_closed(),
        }
    }
}

/// The connection that one exchange uses.
enum Leased {
    Http1(http1::SendRequest<RequestBody>, Ends),
    Http2(http2::SendRequest<RequestBody>, Http2Lease, Arc<Ledger>),
}

/// The part of a connection that an exchange uses. The part returns to the pool when this value is dropped.
pub(crate) struct Lease {
    ledger: Arc<Ledger>,
    payer: Arc<Payer>,
    part: Part,
}

enum Part {
    Http1(Http1Lease),
    Http2(Http2Lease),
}

impl Lease {
    fn new(ledger: Arc<Ledger>, payer: &Arc<Payer>, part: Part) -> Self {
        ledger.engage(payer.clone());
        Self { ledger, payer: payer.clone(), part }
    }

    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Ends the connection, because the exchange does not end by itself.
    pub(super) fn cut(mut self) {
        match &mut self.part {
            Part::Http1(lease) => lease.cut(),
            Part::Http2(lease) => lease.cut(),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.ledger.disengage(&self.payer);
        // The server may have sent one stream window of a response that is not read to its end.
        if matches!(self.part, Part::Http2(_)) {
            self.ledger.credit(STREAM_WINDOW.into());
        }
    }
}

/// The lease of one exchange. There is none before it has a connection, and none after the lease was taken back.
#[derive(Default)]
pub(super) struct Lent(Mutex<Option<Lease>>);

impl Lent {
    /// The exchange uses this connection from now on.
    fn lend(&self, lease: Lease) {
        *self.get() = Some(lease);
    }

    /// The exchange no longer uses its connection.
    pub(super) fn take_back(&self) -> Option<Lease> {
        self.get().take()
    }

    pub(super) fn get(&self) -> MutexGuard<'_, Option<Lease>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A whole HTTP/1.1 connection.
struct Http1Lease {
    pool: Weak<Pool>,
    host: String,
    /// None after the connection was returned or closed.
    connection: Option<(http1::SendRequest<RequestBody>, Ends)>,
    /// The call's right to poll the connection.
    driver: Option<Driver>,
}

impl Http1Lease {
    fn cut(&mut self) {
        if let Some((_, ends)) = self.connection.take() {
            ends.cut();
        }
    }
}

impl Drop for Http1Lease {
    fn drop(&mut self) {
        let Some((mut sender, ends)) = self.connection.take() else { return };
        let (pool, host) = (self.pool.clone(), std::mem::take(&mut self.host));
        let keep = move |sender, ends, unwatched| {
            if let Some(pool) = pool.upgrade() {
                pool.keep(host, Sender::Http1(sender), 0, ends, unwatched);
            }
        };
        let driver = self.driver.take();
        if sender.is_ready() {
            // Nothing is left to do on the connection, so its task is not woken yet.
            let unwatched = driver.is_some_and(Driver::rest);
            keep(sender, ends, unwatched);
        } else if !sender.is_closed()
            && let Ok(runtime) = Handle::try_current()
        {
            // The connection becomes ready soon, or never if the response was not read to its end or the server stops
            // reading.
            runtime.spawn(async move {
                if timeout(CLOSE_TIMEOUT, sender.ready()).await.is_ok_and(|ready| ready.is_ok()) {
                    keep(sender, ends, false);
                }
            });
        }
    }
}

/// One exchange's share of an HTTP/2 connection.
struct Http2Lease {
    pool: Weak<Pool>,
    id: u64,
}

impl Http2Lease {
    /// An upload that the server does not read can only end with the connection. Other exchanges on the connection may
    /// finish first.
    fn cut(&mut self) {
        if let Some(pool) = self.pool.upgrade() {
            pool.retire(self.id);
        }
    }
}

impl Drop for Http2Lease {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.upgrade() {
            pool.leave(self.id);
        }
    }
}

/// Why a request got no response.
#[derive(Debug)]
pub(crate) enum SendError {
    Connect(ConnectError),
    Http(hyper::Error),
    /// The server sent more than it may send unasked.
    Excess(Excess),
    /// The first byte of the response did not arrive in time.
    TimedOut,
}

/// Counts an exchange that waits for a slot.
struct Waiting<'a>(&'a Pool);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.state().waiting -= 1;
    }
}

impl Pool {
    pub(crate) fn new(connector: VettedConnector, limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            connector,
            header_bytes: limits.header_bytes,
            idle: limits.http_idle,
            limit: limits.http_connections,
            slots: Arc::new(Semaphore::new(permits(limits.http_connections))),
            state: Mutex::default(),
            changed: Notify::new(),
            ending: CancellationToken::new(),
        })
    }

    /// Sends a request. Repeats it if a connection that had been idle took nothing of it. `first_byte` is called when
    /// there is a connection and returns the deadline for the response; `lent` holds the connection until the exchange
    /// ends.
    pub(super) async fn send(
        self: &Arc<Self>,
        mut request: Request<RequestBody>,
        lent: &Lent,
        client: Client<'_>,
        first_byte: impl Fn() -> Instant,
    ) -> Result<Response<Incoming>, SendError> {
        let uri = request.uri().clone();
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = uri.port_u16().unwrap_or(443);
        let mut until = None;
        loop {
            let (leased, fresh) = self.lease(&host, port, client).await.map_err(SendError::Connect)?;
            let until = *until.get_or_insert_with(&first_byte);
            let (sent, ledger, part) = match leased {
                Leased::Http1(mut sender, ends) => {
                    name_host(&mut request, &uri);
                    let driver = ends.driven.as_ref().and_then(|driven| driven.driver(client.errands));
                    let sent = sender.try_send_request(request).boxed();
                    let (pool, ledger) = (Arc::downgrade(self), ends.tasks.ledger.clone());
                    let connection = Some((sender, ends));
                    (sent, ledger, Part::Http1(Http1Lease { pool, host: key(&host, port), connection, driver }))
                }
                Leased::Http2(mut sender, lease, ledger) => {
                    *request.uri_mut() = uri.clone();
                    (sender.try_send_request(request).boxed(), ledger, Part::Http2(lease))
                }
            };
            ledger.credit(EACH_EXCHANGE.saturating_add(self.header_bytes as u64));
            lent.lend(Lease::new(ledger.clone(), client.payer, part));
            let mut error: TrySendError<_> = match timeout_at(until, sent).await {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(error)) => error,
                Err(_) => return Err(SendError::TimedOut),
            };
            drop(lent.take_back());
            request = match error.take_message() {
                Some(request) if !fresh => request,
                _ => {
                    return Err(ledger.excess().map_or_else(|| SendError::Http(error.into_error()), SendError::Excess));
                }
            };
        }
    }

    /// Returns a kept or a new connection, and true if it is new.
    async fn lease(
        self: &Arc<Self>,
        host: &str,
        port: u16,
        client: Client<'_>,
    ) -> Result<(Leased, bool), ConnectError> {
        let (key, until) = (key(host, port), client.asking.until);
        let slot = match self.slot(&key, until).await? {
            Ok(leased) => return Ok((leased, false)),
            Err(slot) => slot,
        };
        let connected = timeout_at(until, async {
            let stream = self.connector.connect(host, port, client.asking, slot).await?;
            self.shake_hands(key, stream, client).await
        });
        Ok((connected.await.unwrap_or(Err(ConnectError::TimedOut))?, true))
    }

    /// Returns a kept connection, or a slot for a new one. If there is no free slot, an idle connection is closed.
    async fn slot(
        self: &Arc<Self>,
        key: &str,
        until: Instant,
    ) -> Result<Result<Leased, OwnedSemaphorePermit>, ConnectError> {
        let mut slot = pin!(self.slots.clone().acquire_owned());
        let mut waiting = None;
        loop {
            // Registered before the checks, so that no change after them is missed.
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(leased) = self.take(key) {
                return Ok(Ok(leased));
            }
            let got = match slot.as_mut().now_or_never() {
                Some(got) => got,
                None => {
                    waiting.get_or_insert_with(|| {
                        self.state().waiting += 1;
                        Waiting(self)
                    });
                    self.make_room();
                    tokio::select! {
                        biased;
                        got = &mut slot => got,
                        () = changed => continue,
                        () = sleep_until(until) => return Err(ConnectError::NoSlot(self.limit)),
                    }
                }
            };
            let mut state = self.state();
            state.making_room = state.making_room.saturating_sub(1);
            return got.map(Err).map_err(|_| ConnectError::NoSlot(self.limit));
        }
    }

    /// A kept connection that can take a request.
    fn take(self: &Arc<Self>, key: &str) -> Option<Leased> {
        let mut state = self.state();
        let gone = state.remove(PooledConnection::is_closed);
        let found = state.kept.iter().rposition(|kept| kept.host == key && !kept.retired);
        let mut kept = found.and_then(|found| state.kept.remove(found));
        let leased = match kept.take() {
            Some(PooledConnection { sender: Sender::Http1(sender), ends, .. }) => Some(Leased::Http1(sender, ends)),
            Some(mut kept) => {
                kept.users += 1;
                let (id, pool) = (kept.id, Arc::downgrade(self));
                let leased = match &kept.sender {
                    Sender::Http2(sender) => {
                        Some(Leased::Http2(sender.clone(), Http2Lease { pool, id }, kept.ends.tasks.ledger.clone()))
                    }
                    Sender::Http1(_) => None,
                };
                state.kept.push_back(kept);
                leased
            }
            None => None,
        };
        drop(state);
        drop(gone);
        leased
    }

    /// Closes the connection that has been idle for the longest, for an exchange that waits.
    fn make_room(&self) {
        let mut state = self.state();
        let closed = if state.making_room < state.waiting {
            let oldest = state.kept.iter().enumerate().filter(|(_, kept)| kept.is_idle());
            let oldest = oldest.min_by_key(|(_, kept)| kept.since).map(|(index, _)| index);
            oldest.and_then(|index| state.kept.remove(index))
        } else {
            None
        };
        if closed.is_some() {
            state.making_room += 1;
        }
        drop(state);
        drop(closed);
    }

    async fn shake_hands(
        self: &Arc<Self>,
        key: String,
        stream: VettedStream,
        client: Client<'_>,
    ) -> Result<Leased, ConnectError> {
        let ledger = stream.ledger().clone();
        let tasks = Tasks {
            ending: self.ending.child_token(),
            cut: CancellationToken::new(),
            ledger: ledger.clone(),
            processors: client.processors.cloned(),
            tenant: client.asking.tenant,
        };
        if !stream.is_http2() {
            let mut builder = http1::Builder::new();
            builder.max_buf_size(self.header_bytes.max(16 << 10));
            let (mut sender, connection) = builder.handshake(stream).await.map_err(ConnectError::Http)?;
            let driven = Driven::new(connection.map(drop));
            tasks.spawn(driven.background());
            let ends = tasks.ends(Some(driven));
            sender.ready().await.map_err(ConnectError::Http)?;
            return Ok(Leased::Http1(sender, ends));
        }
        let ends = tasks.ends(None);
        ledger.widen(CONNECTION_WINDOW.into());
        // Everything that a server can influence has an explicit bound, so that other defaults of hyper would change
        // nothing.
        let mut builder = http2::Builder::new(tasks.clone());
        builder
            .timer(TokioTimer::new())
            .adaptive_window(false)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(FRAME)
            .max_header_list_size(u32::try_from(self.header_bytes).unwrap_or(u32::MAX))
            .max_send_buf_size(SEND_BUFFER)
            .max_concurrent_streams(0)
            .max_concurrent_reset_streams(RESETS)
            .max_pending_accept_reset_streams(RESETS)
            .max_local_error_reset_streams(RESETS);
        let (sender, connection) = builder.handshake(stream).await.map_err(ConnectError::Http)?;
        tasks.spawn(connection.map(drop));
        // If another exchange has opened a connection meanwhile, that connection is used.
        if let Some(leased) = self.take(&key) {
            return Ok(leased);
        }
        let id = self.keep(key, Sender::Http2(sender.clone()), 1, ends, false);
        Ok(Leased::Http2(sender, Http2Lease { pool: Arc::downgrade(self), id }, ledger))
    }

    /// Keeps a connection until it has been idle for too long or its slot is needed. `unwatched` states that the
    /// connection's task was not woken.
    fn keep(self: &Arc<Self>, host: String, sender: Sender, users: usize, ends: Ends, unwatched: bool) -> u64 {
        let mut state = self.state();
        state.last_id += 1;
        let id = state.last_id;
        let since = Instant::now();
        let kept = PooledConnection { id, host, sender, unwatched, users, retired: false, since, ends };
        if !state.closed || !kept.is_idle() {
            state.kept.push_back(kept);
            self.look_after(&mut state);
            if unwatched {
                self.watch(&mut state);
            }
        }
        drop(state);
        self.changed.notify_waiters();
        id
    }

    /// An exchange on an HTTP/2 connection has ended.
    fn leave(self: &Arc<Self>, id: u64) {
        let mut state = self.state();
        let mut ended = None;
        if let Some(index) = state.kept.iter().position(|kept| kept.id == id) {
            let kept = &mut state.kept[index];
            kept.users = kept.users.saturating_sub(1);
            kept.since = Instant::now();
            let is_retired = kept.retired;
            if kept.is_idle() && (is_retired || state.closed) {
                ended = state.kept.remove(index);
            }
            self.look_after(&mut state);
        }
        drop(state);
        if let Some(PooledConnection { ends, .. }) = ended.take_if(|ended| ended.retired) {
            ends.cut();
        }
        drop(ended);
        self.changed.notify_waiters();
    }

    /// Marks an HTTP/2 connection with an exchange that does not end by itself.
    fn retire(&self, id: u64) {
        if let Some(kept) = self.state().kept.iter_mut().find(|kept| kept.id == id) {
            kept.retired = true;
        }
    }

    /// Closes the connections that no exchange uses.
    pub(crate) fn close_idle(&self) {
        let closed = self.state().remove(PooledConnection::is_idle);
        drop(closed);
    }

    /// Closes idle connections immediately. Other connections close when their exchanges end, but after a short time in
    /// any case. No connection is kept from now on.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.close_idle();
        self.ending.cancel();
    }

    /// Starts the task that wakes the tasks of resting connections, unless it runs. A call that follows soon takes the
    /// connection from its rest, and two wake-ups of another thread are saved.
    fn watch(self: &Arc<Self>, state: &mut State) {
        if state.watching {
            return;
        }
        let pool = Arc::downgrade(self);
        let Ok(runtime) = Handle::try_current() else { return };
        state.watching = true;
        runtime.spawn(async move {
            loop {
                sleep(REST).await;
                if !pool.upgrade().is_some_and(|pool| pool.watch_resting()) {
                    return;
                }
            }
        });
    }

    /// Wakes the tasks of connections that have rested for long enough. Returns whether others still rest.
    fn watch_resting(&self) -> bool {
        let mut state = self.state();
        let mut resting = false;
        for kept in state.kept.iter_mut().filter(|kept| kept.unwatched) {
            if kept.since.elapsed() < REST {
                resting = true;
                continue;
            }
            kept.unwatched = false;
            if let Some(driven) = &kept.ends.driven {
                driven.watch();
            }
        }
        state.watching = resting;
        resting
    }

    /// Starts the task that closes idle connections, unless it runs.
    fn look_after(self: &Arc<Self>, state: &mut State) {
        if state.reaper.as_ref().is_some_and(|reaper| !reaper.is_finished()) {
            return;
        }
        let pool = Arc::downgrade(self);
        state.reaper = Handle::try_current().ok().map(|runtime| {
            runtime.spawn(async move {
                while let Some(next) = pool.upgrade().and_then(|pool| pool.reap()) {
                    sleep_until(next).await;
                }
            })
        });
    }

    /// Closes connections that have been idle for too long, and returns the instant at which the next one must be
    /// closed. None if no connection is idle.
    fn reap(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut state = self.state();
        let closed = state.remove(|kept| kept.is_closed() || kept.is_idle() && after(kept.since, self.idle) <= now);
        let idle = state.kept.iter().filter(|kept| kept.is_idle());
        let next = idle.map(|kept| after(kept.since, self.idle)).min();
        if next.is_none() {
            // The next connection that becomes idle starts a new task.
            state.reaper = None;
        }
        drop(state);
        drop(closed);
        next
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The semaphore of which connections hold slots. It outlives the pool.
    #[cfg(test)]
    pub(super) fn slots(&self) -> Arc<Semaphore> {
        self.slots.clone()
    }
}

impl State {
    /// Removes connections to close. The caller drops them without holding the lock.
    fn remove(&mut self, which: impl Fn(&PooledConnection) -> bool) -> VecDeque<PooledConnection> {
        let (gone, kept) = std::mem::take(&mut self.kept).into_iter().partition(which);
        self.kept = kept;
        gone
    }
}

/// The key by which a connection is found.
fn key(host: &str, port: u16) -> String {
    format!("{host} {port}")
}

/// Puts the host into a header and only the path into the first line, as HTTP/1.1 needs. HTTP/2 takes both from the
/// URI.
fn name_host(request: &mut Request<RequestBody>, uri: &Uri) {
    let port = uri.port().filter(|port| port.as_u16() != 443).map(|port| format!(":{}", port.as_str()));
    let host = format!("{}{}", uri.host().unwrap_or_default(), port.unwrap_or_default());
    if let Ok(host) = HeaderValue::try_from(host) {
        request.headers_mut().insert(header::HOST, host);
    }
    let path = uri.path_and_query().cloned().map(Uri::from).unwrap_or_default();
    *request.uri_mut() = path;
}

/// Runs the tasks of one connection, until a short time after it should end. Each poll runs in a turn of the tenant,
/// and is charged to the calls that use the connection.
#[derive(Clone)]
struct Tasks {
    ending: CancellationToken,
    cut: CancellationToken,
    ledger: Arc<Ledger>,
    processors: Option<Processors>,
    tenant: TenantId,
}

/// Closes the connection properly when this value is dropped.
struct Ends {
    tasks: Tasks,
    /// The connection, where a call may poll it: an HTTP/1.1 connection has one user at a time.
    driven: Option<Arc<Driven>>,
    _goodbye: DropGuard,
}

impl Ends {
    /// Ends the connection immediately.
    fn cut(self) {
        self.tasks.cut.cancel();
    }
}

impl Tasks {
    fn ends(&self, driven: Option<Arc<Driven>>) -> Ends {
        Ends { tasks: self.clone(), driven, _goodbye: self.ending.clone().drop_guard() }
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let (ending, cut, [ledger, logged]) =
            (self.ending.clone(), self.cut.clone(), [(); 2].map(|()| self.ledger.clone()));
        let task = bounded(task, move || logged.lines());
        let task = measured(task, move |computed| ledger.charge(computed));
        let task = match &self.processors {
            Some(processors) => processors.share(self.tenant, task).boxed(),
            None => task.boxed(),
        };
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = cut.cancelled() => {}
                () = async {
                    ending.cancelled().await;
                    sleep(CLOSE_TIMEOUT).await;
                } => {}
                () = task => {}
            }
        });
    }
}

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Tasks {
    fn execute(&self, task: F) {
        self.spawn(task);
    }
}
