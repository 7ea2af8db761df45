//! The costs of one HTTP connection: which calls pay for its computing, and how many bytes its server may send unasked.
//!
//! hyper's tasks work for a connection even when no call uses it. So each poll of these tasks is measured, runs in its
//! tenant's share of the processors, and is charged to the calls that use the connection. All bytes that a server sends
//! reduce an allowance, which exchanges refill when they send or read bodies. Endless frames, informational responses
//! or TLS records use up the allowance, and then the connection ends.

use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::limits::cpu::{Payer, is_turn_over};
use crate::limits::lines::Lines;

/// Bytes that a connection may receive in every second, used or idle: for keep-alive and settings.
const EACH_SECOND: u64 = 256;

/// How long a connection reads and processes data before other work gets its turn: a tenth of a guest's time.
const TURN: Duration = Duration::from_millis(1);

/// Bytes that may come with each piece of a body: the header of its frame, the length of its chunk, its TLS record.
const EACH_PIECE: u64 = 64;

/// The costs of one HTTP connection.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// The bound on log lines while no call uses the connection.
    lines: Arc<Lines>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    payers: Vec<Arc<Payer>>,
    /// The largest value of `left`, in bytes.
    limit: u64,
    /// Bytes that the server may still send now.
    left: u64,
    since: Instant,
    exhausted: bool,
}

impl State {
    fn credit(&mut self, bytes: u64) {
        self.left = self.left.saturating_add(bytes).min(self.limit);
    }

    fn let_time_pass(&mut self) {
        let seconds = self.since.elapsed().as_secs();
        self.since += Duration::from_secs(seconds);
        self.credit(seconds.saturating_mul(EACH_SECOND));
    }
}

/// The server has sent more than its exchanges need.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the server sent more than {limit} bytes that no exchange had asked for")]
pub(crate) struct Excess {
    pub(super) limit: u64,
}

impl Ledger {
    /// The ledger of a new connection. Its server may send `limit` bytes in addition to what its exchanges need.
    pub(super) fn new(limit: u64, lines: Arc<Lines>) -> Arc<Self> {
        let state = State { payers: Vec::new(), limit, left: limit, since: Instant::now(), exhausted: false };
        Arc::new(Self { lines, state: Mutex::new(state) })
    }

    /// Raises the limit by `bytes`, which the server may send before they are read.
    pub(super) fn widen(&self, bytes: u64) {
        let mut state = self.state();
        state.limit = state.limit.saturating_add(bytes);
        state.left = state.left.saturating_add(bytes);
    }

    /// Counts `bytes` that were received. Fails if they exceed the allowance; every later call then fails, too.
    pub(super) fn receive(&self, bytes: usize) -> Result<(), Excess> {
        let mut state = self.state();
        state.let_time_pass();
        match state.left.checked_sub(bytes as u64).filter(|_| !state.exhausted) {
            Some(left) => {
                state.left = left;
                Ok(())
            }
            None => {
                state.exhausted = true;
                Err(Excess { limit: state.limit })
            }
        }
    }

    /// Raises the allowance by bytes that an exchange needs.
    pub(super) fn credit(&self, bytes: u64) {
        self.state().credit(bytes);
    }

    /// Refills the allowance because an exchange read a piece of a response's body.
    pub(super) fn took(&self, bytes: u64) {
        // The bytes were counted when they were received; as many again may be the overhead of sending them in small
        // pieces.
        self.credit(bytes.saturating_mul(2).saturating_add(EACH_PIECE));
    }

    /// Refills the allowance because an exchange sent a piece of a request's body, which the server acknowledges.
    pub(super) fn sent(&self, bytes: u64) {
        self.credit((bytes / 16).saturating_add(EACH_PIECE));
    }

    /// The error if the server has sent more than it may.
    pub(super) fn excess(&self) -> Option<Excess> {
        let state = self.state();
        state.exhausted.then_some(Excess { limit: state.limit })
    }

    /// A call begins to use the connection.
    pub(super) fn engage(&self, payer: Arc<Payer>) {
        self.state().payers.push(payer);
    }

    /// An exchange of a call no longer uses the connection.
    pub(super) fn disengage(&self, payer: &Arc<Payer>) {
        let mut state = self.state();
        if let Some(index) = state.payers.iter().position(|known| Arc::ptr_eq(known, payer)) {
            state.payers.swap_remove(index);
        }
    }

    /// Charges `computed` to the calls that use the connection, in equal parts.
    pub(super) fn charge(&self, computed: Duration) {
        let payers = self.state().payers.clone();
        let Ok(count @ 1..) = u32::try_from(payers.len()) else { return };
        for payer in payers {
            payer.charge(computed / count);
        }
    }

    /// The bound that now applies to what libraries log about the connection.
    pub(super) fn lines(&self) -> Arc<Lines> {
        self.state().payers.first().map_or(&self.lines, |payer| payer.lines()).clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A TCP connection that counts the bytes it receives. It counts below TLS, so that TLS records without content count
/// as well.
pub(super) struct Counted {
    tcp: TcpStream,
    ledger: Arc<Ledger>,
}

impl Counted {
    pub(super) fn new(tcp: TcpStream, ledger: Arc<Ledger>) -> Self {
        Self { tcp, ledger }
    }
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if is_turn_over(TURN) {
            // Yields as guests do: a task that only wakes itself would be polled again before the guests.
            let _ = pin!(tokio::task::yield_now()).poll(cx);
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.tcp).poll_read(cx, buffer))?;
        Poll::Ready(self.ledger.receive(buffer.filled().len() - before).map_err(io::Error::other))
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::limits::Limits;

    #[tokio::test]
    async fn every_byte_counts_as_it_comes() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connecting = TcpStream::connect(listener.local_addr().unwrap());
        let (client, server) = tokio::join!(connecting, listener.accept());
        let ledger = Ledger::new(1_000, Lines::new("", &Limits::default()));
        let mut client = Counted::new(client.unwrap(), ledger.clone());
        let (mut server, _) = server.unwrap();
        // The bytes count, whether TLS could read them or not.
        server.write_all(&[0; 1_000]).await.unwrap();
        client.read_exact(&mut [0; 1_000]).await.unwrap();
        server.write_all(&[0]).await.unwrap();
        let error = client.read_u8().await.unwrap_err();
        assert!(error.get_ref().is_some_and(|inner| inner.is::<Excess>()), "{error}");
        assert!(ledger.excess().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_taken_may_come_again_and_what_is_not_ends() {
        let ledger = Ledger::new(1_000, Lines::new("", &Limits::default()));
        // A body of any length is permitted if it is read as it arrives.
        for _ in 0..1_000 {
            ledger.receive(900).unwrap();
            ledger.took(800);
        }
        ledger.receive(1_000).unwrap();
        assert!(ledger.excess().is_none());
        // Time refills the allowance slowly, and never beyond the limit.
        tokio::time::advance(Duration::from_secs(2)).await;
        ledger.receive(512).unwrap();
        tokio::time::advance(Duration::from_secs(3_600)).await;
        ledger.receive(1_000).unwrap();
        assert_eq!(ledger.receive(1).unwrap_err().limit, 1_000);
        // A connection that has exceeded its limit stays unusable.
        ledger.credit(1_000);
        assert!(ledger.receive(1).is_err() && ledger.excess().is_some());
    }
}
