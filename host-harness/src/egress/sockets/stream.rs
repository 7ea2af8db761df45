//! The two directions of a TCP connection. Neither has a background task.

use std::future::poll_fn;
use std::io;
use std::net::Shutdown;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use socket2::SockRef;
use tokio::net::TcpStream;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

use super::quota::{CHUNK, Quota, Share};

/// A connection, which both directions and the socket share. It is closed when the last of the three is dropped.
pub(super) struct Connected {
    pub(super) tcp: TcpStream,
    quota: Arc<Quota>,
    sending: Mutex<Sending>,
    receiving: Mutex<Direction>,
    _share: Share,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Open,
    Closed,
}

/// The bytes that the guest has written and the kernel has not accepted; at most one chunk.
struct Sending {
    waiting: Bytes,
    direction: Direction,
    failed: Option<io::Error>,
}

impl Connected {
    pub(super) fn new(tcp: TcpStream, quota: Arc<Quota>, share: Share) -> Arc<Self> {
        Arc::new(Self {
            tcp,
            quota,
            sending: Mutex::new(Sending { waiting: Bytes::new(), direction: Direction::Open, failed: None }),
            receiving: Mutex::new(Direction::Open),
            _share: share,
        })
    }

    /// The two streams of the connection. Must be called only once.
    pub(super) fn streams(self: &Arc<Self>) -> (Receiver, Sender) {
        (Receiver(self.clone()), Sender(self.clone()))
    }

    pub(super) fn shutdown(&self, how: Shutdown) {
        if matches!(how, Shutdown::Read | Shutdown::Both) {
            *self.receiving.lock().unwrap_or_else(PoisonError::into_inner) = Direction::Closed;
            // Fails if the peer has closed the connection already; then there is nothing to shut down.
            let _ = SockRef::from(&self.tcp).shutdown(Shutdown::Read);
        }
        if matches!(how, Shutdown::Write | Shutdown::Both) {
            let mut sending = self.sending();
            if sending.direction == Direction::Open {
                sending.direction = Direction::Closed;
                let _ = self.poll_send(&mut sending, &mut Context::from_waker(Waker::noop()));
            }
        }
    }

    fn sending(&self) -> MutexGuard<'_, Sending> {
        self.sending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes waiting bytes to the kernel. Ready when no bytes wait.
    fn poll_send(&self, sending: &mut Sending, cx: &mut Context<'_>) -> Poll<()> {
        while !sending.waiting.is_empty() {
            match self.tcp.try_write(&sending.waiting) {
                Ok(written) => sending.waiting.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if let Err(error) = ready!(self.tcp.poll_write_ready(cx)) {
                        sending.fail(error);
                    }
                }
                Err(error) => sending.fail(error),
            }
        }
        if sending.direction == Direction::Closed {
            let _ = SockRef::from(&self.tcp).shutdown(Shutdown::Write);
        }
        Poll::Ready(())
    }
}

impl Sending {
    fn fail(&mut self, error: io::Error) {
        self.waiting.clear();
        self.direction = Direction::Closed;
        self.failed = Some(error);
    }

    fn usable(&mut self) -> StreamResult<()> {
        match (self.failed.take(), self.direction) {
            (Some(error), _) => Err(StreamError::LastOperationFailed(error.into())),
            (None, Direction::Closed) => Err(StreamError::Closed),
            (None, Direction::Open) => Ok(()),
        }
    }
}

/// The guest has used up the bytes that it may read and write.
fn exhausted() -> StreamError {
    StreamError::LastOperationFailed(io::Error::from(io::ErrorKind::PermissionDenied).into())
}

/// The stream of bytes from the peer.
pub(super) struct Receiver(Arc<Connected>);

#[async_trait]
impl Pollable for Receiver {
    async fn ready(&mut self) {
        let connected = &self.0;
        poll_fn(|cx| {
            // A guest that waits for a response also needs its request to be sent.
            let _ = connected.poll_send(&mut connected.sending(), cx);
            match *connected.receiving.lock().unwrap_or_else(PoisonError::into_inner) {
                Direction::Open => connected.tcp.poll_read_ready(cx).map(drop),
                Direction::Closed => Poll::Ready(()),
            }
        })
        .await;
    }
}

#[async_trait]
impl InputStream for Receiver {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let connected = &self.0;
        let mut receiving = connected.receiving.lock().unwrap_or_else(PoisonError::into_inner);
        if *receiving == Direction::Closed {
            return Err(StreamError::Closed);
        }
        if size == 0 {
            return Ok(Bytes::new());
        }
        let granted = connected.quota.take_some(size.min(CHUNK)).ok_or_else(exhausted)?;
        let mut buffer = BytesMut::zeroed(granted);
        let result = connected.tcp.try_read(&mut buffer);
        let read = *result.as_ref().unwrap_or(&0);
        connected.quota.received(granted, read);
        match result {
            Ok(0) => {
                *receiving = Direction::Closed;
                Err(StreamError::Closed)
            }
            Ok(_) => {
                buffer.truncate(read);
                Ok(buffer.freeze())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Bytes::new()),
            Err(error) => {
                *receiving = Direction::Closed;
                Err(StreamError::LastOperationFailed(error.into()))
            }
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.0.shutdown(Shutdown::Read);
    }
}

/// The stream of bytes to the peer.
pub(super) struct Sender(Arc<Connected>);

#[async_trait]
impl Pollable for Sender {
    async fn ready(&mut self) {
        let connected = &self.0;
        poll_fn(|cx| {
            let mut sending = connected.sending();
            ready!(connected.poll_send(&mut sending, cx));
            match sending.direction {
                Direction::Open => connected.tcp.poll_write_ready(cx).map(drop),
                Direction::Closed => Poll::Ready(()),
            }
        })
        .await;
    }
}

#[async_trait]
impl OutputStream for Sender {
    fn check_write(&mut self) -> StreamResult<usize> {
        let connected = &self.0;
        let mut sending = connected.sending();
        let sent = connected.poll_send(&mut sending, &mut Context::from_waker(Waker::noop()));
        sending.usable()?;
        Ok(if sent.is_ready() { CHUNK } else { 0 })
    }

    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let connected = &self.0;
        let mut sending = connected.sending();
        sending.usable()?;
        if bytes.len() > CHUNK || !sending.waiting.is_empty() {
            return Err(StreamError::trap("written without the permission of check-write"));
        }
        if !connected.quota.take_all(bytes.len()) {
            return Err(exhausted());
        }
        sending.waiting = bytes;
        let _ = connected.poll_send(&mut sending, &mut Context::from_waker(Waker::noop()));
        match sending.failed.take() {
            Some(error) => Err(StreamError::LastOperationFailed(error.into())),
            None => Ok(()),
        }
    }

    fn flush(&mut self) -> StreamResult<()> {
        // Bytes are sent without a flush. A guest that waits for the end of a flush waits for `ready`.
        self.0.sending().usable()
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.shutdown(Shutdown::Write);
    }
}
