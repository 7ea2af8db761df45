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
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::exchange::RequestBody;
use super::policy::EgressDenied;
use super::resolver::Resolver;
use crate::error::TenantError;
use crate::tenant::{TenantOptions, TrustRoots};

/// How long an idle connection is kept. Azure's front ends close theirs after two minutes.
const IDLE: Duration = Duration::from_secs(60);

/// Idle connections that are kept for one host. Fewer than the exchanges that a tenant runs at once makes it
/// connect anew all the time (1 625 instead of 31 connections for 3 000 requests, in another host's measurement).
const IDLE_CONNECTIONS: usize = 32;

/// TLS sessions that are remembered for resumption.
const TLS_SESSIONS: usize = 64;

/// Addresses of one name that are tried.
const ADDRESSES: usize = 8;

/// The HTTP client of one tenant, with its own connections and TLS sessions.
pub(crate) type HttpClient = TenantClient;

/// See [`HttpClient`].
#[derive(Clone)]
pub(crate) struct TenantClient(Client<VettedConnector, RequestBody>);

impl TenantClient {
    /// # Errors
    ///
    /// Where the trust roots cannot be read.
    pub(crate) fn new(options: &TenantOptions, resolver: Resolver) -> Result<Self, TenantError> {
        let connector = VettedConnector {
            tls: TlsConnector::from(Arc::new(tls_config(&options.trust_roots)?)),
            resolver,
            timeout: options.limits.connect_timeout,
        };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .http1_max_buf_size(options.limits.header_bytes.max(16 << 10))
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
        let addresses = self.resolver.resolve(host, &format!("{host}:{port}")).await?;
        let addresses: Vec<SocketAddr> = addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect();
        let tcp = connect_first(&addresses, deadline).await?;
        // Requests are single writes; waiting for more to send only adds latency.
        let _ = tcp.set_nodelay(true);
        let name = ServerName::try_from(host.to_owned()).map_err(|error| ConnectError::Dns(error.to_string()))?;
        let tls = self.tls.connect(name, tcp).await.map_err(tls_error)?;
        Ok(VettedStream(TokioIo::new(tls)))
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
pub(crate) struct VettedStream(TokioIo<TlsStream<TcpStream>>);

impl Connection for VettedStream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl hyper::rt::Read for VettedStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl hyper::rt::Write for VettedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
