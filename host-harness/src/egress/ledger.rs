//! What one HTTP connection costs: who is charged for the computing, and how much its server may send that nobody asked
//! for.
//!
//! hyper's tasks work for a connection whether a call uses it or not. So each poll of them is measured, inside its
//! tenant's share of the processors, and charged to the calls that use the connection. And whatever a server sends draws
//! on a bound that what its exchanges take fills up again: frames, informational answers and TLS records without end
//! use it up, however they are put, and the connection ends.

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

/// What a connection may receive in each second whether anybody uses it or not, in bytes: keep-alive and settings.
const EACH_SECOND: u64 = 256;

/// How long a connection reads and works on what it has read before others have their turn: a tenth of what a guest has.
const TURN: Duration = Duration::from_millis(1);

/// What may come with each piece of a body, in bytes: its frame, its chunk's length, its TLS record.
const EACH_PIECE: u64 = 64;

/// What one connection costs.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// Where no call uses it.
    lines: Arc<Lines>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    payers: Vec<Arc<Payer>>,
    /// The most that may be left, in bytes.
    limit: u64,
    /// What may still come, in bytes.
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

/// The server has sent more than its exchanges take.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the server sent more than {limit} bytes that nobody asked for")]
pub(crate) struct Excess {
    pub(super) limit: u64,
}

impl Ledger {
    /// Of a new connection, which may receive so many bytes beside what its exchanges take.
    pub(super) fn new(limit: u64, lines: Arc<Lines>) -> Arc<Self> {
        let state = State { payers: Vec::new(), limit, left: limit, since: Instant::now(), exhausted: false };
        Arc::new(Self { lines, state: Mutex::new(state) })
    }

    /// The server may send so much before anybody reads it.
    pub(super) fn widen(&self, bytes: u64) {
        let mut state = self.state();
        state.limit = state.limit.saturating_add(bytes);
        state.left = state.left.saturating_add(bytes);
    }

    /// So much came. An error where it is more than may come; then nothing may.
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

    /// An exchange takes so much more than was counted so far.
    pub(super) fn credit(&self, bytes: u64) {
        self.state().credit(bytes);
    }

    /// An exchange took a piece of a response's body.
    pub(super) fn took(&self, bytes: u64) {
        // It came once already, and as much again may have been spent on putting it into small pieces.
        self.credit(bytes.saturating_mul(2).saturating_add(EACH_PIECE));
    }

    /// An exchange sent a piece of a request's body, which the server acknowledges.
    pub(super) fn sent(&self, bytes: u64) {
        self.credit((bytes / 16).saturating_add(EACH_PIECE));
    }

    /// Whether the server has sent more than it may.
    pub(super) fn excess(&self) -> Option<Excess> {
        let state = self.state();
        state.exhausted.then_some(Excess { limit: state.limit })
    }

    /// A call uses the connection from here on.
    pub(super) fn engage(&self, payer: Arc<Payer>) {
        self.state().payers.push(payer);
    }

    /// One exchange of a call is over.
    pub(super) fn disengage(&self, payer: &Arc<Payer>) {
        let mut state = self.state();
        if let Some(index) = state.payers.iter().position(|known| Arc::ptr_eq(known, payer)) {
            state.payers.swap_remove(index);
        }
    }

    /// The connection has computed for so long: those who use it pay, each a part.
    pub(super) fn charge(&self, computed: Duration) {
        let payers = self.state().payers.clone();
        let Ok(count @ 1..) = u32::try_from(payers.len()) else { return };
        for payer in payers {
            payer.charge(computed / count);
        }
    }

    /// What libraries may log about the connection now.
    pub(super) fn lines(&self) -> Arc<Lines> {
        self.state().payers.first().map_or(&self.lines, |payer| payer.lines()).clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A TCP connection whose bytes are counted as they come: below TLS, where records without content count as well.
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
            // As guests yield: a task that is woken at once is polled again and again before them.
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
        // Whatever TLS makes of it.
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
        // A body of any length, read as it comes.
        for _ in 0..1_000 {
            ledger.receive(900).unwrap();
            ledger.took(800);
        }
        ledger.receive(1_000).unwrap();
        assert!(ledger.excess().is_none());
        // Time alone brings little, and no more than there was.
        tokio::time::advance(Duration::from_secs(2)).await;
        ledger.receive(512).unwrap();
        tokio::time::advance(Duration::from_secs(3_600)).await;
        ledger.receive(1_000).unwrap();
        assert_eq!(ledger.receive(1).unwrap_err().limit, 1_000);
        // There is no way back.
        ledger.credit(1_000);
        assert!(ledger.receive(1).is_err() && ledger.excess().is_some());
    }
}
