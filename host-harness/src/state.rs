//! What a store holds: WASI with nothing granted, and the host's side of HTTP and sockets.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use wasmtime::component::{Linker, ResourceTable};
use wasmtime::{Engine, Store, UpdateDeadline};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::egress::{Exchange, Hooks, Sockets, SocketsView, add_sockets_to_linker};
use crate::limits::{EPOCH_TICK, LimitHit, Limits, StoreLimiter};

/// What belongs to one instance; a part of it is renewed with each call.
pub(crate) struct State {
    wasi: WasiCtx,
    table: ResourceTable,
    http: WasiHttpCtx,
    hooks: Hooks,
    sockets: Sockets,
    limiter: StoreLimiter,
    log: GuestLog,
    /// Epochs that the call may still compute for.
    ticks: u64,
}

/// A store for one call, every bound in force.
///
/// Files, environment and arguments are empty. Sockets reach what the rules of protocol `tls` open.
pub(crate) fn new_store(engine: &Engine, limits: &Limits, exchange: Arc<Exchange>) -> Store<State> {
    let log = GuestLog::new(exchange.tenant.options.name.clone(), limits.log_bytes);
    let wasi = WasiCtx::builder()
        .stdout(log.clone())
        .stderr(log.clone())
        .max_random_size(limits.random_bytes)
        // Not linked, see `add_to_linker`; denied all the same.
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
    let state = State { wasi, table, http, hooks, sockets, limiter, log, ticks: ticks(limits) };
    let mut store = Store::new(engine, state);
    store.limiter(|state| &mut state.limiter);
    store.set_hostcall_fuel(limits.hostcall_bytes);
    store.set_max_component_handles(limits.handles);

    // One tick at a time, so that ticks which pass while the guest waits in the host cost one at most.
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|mut store| {
        let state = store.data_mut();
        match state.ticks.checked_sub(1) {
            Some(left) => {
                state.ticks = left;
                Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
            }
            None => Err(LimitHit::Cpu.into()),
        }
    });
    store
}

/// Another call in a store that has ended one: everything that is counted for a call is counted anew.
pub(crate) fn begin_call(store: &mut Store<State>, limits: &Limits, exchange: Arc<Exchange>) {
    store.set_epoch_deadline(1);
    let state = store.data_mut();
    state.ticks = ticks(limits);
    state.log.begin_call(limits.log_bytes);
    state.sockets.begin_call(limits, exchange.clone());
    state.hooks = Hooks(exchange);
}

fn ticks(limits: &Limits) -> u64 {
    u64::try_from(limits.cpu.as_millis() / EPOCH_TICK.as_millis()).unwrap_or(u64::MAX)
}

/// Links all that a connector may import: wasmtime's WASI, and sockets and HTTP of our own.
///
/// wasmtime's sockets are left out rather than replaced, so that no version of their names leads to them.
pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    use wasmtime_wasi::cli::{WasiCli, WasiCliView as _};
    use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView as _};
    use wasmtime_wasi::p2::bindings::{cli, filesystem, random, sockets};
    use wasmtime_wasi::random::WasiRandom;
    use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView as _};

    // I/O, clocks, random numbers and the standard streams.
    wasmtime_wasi::p2::add_to_linker_proxy_interfaces_async(linker)?;
    random::insecure::add_to_linker::<State, WasiRandom>(linker, |state| state.wasi.random())?;
    random::insecure_seed::add_to_linker::<State, WasiRandom>(linker, |state| state.wasi.random())?;
    cli::exit::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::environment::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::terminal_input::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::terminal_output::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::terminal_stdin::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::terminal_stdout::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::terminal_stderr::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    filesystem::types::add_to_linker::<State, WasiFilesystem>(linker, State::filesystem)?;
    filesystem::preopens::add_to_linker::<State, WasiFilesystem>(linker, State::filesystem)?;
    // The names of things and the capability that everybody holds; UDP for its types.
    let options = sockets::network::LinkOptions::default();
    sockets::network::add_to_linker::<State, WasiSockets>(linker, &options, State::sockets)?;
    sockets::instance_network::add_to_linker::<State, WasiSockets>(linker, State::sockets)?;
    sockets::udp::add_to_linker::<State, WasiSockets>(linker, State::sockets)?;
    add_sockets_to_linker(linker, State::vetted_sockets)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)
}

impl State {
    /// The most linear memory that the guest has had, in bytes.
    pub(crate) fn memory_high_water(&self) -> usize {
        self.limiter.memory_high_water()
    }

    fn vetted_sockets(&mut self) -> SocketsView<'_> {
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

/// Standard output and error of a guest: lines to the log, up to a number of bytes, the rest dropped.
#[derive(Clone)]
struct GuestLog(Arc<Mutex<LogBuffer>>);

struct LogBuffer {
    tenant: String,
    line: Vec<u8>,
    left: usize,
}

impl GuestLog {
    fn new(tenant: String, bytes: usize) -> Self {
        Self(Arc::new(Mutex::new(LogBuffer { tenant, line: Vec::new(), left: bytes })))
    }

    fn begin_call(&self, bytes: usize) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).left = bytes;
    }
}

impl LogBuffer {
    fn write(&mut self, bytes: &[u8]) {
        let kept = &bytes[..bytes.len().min(self.left)];
        self.left -= kept.len();
        for piece in kept.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                self.flush();
            }
        }
        if self.left == 0 {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end();
        if !line.is_empty() {
            // Escaped: a guest must not be able to forge lines of the log or drive a terminal.
            tracing::info!(target: "connector_host::guest", tenant = %self.tenant, "{}", line.escape_debug());
        }
    }
}

impl Drop for LogBuffer {
    fn drop(&mut self) {
        self.flush();
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
    use super::LogBuffer;

    #[test]
    fn a_guest_cannot_fill_the_log() {
        let mut log = LogBuffer { tenant: "t".to_owned(), line: Vec::new(), left: 10 };
        log.write(b"12345");
        log.write(b"6789012345");
        log.write(b"more");
        assert_eq!(log.left, 0);
        assert!(log.line.is_empty());
    }
}
