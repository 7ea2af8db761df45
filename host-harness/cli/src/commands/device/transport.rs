//! How MQTT reaches the services: over TLS, or over a WebSocket where only port 443 is open.

use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use clap::ValueEnum;
use futures_util::{SinkExt as _, StreamExt as _, future};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::io::{CopyToBytes, SinkWriter, StreamReader};

use super::tls::{Tls, split};

/// How long the service may take to answer the request for a WebSocket.
const PATIENCE: Duration = Duration::from_secs(20);
/// The largest WebSocket message that is accepted, in bytes.
const LARGEST: usize = 1 << 20;

/// How MQTT reaches the services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Transport {
    /// MQTT over TLS, port 8883.
    Mqtt,
    /// MQTT over a WebSocket, port 443: for networks that let nothing else out.
    WebSocket,
}

/// A connection's bytes.
pub(super) trait Bytestream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Bytestream for S {}

impl Transport {
    /// The usual port.
    pub(super) fn port(self) -> u16 {
        match self {
            Self::Mqtt => 8883,
            Self::WebSocket => 443,
        }
    }

    /// Opens a connection to a host, which may contain a port, for MQTT.
    ///
    /// # Errors
    /// If the host cannot be reached, or refuses the WebSocket.
    pub(super) async fn open(self, tls: &Tls, host: &str, port: u16) -> Result<Box<dyn Bytestream>> {
        let host = format!("{}:{port}", split(host, port).0);
        let stream = tls.open(&host, port).await?;
        if self == Self::Mqtt {
            return Ok(Box::new(stream));
        }
        // Microsoft's clients ask for this path at the hub and at the provisioning service.
        let mut request = format!("wss://{host}/$iothub/websocket").into_client_request()?;
        request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("mqtt"));
        let config = WebSocketConfig::default().max_message_size(Some(LARGEST)).max_frame_size(Some(LARGEST));
        let opening = timeout(PATIENCE, client_async_with_config(request, stream, Some(config))).await;
        let (socket, _) = opening
            .context("no answer in time")
            .and_then(|opened| opened.map_err(anyhow::Error::new))
            .with_context(|| format!("{host} refused the WebSocket"))?;
        let (sink, messages) = socket.split();
        let bytes = messages.filter_map(|message| {
            future::ready(match message {
                Ok(Message::Binary(bytes)) => Some(Ok(bytes)),
                Ok(Message::Text(_)) => Some(Err(std::io::Error::other("a text message cannot carry MQTT"))),
                Ok(_) => None,
                Err(error) => Some(Err(to_io(error))),
            })
        });
        let sink =
            sink.sink_map_err(to_io).with(|bytes: Bytes| future::ok::<_, std::io::Error>(Message::Binary(bytes)));
        Ok(Box::new(tokio::io::join(StreamReader::new(bytes), SinkWriter::new(CopyToBytes::new(sink)))))
    }
}

fn to_io(error: Error) -> std::io::Error {
    match error {
        Error::Io(error) => error,
        other => std::io::Error::other(other),
    }
}
