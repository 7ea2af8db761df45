//! The streams of WASI as a transport: of a socket, or of a connection with TLS by the host.

use std::time::Duration;

use wasip2::clocks::monotonic_clock;
use wasip2::io::poll::{Pollable, poll};
use wasip2::io::streams::{InputStream, OutputStream, StreamError};

use super::{Deadline, Transport, TransportError, TransportErrorKind};
use crate::amqp::stage::Stage;

/// How many bytes one read asks the host for. TLS reads 4 KB at a time, and each read would be a host call with its own
/// allocation.
const CHUNK: u64 = 32 * 1024;

/// Both directions of a connection.
#[derive(Debug)]
pub(super) struct Streams {
    input: InputStream,
    output: OutputStream,
    /// The bytes of the last read, and how many of them were returned.
    chunk: Vec<u8>,
    used: usize,
}

impl Streams {
    pub fn new(input: InputStream, output: OutputStream) -> Self {
        Self { input, output, chunk: Vec::new(), used: 0 }
    }
}

impl Transport for Streams {
    fn read(&mut self, buffer: &mut [u8], deadline: &Deadline) -> Result<usize, TransportError> {
        while self.used >= self.chunk.len() {
            let left = deadline.remaining().ok_or_else(|| TransportError::timeout(Stage::Message))?;
            match self.input.read(CHUNK) {
                Ok(bytes) if bytes.is_empty() => {
                    let timer = monotonic_clock::subscribe_duration(nanos(left));
                    wait_for(&self.input.subscribe(), &timer, Stage::Message)?;
                }
                Ok(bytes) => (self.chunk, self.used) = (bytes, 0),
                Err(StreamError::Closed) => return Ok(0),
                Err(error) => return Err(from_stream(&error, Stage::Message)),
            }
        }
        let rest = self.chunk.get(self.used..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        if let (Some(place), Some(bytes)) = (buffer.get_mut(..count), rest.get(..count)) {
            place.copy_from_slice(bytes);
        }
        self.used += count;
        if self.used == self.chunk.len() {
            // The buffer is freed, so that an idle connection holds no memory.
            (self.chunk, self.used) = (Vec::new(), 0);
        }
        Ok(count)
    }

    fn write(&mut self, bytes: &[u8], deadline: &Deadline) -> Result<usize, TransportError> {
        let failed = |error: StreamError| from_stream(&error, Stage::Write);
        loop {
            let timer = timer(deadline, Stage::Write)?;
            let room = self.output.check_write().map_err(failed)?;
            let room = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
            if room == 0 {
                wait_for(&self.output.subscribe(), &timer, Stage::Write)?;
                continue;
            }
            self.output.write(bytes.get(..room).unwrap_or_default()).map_err(failed)?;
            self.output.flush().map_err(failed)?;
            return Ok(room);
        }
    }
}

pub(super) fn timer(deadline: &Deadline, stage: Stage) -> Result<Pollable, TransportError> {
    let left = deadline.remaining().ok_or_else(|| TransportError::timeout(stage))?;
    Ok(monotonic_clock::subscribe_duration(nanos(left)))
}

pub(super) fn wait_for(ready: &Pollable, timer: &Pollable, stage: Stage) -> Result<(), TransportError> {
    poll(&[ready, timer]);
    if timer.ready() && !ready.ready() { Err(TransportError::timeout(stage)) } else { Ok(()) }
}

fn from_stream(error: &StreamError, stage: Stage) -> TransportError {
    let detail = match error {
        StreamError::Closed => "the peer accepts no more bytes".to_owned(),
        StreamError::LastOperationFailed(error) => error.to_debug_string(),
    };
    TransportError::new(TransportErrorKind::Broken, stage, detail)
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
