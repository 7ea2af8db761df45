//! A TLS connection to a server, and the two directions of it. rustls computes; this code moves the bytes. Nothing
//! happens outside of the guest's calls: no background task works for a connection.

use std::future::poll_fn;
use std::io::{self, BufRead as _, Write as _};
use std::net::Shutdown;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use rustls::ClientConnection;
use socket2::SockRef;
use tokio::net::TcpStream;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

use super::quota::{CHUNK, Quota, Share};

/// How often one call of the guest receives from the network. A server that sends records without content gains no more
/// of the host's time by it.
const RECEIVED_PER_CALL: usize = 2;

/// Why a connection ended before its time.
#[derive(Debug)]
pub(super) enum Fault {
    /// The network failed, or the server closed the connection without TLS's own end.
    Broken(io::Error),
    /// The server broke the rules of TLS, or its certificate was refused.
    Tls(rustls::Error),
    /// The guest has used up the bytes that it may read and write.
    Exhausted,
}

impl Fault {
    /// The error of a stream. It quotes nothing of the server.
    fn into_stream_error(self) -> StreamError {
        let error = match self {
            Self::Broken(error) => error,
            Self::Tls(rustls::Error::AlertReceived(alert)) => {
                io::Error::other(format!("the server ended TLS with the alert {alert:?}"))
            }
            Self::Tls(rustls::Error::DecryptError) => io::Error::other("a TLS record was altered on its way"),
            Self::Tls(_) => io::Error::other("the server broke the rules of TLS"),
            Self::Exhausted => io::Error::from(io::ErrorKind::PermissionDenied),
        };
        StreamError::LastOperationFailed(error.into())
    }
}

/// A TCP connection with the state of TLS on it.
pub(super) struct Session {
    tcp: TcpStream,
    tls: ClientConnection,
    quota: Arc<Quota>,
    /// Bytes from the server that TLS has not seen.
    incoming: Bytes,
    /// Encrypted bytes that the kernel has not accepted.
    outgoing: BytesMut,
    reading: Direction,
    writing: Direction,
    _share: Share,
}

/// One direction of a connection.
enum Direction {
    Open,
    /// It has failed, and the guest has not been told.
    Failed(Fault),
    Closed,
}

impl Direction {
    /// Whether the direction can be used. An error is returned once.
    fn check(&mut self) -> StreamResult<()> {
        match self {
            Self::Open => Ok(()),
            Self::Closed => Err(StreamError::Closed),
            Self::Failed(_) => match std::mem::replace(self, Self::Closed) {
                Self::Failed(fault) => Err(fault.into_stream_error()),
                _ => Err(StreamError::Closed),
            },
        }
    }
}

impl Session {
    pub(super) fn new(tcp: TcpStream, mut tls: ClientConnection, quota: Arc<Quota>, share: Share) -> Self {
        // The guest's writes are bounded here: no bytes are accepted while others wait.
        tls.set_buffer_limit(None);
        Self {
            tcp,
            tls,
            quota,
            incoming: Bytes::new(),
            outgoing: BytesMut::new(),
            reading: Direction::Open,
            writing: Direction::Open,
            _share: share,
        }
    }

    /// Performs the handshake.
    pub(super) fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        loop {
            ready!(self.poll_flush(cx))?;
            if !self.tls.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            if self.incoming.is_empty() && !self.receive()? {
                ready!(self.tcp.poll_read_ready(cx)).map_err(Fault::Broken)?;
            } else if let Err(fault) = self.advance() {
                // The alert tells the server the reason; it is lost if the network does not take it now.
                let _ = self.poll_flush(cx);
                return Poll::Ready(Err(fault));
            }
        }
    }

    /// Sends what TLS has encrypted. Ready when no bytes wait.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        let waiting = self.outgoing.len();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut (&mut self.outgoing).writer()).map_err(Fault::Broken)?;
        }
        let encrypted = self.outgoing.len() - waiting;
        if encrypted > 0 && !self.quota.take_all(encrypted) {
            self.outgoing.clear();
            return Poll::Ready(Err(Fault::Exhausted));
        }
        while !self.outgoing.is_empty() {
            match self.tcp.try_write(&self.outgoing) {
                Ok(written) => self.outgoing.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.tcp.poll_write_ready(cx)).map_err(Fault::Broken)?;
                }
                Err(error) => {
                    self.outgoing.clear();
                    return Poll::Ready(Err(Fault::Broken(error)));
                }
            }
        }
        // An idle connection holds no memory.
        self.outgoing = BytesMut::new();
        Poll::Ready(Ok(()))
    }

    /// As [`Self::poll_flush`]; a fault ends the writing direction, which reports it.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Err(fault) = ready!(self.poll_flush(cx))
            && matches!(self.writing, Direction::Open)
        {
            self.writing = Direction::Failed(fault);
        }
        if matches!(self.writing, Direction::Closed) {
            let _ = SockRef::from(&self.tcp).shutdown(Shutdown::Write);
        }
        Poll::Ready(())
    }

    /// Receives bytes from the kernel. Returns false if there are none.
    fn receive(&mut self) -> Result<bool, Fault> {
        let granted = self.quota.take_some(CHUNK).ok_or(Fault::Exhausted)?;
        let mut buffer = BytesMut::zeroed(granted);
        let result = self.tcp.try_read(&mut buffer);
        self.quota.received(granted, *result.as_ref().unwrap_or(&0));
        match result {
            Ok(0) => {
                // TLS judges whether the server may end here.
                self.tls.read_tls(&mut io::empty()).map_err(Fault::Broken)?;
                if self.tls.is_handshaking() {
                    Err(Fault::Broken(io::ErrorKind::UnexpectedEof.into()))
                } else {
                    Ok(true)
                }
            }
            Ok(read) => {
                buffer.truncate(read);
                self.incoming = buffer.freeze();
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(Fault::Broken(error)),
        }
    }

    /// Lets TLS process some of the received bytes.
    fn advance(&mut self) -> Result<(), Fault> {
        let mut rest = self.incoming.as_ref();
        let taken = self.tls.read_tls(&mut rest).map_err(Fault::Broken)?;
        self.incoming.advance(taken);
        if self.incoming.is_empty() {
            self.incoming = Bytes::new();
        }
        self.tls.process_new_packets().map(drop).map_err(Fault::Tls)
    }

    /// Moves decrypted bytes to `plain`, up to `size` in all. Returns whether the server has ended the connection.
    fn take_plain(&mut self, plain: &mut BytesMut, size: usize) -> Result<bool, Fault> {
        let mut reader = self.tls.reader();
        while plain.len() < size {
            let count = match reader.fill_buf() {
                Ok([]) => return Ok(true),
                Ok(bytes) => {
                    let bytes = bytes.get(..size - plain.len()).unwrap_or(bytes);
                    plain.extend_from_slice(bytes);
                    bytes.len()
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // Without TLS's own end, an attacker may have ended the connection.
                Err(error) => return Err(Fault::Broken(error)),
            };
            reader.consume(count);
        }
        Ok(false)
    }

    /// Reads up to `size` bytes into `plain`, as many as are there. Returns whether the server has ended the connection.
    fn read_into(&mut self, plain: &mut BytesMut, size: usize) -> Result<bool, Fault> {
        let mut received = 0;
        loop {
            if self.take_plain(plain, size)? {
                return Ok(true);
            }
            if plain.len() >= size {
                return Ok(false);
            }
            if self.incoming.is_empty() {
                received += 1;
                if received > RECEIVED_PER_CALL || !self.receive()? {
                    return Ok(false);
                }
            }
            if !self.incoming.is_empty() {
                let advanced = self.advance();
                // Answers of TLS itself, such as an alert.
                let _ = self.poll_send(&mut Context::from_waker(Waker::noop()));
                advanced?;
            }
        }
    }

    /// Whether a read returns at once, with bytes or an error.
    fn is_readable(&mut self) -> bool {
        let nothing = |error: &io::Error| error.kind() == io::ErrorKind::WouldBlock;
        !matches!(self.reading, Direction::Open)
            || !self.incoming.is_empty()
            || !self.tls.reader().fill_buf().is_err_and(|error| nothing(&error))
    }

    /// Tells the server that no more bytes follow.
    fn end_writing(&mut self) {
        if !matches!(self.writing, Direction::Closed) {
            self.tls.send_close_notify();
            self.writing = Direction::Closed;
            let _ = self.poll_send(&mut Context::from_waker(Waker::noop()));
        }
    }
}

/// An open connection, which both directions and the guest's handle share. It is closed when the last of the three is
/// dropped.
pub(super) struct Secured(Mutex<Session>);

impl Secured {
    pub(super) fn new(session: Session) -> Arc<Self> {
        Arc::new(Self(Mutex::new(session)))
    }

    /// The two streams of the connection. Must be called only once.
    pub(super) fn streams(self: &Arc<Self>) -> (Receiver, Sender) {
        (Receiver(self.clone()), Sender(self.clone()))
    }

    fn session(&self) -> MutexGuard<'_, Session> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The stream of plain text from the server.
pub(super) struct Receiver(Arc<Secured>);

#[async_trait]
impl Pollable for Receiver {
    async fn ready(&mut self) {
        poll_fn(|cx| {
            let mut session = self.0.session();
            // A guest that waits for a response also needs its request to be sent.
            let _ = session.poll_send(cx);
            if session.is_readable() { Poll::Ready(()) } else { session.tcp.poll_read_ready(cx).map(drop) }
        })
        .await;
    }
}

#[async_trait]
impl InputStream for Receiver {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let mut session = self.0.session();
        session.reading.check()?;
        let mut plain = BytesMut::new();
        match session.read_into(&mut plain, size.min(CHUNK)) {
            Ok(false) => {}
            Ok(true) => session.reading = Direction::Closed,
            Err(fault) => session.reading = Direction::Failed(fault),
        }
        // What was received before the end is returned before it.
        if plain.is_empty() && size > 0 {
            session.reading.check()?;
        }
        Ok(plain.freeze())
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let mut session = self.0.session();
        session.reading = Direction::Closed;
        session.incoming = Bytes::new();
        // Fails if the server has closed the connection already; then there is nothing to shut down.
        let _ = SockRef::from(&session.tcp).shutdown(Shutdown::Read);
    }
}

/// The stream of plain text to the server.
pub(super) struct Sender(Arc<Secured>);

#[async_trait]
impl Pollable for Sender {
    async fn ready(&mut self) {
        poll_fn(|cx| {
            let mut session = self.0.session();
            ready!(session.poll_send(cx));
            match session.writing {
                Direction::Open => session.tcp.poll_write_ready(cx).map(drop),
                Direction::Failed(_) | Direction::Closed => Poll::Ready(()),
            }
        })
        .await;
    }
}

#[async_trait]
impl OutputStream for Sender {
    fn check_write(&mut self) -> StreamResult<usize> {
        let mut session = self.0.session();
        let sent = session.poll_send(&mut Context::from_waker(Waker::noop()));
        session.writing.check()?;
        Ok(if sent.is_ready() { CHUNK } else { 0 })
    }

    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut session = self.0.session();
        session.writing.check()?;
        // Less than a chunk may wait: TLS's own answers, since the permission was given.
        if bytes.len() > CHUNK || session.outgoing.len() > CHUNK {
            return Err(StreamError::trap("written without the permission of check-write"));
        }
        if let Err(error) = session.tls.writer().write_all(&bytes) {
            session.writing = Direction::Closed;
            return Err(StreamError::LastOperationFailed(error.into()));
        }
        let _ = session.poll_send(&mut Context::from_waker(Waker::noop()));
        match session.writing {
            Direction::Failed(_) => session.writing.check(),
            Direction::Open | Direction::Closed => Ok(()),
        }
    }

    fn flush(&mut self) -> StreamResult<()> {
        // Bytes are sent without a flush. A guest that waits for the end of a flush waits for `ready`.
        self.0.session().writing.check()
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.session().end_writing();
    }
}
