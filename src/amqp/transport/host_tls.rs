//! TLS by the host, over its interface `workflow:connector-host/tls`.

use wasip2::clocks::monotonic_clock;

use super::streams::{Streams, nanos, wait_for};
use super::{Deadline, Roots, Transport, TransportError, TransportErrorKind};
use crate::amqp::stage::Stage;
use imports::workflow::connector_host::tls::{Connection, Error, ErrorCode, Stage as Waiting};

#[allow(
    missing_docs,
    unsafe_code,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::unwrap_used,
    reason = "generated code; the documentation is in wit/"
)]
mod imports {
    wit_bindgen::generate!({
        inline: "
            package azure-iot:connector;
            world host-tls {
                import workflow:connector-host/tls@0.1.0;
            }
        ",
        path: "wit",
        world: "azure-iot:connector/host-tls",
        with: {
            "wasi:io/error@0.2.12": wasip2::io::error,
            "wasi:io/poll@0.2.12": wasip2::io::poll,
            "wasi:io/streams@0.2.12": wasip2::io::streams,
            "workflow:connector-host/tls@0.1.0": generate,
        },
    });
}

/// A TLS connection. The server has shown the host a trusted certificate for its name. The fields' order matters: the
/// streams must be dropped before their connection.
#[derive(Debug)]
pub struct Tls {
    streams: Streams,
    _connection: Connection,
}

impl Tls {
    /// Lets the host connect to `host` and `port`, and perform the TLS handshake.
    ///
    /// # Errors
    /// `Dns`, `Connect`, `Denied`, `Tls`, `Broken` or `Timeout`.
    pub fn open(host: &str, port: u16, roots: Roots, deadline: &Deadline) -> Result<Self, TransportError> {
        let Some(left) = deadline.remaining() else { return Err(TransportError::timeout(Stage::Resolve)) };
        let roots = match roots {
            Roots::WebPki => None,
            Roots::Pem(pem) => Some(pem),
        };
        let connection = Connection::open(host, port, roots).map_err(|error| failure(error, Stage::Resolve))?;
        let timer = monotonic_clock::subscribe_duration(nanos(left));
        let ready = connection.subscribe();
        loop {
            match connection.finish() {
                Ok(Some((input, output))) => {
                    drop(ready);
                    return Ok(Self { streams: Streams::new(input, output), _connection: connection });
                }
                Ok(None) => wait_for(&ready, &timer, Stage::Tls).map_err(|error| error.at(stage(&connection)))?,
                Err(error) => return Err(failure(error, stage(&connection))),
            }
        }
    }
}

/// What the host waits for, or waited for last.
fn stage(connection: &Connection) -> Stage {
    match connection.stage() {
        Waiting::Address => Stage::Resolve,
        Waiting::Tcp => Stage::Connect,
        Waiting::Handshake => Stage::Tls,
    }
}

impl Transport for Tls {
    fn read(&mut self, buffer: &mut [u8], deadline: &Deadline) -> Result<usize, TransportError> {
        self.streams.read(buffer, deadline)
    }
    fn write(&mut self, bytes: &[u8], deadline: &Deadline) -> Result<usize, TransportError> {
        self.streams.write(bytes, deadline)
    }
}

fn failure(error: Error, waited: Stage) -> TransportError {
    let (kind, stage) = match error.code {
        ErrorCode::AccessDenied => (TransportErrorKind::Denied, waited),
        ErrorCode::NameUnresolvable => (TransportErrorKind::Dns, Stage::Resolve),
        ErrorCode::Unreachable | ErrorCode::Limit | ErrorCode::InvalidState => {
            (TransportErrorKind::Connect, Stage::Connect)
        }
        ErrorCode::Certificate | ErrorCode::CertificateName | ErrorCode::Handshake | ErrorCode::InvalidArgument => {
            (TransportErrorKind::Tls, Stage::Tls)
        }
        ErrorCode::Broken => (TransportErrorKind::Broken, Stage::Tls),
        ErrorCode::Timeout => return TransportError::timeout(waited),
    };
    TransportError::new(kind, stage, error.message)
}
