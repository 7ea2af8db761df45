//! The contents of a store: WASI without any granted resource, and the host's side of HTTP and sockets.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::AsyncWrite;
use wasmtime::component::ResourceTable;
use wasmtime::{Engine, Store, UpdateDeadline};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::egress::{Exchange, Hooks, Sockets, SocketsView};
use crate::limits::{LimitExceeded, LimitHit, LimitName, Limits, StoreLimiter};

/// The data that belongs to one instance. A part of it is reset for each call.
pub(crate) struct State {
    pub(super) wasi: WasiCtx,
    table: ResourceTable,
    http: WasiHttpCtx,
    hooks: Hooks,
    sockets: Sockets,
    limiter: StoreLimiter,
    log: GuestLog,
    header_sets: usize,
    /// The CPU time that the guest may use in one call, see [`Limits::cpu`].
    cpu: Duration,
}

/// A store for one call, with every bound in force.
///
/// The guest sees no files, no environment variables and no arguments. Its sockets can connect only to hosts that
/// egress rules with the protocol `tls` open.
pub(crate) fn new_store(engine: &Engine, limits: &Limits, exchange: Arc<Exchange>) -> Store<State> {
    let log = GuestLog::new(limits, exchange.clone());
    let wasi = WasiCtx::builder()
        .stdout(log.clone())
        .stderr(log.clone())
        .max_random_size(limits.random_bytes)
        // The linker does not have wasmtime's sockets; they are denied here all the same.
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .build();
    let mut table = ResourceTable::new();
    table.set_max_capacity(limits.handles);
    let mut http = WasiHttpCtx::new();
    http.set_field_size_limit(limits.header_bytes);
    let limiter = StoreLimiter::new(limits);
    let sockets = Sockets::new(limits, exchange.clone());
    let hooks = Hooks(exchange);
    let state =
        State { wasi, table, http, hooks, sockets, limiter, log, header_sets: limits.header_sets, cpu: limits.cpu };
    let mut store = Store::new(engine, state);
    store.limiter(|state| &mut state.limiter);
    store.set_hostcall_fuel(limits.hostcall_bytes);
    store.set_max_component_handles(limits.handles);

    // At each epoch, the callback compares the computed time with the budget and lets other calls run. Epochs that
    // passed while the guest waited cost nothing.
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|store| {
        let state = store.data();
        if state.hooks.0.computed() < state.cpu {
            Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
        } else {
            Err(LimitHit::Cpu.into())
        }
    });
    store
}

/// Prepares a store for its next call: every per-call counter starts again at zero.
pub(crate) fn begin_call(store: &mut Store<State>, limits: &Limits, exchange: Arc<Exchange>) {
    store.set_epoch_deadline(1);
    let state = store.data_mut();
    state.cpu = limits.cpu;
    state.log.begin_call(limits, exchange.clone());
    state.sockets.begin_call(limits, exchange.clone());
    state.hooks = Hooks(exchange);
}

/// Ends a call whose instance is kept.
pub(crate) fn end_call(store: &Store<State>) {
    store.data().log.end_call();
}

impl State {
    /// Whether the guest holds an open connection.
    pub(crate) fn has_open_sockets(&self) -> bool {
        self.sockets.are_open()
    }

    /// The largest size of the instance's linear memory so far, in bytes.
    pub(crate) fn memory_high_water(&self) -> usize {
        self.limiter.memory_high_water()
    }

    /// The number of host resources that the guest holds.
    pub(crate) fn handles(&mut self) -> usize {
        self.table.iter_mut().count()
    }

    /// The HTTP exchanges of the call that runs.
    pub(super) fn exchange(&self) -> &Arc<Exchange> {
        &self.hooks.0
    }

    /// The largest number of header sets that the guest may hold.
    pub(crate) fn header_sets(&self) -> usize {
        self.header_sets
    }

    /// What the host's own sockets work on.
    pub(super) fn vetted_sockets(&mut self) -> SocketsView<'_> {
        SocketsView { sockets: &mut self.sockets, table: &mut self.table }
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.hooks, table: &mut self.table, ctx: &mut self.http }
    }
}

/// A guest's standard output and error. Lines go to the log, up to a number of bytes and lines; the rest is dropped.
#[derive(Clone)]
struct GuestLog(Arc<Mutex<LogBuffer>>);

struct LogBuffer {
    exchange: Arc<Exchange>,
    line: Vec<u8>,
    bytes: ByteCount,
    lines: usize,
    limits: [usize; 2],
}

/// The number of bytes kept and dropped in one call.
#[derive(Default)]
struct ByteCount {
    kept: usize,
    dropped: usize,
}

impl GuestLog {
    fn new(limits: &Limits, exchange: Arc<Exchange>) -> Self {
        Self(Arc::new(Mutex::new(LogBuffer::new(limits, exchange))))
    }

    fn begin_call(&self, limits: &Limits, exchange: Arc<Exchange>) {
        // Dropping the old buffer ends the log of the previous call.
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = LogBuffer::new(limits, exchange);
    }

    fn end_call(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).end();
    }
}

impl LogBuffer {
    fn new(limits: &Limits, exchange: Arc<Exchange>) -> Self {
        let limits = [limits.log_bytes, limits.log_lines];
        Self { exchange, line: Vec::new(), bytes: ByteCount::default(), lines: 0, limits }
    }

    fn write(&mut self, bytes: &[u8]) {
        let [most_bytes, most_lines] = self.limits;
        let mut rest = bytes;
        while !rest.is_empty() && self.lines < most_lines && self.bytes.kept < most_bytes {
            let line = rest.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
            let (kept, left) = rest.split_at(line.len().min(most_bytes - self.bytes.kept));
            self.bytes.kept += kept.len();
            self.line.extend_from_slice(kept);
            if kept.ends_with(b"\n") {
                self.flush();
            }
            rest = left;
        }
        if !rest.is_empty() {
            let exceeded = if self.lines < most_lines {
                LimitExceeded::new(LimitName::LogBytes, self.bytes.kept.saturating_add(rest.len()), most_bytes)
            } else {
                LimitExceeded::new(LimitName::LogLines, self.lines.saturating_add(1), most_lines)
            };
            self.flush();
            self.bytes.dropped = self.bytes.dropped.saturating_add(rest.len());
            self.exchange.exceed(exceeded);
        }
    }

    fn flush(&mut self) {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end();
        if !line.is_empty() {
            self.lines += 1;
            // Escaped, because a guest must not be able to forge log lines or control a terminal.
            tracing::info!(target: "connector_host::guest", tenant = %self.tenant(), "{}", line.escape_debug());
        }
    }

    fn end(&mut self) {
        self.flush();
        let dropped = std::mem::take(&mut self.bytes).dropped;
        if dropped > 0 {
            tracing::warn!(
                target: "connector_host::guest",
                tenant = %self.tenant(),
                bytes = dropped,
                "the rest of what the connector logged in this call was dropped",
            );
        }
        self.lines = 0;
    }

    fn tenant(&self) -> &str {
        &self.exchange.network.options.name
    }
}

impl Drop for LogBuffer {
    fn drop(&mut self) {
        self.end();
    }
}

impl IsTerminal for GuestLog {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestLog {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }
}

impl AsyncWrite for GuestLog {
    fn poll_write(self: Pin<&mut Self>, _cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::TenantOptions;
    use crate::tenant::Tenant;

    fn log(log_bytes: usize, log_lines: usize) -> LogBuffer {
        let limits = Limits { log_bytes, log_lines, ..Limits::default() };
        let tenant = Tenant::new(TenantOptions::default()).unwrap();
        let exchange = Exchange::new(tenant.network(), Arc::default(), tokio::time::Instant::now());
        LogBuffer::new(&limits, exchange)
    }

    #[test]
    fn a_guest_cannot_fill_the_log() {
        let mut log = log(10, 100);
        log.write(b"12345");
        log.write(b"6789012345");
        log.write(b"more");
        assert_eq!((log.bytes.kept, log.bytes.dropped), (10, 9));
        assert!(log.line.is_empty());
        let exceeded = log.exchange.take_refusals().limits;
        assert_eq!(exceeded, [LimitExceeded { name: LimitName::LogBytes, wanted: 15, allowed: 10 }]);
    }

    /// Collects everything that is logged on this thread.
    #[derive(Clone, Default)]
    struct Logged(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Logged {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_guest_cannot_forge_lines_or_drive_a_terminal() {
        let logged = Logged::default();
        let writer = logged.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).finish();
        tracing::subscriber::with_default(subscriber, || {
            log(1_000, 100).write("good\rERROR forged\x1b[2J\u{202e}\x07 day\n".as_bytes());
        });
        let logged = String::from_utf8(logged.0.lock().unwrap().clone()).unwrap();
        assert!(logged.contains(r"good\rERROR forged\u{1b}[2J\u{202e}\u{7} day"), "{logged:?}");
        assert_eq!(logged.lines().count(), 1, "{logged:?}");
        assert!(!logged.trim_end().contains(char::is_control), "{logged:?}");
    }

    #[test]
    fn lines_are_bounded_as_well_and_the_rest_is_counted() {
        let mut log = log(1_000, 2);
        log.write(b"one\ntwo\nthree\nfour");
        assert_eq!((log.lines, log.bytes.kept, log.bytes.dropped), (2, 8, 10));
        let exceeded = log.exchange.take_refusals().limits;
        assert_eq!(exceeded, [LimitExceeded { name: LimitName::LogLines, wanted: 3, allowed: 2 }]);
    }
}
