//! A connection with TLS by the host, from the request for it until it is open.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, ClientConnection};
use tokio::time::timeout_at;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::Pollable;

use super::quota::{Quota, Share};
use super::tls_session::{Fault, Secured, Session};
use crate::egress::connect_error::ConnectError;
use crate::egress::connector::connect_first;
use crate::egress::exchange::Exchange;
use crate::limits::from_now;

/// Why no connection was opened, and the words for it.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) reason: Reason,
    pub(super) message: String,
}

/// The reasons of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Denied,
    Unresolvable,
    Unreachable,
    Certificate,
    Name,
    Handshake,
    Broken,
    Timeout,
    Limit,
}

impl Failure {
    fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    /// An error of the look-up or of connecting.
    fn of_connecting(error: &ConnectError, exchange: &Exchange) -> Self {
        if exchange.over(error) {
            return Self::new(Reason::Limit, error.to_string());
        }
        match error {
            ConnectError::Prohibited(denied) => {
                exchange.deny((**denied).clone());
                Self::new(Reason::Denied, "the host does not permit the server's address")
            }
            ConnectError::Dns(_) => Self::new(Reason::Unresolvable, "the name has no address"),
            ConnectError::TimedOut => Self::new(Reason::Timeout, "no address answered in time"),
            ConnectError::Refused => Self::new(Reason::Unreachable, "the connection was refused"),
            _ => Self::new(Reason::Unreachable, "no address can be reached"),
        }
    }

    /// A fault during the handshake. A certificate holds texts of the server, so it is not quoted.
    fn of_handshake(fault: &Fault) -> Self {
        use rustls::Error;
        let (reason, message) = match fault {
            Fault::Exhausted => (Reason::Limit, "the call's bytes are used up"),
            Fault::Broken(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                (Reason::Broken, "the server hung up during the TLS handshake")
            }
            Fault::Broken(_) => (Reason::Broken, "the connection broke during the TLS handshake"),
            Fault::Tls(Error::InvalidCertificate(error)) => match error {
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                    (Reason::Name, "the certificate is not valid for the name of the server")
                }
                CertificateError::UnknownIssuer => {
                    (Reason::Certificate, "invalid peer certificate: UnknownIssuer, no trusted authority has issued it")
                }
                CertificateError::BadSignature => (Reason::Certificate, "invalid peer certificate: BadSignature"),
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    (Reason::Certificate, "invalid peer certificate: Expired")
                }
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    (Reason::Certificate, "invalid peer certificate: NotValidYet")
                }
                CertificateError::Revoked => (Reason::Certificate, "invalid peer certificate: Revoked"),
                _ => (Reason::Certificate, "invalid peer certificate"),
            },
            Fault::Tls(Error::AlertReceived(alert)) => {
                return Self::new(Reason::Handshake, format!("the server ended the TLS handshake: alert {alert:?}"));
            }
            Fault::Tls(_) => (Reason::Handshake, "the server broke the rules of the TLS handshake"),
        };
        Self::new(reason, message)
    }
}

/// What opening waits for, shared with the guest's handle.
#[derive(Clone, Default)]
pub(super) struct Progress(Arc<AtomicU8>);

/// The steps of opening, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Address = 0,
    Tcp = 1,
    Handshake = 2,
}

impl Progress {
    fn at(&self, step: Step) {
        self.0.store(step as u8, Ordering::Relaxed);
    }

    pub(super) fn step(&self) -> Step {
        match self.0.load(Ordering::Relaxed) {
            0 => Step::Address,
            1 => Step::Tcp,
            _ => Step::Handshake,
        }
    }
}

/// A server that the rules permit, and what is needed to open a connection to it.
pub(super) struct Request {
    pub(super) host: String,
    pub(super) port: u16,
    /// The addresses that the call was given for the name before.
    pub(super) pinned: Option<Vec<IpAddr>>,
    pub(super) name: ServerName<'static>,
    pub(super) config: ClientConfig,
    pub(super) exchange: Arc<Exchange>,
    pub(super) quota: Arc<Quota>,
    pub(super) share: Share,
}

/// An open connection, and the addresses of its server.
pub(super) struct Opened {
    pub(super) session: Session,
    pub(super) addresses: Vec<IpAddr>,
}

type Opening = Pin<Box<dyn Future<Output = Result<Opened, Failure>> + Send>>;

/// A guest's handle to a connection.
pub struct Connection {
    /// The name that was asked for.
    pub(super) host: String,
    /// The call to which the look-up belongs. A later call must not use its answer.
    pub(super) exchange: Arc<Exchange>,
    pub(super) progress: Progress,
    pub(super) stage: Stage,
}

pub(super) enum Stage {
    Opening(Opening),
    /// Open or failed, and the guest has not asked for the result yet.
    Settled(Box<Result<Opened, Failure>>),
    Open(#[allow(dead_code, reason = "keeps the connection open until the guest drops its handle")] Arc<Secured>),
    Failed,
}

impl Connection {
    /// Begins to open a connection.
    pub(super) fn open(request: Request) -> Self {
        let progress = Progress::default();
        let (host, exchange) = (request.host.clone(), request.exchange.clone());
        let stage = Stage::Opening(Box::pin(open(request, progress.clone())));
        Self { host, exchange, progress, stage }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Stage::Opening(opening) = &mut self.stage {
            let Poll::Ready(result) = opening.as_mut().poll(cx) else { return Poll::Pending };
            self.stage = Stage::Settled(Box::new(result));
        }
        Poll::Ready(())
    }
}

#[async_trait]
impl Pollable for Connection {
    async fn ready(&mut self) {
        std::future::poll_fn(|cx| self.poll(cx)).await;
    }
}

async fn open(request: Request, progress: Progress) -> Result<Opened, Failure> {
    let Request { host, port, pinned, name, config, exchange, quota, share } = request;
    let until = exchange.deadline.min(from_now(exchange.network.options.limits.connect_timeout));
    let network = &exchange.network;
    let work = async {
        let failed = |error: ConnectError| Failure::of_connecting(&error, &exchange);
        let addresses = match pinned {
            Some(addresses) => addresses,
            None => network.resolver.resolve(&host, None, &host, exchange.asking(until)).await.map_err(failed)?,
        };
        progress.at(Step::Tcp);
        if !network.connects.turn(until).await {
            return Err(failed(ConnectError::TooMany(network.connects.per_second())));
        }
        let places: Vec<SocketAddr> = addresses.iter().map(|address| SocketAddr::new(*address, port)).collect();
        let tcp = connect_first(&places, until).await.map_err(failed)?;
        // Guests send whole messages, which should not be delayed.
        let _ = tcp.set_nodelay(true);
        progress.at(Step::Handshake);
        let tls = ClientConnection::new(Arc::new(config), name)
            .map_err(|_| Failure::new(Reason::Handshake, "TLS cannot be set up for this server"))?;
        let mut session = Session::new(tcp, tls, quota, share);
        std::future::poll_fn(|cx| session.poll_handshake(cx)).await.map_err(|fault| Failure::of_handshake(&fault))?;
        Ok(Opened { session, addresses })
    };
    match timeout_at(until, work).await {
        Ok(opened) => opened,
        Err(_) => Err(Failure::new(Reason::Timeout, "the time for opening a connection was up")),
    }
}
