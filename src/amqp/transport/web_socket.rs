//! A WebSocket (RFC 6455) over any other transport: it carries AMQP where a network allows outgoing connections only to
//! port 443.
//!
//! The messages form one stream of bytes. Microsoft's clients put one AMQP frame into each message, but no document
//! requires that of a server, so this code does not rely on it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};
use tungstenite::error::ProtocolError;
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Bytes, Error, Message};

use super::io::Adapter;
use super::{Deadline, Transport, TransportError, TransportErrorKind};
use crate::amqp::stage::Stage;
use crate::amqp_transport::AmqpTransport;
use crate::platform::WireResponse;

/// The sub-protocol of AMQP 1.0 ("Advanced Message Queuing Protocol (AMQP) WebSocket Binding").
const SUB_PROTOCOL: &str = "AMQPWSB10";
/// The largest answer to the handshake, in bytes, including the headers of a refusal.
const LARGEST_HEAD: usize = 16 * 1024;
/// How many bytes of a refusal's body are read: the bodies that the services write have about 300.
const LARGEST_REFUSAL: usize = 4 * 1024;
const MOST_HEADERS: usize = 100;
/// The largest message and frame of the WebSocket, in bytes. Servers put one AMQP frame into a message, and AMQP frames
/// are smaller.
const LARGEST_MESSAGE: usize = 1024 * 1024;
/// The largest message that is sent, in bytes.
const PIECE: usize = 16 * 1024;
/// The text that a server's accept value is computed with, to prove that it has read the request (RFC 6455, section
/// 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// How long writing the answer to a ping may take: a caller waits to read meanwhile.
const ASIDE: Duration = Duration::from_millis(1);
/// How long one read waits before pending bytes are sent again.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(50);

/// A WebSocket over `T`, with a server that speaks AMQP over it.
#[derive(Debug)]
pub struct WebSocket<T> {
    context: WebSocketContext,
    inner: T,
    /// Bytes that were received and not returned yet.
    received: Bytes,
    /// Whether the last accepted bytes are not sent yet.
    unsent: bool,
}

impl<T: Transport> WebSocket<T> {
    /// Asks the server at `host` and `port`, which `inner` leads to, to speak AMQP over a WebSocket at `path`.
    ///
    /// # Errors
    /// `Upgrade` where the server refuses; `Broken` where the connection ends before the server has answered;
    /// `Timeout`; the errors of `inner`.
    pub fn connect(
        mut inner: T,
        host: &str,
        port: u16,
        path: &str,
        deadline: &Deadline,
    ) -> Result<Self, TransportError> {
        let mut nonce = [0; 16];
        deadline.platform.secure_random(&mut nonce);
        let key = STANDARD.encode(nonce);
        // A `Host` header leaves out HTTPS's default port.
        let port = if port == AmqpTransport::WebSockets.port() { String::new() } else { format!(":{port}") };
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: {SUB_PROTOCOL}\r\n\r\n"
        );
        let mut rest = request.as_bytes();
        while !rest.is_empty() {
            let count = inner.write(rest, deadline).map_err(|error| error.at(Stage::Upgrade))?;
            rest = rest.get(count..).unwrap_or_default();
        }
        let tail = read_answer(&mut inner, &key, deadline)?;
        let config = WebSocketConfig::default()
            .read_buffer_size(PIECE)
            .max_message_size(Some(LARGEST_MESSAGE))
            .max_frame_size(Some(LARGEST_MESSAGE));
        let context = WebSocketContext::from_partially_read(tail, Role::Client, Some(config));
        Ok(Self { context, inner, received: Bytes::new(), unsent: false })
    }

    /// Sends the bytes that were accepted and not sent yet.
    fn flush(&mut self, deadline: &Deadline) -> Result<(), TransportError> {
        let mut adapter = Adapter::new(&mut self.inner, deadline);
        let flushed = self.context.flush(&mut adapter);
        let flushed = judge(adapter, flushed, Stage::Write);
        self.unsent = flushed.is_err();
        flushed
    }

    /// The next message; none if the server has closed the WebSocket or the connection.
    fn next(&mut self, deadline: &Deadline) -> Result<Option<Message>, TransportError> {
        let aside = deadline.or_at(deadline.now().saturating_add(ASIDE));
        let mut adapter = Adapter::new(&mut self.inner, deadline).with_writes(aside);
        match self.context.read(&mut adapter) {
            Ok(Message::Close(_)) | Err(Error::ConnectionClosed | Error::AlreadyClosed) => Ok(None),
            // A server may close the connection without closing the WebSocket. AMQP detects whether its own
            // conversation was complete.
            Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => Ok(None),
            other => judge(adapter, other, Stage::Message).map(Some),
        }
    }
}

impl<T: Transport> Transport for WebSocket<T> {
    fn read(&mut self, buffer: &mut [u8], deadline: &Deadline) -> Result<usize, TransportError> {
        while self.received.is_empty() {
            if deadline.remaining().is_none() {
                // A server that sends only pings cannot delay the caller beyond the deadline.
                return Err(TransportError::timeout(Stage::Message));
            }
            if !self.context.can_read() {
                return Ok(0);
            }
            let mut until = *deadline;
            if self.unsent {
                let now = deadline.now();
                until = deadline.or_at(now.saturating_add(BETWEEN_ATTEMPTS));
                match self.flush(&deadline.or_at(now.saturating_add(ASIDE))) {
                    Err(error) if error.kind == TransportErrorKind::Timeout => {}
                    other => other?,
                }
            }
            match self.next(&until) {
                Ok(Some(Message::Binary(bytes))) => self.received = bytes,
                Ok(Some(Message::Text(_))) => {
                    return Err(broken(
                        Stage::Message,
                        "the server sent a text message, but AMQP needs binary messages",
                    ));
                }
                // Pings and pongs: the library answers pings.
                Ok(Some(_)) => {}
                Ok(None) => return Ok(0),
                Err(error) if error.kind == TransportErrorKind::Timeout && until.moment() < deadline.moment() => {}
                Err(error) => return Err(error),
            }
        }
        let bytes = self.received.split_to(self.received.len().min(buffer.len()));
        if let Some(place) = buffer.get_mut(..bytes.len()) {
            place.copy_from_slice(&bytes);
        }
        Ok(bytes.len())
    }

    fn write(&mut self, bytes: &[u8], deadline: &Deadline) -> Result<usize, TransportError> {
        if self.unsent {
            // Bytes that could not be sent before are sent first, so that they do not pile up.
            self.flush(deadline)?;
        }
        let piece = bytes.get(..PIECE).unwrap_or(bytes);
        let mut adapter = Adapter::new(&mut self.inner, deadline);
        let written = self.context.write(&mut adapter, Message::Binary(Bytes::copy_from_slice(piece)));
        let sent = judge(adapter, written, Stage::Write).and_then(|()| self.flush(deadline));
        match sent {
            // The bytes are in the WebSocket's own buffer, and the next call sends them.
            Err(error) if error.kind == TransportErrorKind::Timeout => self.unsent = true,
            other => other?,
        }
        Ok(piece.len())
    }
}

/// Reads the answer to the request. Returns the bytes after it, which are the server's first bytes over the WebSocket.
fn read_answer<T: Transport>(inner: &mut T, key: &str, deadline: &Deadline) -> Result<Vec<u8>, TransportError> {
    let mut bytes = Vec::new();
    loop {
        let fresh = read_more(inner, &mut bytes, deadline)?;
        if fresh == 0 {
            let detail = "the server hung up during the WebSocket handshake";
            return Err(TransportError::new(TransportErrorKind::Broken, Stage::Upgrade, detail));
        }
        // An answer's head ends with a line feed, so other bytes cannot complete it.
        if !bytes.iter().rev().take(fresh).any(|byte| *byte == b'\n') {
            check_size(&bytes)?;
            continue;
        }
        while let Some((mut answer, head)) = parse(&bytes)? {
            let behind = bytes.split_off(head);
            match answer.status {
                101 => {
                    check(&answer, key).map_err(refused)?;
                    return Ok(behind);
                }
                // An interim answer, which precedes the real one.
                100..200 => bytes = behind,
                status => {
                    answer.body = read_refusal(inner, behind, &answer, deadline);
                    let error = refused(format!("it answered with status {status}"));
                    return Err(TransportError { answer: Some(Box::new(answer)), ..error });
                }
            }
        }
        check_size(&bytes)?;
    }
}

/// Parses an answer without its body, and returns how many bytes it has; none if it is not complete yet.
fn parse(bytes: &[u8]) -> Result<Option<(WireResponse, usize)>, TransportError> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut answer = httparse::Response::new(&mut headers);
    let head = match answer.parse(bytes) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(refused(format!("its answer is not HTTP: {error}"))),
    };
    let text = |value: &[u8]| String::from_utf8_lossy(value).trim().to_owned();
    let headers = answer.headers.iter().map(|header| (header.name.to_ascii_lowercase(), text(header.value)));
    let status = answer.code.unwrap_or_default();
    Ok(Some((WireResponse { status, headers: headers.collect(), body: Vec::new() }, head)))
}

fn check_size(head: &[u8]) -> Result<(), TransportError> {
    if head.len() > LARGEST_HEAD {
        return Err(refused(format!("its answer's headers are larger than {LARGEST_HEAD} bytes")));
    }
    Ok(())
}

fn read_more<T: Transport>(inner: &mut T, bytes: &mut Vec<u8>, deadline: &Deadline) -> Result<usize, TransportError> {
    let mut piece = [0; 1024];
    let count = inner.read(&mut piece, deadline).map_err(|error| error.at(Stage::Upgrade))?;
    bytes.extend_from_slice(piece.get(..count).unwrap_or_default());
    Ok(count)
}

/// The body of a refusal, as much as arrives soon: the services state in it what is wrong.
fn read_refusal<T: Transport>(inner: &mut T, mut body: Vec<u8>, answer: &WireResponse, deadline: &Deadline) -> Vec<u8> {
    let length = answer.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let soon = deadline.soon(Duration::from_secs(1));
    while body.len() < length.min(LARGEST_REFUSAL) {
        match read_more(inner, &mut body, &soon) {
            Ok(count) if count > 0 => {}
            _ => break,
        }
    }
    body.truncate(LARGEST_REFUSAL);
    body
}

/// Whether an answer with status 101 is a valid answer to this request.
fn check(answer: &WireResponse, key: &str) -> Result<(), String> {
    let is = |name: &str, expected: &str| answer.header(name).is_some_and(|value| value.eq_ignore_ascii_case(expected));
    let connection = answer.header("connection").unwrap_or_default();
    if !is("upgrade", "websocket") || !connection.split(',').any(|part| part.trim().eq_ignore_ascii_case("upgrade")) {
        return Err("it agreed to something else than a WebSocket".to_owned());
    }
    let proof = STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize());
    if answer.header("sec-websocket-accept").is_none_or(|accept| accept != proof) {
        return Err("its answer does not belong to the request".to_owned());
    }
    if !is("sec-websocket-protocol", SUB_PROTOCOL) {
        return Err(format!("it did not agree to the sub-protocol {SUB_PROTOCOL}"));
    }
    if answer.header("sec-websocket-extensions").is_some() {
        return Err("it uses an extension that was not asked for".to_owned());
    }
    Ok(())
}

fn refused(detail: String) -> TransportError {
    TransportError::new(TransportErrorKind::Upgrade, Stage::Upgrade, detail)
}

fn broken(stage: Stage, detail: impl Into<String>) -> TransportError {
    TransportError::new(TransportErrorKind::Broken, stage, detail)
}

/// Converts the library's result to the errors of the transport.
fn judge<V, T: Transport>(adapter: Adapter<T>, result: Result<V, Error>, stage: Stage) -> Result<V, TransportError> {
    match result {
        Ok(value) => Ok(value),
        Err(Error::Io(error)) => adapter.outcome(Err(error)),
        Err(Error::ConnectionClosed | Error::AlreadyClosed) => Err(broken(stage, "the server closed the WebSocket")),
        Err(error) => Err(broken(stage, format!("the server broke the rules of WebSockets: {error}"))),
    }
}
