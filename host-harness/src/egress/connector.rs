//! Opens the HTTPS connections of one tenant: resolves the name, checks the addresses, connects, and verifies the
//! certificate for the name.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::rt::ReadBufCursor;
use hyper_util::rt::TokioIo;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::connect_error::ConnectError;
use super::ledger::{Counted, Excess, Ledger};
use super::resolver::{Asking, Resolver};
use super::trust::provider;
use crate::error::TenantError;
use crate::limits::Limits;
use crate::limits::fair::Rate;
use crate::limits::lines::Lines;
use crate::operators::telemetry::{self, TenantMeter};
use crate::options::TenantOptions;

/// How many TLS sessions are remembered for resumption.
const TLS_SESSIONS: usize = 64;

/// How many addresses of one name are tried.
const ADDRESSES: usize = 8;

/// The name of HTTP/2 in ALPN.
const HTTP2: &[u8] = b"h2";

/// Makes a new configuration for every tenant, because clones of a configuration would share its TLS sessions.
fn tls_config(roots: Arc<RootCertStore>) -> Result<ClientConfig, TenantError> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TenantError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![HTTP2.to_vec(), b"http/1.1".to_vec()];
    config.resumption = Resumption::in_memory_sessions(TLS_SESSIONS);
    Ok(config)
}

/// Opens connections for the pool of one tenant, with TLS sessions that belong to the tenant alone.
pub(crate) struct VettedConnector {
    tls: TlsConnector,
    resolver: Resolver,
    connects: Arc<Rate>,
    meter: Arc<TenantMeter>,
    tenant: String,
    limits: Limits,
}

impl VettedConnector {
    /// # Errors
    ///
    /// [`TenantError`] if TLS cannot be set up.
    pub(crate) fn new(
        options: &TenantOptions,
        roots: Arc<RootCertStore>,
        resolver: Resolver,
        connects: Arc<Rate>,
        meter: Arc<TenantMeter>,
    ) -> Result<Self, TenantError> {
        let tls = TlsConnector::from(Arc::new(tls_config(roots)?));
        let (tenant, limits) = (options.name.clone(), options.limits.clone());
        Ok(Self { tls, resolver, connects, meter, tenant, limits })
    }

    /// Opens a connection. `slot` is its share of the bound on connections, which it holds while it is open.
    pub(super) async fn connect(
        &self,
        host: &str,
        port: u16,
        asking: Asking<'_>,
        slot: OwnedSemaphorePermit,
    ) -> Result<VettedStream, ConnectError> {
        let deadline = asking.until;
        if !self.connects.turn(deadline).await {
            return Err(ConnectError::TooMany(self.connects.per_second()));
        }
        let addresses = self.resolver.resolve(host, Some(port), &format!("{host}:{port}"), asking).await?;
        let addresses: Vec<SocketAddr> = addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect();
        let tcp = connect_first(&addresses, deadline).await?;
        // A request is written at once, so waiting for more bytes would only add latency.
        let _ = tcp.set_nodelay(true);
        let name = ServerName::try_from(host.to_owned()).map_err(|error| ConnectError::Dns(error.to_string()))?;
        let ledger = Ledger::new(self.limits.http_excess_bytes, Lines::new(&self.tenant, &self.limits));
        let tcp = Counted::new(tcp, ledger.clone());
        let tls = self.tls.connect(name, tcp).await.map_err(tls_error)?;
        let session = tls.get_ref().1;
        let http2 = session.alpn_protocol() == Some(HTTP2);
        let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
        Ok(VettedStream {
            http2,
            ledger,
            _counted: self.meter.connected(http2, resumed),
            _slot: slot,
            tls: TokioIo::new(tls),
        })
    }
}

/// Tries the addresses in order. Each gets an equal share of the time that is left.
pub(super) async fn connect_first(addresses: &[SocketAddr], deadline: Instant) -> Result<TcpStream, ConnectError> {
    let mut last = ConnectError::TimedOut;
    let tried = addresses.len().min(ADDRESSES);
    for (index, address) in addresses.iter().take(tried).enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        // The number is at most `ADDRESSES`, so the conversion cannot fail.
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
    if let Some(excess) = error.get_ref().and_then(|inner| inner.downcast_ref::<Excess>()) {
        return ConnectError::Excess(*excess);
    }
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(reason)) => ConnectError::Certificate(reason.clone()),
        Some(rustls::Error::AlertReceived(alert)) => ConnectError::Alert(*alert),
        _ => ConnectError::Tls(error),
    }
}

/// A TLS connection to an address that was checked.
pub(crate) struct VettedStream {
    tls: TokioIo<TlsStream<Counted>>,
    http2: bool,
    ledger: Arc<Ledger>,
    _counted: telemetry::Connection,
    _slot: OwnedSemaphorePermit,
}

impl VettedStream {
    pub(super) fn is_http2(&self) -> bool {
        self.http2
    }

    pub(super) fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
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
