//! Tests of TLS by the host, with servers that prove who they are and servers that do not.

use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, Pollable as _, StreamError};

use super::tls_bindings::workflow::connector_host::tls::{Error, ErrorCode, HostConnection as _, Stage};
use super::tls_connection::Connection;
use super::{Sockets, SocketsView};
use crate::egress::CallContext;
use crate::egress::exchange::tests::{acceptor, exchange_by};
use crate::egress::resolver::testing::answering;
use crate::interface::metadata::EgressProtocol;
use crate::limits::Limits;
use crate::options::{TenantOptions, TrustRoots};
use crate::tenant::Tenant;

/// What a server does with a connection.
#[derive(Clone, Copy)]
enum Server {
    /// Sends back what it receives, and then TLS's own end.
    Echo,
    /// Sends three bytes, and closes the connection without TLS's own end.
    CutOff,
    /// Answers without TLS.
    Plain,
    /// Accepts, and sends nothing.
    Silent,
}

/// A server on this machine, with a certificate for `localhost`.
struct Started {
    port: u16,
    authority: String,
    connections: Arc<AtomicUsize>,
}

impl Server {
    async fn start(self) -> Started {
        let (tls, authority) = acceptor(&[]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(self.serve(tcp, tls.clone()));
            }
        });
        Started { port, authority, connections }
    }

    async fn serve(self, mut tcp: TcpStream, tls: TlsAcceptor) {
        match self {
            Self::Plain => drop(tcp.write_all(b"220 ready\r\n").await),
            Self::Silent => drop(tcp.read(&mut [0; 8_192]).await),
            Self::Echo => {
                let Ok(tls) = tls.accept(tcp).await else { return };
                let (mut reader, mut writer) = tokio::io::split(tls);
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
                let _ = writer.shutdown().await;
            }
            Self::CutOff => {
                let Ok(mut tls) = tls.accept(tcp).await else { return };
                let _ = tls.write_all(b"abc").await;
                let _ = tls.flush().await;
                let (tcp, _) = tls.into_inner();
                drop(tcp);
            }
        }
        // A connection that nobody closed stays open.
        if matches!(self, Self::Silent) {
            std::future::pending::<()>().await;
        }
    }
}

impl Started {
    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// The options of a tenant that trusts this server's authority, and finds every name on this machine.
    fn options(&self) -> TenantOptions {
        TenantOptions {
            trust_roots: TrustRoots::Only(self.authority.clone()),
            allow_private_networks: true,
            resolver: answering(|_| Ok(vec!["127.0.0.1".parse::<IpAddr>().unwrap()])),
            ..TenantOptions::default()
        }
    }

    /// A guest that may connect to `host` on this server's port.
    fn guest(&self, host: &str, options: TenantOptions) -> Guest {
        Guest::new(EgressProtocol::Tls, &format!("{host}:{}", self.port), options)
    }
}

/// What the interface works on in one call of a guest.
struct Guest {
    sockets: Sockets,
    table: ResourceTable,
    _tenant: Tenant,
}

/// An open connection.
struct Open {
    connection: Resource<Connection>,
    input: Resource<DynInputStream>,
    output: Resource<DynOutputStream>,
}

impl Guest {
    fn new(protocol: EgressProtocol, authority: &str, options: TenantOptions) -> Self {
        let limits = options.limits.clone();
        let tenant = Tenant::new(options).unwrap();
        let exchange = exchange_by(protocol, &tenant, authority, CallContext::default());
        Self { sockets: Sockets::new(&limits, exchange), table: ResourceTable::new(), _tenant: tenant }
    }

    fn view(&mut self) -> SocketsView<'_> {
        SocketsView { sockets: &mut self.sockets, table: &mut self.table }
    }

    async fn open(&mut self, host: &str, port: u16, roots: Option<&str>) -> Result<Open, Error> {
        let connection = self.view().open(host.to_owned(), port, roots.map(str::to_owned)).unwrap()?;
        let id = connection.rep();
        poll_fn(|cx| self.table.get_mut(&Resource::<Connection>::new_borrow(id)).unwrap().poll(cx)).await;
        let (input, output) = self.view().finish(Resource::new_borrow(id)).unwrap()?.expect("it is ready");
        Ok(Open { connection, input, output })
    }

    async fn code(&mut self, host: &str, port: u16, roots: Option<&str>) -> ErrorCode {
        self.open(host, port, roots).await.map(|_| "a connection").expect_err("refused").code
    }

    fn write(&mut self, open: &Open, bytes: &[u8]) {
        let output = self.table.get_mut(&open.output).unwrap();
        assert!(output.check_write().unwrap() >= bytes.len());
        output.write(Bytes::copy_from_slice(bytes)).unwrap();
    }

    /// What the stream has next: bytes, or its end or error.
    async fn read(&mut self, open: &Open) -> Result<Bytes, StreamError> {
        let input = self.table.get_mut(&open.input).unwrap();
        loop {
            match input.read(1_000) {
                Ok(bytes) if bytes.is_empty() => input.ready().await,
                other => return other,
            }
        }
    }
}

#[tokio::test]
async fn bytes_go_both_ways_and_both_ends_are_told() {
    let server = Server::Echo.start().await;
    let mut guest = server.guest("localhost", server.options());
    let open = guest.open("LOCALHOST", server.port, None).await.unwrap();
    guest.write(&open, b"hello");
    assert_eq!(guest.read(&open).await.unwrap(), "hello");
    // The result was returned once.
    let again = guest.view().finish(Resource::new_borrow(open.connection.rep())).unwrap();
    assert_eq!(again.err().map(|error| error.code), Some(ErrorCode::InvalidState));
    // The server answers the end with its own.
    let output = Resource::<DynOutputStream>::new_own(open.output.rep());
    guest.table.delete(output).unwrap();
    assert!(matches!(guest.read(&open).await, Err(StreamError::Closed)));
    assert!(guest.sockets.are_open());
    guest.table.delete(Resource::<DynInputStream>::new_own(open.input.rep())).unwrap();
    guest.view().drop(open.connection).unwrap();
    assert!(!guest.sockets.are_open());
}

#[tokio::test]
async fn nothing_else_is_reached() {
    let server = Server::Echo.start().await;
    let mut guest = server.guest("localhost", server.options());
    let other = Server::Echo.start().await;
    for (host, port) in [
        ("localhost", other.port),
        ("other.localhost", server.port),
        ("127.0.0.1", server.port),
        ("localhost:443", server.port),
        ("user@localhost", server.port),
        ("secret data", server.port),
        ("", server.port),
    ] {
        assert_eq!(guest.code(host, port, None).await, ErrorCode::AccessDenied, "{host}");
    }
    // A rule for HTTP opens no connection of the guest's own.
    let mut web = Guest::new(EgressProtocol::Https, &format!("localhost:{}", server.port), server.options());
    assert_eq!(web.code("localhost", server.port, None).await, ErrorCode::AccessDenied);
    let mut public = server.guest("localhost", TenantOptions { allow_private_networks: false, ..server.options() });
    assert_eq!(public.code("localhost", server.port, None).await, ErrorCode::AccessDenied);
    assert_eq!((server.connections(), other.connections()), (0, 0));
}

#[tokio::test]
async fn the_server_must_prove_its_name_to_a_trusted_authority() {
    let server = Server::Echo.start().await;
    let mut guest = server.guest("other.example.com", server.options());
    assert_eq!(guest.code("other.example.com", server.port, None).await, ErrorCode::CertificateName);
    let mut guest = server.guest("localhost", TenantOptions { trust_roots: TrustRoots::Public, ..server.options() });
    assert_eq!(guest.code("localhost", server.port, None).await, ErrorCode::Certificate);
    let plain = Server::Plain.start().await;
    let mut guest = plain.guest("localhost", plain.options());
    assert_eq!(guest.code("localhost", plain.port, None).await, ErrorCode::Handshake);
}

/// A guest can narrow down what the operator trusts, and cannot extend it.
#[tokio::test]
async fn the_guests_authorities_count_beside_the_operators() {
    let (server, other) = (Server::Echo.start().await, Server::Echo.start().await);
    let mut guest = server.guest("localhost", server.options());
    guest.open("localhost", server.port, Some(&server.authority)).await.unwrap();
    let both = format!("{}{}", other.authority, server.authority);
    guest.open("localhost", server.port, Some(&both)).await.unwrap();
    assert_eq!(guest.code("localhost", server.port, Some(&other.authority)).await, ErrorCode::Certificate);
    let mut public = server.guest("localhost", TenantOptions { trust_roots: TrustRoots::Public, ..server.options() });
    assert_eq!(public.code("localhost", server.port, Some(&server.authority)).await, ErrorCode::Certificate);
    let connections = server.connections();
    for unreadable in ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        assert_eq!(guest.code("localhost", server.port, Some(unreadable)).await, ErrorCode::InvalidArgument);
    }
    assert_eq!(server.connections(), connections);
}

#[tokio::test]
async fn an_end_without_tlss_own_is_an_error() {
    let server = Server::CutOff.start().await;
    let mut guest = server.guest("localhost", server.options());
    let open = guest.open("localhost", server.port, None).await.unwrap();
    assert_eq!(guest.read(&open).await.unwrap(), "abc");
    assert!(matches!(guest.read(&open).await, Err(StreamError::LastOperationFailed(_))));
    assert!(matches!(guest.read(&open).await, Err(StreamError::Closed)));
}

#[tokio::test]
async fn limits_hold_as_for_sockets() {
    let server = Server::Echo.start().await;
    let with = |limits: Limits| TenantOptions { limits, ..server.options() };
    let mut guest = server.guest("localhost", with(Limits { sockets: 1, ..Limits::default() }));
    let _open = guest.open("localhost", server.port, None).await.unwrap();
    assert_eq!(guest.code("localhost", server.port, None).await, ErrorCode::Limit);
    // The handshake's own bytes count, too.
    let mut guest = server.guest("localhost", with(Limits { socket_bytes: 300, ..Limits::default() }));
    assert_eq!(guest.code("localhost", server.port, None).await, ErrorCode::Limit);
    let mut guest = server.guest("localhost", with(Limits { socket_bytes: 8_000, ..Limits::default() }));
    let open = guest.open("localhost", server.port, None).await.unwrap();
    let mut sent = 0;
    let ended = loop {
        let output = guest.table.get_mut(&open.output).unwrap();
        match output.check_write().and_then(|_| output.write(Bytes::from_static(&[0; 500]))) {
            Ok(()) => sent += 500,
            Err(error) => break error,
        }
        assert!(sent < 8_000, "more bytes were taken than the limit allows");
    };
    assert!(matches!(ended, StreamError::LastOperationFailed(_)));
}

#[tokio::test]
async fn a_server_that_says_nothing_ends_with_the_time_limit() {
    let server = Server::Silent.start().await;
    let limits = Limits { connect_timeout: Duration::from_millis(200), ..Limits::default() };
    let mut guest = server.guest("localhost", TenantOptions { limits, ..server.options() });
    let connection = guest.view().open("localhost".to_owned(), server.port, None).unwrap().unwrap();
    let id = connection.rep();
    assert_eq!(guest.view().stage(Resource::new_borrow(id)).unwrap(), Stage::Address);
    assert!(guest.view().finish(Resource::new_borrow(id)).unwrap().unwrap().is_none());
    poll_fn(|cx| guest.table.get_mut(&Resource::<Connection>::new_borrow(id)).unwrap().poll(cx)).await;
    assert_eq!(guest.view().stage(Resource::new_borrow(id)).unwrap(), Stage::Handshake);
    let error = guest.view().finish(Resource::new_borrow(id)).unwrap().map(|_| "streams").expect_err("no answer");
    assert_eq!(error.code, ErrorCode::Timeout);
    assert!(!guest.sockets.are_open(), "a failed connection takes no share of the limits");
}

/// Between the calls of a warm instance nothing reads: what the server sends waits in the kernel.
#[tokio::test]
async fn nothing_is_received_unless_the_guest_reads() {
    let server = Server::Echo.start().await;
    let mut guest = server.guest("localhost", server.options());
    let open = guest.open("localhost", server.port, None).await.unwrap();
    guest.write(&open, b"hello");
    tokio::time::sleep(Duration::from_millis(50)).await;
    let used = |guest: &Guest| guest.sockets.quota.take_some(usize::MAX).map(|left| u64::try_from(left).unwrap());
    // Taking what is left shows how much that was; the next call begins with a full quota.
    let limits = Limits::default();
    let left = used(&guest).unwrap();
    let exchange = guest.sockets.exchange.clone();
    guest.sockets.begin_call(&limits, exchange);
    assert_eq!(guest.read(&open).await.unwrap(), "hello");
    assert!(used(&guest).unwrap() < limits.socket_bytes, "the next call pays for what it reads");
    assert!(left < limits.socket_bytes, "the first call paid for the handshake");
}
