//! AMQP and MQTT over WebSockets, at the HTTPS ports.
//!
//! | path | sub-protocol | endpoint |
//! |---|---|---|
//! | `/$iothub/websocket` | `AMQPWSB10` | the hub's own AMQP endpoint |
//! | `/$iothub/websocket` | `mqtt` | MQTT, for devices of the hub and of the provisioning service |
//! | `/$servicebus/websocket` | `AMQPWSB10` | the Event Hub-compatible endpoint |
//!
//! In Azure each of these endpoints has its own host. A WebSocket carries one stream of bytes: Microsoft's clients
//! write one AMQP frame into each WebSocket message and one MQTT packet into one or several, and accept any other
//! division. No pings are sent, because some clients do not mask their pongs. No extension is accepted.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _, future};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use sha1::{Digest as _, Sha1};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::io::{CopyToBytes, SinkWriter, StreamReader};

use crate::error::{ErrorCode, ServiceError};
use crate::service::Service;

const AMQP: &str = "AMQPWSB10";
const MQTT: &str = "mqtt";
/// The text from which the accept header is computed (RFC 6455, section 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The largest WebSocket messages that are sent and that are accepted, in bytes.
const LARGEST_SENT: usize = 64 << 10;
const LARGEST_TAKEN: usize = 1 << 20;

/// Which endpoint is behind a path.
pub(crate) fn service_at(path: &str) -> Option<Service> {
    match path.to_ascii_lowercase().as_str() {
        "/$iothub/websocket" => Some(Service::HubAmqp),
        "/$servicebus/websocket" => Some(Service::EventHub),
        _ => None,
    }
}

/// The answer 101 to a request for a WebSocket, and the endpoint that the WebSocket leads to: `service` is that of the
/// path, which the sub-protocol may change to MQTT.
///
/// # Errors
/// 400 for any other request.
pub(crate) fn agree(request: &Parts, service: Service) -> Result<(Response<Body>, Service), ServiceError> {
    let refuse = |text: &str| Err(ServiceError::new(ErrorCode::for_status(400), text));
    let headers = &request.headers;
    let asks = request.method == Method::GET
        && has(headers, header::CONNECTION, "upgrade")
        && has(headers, header::UPGRADE, "websocket")
        && has(headers, header::SEC_WEBSOCKET_VERSION, "13");
    let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| asks) else {
        return refuse("this path accepts only WebSocket requests");
    };
    let speaks = |protocol| has(headers, header::SEC_WEBSOCKET_PROTOCOL, protocol);
    let (service, protocol) = match service {
        _ if speaks(AMQP) => (service, AMQP),
        Service::HubAmqp if speaks(MQTT) => (Service::Device, MQTT),
        Service::HubAmqp => return refuse("the sub-protocol has to be AMQPWSB10 or mqtt"),
        _ => return refuse("the sub-protocol has to be AMQPWSB10"),
    };
    let proof = STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize());
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    if let Ok(proof) = HeaderValue::from_str(&proof) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, proof);
    }
    Ok((response, service))
}

/// Whether a header lists a word.
fn has(headers: &HeaderMap, name: header::HeaderName, word: &str) -> bool {
    let texts = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).any(|part| part.trim().eq_ignore_ascii_case(word))
}

/// The bytes of a connection that has become a WebSocket.
pub(crate) async fn stream(upgraded: Upgraded) -> impl AsyncRead + AsyncWrite + Unpin + Send {
    let config = WebSocketConfig::default()
        .max_message_size(Some(LARGEST_TAKEN))
        .max_frame_size(Some(LARGEST_TAKEN))
        .accept_unmasked_frames(true);
    let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
    let (sink, stream) = socket.split();
    let bytes = stream.filter_map(|message| {
        future::ready(match message {
            Ok(Message::Binary(bytes)) => Some(Ok(bytes)),
            Ok(Message::Text(_)) => {
                Some(Err(io::Error::new(io::ErrorKind::InvalidData, "a text message cannot carry AMQP or MQTT")))
            }
            Ok(_) => None,
            Err(error) => Some(Err(to_io(error))),
        })
    });
    let sink = sink.sink_map_err(to_io).with(|bytes: Bytes| future::ok::<_, io::Error>(Message::Binary(bytes)));
    tokio::io::join(StreamReader::new(bytes), Pieces(SinkWriter::new(CopyToBytes::new(sink))))
}

fn to_io(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        other => io::Error::other(other),
    }
}

/// A writer that passes on at most [`LARGEST_SENT`] bytes at a time, the size of one message.
struct Pieces<W>(W);

impl<W: AsyncWrite + Unpin> AsyncWrite for Pieces<W> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes.get(..LARGEST_SENT).unwrap_or(bytes))
    }
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
