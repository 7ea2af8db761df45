//! Connections of one tenant: resolve, vet, connect, prove the name, keep alive.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::rt::ReadBufCursor;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::exchange::RequestBody;
use super::policy::EgressDenied;
use super::resolver::Resolver;
use crate::error::TenantError;
use crate::fair::Rate;
use crate::telemetry::{self, TenantMeter};
use crate::tenant::{TenantOptions, TrustRoots};

/// How long an idle connection is kept. Azure's front ends close theirs after two minutes.
const IDLE: Duration = Duration::from_secs(60);

/// Idle connections that are kept for one host. Fewer than the exchanges that a tenant runs at once makes it
/// connect anew all the time (1 625 instead of 31 connections for 3 000 requests, in another host's measurement).
const IDLE_CONNECTIONS: usize = 32;

/// TLS sessions that are remembered for resumption.
const TLS_SESSIONS: usize = 64;

/// What HTTP/2 may send of one response before the guest has read it, and of all responses of a connection, in bytes.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;

/// What HTTP/2 takes of a request's body before the connection has sent it, in bytes.
const SEND_BUFFER: usize = 64 << 10;

/// The largest HTTP/2 frame that a server may send, in bytes: the smallest that the protocol allows to ask for.
const FRAME: u32 = 16 << 10;

/// Streams that the server has reset, or that we have, which a connection remembers; with one more it is closed.
const RESETS: usize = 32;

/// Addresses of one name that are tried.
const ADDRESSES: usize = 8;

/// The name of HTTP/2 in ALPN.
const HTTP2: &[u8] = b"h2";

/// The HTTP client of one tenant, with its own connections and TLS sessions.
pub(crate) type HttpClient = TenantClient;

/// See [`HttpClient`].
#[derive(Clone)]
pub(crate) struct TenantClient(Client<VettedConnector, RequestBody>);

impl TenantClient {
    /// # Errors
    ///
    /// Where the trust roots cannot be read.
    pub(crate) fn new(
        options: &TenantOptions,
        resolver: Resolver,
        connects: Arc<Rate>,
        meter: Arc<TenantMeter>,
    ) -> Result<Self, TenantError> {
        let header_bytes = options.limits.header_bytes;
        let connector = VettedConnector {
            tls: TlsConnector::from(Arc::new(tls_config(&options.trust_roots)?)),
            resolver,
            timeout: options.limits.connect_timeout,
            connects,
            meter,
        };
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            // A connection that was closed while it was idle: sent again is only what has not begun to leave.
            .retry_canceled_requests(true)
            .http1_max_buf_size(header_bytes.max(16 << 10))
            // Bounds of our own on everything that a server has a say in, whatever the defaults are.
            .http2_adaptive_window(false)
            .http2_initial_stream_window_size(STREAM_WINDOW)
            .http2_initial_connection_window_size(CONNECTION_WINDOW)
            .http2_max_frame_size(FRAME)
            .http2_max_header_list_size(u32::try_from(header_bytes).unwrap_or(u32::MAX))
            .http2_max_send_buf_size(SEND_BUFFER)
            .http2_max_concurrent_streams(0)
            .http2_max_concurrent_reset_streams(RESETS)
            .http2_max_pending_accept_reset_streams(RESETS)
            .http2_max_local_error_reset_streams(RESETS)
            .build(connector);
        Ok(Self(client))
    }

    pub(crate) fn request(&self, request: http::Request<RequestBody>) -> hyper_util::client::legacy::ResponseFuture {
        self.0.request(request)
    }
}

/// A configuration of its own for every tenant: clones of one would share its TLS sessions.
fn tls_config(trust: &TrustRoots) -> Result<ClientConfig, TenantError> {
    let (public, pem) = match trust {
        TrustRoots::Public => (true, None),
        TrustRoots::Only(pem) => (false, Some(pem)),
        TrustRoots::PublicAnd(pem) => (true, Some(pem)),
    };
    let mut roots = RootCertStore::empty();
    if public {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    if let Some(pem) = pem {
        let mut count = 0;
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let unusable = |reason: String| TenantError::TrustRoots(reason);
            let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
            roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
            count += 1;
        }
        if count == 0 {
            return Err(TenantError::TrustRoots("there is no certificate in them".to_owned()));
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TenantError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![HTTP2.to_vec(), b"http/1.1".to_vec()];
    config.resumption = Resumption::in_memory_sessions(TLS_SESSIONS);
    Ok(config)
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("the name cannot be resolved: {0}")]
    Dns(String),
    #[error("{0}")]
    Prohibited(Box<EgressDenied>),
    #[error("the connection was refused")]
    Refused,
    #[error("the host cannot be reached: {0}")]
    Unreachable(io::Error),
    #[error("no connection within the time allowed")]
    TimedOut,
    #[error("more connections than {0} in a second")]
    TooMany(u32),
    #[error("the server's certificate is not accepted: {0}")]
    Certificate(rustls::CertificateError),
    #[error("the server broke the TLS handshake off: {0:?}")]
    Alert(rustls::AlertDescription),
    #[error("the TLS handshake failed: {0}")]
    Tls(io::Error),
}

/// Makes connections for hyper's pool.
#[derive(Clone)]
pub(crate) struct VettedConnector {
    tls: TlsConnector,
    resolver: Resolver,
    timeout: Duration,
    connects: Arc<Rate>,
    meter: Arc<TenantMeter>,
}

impl tower_service::Service<Uri> for VettedConnector {
    type Response = VettedStream;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<VettedStream, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let host = uri.host().unwrap_or_default();
            let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
            let port = uri.port_u16().unwrap_or(443);
            // One clock for the name, the connection and the handshake: a server that accepts and then says
            // nothing is no slower to fail than one that does not answer.
            tokio::time::timeout(this.timeout, this.connect(&host, port)).await.unwrap_or(Err(ConnectError::TimedOut))
        })
    }
}

impl VettedConnector {
    async fn connect(&self, host: &str, port: u16) -> Result<VettedStream, ConnectError> {
        let deadline = Instant::now() + self.timeout;
        if !self.connects.turn(deadline).await {
            return Err(ConnectError::TooMany(self.connects.per_second()));
        }
        let addresses = self.resolver.resolve(host, &format!("{host}:{port}")).await?;
        let addresses: Vec<SocketAddr> = addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect();
        let tcp = connect_first(&addresses, deadline).await?;
        // Requests are single writes; waiting for more to send only adds latency.
        let _ = tcp.set_nodelay(true);
        let name = ServerName::try_from(host.to_owned()).map_err(|error| ConnectError::Dns(error.to_string()))?;
        let tls = self.tls.connect(name, tcp).await.map_err(tls_error)?;
        let session = tls.get_ref().1;
        let http2 = session.alpn_protocol() == Some(HTTP2);
        let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
        Ok(VettedStream { http2, _counted: self.meter.connected(http2, resumed), tls: TokioIo::new(tls) })
    }
}

/// Tries one address after the other, each with its share of the time that is left.
async fn connect_first(addresses: &[SocketAddr], deadline: Instant) -> Result<TcpStream, ConnectError> {
    let mut last = ConnectError::TimedOut;
    let tried = addresses.len().min(ADDRESSES);
    for (index, address) in addresses.iter().take(tried).enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        // At most `ADDRESSES`, so that this fits.
        let share = left / u32::try_from(tried - index).unwrap_or(1);
        last = match tokio::time::timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => ConnectError::Refused,
            Ok(Err(error)) => ConnectError::Unreachable(error),
            Err(_) => ConnectError::TimedOut,
        };
    }
    Err(last)
}

fn tls_error(error: io::Error) -> ConnectError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(reason)) => ConnectError::Certificate(reason.clone()),
        Some(rustls::Error::AlertReceived(alert)) => ConnectError::Alert(*alert),
        _ => ConnectError::Tls(error),
    }
}

/// A TLS connection to a vetted address.
pub(crate) struct VettedStream {
    tls: TokioIo<TlsStream<TcpStream>>,
    http2: bool,
    _counted: telemetry::Connection,
}

impl Connection for VettedStream {
    fn connected(&self) -> Connected {
        if self.http2 { Connected::new().negotiated_h2() } else { Connected::new() }
    }
}

impl hyper::rt::Read for VettedStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_read(cx, buf)
    }
}

impl hyper::rt::Write for VettedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(cx)
    }
}
