//! A transport with the traits of `std::io`, for libraries that read and write through them.

use std::io::{Error, ErrorKind, Read, Result, Write};

use super::{Deadline, Transport, TransportError, TransportErrorKind};
use crate::amqp::stage::Stage;

/// A transport for one call. It keeps the transport's own error, which `std::io`'s error type cannot carry.
pub(super) struct Adapter<'a, 'd, T> {
    inner: &'a mut T,
    reads: Deadline<'d>,
    writes: Deadline<'d>,
    error: Option<TransportError>,
}

impl<'a, 'd, T: Transport> Adapter<'a, 'd, T> {
    /// Reading and writing end by the deadline. A time-out is reported as `WouldBlock`.
    pub fn new(inner: &'a mut T, deadline: &Deadline<'d>) -> Self {
        Self { inner, reads: *deadline, writes: *deadline, error: None }
    }

    /// Sets another deadline for writing.
    #[must_use]
    pub fn with_writes(self, deadline: Deadline<'d>) -> Self {
        Self { writes: deadline, ..self }
    }

    /// The result, with the transport's own error if there was one.
    pub fn outcome<V>(self, result: Result<V>) -> std::result::Result<V, TransportError> {
        match (result, self.error) {
            (Ok(value), _) => Ok(value),
            (Err(_), Some(error)) => Err(error),
            (Err(error), None) => {
                Err(TransportError::new(TransportErrorKind::Broken, Stage::Message, error.to_string()))
            }
        }
    }

    fn keep(&mut self, result: std::result::Result<usize, TransportError>) -> Result<usize> {
        result.map_err(|error| {
            let kind = if error.kind == TransportErrorKind::Timeout { ErrorKind::WouldBlock } else { ErrorKind::Other };
            self.error = Some(error);
            Error::from(kind)
        })
    }
}

impl<T: Transport> Read for Adapter<'_, '_, T> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let result = self.inner.read(buffer, &self.reads);
        self.keep(result)
    }
}

impl<T: Transport> Write for Adapter<'_, '_, T> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let result = self.inner.write(bytes, &self.writes);
        self.keep(result)
    }
    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}
